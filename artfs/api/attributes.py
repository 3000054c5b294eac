"""The attributes of an artifact: what its version says once it is logged, what was given to it before that.

Everything that may be changed is held twice: as it was seen in the registry, and as the program wants it. `Attributes.save` sends the
difference, so two programs that change different things do not undo each other's work; the same thing is a ConflictError.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from artfs.errors import ArtifactNotLoggedError, InvalidInputError, VersionDeletedError
from artfs.model.metadata import parse_metadata, parse_values
from artfs.model.names import parse_alias, parse_tag, version_index, version_name
from artfs.registry.port import State, VersionChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from artfs.api.building import Building
    from artfs.api.client import Client
    from artfs.api.commits import Pending
    from artfs.registry.port import Version


class ArtifactTTL(enum.Enum):
    """Values of `Artifact.ttl` that are no time. ``INHERIT``: what the collection says, which is no limit in a registry of artfs."""

    INHERIT = 0


class Attributes:
    """What every artifact says of itself. Before it is logged, what only a registry can know raises ArtifactNotLoggedError."""

    _client: Client
    _name: str
    _type: str
    _building: Building | None
    _pending: Pending | None
    _seen: Version | None
    _description: str | None
    _metadata: dict[str, Any]
    _aliases: list[str]
    _tags: list[str]
    _ttl: datetime.timedelta | None

    # Where it stands --------------------------------------------------------------------------------------------

    def _logged(self, what: str) -> Version:
        """Return the version that the artifact is; ArtifactNotLoggedError. What its commit failed with is raised."""
        if self._seen is None and self._pending is not None and self._pending.done and not self._pending.failed:
            self._take(self._pending.wait().version)
        if self._seen is None:
            state = "is being logged" if self._pending is not None else "is not logged yet"
            raise ArtifactNotLoggedError(
                f"'{what}' cannot be used: artifact {self._name!r} {state}", hint="log it, and wait() for it"
            )
        return self._seen

    def _take(self, version: Version) -> None:
        """Become a version, as it was just seen."""
        self._seen, self._pending, self._building = version, None, None
        self._name, self._type = version.collection.collection, version.type
        self._description, self._metadata = version.description, copy.deepcopy(dict(version.metadata))
        self._aliases, self._tags = list(version.aliases), list(version.tags)
        self._ttl = None if version.ttl_seconds is None else datetime.timedelta(seconds=version.ttl_seconds)

    def is_draft(self) -> bool:
        """Whether the artifact is not logged yet."""
        return self._version_or_none() is None

    def _version_or_none(self) -> Version | None:
        try:
            return self._logged("version")
        except ArtifactNotLoggedError:
            return None

    # What never changes -----------------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """The artifact's ID; None before it is logged."""
        found = self._version_or_none()
        return None if found is None else found.id

    @property
    def entity(self) -> str:
        """The name of the entity this artifact belongs to."""
        return self._logged("entity").collection.entity

    @property
    def project(self) -> str:
        """The name of the project this artifact belongs to."""
        return self._logged("project").collection.project

    @property
    def name(self) -> str:
        """The artifact's name: ``name:v3`` once it is logged, ``name`` before."""
        found = self._version_or_none()
        return self._name if found is None else f"{found.collection.collection}:{version_name(found.index)}"

    @property
    def qualified_name(self) -> str:
        """``entity/project/name:v3``."""
        found = self._logged("qualified_name")
        return str(found.collection.at(version_name(found.index)))

    @property
    def version(self) -> str:
        """The index in the collection it was looked up in, as ``v3``."""
        return version_name(self._logged("version").index)

    @property
    def source_entity(self) -> str:
        """The entity of the collection where it was logged."""
        return self._logged("source_entity").source.entity

    @property
    def source_project(self) -> str:
        """The project of the collection where it was logged."""
        return self._logged("source_project").source.project

    @property
    def source_name(self) -> str:
        """The name and version where it was logged, as ``name:v3``."""
        found = self._logged("source_name")
        return f"{found.source.collection}:{version_name(found.source_index)}"

    @property
    def source_qualified_name(self) -> str:
        """``entity/project/name:v3`` where it was logged."""
        found = self._logged("source_qualified_name")
        return str(found.source.at(version_name(found.source_index)))

    @property
    def source_version(self) -> str:
        """The index in the collection where it was logged, as ``v3``."""
        return version_name(self._logged("source_version").source_index)

    @property
    def is_link(self) -> bool:
        """Whether it was looked up in a portfolio, which links it."""
        return self._logged("is_link").is_link

    @property
    def type(self) -> str:
        """The artifact's type."""
        return self._type

    @property
    def state(self) -> str:
        """The status of the artifact. One of: "PENDING", "COMMITTED", or "DELETED"."""
        found = self._version_or_none()
        return "PENDING" if found is None else found.state.value

    @property
    def commit_hash(self) -> str:
        """The hash returned when this artifact was committed."""
        return self._logged("commit_hash").commit_hash

    @property
    def file_count(self) -> int:
        """The number of files, references included."""
        return self._logged("file_count").file_count

    @property
    def created_at(self) -> str:
        """The time at which the artifact was created: ISO 8601, in UTC."""
        return self._logged("created_at").created_at.isoformat()

    @property
    def updated_at(self) -> str:
        """The time at which the artifact was last updated: ISO 8601, in UTC."""
        return self._logged("updated_at").updated_at.isoformat()

    # What may be changed, then saved ------------------------------------------------------------------------------

    @property
    def description(self) -> str | None:
        """The artifact description. Set it, then `save`."""
        self._version_or_none()
        return self._description

    @description.setter
    def description(self, value: str | None) -> None:
        self._version_or_none()
        self._description = value

    @property
    def metadata(self) -> dict[str, Any]:
        """User-defined artifact metadata: a dict of JSON values, at most 100 keys. Change it or set it, then `save`."""
        self._version_or_none()
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, Any]) -> None:
        self._version_or_none()
        self._metadata = recordable(value)

    @property
    def aliases(self) -> list[str]:
        """The aliases associated with this artifact in its collection. Change the list or set it, then `save`."""
        self._logged("aliases")
        return self._aliases

    @aliases.setter
    def aliases(self, value: Sequence[str]) -> None:
        self._logged("aliases")
        self._aliases = _names("aliases", value)

    @property
    def tags(self) -> list[str]:
        """The tags of the version. Change the list or set it, then `save`."""
        self._logged("tags")
        return self._tags

    @tags.setter
    def tags(self, value: Sequence[str]) -> None:
        self._logged("tags")
        self._tags = _names("tags", value)

    @property
    def ttl(self) -> datetime.timedelta | None:
        """For how long the version is to be kept after it was created; None: for ever."""
        self._version_or_none()
        return self._ttl

    @ttl.setter
    def ttl(self, value: datetime.timedelta | ArtifactTTL | None) -> None:
        found = self._version_or_none()
        if found is not None and found.is_link:
            raise InvalidInputError("the ttl of a link cannot be set", hint="set it where the version was logged")
        if value is not None and not isinstance(value, datetime.timedelta | ArtifactTTL):
            raise InvalidInputError(f"a ttl is a datetime.timedelta, not {value!r}")
        if isinstance(value, datetime.timedelta) and value <= datetime.timedelta(0):
            raise InvalidInputError(f"a ttl is longer than nothing, not {value}")
        self._ttl = None if isinstance(value, ArtifactTTL) else value

    def _ttl_seconds(self) -> int | None:
        return None if self._ttl is None else max(1, int(self._ttl.total_seconds()))

    def _checked_metadata(self) -> dict[str, Any]:
        """Return the metadata as they are recorded; InvalidInputError for what JSON cannot hold."""
        return recordable(self._metadata)

    def _send_changes(self) -> None:
        """Bring what the program wants to the registry. ConflictError, NotFoundError, UnreachableError."""
        seen = self._logged("save")
        if seen.state is State.DELETED:
            raise VersionDeletedError(f"{seen.collection}:{version_name(seen.index)} was deleted")
        metadata, ttl = self._checked_metadata(), self._ttl_seconds()
        aliases, tags = _strings("aliases", self._aliases), _strings("tags", self._tags)
        change = VersionChange(
            description=(seen.description, self._description) if self._description != seen.description else None,
            metadata=(seen.metadata, metadata) if metadata != seen.metadata else None,
            ttl_seconds=(seen.ttl_seconds, ttl) if ttl != seen.ttl_seconds else None,
            add_aliases=tuple(parse_alias(name) for name in aliases if name not in seen.aliases),
            remove_aliases=tuple(name for name in seen.aliases if name not in aliases),
            add_tags=tuple(parse_tag(name) for name in tags if name not in seen.tags),
            remove_tags=tuple(name for name in seen.tags if name not in tags),
        )
        if change == VersionChange():
            return
        name = version_name(seen.index)
        self._take(self._client.registry.change_version(seen.collection.at(name), change))
        self._client.refresh_mounts(seen.collection, [name, *change.add_aliases, *change.remove_aliases])


