"""What a registry in memory records (`tests.registry.fake`), and what no database would."""

import json
import threading
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from artfs.errors import InvalidInputError
from artfs.model.names import ArtifactRef, CollectionRef, RunRef
from artfs.model.run import RunInfo
from artfs.registry.port import CollectionKind, State

MAX_SIZE = (1 << 63) - 1


@dataclass
class Content:
    """A version, wherever it is shown."""

    id: str
    client_id: str
    source: CollectionRef
    source_index: int
    new: object
    description: str | None
    metadata: str
    commit_hash: str
    created_at: datetime
    updated_at: datetime
    state: State = State.PENDING
    manifest: object = None
    ttl_seconds: int | None = None
    tags: set[str] = field(default_factory=set)


@dataclass
class Collection:
    """A collection: what is at each of its indices, and where its aliases point."""

    created_at: datetime
    updated_at: datetime
    kind: CollectionKind = CollectionKind.SEQUENCE
    type: str | None = None
    description: str | None = None
    links_made: int = 0
    members: dict[int, Content] = field(default_factory=dict)
    aliases: dict[str, tuple[int, datetime]] = field(default_factory=dict)


@dataclass
class FakeData:
    """What is recorded."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    lock: threading.RLock = field(default_factory=threading.RLock)
    time: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    entities: set[str] = field(default_factory=set)
    projects: set[tuple[str, str]] = field(default_factory=set)
    collections: dict[CollectionRef, Collection] = field(default_factory=dict)
    by_client: dict[str, Content] = field(default_factory=dict)
    by_id: dict[str, Content] = field(default_factory=dict)
    runs: dict[RunRef, RunInfo] = field(default_factory=dict)
    logged: dict[str, RunRef] = field(default_factory=dict)
    used: dict[tuple[str, RunRef], None] = field(default_factory=dict)  # versions and runs, first use first

    def now(self):
        """Return a time later than any before."""
        self.time += timedelta(microseconds=1)
        return self.time


def recordable(*values):
    """Refuse what no database records."""
    for value in values:
        match value:
            case str():
                try:
                    value.encode()
                except UnicodeEncodeError as error:
                    raise InvalidInputError(f"{value!r} cannot be recorded: {error}") from error
            case int() if abs(value) > MAX_SIZE:
                raise InvalidInputError(f"{value} cannot be recorded: it is too large")
            case CollectionRef():
                recordable(value.entity, value.project, value.collection)
            case RunRef():
                recordable(value.entity, value.project, value.id)
            case ArtifactRef():
                recordable(value.collection, value.alias)
            case list() | tuple():
                recordable(*value)


def encoded(metadata):
    try:
        return json.dumps(dict(metadata), allow_nan=False)
    except ValueError as error:
        raise InvalidInputError(f"metadata cannot be recorded: {error}") from error


def snapshot(run):
    """Return a run that changes no more, whatever its caller does to what is in it."""
    return replace(run, config=json.loads(encoded(run.config)), metadata=json.loads(encoded(run.metadata)))
