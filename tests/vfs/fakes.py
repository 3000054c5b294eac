"""A registry that is watched, and a kernel that only listens."""

import contextlib
import threading
import uuid

from artfs.errors import ExistsError
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.manifest import encode_manifest
from artfs.model.run import RunInfo
from artfs.registry.port import ManifestFile, NewVersion
from tests.registry.fake import FakeRegistry

PATIENCE = 120.0  # seconds until a test that waits for a thread gives up


class FakeKernel:
    """A ``Notifier`` that notes what it was told."""

    def __init__(self):
        self.names = []
        self.attrs = []

    def forget_name(self, parent, name):
        self.names.append((parent, name))

    def forget_attr(self, ino):
        self.attrs.append(ino)


class WatchedRegistry:
    """The registry in memory. Notes what it is asked, holds askers back, and fails when told to."""

    def __init__(self):
        self.inner = FakeRegistry()
        self.id, self.default_entity = self.inner.id, self.inner.default_entity
        self.asked = []  # (method, *arguments)
        self.arrived = threading.Semaphore(0)  # released by every question before it is held back
        self.gate = threading.Event()
        self.gate.set()
        self.failure = None

    def __getattr__(self, name):
        method = getattr(self.inner, name)

        def asked(*arguments, **options):
            self.asked.append((name, *arguments))
            self.arrived.release()
            assert self.gate.wait(PATIENCE), "an asker was held back for ever"
            if self.failure is not None:
                raise self.failure
            return method(*arguments, **options)

        return asked

    @contextlib.contextmanager
    def held(self):
        """Hold every asker back until the end, however it comes."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def wait_for_questions(self, count):
        """Block until so many more questions have arrived."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=PATIENCE), "a question did not come"

    def questions(self, *names):
        """Return the questions of some kinds, in order."""
        return [question for question in self.asked if question[0] in names]

    # What happens on other machines: nothing of it is noted

    def place(self, entity, project, *collections):
        """Make sure that places exist."""
        for make in (
            lambda: self.inner.create_entity(entity),
            lambda: self.inner.create_project(entity, project),
            *(lambda ref=ref: self.inner.create_collection(ref) for ref in collections),
        ):
            with contextlib.suppress(ExistsError):
                make()

    def add(self, store, collection, entries, *aliases):
        """Publish a version of some entries."""
        entries = sorted(entries, key=lambda entry: entry.path)
        data = b"".join(encode_manifest(entries))
        manifest = ManifestFile(Digest.of(data), len(data))
        store.blobs[manifest.digest] = bytearray(data)
        digest = version_digest((entry.path, entry.digest) for entry in entries)
        size = sum(entry.size for entry in entries)
        new = NewVersion(uuid.uuid4().hex, collection, None, digest, Algorithm.MD5, size, len(entries))
        assert not self.inner.reserve(new).existing, "a test publishes the same content twice"
        return self.inner.publish(new.client_id, manifest, aliases)

    def delete(self, ref):
        self.inner.delete_version(ref, delete_aliases=True)

    def log(self, version_id, *, used_by=()):
        """Record a run that logged a version, and those that used it."""
        time = self.inner._data.now()
        self.inner.record_logged(RunInfo("logger", "me", "demo", "run", "train", time), version_id)
        for name in used_by:
            self.inner.record_use(RunInfo(name, "me", "demo", "run", "train", time), version_id)
