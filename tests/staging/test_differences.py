"""What a draft differs in: exactly what its commit changes, with no byte read that the answer does not depend on."""

import os
import random
import threading
import time

import pytest

from artfs.errors import BusyError
from artfs.model.diff import Kind, compare
from artfs.model.digest import Algorithm
from artfs.staging import hashing
from artfs.staging.differences import Differences
from artfs.staging.hashing import hash_in_use
from artfs.staging.overlay import Overlay
from artfs.staging.progress import Progress
from tests.staging.test_commit import base_of, commit, make, write

FILES = {"a": b"one", "b": b"two", "d/e/f": b"three", "d/g": b"four!", "h/i": b"six", "h/j": b"seven"}


def differences(services, draft, other="base"):
    is_base = other == "base"
    index = services.open_base(draft.base) if is_base else None if other is None else services.open_index(other)
    return Differences(draft, index, services.links(), 2, Algorithm.MD5, Progress(), is_base=is_base)


def told(found):
    return {(change.kind.value, change.path) for change in found}


@pytest.fixture
def version(services):
    return commit(services, make(services, FILES)).version


@pytest.fixture
def draft(services, version):
    return services.drafts.create(version.collection, "x", base_of(version))


@pytest.fixture
def hashed(monkeypatch):
    """The paths of the files that are hashed."""
    paths = []
    original = hashing._hash_file

    def hash_file(draft, item, *rest):
        paths.append(item.path)
        return original(draft, item, *rest)

    monkeypatch.setattr(hashing, "_hash_file", hash_file)
    return paths


def replace(draft, path, data):
    draft.tree.unlink(path)
    write(draft, {path: data})


def test_a_draft_that_was_not_touched_has_no_difference_and_nothing_is_looked_at(services, draft, monkeypatch, hashed):
    looked = []
    original = Overlay.children
    monkeypatch.setattr(Overlay, "children", lambda tree, path: looked.append(path) or original(tree, path))
    assert list(differences(services, draft)) == []
    assert (looked, hashed) == ([""], [])


def test_only_touched_directories_are_looked_into(services, draft, monkeypatch):
    replace(draft, "d/e/f", b"3")
    looked = []
    original = Overlay.children
    monkeypatch.setattr(Overlay, "children", lambda tree, path: looked.append(path) or original(tree, path))
    assert told(differences(services, draft)) == {("changed", "d/e/f")}
    assert sorted(looked) == ["", "d", "d/e"]


def test_what_was_done_is_told(services, draft):
    replace(draft, "a", b"another length")
    replace(draft, "b", b"2nd")  # as long as before
    replace(draft, "h/i", b"six")  # the same again
    draft.tree.unlink("d/g")
    write(draft, {"new/n": b"x"})
    draft.tree.rename("d/e", "moved")
    assert told(differences(services, draft)) == {
        ("changed", "a"), ("changed", "b"), ("removed", "d/g"), ("removed", "d/e/f"), ("added", "moved/f"), ("added", "new/n"),
    }  # fmt: skip


def test_only_what_decides_is_hashed(services, draft, hashed):
    replace(draft, "a", b"another length")
    replace(draft, "b", b"2nd")
    write(draft, {"n": b"no file of this size is gone", "m": b"5ive5"})
    draft.tree.unlink("d/g")  # five bytes, too
    found = list(differences(services, draft))
    assert sorted(hashed) == ["b", "m"]
    assert {change.path: bool(change.after and change.after.digest) for change in found} == {
        "a": False, "b": True, "n": False, "m": True, "d/g": False,
    }  # fmt: skip


def test_a_file_and_a_directory_that_change_places(services, draft):
    draft.tree.unlink("a")
    write(draft, {"a/x": b"1"})
    for path in ("d/e/f", "d/g"):
        draft.tree.unlink(path)
    draft.tree.rmdir("d/e")
    draft.tree.rmdir("d")
    write(draft, {"d": b"file"})
    assert told(differences(services, draft)) == {
        ("removed", "a"), ("added", "a/x"), ("removed", "d/e/f"), ("removed", "d/g"), ("added", "d"),
    }  # fmt: skip


def test_symlinks_are_what_they_stand_for(services, draft, tmp_path):
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs/r").write_bytes(b"reference")
    draft.tree.symlink("copy", "../../v0/d")
    draft.tree.symlink("refs", f"file://{tmp_path}/refs")
    draft.tree.unlink("b")
    draft.tree.symlink("b", "../../v0/a")
    draft.tree.unlink("h/i")
    draft.tree.symlink("h/i", "j")
    draft.tree.symlink("bad", "nowhere")
    found = differences(services, draft)
    assert told(found) == {
        ("added", "copy/e/f"), ("added", "copy/g"), ("added", "refs/r"), ("changed", "b"), ("changed", "h/i"),
    }  # fmt: skip
    (problem,) = found.problems
    assert problem.startswith("bad -> nowhere: ")


def test_what_cannot_be_committed_is_said(services, draft):
    os.mkfifo(draft.tree.local_path("pipe"))
    write(draft, {"\udcff": b""})
    found = differences(services, draft)
    assert list(found) == []
    assert len(found.problems) == 2
    assert "pipe is a device, a socket or a fifo" in found.problems[0]


