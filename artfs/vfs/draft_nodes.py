"""The inode table of drafts: which node the kernel means, and under which names it lies now.

A node is made by the first lookup of what it stands for and dropped when the kernel has forgotten it, nobody has it open and
nothing below it is known. Its identity is the overlay's ``Item.key``, so hard links are one node; a file that is copied up, or
moved into the store by a commit, keeps its node although its key changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artfs.model.paths import join
from artfs.vfs.inodes import DRAFT_BIT
from artfs.vfs.types import Inode

if TYPE_CHECKING:
    from artfs.staging.drafts import Draft
    from artfs.staging.items import Item


@dataclass(slots=True, eq=False)
class DraftNode:
    """A file or directory of a draft. ``names`` are its known places, empty for the root and for what was unlinked."""

    ino: Inode
    draft: Draft
    kind: str
    key: tuple[object, ...] | None
    is_root: bool = False
    names: dict[tuple[Inode, str], DraftNode] = field(default_factory=dict)
    lookups: int = 0
    handles: int = 0
    children: int = 0

    @property
    def path(self) -> str | None:
        """The path in the draft; None if the node was unlinked."""
        if self.is_root:
            return ""
        for (_, name), parent in self.names.items():
            directory = parent.path
            if directory is not None:
                return join(directory, name)
        return None


class DraftNodes:
    """All nodes of all drafts of a mount."""

    def __init__(self) -> None:
        self._counter = 0
        self._nodes: dict[Inode, DraftNode] = {}
        self._by_key: dict[tuple[str, tuple[object, ...]], DraftNode] = {}
        self._by_name: dict[tuple[Inode, str], DraftNode] = {}
        self._roots: dict[str, DraftNode] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, ino: Inode) -> DraftNode:
        """Return a node by its inode number."""
        return self._nodes[ino]

    def root(self, draft: Draft) -> DraftNode:
        """Return the node of a draft's root directory."""
        node = self._roots.get(draft.id)
        if node is None:
            node = self._roots[draft.id] = self._new(draft, "dir", None)
            node.is_root = True
        return node

    def drop_root(self, draft: Draft) -> None:
        """Let go of a draft that is gone; its nodes stay until the kernel forgets them."""
        node = self._roots.pop(draft.id, None)
        if node is not None:
            self._drop_if_unused(node)

    def at(self, parent: DraftNode, item: Item, name: str) -> DraftNode:
        """Return the node of what lies under a name, making it if it is not known."""
        draft, place = parent.draft, (parent.ino, name)
        node = self._by_key.get((draft.id, item.key))
        if node is None:
            node = self._by_name.get(place)
            if node is not None and node.key is not None and node.kind == item.kind and _moved(node, item):
                # Copied up, or adopted by the store, or both: the same file with its bytes elsewhere.
                del self._by_key[draft.id, node.key]
                node.key = item.key
            else:
                node = self._new(draft, item.kind, item.key)
            self._by_key[draft.id, item.key] = node
        if place not in node.names:
            self.unname(parent, name)
            node.names[place] = parent
            self._by_name[place] = node
            parent.children += 1
        return node

    def known(self, parent: DraftNode, name: str) -> DraftNode | None:
        """Return the node under a name if there is one."""
        return self._by_name.get((parent.ino, name))

    def unname(self, parent: DraftNode, name: str, *, gone: bool = False) -> None:
        """Take a name from its node; ``gone``: it was the last name, so the identity may be used again by a new file."""
        node = self._by_name.pop((parent.ino, name), None)
        if node is None:
            return
        del node.names[parent.ino, name]
        parent.children -= 1
        if gone and node.key is not None:
            self._by_key.pop((node.draft.id, node.key), None)
            node.key = None
        self._drop_if_unused(node)
        self._drop_if_unused(parent)

    def rename(self, parent: DraftNode, name: str, new_parent: DraftNode, new_name: str) -> None:
        """Move a name; the new name is free (`unname`)."""
        node = self._by_name.pop((parent.ino, name), None)
        if node is not None:
            del node.names[parent.ino, name]
            parent.children -= 1
            node.names[new_parent.ino, new_name] = new_parent
            self._by_name[new_parent.ino, new_name] = node
            new_parent.children += 1

    def exchange(self, parent: DraftNode, name: str, new_parent: DraftNode, new_name: str) -> None:
        """Swap the nodes of two names."""
        first, second = self._by_name.get((parent.ino, name)), self._by_name.get((new_parent.ino, new_name))
        for node, place in ((first, (parent, name)), (second, (new_parent, new_name))):
            if node is not None:
                del node.names[place[0].ino, place[1]], self._by_name[place[0].ino, place[1]]
                place[0].children -= 1
        for node, place in ((first, (new_parent, new_name)), (second, (parent, name))):
            if node is not None:
                node.names[place[0].ino, place[1]] = place[0]
                self._by_name[place[0].ino, place[1]] = node
                place[0].children += 1

    def forget(self, ino: Inode, lookups: int) -> None:
        """Take back lookups of the kernel."""
        node = self._nodes.get(ino)
        if node is not None:
            node.lookups -= lookups
            self._drop_if_unused(node)

    def released(self, node: DraftNode) -> None:
        """Note that a handle was closed."""
        node.handles -= 1
        self._drop_if_unused(node)

    def _new(self, draft: Draft, kind: str, key: tuple[object, ...] | None) -> DraftNode:
        self._counter += 1
        node = DraftNode(Inode(DRAFT_BIT | self._counter), draft, kind, key)
        self._nodes[node.ino] = node
        return node

    def drop_unused(self, node: DraftNode) -> None:
        """Let go of a node that was made for an answer in which the kernel was not told of it."""
        self._drop_if_unused(node)

    def _drop_if_unused(self, node: DraftNode) -> None:
        used = node.lookups > 0 or node.handles or node.children or self._roots.get(node.draft.id) is node
        if used or self._nodes.pop(node.ino, None) is None:
            return
        if node.key is not None and self._by_key.get((node.draft.id, node.key)) is node:
            del self._by_key[node.draft.id, node.key]
        for (parent_ino, name), parent in node.names.items():
            self._by_name.pop((parent_ino, name), None)
            parent.children -= 1
            self._drop_if_unused(parent)
        node.names.clear()


def _moved(node: DraftNode, item: Item) -> bool:
    """Whether what lies under a known name is still the node's file; of a file with several names, only one stays the node."""
    return len(node.names) == 1 or (node.key is not None and node.key[0] != item.key[0])
