"""Judge many things in several threads, and give what was found in the order of the things."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
U = TypeVar("U")

_AHEAD = 8  # things for each thread that are taken before they are wanted


def each(things: Iterable[T], judge: Callable[[T], U], threads: int) -> Iterator[U]:
    """Yield what ``judge`` returns for each thing; what it raises ends it. Few things are held at a time."""
    running: deque[Future[U]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-each") as pool:
        try:
            for thing in things:
                running.append(pool.submit(judge, thing))
                if len(running) >= _AHEAD * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
