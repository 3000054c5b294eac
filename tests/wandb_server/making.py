"""How tests make what is on the server without the SDK: at once, and as many as they like."""

import base64
import json

from tests.wandb_server import manifests
from tests.wandb_server.blobs import as_content
from tests.wandb_server.models import Artifact, Entity, Entry, Membership, Organization, Project, RefusalError, Run
from tests.wandb_server.state import REGISTRY


class Making:
    """The helpers of ``WandbServer``. They keep the rules that the API keeps."""

    def organization(self, name: str, entity: str | None = None) -> Organization:
        """Make an organization, whose registries are those of the entity, and to which the viewer belongs."""
        with self.state.lock:
            if name not in self.state.organizations:
                made = self.state.add(Organization(name, entity or name.lower().replace(" ", "-")))
                self.state.organizations[name] = made
                self.state.add_entity(made.entity_name, made)
                self.state.viewer.organizations.append(made)
            return self.state.organizations[name]

    def team(self, name: str, organization: str | None = None) -> Entity:
        """Make a team, listed for the viewer."""
        with self.state.lock:
            made = self.state.add_entity(name, self.organization(organization) if organization else None)
            if made not in self.state.viewer.teams:
                self.state.viewer.teams.append(made)
            return made

    def entity(self, name: str) -> Entity:
        """Make an entity that is not listed for the viewer, or return one."""
        with self.state.lock:
            return self.state.add_entity(name)

    def project(self, entity: str, name: str) -> Project:
        """Make a project, and its entity if need be; or return it."""
        with self.state.lock:
            self.state.add_entity(entity)
            return self.state.add_project(entity, name)[0]

    def registry(self, organization: str, name: str) -> Project:
        """Make a registry of an organization."""
        return self.project(self.organization(organization).entity_name, REGISTRY + name)

    def run(self, entity: str, project: str, name: str) -> Run:
        """Make a run, or return it."""
        with self.state.lock:
            return self.state.add_run(self.project(entity, project), name)[0]

    def log_artifact(
        self,
        entity: str,
        project: str,
        name: str,
        type: str = "dataset",  # noqa: A002
        files=None,
        aliases=("latest",),
        *,
        layout: str | None = "V2",
        references=None,
        manifest_kind: str = "FULL",
        metadata=None,
        description: str | None = None,
        tags=(),
        ttl: int | None = None,
        algorithm: str = "MD5",
        run: Run | None = None,
        region: str | None = None,
        dedup: bool = True,
    ) -> Artifact:
        """Make a committed version, and return it: ``.id``, ``.digest``, ``.entries``, ``.memberships[0].version_index``.

        ``files`` maps paths to bytes, text, a ``Path``, a ``Content``, or (size, function of offset and length, or None
        for zeros). ``references`` maps paths to a URI, or to a dict with ref, digest, size, extra. INCREMENTAL and PATCH:
        merged onto the latest version. The same contents again are the same version, unless ``dedup`` is False.
        """
        state, kind = self.state, f"MANIFEST_{algorithm}"
        with state.lock:
            sequence = state.collection(self.project(entity, project), name, type, "SEQUENCE")
            artifact = Artifact(
                sequence, "", kind, description=description, ttl=ttl, storage_region=region, run=run,
                metadata=json.dumps(metadata) if metadata is not None else None, wanted_aliases=list(aliases),
            )  # fmt: skip
            entries = {}
            if manifest_kind != "FULL" and (base := state.latest(sequence)) is not None:
                entries |= base.entries
            for path, value in (references or {}).items():
                entries[path] = _reference(path, value)
            state.add(artifact)
            for path, value in (files or {}).items():
                entries[path] = self._store(artifact, path, value, algorithm)
            artifact.digest = manifests.digest_of(entries, kind)
            if dedup and (member := sequence.by_digest.get(artifact.digest)) is not None:
                state.set_aliases(member, aliases)
                return member.artifact
            state.set_tags(artifact.tags, tags)
            if not sequence.members:
                sequence.digest_algorithm = kind
            manifests.finish(state, artifact, entries, layout or "V1", None if layout is None else layout)
            return artifact

    def _store(self, artifact: Artifact, path: str, value, algorithm: str) -> Entry:
        """Keep the bytes of a file, unless the entity has them."""
        content = as_content(value)
        digest = content.digest(algorithm)
        keys = self.state.stored.setdefault((artifact.entity, digest), {})
        if not keys:
            key = self.state.key_of(artifact, base64.b64decode(digest).hex())
            self.state.bucket.put(key, content)
            keys[artifact.id] = key
        extra = {"alg": "XXH128"} if algorithm == "XXH128" else {}
        return Entry(path, digest, content.size, birth=next(iter(keys)), extra=extra)

    def use(self, artifact: Artifact, run: Run, used_as: str | None = None) -> None:
        """Note that a run has used a version."""
        with self.state.lock:
            run.inputs.setdefault(artifact.id, (artifact, []))[1].extend([used_as] if used_as else [])
            artifact.used_by[run.id] = run

    def link(self, artifact: Artifact, entity: str, project: str, portfolio: str, aliases=()) -> Membership:
        """Link a version into a portfolio."""
        with self.state.lock:
            return self.state.link(artifact, self.project(entity, project), portfolio, aliases)

    def set_aliases(self, artifact: Artifact, *aliases: str) -> None:
        """Move aliases to a version, in its own sequence."""
        with self.state.lock:
            self.state.set_aliases(artifact.memberships[0], aliases)

    def delete(self, artifact: Artifact) -> None:
        """Delete a version."""
        with self.state.lock:
            self.state.delete(artifact)

    def member(self, path: str) -> Membership:
        """Return what "entity/project/collection:alias" names; a ``RefusalError`` if nothing."""
        entity, project, name = path.split("/", 2)
        with self.state.lock:
            found = self.state.project(entity, project)
            member = self.state.find_in_project(found, name) if found else None
        if member is None:
            raise RefusalError(f"{path} not found", 404)
        return member

    def artifact(self, path: str) -> Artifact:
        """Return the version that "entity/project/collection:alias" names."""
        return self.member(path).artifact

    def aliases(self, path: str) -> set[str]:
        """Return the aliases of a version in the collection of its path."""
        return {alias.alias for alias in self.member(path).aliases}

    def read(self, path: str, file: str) -> bytes:
        """Return the bytes of a file of a version."""
        artifact = self.artifact(path)
        entry = artifact.entries[file]
        key = self.state.has(artifact.entity, entry.digest)
        content = self.state.bucket.objects[key].content
        return content.read(0, content.size)

    def replace_bytes(self, artifact: Artifact, file: str, value) -> None:
        """Put other bytes under the key of a file: what the storage serves is then not what the manifest says."""
        entry = artifact.entries[file]
        key = self.state.has(artifact.entity, entry.digest, entry.birth)
        self.state.bucket.put(key, as_content(value))

    def lose_bytes(self, artifact: Artifact, file: str) -> None:
        """Take the bytes of a file out of the storage: its URL answers 404."""
        entry = artifact.entries[file]
        self.state.bucket.objects.pop(self.state.has(artifact.entity, entry.digest, entry.birth), None)


def _reference(path: str, value) -> Entry:
    given = {"ref": value} if isinstance(value, str) else dict(value)
    ref = given["ref"]
    return Entry(path, given.get("digest", ref), given.get("size", 0), ref=ref, extra=given.get("extra", {}))
