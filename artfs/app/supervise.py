"""Run a child process in the place of this one: terminal, signals and exit code are passed through.

The child stays in the process group of the terminal, so Ctrl-C and Ctrl-Z reach it from there; what a process sends to this one is passed
on. Signals are taken by `sigwaitinfo`, which says which of the two it was; they stay held until what is to be done after the child
is done.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_HELD = _ENDING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}
_BY_A_PROCESS = 0  # si_code is SI_USER, or less; it is more where the kernel sends, as for a terminal


class NotStartedError(Exception):
    """A program that cannot be started: 127 if there is none, 126 if it cannot be executed, as shells say it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code, 128 + n after signal n, and whether something outside has ended it."""

    code: int
    killed: bool


@contextlib.contextmanager
def signals_held() -> Iterator[set[signal.Signals]]:
    """Hold back signals while the body runs, and drop those that came and were not passed on. Gives the mask of before."""
    before = {signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)}
    try:
        yield before
    finally:
        while signal.sigtimedwait(_HELD, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_child(argv: Sequence[str], environment: Mapping[str, str], umask: int, mask: set[signal.Signals]) -> Ended:
    """Run a program to its end, under `signals_held` in the main thread; NotStartedError."""
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            umask=umask,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),  # noqa: PLW1509 - no thread runs yet
        )
    except FileNotFoundError as error:
        raise NotStartedError(127, "there is no such program") from error
    except (OSError, ValueError) as error:
        raise NotStartedError(126, getattr(error, "strerror", None) or str(error)) from error
    asked = False
    while process.poll() is None:
        found = signal.sigwaitinfo(_HELD)
        if found.si_signo != signal.SIGCHLD:
            asked |= found.si_signo in _ENDING
            if found.si_code <= _BY_A_PROCESS:
                process.send_signal(found.si_signo)
    code = process.returncode
    return Ended(128 - code, killed=True) if code < 0 else Ended(code, killed=asked and code > 0)
