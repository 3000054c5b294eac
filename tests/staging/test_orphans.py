"""Commits whose process died are finished by another one; everything else is left to its owner; a fork owns nothing."""

import json
import os
import signal
import subprocess
import sys

import pytest

from artfs.errors import UnreachableError
from artfs.model.names import CollectionRef, RunRef
from artfs.staging import locks
from artfs.staging.drafts import Drafts
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
from tests.registry.making import run as run_info
from tests.staging.test_commit import make, write

COLLECTION = CollectionRef("me", "demo", "data")
TRAIN = RunRef("me", "demo", "train")


def open_drafts(tmp_path, open_base=lambda base: pytest.fail("no base here")):
    return Drafts(tmp_path, "registry", open_base)


def frozen(drafts, name, **options):
    draft = drafts.create(COLLECTION, name, **options)
    draft.hold_space()
    Journal().begin(draft)
    return draft


# Orphans ----------------------------------------------------------------------------------------------------------


def test_only_commits_that_nobody_owns_are_taken_over(tmp_path):
    dead, alive, here = open_drafts(tmp_path), open_drafts(tmp_path), open_drafts(tmp_path)
    orphan = frozen(dead, "orphan")
    dead.create(COLLECTION, "plain")
    frozen(alive, "owned")
    frozen(here, "own")
    dead.close()
    (taken,) = here.orphaned_commits()
    assert (taken.id, taken.name) == (orphan.id, "orphan")
    assert Journal.load(taken) is not None
    assert here.orphaned_commits() == []
    assert sorted(draft.name for draft in here.owned()) == ["orphan", "own"]
    (plain,) = open_drafts(tmp_path).acquire()  # it was let go of at once
    assert plain.name == "plain"
    plain.release()
    alive.close()
    assert [draft.name for draft in here.orphaned_commits()] == ["owned"]
    here.close()


def test_what_a_dead_command_left_is_removed_but_for_its_commit(tmp_path):
    dead, alive, here = open_drafts(tmp_path), open_drafts(tmp_path), open_drafts(tmp_path)
    dead.create(COLLECTION, "rubbish", transient=True)
    kept = frozen(dead, "kept", transient=True)
    working = alive.create(COLLECTION, "working", transient=True)
    dead.close()
    assert [draft.id for draft in here.orphaned_commits()] == [kept.id]
    assert sorted(path.name for path in (tmp_path / "registry").iterdir()) == sorted([kept.id, working.id])
    here.close()
    alive.close()


def test_an_ordinary_draft_is_locked_once_and_looked_at_again_when_its_commit_has_begun(tmp_path, monkeypatch):
    other, here = open_drafts(tmp_path), open_drafts(tmp_path)
    draft = other.create(COLLECTION, "x")
    draft.release()
    taken = []
    monkeypatch.setattr("artfs.staging.drafts.take", lambda directory: taken.append(directory) or locks.take(directory))
    assert [here.orphaned_commits() for _ in range(3)] == [[], [], []]
    assert len(taken) == 1
    (again,) = open_drafts(tmp_path).acquire()
    again.hold_space()
    Journal().begin(again)
    assert here.orphaned_commits() == []
    again.release()
    (orphan,) = here.orphaned_commits()
    assert orphan.id == draft.id
    here.close()


def test_drafts_in_the_making_and_on_their_way_out_are_not_touched(tmp_path):
    here = open_drafts(tmp_path)
    for name in (".new-1", ".trash-2"):
        (tmp_path / "registry" / name).mkdir()
    (tmp_path / "registry/empty").mkdir()
    (tmp_path / "registry/file").touch()
    assert here.orphaned_commits() == []
    assert sorted(path.name for path in (tmp_path / "registry").rglob("*")) == [
        ".new-1", ".trash-2", "empty", "file", "lock",
    ]  # fmt: skip


@pytest.mark.expects_warning("is left alone")
def test_a_commit_whose_base_is_away_is_tried_again_and_told_of_once(tmp_path, services, caplog):
    from tests.staging.test_commit import base_of, commit

    version = commit(services, make(services, {"a": b"1"})).version
    dead = open_drafts(tmp_path / "d", lambda base: services.open_index(version))
    draft = frozen(dead, "x", base=base_of(version))
    dead.close()
    answers = [UnreachableError("the store is away"), UnreachableError("the store is away"), None]

    def open_base(_):
        error = answers.pop(0)
        if error is not None:
            raise error
        return services.open_index(version)

    here = open_drafts(tmp_path / "d", open_base)
    assert (here.orphaned_commits(), here.orphaned_commits()) == ([], [])
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert [found.id for found in here.orphaned_commits()] == [draft.id]
    here.close()


def test_a_damaged_draft_does_not_keep_the_others_away(tmp_path):
    dead, here = open_drafts(tmp_path), open_drafts(tmp_path)
    damaged, orphan = dead.create(COLLECTION, "damaged"), frozen(dead, "orphan")
    dead.close()
    (damaged.directory / "draft.sqlite").write_bytes(b"not a database" * 1000)
    assert [draft.id for draft in here.orphaned_commits()] == [orphan.id]
    here.close()


