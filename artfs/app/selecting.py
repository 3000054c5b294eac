"""What the arguments of `artfs warm` and `artfs pin` name: versions, and directories, files and patterns in them.

An argument is a reference, or a path in a mount; the path in the version may be a pattern: ``*`` and ``?`` stand for characters other than
``/``, ``[...]`` for one of some, ``**`` for any number of directories. What a pattern or a path names is found in the list of files of the
version, so nothing is read through the mount.
"""

from __future__ import annotations

import glob
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.client import mount_of
from artfs.app.named import NamedVersion, named
from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import parse_artifact_ref, version_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from artfs.app.services import Services
    from artfs.cache.index import ManifestIndex
    from artfs.model.entry import Entry
    from artfs.model.names import ArtifactRef
    from artfs.registry.port import Version

_MAGIC = re.compile(r"[*?[]")
_LEVELS = 4  # of a mount, above the files of a version


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of a version. ``ref`` names it by its index, ``named`` is what it was asked for by; ``places`` are paths and patterns in it.

    The empty path is all of it.
    """

    ref: ArtifactRef
    named: ArtifactRef
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selected:
    """A selection, with the list of files that it is of."""

    selection: Selection
    version: Version
    index: ManifestIndex

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield the entries, each with its full name; NotFoundError for a place that names none. Some may come twice."""
        for place in self.selection.places:
            found = False
            for entry in self._at(place):
                found = True
                yield f"{self.selection.ref}/{entry.path}", entry
            if not found and place:
                raise NotFoundError(f"{self.selection.ref} has nothing that matches {place!r}")

    def _at(self, place: str) -> Iterator[Entry]:
        pattern = _MAGIC.search(place)
        head = place if pattern is None else place[: pattern.start()].rpartition("/")[0]
        node = self.index.find(head)
        if node is None:
            raise NotFoundError(f"{self.selection.ref} has no {head!r}")
        if pattern is None:
            yield from self.index.entries(node.number)
            return
        matches = _pattern(place).fullmatch
        yield from (entry for entry in self.index.entries(node.number) if matches(entry.path))


def _pattern(text: str) -> re.Pattern[str]:
    """Return what matches the paths that a pattern means, and everything below them."""
    parts = []
    for part in text.strip("/").split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
            continue
        parts.append(re.sub(r"\*+|\?|\[!?\]?[^]/]*\]|.", _translate, part, flags=re.DOTALL) + "/")
    body = "".join(parts)
    try:
        return re.compile(f"{body.removesuffix('/')}(?:/.*)?" if body.endswith("/") else f"{body}.*", re.DOTALL)
    except re.error as error:
        raise InvalidInputError(f"{text!r} is not a pattern: {error}") from error


def _translate(match: re.Match[str]) -> str:
    piece = match[0]
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece.startswith("[") and len(piece) > 2:
        inside = piece[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(piece)


def read_list(path: str) -> list[str]:
    """Return the lines of a file, or of stdin for ``-``; empty ones, and those that begin with ``#``, are left out."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(f"the list {path} cannot be read: {reason}") from error
    return [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]


def select(texts: Iterable[str], services: Services, *, in_order: bool = False) -> list[Selection]:
    """Return what arguments name, a selection for each version; or, ``in_order``, exactly as they come: a version may be met again.

    The registry is asked which version an alias names now. NotFoundError, InvalidInputError.
    """
    versions: dict[ArtifactRef, ArtifactRef] = {}
    groups: list[tuple[ArtifactRef, ArtifactRef, dict[str, None]]] = []
    for text in texts:
        for one in _named(text, services):
            ref = versions.get(one.ref)
            if ref is None:
                version = services.registry.version(one.ref)
                ref = versions[one.ref] = version.collection.at(version_name(version.index))
            candidates = groups[-1:] if in_order else groups
            places = next((places for other, _, places in candidates if other == ref), None)
            if places is None:
                places = {}
                groups.append((ref, one.ref, places))
            places[one.inner] = None
    return [Selection(ref, name, ("",) if "" in places else tuple(places)) for ref, name, places in groups]


def _named(text: str, services: Services) -> Iterator[NamedVersion]:
    magic = _MAGIC.search(text)
    place = None if magic is None else mount_of(Path(text[: magic.start()] or "."))
    if place is None or magic is None:
        yield named_version(text, services)
        return
    levels = len(place.parts) + _LEVELS
    parts = Path(text).absolute().parts
    head, inner = Path(*parts[:levels]), "/".join(parts[levels:])
    matches = [str(head)]
    if _MAGIC.search(str(head)):
        matches = sorted(glob.glob(str(head)))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise NotFoundError(f"nothing matches {text}")
    for match in matches:
        version = named_version(match, services)
        yield NamedVersion(version.ref, "/".join(part for part in (version.inner, inner) if part))


def named_version(text: str, services: Services) -> NamedVersion:
    """Return what an argument without a pattern above its version names; InvalidInputError for a draft."""
    found = named(text, services.config, lambda: services.registry.default_entity)
    if not isinstance(found, NamedVersion):
        raise InvalidInputError(f"{text} is a draft: its files are on this machine")
    return found


def to_json(selections: Sequence[Selection]) -> list[dict[str, object]]:
    """Return selections as JSON values, for another process."""
    return [{"ref": str(one.ref), "named": str(one.named), "places": list(one.places)} for one in selections]


def from_json(values: object) -> list[Selection]:
    """Return the selections that `to_json` wrote; InvalidInputError."""
    try:
        return [
            Selection(
                parse_artifact_ref(str(one["ref"]), ""),
                parse_artifact_ref(str(one["named"]), ""),
                tuple(str(place) for place in one["places"]),
            )
            for one in values  # type: ignore[attr-defined]  # whatever is wrong with it is told below
        ]
    except (TypeError, KeyError) as error:
        raise InvalidInputError(f"the request does not say what is selected: {error!r}") from error
