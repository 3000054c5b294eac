"""A commit that was kept while a service was away never becomes the newest version after a newer one: as commands say it."""

import json
import os

import pytest

from tests.harness import wait_for


@pytest.fixture
def away(cli):
    """A store that cannot be used until the file is removed."""
    blobs = cli.root / "data/store/md5"
    blobs.parent.mkdir(parents=True)
    blobs.touch()
    return blobs


def put(artfs, text, code=0):
    source = artfs.root / "source"
    source.mkdir(exist_ok=True)
    (source / "f").write_text(text)
    return artfs.run("put", source, "demo/data", code=code)


def latest(artfs):
    out = artfs.root / "out"
    artfs.run("get", "demo/data", out)
    try:
        return (out / "f").read_text()
    finally:
        (out / "f").unlink()
        out.rmdir()


def test_a_put_that_was_kept_is_finished_by_the_next_one_and_is_not_the_newest(cli, away):
    kept = put(cli, "older", code=8)
    assert "artfs: warning: not given up: a mount finishes the commit, or: artfs commit --resume\n" in kept.stderr
    away.unlink()
    done = put(cli, "newer")
    assert done.stdout == "me/demo/data:v1\n"
    assert done.stderr == (
        "artfs: warning: the commit of draft 'put-source' of me/demo/data was begun before, and comes first\n"
    )
    assert latest(cli) == "newer"
    assert cli.run("commit", "--resume").stderr == "artfs: no interrupted commit was found\n"


def test_commits_that_were_kept_are_resumed_in_their_order(cli, away):
    for text in ("one", "two", "three"):
        put(cli, text, code=8)
    away.unlink()
    assert cli.out("commit", "--resume").splitlines() == [f"me/demo/data:v{index}" for index in range(3)]
    assert latest(cli) == "three"


def test_what_is_held_up_says_by_what_and_how_to_go_on(cli, away):
    put(cli, "older", code=8)
    second = put(cli, "newer", code=8).stderr
    assert "the commit of draft 'put-source' of me/demo/data was begun before, and comes first, which waits: " in second
    assert "artfs commit --abort me/demo/data/put-source" in second
    assert cli.out("commit", "--abort", "demo/data/put-source") == "me/demo/data/.staging/put-source"
    away.unlink()
    assert cli.out("commit", "--resume") == "me/demo/data:v0"
    assert latest(cli) == "newer"
    assert "has no unfinished commit" in cli.run("commit", "--abort", "demo/data/put-source", code=3).stderr
    assert "names no draft" in cli.run("commit", "--abort", "data", code=2).stderr


def test_what_was_given_up_is_an_ordinary_draft_of_the_next_mount(fuse, cli, away):
    put(cli, "older", code=8)
    shown = json.loads(cli.out("commit", "--abort", "demo/data/put-source", "--json"))
    away.unlink()
    cli.mount()
    try:
        draft = cli.collection() / ".staging/put-source"
        assert (draft / "f").read_text() == "older"
        assert b"given up" in os.getxattr(draft, "user.artfs.error")
        assert shown["draft"] == "put-source"
        cli.commit(draft)
    finally:
        cli.close()
    assert latest(cli) == "older"


def test_two_of_one_source_that_were_given_up_are_both_drafts_of_the_mount(fuse, cli, away):
    for text in ("one", "two"):
        put(cli, text, code=8)
    cli.mount()
    try:
        for count in (1, 2):
            cli.out("commit", "--abort", "demo/data/put-source")
            wait_for(lambda count=count: len(os.listdir(cli.collection() / ".staging")) == count)
        drafts = {
            name: (cli.collection() / ".staging" / name / "f").read_text() for name in ("put-source", "put-source-2")
        }
        assert drafts == {"put-source": "one", "put-source-2": "two"}
    finally:
        cli.close()


def test_a_mount_finishes_kept_commits_in_their_order_and_before_new_ones(fuse, cli, away):
    for text in ("one", "two"):
        put(cli, text, code=8)
    cli.mount()
    try:
        draft = cli.draft("mine")
        (draft / "f").write_text("three")
        draft.rename(cli.collection() / ".commit/mine")
        waiting = wait_for(
            lambda: [
                line for line in cli.json("status")[0]["commits"] if line["draft"] == "mine" and line["waiting_for"]
            ]
        )
        assert "the commit of draft 'put-source', which was begun before" in waiting[0]["waiting_for"]
        assert "artfs commit --abort me/demo/data/put-source" in waiting[0]["waiting_for"]
        away.unlink()
        wait_for(lambda: (cli.collection() / "v2/f").exists())
        assert [(cli.collection() / f"v{index}/f").read_text() for index in range(3)] == ["one", "two", "three"]
        assert (cli.collection() / "latest/f").read_text() == "three"
    finally:
        cli.close()


def test_a_put_waits_for_the_commit_that_a_mount_is_at(mounted, small):
    draft = mounted.draft("mine")
    (draft / "f").write_text("older")
    with mounted.held_registry():
        draft.rename(mounted.collection() / ".commit/mine")
        process = mounted.start("put", small, "demo/data")
        line = process.stderr.readline()
        assert line == "artfs: warning: the commit of draft 'mine' of me/demo/data was begun before, and comes first\n"
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "me/demo/data:v1\n", "")
    assert (mounted.collection() / "v0/f").read_text() == "older"


def test_a_mount_gives_up_the_commit_that_it_is_told_to(fuse, cli, away):
    cli.mount()
    try:
        draft = cli.draft("mine")
        (draft / "f").write_text("older")
        draft.rename(cli.collection() / ".commit/mine")
        wait_for(lambda: cli.json("status")[0]["commits"][0]["waiting_for"])
        assert cli.out("commit", "--abort", "demo/data/mine") == "me/demo/data/.staging/mine"
        wait_for(lambda: os.listdir(cli.collection() / ".staging") == ["mine"])
    finally:
        cli.close()
