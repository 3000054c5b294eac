"""A registry, its store and drafts for the tests of garbage collection; the store is here, or behaves as one elsewhere."""

import contextlib

from artfs.app.gc import open_collector
from artfs.storage.files import FilesStore, clone, store_path
from artfs.storage.files_holdings import FileHoldings
from artfs.storage.holdings import ObjectHoldings
from tests.staging.test_commit import base_of, commit, content, make


class ElsewhereStore(FilesStore):
    """A store that behaves as one in a bucket: files are uploaded, and stay where they are."""

    local = False

    def adopt(self, blob, path):
        with self._new() as temporary:
            clone(path, temporary)
            self._name(temporary, blob)


class ElsewhereHoldings(FileHoldings):
    """What is in such a store: nothing is held there, and nobody is kept from uploading."""

    held = ObjectHoldings.held
    removing = ObjectHoldings.removing


def use_store_elsewhere(services):
    """Let services use a store that is not on this machine."""
    root = store_path(services.config.store)
    services.store = ElsewhereStore(root)
    services.backends.holdings = lambda: ElsewhereHoldings(services.store, root)


class World:
    """Commits, deletes and collects."""

    def __init__(self, services):
        self.services = services

    def commit(self, files, *aliases, on_step=lambda _: None, base=None, name="draft"):
        draft = make(self.services, files, name, base)
        return commit(self.services, draft, *aliases, on_step=on_step).version

    def base(self, version):
        return base_of(version)

    def delete(self, version):
        self.services.registry.delete_version(version.collection.at(f"v{version.index}"), delete_aliases=True)

    def content(self, version):
        return content(self.services, version)

    @contextlib.contextmanager
    def collector(self, grace=0.0, on_step=lambda _: None):
        from artfs.staging.progress import Progress

        with open_collector(self.services, grace, Progress(), on_step) as collector:
            yield collector

    def collect(self, grace=0.0, on_step=lambda _: None):
        with self.collector(grace, on_step) as collector:
            return collector.collect(collector.find())

    def find(self, grace=0.0):
        with self.collector(grace) as collector:
            return collector.find()

    def stored(self):
        """The names of everything in the store."""
        return {str(held.blob) for held in self.services.backends.holdings().blobs()}
