"""The upper levels of the mount: entities, projects, collections, aliases, ``.staging`` and ``.commit``.

Nodes are known by name: each (kind, names) gets an inode number once, for the life of the mount. What exists is asked of
the catalog each time. Changing aliases and making places goes to the registry in one call each; what is a draft or a
commit is handed on by `artfs.vfs.filesystem`.
"""

from __future__ import annotations

import enum
import os
import re
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.errors import ExistsError, InvalidInputError, NotEmptyError, NotFoundError, ReadOnlyError
from artfs.model.names import (
    CollectionRef,
    parse_alias,
    parse_collection,
    parse_entity,
    parse_project,
    version_index,
    version_name,
)
from artfs.registry.port import VersionInfo
from artfs.vfs.types import ROOT, Attr, DirEntry, Inode, Owner, directory_attr, symlink_attr
from artfs.vfs.versions import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.registry.port import Registry
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.types import Notifier
    from artfs.vfs.versions import Versions

STAGING_NAME = ".staging"
COMMIT_NAME = ".commit"

# `ln -sfn` of GNU coreutils makes a link of this name and renames it, so that the change is one; a name that begins with a
# dot cannot be an alias. Such links stay in memory until they are renamed. A word such as "Customer" is meant as an alias: one
# in 200 of the random names is a word, and then `ln -sfn` is two changes.
_TEMPORARY_LINK = re.compile(r"Cu(?![a-z]{6})[0-9A-Za-z]{6}|\..+")


class Kind(enum.Enum):
    """What a node of the upper levels is."""

    ROOT = "root"
    ENTITY = "entity"
    PROJECT = "project"
    COLLECTION = "collection"
    STAGING = "staging"
    COMMIT = "commit"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True)
class Node:
    """A name of the upper levels: as many of the names as its kind has."""

    kind: Kind
    entity: str = ""
    project: str = ""
    name: str = ""
    alias: str = ""

    @property
    def collection(self) -> CollectionRef:
        """The collection that the node is or lies in."""
        return CollectionRef(self.entity, self.project, self.name)

    def with_alias(self, alias: str) -> Node:
        """Return the node of an alias in the collection that the node is or lies in."""
        return Node(Kind.ALIAS, self.entity, self.project, self.name, alias)


@dataclass(slots=True)
class _PendingLink:
    target: str
    made_ns: int


