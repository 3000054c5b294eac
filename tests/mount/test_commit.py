"""Commit through the mount: by `mv`, beside everything else, and across every way in which a mount can end."""

import errno
import json
import os
import select
import shutil
import signal
import subprocess

import pytest

from artfs.app.client import mount_points
from tests.harness import DEADLINE, tree_of, wait_for
from tests.servers.faults import Reset

FILES = {"a": b"one", "d/b": b"two", "d/e/c": bytes(3 << 20)}


def fill_draft(draft, files=FILES):
    for path, data in files.items():
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        (draft / path).write_bytes(data)
    return draft


def files_of(path):
    return {name: data for name, data in tree_of(path).items() if data is not None}


def mv(draft, name=None):
    """Commit as a person would; return what mv said."""
    target = draft.parents[1] / ".commit" / (name or draft.name)
    return subprocess.run(["mv", "-T", draft, target], capture_output=True, text=True, check=False)


def names(artfs):
    return sorted(name for name in os.listdir(artfs.collection()) if not name.startswith("."))


def progress_of(path):
    return json.loads(os.getxattr(path, "user.artfs.progress"))


@pytest.mark.parametrize("held", [True, False], ids=["before the version is reserved", "at any moment"])
def test_a_commit_that_is_killed_with_its_mount_is_whole_and_there_once_after_the_next_mount(fresh, held):
    fresh.mount()
    draft = fill_draft(fresh.draft("big"), FILES | {f"many/{number}": b"%d" % number for number in range(500)})
    content = files_of(draft)
    commit = fresh.collection() / ".commit"
    if held:
        with fresh.held_registry():
            assert mv(draft, "best").returncode == 0
            assert os.listdir(commit) == ["best"]
            fresh.kill()
    else:
        assert mv(draft, "best").returncode == 0
        fresh.kill()
    fresh.mount()
    wait_for(lambda: (fresh.collection() / "best").exists())
    wait_for(lambda: os.listdir(commit) == [])
    assert names(fresh) == ["best", "latest", "v0"]
    assert files_of(fresh.collection() / "v0") == content
    assert os.listdir(fresh.collection() / ".staging") == []
    fresh.kill()
    fresh.mount()
    assert names(fresh) == ["best", "latest", "v0"]
    assert files_of(fresh.collection() / "best") == content
    assert not list((fresh.root / "data/drafts").glob("*/*"))


def test_commits_in_progress_are_listed_readable_and_say_how_far_they_are(fresh):
    fresh.mount()
    draft = fill_draft(fresh.draft())
    fill_draft(fresh.draft("other"), {"f": b"other"})
    commit, collection = fresh.collection() / ".commit", fresh.collection()
    with fresh.held_registry():
        assert mv(draft, "best").returncode == 0
        assert os.listdir(commit) == ["best"]
        assert os.listdir(collection / ".staging") == ["other"]
        assert files_of(commit / "best") == FILES
        assert os.getxattr(commit / "best", "user.artfs.state") == b"PENDING"
        progress = wait_for(lambda: (found := progress_of(commit / "best"))["phase"] == "hashing" and found)
        assert (progress["files_total"], progress["bytes_total"]) == (3, sum(map(len, FILES.values())))
        wait_for(lambda: progress_of(commit / "best")["bytes_done"] == progress["bytes_total"])
        for change in (
            lambda: (commit / "best/a").write_bytes(b"changed"),
            lambda: (commit / "best/a").unlink(),
            lambda: (commit / "best/new").mkdir(),
            lambda: (commit / "best").rename(collection / "back"),
            lambda: (commit / "best").rmdir(),
            lambda: os.setxattr(commit / "best", "user.artfs.description", b"x"),
        ):
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EROFS
        # Nothing waits for the commit.
        (collection / ".staging/other/g").write_bytes(b"more")
        assert names(fresh) == []
        assert (collection / ".staging/other/g").read_bytes() == b"more"
    wait_for(lambda: names(fresh) == ["best", "latest", "v0"])
    wait_for(lambda: os.listdir(commit) == [])
    assert files_of(collection / "v0") == FILES


