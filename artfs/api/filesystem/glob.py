"""Patterns of the fsspec file system that match entities, projects, collections, versions or aliases, which fsspec cannot see as levels."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from fsspec.spec import has_magic
from fsspec.utils import glob_translate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.api.filesystem.tree import Info


def matching(fs: Any, upper: str, inner: str, maxdepth: int | None) -> dict[str, Info]:
    """Return what matches a pattern, by path: ``upper`` is that of the version, ``inner`` the one in it."""
    found: dict[str, Info] = {}
    for place in _places(fs, upper):
        if inner:
            found |= _below(fs, place, inner, maxdepth)
        else:
            found[place] = fs.info(place)
    return found


def _below(fs: Any, place: str, inner: str, maxdepth: int | None) -> dict[str, Info]:
    depth: int | None = inner.count("/") + 1
    if "**" in inner:
        depth = None if maxdepth is None else inner[: inner.index("**")].count("/") + maxdepth
    pattern = re.compile(glob_translate(inner))
    found = fs.find(place, maxdepth=depth, withdirs=True, detail=True)
    return {name: info for name, info in found.items() if pattern.match(name[len(place) + 1 :])}


def _places(fs: Any, upper: str) -> list[str]:
    *places, name = upper.split("/")
    collection, colon, version = name.rpartition(":") if len(places) == 2 else ("", "", "")
    found = [""]
    for pattern in [*places, collection if colon else name]:
        found = [one for place in found for one in _children(fs, place, pattern, "/")]
    if colon:
        found = [one for place in found for one in _children(fs, place, version, ":")]
    return [path for path in found if fs.exists(path)]


def _children(fs: Any, place: str, pattern: str, separator: str) -> Iterator[str]:
    if not has_magic(pattern):
        yield f"{place}{separator}{pattern}" if place else pattern
        return
    regex = re.compile(glob_translate(pattern))
    with contextlib.suppress(FileNotFoundError):
        for path in fs.ls(place, detail=False):
            if regex.match(path[len(place) + 1 :] if place else path):
                yield path
