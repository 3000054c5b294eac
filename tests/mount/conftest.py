"""Real kernel mounts. Without FUSE they are skipped, but where ARTFS_REQUIRE_FUSE is set that is a failure."""

import concurrent.futures
import contextlib
import hashlib
import json
import mmap
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path

import pytest

from artfs import app
from artfs.app.client import mount_points
from artfs.app.unmount import unmount
from tests.harness import ALONE, DEADLINE, Artfs, can_mount
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Reset, ShortBody, Stall, Status

NOBODY = 65534
OPEN_PREFIX = "artfs-test-"


def require_fuse():
    reason = can_mount()
    if reason:
        assert not os.environ.get("ARTFS_REQUIRE_FUSE"), f"mounts must be tested here, but {reason}"
        pytest.skip(reason)
    for mountpoint, _ in mount_points():
        if ("pytest-of-" in str(mountpoint) or OPEN_PREFIX in str(mountpoint)) and was_left(mountpoint):
            unmount(str(mountpoint), force=True)


def was_left(mountpoint):
    """Whether an interrupted run has left a mount: while a run lasts, its directory has a lock with its process id."""
    for directory in mountpoint.parents:
        with contextlib.suppress(OSError, ValueError):
            return not os.path.exists(f"/proc/{int((directory / '.lock').read_text())}")
    return True


@pytest.fixture(scope="session", autouse=True)
def fuse():
    require_fuse()


@pytest.fixture
def as_root():
    """What a test needs that becomes another user or mounts a disk of its own."""
    if os.geteuid() != 0:
        pytest.fail("only root can do what this test does")


@pytest.fixture
def open_path():
    """A temporary directory that every user can enter, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix=OPEN_PREFIX))
    path.chmod(0o755)
    (path / ".lock").write_text(str(os.getpid()))
    yield path
    assert not [mountpoint for mountpoint, _ in mount_points() if mountpoint.is_relative_to(path)]
    shutil.rmtree(path)


@pytest.fixture
def ordinary(as_root, open_path):
    """An artfs, not mounted yet, of an ordinary user who has no capability at all.

    The interpreter may lie where that user cannot look, so it is shown at another place.
    """
    root = open_path
    for name in ("python", "home"):
        (root / name).mkdir()
    os.chown(root / "home", NOBODY, NOBODY)
    subprocess.run(["mount", "--bind", sys.base_prefix, root / "python"], check=True)
    found = Artfs(root / "home")
    found.expected = []
    found.plainly = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    program = root / "python/bin" / Path(sys.executable).resolve().name
    found.command = [*found.plainly, str(program), "-m", "artfs.cli"]
    found.environment |= {
        "PYTHONPATH": os.pathsep.join([str(Path(app.__file__).parents[2]), sysconfig.get_path("purelib")]),
        "LD_LIBRARY_PATH": f"{root}/python/lib",
    }
    try:
        yield found
    finally:
        found.close()
        subprocess.run(["umount", "--lazy", root / "python"], check=True)
        (root / "python").rmdir()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture(scope="module")
def artfs(tmp_path_factory):
    """One mount for the tests of a module. Its log must not warn of anything that a test did not expect."""
    found = Artfs(tmp_path_factory.mktemp("artfs"))
    found.expected = []
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture
def fresh(tmp_path):
    """An artfs of one test, not mounted yet."""
    found = Artfs(tmp_path)
    found.expected = []
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


# A store elsewhere -------------------------------------------------------------------------------------------------


class Call:
    """A call in a thread of its own, so that whoever waits for it does so for a bounded time."""

    def __init__(self, call, *arguments) -> None:
        self._outcome = concurrent.futures.Future()
        self._call = call
        threading.Thread(target=self._run, args=arguments, daemon=True).start()

    def _run(self, *arguments):
        try:
            self._outcome.set_result(self._call(*arguments))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            self._outcome.set_exception(error)

    @property
    def done(self):
        return self._outcome.done()

    def result(self, seconds=DEADLINE):
        """Return what the call returned, or raise what it raised; TimeoutError if it hangs."""
        return self._outcome.result(seconds)


def within(call, *arguments, seconds=DEADLINE):
    """Make a call that must not hang."""
    return Call(call, *arguments).result(seconds)


class Remote(Artfs):
    """An artfs whose store is a bucket of an S3 server, reached at ``url``; its cache knows nothing of what `put` logs."""

    def __init__(self, root, server, url=None, registry=None) -> None:
        super().__init__(root)
        self.server = server
        self.bucket = server.bucket()
        self.expected = []
        self.environment |= {
            **server.environment(url=url),
            "ARTFS_STORE": f"s3://{self.bucket}/store",
            "ARTFS_REGISTRY": registry or f"sqlite:///{root}/data/registry.sqlite",
            "ARTFS_CACHE_FREE": "0",
        }
        self.maker = Artfs(root)
        self.maker.environment = {
            **self.environment, **server.environment(), "ARTFS_CACHE_DIR": str(root / "cache-of-the-maker"),
        }  # fmt: skip

    def put(self, files, collection="data"):
        """Log files, paths to bytes, as a version, and return its directory in the mount."""
        with tempfile.TemporaryDirectory(dir=self.root) as source:
            for name, data in files.items():
                path = Path(source, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            version = json.loads(self.maker.here("put", source, f"demo/{collection}", "--json"))["version"]
        return self.collection(collection) / version.rpartition(":")[2]

    def key(self, data):
        """Return the key of the blob of some bytes."""
        name = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return f"store/md5/{name[:2]}/{name[2:]}"

    def lives(self, version, files):
        """Check that the mount answers: a listing, and a file that must be right."""
        assert {name.partition("/")[0] for name in files} <= set(within(os.listdir, version))
        name, data = next(iter(files.items()))
        assert within((version / name).read_bytes) == data


def read_once(path, size):
    """Read a file by one request of the kernel, which asks once more for a page that could not be had."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size + mmap.PAGESIZE) as buffer:
            return bytes(buffer[: os.preadv(descriptor, [buffer], 0)])
    finally:
        os.close(descriptor)


