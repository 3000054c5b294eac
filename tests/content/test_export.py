"""Writing a version out: whole files with the right modes and times, never outside, never over what is not ours."""

import errno
import itertools
import os
import random
import stat
import threading
from datetime import UTC, datetime

import pytest

from artfs.content.export import export
from artfs.errors import ExistsError, IntegrityError, InvalidInputError, NoSpaceError, PermissionDeniedError
from artfs.model.entry import BLOCK_SIZE
from tests.harness import tree_of

CREATED = datetime(2024, 2, 29, 12, 34, 56, 654321, tzinfo=UTC)
CREATED_NS = int(CREATED.replace(microsecond=0).timestamp()) * 10**9 + 654321000
BIG = random.Random(5).randbytes(2 * BLOCK_SIZE + 9)


class Done:
    """Counts what an export says that it has done."""

    def __init__(self):
        self._lock = threading.Lock()
        self.files = self.size = 0

    def __call__(self, files, size):
        with self._lock:
            self.files += files
            self.size += size


@pytest.fixture
def goal(tmp_path):
    return tmp_path / "goal"


@pytest.fixture
def write(reader, goal):
    def write(*entries, replace=False, umask=0o022, threads=4, to=goal, source=reader, lazily=()):
        done = Done()
        export(itertools.chain(entries, lazily), source, to, CREATED, threads, replace=replace, umask=umask, done=done)
        return done

    return write


def test_every_file_is_written_with_its_bytes(store, write, goal):
    entries = [store.add("a", b"one"), store.add("d/e/b", b"two"), store.add("d/empty", b""), store.add("d/big", BIG)]
    done = write(*entries)
    assert tree_of(goal) == {"a": b"one", "d": None, "d/e": None, "d/e/b": b"two", "d/empty": b"", "d/big": BIG}
    assert (done.files, done.size) == (4, 6 + len(BIG))


def test_many_files_are_written_by_few_threads(store, write, goal):
    done = write(*(store.add(f"{number % 7}/{number}", b"%d" % number) for number in range(200)), threads=3)
    assert done.files == 200
    assert sum(data is not None for data in tree_of(goal).values()) == 200


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_modes_are_those_of_the_user_and_times_those_of_the_version(store, write, goal, umask):
    write(store.add("d/f", b"x"), store.add("d/run", b"y", executable=True), umask=umask)
    modes = {name: stat.S_IMODE((goal / name).stat().st_mode) for name in ("", "d", "d/f", "d/run")}
    assert modes == {"": 0o777 & ~umask, "d": 0o777 & ~umask, "d/f": 0o666 & ~umask, "d/run": 0o777 & ~umask}
    assert {(goal / name).stat().st_mtime_ns for name in ("d/f", "d/run")} == {CREATED_NS}


def test_directories_that_are_there_keep_their_modes(store, write, goal):
    (goal / "d").mkdir(parents=True)
    (goal / "d").chmod(0o700)
    goal.chmod(0o711)
    write(store.add("d/f", b"x"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (goal, goal / "d")] == [0o711, 0o700]


def test_what_is_right_already_is_not_touched(store, write, goal):
    entries = [store.add("f", b"same"), store.add("big", BIG)]
    write(*entries)
    (goal / "f").chmod(0o600)
    os.utime(goal / "f", (1, 1))
    before = {name: (goal / name).stat() for name in ("f", "big")}
    for replace in (False, True):
        done = write(*entries, replace=replace)
        assert (done.files, done.size) == (2, 4 + len(BIG))
    for name, found in before.items():
        after = (goal / name).stat()
        assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (found.st_ino, found.st_mode, found.st_mtime_ns)


@pytest.mark.parametrize("other", [b"other", b"wrong size"])
def test_other_content_is_refused_or_replaced_as_asked(store, write, goal, other):
    goal.mkdir()
    (goal / "f").write_bytes(other)
    os.link(goal / "f", goal / "second name")
    with pytest.raises(ExistsError, match="other content"):
        write(store.add("f", b"right"))
    assert (goal / "f").read_bytes() == other
    write(store.add("f", b"right"), replace=True)
    assert (goal / "f").read_bytes() == b"right"
    assert (goal / "second name").read_bytes() == other  # the file was replaced, not written into


def test_what_else_is_in_the_directory_stays(store, write, goal):
    (goal / "d").mkdir(parents=True)
    (goal / "d/mine").write_bytes(b"mine")
    write(store.add("d/f", b"x"), replace=True)
    assert tree_of(goal) == {"d": None, "d/mine": b"mine", "d/f": b"x"}


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("make", [
    lambda goal, outside: (goal / "d").symlink_to(outside),
    lambda goal, outside: (goal / "d").symlink_to("nowhere"),
    lambda goal, outside: ((goal / "d").mkdir(), (goal / "d/f").symlink_to(outside / "f")),
    lambda goal, outside: ((goal / "d").mkdir(), (goal / "d/f").symlink_to(outside / "new")),
    lambda goal, outside: ((goal / "d").mkdir(), (goal / "d/f").symlink_to(outside)),
])  # fmt: skip
def test_a_symlink_in_the_way_is_refused_and_not_followed(store, write, goal, tmp_path, make, replace):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"x")  # even if it has the right bytes
    goal.mkdir()
    make(goal, outside)
    before = tree_of(goal)
    with pytest.raises(InvalidInputError, match="in the way"):
        write(store.add("d/f", b"x"), replace=replace)
    assert tree_of(outside) == {"f": b"x"}
    assert tree_of(goal) == before


