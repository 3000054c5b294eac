"""The commit protocol on a W&B server: CreateArtifact reserves, CommitArtifact publishes.

An artifact is found again by the client id that it was made with, and it is made with its aliases, its description and its run: nothing of
that is lost if this program ends before it has published. The server decides what is the same content: it answers with the version that
has it, and has moved the aliases there. It gives the index with the publication.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from artfs.errors import ArtfsError, InvalidInputError, NotFoundError, UnreachableError, VersionDeletedError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import LATEST
from artfs.model.runs import run_or_none
from artfs.registry.port import Reservation, State
from artfs.registry.wandb import commit_operations, operations, parse, recordable
from artfs.registry.wandb.changes import Changes
from artfs.registry.wandb.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.registry.port import ManifestFile, NewVersion, Version
    from artfs.registry.sweeps import Relied, Sweep

log = logging.getLogger(__name__)

DEFAULT_TYPE = "dataset"

WAIT = 120.0  # seconds that a server may take to publish what it was told to
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0


class Commits(Changes, Runs):
    """The commit protocol. Part of `WandbRegistry`."""

    def reserve(self, new: NewVersion) -> Reservation:
        """Make an artifact, or find the one that this commit has made, or the one with the same content."""
        if new.algorithm is not Algorithm.MD5:
            raise InvalidInputError(
                f"versions for a W&B server are made with MD5 digests, not {new.algorithm.name}",
                hint="leave out the setting 'algorithm', or set ARTFS_ALGORITHM=MD5",
            )
        recordable.check_collection(new.collection)
        recordable.check("the type", new.type)
        recordable.check("the digest", new.digest)
        recordable.check("the description", new.description)
        recordable.check("the alias", *new.aliases)
        recordable.check("the size", new.size, new.file_count)
        metadata = recordable.encode("metadata", new.metadata) if new.metadata else None
        own = self._of_commit(new.client_id)
        if own is not None:
            if own["state"] == State.DELETED.value:
                raise VersionDeletedError(f"the version that this commit has made in {new.collection} was deleted")
            self._note(new.client_id, own)
            self._settle(new.collection)
            return _reservation(own, own=True)
        made = self._create(new, self._settled_type(new), metadata)
        self._note(new.client_id, made)
        self._settle(new.collection)
        return _reservation(made, own=made["state"] != State.COMMITTED.value)

    def _note(self, client_id: str, made: parse.Node) -> None:
        if made["state"] != State.COMMITTED.value:
            self._reserved[client_id] = made["id"]

    def _of_commit(self, client_id: str) -> parse.Node | None:
        """Return the artifact that a commit has made, or was answered with."""
        server_id = self._server_id(client_id)
        if server_id is None:
            return None
        made = self._session.ask(commit_operations.MADE, {"id": server_id}).get("artifact")
        return _checked(made) if isinstance(made, dict) else None

    def _server_id(self, client_id: str) -> str | None:
        """Return the id that the server has given to what a client has made."""
        try:
            found = self._session.ask(commit_operations.CLIENT_ID, {"clientID": client_id}).get("clientIDMapping")
        except NotFoundError:
            return None
        return str(parse.field(found, "serverID", str)) if isinstance(found, dict) else None

    def version_of_commit(self, client_id: str) -> Version:
        """Return the COMMITTED version that a commit has made, or the latest one of a collection."""
        made, _, alias = client_id.partition(":")
        server_id = self._server_id(made)
        if server_id is not None and not alias:
            return self.version_by_id(server_id)
        if server_id is not None and alias == LATEST:
            found = self._session.ask(commit_operations.COLLECTION, {"id": server_id}).get("artifactCollection")
            if isinstance(found, dict):
                return self.version(parse.place(found).at(LATEST))
        raise NotFoundError(f"there is no version of the commit {client_id!r}")

    def _settled_type(self, new: NewVersion) -> str:
        """Return the type of the new version; make its project if it is missing. InvalidInputError."""
        project = self._project(operations.COLLECTION, new.collection)
        if project is None or self._home(new.collection) != new.collection:
            recordable.check_new_project(new.collection.entity, new.collection.project)
            wanted = {"entityName": new.collection.entity, "name": new.collection.project}
            self._session.ask(operations.CREATE_PROJECT, {"input": wanted})
        found = (project or {}).get("artifactCollection")
        if not isinstance(found, dict) or found.get("state") == State.DELETED.value:
            return new.type or DEFAULT_TYPE
        if found.get("__typename") == parse.PORTFOLIO:
            raise InvalidInputError(f"{new.collection} is a portfolio: versions are linked there, not logged")
        kind = str(parse.field(parse.field(found, "defaultArtifactType", dict), "name", str))
        if new.type not in {None, kind}:
            raise InvalidInputError(
                f"{new.collection} holds artifacts of type {kind!r}, not {new.type!r}",
                hint="leave the type out, or commit to another collection",
            )
        return kind

    def _create(self, new: NewVersion, kind: str, metadata: str | None) -> parse.Node:
        collection = new.collection
        wanted = {
            "entityName": collection.entity,
            "projectName": collection.project,
            "artifactCollectionName": collection.collection,
            "artifactTypeName": kind,
            "runName": self._run_name(new),
            "digest": new.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "description": new.description,
            "metadata": metadata,
            "aliases": [
                {"alias": name, "artifactCollectionName": collection.collection}
                for name in dict.fromkeys((*new.aliases, LATEST))
            ],
            "enableDigestDeduplication": True,
            "clientID": new.client_id,
            "sequenceClientID": Digest.of(f"{new.client_id} sequence".encode()).hex,
        }
        answer = self._session.ask(commit_operations.CREATE, {"input": wanted})
        return _checked(parse.field(parse.field(answer, "createArtifact", dict), "artifact", dict))

    def _run_name(self, new: NewVersion) -> str | None:
        """Return the run that logs the version, as far as the server knows it, and it is of the same project."""
        run = run_or_none(new.run)
        if run is None or (run.entity, run.project) != (new.collection.entity, new.collection.project):
            return None
        try:
            return self.run(run).id
        except NotFoundError:
            return None

    def publish(
        self,
        client_id: str,
        manifest: ManifestFile,
        aliases: Sequence[str],
        relied: Relied | None = None,
    ) -> Version:
        """Commit the artifact, and wait until it is a version."""
        recordable.check("the alias", *aliases)
        version_id = self._reserved.pop(client_id, None)
        if version_id is None:
            made = self._of_commit(client_id)
            if made is None:
                raise NotFoundError(f"commit {client_id} has no reservation")
            version_id = str(made["id"])
            if made["state"] != State.PENDING.value:  # VersionDeletedError, or the version that it has become
                return self.version_by_id(version_id)
        self._session.ask(commit_operations.COMMIT, {"input": {"artifactID": version_id}})
        found = self._published(version_id)
        missing = [name for name in aliases if name not in found.aliases]
        if LATEST not in found.aliases and self._is_newest(found):
            missing.append(LATEST)
        if not missing:
            return found
        self._add_aliases(found, missing)
        return self.version_by_id(version_id)

    def sweeps(self, after: int) -> Sequence[Sweep]:
        """Return none: the server removes nothing that a commit needs."""
        return ()

    def _published(self, version_id: str) -> Version:
        """Wait until a version is COMMITTED. UnreachableError if that takes too long: the commit is looked at again later."""
        until, pause = time.monotonic() + WAIT, _FIRST_PAUSE
        while True:
            try:
                return self.version_by_id(version_id)
            except VersionDeletedError:
                raise
            except NotFoundError as error:
                if time.monotonic() + pause > until:
                    raise UnreachableError(
                        f"the W&B server has not published the version within {WAIT:.0f} s",
                        hint="artfs commit --resume",
                    ) from error
            time.sleep(pause)
            pause = min(_LAST_PAUSE, 2 * pause)

    def _is_newest(self, found: Version) -> bool:
        """Whether ``latest`` is not at a later version, which somebody else has published meanwhile."""
        try:
            return self.version(found.collection.at(LATEST)).index < found.index
        except NotFoundError:
            return True

    def abandon(self, client_id: str) -> None:
        """Delete a pending artifact. One that the server wants to keep harms nobody: it is in no listing."""
        self._reserved.pop(client_id, None)
        try:
            made = self._of_commit(client_id)
            if made is not None and made["state"] == State.PENDING.value:
                self._session.ask(operations.DELETE, {"input": {"artifactID": made["id"], "deleteAliases": True}})
        except UnreachableError:
            raise
        except ArtfsError as error:
            log.info("commit %s is left pending on the W&B server: %s", client_id, error)


def _checked(made: parse.Node) -> parse.Node:
    parse.field(made, "id", str)
    parse.field(made, "state", str)
    return made


def _reservation(made: parse.Node, *, own: bool) -> Reservation:
    existing = made["state"] == State.COMMITTED.value
    index = parse.number(made.get("versionIndex")) if existing else -1
    return Reservation(made["id"], index, existing=existing, own=own)