def test_a_file_that_is_open_for_writing_is_busy_and_named(fresh):
    fresh.mount()
    draft = fill_draft(fresh.draft())
    with (draft / "d/b").open("ab") as writer, (draft / "a").open("rb") as reader:
        said = mv(draft)
        assert said.returncode == 1
        assert "Device or resource busy" in said.stderr
        error = os.getxattr(draft, "user.artfs.error").decode()
        assert "d/b" in error
        assert ": a" not in error
        writer.write(b" and more")
        writer.close()
        assert mv(draft).returncode == 0
        wait_for(lambda: names(fresh) == ["latest", "v0"])
        assert reader.read() == b"one"  # who reads is not disturbed
    assert (fresh.collection() / "v0/d/b").read_bytes() == b"two and more"


def test_a_commit_that_fails_gives_the_draft_back_with_the_reason(fresh):
    fresh.expected.append("dangling -> nowhere: leads to nothing")
    fresh.mount()
    draft = fill_draft(fresh.draft())
    (draft / "dangling").symlink_to("nowhere")
    assert mv(draft, "best").returncode == 0  # a rename must not wait to find out
    error = wait_for(lambda: draft.exists() and os.getxattr(draft, "user.artfs.error").decode())
    assert error == "the draft cannot be committed: dangling -> nowhere: leads to nothing"
    assert os.listdir(fresh.collection() / ".commit") == names(fresh) == []
    assert files_of(draft) == FILES | {"dangling": "nowhere"}
    (draft / "dangling").unlink()
    assert mv(draft, "best").returncode == 0
    wait_for(lambda: names(fresh) == ["best", "latest", "v0"])


def test_everything_that_cannot_be_committed_is_named_at_once(ordinary):
    ordinary.expected.append("the draft cannot be committed")
    ordinary.mount()
    draft = ordinary.collection() / ".staging/draft"
    script = f"""
        mkdir -p {draft}/closed && cd {draft} && echo good > good && echo s > secret && echo c > closed/file && chmod 0 secret closed
        ln -s nowhere dangling; ln -s /etc/passwd outside; mkfifo fifo
    """

    def run(command):
        return subprocess.run(
            [*ordinary.plainly, "sh", "-c", command], capture_output=True, text=True, check=True
        ).stdout

    run(script)
    script = f"import os, socket; os.chdir({str(draft)!r}); socket.socket(socket.AF_UNIX).bind('socket')"
    subprocess.run([*ordinary.command[:-2], "-c", script], env=ordinary.environment, check=True)
    before = run(f"ls -lA --full-time {draft}")
    done = ordinary.run("commit", draft, code=2)
    (line,) = done.stderr.splitlines()
    for problem in (
        "secret cannot be read: permission denied", "closed/ cannot be listed: permission denied",
        "dangling -> nowhere: leads to nothing", "outside -> /etc/passwd: leads out of the mount",
        "fifo is a device, a socket or a fifo", "socket is a device, a socket or a fifo",
    ):  # fmt: skip
        assert problem in line, problem
    assert "good" not in line
    assert run(f"ls -lA --full-time {draft}") == before
    assert line.removeprefix("artfs: ") == run(f"getfattr --absolute-names --only-values -n user.artfs.error {draft}")
    run(f"cd {draft} && chmod 700 closed && chmod 600 secret && rm dangling outside fifo socket")
    assert ordinary.out("commit", draft) == "me/demo/data:v0"
    assert run(f"cd {ordinary.collection()}/v0 && cat good secret closed/file") == "good\ns\nc\n"


def test_commits_of_two_mounts_at_once_get_an_index_each(fresh):
    mounts = [fresh.mount(), fresh.mount(at=fresh.root / "second")]
    fresh.collection().mkdir(parents=True)
    wait_for(lambda: (mounts[1] / "me/demo/data").exists())
    drafts = [mounts[number % 2] / f"me/demo/data/.staging/d{number}" for number in range(6)]
    for number, draft in enumerate(drafts):
        fill_draft(draft, {"f": b"%d" % number})
    running = [fresh.start("commit", draft, "--alias", f"a{number}") for number, draft in enumerate(drafts)]
    references = {}
    for number, process in enumerate(running):
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
        assert [line for line in err.splitlines() if "was begun before" not in line] == []  # who waits for whom
        references[out.strip().rpartition(":")[2]] = b"%d" % number
    assert sorted(references) == [f"v{number}" for number in range(6)]
    for mountpoint in mounts:
        collection = mountpoint / "me/demo/data"
        wait_for(lambda: (collection / "v5").exists())
        assert {version: (collection / version / "f").read_bytes() for version in references} == references
        for number in range(6):
            assert (collection / f"a{number}/f").read_bytes() == b"%d" % number


