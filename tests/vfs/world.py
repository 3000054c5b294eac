"""A mount without a kernel: every part of the vfs over fakes, and the calls that a kernel would make."""

import contextlib
import math
import os
import tempfile
import threading
from pathlib import Path

import trio

from artfs.cache.blocklists import BlockLists
from artfs.cache.index import Indexes
from artfs.content.origin import Origins
from artfs.content.pipeline import Pipeline
from artfs.content.proof import Prover
from artfs.content.reader import Reader
from artfs.content.remote import Remote
from artfs.model.names import CollectionRef
from artfs.staging.base import Base
from artfs.staging.commit import Committer
from artfs.staging.drafts import Drafts
from artfs.staging.links import Links
from artfs.staging.target import StoreTarget
from artfs.vfs.catalog import Catalog
from artfs.vfs.commits import Commits
from artfs.vfs.drafts import DraftTree
from artfs.vfs.filesystem import FileSystem
from artfs.vfs.inodes import Slots
from artfs.vfs.lineage import Lineage
from artfs.vfs.namespace import Kind, Namespace
from artfs.vfs.processes import Processes
from artfs.vfs.types import ROOT, Caller, Negative, Owner
from artfs.vfs.versions import Versions
from tests.content.fakes import FakeStore
from tests.vfs.fakes import PATIENCE, FakeKernel, WatchedRegistry

DATA = CollectionRef("me", "demo", "data")
ME = Caller(os.geteuid(), os.getegid(), 1, 0o022)
STRANGER = Caller(54321, 54321, 2, 0o022)
TTL = 60.0


