"""Checks of the directories of artfs: there, writable, for this user alone, on a disk of this machine, with room."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from artfs.config import Config

NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "9p",
    "afs",
    "glusterfs",
    "fuse.sshfs",
}
"""File systems that several machines see, or on which locks are not what SQLite needs."""

_GIB = 1 << 30
LITTLE, TOO_LITTLE = 1 * _GIB, 64 << 20
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def directories(config: Config) -> dict[str, Path]:
    """Return the directories by what they are for."""
    return {
        "data": config.data_dir,
        "cache": config.cache_dir,
        "state": config.state_dir,
        "runtime": config.runtime_dir,
    }


def check_directory(name: str, path: Path, *, uid: int | None = None, table: bytes | None = None) -> list[Finding]:
    """Check one directory; the places where it goes wrong are told one by one."""
    check, uid = f"{name} directory", os.geteuid() if uid is None else uid
    try:
        about = path.stat()
    except FileNotFoundError:
        return [_missing(check, name, path)]
    except OSError as error:
        return [problem(check, f"{path} cannot be looked at: {error.strerror}", _elsewhere(name))]
    if not stat.S_ISDIR(about.st_mode):
        return [problem(check, f"{path} is not a directory", f"move it away, or choose another: {_variable(name)}")]
    found = [*_rights(check, name, path, about, uid), *_file_system(check, name, path, table)]
    return found or [ok(check, f"{path}")]


def _missing(check: str, name: str, path: Path) -> Finding:
    parent = next(parent for parent in path.parents if parent.exists())
    if path.is_symlink():
        return problem(
            check,
            f"{path} is a symlink that leads to nothing",
            f"make {path.readlink()}, or choose another: {_variable(name)}",
        )
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return problem(check, f"{path} does not exist and cannot be made in {parent}", _elsewhere(name))
    return ok(check, f"{path} is made when it is needed")


def _rights(check: str, name: str, path: Path, about: os.stat_result, uid: int) -> list[Finding]:
    found = []
    mode = stat.S_IMODE(about.st_mode)
    if about.st_uid != uid:
        found.append(
            problem(
                check,
                f"{path} belongs to uid {about.st_uid}, and not to uid {uid}",
                f"chown it, or choose another: {_variable(name)}",
            )
        )
    elif mode & 0o700 != 0o700 or not os.access(path, os.W_OK | os.X_OK):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            found.append(problem(check, f"{path} lies on a file system that is read-only", _elsewhere(name)))
        else:
            found.append(
                problem(
                    check,
                    f"{path} cannot be written to: its mode is {mode:04o}",
                    f"chmod 0700 {path}",
                    lambda: path.chmod(0o700),
                )
            )
    if about.st_uid == uid and mode & 0o700 == 0o700 and mode & 0o077:
        found.append(
            warning(
                check,
                f"others may look into {path}: its mode is {mode:04o}",
                f"chmod 0700 {path}",
                lambda: path.chmod(0o700),
            )
        )
    return found  # fmt: skip


def _file_system(check: str, name: str, path: Path, table: bytes | None) -> list[Finding]:
    kind = file_system_of(path, table)
    if kind not in NETWORK or name == "store":  # which needs no locks
        return []
    if name == "data":
        return [
            problem(
                check, f"{path} lies on {kind}: the locks of the database there cannot be relied on", _elsewhere(name)
            )
        ]
    return [warning(check, f"{path} lies on {kind}: slow, and its locks cannot be relied on", _elsewhere(name))]


def file_system_of(path: Path, table: bytes | None = None) -> str:
    """Return the type of the file system that a path lies on, by the mount table."""
    real = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in (Path("/proc/self/mountinfo").read_bytes() if table is None else table).split(b"\n"):
        fields = line.split(b" ")
        if len(fields) < 7 or b"-" not in fields:
            continue
        mounted = Path(os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), fields[4])))
        if real.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), os.fsdecode(fields[fields.index(b"-") + 1])
    return kind


def check_space(name: str, path: Path, cache_size: int = 0, cache_free: int = 0) -> Finding:
    """Look at the room on the disk of a directory; ``cache_size`` and ``cache_free`` are those of the block cache, if it is there."""
    check = f"{name} space"
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    disk = os.statvfs(place)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    text = f"{free / _GIB:,.1f} of {total / _GIB:,.1f} GiB are free on the disk of {path}"
    if disk.f_files and not disk.f_favail:
        return problem(check, f"the disk of {path} has no inode left", "remove some files")
    if free < TOO_LITTLE and name != "cache":
        return problem(check, text, "free some space")
    if cache_size and free < cache_free:
        return warning(check, f"{text}: less than the cache has to leave ({cache_free / _GIB:,.1f} GiB), so it keeps nothing new",
                       "free some space, or lower cache_free")  # fmt: skip
    if cache_size and cache_size + cache_free > total:
        return warning(
            check, f"{text}: the cache can never grow to its {cache_size / _GIB:,.1f} GiB", "lower cache_size"
        )
    if free < LITTLE and name != "cache":
        return warning(check, text, "free some space")
    return ok(check, text)


def _variable(name: str) -> str:
    return f"ARTFS_{name.upper()}_DIR"


def _elsewhere(name: str) -> str:
    return f"choose another: {_variable(name)}"
