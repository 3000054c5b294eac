"""Signed URLs of files on a W&B server: for just the files that are read, in batches, until they expire.

Who needs a URL while others are being asked for waits for the next question, which asks for all that came meanwhile: a single reader pays
one question, and a thousand pay a few. A question asks for as many files that come next in the version as were needed of it before, so that
who reads a whole version asks a few dozen times, and who reads one file asks for that one.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from cachetools import LRUCache

from artfs.errors import ArtfsError, NotFoundError, UnreachableError
from artfs.storage.port import Locator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Upcoming = Callable[[str, str, int], Sequence[str]]
    """Names so many files that come after one in a version, as far as that is known at once."""

MAX_NAMES = 1000
"""Files in one question."""

_KEPT = 100_000
_VERSIONS = 1024
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")


class FileUrls:
    """The URLs of files by version and path. ``ask`` gives those of some files of a version, and may leave some out. Thread-safe."""

    def __init__(self, ask: Callable[[str, Sequence[str]], Mapping[str, str]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: LRUCache[tuple[str, str], Locator] = LRUCache(_KEPT)
        self._waiting: dict[str, dict[str, Future[Locator]]] = {}
        self._asking: set[str] = set()
        self._needed: LRUCache[str, int] = LRUCache(_VERSIONS)

    def get(self, version_id: str, path: str, used: Locator | None = None, upcoming: Upcoming | None = None) -> Locator:
        """Return where a file can be read, another place than one that was ``used`` in vain. Blocks.

        ``upcoming`` names what may be asked for with it. NotFoundError if the server gives no URL; what ``ask`` raises.
        """
        with self._lock:
            known = self._known.get((version_id, path))
            if known is not None and known is not used and not _is_over(known):
                return known
            future = self._waiting.setdefault(version_id, {}).setdefault(path, Future())
            leads = version_id not in self._asking
            self._asking.add(version_id)
        if leads:
            self._lead(version_id, upcoming)
        return future.result()

    def _lead(self, version_id: str, upcoming: Upcoming | None) -> None:
        """Ask for whatever is waited for, until nothing is."""
        while True:
            with self._lock:
                waiting = self._waiting.get(version_id, {})
                batch = dict(list(waiting.items())[:MAX_NAMES])
                for path in batch:
                    del waiting[path]
                if not batch:
                    self._asking.discard(version_id)
                    self._waiting.pop(version_id, None)
                    return
            self._answer(version_id, batch, self._ahead(version_id, batch, upcoming))

    def _ahead(self, version_id: str, batch: Mapping[str, object], upcoming: Upcoming | None) -> list[str]:
        """Return what to ask for beside a batch: no more than was needed before, and nothing that is known."""
        with self._lock:
            needed = self._needed.get(version_id, 0)
            self._needed[version_id] = needed + len(batch)
        count = min(needed, MAX_NAMES - len(batch))
        if upcoming is None or count <= 0:
            return []
        names = upcoming(version_id, max(batch), count)
        with self._lock:
            known = (self._known.get((version_id, name)) for name in names)
            return [
                name
                for name, one in zip(names, known, strict=True)
                if name not in batch and (one is None or _is_over(one))
            ]

    def _answer(self, version_id: str, batch: Mapping[str, Future[Locator]], ahead: Sequence[str] = ()) -> None:
        try:
            found = self._ask(version_id, [*batch, *ahead])
        except ArtfsError as error:
            if ahead and not isinstance(error, UnreachableError):  # it may be because of what nobody needs
                self._answer(version_id, batch)
                return
            for future in batch.values():
                future.set_exception(type(error)(error.message, hint=error.hint))  # a traceback of its own for each
            return
        except BaseException as error:
            for future in batch.values():
                future.set_exception(error)
            raise
        locators = {path: Locator(url, expires=expiry(url), hedge=False) for path, url in found.items()}
        with self._lock:
            for path in (*ahead, *batch):
                if path in locators:
                    self._known[version_id, path] = locators[path]
        for path, future in batch.items():
            if path in locators:
                future.set_result(locators[path])
            else:
                future.set_exception(NotFoundError(f"the W&B server has no file {path!r} of this version"))


def _is_over(locator: Locator) -> bool:
    return locator.expires is not None and locator.expires - 60.0 < datetime.now(UTC).timestamp()


def expiry(url: str) -> float | None:
    """Return the unix time at which a signed URL of S3, GCS or Azure expires; None where it does not say."""
    query = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    for prefix in ("x-amz", "x-goog"):
        begun, seconds = _COMPACT.fullmatch(query.get(f"{prefix}-date", "")), query.get(f"{prefix}-expires", "")
        if begun and seconds.isdecimal() and len(seconds) < 9:
            try:
                return datetime(*map(int, begun.groups()), tzinfo=UTC).timestamp() + int(seconds)  # type: ignore[misc, arg-type]
            except ValueError:
                return None
    if query.get("expires", "").isdecimal() and len(query["expires"]) < 12:
        return float(query["expires"])
    try:
        return datetime.fromisoformat(query.get("se", "")).timestamp()
    except ValueError:
        return None
