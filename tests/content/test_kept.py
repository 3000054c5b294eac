"""Files that another program keeps on this machine: proven, shared with the cache where the file system can, and believed in nothing."""

import os
import random
import subprocess
import threading
import time

import pytest

from artfs.content import kept as kept_module
from artfs.content import proof as proof_module
from artfs.content import remote as remote_module
from artfs.errors import UnreachableError
from artfs.model.entry import BLOCK_SIZE
from artfs.storage.files import FileSource
from tests.content.fakes import PATIENCE, FakeStore

MIB = 1 << 20
DATA = random.Random(11).randbytes(6 * BLOCK_SIZE + 7)


@pytest.fixture
def store():
    store = FakeStore()
    store.local = False
    return store


@pytest.fixture
def plain(tmp_path):
    """A directory of a file system that shares no blocks."""
    return tmp_path


@pytest.fixture
def sharing(tmp_path):
    """A directory of one that does."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    image, root = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    root.mkdir()
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    yield root
    subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture(params=["plain", "sharing"])
def root(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def all_is_big(monkeypatch):
    for module in (kept_module, proof_module, remote_module):
        monkeypatch.setattr(module, "SMALL", BLOCK_SIZE)


class Held(FileSource):
    """A file whose bytes come when they are let go."""

    gate = threading.Event()

    def read(self, offset, size):
        assert self.gate.wait(PATIENCE)
        return super().read(offset, size)

    def share(self, target):
        return False


@pytest.fixture
def held():
    Held.gate.clear()
    yield Held
    Held.gate.set()


class Keeper:
    """The other program, which has one file. Counts how often it was opened."""

    def __init__(self, root, data, kind=FileSource):
        self.path = root / "kept"
        self.path.write_bytes(data)
        self.kind = kind
        self.opened = 0

    def __call__(self, entry):
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        self.opened += 1
        return self.kind(descriptor, str(self.path))


def used(disk):
    os.sync()
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def content(reader, entry):
    return b"".join(reader.export(entry))


def recorded(reader):
    """Have everything that was taken where other processes see it."""
    reader.close()
    reader._remote._cache.flush()


def spares(root):
    return list(root.glob("blocks/blocks/*/*/.spare-*"))


@pytest.mark.parametrize("size", [1, BLOCK_SIZE, BLOCK_SIZE + 1, len(DATA)])
def test_what_another_program_keeps_is_not_fetched_and_stays_when_that_removes_it(store, new_reader, root, size):
    entry, keeper = store.add("f", DATA[:size]), Keeper(root, DATA[:size])
    reader = new_reader(root=root, open_kept=keeper)
    assert content(reader, entry) == DATA[:size]
    recorded(reader)
    keeper.path.unlink()
    assert content(new_reader(root=root, open_kept=keeper), entry) == DATA[:size]
    assert store.reads == []
    assert reader.state(entry) == ("yes", "proven")
    assert spares(root) == []


def test_a_clone_is_the_whole_content_costs_nothing_and_does_not_change_with_the_file(store, new_reader, sharing):
    size = 40 * MIB
    data = random.Random(3).randbytes(size)
    entry, keeper = store.add("f", data), Keeper(sharing, data)
    reader = new_reader(root=sharing, open_kept=keeper)
    reader._remote._cache.flush()
    before = used(sharing)
    with (sharing / "out").open("xb") as out:
        assert reader.share(entry, out.fileno())
    assert used(sharing) - before < 4 * MIB
    with keeper.path.open("r+b") as file:
        file.write(b"changed")
    assert content(new_reader(root=sharing, open_kept=keeper), entry) == data == (sharing / "out").read_bytes()
    assert store.reads == []
    assert keeper.path.stat().st_nlink == 1


def test_a_block_that_is_changed_after_the_proof_is_fetched(store, new_reader, plain):
    entry, keeper = store.add("f", DATA), Keeper(plain, DATA)
    reader = new_reader(root=plain, open_kept=keeper)
    assert bytes(reader.block(entry, 0)) == DATA[:BLOCK_SIZE]
    with keeper.path.open("r+b") as file:
        file.seek(BLOCK_SIZE)
        file.write(b"changed")
    assert bytes(reader.block(entry, 1)) == DATA[BLOCK_SIZE:][:BLOCK_SIZE]
    assert store.blocks_read(entry) == [1]
    assert content(reader, entry) == DATA
    recorded(reader)
    assert content(new_reader(root=plain), entry) == DATA


@pytest.mark.parametrize("size", [BLOCK_SIZE, len(DATA)])
def test_a_file_with_wrong_bytes_is_looked_at_once_and_nothing_of_it_is_served(store, new_reader, root, size):
    wrong = bytearray(DATA[:size])
    wrong[-1] ^= 1
    entry, keeper = store.add("f", DATA[:size]), Keeper(root, bytes(wrong))
    reader = new_reader(root=root, open_kept=keeper)
    assert content(reader, entry) == DATA[:size]
    assert keeper.opened == 1
    assert reader.damaged == 0
    recorded(reader)
    assert content(new_reader(root=root), entry) == DATA[:size]
    assert reader.state(entry) == ("yes", "proven")
    assert spares(root) == []


def test_a_wrong_file_is_refused_until_it_is_another_one(store, new_reader, plain):
    entry, keeper = store.add("f", DATA), Keeper(plain, DATA[::-1])
    reader = new_reader(root=plain, open_kept=keeper)
    kept = reader._remote._kept
    assert kept.get(entry) is None
    assert kept.get(entry) is None
    keeper.path.write_bytes(DATA)
    assert kept.get(entry) is not None


def test_a_file_of_another_size_is_no_such_file(store, new_reader, plain):
    entry, keeper = store.add("f", DATA), Keeper(plain, DATA + b"x")
    assert content(new_reader(root=plain, open_kept=keeper), entry) == DATA
    assert store.reads


def test_nobody_waits_for_the_hash_of_a_big_file(store, new_reader, all_is_big, plain, held):
    entry, keeper = store.add("f", DATA), Keeper(plain, DATA, held)
    reader = new_reader(root=plain, open_kept=keeper)
    began = time.monotonic()
    assert bytes(reader.block(entry, 2)) == DATA[2 * BLOCK_SIZE :][:BLOCK_SIZE]
    assert bytes(reader.block(entry, 3)) == DATA[3 * BLOCK_SIZE :][:BLOCK_SIZE]
    assert time.monotonic() - began < PATIENCE / 2
    assert store.blocks_read(entry) == [2, 3]
    held.gate.set()
    assert reader._remote._kept.get(entry, patient=True) is not None
    reader._blocks.clear()
    assert b"".join(reader.blocks(entry, 0, 6)) == DATA
    assert store.blocks_read(entry) == [2, 3]
    assert keeper.opened == 1


def test_who_is_strict_waits_and_so_does_who_cannot_have_it_from_elsewhere(
    store, new_reader, all_is_big, plain, held, monkeypatch
):
    monkeypatch.setattr(kept_module, "PATIENCE", 0.0)
    entry, keeper = store.add("f", DATA), Keeper(plain, DATA, held)
    store.failure = UnreachableError("the store is away")
    for strict in (False, True):
        held.gate.clear()
        reader = new_reader(root=plain / str(strict), strict=strict, open_kept=keeper)
        timer = threading.Timer(0.2, held.gate.set)
        timer.start()
        assert bytes(reader.block(entry, 2)) == DATA[2 * BLOCK_SIZE :][:BLOCK_SIZE]
        timer.join()


def test_a_proof_is_given_up_at_the_end(store, new_reader, all_is_big, plain, held, monkeypatch):
    monkeypatch.setattr(kept_module, "PATIENCE", 0.0)
    entry = store.add("f", DATA)
    reader = new_reader(root=plain, open_kept=Keeper(plain, DATA, held))
    reader.block(entry, 0)
    kept = reader._remote._kept
    threading.Timer(0.2, held.gate.set).start()
    reader.close()
    assert kept._proven == {}
    assert kept.get(entry, patient=True) is None
    assert bytes(reader.block(entry, 1)) == DATA[BLOCK_SIZE:][:BLOCK_SIZE]
