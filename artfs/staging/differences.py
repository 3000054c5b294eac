"""What a draft differs in from a version, while it may be written to: what a commit of it would change.

A directory of the base that nothing was done to is not looked into, so a draft from a version of a million files costs what was touched.
Bytes are read only where no digest is known and the answer depends on it: a local file is hashed if the other one has the same size, or
if it is new and a file of its size is gone, which it may be under another name. Hashes that a commit has made are used.

Changes come in no order. In memory are the local files to hash, and what the references of one symlink stand for.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from artfs.errors import BusyError, InvalidInputError
from artfs.model.diff import Change, Kind, Line, change_of, line_of, merge, order_key
from artfs.model.paths import split
from artfs.staging.hashing import hash_in_use
from artfs.staging.scan import problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.cache.index import ManifestIndex, Node
    from artfs.model.digest import Algorithm
    from artfs.staging.drafts import Draft
    from artfs.staging.items import Item
    from artfs.staging.links import Links
    from artfs.staging.progress import Progress

_name_of_node = attrgetter("name")
_path_of_pair = itemgetter(0)


class Differences:
    """Compares a draft with the index of a version; None is an empty one. Iterated once, by one thread at a time.

    ``problems`` are sentences about what could not be committed, complete when the iteration has ended.
    """

    def __init__(
        self,
        draft: Draft,
        other: ManifestIndex | None,
        links: Links,
        threads: int,
        algorithm: Algorithm,
        progress: Progress,
        *,
        is_base: bool,
    ) -> None:
        self._draft = draft
        self._other = other
        self._links = links
        self._threads = threads
        self._algorithm = algorithm
        self._progress = progress
        self._is_base = is_base
        self._removed_sizes: set[int] = set()
        self._new: list[tuple[str, Item]] = []  # local files under paths that the other has not, by path
        self._unsure: dict[
            str, list[tuple[str, Line | None]]
        ] = {}  # by local file: where it is, and what the other has there
        self._items: dict[str, Item] = {}
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Change]:
        """Yield the changes. What `artfs.staging.hashing` and the links raise; BusyError if files change meanwhile."""
        self._progress.begin("comparing")
        pending: list[tuple[str, Node | None]] = [("", None if self._other is None else self._other.node(0))]
        while pending:
            directory, node = pending.pop()
            ours = self._draft.tree.children(directory)
            for theirs, item in merge(self._children(node), ours, _name_of_node, _name_of_item):
                self._progress.check()
                if item is not None and item.kind == "dir":
                    yield from self._directory(item, theirs, pending)
                elif item is not None and (item.kind != "symlink" or problem_of(self._draft.tree, item)):
                    yield from self._file(item, theirs)
                elif item is not None:
                    yield from self._symlink(item, theirs)
                else:
                    yield from self._removed(theirs)
        if self._draft.references:  # of a program that logs without a mount: no draft that is shown has any
            self.problems.append(f"{len(self._draft.references)} references beside the files are not compared")
        yield from self._hashed()

    def _children(self, node: Node | None) -> Iterator[Node]:
        after = -1
        while node is not None and self._other is not None and (more := self._other.children(node.number, after)):
            yield from more
            after = more[-1].number

    def _lines(self, node: Node | None) -> Iterator[Line]:
        if node is not None and self._other is not None:
            yield from self._other.lines(node.number)

    def _removed(self, node: Node | None) -> Iterator[Change]:
        for line in self._lines(node):
            self._removed_sizes.add(line.size)
            yield Change(Kind.REMOVED, line, None)

    def _directory(self, item: Item, node: Node | None, pending: list[tuple[str, Node | None]]) -> Iterator[Change]:
        if node is not None and not node.is_dir:
            yield from self._removed(node)
            node = None
        problem = problem_of(self._draft.tree, item)
        if problem:
            self.problems.append(problem)
        elif node is None or not self._is_base or self._draft.tree.untouched(item.path) != node.number:
            pending.append((item.path, node))

    def _file(self, item: Item, node: Node | None) -> Iterator[Change]:
        before: Line | None = None
        if node is not None and node.is_dir:
            yield from self._removed(node)
        elif node is not None:
            if self._is_base and item.key == ("base", node.number):
                return
            before = next(self._lines(node))
        problem = problem_of(self._draft.tree, item)
        if problem:
            self.problems.append(problem)
        else:
            yield from self._judge(item.path, before, item)

    def _judge(self, path: str, before: Line | None, item: Item) -> Iterator[Change]:
        """Compare a file of the draft, which a path shows, with what the other has there; later, if it has to be hashed for that."""
        if item.entry is not None:
            yield from _changes(before, line_of(item.entry)._replace(path=path))
        elif before is None:
            self._new.append((path, item))
        elif before.size not in {0, item.size}:  # a reference may have the size 0 for one that is not known
            yield Change(Kind.CHANGED, before, Line(path, "", item.size))
        else:
            self._ask(path, before, item)

    def _ask(self, path: str, before: Line | None, item: Item) -> None:
        self._items[item.path] = item
        self._unsure.setdefault(item.path, []).append((path, before))

    def _symlink(self, link: Item, node: Node | None) -> Iterator[Change]:
        """Compare what a symlink stands for with what the other has at or below its path."""
        found: list[tuple[str, Line | Item]] = []
        try:
            for meaning in self._links.resolve(self._draft, link):
                self._progress.check()
                found.append(meaning if isinstance(meaning, tuple) else (meaning.path, line_of(meaning)))
        except InvalidInputError as error:
            self.problems.append(error.message)
        yield from self._expanded(found, self._lines(node))

    def _expanded(self, found: list[tuple[str, Line | Item]], lines: Iterator[Line]) -> Iterator[Change]:
        found.sort(key=lambda pair: order_key(pair[0]))
        for before, after in merge(lines, found, _path_of_line, _path_of_pair, order_key):
            if after is None:
                if before is not None:
                    self._removed_sizes.add(before.size)
                yield from _changes(before, None)
            elif isinstance(after[1], Line):
                yield from _changes(before, after[1])
            else:
                yield from self._judge(after[0], before, after[1])

    def _hashed(self) -> Iterator[Change]:
        """Hash what has to be, and yield the changes that depended on it."""
        for path, item in self._new:
            if item.size in self._removed_sizes:
                self._ask(path, None, item)
            else:
                yield Change(Kind.ADDED, None, Line(path, "", item.size))
        try:
            for one in hash_in_use(
                self._draft, list(self._items.values()), self._threads, self._algorithm, self._progress
            ):
                for path, before in self._unsure[one.item.path]:
                    yield from _changes(before, line_of(one.entry)._replace(path=path))
        except BusyError as error:
            path = error.message.partition(" has changed")[0]
            raise BusyError(f"{path} has changed while it was being compared", hint="try again") from error


def _changes(before: Line | None, after: Line | None) -> Iterator[Change]:
    change = change_of(before, after)
    if change is not None:
        yield change


def _name_of_item(item: Item) -> str:
    return split(item.path)[1]


def _path_of_line(line: Line) -> str:
    return line.path
