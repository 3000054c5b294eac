"""What there is on a W&B server, and how it is asked: the reading half of the port, on which the others stand.

Lists are walked page by page, once; one name is asked for alone. A collection is made by its first version there; until then, what was
asked for is remembered here.
"""

from __future__ import annotations

import dataclasses
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from artfs.errors import NotFoundError, PermissionDeniedError, VersionDeletedError
from artfs.model.digest import Digest
from artfs.model.names import CollectionRef, version_index
from artfs.registry.port import CollectionInfo, CollectionKind, CollectionListing, State
from artfs.registry.wandb import operations, parse
from artfs.registry.wandb.organizations import Organizations
from artfs.wandb.paging import pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from artfs.model.names import ArtifactRef
    from artfs.registry.port import AliasInfo, Version, VersionInfo
    from artfs.wandb.operation import Operation
    from artfs.wandb.session import WandbSession

_PAGE = 500


class Reading:
    """A registry that is looked at. The methods are documented at `artfs.registry.port.Registry`."""

    def __init__(self, session: WandbSession, entity: str | None) -> None:
        self._session = session
        self._entity = entity
        self._organizations = Organizations(session, lambda: self._viewer, lambda: self.default_entity)
        self._lock = threading.Lock()
        self._made: dict[CollectionRef, CollectionInfo] = {}
        self._reserved: dict[str, str] = {}

    @property
    def id(self) -> str:
        """The name of this registry: the same for everybody who uses the server."""
        return f"wandb-{Digest.of(str(self._session.base).encode()).hex[:16]}"

    @cached_property
    def default_entity(self) -> str:
        """The entity of the settings, or that of who has logged in."""
        if self._entity:
            return self._entity
        viewer = self._viewer
        found = viewer.get("entity") or viewer.get("username")
        if not found:
            raise PermissionDeniedError("the W&B server does not say who you are", hint="log in, or set ARTFS_ENTITY")
        return str(found)

    @cached_property
    def _viewer(self) -> parse.Node:
        found = self._session.ask(operations.VIEWER, {}).get("viewer")
        if not isinstance(found, dict):
            raise PermissionDeniedError(
                "the W&B server does not know who you are", hint="check WANDB_API_KEY or ~/.netrc"
            )
        return found

    def close(self) -> None:
        """Give back connections."""
        self._session.close()

    # What exists ------------------------------------------------------------------------------------------------

    def entities(self) -> Sequence[str]:
        """Return who has logged in, and the teams and organizations of that user."""
        viewer = self._viewer
        teams = (edge.get("node") or {} for edge in (viewer.get("teams") or {}).get("edges") or ())
        organizations = ((one.get("orgEntity") or {}) for one in viewer.get("organizations") or ())
        names = {self.default_entity, viewer.get("entity"), *(node.get("name") for node in (*teams, *organizations))}
        return sorted(name for name in names if isinstance(name, str) and parse.is_name(name))

    def entity_exists(self, entity: str) -> bool:
        """Whether there is an entity; any that the server knows is one, listed or not."""
        if entity in self.entities() or self._organizations.entity_of(entity):
            return True
        return bool(self._session.ask(operations.ENTITY, {"entity": entity}).get("entity"))

    def projects(self, entity: str) -> Sequence[str]:
        """Return the names of an entity's projects."""
        owner = self._organizations.entity_of(entity) or entity
        found = self._walk(operations.PROJECTS, {"entity": owner}, ("models",))
        names = {str(parse.field(node, "name", str)) for node in found}
        if not names and not self.entity_exists(entity):
            raise NotFoundError(f"there is no entity {entity!r}")
        with self._lock:
            names |= {ref.project for ref in self._made if ref.entity == entity}
        return sorted(filter(parse.is_name, names))

    def project_exists(self, entity: str, project: str) -> bool:
        """Whether there is a project."""
        with self._lock:
            if any((ref.entity, ref.project) == (entity, project) for ref in self._made):
                return True
        return self._project(operations.PROJECT, CollectionRef(entity, project, "")) is not None

    def collections(self, entity: str, project: str) -> Sequence[str]:
        """Return the names of a project's collections."""
        return [info.ref.collection for info in self.collection_infos(entity, project)]

    def collection_infos(self, entity: str, project: str) -> Sequence[CollectionInfo]:
        """Return the collections of a project by name."""
        variables = {"entity": self._organizations.home(entity, project), "project": project}
        infos = {}
        for node in self._walk(operations.COLLECTIONS, variables, ("project", "artifactCollections")):
            ref = CollectionRef(entity, project, str(parse.field(node, "name", str)))
            if node.get("state") != State.DELETED.value and parse.is_name(ref.collection):
                infos[ref] = parse.collection_info(node, ref)
        with self._lock:
            made = [info for ref, info in self._made.items() if (ref.entity, ref.project) == (entity, project)]
        for info in made:
            infos.setdefault(info.ref, info)
        if not infos and not self.project_exists(entity, project):
            raise NotFoundError(f"there is no project {entity}/{project}")
        return [infos[ref] for ref in sorted(infos, key=str)]

    def collection_info(self, collection: CollectionRef) -> CollectionInfo:
        """Return one collection."""
        node = self._collection(operations.COLLECTION, collection)
        if node is not None and node.get("state") != State.DELETED.value:
            return parse.collection_info(node, collection)
        if (made := self._remembered(collection)) is not None:
            return made
        raise NotFoundError(f"there is no collection {collection}")

    def listing(self, collection: CollectionRef) -> CollectionListing:
        """Return the versions and aliases of a collection."""
        info = self.collection_info(collection)
        versions, aliases = parse.listed(
            self._walk(
                operations.LISTING, self._named(collection), ("project", "artifactCollection", "artifactMemberships")
            )
        )
        return CollectionListing(
            kind=info.kind,
            type=info.type,
            created_at=info.created_at,
            updated_at=info.updated_at,
            versions=versions,
            aliases=aliases,
        )

    def find(self, collection: CollectionRef, name: str) -> VersionInfo | AliasInfo:
        """Return what a collection shows under a name."""
        node = self._membership(operations.FIND, collection, name)
        versions, aliases = parse.listed([] if node is None else [node])
        index = version_index(name)
        for version in versions:
            if version.index == index:
                return version
        for alias in aliases:
            if alias.name == name:
                return alias
        raise NotFoundError(f"{collection} has no {name!r}")

    def version(self, ref: ArtifactRef) -> Version:
        """Return a COMMITTED version."""
        collection = self._collection(operations.VERSION, ref.collection, name=ref.alias) or {}
        node = collection.get("artifactMembership")
        if not isinstance(node, dict) or node.get("artifact") is None:
            if _is_gone(collection, ref.alias):
                raise VersionDeletedError(f"{ref} was deleted")
            raise NotFoundError(
                f"there is no version {ref}", hint=f"artfs ls {ref.collection} lists those that there are"
            )
        return self._committed(node, str(ref), ref.alias)

    @staticmethod
    def _committed(node: parse.Node, name: str, alias: str | None = None) -> Version:
        state = node["artifact"].get("state")
        if state == State.DELETED.value:
            raise VersionDeletedError(f"{name} was deleted")
        if state != State.COMMITTED.value:
            raise NotFoundError(f"there is no version {name}")
        found = parse.version(node)
        # The server takes digests and commit hashes for aliases, too: those name no directory.
        if alias is not None and version_index(alias) != found.index and alias not in found.aliases:
            raise NotFoundError(f"there is no version {name}")
        return found

    def version_by_id(self, version_id: str) -> Version:
        """Return a COMMITTED version by its id, as the collection shows it where it was logged; if that is not shown, a portfolio."""
        nodes = self._memberships(version_id)
        nodes.sort(key=lambda node: (node.get("artifactCollection") or {}).get("__typename") == parse.PORTFOLIO)
        for node in nodes:
            return self._committed(node, f"the version with the id {version_id!r}")
        raise NotFoundError(f"there is no version with the id {version_id!r}")

    def versions(self, collection: CollectionRef) -> Sequence[Version]:
        """Return all COMMITTED versions of a collection."""
        self.collection_info(collection)
        path = ("project", "artifactCollection", "artifactMemberships")
        nodes = self._walk(operations.VERSIONS, self._named(collection), path)
        found = [
            parse.version(node) for node in nodes if (node.get("artifact") or {}).get("state") == State.COMMITTED.value
        ]
        return sorted(found, key=lambda version: version.index)

    def links(self, version_id: str) -> Sequence[Version]:
        """Return a version as each portfolio shows it that links it."""
        try:
            nodes = self._memberships(version_id)
        except NotFoundError:
            return []
        found = [
            parse.version(node)
            for node in nodes
            if (node.get("artifactCollection") or {}).get("__typename") == parse.PORTFOLIO
        ]
        return sorted(found, key=lambda version: dataclasses.astuple(version.collection))

    # Asking -----------------------------------------------------------------------------------------------------

    def _home(self, collection: CollectionRef) -> CollectionRef:
        """Return where a collection is: one of a registry is in the entity of the organization."""
        owner = self._organizations.home(collection.entity, collection.project)
        return collection if owner == collection.entity else dataclasses.replace(collection, entity=owner)

    def _named(self, collection: CollectionRef) -> dict[str, object]:
        home = self._home(collection)
        return {"entity": home.entity, "project": home.project, "collection": home.collection}

    def _walk(
        self, operation: Operation, variables: Mapping[str, object], path: tuple[str, ...], page_size: int = _PAGE
    ) -> Iterator[parse.Node]:
        try:
            yield from pages(self._session, operation, variables, path, page_size=page_size)
        except NotFoundError:
            return  # there is no such place: who asks says so, if nothing was made here

    def _project(self, operation: Operation, collection: CollectionRef, **more: object) -> parse.Node | None:
        found = self._session.ask(operation, {**self._named(collection), **more}).get("project")
        return found if isinstance(found, dict) else None

    def _collection(self, operation: Operation, collection: CollectionRef, **more: object) -> parse.Node | None:
        found = (self._project(operation, collection, **more) or {}).get("artifactCollection")
        return found if isinstance(found, dict) else None

    def _membership(self, operation: Operation, collection: CollectionRef, name: str) -> parse.Node | None:
        found = (self._collection(operation, collection, name=name) or {}).get("artifactMembership")
        return found if isinstance(found, dict) else None

    def _memberships(self, version_id: str) -> list[parse.Node]:
        artifact = self._session.ask(operations.MEMBERSHIPS, {"id": version_id}).get("artifact")
        if not isinstance(artifact, dict):
            raise NotFoundError(f"there is no version with the id {version_id!r}")
        if artifact.get("state") == State.DELETED.value:
            raise VersionDeletedError(f"the version with the id {version_id!r} was deleted")
        edges = (artifact.get("artifactMemberships") or {}).get("edges") or []
        return [edge["node"] for edge in edges if isinstance(edge, dict) and isinstance(edge.get("node"), dict)]

    # What was made here ---------------------------------------------------------------------------------------------

    def _make(self, collection: CollectionRef) -> None:
        made = parse.now()
        with self._lock:
            self._made[collection] = CollectionInfo(collection, CollectionKind.SEQUENCE, None, None, 0, made, made)

    def _forget(self, collection: CollectionRef) -> bool:
        """Forget what was made here; False if nothing was."""
        with self._lock:
            return self._made.pop(collection, None) is not None

    def _remembered(self, collection: CollectionRef) -> CollectionInfo | None:
        with self._lock:
            return self._made.get(collection)

    def _describe_made(self, collection: CollectionRef, description: str | None) -> bool:
        """Remember the description of a collection that the server does not know yet; False if none was made here."""
        with self._lock:
            if (made := self._made.get(collection)) is None:
                return False
            self._made[collection] = dataclasses.replace(made, description=description or None, updated_at=parse.now())
            return True


def _is_gone(collection: parse.Node, name: str) -> bool:
    """Whether a version that a sequence does not have was deleted: it gives its indices one by one, with each publication."""
    index = version_index(name)
    newest = (collection.get("latestArtifact") or {}).get("versionIndex")
    return index is not None and isinstance(newest, int) and index < newest
