"""Runs as processes see them: the run of this process, its id, and what is recorded of where it ran.

Used by the commands, the mount process and the Python API; imports no backend. The variable itself is `artfs.model.runs`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import socket
import string
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import ConflictError
from artfs.model.names import DEFAULT_PROJECT, parse_project
from artfs.model.reference import redact
from artfs.model.run import RunChange, RunProgress
from artfs.model.runs import RUN_VARIABLE, parse_full_run, run_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from artfs.model.entry import JsonValue
    from artfs.model.names import RunRef
    from artfs.model.run import RunInfo
    from artfs.registry.port import Registry

__all__ = [
    "PROJECT_VARIABLE",
    "RUN_VARIABLE",
    "current_run",
    "default_project",
    "describe_process",
    "go_on",
    "new_run_id",
    "parse_full_run",
    "use_in_run",
]

PROJECT_VARIABLE = "ARTFS_PROJECT"
SAID = (
    "notes",
    "tags",
    "group",
)  # of the metadata of a run: what its user says of it, which stays when it goes on in another process

_ID_LETTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 8
_TRIES = 10  # to change a run that others change, too
_GIT_PATIENCE = 5.0  # seconds that git may take to say how a big work tree is


def current_run(environ: Mapping[str, str]) -> RunRef | None:
    """Return the run that a process with this environment belongs to."""
    return run_or_none(environ.get(RUN_VARIABLE))


def default_project(environ: Mapping[str, str]) -> str:
    """Return the project of runs that name none; InvalidInputError."""
    return parse_project(environ.get(PROJECT_VARIABLE) or DEFAULT_PROJECT)


def new_run_id() -> str:
    """Return a new id: eight random lower-case letters and digits, as W&B makes them."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def use_in_run(registry: Registry, run: RunRef, version_id: str) -> None:
    """Record that a run used a version; NotFoundError if the registry does not know the run, UnreachableError."""
    registry.record_use(registry.run(run), version_id)


def go_on(
    registry: Registry, run: RunInfo, *, renamed: bool, config: Mapping[str, JsonValue] | None, whole: bool = False
) -> RunInfo:
    """Let a run that is recorded already be one of this process: ``run`` is what this one says of it. Return it as it is then.

    ``config`` is added to what is recorded, or with ``whole`` replaces it. Others may do the same at this moment.
    """

    def change(found: RunInfo) -> RunChange:
        seen = {key: value for key, value in found.config.items() if whole or key in (config or {})}
        return RunChange(
            name=(found.name, run.name) if renamed else None,
            job_type=(found.job_type, run.job_type) if run.job_type else None,
            config=None if config is None else (seen, config),
            metadata={key: value for key, value in found.metadata.items() if key in SAID} | dict(run.metadata),
            progress=RunProgress(run.state),
        )

    for _ in range(_TRIES):
        with contextlib.suppress(ConflictError):
            return registry.change_run(run.ref, change(registry.run(run.ref)))
    return registry.change_run(run.ref, change(registry.run(run.ref)))


def describe_process(argv: Sequence[str], *, python: str | None = None) -> dict[str, JsonValue]:
    """Return the metadata of a run: the command as it is, where, who, the Python version if one is given, and the state of git.

    ``git`` is there if the working directory is in a work tree and git is installed. The address of its remote is without credentials.
    """
    cwd = _cwd()
    found: dict[str, JsonValue] = {
        "command": [_text(word) for word in argv],
        "cwd": _text(cwd),
        "host": socket.gethostname(),
        "user": _user(),
    }
    if python is not None:
        found["python"] = python
    git = _describe_git(cwd)
    if git is not None:
        found["git"] = git
    return found


def _text(value: str) -> str:
    """Return text that can be recorded: arguments and paths may be any bytes."""
    return os.fsencode(value).decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for its user
        return str(os.geteuid())


def _describe_git(cwd: str) -> dict[str, JsonValue] | None:
    if not cwd or _git(cwd, "rev-parse", "--is-inside-work-tree") != "true":
        return None
    changes = _git(cwd, "status", "--porcelain")
    return {
        "commit": _git(cwd, "rev-parse", "--verify", "HEAD") or None,
        "remote": _remote(cwd),
        "dirty": None if changes is None else bool(changes),
    }


def _remote(cwd: str) -> str | None:
    """Return the address of the remote ``origin``, or of the first one."""
    names = (_git(cwd, "remote") or "").split()
    if not names:
        return None
    url = _git(cwd, "remote", "get-url", "origin" if "origin" in names else names[0])
    return redact(_text(url)) if url else None


def _git(cwd: str, *arguments: str) -> str | None:
    """Return what git says; None if it fails, is not installed, or takes too long."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", cwd, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_GIT_PATIENCE, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout).strip() if done.returncode == 0 else None
