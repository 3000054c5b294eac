"""The ``-o`` options of a mount, parsed and checked in one place, and what of them libfuse is told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Options that mount(8), fstab and systemd hand to every file system. A mount is always nodev and nosuid, whatever they say:
# mount.fuse3(8) adds dev and suid unless it is told otherwise.
_IGNORED = {
    "dev", "nodev", "suid", "nosuid", "async", "sync", "dirsync", "atime", "noatime", "relatime", "norelatime", "strictatime",
    "nostrictatime", "diratime", "nodiratime", "lazytime", "nolazytime", "iversion", "noiversion", "silent", "loud", "auto",
    "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup", "_netdev", "nofail", "defaults",
}  # fmt: skip
_IGNORED_PREFIXES = ("x-", "X-", "comment=", "user=")
_LAST_ID = (1 << 32) - 2  # the one above means nobody to every system call
_KNOWN = "ro, noexec, allow_other, uid=N, gid=N, umask=OCTAL, fsname=NAME"
_SWITCHES = {"ro": ("ro", True), "rw": ("ro", False), "noexec": ("noexec", True), "exec": ("noexec", False),
             "allow_other": ("allow_other", True)}  # fmt: skip
_VALUES = {"uid", "gid", "umask", "fsname"}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What ``-o`` says. ``uid``, ``gid`` and ``umask`` are of what the mount shows, not of the process."""

    read_only: bool
    no_exec: bool
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
        if self.no_exec:
            options.add("noexec")
        if self.allow_other:
            options.add("allow_other")
        return options


def parse_options(options: Iterable[str]) -> MountOptions:
    """Parse option strings, each with one or more options separated by commas; InvalidInputError names a bad one."""
    values: dict[str, str | bool] = {}
    for option in (part for text in options for part in text.split(",") if part):
        key, equals, value = option.partition("=")
        if key in _SWITCHES and not equals:
            name, state = _SWITCHES[key]
            values[name] = state
        elif key in _VALUES and value:
            values[key] = value
        elif key == "remount":
            raise InvalidInputError(
                "a mount cannot be remounted with other options", hint="unmount it, then mount it anew"
            )
        elif not is_known(option):
            raise InvalidInputError(
                f"mount option {option!r} is not known", hint=f"known are {_KNOWN}, and settings as registry=URL"
            )
    return MountOptions(
        read_only=bool(values.get("ro", False)),
        no_exec=bool(values.get("noexec", False)),
        allow_other=bool(values.get("allow_other", False)),
        uid=_number(values, "uid", os.geteuid(), 10, _LAST_ID),
        gid=_number(values, "gid", os.getegid(), 10, _LAST_ID),
        umask=_number(values, "umask", 0, 8, 0o777),
        fsname=str(values.get("fsname", "artfs")),
    )


def is_known(option: str) -> bool:
    """Whether an option means something here, or is one that means nothing to a mount of artfs."""
    key, equals, value = option.partition("=")
    if equals:
        return (key in _VALUES and bool(value)) or option.startswith(_IGNORED_PREFIXES)
    return key in _SWITCHES or key in _IGNORED or key.startswith(_IGNORED_PREFIXES)


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
