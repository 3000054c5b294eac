"""Who owns a draft, and what a crash leaves of one."""

import os
import subprocess
import sys

import pytest

from artfs.errors import ExistsError, NoSpaceError, SchemaError
from artfs.model.names import CollectionRef
from artfs.staging.drafts import Draft, Drafts
from artfs.staging.marks import WHITEOUT

COLLECTION = CollectionRef("me", "demo", "data")


def open_drafts(tmp_path):
    return Drafts(tmp_path, "registry", lambda base: pytest.fail("no base here"))


def test_a_draft_survives_its_process_with_everything_it_says(tmp_path):
    drafts = open_drafts(tmp_path)
    draft = drafts.create(COLLECTION, "x")
    os.close(draft.tree.create("f", os.O_WRONLY, 0o644))
    draft.type, draft.description, draft.metadata, draft.error = "model", "text", {"a": [1]}, "why"
    draft.rename("y")
    drafts.close()
    (again,) = open_drafts(tmp_path).acquire()
    assert (again.id, again.name, again.type, again.description) == (draft.id, "y", "model", "text")
    assert (again.metadata, again.error, again.collection) == ({"a": [1]}, "why", COLLECTION)
    assert [item.path for item in again.tree.walk()] == ["f"]
    again.release()


def test_a_draft_is_owned_by_one_process_at_a_time(tmp_path):
    first, second = open_drafts(tmp_path), open_drafts(tmp_path)
    draft = first.create(COLLECTION, "x")
    assert second.acquire() == []
    first.close()
    (taken,) = second.acquire()
    assert taken.id == draft.id
    assert first.acquire() == []
    taken.discard()
    assert first.acquire() == []
    assert not list((tmp_path / "registry").iterdir())


def test_the_draft_of_a_killed_process_can_be_taken(tmp_path):
    script = f"""
import os, pathlib, signal
from artfs.staging.drafts import Draft, Drafts
from artfs.model.names import CollectionRef
drafts = Drafts(pathlib.Path({str(tmp_path)!r}), "registry", None)
draft = drafts.create(CollectionRef("me", "demo", "data"), "x")
fd = draft.tree.create("f", os.O_WRONLY, 0o644)
os.write(fd, b"kept")
os.close(fd)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    drafts = open_drafts(tmp_path)
    (draft,) = drafts.acquire()
    with open(draft.tree.local_path("f"), "rb") as file:
        assert file.read() == b"kept"
    drafts.close()


def test_rubbish_is_swept_and_other_registries_are_left_alone(tmp_path):
    drafts = open_drafts(tmp_path)
    (tmp_path / "registry/.new-1/tree").mkdir(parents=True)
    (tmp_path / "registry/.trash-2/tree/d").mkdir(parents=True)
    (tmp_path / "registry/.trash-2/tree/d").chmod(0)
    drafts.create(COLLECTION, "t", transient=True).release()
    other = Drafts(tmp_path, "other", None)
    other.create(COLLECTION, "x")
    assert open_drafts(tmp_path).acquire() == []
    assert list((tmp_path / "registry").iterdir()) == []
    other.close()


def test_a_draft_that_another_thread_ends_meanwhile_is_in_nobodys_way(tmp_path, monkeypatch):
    drafts = open_drafts(tmp_path)
    ended = drafts.create(COLLECTION, "x")
    seen = drafts.owned()
    ended.discard()
    monkeypatch.setattr(
        drafts, "owned", lambda: seen
    )  # the look of the one who makes another, before the first has ended
    assert [drafts.create(COLLECTION, name).name for name in ("x", "y")] == ["x", "y"]
    assert ended.name == "x"


def test_two_drafts_of_one_name_are_refused(tmp_path):
    drafts = open_drafts(tmp_path)
    drafts.create(COLLECTION, "x")
    with pytest.raises(ExistsError):
        drafts.create(COLLECTION, "x")
    drafts.create(CollectionRef("me", "demo", "other"), "x")
    drafts.close()


def test_two_drafts_of_one_name_that_two_processes_have_left_are_both_to_be_seen(tmp_path):
    left = [open_drafts(tmp_path) for _ in range(3)]
    for drafts in left:
        draft = drafts.create(COLLECTION, "put-x")
        drafts.create(CollectionRef("me", "demo", "other"), "put-x")
        os.close(draft.tree.create(draft.id, os.O_WRONLY, 0o644))
    for drafts in left:
        drafts.close()
    for _ in range(2):
        drafts = open_drafts(tmp_path)
        taken = [draft for draft in drafts.acquire() if draft.collection == COLLECTION]
        assert sorted(draft.name for draft in taken) == ["put-x", "put-x-2", "put-x-3"]
        assert all([item.path for item in draft.tree.walk()] == [draft.id] for draft in taken)
        drafts.close()


def test_a_draft_whose_namesake_cannot_be_renamed_is_taken_over_all_the_same(tmp_path, monkeypatch):
    left = [open_drafts(tmp_path) for _ in range(2)]
    for drafts in left:
        drafts.create(COLLECTION, "x")
    for drafts in left:
        drafts.close()

    def full(*_):
        raise NoSpaceError("the disk is full")

    monkeypatch.setattr(Draft, "rename", full)
    drafts = open_drafts(tmp_path)
    assert [draft.name for draft in drafts.acquire()] == ["x", "x"]
    drafts.close()


def test_a_rename_that_was_logged_but_not_done_is_done_at_the_next_start(tmp_path):
    drafts = open_drafts(tmp_path)
    draft = drafts.create(COLLECTION, "x")
    for name in ("a", "gone"):
        os.close(draft.tree.create(name, os.O_WRONLY, 0o644))
    draft.tree._log_move("a", "b", {"a": WHITEOUT})
    draft.tree._log_move(None, "gone", {"x": WHITEOUT})
    drafts.close()
    again = open_drafts(tmp_path)
    (draft,) = again.acquire()
    assert [item.path for item in draft.tree.walk()] == ["b"]
    assert draft.database.rows("SELECT * FROM moves") == []
    again.close()


def test_a_draft_of_a_newer_program_is_refused(tmp_path):
    drafts = open_drafts(tmp_path)
    draft = drafts.create(COLLECTION, "x")
    draft.database.execute("PRAGMA user_version = 99")
    drafts.close()
    with pytest.raises(SchemaError, match="newer"):
        open_drafts(tmp_path).acquire()
