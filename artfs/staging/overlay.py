"""The tree of a draft: local files over a base version, with the semantics of one local file system.

Local files lie in ``tree/`` under their own paths. Beneath them lies the base, where marks say so (`artfs.staging.marks`). A local file
wins over what is beneath it; a local directory is merged with a base directory beneath it. A draft without a base and without marks
costs one system call for each operation. Failures are plain ``OSError`` with the errno that a local file system gives.

Paths are relative text (``os.fsdecode``), the root is empty. They come name by name from lookups, so no component but the last is
ever a symlink. Changing operations are called by one thread at a time; looking is safe beside `copy_up` and `bind`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from typing import TYPE_CHECKING

from artfs.model.paths import join, split
from artfs.staging.calls import exchange_names, process_umask
from artfs.staging.items import Item, local_item
from artfs.staging.marks import WHITEOUT, Mark, MarkKind, Marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from artfs.cache.index import ManifestIndex, Node
    from artfs.model.entry import Entry
    from artfs.staging.database import DraftDatabase


class Overlay:
    """The tree of one draft. ``base_ns`` is the time that files of the base show."""

    def __init__(self, directory: Path, database: DraftDatabase, index: ManifestIndex | None, base_ns: int) -> None:
        self._root = str(directory / "tree")
        self._temporary = str(directory / "tmp")
        self._database = database
        self._index = index
        self._base_ns = base_ns
        self._marks = Marks(database)
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._umask = process_umask()
        self._finish_moves()

    # Looking ----------------------------------------------------------------------------------------------------

    def local_path(self, path: str) -> str:
        """Return where the local file of a path lies, whether it is there or not."""
        return f"{self._root}/{path}" if path else self._root

    def lookup(self, path: str) -> Item | None:
        """Return what lies at a path."""
        try:
            found = os.lstat(self.local_path(path))
        except NotADirectoryError:
            return None
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENAMETOOLONG}:  # too long for a local file
                raise
            beneath = self._beneath(path)
            return None if beneath is None else self._shown(path, beneath)
        return local_item(path, found)

    def children(self, path: str) -> list[Item]:
        """Return what lies directly in a directory, sorted by name."""
        items: dict[str, Item] = {}
        try:
            with os.scandir(self.local_path(path)) as entries:
                for entry in entries:
                    items[entry.name] = local_item(join(path, entry.name), entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            pass  # a directory of the base alone
        marks = dict(self._marks.within(path))  # another thread may change them meanwhile
        for name, mark in marks.items():
            if name not in items and mark.kind is not MarkKind.WHITEOUT:
                items[name] = self._shown(join(path, name), self._meaning(mark))
        beneath = self._beneath_directory(path)
        if beneath is not None:
            for node in self._all_children(beneath):
                if node.name not in items and node.name not in marks:
                    items[node.name] = self._shown(join(path, node.name), node)
        return [items[name] for name in sorted(items)]

    def walk(self, closed: Callable[[Item], bool] = lambda _: False) -> Iterator[Item]:
        """Yield everything in the tree, each directory before what is in it; nothing is looked for in ``closed`` directories."""
        pending = [iter(self.children(""))]
        while pending:
            item = next(pending[-1], None)
            if item is None:
                pending.pop()
                continue
            yield item
            if item.kind == "dir" and not closed(item):
                pending.append(iter(self.children(item.path)))

    def untouched(self, path: str) -> int | None:
        """Return the directory of the base that a path shows just as it is, with all below it; None if anything may be different."""
        if os.path.lexists(self.local_path(path)) or any(True for _ in self._marks.below(path)):
            return None
        beneath = self._beneath_directory(path)
        return None if beneath is None else beneath.number

    def readlink(self, path: str) -> str:
        """Return the target of a symlink."""
        return os.readlink(self.local_path(path))

    def copy_up_needed(self, path: str) -> bool:
        """Whether a path has to be made local before it can be changed."""
        item = self.lookup(path)
        return item is not None and not item.local

    def _beneath(self, path: str) -> Node | Mark | None:
        """Return what lies beneath the local file of a path: a node of the base, or a blob mark."""
        if self._index is None and not self._marks:
            return None
        mark = self._marks.get(path) if path else None
        if mark is not None:
            return None if mark.kind is MarkKind.WHITEOUT else self._meaning(mark)
        return self._of_base(path)

    def _of_base(self, path: str) -> Node | None:
        """Return the node that the base has at a path, through renamed directories, whatever is marked at the path itself."""
        if self._index is None:
            return None
        if not path:
            return self._index.node(0)
        directory, name = split(path)
        parent = self._beneath_directory(directory)
        try:
            return None if parent is None else self._index.child(parent.number, name)
        except UnicodeEncodeError:  # no manifest can hold such a name
            return None

    def _beneath_directory(self, path: str) -> Node | None:
        beneath = self._beneath(path)
        return None if beneath is None or isinstance(beneath, Mark) or not beneath.is_dir else beneath

    def _meaning(self, mark: Mark) -> Node | Mark:
        return self._index.node(mark.number) if mark.kind is MarkKind.BASE and self._index else mark

    def _all_children(self, node: Node) -> Iterator[Node]:
        after = -1
        while self._index is not None and (nodes := self._index.children(node.number, after)):
            yield from nodes
            after = nodes[-1].number

    def _shown(self, path: str, beneath: Node | Mark) -> Item:
        uid, gid, time = self._uid, self._gid, self._base_ns
        if isinstance(beneath, Mark):
            entry, size = beneath.entry, beneath.entry.size if beneath.entry else 0
            mode, time = stat.S_IFREG | stat.S_IMODE(beneath.mode), beneath.mtime_ns
            key: tuple[object, ...] = ("blob", beneath.serial)
            return Item(path, "file", key, False, mode, 1, size, (size + 511) >> 9, uid, gid, time, time, time, entry)
        key = ("base", beneath.number)
        if beneath.is_dir:
            mode, nlink = stat.S_IFDIR | 0o755, 2 + beneath.size
            return Item(path, "dir", key, False, mode, nlink, 0, 0, uid, gid, time, time, time)
        mode, size = stat.S_IFREG | (0o755 if beneath.executable else 0o644), beneath.size
        entry = self._index.entry(beneath.number) if self._index else None
        return Item(path, "file", key, False, mode, 1, size, (size + 511) >> 9, uid, gid, time, time, time, entry)

    # Local files ------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        """Open a local file; return its descriptor."""
        return os.open(self.local_path(path), flags | os.O_CLOEXEC | os.O_NOFOLLOW)

    def create(self, path: str, flags: int, mode: int) -> int:
        """Make and open a local file; return its descriptor."""
        self._parent(path)
        descriptor = os.open(self.local_path(path), flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        if mode & self._umask:
            os.fchmod(descriptor, mode)
        return descriptor

    def mknod(self, path: str, mode: int) -> None:
        """Make a regular file, a fifo or a socket."""
        self._absent(path)
        os.mknod(self.local_path(path), mode)
        self._set_mode(path, mode)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory, which is empty whatever the base has there."""
        self._absent(path)
        os.mkdir(self.local_path(path), mode)
        self._set_mode(path, mode)

    def symlink(self, path: str, target: str) -> None:
        """Make a symlink."""
        self._absent(path)
        os.symlink(target, self.local_path(path))

    def link(self, source: str, target: str) -> None:
        """Give a local file a second name."""
        self._absent(target)
        os.link(self.local_path(source), self.local_path(target), follow_symlinks=False)

    def chmod(self, path: str, mode: int) -> None:
        """Change the mode of what is local, or of a directory."""
        self._ensure_directory(path)
        os.chmod(self.local_path(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Change the owner of what is local, or of a directory; -1 leaves an id."""
        self._ensure_directory(path)
        os.chown(self.local_path(path), uid, gid, follow_symlinks=False)

    def utimens(self, path: str, atime_ns: int, mtime_ns: int) -> None:
        """Change the times of what is local, or of a directory."""
        self._ensure_directory(path)
        os.utime(self.local_path(path), ns=(atime_ns, mtime_ns), follow_symlinks=False)

    def truncate(self, path: str, size: int) -> None:
        """Change the size of a local file."""
        descriptor = self.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def copy_up(self, path: str, data: Iterable[bytes] | None) -> None:
        """Make a file local, atomically, with the bytes given (None: none) and the mode and time that it shows."""
        item = self.lookup(path)
        if item is None or item.local:
            return
        if item.kind == "dir":
            self._ensure_directory(path)
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._temporary, 0o700)  # not makedirs: a draft that is gone does not come back
        temporary = f"{self._temporary}/{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                file.writelines(data or ())
            os.chmod(temporary, stat.S_IMODE(item.mode))
            os.utime(temporary, ns=(item.atime_ns, item.mtime_ns))
            self._parent(path)
            os.rename(temporary, self.local_path(path))
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise

    def bind(self, rows: Iterable[tuple[str, Entry, int, int]]) -> None:
        """Put blob marks (path, entry, mode, mtime_ns) beneath local files, in one transaction. The local files still win."""
        self._marks.change({path: Mark(MarkKind.BLOB, 0, entry, mode, time) for path, entry, mode, time in rows})

    def _set_mode(self, path: str, mode: int) -> None:
        if mode & self._umask:
            os.chmod(self.local_path(path), stat.S_IMODE(mode))

    def _absent(self, path: str) -> None:
        if self.lookup(path) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._parent(path)

    def _parent(self, path: str) -> None:
        self._ensure_directory(split(path)[0])

    def _ensure_directory(self, path: str) -> None:
        """Make a directory of the base local, so that something can lie in it; nothing for anything else."""
        if not path or (self._index is None and not self._marks):
            return
        if os.path.lexists(self.local_path(path)):
            return
        if self._beneath_directory(path) is not None:
            self._parent(path)
            os.mkdir(self.local_path(path), 0o755)
            os.utime(self.local_path(path), ns=(self._base_ns, self._base_ns))

    # Removing and renaming --------------------------------------------------------------------------------------

    def unlink(self, path: str) -> None:
        """Remove a file."""
        item = self._present(path)
        if item.kind == "dir":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self._marks.change(self._hiding(path))
        if item.local:
            os.unlink(self.local_path(path))

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        item = self._present(path)
        if item.kind != "dir":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if self.children(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._marks.change(self._hiding(path))
        if item.local:
            os.rmdir(self.local_path(path))

    def rename(self, source: str, target: str, *, replace: bool = True, exchange: bool = False) -> None:
        """Rename, without copying bytes, whatever is local and whatever is of the base."""
        item, replaced = self._present(source), self.lookup(target)
        if exchange:
            self._exchange(source, target, replaced)
            return
        if target.startswith(f"{source}/"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), target)
        if source.startswith(f"{target}/"):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), target)
        if replaced is not None and not self._replaceable(item, replaced, replace=replace):
            return
        self._parent(target)
        changes = self._moving(item, target)
        if not changes:
            os.rename(self.local_path(source), self.local_path(target))
            return
        move = self._log_move(source if item.local else None, target, changes)
        self._do_move(source if item.local else None, target)
        self._database.execute("DELETE FROM moves WHERE id = ?", move)

    def _replaceable(self, item: Item, replaced: Item, *, replace: bool) -> bool:
        """Check that one thing may take the place of another; False if both are one file, and nothing is to be done."""
        if not replace:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), replaced.path)
        if item.key == replaced.key:
            return False
        if item.kind == "dir" and replaced.kind != "dir":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), replaced.path)
        if item.kind != "dir" and replaced.kind == "dir":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), replaced.path)
        if replaced.kind == "dir" and self.children(replaced.path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), replaced.path)
        return True

    def _moving(self, item: Item, target: str) -> dict[str, Mark | None]:
        """Return the changes of marks that take what is beneath one path to another."""
        if self._index is None and not self._marks:
            return {}
        source = item.path
        beneath = self._beneath(source) if item.kind == "dir" or not item.local else None
        carried = {target + path[len(source) :]: mark for path, mark in self._marks.below(source)}
        changes = self._hiding(target) | self._hiding(source)
        if isinstance(beneath, Mark):
            changes[target] = beneath
        elif beneath is not None:
            changes[target] = Mark(MarkKind.BASE, beneath.number)
        return changes | carried

    def _hiding(self, path: str) -> dict[str, Mark | None]:
        """Return the changes of marks after which nothing lies beneath a path nor below it."""
        if self._index is None and not self._marks:
            return {}
        changes: dict[str, Mark | None] = {below: None for below, _ in self._marks.below(path)}
        if self._of_base(path) is not None:
            changes[path] = WHITEOUT
        elif self._marks.get(path) is not None:
            changes[path] = None
        return changes

    def _exchange(self, source: str, target: str, replaced: Item | None) -> None:
        """Swap two local paths with nothing beneath them; EINVAL for others, as file systems do that cannot."""
        if replaced is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target)
        for path in (source, target):
            if self._beneath(path) is not None or any(True for _ in self._marks.below(path)):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        first, second = self.local_path(source), self.local_path(target)
        exchange_names(first, second)

    def _log_move(self, source: str | None, target: str, changes: dict[str, Mark | None]) -> int:
        with self._database.transaction():
            self._marks.change(changes)
            encoded = None if source is None else os.fsencode(source)
            self._database.execute("INSERT INTO moves (source, target) VALUES (?, ?)", encoded, os.fsencode(target))
            return int(self._database.rows("SELECT max(id) FROM moves")[0][0])

    def _do_move(self, source: str | None, target: str) -> None:
        """Do the local part of a rename; nothing if it was done before."""
        local = self.local_path(target)
        if source is not None:
            if os.path.lexists(self.local_path(source)):
                os.rename(self.local_path(source), local)
        elif os.path.isdir(local) and not os.path.islink(local):
            os.rmdir(local)
        elif os.path.lexists(local):
            os.unlink(local)

    def _finish_moves(self) -> None:
        """Finish renames that a crash interrupted, and clear what was half copied up."""
        for move, source, target in self._database.rows("SELECT id, source, target FROM moves ORDER BY id"):
            self._do_move(None if source is None else os.fsdecode(source), os.fsdecode(target))
            self._database.execute("DELETE FROM moves WHERE id = ?", move)
        if os.path.isdir(self._temporary):
            for name in os.listdir(self._temporary):
                os.unlink(f"{self._temporary}/{name}")

    def _present(self, path: str) -> Item:
        item = self.lookup(path)
        if item is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return item
