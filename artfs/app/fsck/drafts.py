"""A check of the drafts of this data directory: that each can be opened, what it needs is in the store, and nothing is left of others.

A draft is locked for a moment only to be put aside, or to remove rubbish: one that somebody owns is left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.errors import ArtfsError, BusyError, IntegrityError
from artfs.model.digest import Digest
from artfs.model.manifest import decode_entry
from artfs.model.reference import uri_scheme
from artfs.staging.locks import take
from artfs.staging.removal import remove_tree
from artfs.storage.files_holdings import FileHoldings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artfs.app.fsck.lost import LostAndFound
    from artfs.app.services import Services

_RUBBISH = (".new-", ".trash-")


def check_drafts(services: Services, lost: LostAndFound) -> Iterator[Finding]:
    """Look into every draft of the registry."""
    root = services.config.data_dir / "drafts"
    mine = root / services.registry.id
    total = 0
    for directory in sorted(mine.iterdir()) if mine.is_dir() else ():
        if directory.name.startswith(_RUBBISH):
            yield from _check_rubbish(directory)
        else:
            total += 1
            yield from _check_draft(services, directory, lost)
    others = [path.name for path in root.iterdir() if path != mine and path.is_dir()] if root.is_dir() else []
    if others:
        yield warning(
            "drafts",
            f"{root} has drafts of other registries: {', '.join(sorted(others))}",
            "check those with their --registry",
        )
    yield from _check_holds(services)
    yield ok("drafts", f"{total:,} there")


def _check_rubbish(directory: Path) -> Iterator[Finding]:
    if not _is_free(directory):  # somebody is at it
        return
    yield warning(
        "drafts", f"{directory} was left by a process that has died", "artfs fsck --fix removes it, as the next mount does",
        partial(_remove, directory),
    )  # fmt: skip


def _is_free(directory: Path) -> bool:
    """Whether nobody owns a draft. Nothing is made in it."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return directory.exists()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return directory.exists()


def _remove(directory: Path) -> None:
    with _owned(directory):
        remove_tree(directory)


def _check_draft(services: Services, directory: Path, lost: LostAndFound) -> Iterator[Finding]:
    try:
        about, marks = _read(directory / "draft.sqlite")
        journal = about.get("commit")
        if not isinstance(about.get("draft"), dict) or not isinstance(journal, dict | None):
            raise IntegrityError("it does not say what it is, or what becomes of it")
        needed = {path: list(_blobs(entry)) for path, entry in marks}
    except (sqlite3.Error, ValueError, ArtfsError) as error:
        if directory.exists():  # and was not committed meanwhile
            yield problem(
                "drafts",
                f"the draft in {directory} cannot be read: {error}",
                f"its files are in {directory / 'tree'}; artfs fsck --fix moves it to {lost.directory}",
                partial(_put_aside, services, directory, lost),
            )
        return
    place = "/".join(str(about["draft"].get(part)) for part in ("entity", "project", "collection"))
    name = f"{place} ({about.get('name')!r})"
    if _has_store(services):
        yield from _check_needs(services, directory, name, about.get("base"), needed)
    if journal is not None and _is_free(directory):
        yield warning(
            "drafts",
            f"a commit of {name} was begun and is not finished",
            "artfs commit --resume, or the next mount, finishes it",
        )
    if journal is None and (directory / "gathered.sqlite").exists() and _is_free(directory):
        yield warning(
            "drafts",
            f"{directory / 'gathered.sqlite'} was left by a commit that failed",
            "it goes with the draft, or the next commit",
        )


def _check_needs(
    services: Services,
    directory: Path,
    name: str,
    base: Any,  # noqa: ANN401 - JSON
    needed: dict[str, list[Digest]],
) -> Iterator[Finding]:
    """See that the store has the version that a draft starts from, and the files that a commit has moved there."""
    if base is not None and not services.store.has(Digest.from_base64(str(base["manifest"]))):
        yield problem(
            "drafts",
            f"{name} starts from {base['collection']}:{base['alias']}, whose list of files is not in the store",
            "copy its own files out of tree/ in its directory into a new draft",
        )
    missing = services.store.missing({blob for blobs in needed.values() for blob in blobs})
    suspects = [path for path, blobs in needed.items() if missing.intersection(blobs) and not _is_here(directory, path)]
    missing = services.store.missing(missing) if suspects else set()  # a commit may have moved files meanwhile
    for path in suspects:
        if missing.intersection(needed[path]):
            yield problem(
                "drafts", f"the bytes of {path} in {name} are not in the store", "write the file anew, or remove it"
            )


def _is_here(directory: Path, path: str) -> bool:
    """Whether a draft has a file of its own: a commit writes down what becomes of it before it moves it into the store."""
    return (directory / "tree" / path).exists() or not directory.exists()


def _blobs(entry: str) -> Iterator[Digest]:
    found = decode_entry("file", json.loads(entry))
    if found.ref is None and found.size:
        yield found.stored[0]


def _read(path: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return what a draft says of itself, and the entries of files that are in the store, by path."""
    uri = f"file:{quote_from_bytes(bytes(path))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as database:
        (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise ValueError(said)
        about = {str(key): json.loads(value) for key, value in database.execute("SELECT key, value FROM meta")}
        marks = database.execute("SELECT path, entry FROM marks WHERE kind = 'blob'").fetchall()
        return about, [(bytes(name).decode("utf-8", "replace"), str(entry)) for name, entry in marks]


def _put_aside(services: Services, directory: Path, lost: LostAndFound) -> None:
    """Move a draft; what it holds in the store, it goes on to hold there."""
    with _owned(directory):
        holdings = services.backends.holdings() if _has_store(services) else None
        if isinstance(holdings, FileHoldings):
            holdings.holds.follow(directory, partial(lost.put, directory))
        else:
            lost.put(directory)


def _has_store(services: Services) -> bool:
    """Whether the store is not that of a W&B server."""
    return uri_scheme(services.config.registry) not in {"http", "https"}


@contextlib.contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Own a draft meanwhile; BusyError if somebody else does."""
    lock = take(directory)
    if lock is None:
        raise BusyError(f"{directory} is in use")
    try:
        yield
    finally:
        lock.release()


def _check_holds(services: Services) -> Iterator[Finding]:
    """See that nothing in the store is held for drafts that are gone."""
    if not _has_store(services):
        return
    holdings = services.backends.holdings()
    for hold in holdings.holds.all() if isinstance(holdings, FileHoldings) else ():
        if hold.is_over:
            yield warning(
                "store", f"{hold.path} holds files for a draft that is gone", "artfs fsck --fix removes it; artfs gc does not heed it",
                partial(hold.path.unlink, missing_ok=True),
            )  # fmt: skip
