"""One life of the block cache: the directory that holds its counters, its ledger and its data files.

``<cache>/blocks/<format>/<world>/`` with ``epochs``, ``ledger.sqlite``, ``data/``, ``evict.lock`` and a file ``session-*`` for each
process that uses it. The world in use is the one with the greatest name. A ledger that is damaged, or counters that are missing, are
never repaired: a new world is begun beside the old one, which is removed in the background. So a process that still uses the
old one keeps open files that nobody changes, and SQLite never meets the journal of another database.

A session file is locked by its process and removed when it closes the cache: one that is not locked tells of an unclean end.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.cache.datafiles import DataFiles
from artfs.cache.epochs import Epochs
from artfs.cache.ledger import FORMAT, Ledger, is_damage
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_WORLD = re.compile(r"[0-9a-f]{16}")
_NEW = ".new-"
_SESSION = "session-"
SPARE = ".spare-"
"""How the names of files begin that may become data files."""

_LOCK_SECONDS = 5.0
LEFTOVER_AGE = 3600.0
"""Seconds after which what nobody knows is removed: younger, it may be in the making."""


class World:
    """An open world. Raises OSError and sqlite3.Error."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.epochs = Epochs(directory / "epochs")
        if not (directory / "ledger.sqlite").exists():
            raise FileNotFoundError("the ledger of the block cache is missing")
        self.data = DataFiles(directory / "data")
        self.can_punch = True
        self._session = _begin_session(directory)
        try:
            self.ledger = Ledger(directory / "ledger.sqlite")
        except BaseException:
            self._session.end()
            raise

    def intact(self) -> bool:
        """Whether this directory is still there, and the same. Looks at the disk."""
        return self.epochs.intact()

    def succeeded(self) -> bool:
        """Whether another world was begun since."""
        with contextlib.suppress(OSError):
            return any(name > self.directory.name for name in _names(self.directory.parent))
        return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Be the only process that evicts; yields False, at once, if another one does."""
        descriptor = os.open(self.directory / "evict.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _try_lock(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def unclean_ends(self) -> Iterator[bool]:
        """Yield whether a process ended without closing the cache; that is forgotten if the block ends well.

        Two processes are never told of the same end at the same time.
        """
        with contextlib.ExitStack() as stack:
            dead: list[Path] = []
            for path in self.directory.glob(f"{_SESSION}*"):
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                    stack.callback(os.close, descriptor)
                    if _try_lock(descriptor):
                        dead.append(path)
            yield bool(dead)
            for path in dead:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the use of this world by this process."""
        self.ledger.close()
        self._session.end()


class _Session:
    """The session file of this process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def end(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _begin_session(directory: Path) -> _Session:
    token = f"{os.getpid()}-{secrets.token_hex(8)}"
    path, unlocked = directory / f"{_SESSION}{token}", directory / f".{_SESSION}{token}"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _try_lock(descriptor)
        unlocked.rename(path)
    except BaseException:
        os.close(descriptor)
        raise
    return _Session(path, descriptor)


def open_world(cache_dir: Path, damaged: World | None = None, reason: object = "") -> World:
    """Open the world in use, or begin the first one, or a new one if that in use is ``damaged``. Raises OSError and sqlite3.Error."""
    root = cache_dir / "blocks" / str(FORMAT)
    for directory in (cache_dir, root.parent, root):
        make_private(directory)
    with _lock(root / "lock"):
        name = max(_names(root), default=None)
        if name is not None:
            if damaged is None or name != damaged.directory.name:
                try:
                    return World(root / name)
                except (sqlite3.Error, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                    if isinstance(error, sqlite3.Error) and not is_damage(error):
                        raise
                    reason = error
            log.warning("the record of the block cache in %s is damaged, the cache begins empty: %s", cache_dir, reason)
        return World(_begin(root, name))


def _begin(root: Path, before: str | None) -> Path:
    directory = Path(tempfile.mkdtemp(prefix=_NEW, dir=root))  # mode 0700
    (directory / "data").mkdir(mode=0o700)
    Epochs.create(directory / "epochs")
    Ledger.create(directory / "ledger.sqlite")
    number = time.time_ns()
    if before is not None:
        number = max(number, int(before, 16) + 1)
    return directory.rename(root / f"{number:016x}")


def leftovers(world: World) -> list[Path]:
    """Return the directories beside a world, and files in it, that nobody will use again."""
    root = world.directory.parent
    found = [root / name for name in _names(root) if name < world.directory.name]
    for path in (*root.glob(f"{_NEW}*"), *world.directory.glob(f"{SPARE}*")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFTOVER_AGE:
                found.append(path)
    return found


def _names(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if _WORLD.fullmatch(path.name)]


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > give_up:
                raise TimeoutError(f"another process keeps {path} locked")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