# The run of a commit ----------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from tests.staging.test_commit import make
from artfs.app.services import open_services
from artfs.config import load_config
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
def on_step(name):
    if name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
with open_services(load_config()) as services:
    draft = make(services, {"f": b"content"})
    committer = services.committer(on_step)
    committer.freeze(draft, Journal(run="me/demo/train"))
    committer.run(draft, Progress())
"""


def run_commit(services, files, run, name="draft"):
    draft = make(services, files, name)
    committer = services.committer()
    committer.freeze(draft, Journal(run=run))
    return committer.run(draft, Progress())


@pytest.mark.parametrize("step", ["frozen", "stored", "published", "logged"])
def test_a_commit_that_was_killed_is_logged_by_its_run_when_it_is_resumed(services, step):
    services.registry.record_run(run_info("train"))
    done = subprocess.run([sys.executable, "-c", KILLED, step], check=False)
    assert done.returncode == -signal.SIGKILL
    (draft,) = services.drafts.orphaned_commits()
    version = services.committer().run(draft, Progress()).version
    assert services.registry.logged_by(version.id).ref == TRAIN
    assert [found.id for found in services.registry.logged(TRAIN)] == [version.id]


def test_a_content_that_was_there_is_logged_by_the_first_run_that_says_so(services):
    other = RunRef("me", "demo", "other")
    for run in (TRAIN, other):
        services.registry.record_run(run_info(run.id))
    version = run_commit(services, {"f": b"1"}, None).version
    assert services.registry.logged_by(version.id) is None
    for run in (TRAIN, other):
        result = run_commit(services, {"f": b"1"}, str(run))
        assert (result.created, result.version.id) == (False, version.id)
        assert services.registry.logged_by(version.id).ref == TRAIN


@pytest.mark.parametrize("run", ["me/demo/unknown", "not the name of a run"])
def test_a_run_that_does_not_exist_does_not_fail_the_commit(services, run):
    result = run_commit(services, {"f": b"1"}, run)
    assert result.created
    assert services.registry.logged_by(result.version.id) is None
    assert [("unknown" in warning) for warning in result.warnings] == ([True] if "/" in run else [])
    assert services.drafts.owned() == []


def test_a_registry_that_is_away_when_the_run_is_recorded_leaves_the_commit_to_be_tried_again(services, monkeypatch):
    services.registry.record_run(run_info("train"))
    draft = make(services, {"f": b"1"})
    committer = services.committer()
    committer.freeze(draft, Journal(run=str(TRAIN)))
    with monkeypatch.context() as patch:
        patch.setattr(services.registry, "record_logged", lambda *_: (_ for _ in ()).throw(UnreachableError("away")))
        with pytest.raises(UnreachableError):
            committer.run(draft, Progress())
    result = committer.run(draft, Progress())
    assert result.created
    assert services.registry.logged_by(result.version.id).ref == TRAIN


def test_the_journal_of_a_program_that_knows_no_runs_is_read(tmp_path):
    drafts = open_drafts(tmp_path)
    draft = drafts.create(COLLECTION, "x")
    draft.database.set("commit", {"aliases": ["best"], "client_id": "1"})
    assert Journal.load(draft) == Journal(aliases=("best",), client_id="1")
    drafts.close()


# Forks ------------------------------------------------------------------------------------------------------------


def fork(work):
    """Fork; the child does some work and says what it returned."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(sender, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as stream:
        answer = stream.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(answer)


def test_a_forked_child_owns_no_draft_and_its_parent_goes_on_owning_it(tmp_path):
    drafts, other = open_drafts(tmp_path), open_drafts(tmp_path)
    draft = drafts.create(COLLECTION, "x")
    write(draft, {"f": b"1"})

    def child():
        gone = draft.is_gone
        draft.discard()
        return [gone, draft.directory.exists()]

    assert fork(child) == [True, True]
    assert not draft.is_gone
    assert other.acquire() == []
    drafts.close()
    assert [found.name for found in other.acquire()] == ["x"]
    other.close()


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_draft(tmp_path):
    script = f"""
import os, pathlib, signal, sys
from artfs.staging.drafts import Drafts
from artfs.model.names import CollectionRef
from artfs.staging.journal import Journal
drafts = Drafts(pathlib.Path({str(tmp_path)!r}), "registry", None)
draft = drafts.create(CollectionRef("me", "demo", "data"), "x")
Journal().begin(draft)
if os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    here = open_drafts(tmp_path)
    assert here.orphaned_commits() == []
    parent.kill()
    parent.wait()
    try:
        os.kill(child, 0)  # it is there
        assert [draft.name for draft in here.orphaned_commits()] == ["x"]
    finally:
        parent.stdin.close()
        parent.stdout.close()
        here.close()


def test_a_lock_is_let_go_of_once(tmp_path):
    first = locks.take(tmp_path)
    assert first.is_held
    assert locks.take(tmp_path) is None
    first.release()
    second = locks.take(tmp_path)
    first.release()  # not that of the second
    assert second.is_held
    assert locks.take(tmp_path) is None
    second.release()
    assert locks.take(tmp_path / "missing") is None
