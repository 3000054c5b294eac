"""What a hostile review of `artfs.mounted` has found: a private mount ends with its program, and with nothing else."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

import artfs
from artfs.api import mounted as module
from artfs.app.client import mount_points, statuses
from artfs.app.unmount import daemon_of, detach, unmount
from tests.harness import wait_for

HOLDS = """
import artfs, time
with artfs.mounted("demo/data") as path:
    print(path, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def runtime(tmp_path):
    yield tmp_path / "runtime"
    for root, _ in mount_points():
        if root.is_relative_to(tmp_path):
            detach(root)


def private_mounts(runtime):
    return [root for root, _ in mount_points() if root.parent == runtime]


@pytest.fixture
def holder(log, runtime):
    """A program that is in the block, and the path that it has."""
    log(files={"a": b"1"})
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as process:
        yield process, pathlib.Path(process.stdout.readline().strip())
        process.kill()


def test_the_private_mount_of_a_killed_program_ends(holder, runtime, tmp_path):
    process, path = holder
    assert (path / "a").read_bytes() == b"1"
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not private_mounts(runtime))
    wait_for(lambda: not list(runtime.iterdir()))
    wait_for(lambda: not list((tmp_path / "state/log").iterdir()))


def test_a_private_mount_that_was_killed_is_removed_by_the_next_one(holder, runtime):
    process, _ = holder
    (root,) = private_mounts(runtime)
    daemon = daemon_of(root)
    process.send_signal(signal.SIGSTOP)
    os.kill(daemon, signal.SIGKILL)
    process.kill()
    wait_for(lambda: daemon_of(root) is None)
    assert private_mounts(runtime) == [root]
    with artfs.mounted("demo/data") as path:
        assert private_mounts(runtime) != [root]
        assert (path / "a").read_bytes() == b"1"
    assert private_mounts(runtime) == []
    assert not root.exists()


def test_the_private_mount_of_one_program_is_not_used_by_another(holder):
    process, path = holder
    with artfs.mounted("demo/data") as own:
        assert own != path
        process.terminate()
        process.wait()
        assert (own / "a").read_bytes() == b"1"


def test_a_thread_that_is_ready_leaves_the_others_their_mount(log, runtime):
    log(files={"a": b"1"})
    inside, over = threading.Event(), threading.Event()

    def first():
        with artfs.mounted("demo/data"):
            inside.set()
            over.wait(120)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(120)
    with artfs.mounted("demo/data") as path:
        over.set()
        thread.join()
        assert (path / "a").read_bytes() == b"1"
    assert private_mounts(runtime) == []


def test_a_forked_child_that_leaves_the_block_does_not_unmount(log, runtime):
    log(files={"a": b"1"})
    with artfs.mounted("demo/data") as path:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert (path / "a").read_bytes() == b"1"
    if not child:  # it has left the block
        os._exit(0)
    assert private_mounts(runtime) == []


# Through a mount that is there ------------------------------------------------------------------------------------


@pytest.fixture
def mount(log, runtime, tmp_path):
    """A mount of this user that believes its listings for an hour."""
    log(files={"a": b"1"})
    root = tmp_path / "mount"
    root.mkdir()
    command = [sys.executable, "-m", "artfs.cli", "mount", "--metadata-ttl", "3600", str(root)]
    subprocess.run(command, check=True, timeout=120)
    yield root
    unmount(str(root))


def test_a_mount_that_is_there_is_used_and_stays(mount, runtime):
    with artfs.mounted("demo/data") as path:
        assert path == mount / "me/demo/data/v0"
        assert (path / "a").read_bytes() == b"1"
        assert private_mounts(runtime) == []
    assert (path / "a").read_bytes() == b"1"


def test_a_version_that_was_made_elsewhere_shows_in_a_mount_that_has_not_seen_it(mount, log, runtime, monkeypatch):
    assert "v1" not in os.listdir(mount / "me/demo/data")
    assert not (mount / "me/demo/data/v1").exists()
    with monkeypatch.context() as elsewhere:  # as on another machine: nobody tells this mount
        elsewhere.setattr("artfs.api.commits.refresh_all", lambda *_: None)
        log(files={"a": b"2"})
    assert not (mount / "me/demo/data/v1").exists()
    with artfs.mounted("demo/data") as path:
        assert path == mount / "me/demo/data/v1"
        assert (path / "a").read_bytes() == b"2"
        assert private_mounts(runtime) == []


def test_a_mount_that_this_process_does_not_see_is_not_used(mount, runtime, monkeypatch):
    """As one in another container, or one that was passed as a descriptor of /dev/fuse."""
    (status,) = statuses(artfs.Api().client.config)
    monkeypatch.setattr(module, "statuses", lambda _: [{**status, "mountpoint": "/dev/fd/999"}])
    with artfs.mounted("demo/data") as path:
        assert (path / "a").read_bytes() == b"1"
        assert len(private_mounts(runtime)) == 1
