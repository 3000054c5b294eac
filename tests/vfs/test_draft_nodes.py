"""The inode table of drafts, driven by a kernel that does anything: a number stays as long as it is known, and no node is left."""

import collections
import os
import stat

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artfs.errors import ArtfsError
from artfs.vfs.types import Change
from tests.vfs.world import ME, run_in_world

NAMES = (b"a", b"b", b"d", b"e", b"f", b"\xff")


class Kernel:
    """Knows what it was told, and asks about nothing else. ``names`` are the names it has cached."""

    def __init__(self, world, root):
        self.world, self.fs, self.root = world, world.fs, root
        self.lookups = collections.Counter()
        self.kinds = {root: stat.S_IFDIR}
        self.names = {}
        self.handles = []

    def told(self, parent, name, attr):
        self.fs.remember(attr.ino)
        self.lookups[attr.ino] += 1
        self.kinds[attr.ino] = stat.S_IFMT(attr.mode)
        self.names[parent, name] = attr.ino

    def pick(self, number, *kinds):
        """Choose one of the inodes that are known."""
        known = sorted(ino for ino, kind in self.kinds.items() if not kinds or kind in kinds)
        return known[number % len(known)] if known else None

    def directory(self, number):
        return self.pick(number, stat.S_IFDIR)

    # What it may do: each takes three numbers

    async def lookup(self, first, second, third):
        parent, name = self.directory(first), NAMES[second % len(NAMES)]
        attr = await self.fs.lookup(parent, name, ME)
        known = self.names.get((parent, name))
        assert known in {None, attr.ino}, "a name that is known has got another inode"
        self.told(parent, name, attr)

    async def create(self, first, second, third):
        parent, name = self.directory(first), NAMES[second % len(NAMES)]
        flags = (os.O_RDWR, os.O_WRONLY | os.O_EXCL, os.O_WRONLY | os.O_TRUNC)[third % 3]
        opened, attr = await self.fs.create(parent, name, flags, 0o644, ME)
        self.told(parent, name, attr)
        self.handles.append(opened.handle)

    async def make(self, first, second, third):
        parent, name = self.directory(first), NAMES[second % len(NAMES)]
        made = (
            self.fs.mkdir(parent, name, 0o755, ME),
            self.fs.symlink(parent, name, b"target", ME),
            self.fs.mknod(parent, name, stat.S_IFIFO | 0o644, ME),
        )
        for place, call in enumerate(made):
            if place != third % 3:
                call.close()
        self.told(parent, name, await made[third % 3])

    async def link(self, first, second, third):
        ino, parent, name = self.pick(third, stat.S_IFREG), self.directory(first), NAMES[second % len(NAMES)]
        if ino is not None:
            self.told(parent, name, await self.fs.link(ino, parent, name, ME))

    async def remove(self, first, second, third):
        parent, name = self.directory(first), NAMES[second % len(NAMES)]
        attr = await self.fs.lookup(parent, name, ME)  # as a kernel does before
        self.told(parent, name, attr)
        call = self.fs.rmdir if stat.S_ISDIR(attr.mode) else self.fs.unlink
        await call(parent, name, ME)
        del self.names[parent, name]

    async def rename(self, first, second, third):
        old, new = self.directory(first), self.directory(third // 8)
        name, new_name = NAMES[second % len(NAMES)], NAMES[third % len(NAMES)]
        self.told(old, name, await self.fs.lookup(old, name, ME))
        try:
            self.told(new, new_name, await self.fs.lookup(new, new_name, ME))
        except OSError:
            self.names.pop((new, new_name), None)
        if self.names[old, name] == self.names.get((new, new_name)):
            return  # a kernel does not ask then: nothing happens
        exchange = second % 5 == 0
        await self.fs.rename(old, name, new, new_name, ME, replace=third % 5 != 0, exchange=exchange)
        source, target = self.names.get((old, name)), self.names.get((new, new_name))
        if exchange:
            self.names[old, name], self.names[new, new_name] = target, source
        else:
            del self.names[old, name]
            self.names[new, new_name] = source

    async def list(self, first, second, third):
        """List a directory, with room for a few entries only."""
        parent = self.directory(first)
        handle = await self.fs.opendir(parent, ME)
        try:
            for place, entry in enumerate(await self.fs.readdir(handle, second % 4)):
                if place >= third % 6:
                    break
                if entry.name not in {b".", b".."}:
                    self.told(parent, entry.name, entry.attr)
        finally:
            await self.fs.releasedir(handle)

    async def open(self, first, second, third):
        ino = self.pick(first, stat.S_IFREG, stat.S_IFDIR)
        self.handles.append(
            (await self.fs.open(ino, (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC)[second % 3], ME)).handle
        )

    async def write(self, first, second, third):
        if self.handles:
            await self.fs.write(self.handles[first % len(self.handles)], second, b"data")

    async def change(self, first, second, third):
        ino = self.pick(first, stat.S_IFREG, stat.S_IFDIR)
        await self.fs.setattr(ino, (Change(mode=0o600), Change(mtime_ns=5), Change(size=3))[second % 3], None, ME)

    async def close(self, first, second, third):
        if self.handles:
            await self.fs.release(self.handles.pop(first % len(self.handles)))

    async def forget(self, first, second, third):
        """Forget an inode, in part or altogether, as memory runs short: in any order."""
        ino = self.pick(first)
        if ino != self.root:
            self.forget_inode(ino, 1 + second % self.lookups[ino])

    def forget_inode(self, ino, count):
        self.fs.forget(ino, count)
        self.lookups[ino] -= count
        if not self.lookups[ino]:
            del self.lookups[ino], self.kinds[ino]
            self.names = {place: found for place, found in self.names.items() if ino not in {found, place[0]}}

    async def adopt(self, first, second, third):
        """What a commit does that fails later: a file's bytes move into the store, its name stays."""
        tree = self.world.staging.owned()[0].tree
        items = [item for item in tree.walk() if item.kind == "file" and item.local and item.nlink == 1]
        if items and all(byte < 128 for item in items for byte in os.fsencode(item.path)):
            item = items[first % len(items)]
            with open(tree.local_path(item.path), "rb") as file:
                entry = self.world.store.add(item.path, file.read())
            tree.bind([(item.path, entry, item.mode, item.mtime_ns)])
            os.unlink(tree.local_path(item.path))


ACTIONS = [
    name
    for name in vars(Kernel)
    if not name.startswith("_") and name not in {"told", "pick", "directory", "forget_inode"}
]
numbers = st.integers(0, 40)
steps = st.lists(st.tuples(st.sampled_from(ACTIONS), numbers, numbers, numbers), min_size=1, max_size=60)


async def drive(world, actions):
    version = world.publish({"a": b"first", "d/e": b"deep", "d/f": b"deeper"})
    root = await world.stage(base=version)
    world.fs.forget(root, 1)
    kernel, nodes = Kernel(world, root), world.drafts._nodes
    for action, *arguments in actions:
        try:
            await getattr(kernel, action)(*arguments)
        except (OSError, ArtfsError):
            continue
    for (parent, name), ino in kernel.names.items():
        assert (await world.fs.lookup(parent, name, ME)).ino == ino
    for handle in kernel.handles:
        await world.fs.release(handle)
    for ino in list(kernel.lookups):
        kernel.forget_inode(ino, kernel.lookups[ino])
    assert len(nodes) == 1, "nodes are left that the kernel does not know"
    assert (nodes._by_key, nodes._by_name) == ({}, {})
    await world.commits.discard(world.staging.owned()[0])
    assert len(nodes) == 0


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=steps)
def test_a_number_stays_while_it_is_known_and_nothing_is_left_when_all_is_forgotten(actions):
    run_in_world(drive, actions)
