"""A store in memory that counts what is read, holds readers back, breaks, and lies."""

import contextlib
import threading

from artfs.errors import NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, HEAD_SIZE, Entry, file_extra
from artfs.model.paths import parse_entry_path

PATIENCE = 120.0  # seconds until a test that waits for a thread gives up


class FakeSource:
    """The bytes of one blob, as they are at the moment of each read."""

    local = True

    def __init__(self, store, name, data):
        self._store, self._name, self._data = store, name, data
        self.closed = False

    @property
    def size(self):
        return len(self._data)

    def read(self, offset, size):
        assert not self.closed, "a source was read after it was closed"
        store = self._store
        with store.lock:
            store.reads.append((self._name, offset // BLOCK_SIZE))
            store.spans.append((self._name, offset, min(size, len(self._data) - offset)))
        store.arrived.release()
        assert store.gate.wait(PATIENCE), "a reader was held back for ever"
        if store.failure is not None:
            raise store.failure
        return bytes(self._data[offset : offset + size])

    def read_nowait(self, offset, size):
        if not self._store.in_page_cache:
            return None
        with self._store.lock:
            self._store.nowait_reads.append((self._name, offset // BLOCK_SIZE))
        data = bytes(self._data[offset : offset + size])
        return data if len(data) == size else None

    def close(self):
        self.closed = True


class FakeStore:
    """A ``BlobStore``, and the reader of references: blobs are kept by digest, references by URI."""

    local = True

    def __init__(self):
        self.blobs = {}
        self.lock = threading.Lock()
        self.reads = []  # (name, block) of every read that had to wait
        self.spans = []  # (name, offset, size) of the same
        self.nowait_reads = []
        self.opened = []
        self.arrived = threading.Semaphore(0)  # released by every read before it is held back
        self.gate = threading.Event()
        self.gate.set()
        self.failure = None
        self.in_page_cache = False

    def has(self, blob):
        return blob in self.blobs

    def missing(self, blobs):
        return {blob for blob in blobs if blob not in self.blobs}

    def open(self, blob):
        return self.open_reference(blob)

    def open_reference(self, name):
        if name not in self.blobs:
            raise NotFoundError(f"{name} is not in the store")
        source = FakeSource(self, name, self.blobs[name])
        self.opened.append(source)
        return source

    def write(self, blob, data):
        self.blobs.setdefault(blob, bytearray(b"".join(data)))

    def adopt(self, blob, path):
        self.blobs[blob] = bytearray(path.read_bytes())
        path.unlink()

    def sync(self):
        pass

    def add(self, path, data, algorithm=Algorithm.MD5, *, listed=False, headed=False, executable=False, size=None):
        """Keep some bytes, and return the entry that a manifest has for them."""
        blob, block_list, head = Digest.of(data, algorithm), None, None
        self.blobs[blob] = bytearray(data)
        if listed:
            blocks = block_list_of(data)
            block_list = Digest.of(blocks, Algorithm.BLAKE3)
            self.blobs[block_list] = bytearray(blocks)
            head = Digest.of(data[:HEAD_SIZE], Algorithm.BLAKE3) if headed else None
        extra = file_extra(algorithm, executable=executable, block_list=block_list, head=head)
        return Entry(parse_entry_path(path), blob.base64, len(data) if size is None else size, extra=extra)

    def flip(self, name, offset):
        """Flip one bit."""
        self.blobs[name][offset] ^= 0x10

    @contextlib.contextmanager
    def held(self):
        """Hold every reader back until the end, however it comes."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def wait_for_reads(self, count):
        """Block until so many more reads have arrived."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=PATIENCE), "a read did not come"

    def blocks_read(self, entry):
        """Return the numbers of the blocks of an entry that were read, in order."""
        name = entry.ref or entry.blob
        return [number for found, number in self.reads if found == name]


def block_list_of(data):
    return b"".join(
        Digest.of(data[start : start + BLOCK_SIZE], Algorithm.BLAKE3).raw for start in range(0, len(data), BLOCK_SIZE)
    )


def reference(path, uri, data):
    """Return the entry of a reference to some bytes."""
    return Entry(parse_entry_path(path), Digest.of(data).base64, len(data), ref=uri)
