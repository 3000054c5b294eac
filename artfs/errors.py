"""Every error that artfs raises on purpose, with its exit code.

The tree::

    ArtfsError                    1
    ├── InvalidInputError         2   a name, path, manifest, option or draft that cannot be accepted
    ├── NotFoundError             3
    ├── ExistsError               4
    ├── BusyError                 5   in use: open files, another owner, a mount with users
    │   └── ConflictError         5   somebody else has changed the same thing meanwhile
    │       └── CollectedError        what a commit relies on may have been removed from the store
    ├── PermissionDeniedError     6
    │   └── CredentialsError      6   there are none, they are of no use, or they are not accepted
    ├── ReadOnlyError             6   a committed version, or a mount with -o ro
    ├── IntegrityError            7   bytes that are not what the manifest names
    │   └── ChangedError          7   what a reference names is another object now
    ├── UnreachableError          8   a backend that does not answer
    │   └── OfflineError          8   what was asked for needs a network, and artfs is to use none
    ├── NoSpaceError              9
    ├── VersionDeletedError       3   a version deleted under its reader
    ├── NotSupportedError         2   this file system never does that
    ├── ArtifactStatusError       2   an artifact that is not in the state for this (also an AttributeError)
    │   ├── ArtifactNotLoggedError    it has to be logged first
    │   └── ArtifactFinalizedError    it was logged, and cannot change any more
    ├── WaitTimeoutError          8   what was waited for takes longer
    └── SchemaError               10  a registry or data file of another program version

``fuse/errnos.py`` maps the classes to errno, the CLI maps them to exit codes. A message names the reference, path or
digest and what went wrong; ``hint`` says what to try. InvalidInputError and IntegrityError are also ValueErrors, and the errors of
an artifact's state AttributeErrors, as code expects that was written for the W&B SDK.
"""

from __future__ import annotations

import re

_LONG = re.compile(r"\S{301,}")
_START, _END = 200, 99  # characters of a word that is too long to be read in a message


def elided(message: str) -> str:
    """Return a message in which no word is longer than 300 characters: a name or a reference may have 100,000."""
    return _LONG.sub(lambda found: f"{found[0][:_START]}…{found[0][-_END:]}", message)


class ArtfsError(Exception):
    """The root of the tree. ``hint`` is one sentence on what to try next, or empty."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = elided(message)
        super().__init__(self.message)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInputError(ArtfsError, ValueError):
    """A value given by a user, a file or a peer cannot be accepted."""

    exit_code = 2


class NotFoundError(ArtfsError):
    """What was named does not exist."""

    exit_code = 3


class VersionDeletedError(NotFoundError):
    """The version existed and was deleted."""


class ExistsError(ArtfsError):
    """What was to be made is there already."""

    exit_code = 4


class NotEmptyError(ExistsError):
    """What was to be removed still holds something."""


class BusyError(ArtfsError):
    """Something is in use by somebody else."""

    exit_code = 5


class ConflictError(BusyError):
    """Somebody else has changed the same thing since it was looked at."""


class CollectedError(ConflictError):
    """What a commit relies on may have been removed from the store meanwhile: it looks again."""


class PermissionDeniedError(ArtfsError):
    """The caller may not do this."""

    exit_code = 6


class CredentialsError(PermissionDeniedError):
    """A backend lets nobody in with the credentials that there are. What is on this machine can be read without any."""


class ReadOnlyError(ArtfsError):
    """What was to be changed never changes."""

    exit_code = 6


class IntegrityError(ArtfsError, ValueError):
    """Bytes do not match the digest that names them."""

    exit_code = 7


class ChangedError(IntegrityError):
    """What a reference names is no longer the object that was recorded."""


class UnreachableError(ArtfsError):
    """A backend did not answer, or answered with a failure of its own. ``retry_after`` is for how many seconds it asks to be left alone."""

    exit_code = 8

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class OfflineError(UnreachableError):
    """What was asked for is not on this machine, and no network is to be used."""


class NoSpaceError(ArtfsError):
    """A disk or a quota is full."""

    exit_code = 9


class NotSupportedError(ArtfsError):
    """This file system never does that, whoever asks."""

    exit_code = 2


class SchemaError(ArtfsError):
    """A file was written by another version of artfs and cannot be used by this one."""

    exit_code = 10


class ArtifactStatusError(ArtfsError, AttributeError):
    """An artifact is not in the state that an attribute or a method needs. ``hasattr`` is false for such an attribute."""

    exit_code = 2


class ArtifactNotLoggedError(ArtifactStatusError):
    """The artifact has to be logged before."""


class ArtifactFinalizedError(ArtifactStatusError):
    """The artifact was logged: its files cannot change any more."""


class WaitTimeoutError(ArtfsError):
    """What was waited for is not done in time. It goes on."""

    exit_code = 8
