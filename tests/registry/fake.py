"""A registry in memory that keeps every promise of the port: the contract suite runs on it as on the real ones.

Clients that share one `FakeData` are clients of one registry, as processes that open one database.
"""

import json
import uuid

from artfs.errors import (
    BusyError,
    ConflictError,
    ExistsError,
    InvalidInputError,
    NotEmptyError,
    NotFoundError,
    VersionDeletedError,
)
from artfs.model.metadata import merge_metadata
from artfs.model.names import LATEST, CollectionRef, version_index
from artfs.registry.port import (
    AliasInfo,
    CollectionInfo,
    CollectionKind,
    CollectionListing,
    Reservation,
    State,
    Version,
    VersionInfo,
)
from tests.registry.fake_data import Collection, Content, FakeData, encoded, recordable
from tests.registry.fake_lineage import FakeLineage

DEFAULT_TYPE = "dataset"


class FakeRegistry(FakeLineage):
    """The port of a registry, in memory."""

    def __init__(self, default_entity="me", data=None):
        self._data = data or FakeData()
        self.default_entity = default_entity

    @property
    def id(self):
        return self._data.id

    def close(self):
        pass

    def make_portfolio(self, collection, kind, versions):
        """Link versions, by id, at v0, v1, ... of a new portfolio; they are of the type."""
        for version in versions:
            assert self.link(version, collection, []).type == kind

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
            return CollectionListing(
                found.kind,
                self._shown_type(found),
                found.created_at,
                found.updated_at,
                tuple(VersionInfo(content.id, index, content.created_at) for index, content in self._committed(found)),
                tuple(AliasInfo(name, *where) for name, where in sorted(found.aliases.items())),
            )

    def version(self, ref):
        with self._data.lock:
            return self._version(ref.collection, self._find(ref))

    def version_by_id(self, version_id):
        recordable(version_id)
        with self._data.lock:
            content = self._data.by_id.get(version_id)
            if content is not None and content.state == State.DELETED:
                raise VersionDeletedError(f"the version with the id {version_id!r} was deleted")
            if content is None or content.state == State.PENDING:
                raise NotFoundError(f"there is no version with the id {version_id!r}")
            return self._version(content.source, content.source_index)

    def version_of_commit(self, client_id):
        recordable(client_id)
        with self._data.lock:
            content = self._data.by_client.get(client_id)
            if content is None:
                raise NotFoundError(f"there is no version of the commit {client_id!r}")
        return self.version_by_id(content.id)

    def versions(self, collection):
        with self._data.lock:
            return [self._version(collection, index) for index, _ in self._committed(self._collection(collection))]

    def entity_exists(self, entity):
        recordable(entity)
        return entity in self.entities()

    def project_exists(self, entity, project):
        recordable(entity), recordable(project)
        with self._data.lock:
            return (entity, project) in self._data.projects

    def collection_info(self, collection):
        with self._data.lock:
            self._collection(collection)
            infos = self.collection_infos(collection.entity, collection.project)
            return next(info for info in infos if info.ref == collection)

    def find(self, collection, name):
        recordable(name)
        listing, index = self.listing(collection), version_index(name)
        found = [info for info in listing.versions if info.index == index]
        found += [alias for alias in listing.aliases if alias.name == name]
        if not found:
            raise NotFoundError(f"{collection} has no {name!r}")
        return found[0]

    def collection_infos(self, entity, project):
        with self._data.lock:
            return [
                CollectionInfo(
                    ref,
                    found.kind,
                    self._shown_type(found),
                    found.description,
                    len(self._committed(found)),
                    found.created_at,
                    found.updated_at,
                )
                for ref in (CollectionRef(entity, project, name) for name in self.collections(entity, project))
                for found in [self._data.collections[ref]]
            ]

    def links(self, version_id):
        recordable(version_id)
        with self._data.lock:
            return [
                self._version(ref, index)
                for ref, found in sorted(self._data.collections.items(), key=lambda item: str(item[0]).split("/"))
                if found.kind == CollectionKind.PORTFOLIO
                for index, content in self._committed(found)
                if content.id == version_id
            ]

    # Making places ----------------------------------------------------------------------------------------------

    def create_entity(self, entity):
        recordable(entity)
        with self._data.lock:
            if entity in self._data.entities:
                raise ExistsError(f"the entity {entity!r} exists")
            self._data.entities.add(entity)

    def create_project(self, entity, project):
        recordable(entity, project)
        with self._data.lock:
            if entity != self.default_entity:
                self._require_entity(entity)
            if (entity, project) in self._data.projects:
                raise ExistsError(f"the project {entity}/{project} exists")
            self._make_project(entity, project)

    def create_collection(self, collection):
        recordable(collection)
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
            if self.collections(entity, project) or self.runs(entity, project):
                raise NotEmptyError(f"the project {entity}/{project} has collections or runs")
            self._data.projects.remove((entity, project))

    def remove_collection(self, collection):
        with self._data.lock:
            found = self._collection(collection)
            if found.members or found.links_made:
                raise NotEmptyError(f"the collection {collection} has, or had, versions")
            del self._data.collections[collection]

    # Commit -----------------------------------------------------------------------------------------------------

    def reserve(self, new):
        recordable(new.client_id, new.collection, new.type, new.digest, new.size, new.file_count, new.description)
        metadata = encoded(new.metadata)
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
            content = Content(
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

    def sweeps(self, after):
        return ()

    def publish(self, client_id, manifest, aliases, relied=None):
        recordable(*aliases)
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
        recordable(*aliases)
        with self._data.lock:
            index = self._find(ref)
            self._move(self._collection(ref.collection), index, aliases)
            return self._version(ref.collection, index)

    # Change -----------------------------------------------------------------------------------------------------

    def rename_alias(self, collection, old, new):
        recordable(new)
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
        recordable(description)
        with self._data.lock:
            content = self._content(ref)
            content.description, content.updated_at = description, self._data.now()

    def set_metadata(self, ref, metadata):
        text = encoded(metadata)
        with self._data.lock:
            content = self._content(ref)
            content.metadata, content.updated_at = text, self._data.now()

    def change_version(self, ref, change):
        recordable(change.add_aliases, change.add_tags)
        for wanted in (change.description, change.ttl_seconds):
            recordable(*(wanted or ())[1:])
        with self._data.lock:
            index, content = self._find(ref), self._content(ref)
            description = self._settled("description", content.description, change.description)
            ttl_seconds = self._settled("time to live", content.ttl_seconds, change.ttl_seconds)
            metadata = content.metadata
            if change.metadata is not None:
                metadata = encoded(merge_metadata(*change.metadata, json.loads(metadata)))
            tags = content.tags.difference(change.remove_tags).union(change.add_tags)
            if (description, ttl_seconds, metadata, tags) != (
                content.description,
                content.ttl_seconds,
                content.metadata,
                content.tags,
            ):
                content.description, content.ttl_seconds, content.metadata = description, ttl_seconds, metadata
                content.tags, content.updated_at = tags, self._data.now()
            found = self._collection(ref.collection)
            here = {name for name, where in found.aliases.items() if where[0] == index}
            for name in here.intersection(change.remove_aliases).difference(change.add_aliases):
                self.remove_alias(ref.collection, name)
            if not here.issuperset(change.add_aliases):
                self._move(found, index, set(change.add_aliases) - here)
            return self._version(ref.collection, index)

    @staticmethod
    def _settled(what, found, pair):
        """Return what a value becomes that somebody has seen and wants to be another."""
        if pair is None or found == pair[1]:
            return found
        if found != pair[0]:
            raise ConflictError(f"the {what} was changed by somebody else", hint="look again")
        return pair[1]

    def set_collection_description(self, collection, description):
        recordable(description)
        with self._data.lock:
            found = self._collection(collection)
            found.description, found.updated_at = description, self._data.now()

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

    def link(self, version_id, portfolio, aliases):
        recordable(portfolio, *aliases)
        with self._data.lock:
            kind = self.version_by_id(version_id).type
            content = self._data.by_id[version_id]
            found = self._data.collections.get(portfolio)
            if found is not None and found.kind == CollectionKind.SEQUENCE and found.members:
                raise InvalidInputError(f"{portfolio} is not a portfolio")
            if found is not None and found.kind == CollectionKind.PORTFOLIO and found.type != kind:
                raise InvalidInputError(f"{portfolio} links artifacts of type {found.type!r}, not {kind!r}")
            self._make_project(portfolio.entity, portfolio.project)
            found = self._make_collection(portfolio)
            found.kind, found.type = CollectionKind.PORTFOLIO, kind
            indices = [index for index, member in found.members.items() if member is content]
            if not indices:
                indices = [found.links_made]
                found.members[found.links_made] = content
                found.links_made += 1
            self._move(found, indices[0], [*aliases, LATEST])
            return self._version(portfolio, indices[0])

    def unlink(self, ref):
        with self._data.lock:
            before = self.version(ref)
            if not before.is_link:
                raise InvalidInputError(f"{ref} was logged there: it is not a link")
            found = self._collection(ref.collection)
            found.aliases = {name: where for name, where in found.aliases.items() if where[0] != before.index}
            del found.members[before.index]
            found.updated_at = self._data.now()
            return before

    # Within the lock --------------------------------------------------------------------------------------------

    def _require_entity(self, entity):
        recordable(entity)
        if entity not in self._data.entities:
            raise NotFoundError(f"there is no entity {entity!r}")

    def _require_project(self, entity, project):
        recordable(entity, project)
        if (entity, project) not in self._data.projects:
            raise NotFoundError(f"there is no project {entity}/{project}")

    def _collection(self, ref):
        recordable(ref)
        if ref not in self._data.collections:
            raise NotFoundError(f"there is no collection {ref}")
        return self._data.collections[ref]

    def _make_project(self, entity, project):
        self._data.entities.add(entity)
        self._data.projects.add((entity, project))

    def _make_collection(self, ref):
        time = self._data.now()
        return self._data.collections.setdefault(ref, Collection(time, time))

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
        recordable(ref.alias)
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
        self._data.used = {use: None for use in self._data.used if use[0] != content.id}

    @staticmethod
    def _shown_type(found):
        published = any(content.state != State.PENDING for content in found.members.values())
        return found.type if published or found.kind == CollectionKind.PORTFOLIO else None

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
            tags=tuple(sorted(content.tags)),
            created_at=content.created_at,
            updated_at=content.updated_at,
            ttl_seconds=content.ttl_seconds,
        )