class Namespace:
    """The upper levels. Names come as text (``os.fsdecode``), answers are attributes."""

    def __init__(
        self,
        catalog: Catalog,
        registry: Registry,
        versions: Versions,
        notifier: Notifier,
        has_drafts: Callable[[CollectionRef], bool],
        owner: Owner,
        *,
        read_only: bool,
    ) -> None:
        self._catalog = catalog
        self._registry = registry
        self._versions = versions
        self._notifier = notifier
        self._has_drafts = has_drafts
        self._owner = owner
        self._read_only = read_only
        self._started_ns = time.time_ns()
        root = Node(Kind.ROOT)
        self._nodes: dict[Inode, Node] = {ROOT: root}
        self._inodes: dict[Node, Inode] = {root: ROOT}
        self._links: dict[tuple[CollectionRef, str], _PendingLink] = {}

    # Nodes ------------------------------------------------------------------------------------------------------

    def node(self, ino: Inode) -> Node:
        """Return the node of an inode of the upper levels."""
        return self._nodes[ino]

    def inode(self, node: Node) -> Inode:
        """Return the inode of a node, giving it a number if it has none yet."""
        ino = self._inodes.get(node)
        if ino is None:
            ino = Inode(len(self._nodes) + 1)
            self._nodes[ino] = node
            self._inodes[node] = ino
        return ino

    def place(self, kind: Kind, collection: CollectionRef) -> Inode:
        """Return the inode of a collection, its ``.staging`` or its ``.commit``."""
        return self.inode(Node(kind, collection.entity, collection.project, collection.collection))

    def _directory(self, node: Node, ttl: float, time_ns: int | None = None) -> Attr:
        bits = 0o555 if self._read_only else 0o755
        when = self._started_ns if time_ns is None else time_ns
        return directory_attr(self.inode(node), bits, self._owner, when, ttl, ttl)

    def _alias(self, collection: CollectionRef, name: str, target: str, time_ns: int, ttl: float) -> Attr:
        node = Node(Kind.ALIAS, collection.entity, collection.project, collection.collection, name)
        return symlink_attr(self.inode(node), target, self._owner, time_ns, ttl)

    # Looking ----------------------------------------------------------------------------------------------------

    async def getattr(self, ino: Inode) -> Attr:
        """Return the attributes of a node; NotFoundError if it is gone."""
        node = self.node(ino)
        match node.kind:
            case Kind.ROOT:
                return self._directory(node, 0.0)
            case Kind.ENTITY:
                return await self._child(Node(Kind.ROOT), node.entity)
            case Kind.PROJECT:
                return await self._child(Node(Kind.ENTITY, node.entity), node.project)
            case Kind.COLLECTION:
                return await self._collection_attr(node)
            case Kind.STAGING | Kind.COMMIT:
                return self._directory(node, 0.0)
            case Kind.ALIAS:
                return await self.lookup(self.place(Kind.COLLECTION, node.collection), node.alias)

    async def lookup(self, parent: Inode, name: str) -> Attr:
        """Look a name up in a directory above the drafts; NotFoundError."""
        return await self._child(self.node(parent), name)

    async def _child(self, node: Node, name: str) -> Attr:
        if not _is_text(name):
            raise NotFoundError("no name here has bytes that are no text")
        match node.kind:
            case Kind.ROOT:
                ttl = await self._catalog.has_entity(name)
                if ttl is not None:
                    return self._directory(Node(Kind.ENTITY, name), ttl)
            case Kind.ENTITY:
                ttl = await self._catalog.has_project(node.entity, name)
                if ttl is not None:
                    return self._directory(Node(Kind.PROJECT, node.entity, name), ttl)
            case Kind.PROJECT:
                return await self._collection_attr(Node(Kind.COLLECTION, node.entity, node.project, name))
            case Kind.COLLECTION:
                return await self._in_collection(node.collection, name)
        raise NotFoundError(f"there is no {name!r} here")

    async def _collection_attr(self, node: Node) -> Attr:
        """Return the attributes of a collection's directory, of which only the time is to be asked for."""
        updated_at, ttl = await self._catalog.changed(node.collection)
        return self._directory(node, ttl, nanoseconds(updated_at))

    async def _in_collection(self, collection: CollectionRef, name: str) -> Attr:
        if name in {STAGING_NAME, COMMIT_NAME} and not self._read_only:
            kind = Kind.STAGING if name == STAGING_NAME else Kind.COMMIT
            return await self.getattr(self.place(kind, collection))
        found, ttl = await self._catalog.shown(collection, name)
        if isinstance(found, VersionInfo):
            await self._versions.mount(collection, self.place(Kind.COLLECTION, collection), [found])
            return self._versions.root_attr(collection, found, ttl)
        if found is not None:
            return self._alias(collection, name, version_name(found.index), nanoseconds(found.updated_at), ttl)
        link = self._links.get((collection, name))
        if link is not None:
            return self._alias(collection, name, link.target, link.made_ns, 0.0)
        raise NotFoundError(f"{collection} has no {name!r}")

    async def readlink(self, ino: Inode) -> str:
        """Return what an alias points at: the name of a version."""
        node = self.node(ino)
        link = self._links.get((node.collection, node.alias))
        if link is not None:
            return link.target
        found, _ = await self._catalog.shown(node.collection, node.alias)
        if found is None:
            raise NotFoundError(f"{node.collection} has no alias {node.alias!r}")
        return version_name(found.index)

    async def readdir(self, ino: Inode, offset: int) -> list[DirEntry]:
        """Return the entries of a directory above the drafts, from an offset on."""
        node = self.node(ino)
        attrs = [(".", await self.getattr(ino)), ("..", self._directory(self._parent(node), 0.0))]
        match node.kind:
            case Kind.ROOT:
                attrs += [(name, await self._child(node, name)) for name in await self._catalog.entities()]
            case Kind.ENTITY:
                attrs += [(name, await self._child(node, name)) for name in await self._catalog.projects(node.entity)]
            case Kind.PROJECT:
                infos = await self._catalog.collection_infos(node.entity, node.project)
                ttl = self._catalog.ttl_left(("collections", node.entity, node.project))
                for info in infos.values():
                    child = Node(Kind.COLLECTION, node.entity, node.project, info.ref.collection)
                    attrs.append((child.name, self._directory(child, ttl, nanoseconds(info.updated_at))))
            case Kind.COLLECTION:
                attrs += await self._collection_entries(node.collection)
        entries = [DirEntry(os.fsencode(name), attr, place) for place, (name, attr) in enumerate(attrs, 1)]
        return entries[offset:]

    def _parent(self, node: Node) -> Node:
        match node.kind:
            case Kind.ROOT | Kind.ENTITY:
                return Node(Kind.ROOT)
            case Kind.PROJECT:
                return Node(Kind.ENTITY, node.entity)
            case Kind.COLLECTION:
                return Node(Kind.PROJECT, node.entity, node.project)
            case _:
                return Node(Kind.COLLECTION, node.entity, node.project, node.name)

    async def _collection_entries(self, collection: CollectionRef) -> list[tuple[str, Attr]]:
        listing = await self._catalog.listing(collection)
        ttl = self._catalog.ttl_left(collection)
        await self._versions.mount(collection, self.place(Kind.COLLECTION, collection), listing.versions)
        entries = []
        if not self._read_only:
            for name, kind in ((STAGING_NAME, Kind.STAGING), (COMMIT_NAME, Kind.COMMIT)):
                entries.append((name, await self.getattr(self.place(kind, collection))))
        entries += [
            (version_name(info.index), self._versions.root_attr(collection, info, ttl)) for info in listing.versions
        ]
        for alias in listing.aliases:
            target, moved_ns = version_name(alias.index), nanoseconds(alias.updated_at)
            entries.append((alias.name, self._alias(collection, alias.name, target, moved_ns, ttl)))
        return entries

    # Making places ----------------------------------------------------------------------------------------------

    async def mkdir(self, parent: Inode, name: str) -> Attr:
        """Make an entity, a project or a collection; ExistsError, InvalidInputError, ReadOnlyError elsewhere."""
        node, registry = self.node(parent), self._registry
        match node.kind:
            case Kind.ROOT:
                await self._change(registry.create_entity, parse_entity(name))
            case Kind.ENTITY:
                await self._change(registry.create_project, node.entity, parse_project(name))
            case Kind.PROJECT:
                collection = CollectionRef(node.entity, node.project, parse_collection(name))
                await self._change(registry.create_collection, collection)
            case _:
                raise ReadOnlyError(f"versions of {node.collection} are made by moving a draft to {COMMIT_NAME}/")
        return await self._child(node, name)

    async def rmdir(self, parent: Inode, name: str) -> None:
        """Remove an empty entity, project or collection; NotEmptyError, ReadOnlyError for what is no such place."""
        node, registry = self.node(parent), self._registry
        match node.kind:
            case Kind.ROOT:
                await self._change(registry.remove_entity, name)
            case Kind.ENTITY:
                await self._change(registry.remove_project, node.entity, name)
            case Kind.PROJECT:
                collection = CollectionRef(node.entity, node.project, name)
                if self._has_drafts(collection):
                    raise NotEmptyError(f"{collection} still has drafts in {STAGING_NAME}/")
                await self._change(registry.remove_collection, collection)
            case _:
                raise ReadOnlyError(f"{name!r} is not removed by rmdir", hint="delete a version with: artfs rm REF")

    # Aliases ----------------------------------------------------------------------------------------------------

    async def symlink(self, parent: Inode, name: str, target: str) -> Attr:
        """Make an alias for the version that the target names; ExistsError if the alias is there."""
        node = self._collection(parent)
        collection = node.collection
        index = await self._target_index(target, collection)
        if _TEMPORARY_LINK.fullmatch(name):
            if (collection, name) in self._links:
                raise ExistsError(f"{name!r} is there already")
            self._links[collection, name] = _PendingLink(version_name(index), time.time_ns())
        else:
            parse_alias(name)
            if (await self._catalog.shown(collection, name))[0] is not None:
                raise ExistsError(f"{collection} has an alias {name!r} already", hint="replace it with: ln -sfn")
            await self._change(self._registry.add_aliases, collection.at(version_name(index)), [name])
        return await self._in_collection(collection, name)

    async def _target_index(self, target: str, collection: CollectionRef) -> int:
        """Return the version that the target of a new alias names: a version of the collection, or another alias."""
        name = target.removeprefix("./").rstrip("/")
        found, _ = await self._catalog.shown(collection, name)
        if found is not None:
            return found.index
        if version_index(name) is None:
            raise InvalidInputError(
                f"an alias points at a version of {collection}, not at {target!r}", hint="ln -s v3 best"
            )
        raise NotFoundError(f"{collection} has no version {name}")

    async def unlink(self, parent: Inode, name: str) -> None:
        """Remove an alias; NotFoundError, ReadOnlyError for anything else."""
        node = self._collection(parent)
        if self._links.pop((node.collection, name), None) is not None:
            return
        if version_index(name) is not None:
            raise ReadOnlyError(f"{node.collection}:{name} is committed", hint="delete a version with: artfs rm REF")
        await self._change(self._registry.remove_alias, node.collection, name)

    async def rename(self, parent: Inode, name: str, new_parent: Inode, new_name: str, *, replace: bool) -> None:
        """Give an alias of a collection another name, replacing what has it; the registry sees one change."""
        node, new_node = self._collection(parent), self._collection(new_parent)
        collection = node.collection
        if new_node != node:
            raise InvalidInputError(
                f"an alias belongs to its collection: {name!r} cannot move to {new_node.collection}"
            )
        if version_index(name) is not None:
            raise ReadOnlyError(f"{collection}:{name} is committed: it cannot be renamed")
        parse_alias(new_name)
        if not replace and (await self._catalog.shown(collection, new_name))[0] is not None:
            raise ExistsError(f"{collection} has an alias {new_name!r} already")
        link = self._links.get((collection, name))
        if link is not None:
            await self._change(self._registry.add_aliases, collection.at(link.target), [new_name])
            self._links.pop((collection, name), None)
        else:
            await self._change(self._registry.rename_alias, collection, name, new_name)
        self._moved(node.with_alias(name), node.with_alias(new_name))

    def _moved(self, old: Node, new: Node) -> None:
        """Let the inode of a renamed alias go with it: the kernel keeps it under the new name, and asks by it."""
        ino, replaced = self._inodes.pop(old, None), self._inodes.get(new)
        if ino is not None:
            self._nodes[ino], self._inodes[new] = new, ino
        for changed in (ino, replaced):
            if changed is not None:
                self._notifier.forget_attr(changed)

    def _collection(self, ino: Inode) -> Node:
        node = self.node(ino)
        if node.kind is not Kind.COLLECTION:
            raise ReadOnlyError("aliases live in the directory of a collection")
        return node

    async def _change(self, action: Callable[..., object], *arguments: object) -> None:
        try:
            await self._catalog.call(action, *arguments)
        finally:
            self._catalog.forget()


def _is_text(name: str) -> bool:
    """Whether a name of the kernel is text that a registry can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_symlink(attr: Attr) -> bool:
    """Whether attributes are those of an alias."""
    return stat.S_ISLNK(attr.mode)
