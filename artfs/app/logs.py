"""The log of a mount process: a file, or stderr, or the journal; without secrets, and each cause once.

When stderr is the journal (``JOURNAL_STREAM``, systemd.exec(5)), lines begin with their priority (``<4>``, sd-daemon(3)) and have no time
of their own. What repeats is said as `artfs.app.causes` says. At the level ``debug``, what is below ``info`` is never held back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from artfs.app.causes import Causes
from artfs.config.values import LOG_LEVELS
from artfs.errors import InvalidInputError
from artfs.model.secrets import redact_text
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import TextIO

    from artfs.model.entry import JsonValue

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Formatter(logging.Formatter):
    """Lines with a time, or with the priority that the journal reads; never with a secret."""

    def __init__(self, secrets: Iterable[str], *, journal: bool) -> None:
        start = "" if journal else "%(asctime)s "
        super().__init__(f"{start}%(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime
        self._secrets = tuple(secrets)
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = redact_text(super().format(record), self._secrets)
        if not self._journal:
            return text
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in text.splitlines())


class MountLog(logging.Handler):
    """Passes on to a handler what is not a repetition. Thread-safe."""

    def __init__(self, target: logging.Handler, causes: Causes | None = None) -> None:
        super().__init__()
        self._target = target
        self._causes = Causes() if causes is None else causes
        self._secrets: tuple[str, ...] = ()
        self._configured = "info"
        self.path: Path | None = None
        """The file that all goes to; None for stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record, or count it."""
        try:
            if record.levelno < logging.INFO or self._causes.note(record.levelno, record.name, self._text(record)):
                self._target.handle(record)
            self._say_due()
        except Exception:  # noqa: BLE001 - as every handler does: what logs must not fail
            self.handleError(record)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _text(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        return redact_text(text if error is None else f"{text}: {error!r}", self._secrets)

    def _say_due(self, *, at_once: bool = False) -> None:
        for cause, text in self._causes.due(at_once=at_once):
            self._target.handle(logging.LogRecord(cause.logger, cause.level, "", 0, "%s", (text,), None))

    def say_due(self, *, at_once: bool = False) -> None:
        """Say how often causes were repeated, those whose time it is, or all ``at_once``. To be called now and then, and at the end."""
        with self._locked():
            self._say_due(at_once=at_once)

    def close(self) -> None:
        """Close the handler that it is passed on to."""
        self._target.close()
        super().close()

    def errors(self) -> list[JsonValue]:
        """Return what went wrong, the last first; see `Causes.errors`."""
        with self._locked():
            return self._causes.errors()

    def counts(self) -> dict[str, int]:
        """Return how many warnings and errors there were."""
        with self._locked():
            return self._causes.counts()

    # Levels -----------------------------------------------------------------------------------------------------

    def configure(self, level: str, secrets: Iterable[str] = ()) -> None:
        """Set the level of the settings, and what must not be shown."""
        self._configured, self._secrets = level, tuple(secrets)
        self.set_level(level)

    @property
    def level_name(self) -> str:
        """The level of now."""
        return logging.getLevelName(logging.getLogger("artfs").level).lower()

    @property
    def configured(self) -> str:
        """The level of the settings."""
        return self._configured

    def set_level(self, level: str) -> None:
        """Log from a level on; ``reset`` is that of the settings. InvalidInputError. Libraries never say more than warnings."""
        name = self._configured if level == "reset" else level
        if name not in LOG_LEVELS:
            raise InvalidInputError(f"{level!r} is no level of a log", hint=f"one of {', '.join(LOG_LEVELS)}, reset")
        logging.getLogger("artfs").setLevel(name.upper())


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream leads to the journal of systemd."""
    named = environment.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def open_log(path: Path | None, level: str, secrets: Iterable[str]) -> MountLog:
    """Let everything that is logged go to a file, or without one to stderr. The file is for this user alone."""
    secrets = tuple(secrets)
    target: logging.Handler
    if path is None:
        target = logging.StreamHandler(sys.stderr)
        journal = is_journal(sys.stderr, os.environ)
    else:
        make_private(path.parent)
        target, journal = logging.FileHandler(path), False
        path.chmod(0o600)
    target.setFormatter(_Formatter(secrets, journal=journal))
    log = MountLog(target)
    log.path = path
    # Libraries are not asked for more than warnings: at a finer level some log signed URLs and tokens.
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    log.configure(level, secrets)
    return log
