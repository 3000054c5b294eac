"""A pack of many small files in a store that counts what is read, for the tests of packs."""

import contextlib
import functools
import random

import pytest
import trio

from artfs.errors import NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, Entry, Packed, file_extra
from artfs.model.paths import parse_entry_path
from tests.content.fakes import FakeSource, FakeStore

DATA = random.Random(21).randbytes(4 * BLOCK_SIZE)
SIZE = 100_000
damage = pytest.mark.expects_warning("is damaged or missing")


@functools.lru_cache
def name_of(pack):
    return Digest.of(pack)


def in_pack(path, data, pack, offset, algorithm=Algorithm.MD5):
    """Return the entry of some bytes that lie in a pack."""
    place = Packed(name_of(pack), len(pack), offset)
    extra = file_extra(algorithm) | {"pack": place.encode()}
    return Entry(parse_entry_path(path), Digest.of(data, algorithm).base64, len(data), extra=extra)


def entries_of(pack, spans, algorithm=Algorithm.MD5):
    """Return the entries of spans of a pack: paths to offset and size."""
    return {
        path: in_pack(path, pack[offset : offset + size], pack, offset, algorithm)
        for path, (offset, size) in spans.items()
    }


SPANS = {f"d/{number:02}": (number * SIZE, SIZE) for number in range(len(DATA) // SIZE)}
FILES = entries_of(DATA, SPANS)
FIRST_BLOCK = [path for path, (offset, size) in SPANS.items() if offset + size <= BLOCK_SIZE]
ACROSS = [path for path, (offset, size) in SPANS.items() if offset // BLOCK_SIZE != (offset + size - 1) // BLOCK_SIZE]
PACK = Digest.of(DATA)
MOVED = DATA[BLOCK_SIZE:] + DATA[:BLOCK_SIZE]


def bytes_of(path):
    offset, size = SPANS[path]
    return DATA[offset : offset + size]


class Bucket(FakeStore):
    """A store elsewhere, where it shows at the first read that something is not there, as with an object store."""

    local = False

    def open_reference(self, name):
        return super().open_reference(name) if self.local else Object(self, name, b"")


class Object(FakeSource):
    """An object, if it is there when it is read."""

    def read(self, offset, size):
        there = self._store.blobs.get(self._name)
        self._data = there or b""
        data = super().read(offset, size)
        if there is None:
            raise NotFoundError(f"{self._name} is not there")
        return data


def store_of_pack():
    """Return a store elsewhere, with one pack of many files."""
    store = Bucket()
    store.blobs[PACK] = bytearray(DATA)
    return store


def requests(store, pack=PACK):
    """Return the blocks at which each request for a pack began, in order."""
    return [number for name, number in store.reads if name == pack]


def kept(reader):
    """Have everything that was fetched where other processes see it."""
    reader.close()
    reader._remote._cache.flush()


def content(reader, entry):
    return b"".join(bytes(piece) for piece in reader.export(entry))


def complaints(caplog):
    return [record.getMessage() for record in caplog.records if "is damaged or missing" in record.getMessage()]


@contextlib.contextmanager
def damaged_on_its_way(monkeypatch, times=1, offset=5):
    """Flip a bit in what the next reads of a store bring."""
    read, left = FakeSource.read, [times]

    def lie(self, *arguments):
        data = bytearray(read(self, *arguments))
        if left[0]:
            left[0] -= 1
            data[offset] ^= 1
        return bytes(data)

    with monkeypatch.context() as patched:
        patched.setattr(FakeSource, "read", lie)
        yield left


async def reads_arrived(store, count):
    await trio.to_thread.run_sync(store.wait_for_reads, count)