def _names(what: str, value: object) -> list[str]:
    return [name for name in _strings(what, value) if version_index(name) is None]


def _strings(what: str, value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInputError(f"{what} are a list of names, not {value!r}")
    names = list(dict.fromkeys(value))
    if not all(isinstance(name, str) for name in names):
        raise InvalidInputError(f"{what} are a list of names, not {names!r}")
    return names


def recordable(values: object) -> dict[str, Any]:
    """Return metadata as they are recorded; InvalidInputError."""
    return parse_metadata(_plain(values, "metadata"))


def recordable_config(values: object) -> dict[str, Any]:
    """Return the configuration of a run as it is recorded, of any number of keys; InvalidInputError."""
    if isinstance(values, argparse.Namespace):
        values = vars(values)
    if not hasattr(values, "items"):
        raise InvalidInputError(f"the config of a run is a mapping, not {values!r}")
    return parse_values(_plain(values, "config"), "config")


def _plain(values: object, what: str) -> Any:
    try:
        return friendly(values)
    except RecursionError as error:
        raise InvalidInputError(f"{what} is nested too deeply, or holds itself") from error


def friendly(value: object) -> Any:
    """Return a value as JSON can hold it where that is plain: numpy and torch numbers and arrays, times, paths, sets."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {key: friendly(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [friendly(item) for item in value]
        case datetime.datetime() | datetime.date():
            return value.isoformat()
        case enum.Enum():
            return friendly(value.value)
    if hasattr(value, "tolist"):
        return friendly(value.tolist())
    if hasattr(value, "__fspath__"):
        return str(value)
    if hasattr(value, "items"):
        return {key: friendly(item) for key, item in value.items()}
    return value
