"""Mounts at /dev/fd/N: somebody who may mount does so, and passes the descriptor of /dev/fuse to a process that may not."""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artfs import app
from artfs.app.client import mount_points
from tests.harness import DEADLINE, wait_for
from tests.mount.conftest import NOBODY

LIBC = ctypes.CDLL(None, use_errno=True)
NOSUID_NODEV = 6


@contextlib.contextmanager
def passed_mount(mountpoint, uid, *options):
    """Mount for a user and give the descriptor; unmount at the end, whatever is left."""
    mountpoint.mkdir(exist_ok=True)
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    data = ",".join([f"fd={descriptor},rootmode=40000,user_id={uid},group_id={uid}", *options])
    assert LIBC.mount(b"artfs", os.fsencode(mountpoint), b"fuse.artfs", NOSUID_NODEV, data.encode()) == 0
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        LIBC.umount2(os.fsencode(mountpoint), 2)


def is_mounted(path):
    return any(mountpoint == path for mountpoint, _ in mount_points())


def ended(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_a_process_without_any_right_serves_what_root_has_mounted(ordinary, open_path):
    mountpoint = open_path / "mnt"
    ordinary.command = [*ordinary.plainly, "--no-new-privs", *ordinary.command[len(ordinary.plainly) :]]
    with passed_mount(mountpoint, NOBODY, "allow_other") as descriptor:
        ordinary.run("mount", f"/dev/fd/{descriptor}", pass_fds=[descriptor])
        os.close(descriptor)
        [status] = ordinary.json("status")
        assert status["mountpoint"] == str(mountpoint)  # the mount has the name that everybody knows it by
        as_nobody = [*ordinary.plainly, "sh", "-c"]
        draft = mountpoint / "me/demo/data/.staging/d"
        subprocess.run([*as_nobody, f"mkdir -p {draft} && echo mine >{draft}/f"], check=True)
        assert ordinary.out("commit", draft) == "me/demo/data:v0"
        other = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", "mkdir", draft.parent / "theirs"]
        refused = subprocess.run(other, capture_output=True, text=True, check=False)
        assert "Permission denied" in refused.stderr  # without being told, it has seen that others are let in
        assert (mountpoint / "me/demo/data/v0/f").read_text() == "mine\n"  # and root sees it, for allow_other
        assert ordinary.out("stage", "demo/data").startswith(f"{mountpoint}/")
        subprocess.run(["umount", mountpoint], check=True)
        wait_for(lambda: ended(status["pid"]), "the end of the mount process")
    assert list((ordinary.root / "runtime").iterdir()) == []


def test_a_signal_takes_the_mount_away_where_the_process_may(fresh):
    with passed_mount(fresh.mountpoint, os.geteuid()) as descriptor:
        fresh.run("mount", f"/dev/fd/{descriptor}", pass_fds=[descriptor])
        os.close(descriptor)
        pid = fresh.pid()
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: ended(pid), "the end of the mount process")
        assert not is_mounted(fresh.mountpoint)


def test_the_parent_that_the_documents_show_mounts_for_another_user(ordinary, open_path):
    mountpoint = open_path / "mnt"
    mountpoint.mkdir()
    [script] = re.findall(
        r"```python\n(.*?)```", (Path(app.__file__).parents[2] / "docs/containers.md").read_text(), re.DOTALL
    )
    command = [str(word) for word in ordinary.command[len(ordinary.plainly) :]]
    for shown, here in (
        ('b"/artifacts"', repr(os.fsencode(mountpoint))), ("1000", str(NOBODY)), ('execvp("artfs", ["artfs"', f"execvp({command[0]!r}, [*{command!r}"),
    ):  # fmt: skip
        assert shown in script
        script = script.replace(shown, here)
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=ordinary.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert wait_for(lambda: is_mounted(mountpoint) and os.listdir(mountpoint)) == ["me"]
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}" in Path(f"/proc/{process.pid}/status").read_text()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
        assert not is_mounted(mountpoint)
    finally:
        process.kill()
        process.communicate()
        LIBC.umount2(os.fsencode(mountpoint), 2)


HIDDEN = """
import ctypes, os, sys
mountpoint, *command = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
assert libc.unshare(0x20000) == 0 and libc.mount(None, b"/", None, 0x44000, None) == 0
fuse = os.open("/dev/fuse", os.O_RDWR)
assert libc.mount(b"artfs", mountpoint.encode(), b"fuse.artfs", 6, f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()) == 0
child = os.fork()
if child == 0:
    assert libc.setns(home, 0) == 0
    os.set_inheritable(fuse, True)
    os.execv(command[0], [*command, f"/dev/fd/{fuse}"])
assert os.waitpid(child, 0)[1] == 0
os.close(fuse)
print(*os.listdir(mountpoint), flush=True)
sys.stdin.read()
"""


def test_a_mount_that_is_out_of_sight_is_ready_when_it_answers_and_has_no_name(as_root, fresh):
    fresh.mountpoint.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", HIDDEN, str(fresh.mountpoint), *fresh.command, "mount"],
        env=fresh.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert parent.stdout.readline().split() == ["me"]
        [status] = fresh.json("status")
        assert status["mountpoint"].startswith("/dev/fd/")
        assert not is_mounted(fresh.mountpoint)
        # A path in it would lead nowhere here, so a draft is not made in it unasked.
        assert "no mount" in fresh.run("stage", "demo/data", code=8).stderr
        parent.communicate(timeout=DEADLINE)  # its end is the end of its mounts
        wait_for(lambda: ended(status["pid"]), "the end of the mount process")
    finally:
        parent.kill()
        parent.communicate()


@pytest.mark.parametrize(("path", "mode", "reason"), [
    ("/dev/null", os.O_RDWR, "is not /dev/fuse"),
    ("/dev/fuse", os.O_RDONLY, "open for reading and writing"),
    ("/dev/fuse", os.O_RDWR, "nothing is mounted with"),
    (None, None, "Bad file descriptor"),
])  # fmt: skip
def test_a_descriptor_that_cannot_be_a_mount_is_refused_with_a_reason(fresh, path, mode, reason):
    descriptor = os.open(path, mode) if path else 999
    try:
        done = fresh.run("mount", f"/dev/fd/{descriptor}", code=2, pass_fds=[descriptor] if path else [])
    finally:
        if path:
            os.close(descriptor)
    assert f"/dev/fd/{descriptor}" in done.stderr
    assert reason in done.stderr


def test_the_foreground_is_the_mount_process_itself(fresh):
    with passed_mount(fresh.mountpoint, os.geteuid()) as descriptor:
        process = fresh.start("mount", "--foreground", f"/dev/fd/{descriptor}", pass_fds=[descriptor])
        os.close(descriptor)
        assert (
            wait_for(fresh.pid) == process.pid
        )  # so that a container or systemd has one process to signal and to watch
        assert json.loads(fresh.out("status", "--json"))[0]["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
        assert "unmounted" in log