FORSAKEN = {
    "fails": Status(503),
    "is shorter than its head says": ShortBody(1000, honest=True),
    "denies what is there": Status(416),
    "breaks off": Reset(after=500),
    "stalls": Stall(after=1000),
}


@pytest.fixture(scope="session")
def forsaken(tmp_path_factory, s3_server):
    """A mount where reads wait for what never comes. They take a while, so a module asks for this with its first test."""
    with FaultProxy(s3_server.url) as proxy:
        found = Remote(tmp_path_factory.mktemp("forsaken"), s3_server, proxy.url)
        found.expected += ["cannot be reached: gave up after"]
        found.environment["ARTFS_RETRY_SECONDS"] = "20"
        found.known = {"known": b"still there"}
        files = {what: os.urandom(ALONE) for what in FORSAKEN}
        found.version = found.put(found.known | files)
        for what, fault in FORSAKEN.items():
            proxy.inject(fault, None, "GET", found.key(files[what]))
        found.mount()
        assert (found.version / "known").read_bytes() == found.known["known"]
        found.reads = {
            what: (f"{found.bucket}/{found.key(data)}", Call(read_once, found.version / what, len(data)))
            for what, data in files.items()
        }
        yield found
        found.close()
        assert not found.unexpected_log(*found.expected)


@pytest.fixture
def remote(tmp_path, s3_server):
    """Return a function that makes a `Remote`, not mounted yet. Its log must not warn of what a test did not expect."""
    made = []

    def make(url=None, registry=None):
        root = tmp_path / f"remote-{len(made)}"
        root.mkdir()
        made.append(Remote(root, s3_server, url, registry))
        return made[-1]

    yield make
    for found in made:
        found.close()
        assert not found.unexpected_log(*found.expected)
