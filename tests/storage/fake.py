"""A store in memory that keeps every promise of the port: the contract suite runs on it as on the real ones."""

import threading

from artfs.errors import NotFoundError


class FakeSource:
    """The bytes of one blob."""

    local = True

    def __init__(self, data):
        self._data = data
        self.size = len(data)

    def read(self, offset, size):
        return self._data[offset : offset + size]

    def read_nowait(self, offset, size):
        data = self.read(offset, size)
        return data if len(data) == size else None

    def close(self):
        self._data = b""


class FakeStore:
    """A ``BlobStore`` in memory. Stores that share one ``blobs`` are one store, as processes that open one directory."""

    local = True

    def __init__(self, blobs=None):
        self.blobs = {} if blobs is None else blobs
        self._lock = threading.Lock()

    def has(self, blob):
        return blob in self.blobs

    def missing(self, blobs):
        return {blob for blob in blobs if not self.has(blob)}

    def open(self, blob):
        with self._lock:
            if blob not in self.blobs:
                raise NotFoundError(f"blob {blob} is not in the store")
            return FakeSource(self.blobs[blob])

    def write(self, blob, data):
        if not self.has(blob):
            whole = b"".join(data)
            with self._lock:
                self.blobs.setdefault(blob, whole)

    def adopt(self, blob, path):
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"blob {blob}: {path} does not exist") from error
        with self._lock:
            self.blobs[blob] = data
        path.unlink()

    def sync(self):
        pass
