"""The files of an artifact and their URLs. A reference's URL is the reference itself."""
# ruff: noqa: N803 - the arguments are the schema's

import base64
import mimetypes
import urllib.parse
from dataclasses import dataclass

from tests.wandb_server.models import Artifact, Collection, Entry, Manifest, RefusalError
from tests.wandb_server.resolvers import Context, field
from tests.wandb_server.resolvers.paging import connection


@dataclass(eq=False, slots=True)
class FileNode:
    """One file, as GraphQL shows it. The URL is signed when it is asked for."""

    context: Context
    artifact: Artifact
    entry: Entry
    collection: Collection

    @property
    def id(self) -> str:
        return base64.b64encode(f"ArtifactFile:{self.artifact.id}:{self.entry.path}".encode()).decode()

    @property
    def name(self) -> str:
        return self.entry.path

    display_name = name

    @property
    def direct_url(self) -> str:
        return self.entry.ref or file_url(self.context, self.artifact, self.entry)

    @property
    def url(self) -> str:
        """Return the URL of the API, which needs the key: as the SDK would make it."""
        if self.entry.ref:
            return self.entry.ref
        return self.context.base + fallback_path(self.artifact, self.entry, self.collection)

    @property
    def size_bytes(self) -> int:
        return self.entry.size

    @property
    def digest(self) -> str:
        return self.entry.digest

    @property
    def md5(self) -> str | None:
        return self.entry.digest if self.entry.algorithm == "MD5" and not self.entry.ref else None

    @property
    def storage_path(self) -> str:
        return self.entry.ref or key_of_entry(self.context, self.artifact, self.entry)

    @property
    def mimetype(self) -> str:
        return mimetypes.guess_type(self.entry.path)[0] or ""

    @property
    def is_reference(self) -> bool:
        return bool(self.entry.ref)

    @property
    def exists(self) -> bool:
        return True

    @property
    def updated_at(self) -> str:
        return self.artifact.updated_at

    created_at = updated_at
    upload_url = None
    upload_headers: tuple[str, ...] = ()


def key_of_entry(context: Context, artifact: Artifact, entry: Entry) -> str:
    """Return the key of an entry's bytes."""
    birth = entry.birth if artifact.layout == "V2" else None
    key = context.state.has(artifact.entity, entry.digest, birth)
    if key is None:
        raise RefusalError(f"the bytes of {entry.path!r} are gone", 404)
    return key


def file_url(context: Context, artifact: Artifact, entry: Entry) -> str:
    """Return a URL that opens the bytes of an entry for a while."""
    key = key_of_entry(context, artifact, entry)
    return context.signer.sign("GET", "/" + key, context.url_lifetime)


def fallback_path(artifact: Artifact, entry: Entry, collection: Collection) -> str:
    """Return the path below the API at which the SDK looks for an entry it has no URL of."""
    digest = base64.b64decode(entry.digest).hex()
    project = collection.project
    if artifact.layout == "V1":
        return f"/artifacts/{project.entity.name}/{digest}"
    region = artifact.storage_region or "default"
    names = (project.entity.name, project.name, collection.name, artifact.id, entry.birth or "")
    quoted = "/".join(urllib.parse.quote(name) for name in names)
    return f"/artifactsV2/{region}/{quoted}/{digest}/{entry.path.rpartition('/')[2]}"


@field("Artifact.files", "ArtifactCollectionMembership.files")
def files(source, info, names=None, after=None, first=None, **_):
    artifact = source if isinstance(source, Artifact) else source.artifact
    collection = artifact.sequence if isinstance(source, Artifact) else source.collection
    entries = artifact.entries
    found = list(entries.values()) if names is None else [entries[name] for name in names if name in entries]
    return connection(
        info.context, found, after, first,
        lambda entry: {"node": FileNode(info.context, artifact, entry, collection)},
        uploadHeaders=[],
    )  # fmt: skip


@field("Artifact.filesByManifestEntries")
def files_by_manifest_entries(artifact, info, storageLayout, manifestVersion, entries, storageRegion=None):
    """Answer in the order of what was asked; what the artifact does not have is left out (inferred)."""
    if manifestVersion != "1":
        raise RefusalError(f"unknown manifest version {manifestVersion!r}")
    if storageLayout not in ("V1", "V2"):
        raise RefusalError(f"unknown storage layout {storageLayout!r}")
    nodes = []
    for asked in entries or ():
        entry = artifact.entries.get(asked["name"])
        if entry is not None and entry.digest == asked["digest"]:
            nodes.append(FileNode(info.context, artifact, entry, artifact.sequence))
    return connection(info.context, nodes, uploadHeaders=[])


@field("ArtifactManifest.file")
def manifest_file(manifest: Manifest, info):
    signer = info.context.signer
    return {
        "id": base64.b64encode(f"ManifestFile:{manifest.id}".encode()).decode(),
        "name": manifest.file_name,
        "displayName": manifest.file_name,
        "directUrl": signer.sign("GET", "/" + manifest.key, info.context.url_lifetime),
        "uploadUrl": signer.sign("PUT", "/" + manifest.key, info.context.url_lifetime, md5=manifest.digest),
        "uploadHeaders": ["Content-MD5:" + manifest.digest, "Content-Type:application/json"],
        "sizeBytes": _size_of(info.context, manifest),
        "md5": manifest.digest,
        "digest": manifest.digest,
        "storagePath": manifest.key,
        "exists": info.context.state.bucket.get(manifest.key) is not None,
        "isReference": False,
        "artifact": manifest.artifact,
    }


def _size_of(context: Context, manifest: Manifest) -> int:
    stored = context.state.bucket.get(manifest.key)
    return stored.content.size if stored else 0