class World:
    """One machine with one mount. ``remount`` is what a restart of the mount process is."""

    def __init__(self, root, nursery, *, read_only=False, shared=False, umask=0, owner=None, registry=None, store=None):
        self.root, self.nursery = root, nursery
        self.registry = registry or WatchedRegistry()
        self.store = store or FakeStore()
        self.kernel = FakeKernel()
        self.owner = owner or Owner(os.geteuid(), os.getegid(), umask)
        self.steps = []
        self.before_step = lambda _: None
        self._build(read_only=read_only, shared=shared)

    def _build(self, *, read_only, shared):
        registry, store = self.registry, self.store
        self.indexes = Indexes(self.root / "cache")
        prover = Prover(store, BlockLists(self.root / "cache"))
        origins = Origins(store, lambda entry: store.open_reference(entry.ref))
        self.reader = Reader(origins, prover, Remote(prover, self.no_cache))
        self.pipeline = Pipeline(self.reader, self.nursery, deadline=math.inf)
        self.catalog = Catalog(registry, TTL)
        slots = Slots(self.root / "data/inodes.sqlite", registry.id)
        self.versions = Versions(self.catalog, self.indexes, slots, self.pipeline, self.open_index, self.owner)
        self.staging = Drafts(self.root / "data/drafts", registry.id, lambda base: self._index(base.manifest))
        links = Links(registry, self.open_index, None, ["/mnt/artfs"])

        def target(*_):
            return StoreTarget(store, self._step)

        self.committer = Committer(registry, target, links, 2, on_step=self._step)
        self.commits = Commits(
            self.staging, self.committer, self.catalog, self.kernel, lambda *place: self.namespace.place(*place), self.nursery
        )  # fmt: skip
        self.drafts = DraftTree(self.pipeline, self.reader, self.commits.is_frozen, self._parent_of, self.owner)
        self.commits.gone = self.drafts.gone
        self.namespace = Namespace(
            self.catalog, registry, self.versions, self.kernel, self._has_drafts, self.owner, read_only=read_only
        )
        self.processes = self.root / "proc"  # a test makes those of runs there
        self.lineage = Lineage(Processes(self.processes), registry, self.catalog)
        self.fs = FileSystem(
            self.namespace, self.versions, self.drafts, self.commits, self.catalog, registry,
            self.pipeline, self.lineage, lambda: os.statvfs(self.root), self.owner, {"pid": b"1"},
            read_only=read_only, shared=shared,
        )  # fmt: skip

    @staticmethod
    def no_cache():
        raise AssertionError("local content was looked for in the block cache")

    def remount(self, **options):
        """Return the mount of the next process: the same disk, registry and store."""
        self.staging.close()
        world = World(self.root, self.nursery, registry=self.registry, store=self.store, **options)
        world.staging.acquire()
        return world

    def _step(self, name):
        self.steps.append(name)
        self.before_step(name)

    def _parent_of(self, draft):
        return self.namespace.place(Kind.COMMIT if self.commits.is_frozen(draft) else Kind.STAGING, draft.collection)

    def _has_drafts(self, collection):
        return bool(self.commits.staged(collection) or self.commits.committing(collection))

    def open_index(self, version):
        return self._index(version.manifest)

    def _index(self, manifest):
        return self.indexes.open(manifest.digest, manifest.size, lambda: [bytes(self.store.blobs[manifest.digest])])

    def publish(self, files, *aliases, collection=DATA):
        """Publish a version of some files (path to bytes), as another machine would."""
        entries = [
            self.store.add(path, data, listed=len(data) > 1 << 20, executable=path.endswith(".sh"))
            for path, data in files.items()
        ]
        version = self.registry.add(self.store, collection, entries, *aliases)
        self.catalog.forget()
        return version

    async def stage(self, name="draft", base=None, collection=DATA):
        """Make a draft, and return the inode of its directory."""
        self.registry.place(collection.entity, collection.project, collection)
        self.catalog.forget()
        if base is not None:
            base = Base(base.id, base.collection.at(f"v{base.index}"), base.manifest, base.created_at)
        await self.commits.create(collection, name, base)
        return (await self.at(f"{collection}/.staging/{name}")).ino

    # What a kernel does

    async def at(self, path, start=ROOT):
        """Walk a path name by name; return the attributes of its end, or what a negative lookup says."""
        attr = await self.fs.getattr(start)
        for name in path.split("/") if path else ():
            attr = await self.fs.lookup(attr.ino, os.fsencode(name), ME)
            if isinstance(attr, Negative):
                return attr
            self.fs.remember(attr.ino)
        return attr

    async def ino(self, path, start=ROOT):
        return (await self.at(path, start)).ino

    async def listing(self, path, start=ROOT):
        """List a directory; return its entries without ``.`` and ``..``, in order."""
        handle = await self.fs.opendir(await self.ino(path, start), ME)
        entries, offset = [], 0
        while True:
            batch = []
            for entry in await self.fs.readdir(handle, offset):
                batch.append(entry)
                if entry.name not in {b".", b".."}:
                    self.fs.remember(entry.attr.ino)
            if not batch:
                break
            assert batch[-1].next > offset, "a listing does not go on"
            entries += batch
            offset = batch[-1].next
        await self.fs.releasedir(handle)
        return [entry for entry in entries if entry.name not in {b".", b".."}]

    async def names(self, path, start=ROOT):
        return [os.fsdecode(entry.name) for entry in await self.listing(path, start)]

    async def read(self, path, start=ROOT):
        """Open, read and close a file."""
        opened = await self.fs.open(await self.ino(path, start), os.O_RDONLY, ME)
        pieces, offset = [], 0
        while data := bytes(await self.fs.read(opened.handle, offset, 1 << 17)):
            pieces.append(data)
            offset += len(data)
        await self.fs.release(opened.handle)
        return b"".join(pieces)

    async def write(self, parent, name, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        """Make or open, write and close a file; return its inode."""
        opened, attr = await self.fs.create(parent, os.fsencode(name), flags, 0o666, ME)
        self.fs.remember(attr.ino)
        assert await self.fs.write(opened.handle, 0, data) == len(data)
        await self.fs.release(opened.handle)
        return attr.ino


@contextlib.contextmanager
def memory_directory():
    """Give a directory in memory where there is such a place: hundreds of mounts would wait for the disk at each sync."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as path:
        yield Path(path)


def run_in_world(scenario, *arguments):
    """Run a scenario in a mount of its own: for each example of a property, where fixtures would be shared."""

    async def main():
        with memory_directory() as root:
            async with trio.open_nursery() as nursery:
                world = World(root, nursery)
                try:
                    await scenario(world, *arguments)
                finally:
                    world.staging.close()
                    nursery.cancel_scope.cancel()

    trio.run(main)


class Gate:
    """Holds a function that runs in a worker thread until it is opened."""

    def __init__(self, function):
        self._function = function
        self._arrived = threading.Event()
        self._open = threading.Event()

    def __call__(self, *arguments, **options):
        self._arrived.set()
        assert self._open.wait(PATIENCE), "a thread was held back for ever"
        return self._function(*arguments, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._open.set()

    def wait(self):
        assert self._arrived.wait(PATIENCE), "the call did not come"

    def open(self):
        self._open.set()