def test_an_unmount_finishes_the_commits_that_are_under_way(fresh):
    fresh.mount()
    draft = fill_draft(fresh.draft())
    with fresh.held_registry():
        assert mv(draft, "best").returncode == 0
        process = fresh.start("umount", fresh.mountpoint)
        wait_for(lambda: fresh.mountpoint not in {path for path, _ in mount_points()}, "the unmount")
        assert process.poll() is None  # it waits for the commit
    assert process.communicate(timeout=DEADLINE) == ("", "")
    assert process.returncode == 0
    assert fresh.json("show", "demo/data:best")["version"] == "v0"
    assert not list((fresh.root / "data/drafts").glob("*/*"))


@pytest.mark.parametrize("how", ["SIGTERM", "umount --force"])
def test_a_commit_that_was_told_to_stop_goes_on_with_the_next_mount(fresh, how):
    fresh.mount()
    draft = fill_draft(fresh.draft())
    process = os.pidfd_open(fresh.pid())
    with fresh.held_registry():
        assert mv(draft, "best").returncode == 0
        if how == "SIGTERM":
            signal.pidfd_send_signal(process, signal.SIGTERM)
            wait_for(lambda: fresh.mountpoint not in {path for path, _ in mount_points()}, "the unmount")
            assert not select.select([process], [], [], 0)[0]
        else:
            fresh.umount("--force")
    assert select.select([process], [], [], DEADLINE)[0]
    os.close(process)
    assert "no version" in fresh.run("show", "demo/data", code=3).stderr
    fresh.mount()
    wait_for(lambda: names(fresh) == ["best", "latest", "v0"])
    assert files_of(fresh.collection() / "v0") == FILES


