"""Checks of the kernel and of what ordinary users mount with. Every path is an argument, for tests."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.fuse.device import DEVICE, has_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artfs.app.client import TableEntry

OLDEST_KERNEL = (5, 4)
"""Older ones lack what is relied on: pages that stay between opens without limit, and invalidation that does not wait."""

READ_AHEAD_KIB = 1024


def check_kernel(release: str | None = None, filesystems: Path = Path("/proc/filesystems")) -> Finding:
    """Look at the version of the kernel, and whether it has FUSE."""
    release = os.uname().release if release is None else release
    match = re.match(r"(\d+)\.(\d+)", release)
    if not re.search(r"\bfuse$", filesystems.read_text(), re.MULTILINE):
        return problem(
            "kernel", f"Linux {release} has no FUSE loaded", "as root: modprobe fuse; in a container, on its host"
        )
    if match is None or (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        return warning(
            "kernel", f"Linux {release} is older than {oldest}, with which artfs was not tried", "use a newer kernel"
        )
    return ok("kernel", f"Linux {release}, with FUSE")


def check_device(device: Path = DEVICE) -> Finding:
    """Open ``/dev/fuse``, which does nothing yet."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return problem(
            "/dev/fuse", f"{device} does not exist", "as root: modprobe fuse; a container needs --device /dev/fuse"
        )
    except PermissionError as error:
        mode = stat.S_IMODE(device.stat().st_mode)
        if mode & 0o666 == 0o666:
            return problem("/dev/fuse", f"{device} cannot be opened: {error.strerror}, although its mode is {mode:04o}",
                           "a container needs --device /dev/fuse")  # fmt: skip
        return problem("/dev/fuse", f"{device} cannot be opened by uid {os.geteuid()}: its mode is {mode:04o}",
                       f"as root: chmod 0666 {device}")  # fmt: skip
    except OSError as error:
        return problem("/dev/fuse", f"{device} cannot be opened: {error.strerror}",
                       "as root: modprobe fuse; a container needs --device /dev/fuse")  # fmt: skip
    return ok("/dev/fuse", f"{device} can be opened")


def check_fusermount(
    uid: int | None = None,
    which: Callable[[str], str | None] = shutil.which,
    process: Path = Path("/proc/self/status"),
    named: Callable[[int], bool] = has_name,
) -> Finding:
    """Look for fusermount3, and whether an ordinary user gets root's rights by it."""
    name = "fusermount3"
    uid = os.geteuid() if uid is None else uid
    is_root = uid == 0
    found = which(name)
    if found is None:
        if is_root:
            return warning(
                name, "it is not installed: root mounts without it, other users cannot", "install the package fuse3"
            )
        return problem(name, "it is not installed: ordinary users mount with it", "install the package fuse3")
    about = Path(found).stat()
    if not about.st_mode & stat.S_ISUID or about.st_uid != 0:
        say = warning if is_root else problem
        return say(name, f"{found} is not setuid root: ordinary users cannot mount",
                   f"as root: chown root {found} && chmod u+s {found}")  # fmt: skip
    if not is_root and os.statvfs(found).f_flag & os.ST_NOSUID:
        return problem(
            name, f"{found} lies on a file system mounted with nosuid", "install it elsewhere, or mount as root"
        )
    if not is_root and re.search(r"^NoNewPrivs:\s*1$", process.read_text(), re.MULTILINE):
        return problem(name, f"{found} has no effect: this process may not gain rights (no_new_privs)",
                       "allow it in the container or the unit: allowPrivilegeEscalation, NoNewPrivileges=no")  # fmt: skip
    if not is_root and not named(uid):
        return problem(name, f"{found} mounts for users with a name only, and user id {uid} has none",
                       f"a line for it in /etc/passwd, as: user:x:{uid}:{uid}::/tmp:/bin/sh")  # fmt: skip
    return ok(name, f"{found}, setuid root")


def check_allow_other(wanted: str, uid: int | None = None, settings: Path = Path("/etc/fuse.conf")) -> Finding:
    """Look for ``user_allow_other``, which ordinary users need for ``-o allow_other``. ``wanted`` says who wants it, or is empty."""
    name = "allow_other"
    if (os.geteuid() if uid is None else uid) == 0:
        return ok(name, "root needs no permission for it")
    try:
        lines = settings.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    except OSError as error:
        return warning(name, f"{settings} cannot be read: {error.strerror}", f"as root: chmod a+r {settings}")
    if any(line.strip() == "user_allow_other" for line in lines):
        return ok(name, f"{settings} allows it")
    if wanted:
        return warning(name, f"{wanted} wants allow_other, and {settings} does not allow it to ordinary users",
                       f"as root: echo user_allow_other >> {settings}")  # fmt: skip
    return ok(name, f"{settings} does not allow it to ordinary users; nothing here needs it")


def wants_allow_other(table: Iterable[TableEntry], has_roots: bool, fstab: Path = Path("/etc/fstab")) -> str:
    """Return who wants ``allow_other``: a mount, the file table, or a setting that has no other use. Empty if nobody does."""
    for entry in table:
        if "allow_other" in entry.options:
            return f"the mount at {entry.mountpoint}"
    try:
        lines = fstab.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[2] == "fuse.artfs" and "allow_other" in fields[3].split(","):
            return f"{fields[1]} in {fstab}"
    return "the setting reference_roots" if has_roots else ""


def check_read_ahead(table: Iterable[TableEntry], devices: Path = Path("/sys/class/bdi")) -> list[Finding]:
    """Look whether the kernel asks each mount for whole blocks."""
    found = []
    for entry in table:
        setting = devices / f"0:{entry.minor}" / "read_ahead_kb"
        try:
            size = int(setting.read_text())
        except (OSError, ValueError):
            continue
        if size < READ_AHEAD_KIB:
            text = f"the kernel reads {entry.mountpoint} in pieces of {size} KiB, where {READ_AHEAD_KIB} is faster"
            found.append(warning("read-ahead", text, f"as root: echo {READ_AHEAD_KIB} > {setting}"))
        else:
            found.append(ok("read-ahead", f"{entry.mountpoint}: {size} KiB"))
    return found
