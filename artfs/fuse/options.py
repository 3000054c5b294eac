"""The ``-o`` options of a mount, parsed and checked in one place, and what of them libfuse is told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Options that mount(8), fstab and systemd hand to every file system.
_IGNORED = {
    "rw", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "async", "atime", "noatime", "relatime", "diratime",
    "nodiratime", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "defaults",
}  # fmt: skip
_LAST_ID = (1 << 32) - 2  # the one above means nobody to every system call
_KNOWN = "ro, allow_other, uid=N, gid=N, umask=OCTAL, fsname=NAME"


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What ``-o`` says. ``uid``, ``gid`` and ``umask`` are of what the mount shows, not of the process."""

    read_only: bool
    allow_other: bool
    uid: int
    gid: int
    umask: int
    fsname: str

    def for_libfuse(self) -> set[str]:
        """Return the options that libfuse and the kernel have to know."""
        # No default_permissions: the kernel would answer EACCES where a program must see EROFS.
        options = {f"fsname={self.fsname}", "subtype=artfs", "noatime"}
        if self.read_only:
            options.add("ro")
        if self.allow_other:
            options.add("allow_other")
        return options


def parse_options(options: Iterable[str]) -> MountOptions:
    """Parse option strings, each with one or more options separated by commas; InvalidInputError names a bad one."""
    values: dict[str, str | bool] = {}
    for option in (part for text in options for part in text.split(",") if part):
        key, equals, value = option.partition("=")
        if key in {"ro", "allow_other"} and not equals:
            values[key] = True
        elif key in {"uid", "gid", "umask", "fsname"} and value:
            values[key] = value
        elif key == "rw":
            values["ro"] = False
        elif key not in _IGNORED and not key.startswith("x-"):
            raise InvalidInputError(f"mount option {option!r} is not known", hint=f"known are {_KNOWN}")
    return MountOptions(
        read_only=bool(values.get("ro", False)),
        allow_other=bool(values.get("allow_other", False)),
        uid=_number(values, "uid", os.geteuid(), 10, _LAST_ID),
        gid=_number(values, "gid", os.getegid(), 10, _LAST_ID),
        umask=_number(values, "umask", 0, 8, 0o777),
        fsname=str(values.get("fsname", "artfs")),
    )


def _number(values: dict[str, str | bool], key: str, default: int, base: int, last: int) -> int:
    text = values.get(key)
    if text is None:
        return default
    try:
        number = int(str(text), base)
    except ValueError as error:
        raise InvalidInputError(f"mount option {key}={text}: not a number") from error
    if not 0 <= number <= last:
        raise InvalidInputError(f"mount option {key}={text}: out of range")
    return number
