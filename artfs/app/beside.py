"""A thread beside the work of a command."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(watch: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Call a function in a thread of its own while the body works. It is to return soon after the event is set, when the body ends."""
    done = threading.Event()
    thread = threading.Thread(target=watch, args=(done,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
