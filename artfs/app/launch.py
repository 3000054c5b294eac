"""Start the mount process, and return when the mount answers.

What can be checked before is checked here, where the user sees the message: the mount point, a mount that is there already, a
dead one that a crash left (repaired), directories of artfs that would lie under their own mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.client import error_of, mount_points
from artfs.app.unmount import detach
from artfs.config import config_to_json
from artfs.errors import (
    BusyError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.fuse.device import check_device
from artfs.fuse.options import parse_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artfs.config import Config


# Blocks of 1 MiB come and go with every read: kept in the heap of the process, where glibc would map and unmap each of
# them. First reads are a fifth faster (docs/benchmarks.md).
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(16 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


def mount(
    config: Config, mountpoint: str, options: Sequence[str], *, foreground: bool, owner: int | None = None
) -> int:
    """Mount, and return 0 when the mount answers; in the foreground, when it has ended, with its exit code.

    With ``owner``, the mount ends when that process does, and removes its mount point.
    Raises what the mount process reports: BusyError, PermissionDeniedError, UnreachableError, InvalidInputError.
    """
    parse_options(options)
    check_device()
    path = Path(os.path.abspath(mountpoint))  # noqa: PTH100 - resolve() would ask a mount that may be dead
    _check_directories(config, Path(os.path.realpath(path)))
    with _one_at_a_time(config.runtime_dir):
        process = _start(config, _prepare(path), options, foreground=foreground, owner=owner)
    return _wait(process) if foreground else _leave(process)


@contextlib.contextmanager
def _one_at_a_time(runtime_dir: Path) -> Iterator[None]:
    """Let the commands that mount wait for each other: two at once would put one mount over the other."""
    try:
        runtime_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(runtime_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise PermissionDeniedError(f"{runtime_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _start(
    config: Config, path: Path, options: Sequence[str], *, foreground: bool, owner: int | None
) -> subprocess.Popen[bytes]:
    """Start the mount process, and return it when the mount answers."""
    settings = {
        "config": config_to_json(config),
        "options": list(options),
        "foreground": foreground,
        "owner": owner,
    }
    receiver, sender = os.pipe()
    quiet = None if foreground else subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-m", "artfs.app.daemon", str(path), str(sender)],
        stdin=subprocess.PIPE,
        stdout=quiet,
        stderr=quiet,
        pass_fds=[sender],
        start_new_session=not foreground,
        cwd="/",
        env={**_MALLOC, **os.environ},
    )
    os.close(sender)
    with process.stdin as stdin:  # type: ignore[union-attr]  # it is a pipe
        stdin.write(json.dumps(settings).encode())
    with os.fdopen(receiver) as reports:
        report = reports.readline()
        if not report:
            raise UnreachableError(
                f"the mount process ended with code {process.wait()}", hint="artfs mount -f shows why"
            )
        answer = json.loads(report)
        if "error" in answer:
            process.wait()
            raise error_of(answer["error"])
    return process


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the mount process; Ctrl-C reaches it too, and it unmounts."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)


def _leave(process: subprocess.Popen[bytes]) -> int:
    process.returncode = 0  # it goes on: its end is not this process's business
    return 0


def _prepare(path: Path) -> Path:
    """Return the mount point, ready to be mounted: there, a directory, and not mounted already."""
    mounted_here = any(mountpoint == path for mountpoint, _ in mount_points())
    try:
        found = path.stat()
    except FileNotFoundError:
        try:
            path.mkdir()
        except FileNotFoundError as error:
            raise NotFoundError(f"{path.parent} does not exist", hint=f"mkdir -p {path.parent}") from error
        except OSError as error:
            raise PermissionDeniedError(f"{path} cannot be made: {error.strerror}") from error
        return path.resolve()
    except OSError as error:
        if not mounted_here:
            raise UnreachableError(f"{path} cannot be used: {error.strerror}") from error
        detach(path)  # what a crash left: 'Transport endpoint is not connected'
        return path.resolve()
    if mounted_here:
        raise BusyError(f"artfs is mounted at {path} already", hint=f"artfs umount {path}")
    if not path.is_dir():
        raise InvalidInputError(f"{path} is not a directory: the mode is {found.st_mode:o}")
    if any(path.iterdir()):
        raise ExistsError(f"{path} is not empty", hint="choose an empty or a new directory")
    return path.resolve()


def _check_directories(config: Config, mountpoint: Path) -> None:
    """Refuse directories under the mount point: a process that has a file open on its own mount cannot exit."""
    named = {
        "data": config.data_dir,
        "cache": config.cache_dir,
        "state": config.state_dir,
        "runtime": config.runtime_dir,
    }
    for name, directory in named.items():
        if Path(os.path.realpath(directory)).is_relative_to(mountpoint):
            raise InvalidInputError(
                f"the {name} directory {directory} lies under the mount point {mountpoint}",
                hint=f"choose another with ARTFS_{name.upper()}_DIR",
            )
