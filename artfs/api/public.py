"""`Api`: look at and change what a registry holds, without a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artfs.api import sdk_arguments
from artfs.api.artifact import Artifact
from artfs.api.client import Client
from artfs.api.collections import ArtifactCollection, ArtifactType
from artfs.api.listing import Listing
from artfs.api.runs import Run
from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import (
    CollectionRef,
    parse_artifact_ref,
    parse_collection_ref,
    parse_entity,
    parse_project,
    parse_run_ref,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Api:
    """The registry of the settings. ``overrides`` may name another ``entity`` and ``project`` for references without one.

    ``settings`` are those of ``config.toml``: ``registry``, ``store``, ``cache_dir``, ... Usable from threads, and after a fork.
    It can be pickled, as its settings: passwords and keys are not in it, they are found anew.
    """

    def __init__(self, overrides: Mapping[str, Any] | None = None, **settings: object) -> None:
        named = dict(overrides or {})
        project = named.pop("project", None) or settings.pop("project", None)
        entity = named.pop("entity", None)
        sdk_arguments.ignore("artfs.Api()", {"timeout": settings.pop("timeout", None)})
        if entity is not None:
            settings["entity"] = entity
        if not settings and project is None and not named:
            from artfs.api.session import default_client

            self._client = default_client()
        else:
            self._client = Client(None if project is None else str(project), **named, **settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return Api.of_client, (self._client,)

    @classmethod
    def of_client(cls, client: Client) -> Api:
        """Return one that uses a connection."""
        api = cls.__new__(cls)
        api._client = client  # noqa: SLF001 - its own
        return api

    @property
    def client(self) -> Client:
        """The connection to the registry, as `Artifact` and `Artifact.from_id` take it."""
        return self._client

    @property
    def default_entity(self) -> str:
        """The entity of references that name none."""
        return self._client.default_entity

    # Artifacts --------------------------------------------------------------------------------------------------

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """Return an artifact by ``name[:alias]``, ``project/name[:alias]`` or ``entity/project/name[:alias]``.

        The alias is ``latest`` unless given; ``v3`` is one, too. NotFoundError, VersionDeletedError; InvalidInputError (a ValueError) if
        it is of another type than ``type``, or the name cannot be; UnreachableError.
        """
        ref = parse_artifact_ref(name, self._client.default_entity, self._client.default_project)
        artifact = Artifact.of_version(self._client, self._client.registry.version(ref))
        if type is not None and artifact.type != type:
            raise InvalidInputError(f"{ref} is of type {artifact.type!r}, not {type!r}")
        return artifact

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Whether there is such an artifact."""
        try:
            self.artifact(name, type)
        except NotFoundError:
            return False
        return True

    def artifacts(
        self, type_name: str, name: str, per_page: int = 50, tags: list[str] | None = None
    ) -> Listing[Artifact]:
        """Return the versions of a collection, the newest first; with ``tags`` those that have all of them. NotFoundError."""
        found = self.artifact_collection(type_name, name).artifacts(per_page)
        return Listing([artifact for artifact in found if set(tags or ()) <= set(artifact.tags)])

    def artifact_versions(self, type_name: str, name: str, per_page: int = 50) -> Listing[Artifact]:
        """Return the versions of a collection, as `artifacts` does, under the name that older programs use."""
        return self.artifacts(type_name, name, per_page)

    # Collections ------------------------------------------------------------------------------------------------

    def artifact_types(self, project: str | None = None) -> list[ArtifactType]:
        """Return the types of a project, ``[entity/]project``, by name. NotFoundError."""
        entity, name = self._project(project)
        infos = self._client.registry.collection_infos(entity, name)
        return [
            ArtifactType(self._client, entity, name, kind)
            for kind in sorted({info.type for info in infos if info.type})
        ]

    def artifact_type(self, type_name: str, project: str | None = None) -> ArtifactType:
        """Return a type of a project. NotFoundError."""
        for found in self.artifact_types(project):
            if found.name == type_name:
                return found
        raise NotFoundError(f"{'/'.join(self._project(project))} has no artifacts of type {type_name!r}")

    def artifact_collections(
        self, project_name: str, type_name: str, per_page: int = 50
    ) -> Listing[ArtifactCollection]:
        """Return the collections of a type in a project, ``[entity/]project``. NotFoundError."""
        entity, project = self._project(project_name)
        return ArtifactType(self._client, entity, project, type_name).collections(per_page)

    def artifact_collection(self, type_name: str, name: str) -> ArtifactCollection:
        """Return a collection by ``name``, ``project/name`` or ``entity/project/name``. NotFoundError."""
        ref = self._collection(name)
        return ArtifactType(self._client, ref.entity, ref.project, type_name).collection(ref.collection)

    def artifact_collection_exists(self, name: str, type: str) -> bool:
        """Whether a project has a collection of that name and type."""
        try:
            self.artifact_collection(type, name)
        except NotFoundError:
            return False
        return True

    # Runs ---------------------------------------------------------------------------------------------------------

    def run(self, path: str) -> Run:
        """Return a run by ``id``, ``project/id`` or ``entity/project/id``. NotFoundError."""
        text = path if "/" in path.strip("/") else f"{self._client.default_project}/{path.strip('/')}"
        return Run(self._client, self._client.registry.run(parse_run_ref(text, self._client.default_entity)))

    def runs(self, path: str | None = None, order: str = "+created_at", per_page: int = 50) -> Listing[Run]:
        """Return the runs of a project, ``[entity/]project``: the oldest first, or with ``-created_at`` the newest. NotFoundError."""
        del per_page
        if order.lstrip("+-") != "created_at":
            raise InvalidInputError(
                f"runs are ordered by created_at, not by {order!r}", hint="'+created_at' or '-created_at'"
            )
        found = list(self._client.registry.runs(*self._project(path)))
        return Listing([Run(self._client, info) for info in (reversed(found) if order.startswith("-") else found)])

    def projects(self, entity: str | None = None) -> list[str]:
        """Return the names of an entity's projects. NotFoundError."""
        return list(self._client.registry.projects(entity or self._client.default_entity))

    def _project(self, text: str | None) -> tuple[str, str]:
        entity, _, project = (text or self._client.default_project).rpartition("/")
        return parse_entity(entity or self._client.default_entity), parse_project(project)

    def _collection(self, name: str) -> CollectionRef:
        path = name.partition(":")[0]
        text = path if "/" in path else f"{self._client.default_project}/{path}"
        return parse_collection_ref(text, self._client.default_entity)
