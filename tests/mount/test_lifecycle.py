"""How a mount begins and ends: readiness, signals, busy, force, crashes, several mounts of one registry."""

import contextlib
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artfs.app import unmount
from artfs.app.client import mount_points
from tests.harness import DEADLINE, Artfs, as_user, wait_for


def is_mounted(path):
    return any(mountpoint == path for mountpoint, _ in mount_points())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_cleanly(fresh, number):
    fresh.mount()
    pid = fresh.pid()
    process = os.pidfd_open(pid)
    os.kill(pid, number)
    assert select.select([process], [], [], DEADLINE)[0]
    os.close(process)
    assert not is_mounted(fresh.mountpoint)
    assert os.listdir(fresh.mountpoint) == []
    assert list((fresh.root / "runtime").iterdir()) == []


def test_a_mount_that_is_busy_for_a_moment_is_unmounted_all_the_same(fresh, monkeypatch):
    fresh.mount()
    descriptor = os.open(fresh.mountpoint, os.O_RDONLY)
    plain, tries = unmount._umount, []

    def umount(*arguments, **named):
        tries.append(plain(*arguments, **named))
        if len(tries) == 1:
            os.close(descriptor)
        return tries[-1]

    monkeypatch.setattr(unmount, "_umount", umount)
    unmount.unmount(str(fresh.mountpoint))
    assert (tries[0], tries[-1]) == (False, True)


