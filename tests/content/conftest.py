"""A store in memory and a reader of it."""

import pytest

from artfs.cache.blocklists import BlockLists
from artfs.cache.blocks import BlockCache
from artfs.content.origin import Origins
from artfs.content.proof import Prover
from artfs.content.reader import Reader
from artfs.content.remote import Remote
from tests.content.fakes import FakeStore


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def new_reader(store, tmp_path):
    """Return a function that makes a reader as a new process has it: nothing in memory, what is on disk is there."""
    caches = []

    def new(*, strict=False, root=tmp_path, open_kept=None):
        cache = BlockCache(root / "blocks", max_bytes=1 << 30, keep_free=0)
        caches.append(cache)
        prover = Prover(store, BlockLists(root / "cache"))
        origins = Origins(store, lambda entry: store.open_reference(entry.ref))
        return Reader(origins, prover, Remote(prover, lambda: cache, strict=strict, open_kept=open_kept))

    yield new
    for cache in caches:
        cache.close()


@pytest.fixture
def reader(new_reader):
    return new_reader()
