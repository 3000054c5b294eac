"""Commits, manifests and runs for the tests of a registry, and what they look at afterwards."""

from datetime import UTC, datetime, timedelta

from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import parse_entry_path
from artfs.model.run import RunChange, RunInfo, RunProgress
from artfs.registry.port import ManifestFile, NewVersion

DATA = CollectionRef("me", "demo", "data")
OTHER = CollectionRef("me", "demo", "other")
UNRECORDABLE = "half a pair: \ud800"


MANIFESTS: dict[Digest, bytes] = {}
"""What `manifest` has made, for registries that want the manifest itself."""


def manifest(text="manifest", size=3):
    """Return a manifest of one reference of some bytes, which is named by a text."""
    data = b"".join(encode_manifest([Entry(parse_entry_path(text), "etag", size, ref="ftp://host/file")]))
    MANIFESTS[Digest.of(data)] = data
    return ManifestFile(Digest.of(data), len(data))


def new(client_id, digest=None, collection=DATA, kind=None, **more):
    """Return a commit; its digest is its id where none is given, so that each has content of its own."""
    values = {"algorithm": Algorithm.MD5, "size": 3, "file_count": 1, **more}
    return NewVersion(client_id=client_id, collection=collection, type=kind, digest=digest or client_id, **values)


def commit(registry, client_id, *aliases, digest=None, collection=DATA, kind=None, by=None, **more):
    """Reserve and publish; ``by`` is the run that logs the version."""
    if by is not None:
        registry.record_run(by)
        more["run"] = by.path
    reservation = registry.reserve(new(client_id, digest, collection, kind, aliases=aliases, **more))
    version = registry.publish(client_id, manifest(client_id), aliases)
    if by is not None:
        registry.record_logged(by, reservation.id)
    return version


def make_portfolio(registry, collection, versions):
    """Link versions at v0, v1, ... of a new portfolio."""
    for version in versions:
        registry.link(version.id, collection, [])


def run(run_id, project="demo", hour=0, **more):
    values = {"name": f"run {run_id}", "job_type": "train", **more}
    return RunInfo(run_id, "me", project, created_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour), **values)


def become(registry, wanted):
    """Change all of a run that can be changed."""
    found = registry.run(wanted.ref)
    change = RunChange(
        name=(found.name, wanted.name),
        job_type=(found.job_type, wanted.job_type),
        config=(found.config, wanted.config),
        metadata=wanted.metadata,
        progress=RunProgress(wanted.state, wanted.exit_code, wanted.finished_at),
    )
    return registry.change_run(wanted.ref, change)


def indices(registry, collection=DATA):
    return [version.index for version in registry.versions(collection)]


def aliases(registry, collection=DATA):
    """Return the index that each alias points at."""
    return {alias.name: alias.index for alias in registry.listing(collection).aliases}


def everything(registry):
    """Return all that the registry shows, without asking how."""
    found = {}
    for entity in registry.entities():
        found[entity] = None
        for project in registry.projects(entity):
            found[entity, project] = (registry.collection_infos(entity, project), registry.runs(entity, project))
            for recorded in registry.runs(entity, project):
                ref = recorded.ref
                found[ref] = (registry.run(ref), registry.logged(ref), registry.used(ref))
            for name in registry.collections(entity, project):
                collection = CollectionRef(entity, project, name)
                versions = registry.versions(collection)
                found[collection] = (registry.listing(collection), versions)
                for version in versions:
                    by = (registry.logged_by(version.id), registry.used_by(version.id))
                    found[version.id] = (*by, registry.links(version.id))
    return found
