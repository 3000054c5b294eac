"""Packs: objects of the store that hold many small files, one after the other.

A pack is fetched and cached by its blocks, as any other content, so that one request brings many files that lie together. Nothing
proves its blocks; what proves the bytes of a file is its own digest, whenever they are taken out of a pack. Nobody reads a `Pack`
but by way of the entries that lie in it.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from artfs.model.entry import BLOCK_SIZE, Entry
from artfs.model.paths import EntryPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


K = TypeVar("K")
T = TypeVar("T")


class Pack(Entry):
    """A pack as a content. No manifest can name one."""

    __slots__ = ()


class Place(NamedTuple):
    """The blocks of a content in which the bytes of an entry lie, from ``first`` to ``last``, ``offset`` bytes into the first."""

    content: Entry
    first: int
    last: int
    offset: int

    def pieces(self, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, offset and length of what an entry of ``size`` bytes has in each of the blocks."""
        offset = self.offset
        for number in range(self.first, self.last + 1):
            length = min(size, BLOCK_SIZE - offset)
            yield number, offset, length
            size, offset = size - length, 0


def place_of(entry: Entry) -> Place:
    """Return where the bytes of an entry are: in a pack, or in a content of their own."""
    packed = entry.packed
    if packed is None:
        return Place(entry, 0, max(-(-entry.size // BLOCK_SIZE) - 1, 0), 0)
    first, offset = divmod(packed.offset, BLOCK_SIZE)
    last = (packed.offset + entry.size - 1) // BLOCK_SIZE
    return Place(pack_of(packed.pack.base64, packed.size), first, last, offset)


@functools.lru_cache(1024)
def pack_of(digest: str, size: int) -> Pack:
    """Return the pack with a digest, an MD5 in base64."""
    return Pack(EntryPath("(a pack of small files)"), digest, size)


class Flights(Generic[K, T]):
    """Calls that several threads want to make at once: one makes it, the others get what it returned or raised. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[K, Future[T]] = {}

    def join(self, keys: Sequence[K], call: Callable[[Sequence[K]], Sequence[T]]) -> list[T]:
        """Return a result for each key: of one call for those that nobody asks for, and of the calls of others for the rest."""
        mine = []
        with self._lock:
            for key in keys:
                if key not in self._under_way:
                    self._under_way[key] = Future()
                    mine.append(key)
            flights = [self._under_way[key] for key in keys]
        if mine:
            self._make(mine, call)
        return [flight.result() for flight in flights]

    def _make(self, keys: list[K], call: Callable[[Sequence[K]], Sequence[T]]) -> None:
        flights = [self._under_way[key] for key in keys]
        try:
            for flight, result in zip(flights, call(keys), strict=True):
                flight.set_result(result)
        except BaseException as error:
            for flight in flights:
                flight.set_exception(error)
            raise
        finally:
            with self._lock:
                for key in keys:
                    del self._under_way[key]
