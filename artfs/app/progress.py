"""One progress bar for a whole command, on stderr when that is a terminal. Nothing is imported otherwise."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
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


@contextlib.contextmanager
def showing(snapshot: Callable[[], Mapping[str, Any]], after: float = 0.0) -> Iterator[None]:
    """Show a progress from a thread of its own while the body works, if that takes longer than ``after`` seconds."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        if after and done.wait(after):
            return
        with Bar() as shown:
            while not done.wait(_INTERVAL):
                shown.show(snapshot())

    thread = threading.Thread(target=show, name="artfs-progress")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
