"""One progress bar for a whole command, on stderr when that is a terminal, and a line of text in a notebook.

Nothing is imported otherwise.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from artfs.app.beside import beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from artfs.staging.progress import Progress

T = TypeVar("T")

_INTERVAL = 0.1  # seconds
_COUNTED = 1024  # things that are counted at once


class Bar:
    """Shows the counters of a `Progress` snapshot."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[files]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("starting", files="", total=None)

    def show(self, snapshot: Mapping[str, Any]) -> None:
        """Show a snapshot."""
        files = f"{snapshot['files_done']:,} of {snapshot['files_total']:,} files" if snapshot["files_total"] else ""
        self._progress.update(
            self._task,
            description=snapshot["phase"],
            completed=snapshot["bytes_done"],
            total=snapshot["bytes_total"] or None,
            files=files,
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


class Line:
    """Shows the counters of a `Progress` snapshot in a notebook, as a line that is written over: a bar of rich needs ipywidgets there."""

    _every = 0.5  # seconds

    def __init__(self) -> None:
        self._text, self._next = "", 0.0

    def show(self, snapshot: Mapping[str, Any]) -> None:
        """Show a snapshot, if the last one is long ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self._write(_in_words(snapshot))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        print("\r" + text.ljust(len(self._text)) + ("" if text else "\r"), end="", file=sys.stderr, flush=True)  # noqa: T201
        self._text = text


def _in_words(snapshot: Mapping[str, Any]) -> str:
    mib, whole = snapshot["bytes_done"] / (1 << 20), snapshot["bytes_total"] / (1 << 20)
    size = f"{mib:,.1f} of {whole:,.1f} MiB ({mib / whole:.0%})" if whole else f"{mib:,.1f} MiB"
    files = f", {snapshot['files_done']:,} of {snapshot['files_total']:,} files" if snapshot["files_total"] else ""
    return f"{snapshot['phase']}: {size}{files}"


class _Silent(contextlib.nullcontext[None]):
    def show(self, snapshot: Mapping[str, Any]) -> None:
        """Show nothing."""

    def __enter__(self) -> _Silent:  # type: ignore[override]
        return self


def bar() -> Bar | _Silent:
    """Return a bar if there is a terminal to show it on."""
    return Bar() if sys.stderr.isatty() else _Silent()


@contextlib.contextmanager
def watching(progress: Progress) -> Iterator[None]:
    """Show a progress from a thread of its own while the body works. Ctrl-C stops the threads of the body at their next block."""
    with _interruptible(progress), showing(progress.snapshot):
        yield


def counted(things: Iterable[T], progress: Progress) -> Iterator[T]:
    """Yield what comes, and count it as files."""
    for number, thing in enumerate(things, 1):
        yield thing
        if not number % _COUNTED:
            progress.advance(_COUNTED)


@contextlib.contextmanager
def _interruptible(progress: Progress) -> Iterator[None]:
    def stop(*_: object) -> None:
        progress.cancelled.set()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _in_notebook() -> bool:
    """Whether stderr goes to a cell: that is so in a kernel of Jupyter, and not in a program that a cell starts."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


@contextlib.contextmanager
def showing(snapshot: Callable[[], Mapping[str, Any]], after: float = 0.0) -> Iterator[None]:
    """Show a progress from a thread of its own while the body works, if that takes longer than ``after`` seconds."""
    display = Bar if sys.stderr.isatty() else Line if _in_notebook() else None
    if display is None:
        yield
        return

    def show(done: threading.Event) -> None:
        if after and done.wait(after):
            return
        with display() as shown:
            while not done.wait(_INTERVAL):
                shown.show(snapshot())

    with beside(show, "artfs-progress"):
        yield
