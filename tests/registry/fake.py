"""A registry in memory that keeps every promise of the port: the contract suite runs on it as on the real ones.

Clients that share one `FakeData` are clients of one registry, as processes that open one database.
"""

import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from artfs.errors import (
    BusyError,
    ExistsError,
    InvalidInputError,
    NotEmptyError,
    NotFoundError,
    VersionDeletedError,
)
from artfs.model.names import LATEST, CollectionRef, version_index
from artfs.registry.port import (
    AliasInfo,
    CollectionKind,
    CollectionListing,
    Reservation,
    State,
    Version,
    VersionInfo,
)

DEFAULT_TYPE = "dataset"
MAX_SIZE = (1 << 63) - 1


@dataclass
class _Content:
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


@dataclass
class _Collection:
    created_at: datetime
    updated_at: datetime
    kind: CollectionKind = CollectionKind.SEQUENCE
    type: str | None = None
    members: dict[int, _Content] = field(default_factory=dict)
    aliases: dict[str, tuple[int, datetime]] = field(default_factory=dict)


@dataclass
class FakeData:
    """What is recorded."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    lock: threading.RLock = field(default_factory=threading.RLock)
    time: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    entities: set[str] = field(default_factory=set)
    projects: set[tuple[str, str]] = field(default_factory=set)
    collections: dict[CollectionRef, _Collection] = field(default_factory=dict)
    by_client: dict[str, _Content] = field(default_factory=dict)
    by_id: dict[str, _Content] = field(default_factory=dict)
    runs: dict[tuple[str, str, str], object] = field(default_factory=dict)
    logged: dict[str, object] = field(default_factory=dict)
    used: dict[str, list] = field(default_factory=dict)

    def now(self):
        """Return a time later than any before."""
        self.time += timedelta(microseconds=1)
        return self.time


def _recordable(*values):
    """Refuse what no database records."""
    for value in values:
        match value:
            case str():
                try:
                    value.encode()
                except UnicodeEncodeError as error:
                    raise InvalidInputError(f"{value!r} cannot be recorded: {error}") from error
            case int() if value > MAX_SIZE:
                raise InvalidInputError(f"{value} cannot be recorded: it is too large")
            case CollectionRef():
                _recordable(value.entity, value.project, value.collection)


def _json(metadata):
    try:
        return json.dumps(dict(metadata), allow_nan=False)
    except ValueError as error:
        raise InvalidInputError(f"metadata cannot be recorded: {error}") from error


class FakeRegistry:
    """The port of a registry, in memory."""

    def __init__(self, default_entity="me", data=None):
        self._data = data or FakeData()
        self.default_entity = default_entity

    @property
    def id(self):
        return self._data.id

    def close(self):
        pass

    # What the port cannot do yet --------------------------------------------------------------------------------

    def make_portfolio(self, collection, kind, versions):
        """Make a portfolio of artifacts of a type, with links to versions, by id, at v0, v1, ..."""
        with self._data.lock:
            self._data.projects.add((collection.entity, collection.project))
            self._data.entities.add(collection.entity)
            time = self._data.now()
            self._data.collections[collection] = _Collection(
                time,
                time,
                CollectionKind.PORTFOLIO,
                kind,
                {index: self._data.by_id[version] for index, version in enumerate(versions)},
            )

    # What exists ------------------------------------------------------------------------------------------------

    def entities(self):
        with self._data.lock:
            return sorted({self.default_entity, *self._data.entities})

    def projects(self, entity):
        with self._data.lock:
            if entity != self.default_entity:
                self._require_entity(entity)
            return sorted(project for owner, project in self._data.projects if owner == entity)

    def collections(self, entity, project):
        with self._data.lock:
            self._require_project(entity, project)
            return sorted(
                ref.collection for ref in self._data.collections if (ref.entity, ref.project) == (entity, project)
            )

    def listing(self, collection):
        with self._data.lock:
            found = self._collection(collection)
            published = any(content.state != State.PENDING for content in found.members.values())
            return CollectionListing(
                found.kind,
                found.type if published else None,
                found.created_at,
                found.updated_at,
                tuple(VersionInfo(content.id, index, content.created_at) for index, content in self._committed(found)),
                tuple(AliasInfo(name, *where) for name, where in sorted(found.aliases.items())),
            )

    def version(self, ref):
        with self._data.lock:
            return self._version(ref.collection, self._find(ref))

    def version_by_id(self, version_id):
        _recordable(version_id)
        with self._data.lock:
            content = self._data.by_id.get(version_id)
            if content is not None and content.state == State.DELETED:
                raise VersionDeletedError(f"the version with the id {version_id!r} was deleted")
            if content is None or content.state == State.PENDING:
                raise NotFoundError(f"there is no version with the id {version_id!r}")
            return self._version(content.source, content.source_index)

    def versions(self, collection):
        with self._data.lock:
            return [self._version(collection, index) for index, _ in self._committed(self._collection(collection))]

    def logged_by(self, version_id):
        with self._data.lock:
            return self._data.logged.get(version_id)

    def used_by(self, version_id):
        with self._data.lock:
            return list(self._data.used.get(version_id, []))

    # Making places ----------------------------------------------------------------------------------------------

    def create_entity(self, entity):
        _recordable(entity)
        with self._data.lock:
            if entity in self._data.entities:
                raise ExistsError(f"the entity {entity!r} exists")
            self._data.entities.add(entity)

    def create_project(self, entity, project):
        _recordable(entity, project)
        with self._data.lock:
            if entity != self.default_entity:
                self._require_entity(entity)
            if (entity, project) in self._data.projects:
                raise ExistsError(f"the project {entity}/{project} exists")
            self._make_project(entity, project)

    def create_collection(self, collection):
        _recordable(collection)
        with self._data.lock:
            self._require_project(collection.entity, collection.project)
            if collection in self._data.collections:
                raise ExistsError(f"the collection {collection} exists")
            self._make_collection(collection)

    def remove_entity(self, entity):
        with self._data.lock:
            self._require_entity(entity)
            if self.projects(entity):
                raise NotEmptyError(f"the entity {entity!r} has projects")
            self._data.entities.remove(entity)

    def remove_project(self, entity, project):
        with self._data.lock:
            if self.collections(entity, project) or any(key[:2] == (entity, project) for key in self._data.runs):
                raise NotEmptyError(f"the project {entity}/{project} has collections or runs")
            self._data.projects.remove((entity, project))

    def remove_collection(self, collection):
        with self._data.lock:
            if self._collection(collection).members:
                raise NotEmptyError(f"the collection {collection} has, or had, versions")
            del self._data.collections[collection]

    # Commit -----------------------------------------------------------------------------------------------------

    def reserve(self, new):
        _recordable(new.client_id, new.collection, new.type, new.digest, new.size, new.file_count, new.description)
        metadata = _json(new.metadata)
        with self._data.lock:
            known = self._data.by_client.get(new.client_id)
            if known is not None:
                own = known.client_id == new.client_id
                return Reservation(known.id, known.source_index, existing=known.state != State.PENDING, own=own)
            found = self._data.collections.get(new.collection)
            if found is not None and found.kind != CollectionKind.SEQUENCE:
                raise InvalidInputError(f"{new.collection} is a portfolio")
            if found is not None and found.type is not None and new.type not in {None, found.type}:
                raise InvalidInputError(f"{new.collection} holds artifacts of type {found.type!r}, not {new.type!r}")
            if found is None:
                self._make_project(new.collection.entity, new.collection.project)
                found = self._make_collection(new.collection)
            if found.type is None:
                found.type = new.type or DEFAULT_TYPE
            latest = self._latest(found)
            if latest is not None and latest.new.digest == new.digest:
                return Reservation(latest.id, latest.source_index, existing=True, own=False)
            index, time = max(found.members, default=-1) + 1, self._data.now()
            content = _Content(
                uuid.uuid4().hex,
                new.client_id,
                new.collection,
                index,
                new,
                new.description,
                metadata,
                uuid.uuid4().hex,
                time,
                time,
            )
            found.members[index] = self._data.by_client[new.client_id] = self._data.by_id[content.id] = content
            return Reservation(content.id, index, existing=False, own=True)

    def publish(self, client_id, manifest, aliases):
        _recordable(*aliases)
        with self._data.lock:
            content = self._data.by_client.get(client_id)
            if content is None:
                raise NotFoundError(f"commit {client_id} has no reservation")
            if content.state == State.PENDING:
                found = self._data.collections[content.source]
                latest = self._latest(found)
                if latest is not None and latest.new.digest == content.new.digest:
                    self._drop(content)
                    content = self._data.by_client[client_id] = latest
                else:
                    content.state, content.manifest = State.COMMITTED, manifest
                    content.created_at = content.updated_at = self._data.now()
                self._move(found, content.source_index, [*aliases, LATEST])
            return self._version(content.source, content.source_index)

    def abandon(self, client_id):
        with self._data.lock:
            content = self._data.by_client.get(client_id)
            if content is not None and content.state == State.PENDING:
                self._drop(content)

    def add_aliases(self, ref, aliases):
        _recordable(*aliases)
        with self._data.lock:
            index = self._find(ref)
            self._move(self._collection(ref.collection), index, aliases)
            return self._version(ref.collection, index)

    # Change -----------------------------------------------------------------------------------------------------

    def rename_alias(self, collection, old, new):
        _recordable(new)
        with self._data.lock:
            found = self._collection(collection)
            index = self._alias(collection, old)
            if old != new:
                self._move(found, index, [new])
                del found.aliases[old]

    def remove_alias(self, collection, alias):
        with self._data.lock:
            self._alias(collection, alias)
            found = self._collection(collection)
            del found.aliases[alias]
            found.updated_at = self._data.now()

    def set_description(self, ref, description):
        _recordable(description)
        with self._data.lock:
            content = self._content(ref)
            content.description, content.updated_at = description, self._data.now()

    def set_metadata(self, ref, metadata):
        text = _json(metadata)
        with self._data.lock:
            content = self._content(ref)
            content.metadata, content.updated_at = text, self._data.now()

    def delete_version(self, ref, *, delete_aliases=False):
        with self._data.lock:
            content = self._content(ref)
            before = self.version(ref)
            held = [
                (found, name)
                for found in self._data.collections.values()
                for name, (index, _) in found.aliases.items()
                if found.members[index] is content
            ]
            if held and not delete_aliases:
                raise BusyError(
                    f"{ref.collection}:v{before.index} has the aliases {', '.join(sorted({name for _, name in held}))}"
                )
            for found, name in held:
                del found.aliases[name]
            content.state, content.updated_at = State.DELETED, self._data.now()
            self._collection(ref.collection).updated_at = self._data.now()
            return before

    # Lineage ----------------------------------------------------------------------------------------------------

    def record_run(self, run):
        with self._data.lock:
            self._run(run)

    def record_logged(self, run, version_id):
        with self._data.lock:
            self._require_version(version_id)
            self._data.logged.setdefault(version_id, self._run(run))

    def record_use(self, run, version_id):
        with self._data.lock:
            self._require_version(version_id)
            runs = self._data.used.setdefault(version_id, [])
            if self._run(run) not in runs:
                runs.append(self._run(run))

    # Within the lock --------------------------------------------------------------------------------------------

    def _require_entity(self, entity):
        _recordable(entity)
        if entity not in self._data.entities:
            raise NotFoundError(f"there is no entity {entity!r}")

    def _require_project(self, entity, project):
        _recordable(entity, project)
        if (entity, project) not in self._data.projects:
            raise NotFoundError(f"there is no project {entity}/{project}")

    def _require_version(self, version_id):
        if version_id not in self._data.by_id:
            raise NotFoundError(f"there is no version with the id {version_id!r}")

    def _collection(self, ref):
        _recordable(ref)
        if ref not in self._data.collections:
            raise NotFoundError(f"there is no collection {ref}")
        return self._data.collections[ref]

    def _make_project(self, entity, project):
        self._data.entities.add(entity)
        self._data.projects.add((entity, project))

    def _make_collection(self, ref):
        time = self._data.now()
        return self._data.collections.setdefault(ref, _Collection(time, time))

    @staticmethod
    def _committed(found):
        return [
            (index, content) for index, content in sorted(found.members.items()) if content.state == State.COMMITTED
        ]

    @staticmethod
    def _latest(found):
        where = found.aliases.get(LATEST)
        return None if where is None else found.members[where[0]]

    def _find(self, ref):
        """Return the index of a COMMITTED version."""
        found = self._collection(ref.collection)
        _recordable(ref.alias)
        index = version_index(ref.alias)
        if index is None:
            index = found.aliases.get(ref.alias, (None,))[0]
        content = found.members.get(index)
        if content is not None and content.state == State.DELETED:
            raise VersionDeletedError(f"{ref} was deleted")
        if content is None or content.state == State.PENDING:
            raise NotFoundError(f"there is no version {ref}")
        return index

    def _content(self, ref):
        return self._collection(ref.collection).members[self._find(ref)]

    def _alias(self, collection, name):
        where = self._collection(collection).aliases.get(name)
        if where is None:
            raise NotFoundError(f"{collection} has no alias {name!r}")
        return where[0]

    def _move(self, found, index, names):
        time = self._data.now()
        found.aliases.update(dict.fromkeys(names, (index, time)))
        found.updated_at = time

    def _drop(self, content):
        del self._data.by_client[content.client_id], self._data.by_id[content.id]
        found = self._data.collections[content.source]
        del found.members[content.source_index]
        if not found.members:
            found.type = None
        self._data.logged.pop(content.id, None)
        self._data.used.pop(content.id, None)

    def _run(self, run):
        _recordable(run.entity, run.project, run.id, run.name, run.job_type)
        self._make_project(run.entity, run.project)
        return self._data.runs.setdefault((run.entity, run.project, run.id), run)

    def _version(self, collection, index):
        found = self._collection(collection)
        content = found.members[index]
        return Version(
            id=content.id,
            collection=collection,
            index=index,
            source=content.source,
            source_index=content.source_index,
            type=self._data.collections[content.source].type,
            state=content.state,
            digest=content.new.digest,
            algorithm=content.new.algorithm,
            manifest=content.manifest,
            commit_hash=content.commit_hash,
            size=content.new.size,
            file_count=content.new.file_count,
            description=content.description,
            metadata=json.loads(content.metadata),
            aliases=tuple(sorted(name for name, where in found.aliases.items() if where[0] == index)),
            tags=(),
            created_at=content.created_at,
            updated_at=content.updated_at,
        )