def test_a_draft_without_a_base_is_compared_with_what_it_is_told(services, version):
    draft = make(services, {**FILES, "b": b"2nd", "z": b"z"})
    assert told(differences(services, draft, version)) == {("changed", "b"), ("added", "z")}
    assert told(differences(services, draft, None)) == {("added", path) for path in [*FILES, "z"]}


def at_random(draft, chance):
    """Do something to a draft."""
    tree = draft.tree
    items = [item for item in tree.walk() if item.kind in {"file", "dir"}]
    item = chance.choice(items)
    name = chance.choice("abdhnm")
    match chance.randrange(6):
        case 0 if item.kind == "file":
            tree.unlink(item.path)
        case 1 if item.kind == "file":
            replace(draft, item.path, chance.choice(list(FILES.values())))
        case 2:
            tree.rename(item.path, f"{name}{chance.randrange(3)}")
        case 3:
            tree.rename(item.path, chance.choice(items).path)
        case 4:
            write(draft, {f"{name}/{chance.choice('xy')}": chance.choice(list(FILES.values()))})
        case 5:
            tree.symlink(f"link{chance.randrange(3)}", f"../../v0/{chance.choice(list(FILES))}")


@pytest.mark.parametrize("seed", range(30))
def test_the_differences_are_what_the_commit_changes(services, version, seed):
    chance = random.Random(seed)
    draft = services.drafts.create(version.collection, "x", base_of(version))
    for _ in range(chance.randrange(12)):
        try:
            at_random(draft, chance)
        except OSError:
            continue  # not possible there
    write(draft, {"kept": b"so that it is not empty"})
    other = commit(services, make(services, {"a": b"one", "d/g": b"five!", "q/r": b"three"}, "other")).version
    from_base, from_other = told(differences(services, draft)), told(differences(services, draft, other))
    made = services.open_index(commit(services, draft).version)
    for before, found in ((version, from_base), (other, from_other)):
        assert found == told(compare(services.open_index(before).lines(), made.lines()))


def rest(draft, *paths):
    """Return the files as they would be seen if they had not been touched for a while."""
    items = []
    for path in paths:
        os.utime(draft.tree.local_path(path), ns=(1, 1))
        items.append(draft.tree.lookup(path))
    return items


def test_a_file_that_rests_is_hashed_once_and_one_that_was_just_written_is_not_believed(
    services, draft, monkeypatch, hashed
):
    now = time.time_ns()
    monkeypatch.setattr(hashing.time, "time_ns", lambda: now)
    write(draft, {"n": b"x"})
    items = rest(draft, "n")
    for _ in range(2):
        assert [one.entry.size for one in hash_in_use(draft, items, 1, Algorithm.MD5, Progress())] == [1]
    assert hashed == ["n", "n"]
    later = now + 3600 * 10**9
    monkeypatch.setattr(hashing.time, "time_ns", lambda: later)
    for _ in range(2):
        assert [one.entry.size for one in hash_in_use(draft, items, 1, Algorithm.MD5, Progress())] == [1]
    assert hashed == ["n", "n", "n"]
    replace(draft, "n", b"y")
    (one,) = hash_in_use(draft, [draft.tree.lookup("n")], 1, Algorithm.MD5, Progress())
    assert one.entry.digest != items[0].entry
    assert len(hashed) == 4
    assert commit(services, draft).hashed_files == 0  # the commit uses what is remembered


def test_a_file_that_changes_meanwhile_is_named(services, draft, monkeypatch):
    replace(draft, "d/e/f", b"THREE")
    original = hashing._hash_file

    def hash_file(draft, item, *rest):
        write_now = os.open(draft.tree.local_path(item.path), os.O_WRONLY | os.O_APPEND)
        os.write(write_now, b"more")
        os.close(write_now)
        return original(draft, item, *rest)

    monkeypatch.setattr(hashing, "_hash_file", hash_file)
    with pytest.raises(BusyError, match="d/e/f has changed while it was being compared"):
        list(differences(services, draft))


def test_a_draft_is_compared_while_it_changes(services):
    """The event loop of a mount makes changes while a thread looks: nothing breaks, whatever is told."""
    files = {f"w/{number:03}": b"%d" % number for number in range(300)}
    version = commit(services, make(services, files)).version
    draft = services.drafts.create(version.collection, "x", base_of(version))
    done = threading.Event()

    def churn():
        number = 0
        while not done.is_set():
            draft.tree.rename(f"w/{number % 300:03}", f"w/n{number}")
            number += 1
            if number >= 20:
                draft.tree.rename(f"w/n{number - 20}", f"w/{(number - 20) % 300:03}")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(60):
            assert {change.kind for change in differences(services, draft)} <= {Kind.ADDED, Kind.REMOVED}
    finally:
        done.set()
        thread.join()


def test_every_file_of_the_base_that_is_gone_is_told_once(services, version):
    draft = make(services, {"z": b""})
    found = list(differences(services, draft, version))
    assert sorted(change.path for change in found if change.kind is Kind.REMOVED) == sorted(FILES)