@pytest.mark.parametrize("make", [
    lambda goal: goal.write_bytes(b"a file"),
    lambda goal: (goal.mkdir(), (goal / "d").write_bytes(b"a file")),
    lambda goal: (goal / "d/f").mkdir(parents=True),
    lambda goal: ((goal / "d").mkdir(parents=True), os.mkfifo(goal / "d/f")),
])  # fmt: skip
def test_what_cannot_be_replaced_is_refused(store, write, goal, make):
    make(goal)
    with pytest.raises(InvalidInputError, match="in the way"):
        write(store.add("d/f", b"x"), replace=True)


def test_the_directory_itself_may_be_a_symlink_that_the_user_named(store, write, goal, tmp_path):
    goal.mkdir()
    (tmp_path / "link").symlink_to(goal)
    write(store.add("d/f", b"x"), to=tmp_path / "link")
    assert (goal / "d/f").read_bytes() == b"x"


@pytest.mark.expects_warning("is damaged or missing")
@pytest.mark.parametrize("offset", [0, BLOCK_SIZE, len(BIG) - 1])
def test_damage_leaves_no_half_file_and_what_was_written_before(store, write, goal, offset):
    good, bad = store.add("d/good", b"good"), store.add("d/bad", BIG, listed=True)
    store.flip(bad.blob, offset)
    with pytest.raises(IntegrityError, match=bad.blob.hex):
        write(good, bad, threads=1)
    assert tree_of(goal) == {"d": None, "d/good": b"good"}


class Watching:
    """A reader that looks at the directory while a file is being written."""

    def __init__(self, goal, pieces, error=None):
        self.goal, self.pieces, self.error, self.seen = goal, pieces, error, []

    def share(self, entry, target):
        return False

    def export(self, entry):
        for piece in self.pieces:
            self.seen.append((self.goal / entry.path).read_bytes() if (self.goal / entry.path).exists() else None)
            yield piece
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_file_appears_whole(store, write, goal, before):
    goal.mkdir()
    if before is not None:
        (goal / "f").write_bytes(before)
    source = Watching(goal, [b"half ", b"and half"])
    write(store.add("f", b"half and half"), source=source, replace=True)
    assert source.seen == [before, before]
    assert tree_of(goal) == {"f": b"half and half"}


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, NoSpaceError), (errno.EDQUOT, NoSpaceError),
                                               (errno.EACCES, PermissionDeniedError), (errno.EROFS, PermissionDeniedError)])  # fmt: skip
def test_a_disk_that_fails_is_named_and_left_clean(store, write, goal, number, error):
    source = Watching(goal, [b"half "], OSError(number, os.strerror(number)))
    with pytest.raises(error, match=str(goal / "f")):
        write(store.add("f", b"half and half"), source=source)
    assert tree_of(goal) == {}


def test_the_first_error_stops_what_was_not_begun(store, write, goal):
    source = Watching(goal, [], OSError(errno.ENOSPC, "full"))
    taken = []

    def entries():
        for number in range(1000):
            taken.append(number)
            yield store.add(f"f{number}", b"%d" % number)

    with pytest.raises(NoSpaceError):
        write(lazily=entries(), source=source, threads=1)
    assert len(taken) < 100
    assert tree_of(goal) == {}
