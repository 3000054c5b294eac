"""A check of the drafts on disk: commits that have failed, and commits that nobody finishes. Drafts are read, and never locked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

_MOST = 20  # told of by name


def check_drafts(data_dir: Path, under_way: AbstractSet[tuple[str, str]]) -> list[Finding]:
    """Look into every draft; ``under_way`` are the commits that mounts work on, by collection and name of the draft."""
    found: list[Finding] = []
    total = 0
    for path in sorted((data_dir / "drafts").glob("*/[!.]*/draft.sqlite")):
        total += 1
        try:
            about = _read(path)
        except (sqlite3.Error, ValueError) as error:
            found.append(
                problem("drafts", f"{path.parent} cannot be read: {error}", f"its files are in {path.parent / 'tree'}")
            )
            continue
        place = about.get("draft") or {}
        collection = "/".join(str(place.get(part)) for part in ("entity", "project", "collection"))
        name = str(about.get("name"))
        if about.get("commit") is not None:
            if (collection, name) not in under_way:
                found.append(warning("drafts", f"a commit of {collection} ({name!r}) was begun and is not finished",
                                     "artfs commit --resume, or the next mount finishes it"))  # fmt: skip
        elif about.get("error"):
            found.append(
                warning(
                    "drafts",
                    f"the commit of {collection} ({name!r}) has failed: {about['error']}",
                    "mend it and commit it again",
                )
            )
    if len(found) > _MOST:
        found = [*found[:_MOST], warning("drafts", f"and {len(found) - _MOST} more")]
    return found or [ok("drafts", f"{total} there, none with an error" if total else "none")]


def _read(path: Path) -> dict[str, Any]:
    uri = f"file:{quote_from_bytes(bytes(path))}?mode=ro"
    with contextlib.closing(connect(uri, uri=True, timeout=1)) as database:
        query = "SELECT key, value FROM meta WHERE key IN ('draft', 'name', 'error', 'commit')"
        return {str(key): json.loads(value) for key, value in database.execute(query)}
