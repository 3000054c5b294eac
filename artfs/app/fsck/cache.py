"""A check of the block cache: its ledger, and whether the ledger and the files tell of each other. It is only a cache: nothing is lost."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.cache.datafiles import DataFiles
from artfs.cache.ledger import FORMAT, Ledger
from artfs.cache.sweep import sweep, sweep_temporaries
from artfs.cache.world import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREFIXES = [f"{number:02x}" for number in range(256)]


def check_cache(cache_dir: Path) -> Iterator[Finding]:
    """Compare the ledger in use with the files."""
    root = cache_dir / "blocks" / str(FORMAT)
    worlds = sorted(path for path in root.glob("[0-9a-f]*") if path.is_dir()) if root.is_dir() else []
    if not worlds:
        yield ok("cache", "there is none yet")
        return
    world = worlds[-1]
    try:
        with contextlib.closing(Ledger(world / "ledger.sqlite")) as ledger:
            damage = "" if ledger.sound() else "its pages contradict each other"
            files, gone, unknown = (0, 0, 0) if damage else _compare(ledger, DataFiles(world / "data"))
    except sqlite3.Error as error:
        damage = str(error)
    if damage:
        yield problem(
            "cache",
            f"the ledger of the block cache in {cache_dir} is damaged: {damage}",
            "artfs fsck --fix begins it anew, as its next use does: what it holds is fetched again",
            lambda: open_world(cache_dir).close(),
        )
        return
    if gone:
        yield warning(
            "cache", f"{gone:,} files that are recorded are not there", "they are fetched again when they are read"
        )
    if unknown:
        yield warning(
            "cache",
            f"{unknown:,} files are there that nobody has recorded",
            "artfs fsck --fix removes those that are old enough, as a mount does",
            lambda: _sweep(cache_dir),
        )
    yield ok("cache", f"{files:,} files")


def _compare(ledger: Ledger, data: DataFiles) -> tuple[int, int, int]:
    """Return how many contents are recorded, how many of them have no file, and how many files are of none."""
    files = gone = unknown = 0
    for kind in sorted(ledger.kinds() | set(data.kinds())):
        for prefix in _PREFIXES:
            recorded, there = ledger.contents(kind, prefix), set(data.listing(kind, prefix))
            files += len(recorded)
            gone += sum(1 for content, size in recorded.items() if size and content not in there)
            unknown += len(there - recorded.keys())
    return files, gone, unknown


def _sweep(cache_dir: Path) -> None:
    with contextlib.closing(open_world(cache_dir)) as world:
        sweep(world, lambda: False, always=True)
    sweep_temporaries(cache_dir)
