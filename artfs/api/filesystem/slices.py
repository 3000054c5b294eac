"""Many slices of several files at a time: which of them one request can serve, and reading them in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.api.filesystem.blocks import RUN, bounds, read
from artfs.api.filesystem.os_errors import os_errors
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from artfs.api.filesystem.blocks import Content, Span, Threads


def read_slices(
    threads: Threads,
    open_content: Callable[[str], Content],
    asked: Mapping[str, Sequence[int]],
    starts: Sequence[int | None],
    ends: Sequence[int | None],
) -> Iterator[tuple[Sequence[int], list[bytes] | OSError]]:
    """Yield the bytes of slices, or why they cannot be had, with their numbers; ``asked`` are those by path."""

    def plan(path: str) -> list[tuple[str, list[int], list[Span]]]:
        content = open_content(path)
        with os_errors(path):
            spans = [bounds(content, starts[number], ends[number]) for number in asked[path]]
        return [
            (path, [asked[path][place] for place in group], [spans[place] for place in group])
            for group in grouped(spans)
        ]

    def read_job(job: tuple[str, list[int], list[Span]]) -> list[bytes]:
        content = open_content(job[0])
        with os_errors(job[0]):
            return read_group(content, job[2])

    jobs: list[tuple[str, list[int], list[Span]]] = []
    for path, planned in zip(asked, threads.each(plan, asked), strict=True):
        if isinstance(planned, OSError):
            yield asked[path], planned
        else:
            jobs += planned
    for (_, numbers, _), answer in zip(jobs, threads.each(read_job, jobs), strict=True):
        yield numbers, answer


def grouped(spans: Sequence[Span]) -> list[list[int]]:
    """Put the numbers of spans together that one request can serve: they share blocks, or lie side by side."""
    groups: list[list[int]] = []
    first = last = -2
    for number in sorted(range(len(spans)), key=lambda number: spans[number][0]):
        start, end = spans[number]
        begin, until = start // BLOCK_SIZE, -1 if end is None else max(start, end - 1) // BLOCK_SIZE
        if groups and until >= 0 and begin <= last + 1 and max(last, until) - first < RUN:
            groups[-1].append(number)
            last = max(last, until)
        else:
            groups.append([number])
            first, last = begin, until if until >= 0 else begin - 2
    return groups


def read_group(content: Content, spans: Sequence[Span]) -> list[bytes]:
    """Return the bytes of spans that were put together."""
    if len(spans) == 1:
        return [read(content, *spans[0])]
    start = spans[0][0]
    data = memoryview(read(content, start, max(end or 0 for _, end in spans)))
    return [bytes(data[first - start : (end or 0) - start]) for first, end in spans]
