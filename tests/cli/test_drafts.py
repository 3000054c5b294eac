"""`artfs stage` and `artfs commit`: from the version to the draft and back, waiting or not, and after a crash."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import run_all
from tests.harness import tree_of, wait_for


@pytest.fixture
def draft(mounted):
    path = mounted.draft()
    (path / "f").write_text("one\n")
    return path


def test_stage_prints_where_the_draft_is(mounted, small):
    mounted.here("put", small, "demo/data")
    staging = mounted.collection() / ".staging"
    done = mounted.run("stage", "demo/data")
    assert (done.stdout, done.stderr) == (f"{staging}/from-v0\n", "")
    assert tree_of(staging / "from-v0") == {"d": None, "d/g": b"two\n", "f": b"one\n"}
    assert mounted.out("stage", "demo/data:latest") == f"{staging}/from-v0-2"
    assert mounted.json("stage", "demo/data:v0", "--name", "mine") == {"path": f"{staging}/mine", "name": "mine"}
    assert mounted.out("stage", "new/things", "--empty") == f"{mounted.mountpoint}/me/new/things/.staging/draft"
    assert sorted(os.listdir(staging)) == ["from-v0", "from-v0-2", "mine"]


def test_stage_refuses_what_cannot_be_a_draft(mounted, small):
    mounted.here("put", small, "demo/data")
    mounted.run("stage", "demo/data", "--name", "mine")
    refusals = [
        (4, ["stage", "demo/data", "--name", "mine"], "has a draft 'mine' already"),
        (2, ["stage", "demo/data", "--name", "a/b"], "draft 'a/b'"),
        (2, ["stage", "demo/data:best", "--empty"], "'data:best'"),
        (3, ["stage", "demo/data:v7"], "(me/demo/data has v0)"),
        (3, ["stage", "demo/nothing"], "no collection me/demo/nothing"),
    ]
    for (code, line, says), found in zip(refusals, run_all(mounted, [row[1] for row in refusals]), strict=True):
        assert found[:2] == [code, ""], line
        assert says in found[2]
    assert mounted.out("ls", "me/demo") == "data"
    assert os.listdir(mounted.collection() / ".staging") == ["mine"]


def test_stage_chooses_a_mount_of_its_registry_that_can_be_written(mounted, small):
    mounted.here("put", small, "demo/data")
    mounted.umount()
    mounted.mount("-o", "ro")
    assert "artfs mount" in mounted.run("stage", "demo/data", code=8).stderr
    assert "read-only" in mounted.run("stage", "demo/data", "--mount", mounted.mountpoint, code=6).stderr
    second = mounted.mount(at=mounted.root / "second")
    assert mounted.out("stage", "demo/data") == f"{second}/me/demo/data/.staging/from-v0"
    third = mounted.mount(at=mounted.root / "third")
    assert mounted.out("stage", "demo/data", "--mount", third) == f"{third}/me/demo/data/.staging/from-v0"


def test_commit_prints_the_reference_and_records_what_it_was_told(mounted, draft, tmp_path):
    (tmp_path / "metadata.json").write_text('{"rows": 150}')
    done = mounted.run("commit", draft, "--alias", "best", "-a", "prod", "--type", "model", "--description", "für everything",
                       "--metadata", f"@{tmp_path}/metadata.json")  # fmt: skip
    assert (done.stdout, done.stderr) == ("me/demo/data:v0\n", "")
    shown = mounted.json("show", "demo/data:best")
    assert {name: shown[name] for name in ("aliases", "type", "description", "metadata", "size", "file_count")} == {
        "aliases": ["best", "latest", "prod"], "type": "model", "description": "für everything", "metadata": {"rows": 150}, "size": 4,
        "file_count": 1,
    }  # fmt: skip
    assert os.listdir(mounted.collection() / ".staging") == []


def test_commit_says_as_json_what_it_did(mounted, draft):
    (draft / "empty").mkdir()
    first = mounted.json("commit", draft)
    assert (first["version"], first["created"], first["hashed_files"]) == ("me/demo/data:v0", True, 1)
    assert first["warnings"] == ["empty directories are not part of a version: empty"]
    same = mounted.json("commit", mounted.out("stage", "demo/data"))
    assert (same["version"], same["created"], same["hashed_files"]) == ("me/demo/data:v0", False, 0)


def test_commit_takes_any_path_to_the_draft(mounted, tmp_path):
    (tmp_path / "link").symlink_to(mounted.mountpoint)
    staging = mounted.draft("d0").parent
    (staging / "d0/f").write_text("0")
    assert mounted.out("commit", tmp_path / "link/me/demo/data/.staging/d0") == "me/demo/data:v0"
    for number, (directory, path) in enumerate(
        ((staging, "d1/"), (staging / "d2", "."), (staging / "d3/sub", "..")), 1
    ):
        (staging / f"d{number}/sub").mkdir(parents=True)
        (staging / f"d{number}/sub/f").write_text(str(number))
        command = [sys.executable, "-m", "artfs.cli", "commit", path]
        done = subprocess.run(
            command, env=mounted.environment, cwd=directory, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"me/demo/data:v{number}\n"


def test_commit_refuses_what_is_no_draft(mounted, draft):
    refusals = [
        (2, draft.parent, "drafts are ENTITY/PROJECT/NAME/.staging/DRAFT"),
        (2, draft / "f", "is not a draft"),
        (2, mounted.mountpoint, "is not a draft"),
        (3, draft.parent / "other", "no draft 'other'"),
    ]
    lines = [["commit", path] for _, path, _ in refusals]
    for (code, _, says), (found, out, err) in zip(refusals, run_all(mounted, lines), strict=True):
        assert (found, out) == (code, "")
        assert says in err
    assert (draft / "f").read_text() == "one\n"


def test_commit_names_a_file_that_is_open_for_writing(mounted, draft):
    with (draft / "f").open("a"):
        done = mounted.run("commit", draft, code=5)
    assert done.stdout == ""
    assert done.stderr == "artfs: draft 'draft' has files open for writing: f (close them and try again)\n"
    assert mounted.out("commit", draft) == "me/demo/data:v0"


def test_commit_without_waiting_says_where_the_commit_goes_on(mounted, draft):
    commit = mounted.collection() / ".commit"
    with mounted.held_registry():
        done = mounted.run("commit", draft, "--no-wait", "--alias", "best")
        assert (done.stdout, done.stderr) == (f"{commit}/draft\n", "")
        assert os.getxattr(commit / "draft", "user.artfs.state") == b"PENDING"
        assert "no draft 'draft'" in mounted.run("commit", draft, code=3).stderr
    wait_for(lambda: (mounted.collection() / "best").exists())
    assert tree_of(mounted.collection() / "v0") == {"f": b"one\n"}
    wait_for(lambda: os.listdir(commit) == [])


def interrupt(artfs, name, **files):
    """Leave a commit that was killed in its middle."""
    draft = artfs.draft(name)
    for file, text in files.items():
        (draft / file).write_text(text)
    with artfs.held_registry():
        artfs.run("commit", draft, "--no-wait", "--alias", f"alias-{name}")
        artfs.kill()


def test_resume_finishes_interrupted_commits_without_a_mount(mounted):
    interrupt(mounted, "first", f="1")
    mounted.umount("--force")
    assert mounted.out("commit", "--resume") == "me/demo/data:v0"
    assert mounted.json("show", "demo/data:alias-first")["file_count"] == 1
    again = mounted.run("commit", "--resume")
    assert again.stdout == ""
    assert "no interrupted commit" in again.stderr
    assert mounted.json("commit", "--resume") == []
    assert [row["name"] for row in mounted.json("ls", "me/demo/data")] == ["v0"]
    assert not list((mounted.root / "data/drafts").glob("*/*"))


def test_resume_leaves_drafts_and_what_a_mount_is_working_on(mounted, draft):
    mounted.draft("other")
    pid = mounted.pid()
    with mounted.held_registry():
        mounted.run("commit", draft, "--no-wait")
        os.kill(pid, signal.SIGSTOP)  # the commit cannot end before it is looked for
    try:
        done = mounted.run("commit", "--resume")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.stdout == ""
    assert "no interrupted commit" in done.stderr
    wait_for(lambda: (mounted.collection() / "v0").exists())
    assert os.listdir(mounted.collection() / ".staging") == ["other"]


def test_resume_says_which_commit_fails_and_finishes_the_others(mounted, tmp_path):
    interrupt(mounted, "good", f="1")
    mounted.umount("--force")
    (only,) = (mounted.root / "data/drafts").glob("*/*")
    shutil.copytree(only, tmp_path / "kept")
    assert mounted.out("commit", "--resume") == "me/demo/data:v0"
    shutil.move(tmp_path / "kept", only.with_name("0" * 32))
    (only.with_name("0" * 32) / "tree/f").unlink()
    os.mkfifo(only.with_name("0" * 32) / "tree/pipe")
    done = mounted.run("commit", "--resume", "--json", code=2)
    assert json.loads(done.stdout) == []
    assert "draft 'good' of me/demo/data" in done.stderr
    assert "pipe is a device, a socket or a fifo" in done.stderr


def test_who_stops_waiting_for_a_commit_is_told_that_it_goes_on(mounted, draft):
    commit = mounted.collection() / ".commit"
    with mounted.held_registry():
        process = mounted.start("commit", draft)
        wait_for(lambda: os.listdir(commit) == ["draft"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert f"the commit goes on: {commit}/ lists it" in err
    assert "Traceback" not in err
    wait_for(lambda: (mounted.collection() / "v0/f").exists())


def test_who_waits_for_a_commit_is_told_when_the_mount_process_dies(mounted, draft):
    with mounted.held_registry():
        process = mounted.start("commit", draft)
        wait_for(lambda: os.listdir(mounted.collection() / ".commit") == ["draft"])
        mounted.kill()
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (8, "")
    assert "a commit is resumed by the next mount" in err
    mounted.mount()
    wait_for(lambda: (mounted.collection() / "v0/f").exists())


def test_who_waits_for_a_commit_is_told_why_it_does_not_go_on(mounted, draft):
    mounted.expected.append("waits: ")
    blobs = mounted.root / "data/store/md5"
    blobs.touch()  # a store that cannot be used, and will be
    process = mounted.start("commit", draft)
    line = process.stderr.readline()
    assert line.startswith("artfs: warning: the commit waits, and is tried again: ")
    assert "Not a directory" in line
    progress = json.loads(os.getxattr(mounted.collection() / ".commit/draft", "user.artfs.progress"))
    assert "Not a directory" in progress["waiting_for"]
    blobs.unlink()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "me/demo/data:v0\n", "")