def test_whoever_is_still_in_the_directory_of_a_committed_draft_changes_nothing(fresh, tmp_path):
    (tmp_path / "f").write_text("base\n")
    fresh.mount()
    fresh.here("put", tmp_path / "f", "demo/data")
    draft = fresh.mountpoint / fresh.out("stage", "demo/data", "--name", "draft")
    (draft / "sub").mkdir()
    (draft / "sub/g").write_text("new\n")
    shell = subprocess.Popen(["sh", "-s"], cwd=draft / "sub", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert fresh.out("commit", draft) == "me/demo/data:v1"
    said, _ = shell.communicate("""
        for change in 'echo x > y' 'echo x >> ../f' 'echo x > ../f' 'rm ../f' 'mv ../f ../h' 'mkdir z' 'ln ../f ../h' 'chmod 700 ../f'
        do (eval "$change") && echo "DONE $change"; done
    """, timeout=DEADLINE)  # fmt: skip
    assert "DONE" not in said
    assert "nput/output error" not in said
    fresh.umount()
    assert not list((fresh.root / "data/drafts").glob("*/*"))
    fresh.mount()
    assert files_of(fresh.collection() / "v1") == {"f": b"base\n", "sub/g": b"new\n"}


def test_a_damaged_draft_keeps_neither_the_mount_nor_other_drafts_away(fresh, tmp_path):
    fresh.expected.append("is left alone")
    (tmp_path / "f").write_text("base\n")
    fresh.mount()
    fresh.here("put", tmp_path / "f", "demo/data")
    fresh.run("stage", "demo/data", "--name", "based")
    fill_draft(fresh.draft("good"))
    fill_draft(fresh.draft("damaged"), {"kept": b"kept"})
    fresh.umount()
    (damaged,) = (path.parents[1] for path in (fresh.root / "data/drafts").glob("*/*/tree/kept"))
    (damaged / "draft.sqlite").write_bytes(b"no database")
    (manifest,) = [path for path in fresh.store_files() if path.stat().st_size > 100]
    manifest.rename(tmp_path / "manifest")
    shutil.rmtree(fresh.root / "cache")
    fresh.mount()
    assert os.listdir(fresh.collection() / ".staging") == ["good"]
    assert files_of(fresh.collection() / ".staging/good") == FILES
    assert str(damaged) in fresh.log()
    assert (damaged / "tree/kept").read_bytes() == b"kept"
    fresh.umount()
    (tmp_path / "manifest").rename(manifest)
    fresh.mount()
    assert sorted(os.listdir(fresh.collection() / ".staging")) == ["based", "good"]
    assert (fresh.collection() / ".staging/based/f").read_text() == "base\n"


def test_the_same_content_committed_twice_at_once_is_one_version_with_all_aliases(fresh):
    fresh.mount()
    first, second = (fill_draft(fresh.draft(name)) for name in ("first", "second"))
    with fresh.held_registry():
        assert mv(first, "one").returncode == mv(second, "two").returncode == 0
        assert sorted(os.listdir(fresh.collection() / ".commit")) == ["one", "two"]
    wait_for(lambda: os.listdir(fresh.collection() / ".commit") == [])
    *aliases, version = names(fresh)
    assert aliases == ["latest", "one", "two"]
    assert {os.readlink(fresh.collection() / alias) for alias in aliases} == {
        version
    }  # v0 or v1: whose content came first
    assert files_of(fresh.collection() / version) == FILES


def test_mv_refuses_what_is_no_commit(fresh):
    fresh.mount()
    draft = fill_draft(fresh.draft())
    (fresh.mountpoint / "me/demo/other").mkdir()
    commit = fresh.collection() / ".commit"
    for target, number in (
        (commit / "v3", errno.EINVAL),
        (commit / ".hidden", errno.EINVAL),
        (commit / "a:b", errno.EINVAL),
        (fresh.mountpoint / "me/demo/other/.commit/x", errno.EXDEV),
        (fresh.collection() / "x", errno.EROFS),
    ):
        with pytest.raises(OSError) as caught:
            draft.rename(target)
        assert caught.value.errno == number, target
    for make in (
        lambda: (commit / "x").mkdir(),
        lambda: (commit / "x").touch(),
        lambda: (commit / "x").symlink_to("y"),
    ):
        with pytest.raises(OSError) as caught:
            make()
        assert caught.value.errno == errno.EROFS
    with fresh.held_registry():
        assert mv(draft, "best").returncode == 0
        with pytest.raises(FileExistsError):
            fill_draft(fresh.draft("again")).rename(commit / "best")
    wait_for(lambda: names(fresh) == ["best", "latest", "v0"])
    assert os.listdir(fresh.collection() / ".staging") == ["again"]


def test_a_commit_that_cannot_go_on_is_taken_back_by_moving_it(fresh, proxy):
    fresh.expected.append(" waits: ")
    fresh.environment["ARTFS_RETRY_SECONDS"] = "1"
    fresh.mount()
    draft, commit = fill_draft(fresh.draft()), fresh.collection() / ".commit"
    (draft / "raw").symlink_to(f"{proxy.url}/file")
    with proxy.injected(Reset(None)):
        assert mv(draft, "best").returncode == 0
        wait_for(lambda: b"waiting_for" in os.getxattr(commit / "best", "user.artfs.progress"), "the commit to wait")
        with pytest.raises(OSError, match="exists"):
            os.rename(commit / "best", fresh.draft("other"))
        os.rename(commit / "best", draft.with_name("again"))
        assert os.listdir(commit) == []
    again = draft.with_name("again")
    assert files_of(again) == FILES | {"raw": f"{proxy.url}/file"}
    assert b"given up" in os.getxattr(again, "user.artfs.error")
    (again / "raw").unlink()
    assert mv(again, "best").returncode == 0
    wait_for(lambda: names(fresh) == ["best", "latest", "v0"])
    with pytest.raises(FileNotFoundError):
        os.rename(commit / "best", draft)
