"""A draft against a plain local directory: the same operations, the same results, the same trees, whatever lies beneath."""

import errno
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from artfs.cache.index import Indexes
from artfs.model.digest import Digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import parse_entry_path
from artfs.registry.port import ManifestFile
from artfs.staging.base import Base
from artfs.staging.drafts import Drafts

NAMES = ["a", "b", "c"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
contents = st.binary(max_size=20)

BASE_FILES = {"a/a": b"one", "a/b/c": b"two", "a/b/a": b"three", "b": b"four", "c/c/c": b"five"}


class DraftMachine(RuleBasedStateMachine):
    """Does everything twice: in a draft through its overlay, and in a directory."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="artfs-machine-"))
        self.plain = self.root / "plain"
        self.plain.mkdir()
        self.blobs = {Digest.of(data).base64: data for data in BASE_FILES.values()}

    @initialize(with_base=st.booleans())
    def start(self, with_base):
        base = None
        if with_base:
            entries = [
                Entry(parse_entry_path(path), Digest.of(data).base64, len(data))
                for path, data in sorted(BASE_FILES.items())
            ]
            manifest = b"".join(encode_manifest(entries))
            file = ManifestFile(Digest.of(manifest), len(manifest))
            (self.root / "manifest").write_bytes(manifest)
            base = Base("id", CollectionRef("e", "p", "c").at("v0"), file, datetime.now(UTC))
            for path, data in BASE_FILES.items():
                (self.plain / path).parent.mkdir(parents=True, exist_ok=True)
                (self.plain / path).write_bytes(data)
        self.drafts = self.open()
        self.draft = self.drafts.create(CollectionRef("e", "p", "c"), "draft", base)

    def open(self):
        manifest = self.root / "manifest"
        indexes = Indexes(self.root / "cache")

        def open_base(base):
            return indexes.open(base.manifest.digest, base.manifest.size, lambda: [manifest.read_bytes()])

        return Drafts(self.root / "drafts", "r", open_base)

    def both(self, draft, plain):
        """Run both operations; they succeed together, or fail with the same errno."""
        results = []
        for operation in (plain, draft):
            try:
                operation()
                results.append(0)
            except OSError as error:
                results.append(error.errno)
        # What is missing and what is no directory cannot be told apart by path; the kernel does that by lookups.
        same = {errno.ENOTDIR: errno.ENOENT, errno.EEXIST: errno.ENOTEMPTY}
        assert same.get(results[0], results[0]) == same.get(results[1], results[1]), results

    def parent_is_directory(self, path):
        return (self.plain / path).parent.is_dir() and not any(
            part.is_symlink() for part in (self.plain / path).parents
        )

    def local(self, path):
        """Copy up what is about to be changed, as the mount does."""
        item = self.draft.tree.lookup(path)
        if item is not None and not item.local:
            self.draft.tree.copy_up(path, None if item.entry is None else [self.blobs[item.entry.digest]])

    @rule(path=paths, data=contents)
    def write(self, path, data):
        if not self.parent_is_directory(path) or (self.plain / path).is_dir() or (self.plain / path).is_symlink():
            return
        tree = self.draft.tree

        def draft():
            self.local(path)
            fd = (
                tree.open(path, os.O_WRONLY | os.O_TRUNC)
                if tree.lookup(path)
                else tree.create(path, os.O_WRONLY, 0o644)
            )
            os.write(fd, data)
            os.close(fd)

        self.both(draft, lambda: (self.plain / path).write_bytes(data))

    @rule(path=paths, size=st.integers(0, 30))
    def truncate(self, path, size):
        if (self.plain / path).is_file() and not (self.plain / path).is_symlink() and self.parent_is_directory(path):
            self.local(path)
            self.both(lambda: self.draft.tree.truncate(path, size), lambda: os.truncate(self.plain / path, size))

    @rule(path=paths)
    def mkdir(self, path):
        if self.parent_is_directory(path):
            self.both(lambda: self.draft.tree.mkdir(path, 0o755), lambda: (self.plain / path).mkdir())

    @rule(path=paths)
    def rmdir(self, path):
        if self.parent_is_directory(path):
            self.both(lambda: self.draft.tree.rmdir(path), lambda: (self.plain / path).rmdir())

    @rule(path=paths)
    def unlink(self, path):
        if self.parent_is_directory(path):
            self.both(lambda: self.draft.tree.unlink(path), lambda: (self.plain / path).unlink())

    @rule(path=paths, goal=st.sampled_from(["a", "../x", "nowhere"]))
    def symlink(self, path, goal):
        if self.parent_is_directory(path):
            self.both(lambda: self.draft.tree.symlink(path, goal), lambda: (self.plain / path).symlink_to(goal))

    @rule(source=paths, goal=paths)
    def link(self, source, goal):
        target = goal
        file = self.plain / source
        if (
            self.parent_is_directory(source)
            and self.parent_is_directory(target)
            and file.is_file()
            and not file.is_symlink()
        ):
            self.local(source)
            self.both(lambda: self.draft.tree.link(source, target), lambda: os.link(file, self.plain / target))

    @rule(source=paths, goal=paths)
    def rename(self, source, goal):
        target = goal
        if self.parent_is_directory(source) and self.parent_is_directory(target):
            self.both(
                lambda: self.draft.tree.rename(source, target),
                lambda: os.rename(self.plain / source, self.plain / target),
            )

    @rule(path=paths, mode=st.sampled_from([0o600, 0o755]))
    def chmod(self, path, mode):
        file = self.plain / path
        if self.parent_is_directory(path) and file.is_file() and not file.is_symlink():
            self.local(path)
            self.both(lambda: self.draft.tree.chmod(path, mode), lambda: file.chmod(mode))

    @precondition(lambda self: hasattr(self, "drafts"))
    @rule()
    def reopen(self):
        self.drafts.close()
        self.drafts = self.open()
        (self.draft,) = self.drafts.acquire()

    @rule(path=paths)
    def bind_and_take(self, path):
        """What a commit does that fails later: the bytes move into the store, the draft stays as it was."""
        item = self.draft.tree.lookup(path) if self.parent_is_directory(path) else None
        if item is None or item.kind != "file" or not item.local or item.nlink > 1:
            return
        local = Path(self.draft.tree.local_path(path))
        data = local.read_bytes()
        self.blobs[Digest.of(data).base64] = data
        entry = Entry(parse_entry_path(path), Digest.of(data).base64, len(data))
        self.draft.tree.bind([(path, entry, item.mode, item.mtime_ns)])
        local.unlink()

    @invariant()
    def trees_are_equal(self):
        if not hasattr(self, "draft"):
            return
        plain = {}
        for directory, names, files in os.walk(self.plain):
            for name in names + files:
                file = Path(directory, name)
                path = str(file.relative_to(self.plain))
                if file.is_symlink():
                    plain[path] = ("symlink", os.readlink(file))
                elif file.is_dir():
                    plain[path] = ("dir", None)
                else:
                    plain[path] = ("file", file.read_bytes(), file.stat().st_mode & 0o100, file.stat().st_nlink)
        assert {item.path: self.seen(item) for item in self.draft.tree.walk()} == plain

    def seen(self, item):
        if item.kind == "symlink":
            return "symlink", self.draft.tree.readlink(item.path)
        if item.kind == "dir":
            return "dir", None
        data = Path(self.draft.tree.local_path(item.path)).read_bytes() if item.local else self.blobs[item.entry.digest]
        assert len(data) == item.size
        assert self.draft.tree.lookup(item.path).key == item.key
        return "file", data, item.mode & 0o100, item.nlink

    def teardown(self):
        if hasattr(self, "drafts"):
            self.drafts.close()
        shutil.rmtree(self.root)


TestDraftMachine = DraftMachine.TestCase
TestDraftMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
