"""Starting a thread without a wait for it."""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def start(work: Callable[[], None]) -> None:
    """Have ``work`` done by a new thread, which the end of the program does not wait for.

    `threading.Thread.start` returns only when the thread runs. That takes a turn of the interpreter lock, 0.3 ms of an idle machine and
    tens of a busy one; on the event loop, all readers wait for it.
    """
    _thread.start_new_thread(work, ())
