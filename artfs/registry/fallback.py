"""How a question is put to a registry that may be away, and what answers in its place: the memory of what it said last.

When the registry cannot be reached it is not asked again for `PAUSE` seconds, or longer where failing takes long, so that listings stay
fast. Thread-safe.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from artfs.errors import ArtfsError, CredentialsError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.timings import Timings
from artfs.registry import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from artfs.registry.memory import Memory
    from artfs.registry.port import Registry

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE = 5.0  # seconds, at least
PAUSE_PER_WAIT = 2.0  # what took long to fail is tried again after so many times as long
_NOBODY = (
    "artfs-status"  # an entity that is asked for to see whether the registry answers: that there is none is an answer
)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a registry answers: ``away_since`` is the unix time of the first failure since it last did, or None."""

    away_since: float | None
    reason: str


class _Refused(threading.local):
    """Why nobody is asked by this thread now."""

    by: CredentialsError | None = None


class Fallback:
    """A registry, opened by ``connect`` when it is first asked, and its memory."""

    def __init__(self, connect: Callable[[], Registry], memory: Memory) -> None:
        self._connect = connect
        self._memory = memory
        self._lock = threading.Lock()
        self._registry: Registry | None = None
        self._away_since: float | None = None
        self._retry_at = 0.0
        self._reason = ""
        self._refused = _Refused()
        self._counting = threading.Lock()
        self.timings = Timings()
        self.failures = 0
        self.asking = 0

    def health(self) -> Health:
        """Say whether the registry answered when it was last asked."""
        return Health(self._away_since, self._reason)

    def check(self) -> None:
        """Ask the registry something now, which it answers without a memory. Raises why it does not answer, or refuses. Blocks."""
        try:
            self._write(lambda registry: registry.entity_exists(_NOBODY))
        except NotFoundError:  # which is an answer
            self._note_back()

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Count a question; only that the registry does not answer it is a failure."""
        began, failed = time.perf_counter_ns(), False
        with self._counting:
            self.asking += 1
        try:
            yield
        except UnreachableError:
            failed = True
            raise
        finally:
            with self._counting:
                self.timings.add(time.perf_counter_ns() - began)
                self.failures += failed
                self.asking -= 1

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            registry, self._registry = self._registry, None
        if registry is not None:
            registry.close()
        self._memory.close()

    def _reach(self, *, reading: bool) -> Registry:
        """Return the registry, opened. A reader that has waited for an attempt which failed makes no other: it may take seconds."""
        with self._lock:
            if self._registry is None:
                if reading and self._is_paused():
                    raise UnreachableError(f"the registry is away: {self._reason}")
                began = time.monotonic()
                try:
                    self._registry = self._connect()
                except UnreachableError as error:
                    self._note_away(error, began)
                    raise
            return self._registry

    def _is_paused(self) -> bool:
        return self._away_since is not None and time.monotonic() < self._retry_at

    def _write(self, change: Callable[[Registry], T]) -> T:
        began = time.monotonic()
        try:
            with self._timed():
                result = change(self._reach(reading=False))
        except UnreachableError as error:
            self._note_away(error, began)
            raise
        self._note_back()
        return result

    def _read(self, question: str, ask: Callable[[Registry], T], decode: Callable[[str], T]) -> T:
        if self._refused.by is not None:
            return self._remembered(question, decode, self._refused.by)
        if self._is_paused():
            return self._remembered(question, decode, UnreachableError(f"the registry is away: {self._reason}"))
        began = time.monotonic()
        try:
            with self._timed():
                answer = ask(self._reach(reading=True))
        except UnreachableError as error:
            self._note_away(error, began)
            return self._remembered(question, decode, error)
        except NotFoundError:
            self._note_back()
            self._memory.forget(question)
            raise
        self._note_back()
        self._memory.put(question, codec.encode(answer))
        return answer

    def _one(
        self, question: str, ask: Callable[[Registry], T], decode: Callable[[str], T], out_of_list: Callable[[], T]
    ) -> T:
        """Answer a question about one name; where it was never asked, and the registry is away, out of the list that was seen last.

        Without credentials, too, as nobody needs any for what is on this machine. A list that may have changed is refused then, so that
        somebody notices.
        """
        try:
            return self._read(question, ask, decode)
        except UnreachableError:
            return out_of_list()
        except CredentialsError as error:
            with self._without_asking(error):
                return (
                    out_of_list() if self._memory.get(question) is None else self._remembered(question, decode, error)
                )

    def _named(self, question: str, ask: Callable[[Registry], T], decode: Callable[[str], T]) -> T:
        """Answer a question about one name that no list has."""
        try:
            return self._read(question, ask, decode)
        except CredentialsError as error:
            return self._remembered(question, decode, error)

    @contextlib.contextmanager
    def _without_asking(self, error: CredentialsError) -> Iterator[None]:
        """Let the memory answer this thread, and refuse with the error what it does not know."""
        self._refused.by = error
        try:
            yield
        finally:
            self._refused.by = None

    def _list(
        self,
        question: str,
        ask: Callable[[Registry], T],
        decode: Callable[[str], T],
        prefix: str,
        assemble: Callable[[Mapping[str, str]], T],
    ) -> T:
        """Answer a question for a list; where it was never asked, and the registry is away, with the single names that were seen."""
        try:
            return self._read(question, ask, decode)
        except UnreachableError:
            seen = self._memory.beginning(prefix)
            if not seen:
                raise
            return assemble(seen)

    def _remembered(self, question: str, decode: Callable[[str], T], error: ArtfsError) -> T:
        text = self._memory.get(question)
        if text is None:
            raise error
        try:
            return decode(text)
        except (InvalidInputError, KeyError, TypeError, ValueError):  # of another program, or damaged
            self._memory.forget(question)
            raise error from None

    def _note_away(self, error: ArtfsError, began: float) -> None:
        """Note a failure. What takes long to fail is tried again later, so that most listings need not wait for it."""
        now = time.monotonic()
        self._retry_at = now + max(PAUSE, PAUSE_PER_WAIT * (now - began))
        if self._away_since is None:
            self._away_since, self._reason = time.time(), error.message
            log.warning("the registry is away, listings show what was seen last: %s", error)

    def _note_back(self) -> None:
        if self._away_since is not None:
            log.info("the registry answers again after %.0f s", time.time() - self._away_since)
            self._away_since, self._reason = None, ""
