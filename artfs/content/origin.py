"""Where the bytes of entries come from: sources, opened when first read, a bounded number of them at a time."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.content.proof import content_key
from artfs.errors import ArtfsError
from artfs.model.reference import FILE_SCHEME, uri_scheme
from artfs.storage.sources import SpanSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.content.proof import ContentKey
    from artfs.model.entry import Entry
    from artfs.storage.port import BlobStore, Source

_OPEN_SOURCES = 256


class Opened:
    """An open source; closed when the last reader has let go of it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        weakref.finalize(self, source.close)


class Origins:
    """The sources of entries. Thread-safe. ``open_reference`` opens a reference as a source, or refuses it.

    ``open_file`` opens a file of a version; by default the blob of the store that has its digest.
    """

    def __init__(
        self,
        store: BlobStore,
        open_reference: Callable[[Entry], Source],
        open_file: Callable[[Entry], Source] | None = None,
    ) -> None:
        self._store = store
        self._open_reference = open_reference
        self._open_file = open_file or self._open_blob
        self._lock = threading.Lock()
        self._opened: LRUCache[tuple[ContentKey, object], Opened] = LRUCache(_OPEN_SOURCES)

    def _open_blob(self, entry: Entry) -> Source:
        packed = entry.packed
        if packed is None:
            return self._store.open(entry.blob)
        return SpanSource(self._store.open(packed.pack), packed.offset, entry.size)

    def is_local(self, entry: Entry) -> bool:
        """Whether reading an entry costs no network. Looks at nothing but the entry."""
        return self._store.local if entry.ref is None else uri_scheme(entry.ref) == FILE_SCHEME

    def service(self, entry: Entry) -> str:
        """Name the service that has the bytes of an entry: the store, or the scheme and authority of a reference."""
        return "store" if entry.ref is None else "/".join(entry.ref.split("/", 3)[:3]).lower()

    def has(self, entry: Entry) -> bool:
        """Whether the bytes of an entry are where they should be. May block."""
        if entry.ref is None:
            return self._store.has(entry.stored[0])
        try:
            self._open_reference(entry).close()
        except ArtfsError:
            return False
        return True

    def opened(self, entry: Entry) -> Opened | None:
        """Return the source of an entry if it is open."""
        with self._lock:
            return self._opened.get((content_key(entry), _place(entry)))

    def open(self, entry: Entry) -> Opened:
        """Return the source of an entry, opening it if it is not; NotFoundError and what else opening it raises. May block."""
        found = self.opened(entry)
        if found is None:
            source = self._open_file(entry) if entry.ref is None else self._open_reference(entry)
            found = Opened(source)
            with self._lock:
                self._opened[content_key(entry), _place(entry)] = found
        return found

    def forget(self, entry: Entry) -> None:
        """Open an entry anew the next time: a replaced file, or another object, may be the right one."""
        with self._lock:
            self._opened.pop((content_key(entry), _place(entry)), None)


def _place(entry: Entry) -> object:
    """Return where the bytes of an entry are, for one whose digest does not say that."""
    return entry.packed if entry.ref is None else entry.ref
