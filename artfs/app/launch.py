"""Start the mount process, and return when the mount answers; in the foreground, become it.

What can be checked before is checked here, where the user sees the message: the mount point, a mount that is there already, a
dead one that a crash left (repaired), directories of artfs that would lie under their own mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from artfs.app.client import error_of, mount_of, mount_points, mount_table, unescape
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
from artfs.fuse.device import check_device, check_passed, connection_of, passed_device
from artfs.fuse.options import parse_options
from artfs.private import check_owner, make_private, naming

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artfs.config import Config


# Blocks of 1 MiB come and go with every read: kept in the heap of the process, where glibc would map and unmap each of
# them. First reads are a fifth faster (docs/benchmarks.md). Each heap keeps what was free at its end, and threads have several: two
# are as fast as sixteen, and take a quarter less memory.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_ARENA_MAX": "2",
}


def mount(
    config: Config, mountpoint: str, options: Sequence[str], *, foreground: bool, owner: int | None = None
) -> int:
    """Mount, and return 0 when the mount answers. In the foreground this process becomes the mount process, with its exit code.

    With ``owner``, the mount ends when that process does, and removes its mount point. A mount point ``/dev/fd/N`` is a mount that
    somebody else has made with that descriptor of ``/dev/fuse``.
    Raises what the mount process reports: BusyError, PermissionDeniedError, UnreachableError, InvalidInputError.
    """
    parse_options(options)
    settings: dict[str, object] = {
        "config": config_to_json(config),
        "options": list(options),
        "foreground": foreground,
        "owner": owner,
        "passed": None,
        "automount": False,
        "report": None,
        "lock": None,
    }
    passed = passed_device(mountpoint)
    if passed is not None:
        check_passed(passed)
        path, given = _found(passed)
        settings["options"] = [*options, *given]
        _check_directories(config, path)
        settings["passed"], settings["automount"] = passed, _automount_group(path) == os.getpgrp()
        return _begin(settings, path, keep=[passed])
    check_device()
    path = Path(os.path.abspath(mountpoint))  # noqa: PTH100 - resolve() would ask a mount that may be dead
    _check_directories(config, Path(os.path.realpath(path)))
    with _one_at_a_time(config.runtime_dir) as lock:
        settings["automount"] = _check_automount(path)
        path = _prepare(path)
        if foreground:
            settings["lock"] = lock
        return _begin(settings, path, keep=[lock] if foreground else [])


def _begin(settings: dict[str, object], path: Path, keep: list[int]) -> int:
    """Start the mount process, or become it; ``keep`` are the descriptors that it needs."""
    if settings["foreground"]:
        _become(settings, path, keep)
    return _start(settings, path, keep)


@contextlib.contextmanager
def _one_at_a_time(runtime_dir: Path) -> Iterator[int]:
    """Let the commands that mount wait for each other: two at once would put one mount over the other. Gives the lock."""
    try:
        make_private(runtime_dir)
        descriptor = os.open(runtime_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise PermissionDeniedError(f"{runtime_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _command(path: Path) -> list[str]:
    return [sys.executable, "-m", "artfs.app.daemon", str(path)]


def _become(settings: dict[str, object], path: Path, keep: list[int]) -> NoReturn:
    """Become the mount process, so that signals, exit code and watchdog of a service manager or a container are its own."""
    file = os.memfd_create("artfs-settings")
    os.write(file, json.dumps(settings).encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 0)
    for descriptor in keep:
        os.set_inheritable(descriptor, True)
    os.chdir("/")
    os.execve(sys.executable, _command(path), {**_MALLOC, **os.environ})  # noqa: S606 - there is no shell to be had


def _start(settings: dict[str, object], path: Path, keep: list[int]) -> int:
    """Start the mount process, and return when the mount answers."""
    receiver, sender = os.pipe()
    process = subprocess.Popen(
        _command(path),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[sender, *keep],
        start_new_session=not settings["automount"],
        cwd="/",
        env={**_MALLOC, **os.environ},
    )
    os.close(sender)
    with process.stdin as stdin:  # type: ignore[union-attr]  # it is a pipe
        stdin.write(json.dumps({**settings, "report": sender}).encode())
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
    process.returncode = 0  # it goes on: its end is not this process's business
    return 0


def _found(passed: int) -> tuple[Path, list[str]]:
    """Return where the mount of a descriptor is, and which options it was made with, whatever this process was told.

    Where it cannot be seen from here, it is called ``/dev/fd/N``, and others than this user may be behind it.
    """
    minor = connection_of(passed)
    found = [entry for entry in mount_table() if entry.minor == minor]
    if not found:
        return Path(f"/dev/fd/{passed}"), ["allow_other"]
    return found[-1].mountpoint, sorted({"ro", "allow_other"} & found[-1].options)


def _prepare(path: Path) -> Path:
    """Return the mount point, ready to be mounted: there, a directory, and not mounted already."""
    mounted_here = any(mountpoint == path for mountpoint, _ in mount_points())
    around = mount_of(path.parent)
    if around is not None and os.geteuid() != 0:  # fusermount3 would only say that it may not
        raise InvalidInputError(
            f"{path} lies in the artfs that is mounted at {around}", hint="choose a directory elsewhere"
        )
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


def _check_automount(mountpoint: Path) -> bool:
    """Whether this is what an automount point waits for. BusyError, PermissionDeniedError if it may not be mounted here and so."""
    group = _automount_group(mountpoint)
    if group is None:
        return False
    if group != os.getpgrp():
        raise BusyError(f"{mountpoint} is an automount point", hint=f"look into it: ls {mountpoint}")
    if os.geteuid() != 0:
        raise PermissionDeniedError(
            f"{mountpoint} is an automount point, and belongs to root: fusermount3 does not mount there for uid {os.geteuid()}",
            hint="add drop_privileges to the options",
        )
    return True


def _automount_group(mountpoint: Path) -> int | None:
    """Return the only process group that the kernel does not hold back when it looks into an automount point; None if it is none.

    The mount process stays in that group until it has mounted: before, its own request would wait for itself.
    """
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split()
        kind, _, options = fields[fields.index(b"-") + 1 :]
        if kind == b"autofs" and unescape(fields[4]) == os.fsencode(mountpoint):
            return next(int(option[5:]) for option in options.split(b",") if option.startswith(b"pgrp="))
    return None


def _check_directories(config: Config, mountpoint: Path) -> None:
    """Refuse directories under the mount point, as a process that has a file open on its own mount cannot exit, and those of others."""
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
        with naming(name, directory):
            if directory.exists():
                check_owner(directory)
