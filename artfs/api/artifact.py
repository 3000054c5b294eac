"""`Artifact`: the public class, as the W&B SDK has it. See ``docs/api.md``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, overload

from artfs.api import sdk_arguments
from artfs.api.attributes import recordable
from artfs.api.building import Building
from artfs.api.client import Client
from artfs.api.contents import Contents
from artfs.errors import ArtifactFinalizedError, BusyError, InvalidInputError, NotFoundError
from artfs.model.names import (
    CollectionRef,
    parse_alias,
    parse_artifact_ref,
    parse_collection,
    parse_collection_ref,
    parse_tag,
    parse_type,
    version_name,
)
from artfs.registry.port import State
from artfs.staging.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from artfs.api.collections import ArtifactCollection
    from artfs.api.runs import Run
    from artfs.registry.port import Version


class Artifact(Contents):
    """A version of a dataset or a model: a new one that is being made, or one that was logged.

    ``Artifact(name, type, description=None, metadata=None)`` is a new one: add files, then log it.
    ``Artifact(client, entity, project, name, attrs=None)`` is a logged one, by ``name:alias``; ``attrs`` is a version that was read
    already. Mostly that comes from `artfs.Api.artifact` or `artfs.Run.use_artifact`.

    A logged one can be pickled and copied, with what was changed of it and not saved: its settings are in it,
    no connection and no password.

    Raises InvalidInputError (a ValueError) for a name or type that cannot be; NotFoundError if there is no such version.
    """

    QUERY: ClassVar[str] = (
        "query Artifact($id: ID!) { artifact(id: $id) { id digest state size commitHash description metadata createdAt updatedAt"
        " versionIndex artifactType { name } artifactSequence { name } aliases { alias } } }"
    )
    """The question of which the W&B server's answer makes an artifact (GraphQL)."""

    @overload
    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **sdk: Any,
    ) -> None: ...

    @overload
    def __init__(self, client: Client, entity: str, project: str, name: str, attrs: Version | None = None) -> None: ...

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if "client" in named or (arguments and isinstance(arguments[0], Client)):
            self._open(*arguments, **named)
        else:
            self._begin(*arguments, **named)

    def _begin(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **sdk: Any,
    ) -> None:
        from artfs.api.session import default_client

        for what, value in (("name", name), ("type", type)):
            if not isinstance(value, str):
                raise InvalidInputError(f"the {what} of an artifact is text, not {value!r}")
        self._name, self._type = parse_collection(name), parse_type(type, name)
        self._client = default_client()
        if sdk:
            sdk_arguments.check_artifact(name, self._client.config.algorithm, sdk)
        self._seen, self._pending = None, None
        self._description, self._ttl = description, None
        self._metadata = recordable(metadata or {})
        self._aliases, self._tags = [], []
        self._building = Building(self._client, name)

    def _open(self, client: Client, entity: str, project: str, name: str, attrs: Version | None = None) -> None:
        self._client = client
        ref = parse_artifact_ref(f"{entity}/{project}/{name}", client.default_entity)
        self._take(client.registry.version(ref) if attrs is None else attrs)

    @classmethod
    def of_version(cls, client: Client, version: Version) -> Artifact:
        """Return the artifact that a version is."""
        place = version.collection
        return cls(client, place.entity, place.project, f"{place.collection}:{version_name(version.index)}", version)

    @classmethod
    def from_id(cls, artifact_id: str, client: Client) -> Artifact | None:
        """Return the artifact with an ID, as its collection shows it; None if there is none."""
        try:
            return cls.of_version(client, client.registry.version_by_id(artifact_id))
        except NotFoundError:
            return None

    @staticmethod
    def expected_type(client: Client, name: str, entity_name: str, project_name: str) -> str | None:
        """Return the expected type for a given artifact name and project; None if nothing has that name.

        ``name`` may come with an alias, which does not matter.
        """
        place = CollectionRef(entity_name, project_name, name.partition(":")[0])
        try:
            return client.registry.collection_info(place).type
        except NotFoundError:
            return None

    @property
    def client(self) -> Client:
        """The connection to the registry that the artifact belongs to."""
        return self._client

    # Logging ----------------------------------------------------------------------------------------------------

    def save(self, project: str | None = None) -> None:
        """Persist artifact changes to the registry.

        A logged artifact: its description, metadata, aliases, tags and ttl. ConflictError if somebody else has changed the same thing.
        A new one is logged: by the present run, or by one that is made for it, in ``project``.
        """
        from artfs.api.session import current_run, init

        if self._seen is not None or self._pending is not None:
            self._send_changes()
            return
        run = current_run()
        if run is not None:
            run.log_artifact(self)
            return
        with init(project=project, job_type="auto") as made:
            made.log_artifact(self)

    def log(self, run: Run, aliases: Sequence[str] = (), tags: Sequence[str] = ()) -> None:
        """Log the artifact as a run's; what `Run.log_artifact` does. Returns when the commit is journaled: from there it cannot be lost."""
        if not run.client.is_same_place(self._client):
            self._move(run.client)
        if self._building is None:
            self._aliases.extend(name for name in aliases if name not in self._aliases)
            self._tags.extend(name for name in tags if name not in self._tags)
            self._send_changes()
            return
        wanted = Journal(
            aliases=tuple(parse_alias(alias) for alias in aliases),
            type=self._type,
            description=self._description,
            metadata=self._checked_metadata(),
            tags=tuple(parse_tag(tag) for tag in tags),
            ttl_seconds=self._ttl_seconds(),
            run=run.path,
            empty=True,
        )
        building = self._building
        draft = building.draft
        with building.lock:  # one thread logs it, and no other adds a file at the same time
            building.settle()
            if building.pending is not None and not building.pending.failed:
                raise ArtifactFinalizedError(f"artifact {self._name!r} was logged already", hint="wait() for it")
            draft.aim(CollectionRef(run.entity, run.project, self._name))
            draft.transient = False  # what cannot be committed stays, in .staging/ of the next mount: nothing is lost
            self._pending = building.pending = self._client.commits.start(draft, wanted)

    def _move(self, client: Client) -> None:
        """Let a new artifact be one of another registry. InvalidInputError if it has files: they lie where those of the first one lie."""
        building = self._building
        if building is None or (building.pending is not None and not building.pending.failed):
            return
        if building.entries:
            raise InvalidInputError(
                f"the files of artifact {self._name!r} were added for another registry than that of the run",
                hint="call artfs.init() before you make the artifact",
            )
        self._client, self._building = client, Building(client, self._name)

    def wait(self, timeout: float | None = None) -> Artifact:
        """Wait for this artifact to finish logging, if needed, and return it.

        Raises what the logging failed with (the files are still there, as a draft); WaitTimeoutError after ``timeout`` seconds, and the
        logging goes on. BusyError in a forked child, while the logging of its parent goes on.
        """
        pending = self._pending
        if pending is not None:
            result = pending.wait(timeout)
            if self._pending is pending:
                self._take(result.version)
        return self

    def finalize(self) -> None:
        """Let no more files be added. Logging does it."""
        self._final = True

    # Versions of it -----------------------------------------------------------------------------------------------

    @property
    def collection(self) -> ArtifactCollection:
        """The collection it was looked up in."""
        from artfs.api.collections import ArtifactCollection

        return ArtifactCollection(self._client, self._logged("collection").collection)

    @property
    def source_collection(self) -> ArtifactCollection:
        """The collection where it was logged."""
        from artfs.api.collections import ArtifactCollection

        return ArtifactCollection(self._client, self._logged("source_collection").source)

    @property
    def source_artifact(self) -> Artifact:
        """The artifact as it is seen where it was logged; itself, if it was not looked up in a portfolio."""
        seen = self._logged("source_artifact")
        return Artifact.of_version(self._client, self._client.registry.version_by_id(seen.id)) if seen.is_link else self

    def new_draft(self) -> Artifact:
        """Return a new artifact with the same files, to be changed and logged as the next version. No bytes are copied."""
        seen = self._logged("new_draft")
        draft = Artifact(seen.source.collection, seen.type, seen.description, dict(seen.metadata))
        draft._client, draft._building = self._client, Building(self._client, seen.source.collection, seen)
        return draft

    def link(self, target_path: str, aliases: Sequence[str] | None = None) -> Artifact:
        """Link this artifact to a portfolio (a promoted collection of artifacts), with aliases; return it as seen there.

        ``target_path`` is ``{portfolio}``, ``{project}/{portfolio}`` or ``{entity}/{project}/{portfolio}``; what is left out is as in
        the artifact. The portfolio is made where it is missing. An artifact that is not logged yet is logged first.
        """
        if self.is_draft():
            if self._pending is None:
                self.save()
            self.wait()
        seen = self._logged("link")
        path = target_path.split("/")
        own = [seen.source.entity, seen.source.project][: max(0, 3 - len(path))]
        target = parse_collection_ref("/".join([*own, *path]), seen.source.entity)
        parse_collection(target.collection)
        names = [parse_alias(alias) for alias in ([aliases] if isinstance(aliases, str) else aliases or ())]
        linked = self._client.registry.link(seen.id, target, names)
        self._client.refresh_mounts(linked.collection, [version_name(linked.index), "latest", *names])
        return Artifact.of_version(self._client, linked)

    def unlink(self) -> None:
        """Take this link out of its portfolio. InvalidInputError if the artifact was not looked up in a portfolio."""
        seen = self._logged("unlink")
        name = version_name(seen.index)
        self._client.registry.unlink(seen.collection.at(name))
        self._take(dataclasses.replace(seen, state=State.DELETED, aliases=()))
        self._client.refresh_mounts(seen.collection, [name, *seen.aliases])

    @property
    def linked_artifacts(self) -> list[Artifact]:
        """The artifact as each portfolio shows it that links it."""
        found = self._client.registry.links(self._logged("linked_artifacts").id)
        return [Artifact.of_version(self._client, version) for version in found]

    def delete(self, delete_aliases: bool = False) -> None:
        """Delete an artifact and its files; of a link, the link.

        With ``delete_aliases`` the aliases go, too. Otherwise BusyError if the artifact has any.
        """
        seen = self._logged("delete")
        if seen.is_link:
            self.unlink()
            return
        name = version_name(seen.index)
        try:
            self._client.registry.delete_version(seen.collection.at(name), delete_aliases=delete_aliases)
        except BusyError as error:
            error.hint = "remove them first, or use delete(delete_aliases=True)"
            raise
        self._take(dataclasses.replace(seen, state=State.DELETED, aliases=()))
        self._client.refresh_mounts(seen.collection, [name, *seen.aliases])

    # Lineage ------------------------------------------------------------------------------------------------------

    def logged_by(self) -> Run | None:
        """Retrieve the run which logged this artifact; None if none is known."""
        from artfs.api.runs import Run

        found = self._client.registry.logged_by(self._logged("logged_by").id)
        return None if found is None else Run(self._client, found)

    def used_by(self) -> list[Run]:
        """Retrieve the runs which use this artifact directly, the first use first."""
        from artfs.api.runs import Run

        return [Run(self._client, found) for found in self._client.registry.used_by(self._logged("used_by").id)]

    def json_encode(self) -> dict[str, Any]:
        """Return what stands for the artifact in JSON, as in the configuration of a run."""
        seen = self._logged("json_encode")
        return {
            "_type": "artifactVersion",
            "_version": "v0",
            "id": seen.id,
            "version": version_name(seen.source_index),
            "sequenceName": seen.source.collection,
            "usedAs": None,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        if self._version_or_none() is None:
            raise TypeError(
                f"artifact {self._name!r} is not logged yet: it can be neither pickled nor copied. Log it and wait() for it,"
                " or make it in the process that adds its files"
            )
        return _artifact_of, (type(self), self._client, self._seen, {name: getattr(self, name) for name in _EDITED})

    def __repr__(self) -> str:
        found = self._seen
        where = self._name if found is None else str(found.collection.at(version_name(found.index)))
        return f"<Artifact {where}>"


_EDITED = ("_description", "_metadata", "_aliases", "_tags", "_ttl")


def _artifact_of(cls: type[Artifact], client: Client, version: Version, edited: dict[str, Any]) -> Artifact:
    """Return what was pickled or copied, with what was changed of it and not saved."""
    artifact = cls.of_version(client, version)
    for name, value in edited.items():
        setattr(artifact, name, value)
    return artifact