def test_a_busy_mount_says_who_uses_it_and_force_always_works(fresh):
    fresh.mount()
    user = subprocess.Popen([sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"], cwd=fresh.mountpoint / "me",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    user.stdout.readline()
    done = fresh.run("umount", fresh.mountpoint, code=5)
    assert f"(pid {user.pid})" in done.stderr
    assert is_mounted(fresh.mountpoint)
    fresh.umount("--force")
    assert not is_mounted(fresh.mountpoint)
    user.communicate()


def test_force_ends_a_mount_whose_process_does_not_answer(fresh):
    fresh.mount()
    process = os.pidfd_open(fresh.pid())
    signal.pidfd_send_signal(process, signal.SIGSTOP)
    reader = subprocess.Popen(["ls", fresh.mountpoint], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: "request_wait" in Path(f"/proc/{reader.pid}/wchan").read_text(), "a hanging ls")
    fresh.umount("--force")
    assert reader.wait(DEADLINE) != 0
    reader.communicate()
    assert not is_mounted(fresh.mountpoint)
    assert select.select([process], [], [], DEADLINE)[0]
    os.close(process)


def test_a_dead_mount_point_is_repaired_by_mounting(fresh):
    fresh.mount()
    draft = fresh.draft()
    (draft / "f").write_text("kept")
    fresh.kill()
    with pytest.raises(OSError, match="not connected"):
        os.listdir(fresh.mountpoint)
    fresh.mount()
    assert (draft / "f").read_text() == "kept"


def test_a_mount_point_that_cannot_be_used_is_refused_with_a_reason(fresh, tmp_path):
    fresh.mount()
    assert "mounted at" in fresh.run("mount", fresh.mountpoint, code=5).stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/f").touch()
    assert "not empty" in fresh.run("mount", tmp_path / "full", code=4).stderr
    assert "not a directory" in fresh.run("mount", tmp_path / "full/f", code=2).stderr
    assert "mkdir -p" in fresh.run("mount", tmp_path / "no/where", code=3).stderr
    assert "'bogus' is not known" in fresh.run("mount", tmp_path / "x", "-o", "bogus", code=2).stderr
    assert (
        "under the mount point"
        in fresh.run("mount", tmp_path / "data2", "--cache-dir", tmp_path / "data2/c", code=2).stderr
    )


def test_options_of_the_mount_are_shown_and_kept(fresh):
    fresh.mount("-o", "uid=1234,gid=4321,umask=027")
    draft = fresh.draft()
    (draft / "f").touch()
    version = fresh.commit(draft)
    found = (version / "f").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o440)
    assert stat.S_IMODE(version.stat().st_mode) == 0o550


def test_a_read_only_mount_has_no_staging_and_changes_nothing(fresh, tmp_path):
    (tmp_path / "f").write_text("x")
    fresh.here("put", tmp_path / "f", "demo/data")
    fresh.mount("-o", "ro")
    assert sorted(os.listdir(fresh.collection())) == ["latest", "v0"]
    for call in (
        lambda: (fresh.collection() / ".staging").mkdir(),
        lambda: (fresh.mountpoint / "x").mkdir(),
        lambda: os.symlink("v0", fresh.collection() / "best"),
        lambda: (fresh.collection() / "latest").unlink(),
        lambda: os.setxattr(fresh.collection() / "v0", "user.artfs.description", b"x"),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == 30
    assert (fresh.collection() / "latest/f").read_text() == "x"


def test_the_foreground_mount_ends_with_the_signal(fresh):
    process = subprocess.Popen(
        [sys.executable, "-m", "artfs.cli", "mount", "-f", str(fresh.mountpoint)],
        env=fresh.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: is_mounted(fresh.mountpoint) and os.listdir(fresh.mountpoint) == ["me"])
    os.kill(fresh.pid(), signal.SIGINT)
    _, log = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert "mounted" in log
    assert not is_mounted(fresh.mountpoint)


def test_a_version_of_another_process_shows_within_the_ttl(fresh, tmp_path):
    (tmp_path / "f").write_text("x")
    fresh.mount()
    fresh.draft()
    assert not (fresh.collection() / "v0").exists()
    environment = fresh.environment | {
        "ARTFS_RUNTIME_DIR": str(tmp_path / "elsewhere")
    }  # so that the mount is not told
    subprocess.run(
        [sys.executable, "-m", "artfs.cli", "put", str(tmp_path / "f"), "demo/data"], env=environment, check=True
    )
    start = time.monotonic()
    wait_for(lambda: (fresh.collection() / "v0/f").exists())
    assert os.readlink(fresh.collection() / "latest") == "v0"
    assert time.monotonic() - start < 30  # the TTL is 0.2 s; a slow machine is not


def test_two_mounts_of_one_registry_see_each_other_and_own_their_drafts(fresh, tmp_path):
    first = fresh.mount()
    second = fresh.mount(at=fresh.root / "mnt2")
    draft = fresh.draft()
    (draft / "f").write_text("one")
    wait_for(lambda: (second / "me/demo/data").exists())
    assert os.listdir(second / "me/demo/data/.staging") == []  # owned by the first
    other = second / "me/demo/data/.staging/other"
    other.mkdir()
    (other / "f").write_text("two")
    references = sorted([fresh.out("commit", draft), fresh.out("commit", other)])
    assert references == ["me/demo/data:v0", "me/demo/data:v1"]
    for mountpoint in (first, second):
        wait_for(lambda: {"v0", "v1"} <= set(os.listdir(mountpoint / "me/demo/data")))
        assert (mountpoint / "me/demo/data/v0/f").read_text() == "one"
        assert (mountpoint / "me/demo/data/v1/f").read_text() == "two"
    (second / "me/demo/data/.staging/kept").mkdir()
    fresh.umount(at=second)
    fresh.umount()
    fresh.mount()
    assert os.listdir(first / "me/demo/data/.staging") == ["kept"]


def test_a_version_that_is_deleted_is_gone_and_its_index_is_not_used_again(fresh, tmp_path):
    fresh.mount()
    for text in ("one", "two"):
        draft = fresh.draft()
        (draft / "f").write_text(text)
        fresh.commit(draft)
    assert "--delete-aliases" in fresh.run("rm", "demo/data:v1", code=5).stderr
    fresh.run("rm", "demo/data:v1", "--delete-aliases")
    assert not (fresh.collection() / "v1").exists()
    assert not os.path.lexists(fresh.collection() / "latest")
    draft = fresh.draft()
    (draft / "f").write_text("three")
    assert fresh.commit(draft).name == "v2"


def test_who_has_no_name_is_told_that_fusermount3_wants_one(as_root, open_path):
    root = open_path / "home"
    root.mkdir()
    os.chown(root, 54321, 54321)
    artfs = Artfs(root, uid=54321)
    said = artfs.run("mount", artfs.mountpoint, code=8).stderr
    assert "user id 54321 has none" in said
    assert "a directory of your own" not in said


def test_an_unprivileged_user_mounts_and_nobody_else_gets_in(as_root, open_path):
    root = open_path / "home"
    root.mkdir()
    os.chown(root, 65534, 65534)
    artfs = Artfs(root, uid=65534)
    try:
        artfs.mount()
        script = f"""
import os, pathlib
draft = pathlib.Path({str(artfs.mountpoint)!r}, "me/demo/data/.staging/d")
draft.mkdir(parents=True)
(draft / "f").write_text("mine")
assert (draft / "f").stat().st_uid == 65534
"""
        subprocess.run([*as_user(65534), sys.executable, "-c", script], check=True)
        draft = artfs.mountpoint / "me/demo/data/.staging/d"
        assert artfs.out("commit", draft) == "me/demo/data:v0"
        with pytest.raises(PermissionError):
            os.listdir(artfs.mountpoint)  # not even root, without allow_other
        read = subprocess.run(
            [*as_user(65534), "cat", artfs.mountpoint / "me/demo/data/v0/f"], capture_output=True, text=True, check=True
        )
        assert read.stdout == "mine"
        for path in [*(root / "data").rglob("*"), *(root / "cache").rglob("*"), *(root / "state").rglob("*")]:
            if "tree" not in path.parts:
                assert path.lstat().st_mode & 0o077 == 0, path
        artfs.umount()
    finally:
        artfs.close()
    assert artfs.unexpected_log() == []


def test_of_many_who_mount_at_one_place_at_once_one_does_and_the_others_are_told(fresh):
    processes = [fresh.start("mount", fresh.mountpoint) for _ in range(4)]
    said = [process.communicate(timeout=DEADLINE)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 5, 5, 5]
    assert sum("is mounted at" in text for text in said) == 3
    assert [path for path, _ in mount_points()].count(fresh.mountpoint) == 1
    assert os.listdir(fresh.mountpoint) == ["me"]
    fresh.umount()
    assert not is_mounted(fresh.mountpoint)


def test_a_program_may_have_more_files_open_than_the_shell_allowed_the_mount(fresh):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(256, most)
    fresh.run("mount", fresh.mountpoint, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most)))
    draft = fresh.draft()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((draft / f"f{number}").open("w+")) for number in range(min(600, most - 100))]
        for number, file in enumerate(files):
            file.write(str(number))
            file.flush()
        files[0].seek(0)
        assert files[0].read() == "0"
    assert len(os.listdir(draft)) == len(files)
    assert (draft / "f77").read_text() == "77"
