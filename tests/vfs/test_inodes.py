"""Inode numbers: slots that stay for ever, shared by all the processes of a machine."""

import contextlib
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from artfs.errors import SchemaError, UnreachableError
from artfs.vfs.inodes import (
    DRAFT_BIT,
    META_ARTIFACT,
    META_DIR,
    META_MANIFEST,
    NUMBER_MASK,
    SLOT_BITS,
    Slots,
    version_inode,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data/inodes.sqlite"


def test_the_parts_of_the_number_space_do_not_meet():
    last = version_inode((1 << 26) - 1, NUMBER_MASK)
    assert version_inode(1, 0) > NUMBER_MASK
    assert last < DRAFT_BIT < 1 << 63
    assert last >> SLOT_BITS == (1 << 26) - 1
    assert last & NUMBER_MASK == NUMBER_MASK
    assert len({META_DIR, META_MANIFEST, META_ARTIFACT}) == 3
    assert min(META_DIR, META_MANIFEST, META_ARTIFACT) > 10_000_000_000  # more nodes than a manifest may have


def test_each_version_gets_a_slot_of_its_own_and_never_the_first(path):
    slots = Slots(path, "r")
    slots.load(["a", "b"])
    slots.load(["b", "c"])
    found = [slots.slot(name) for name in "abc"]
    assert len(set(found)) == 3
    assert 0 not in found  # its numbers are those of the upper levels


def test_what_is_in_memory_is_known(path):
    slots = Slots(path, "r")
    assert not slots.known("a")
    slots.load(["a"])
    assert slots.known("a")
    assert not slots.known("b")


def test_slots_are_the_same_after_every_restart_in_any_order(path):
    first = Slots(path, "r")
    first.load([f"v{number}" for number in range(50)])
    again = Slots(path, "r")
    again.load([f"v{number}" for number in reversed(range(60))])
    assert [again.slot(f"v{number}") for number in range(50)] == [first.slot(f"v{number}") for number in range(50)]
    assert len({again.slot(f"v{number}") for number in range(60)}) == 60
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM slots").fetchone() == (60,)


def test_versions_of_two_registries_do_not_meet(path):
    first, second = Slots(path, "one"), Slots(path, "two")
    first.load(["a"])
    second.load(["a"])
    assert first.slot("a") != second.slot("a")


def test_a_slot_that_another_mount_gave_is_used(path):
    first, second = Slots(path, "r"), Slots(path, "r")
    first.load(["a", "b"])
    second.load(["c", "a"])
    first.load(["c"])
    assert (first.slot("a"), first.slot("c")) == (second.slot("a"), second.slot("c"))


SCRIPT = """
import sys
from pathlib import Path
from artfs.vfs.inodes import Slots
sys.stdin.read()
slots = Slots(Path(sys.argv[1]), "r")
names = [f"v{number}" for number in range(100)]
for name in names if sys.argv[2] == "up" else reversed(names):
    slots.load([name])
print([slots.slot(name) for name in names])
"""


def test_processes_that_begin_at_once_agree(path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, path, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for order in ("up", "down", "up")
    ]
    for process in processes:
        process.stdin.close()  # all of them go now
    answers = [process.stdout.read() for process in processes]
    for process in processes:
        process.stdout.close()
        assert process.wait(60) == 0
    assert len(set(answers)) == 1
    assert len(set(eval(answers[0]))) == 100


def test_threads_agree(path):
    slots, found = Slots(path, "r"), []

    def load(names):
        slots.load(names)
        found.append([slots.slot(name) for name in sorted(names)])

    names = [f"v{number}" for number in range(30)]
    threads = [threading.Thread(target=load, args=(order,)) for order in (names, names[::-1], names[10:] + names[:10])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2]


def test_the_file_is_private(path):
    Slots(path, "r").load(["a"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_of_a_newer_program_is_refused_and_left_alone(path):
    Slots(path, "r").load(["a"])
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SchemaError, match="newer"):
        Slots(path, "r")
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT version FROM slots").fetchall() == [("a",)]
    database.close()


def test_a_file_that_is_no_database_is_an_error_that_names_it(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UnreachableError, match=str(path)):
        Slots(path, "r")


def test_a_file_that_breaks_later_is_an_error_and_gives_no_number(path):
    slots = Slots(path, "r")
    slots.load(["a"])
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE slots")
    database.close()
    with pytest.raises(UnreachableError, match=str(path)):
        slots.load(["a", "b"])
    assert slots.known("a")
    assert not slots.known("b")
