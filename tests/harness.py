"""A temporary artfs for tests: its own directories, real mounts, the real command line, ended whatever happens."""

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from artfs.app.client import mount_points
from artfs.app.unmount import unmount
from artfs.errors import ArtfsError
from artfs.staging.packing import SMALL
from tests.cli.here import run_here
from tests.secrets import leaks

ALONE = SMALL + 1  # bytes of the smallest file that lies in no pack

DEADLINE = 120.0  # seconds that a condition may take on a slow machine: more than the longest pause between two tries
PLAIN = [sys.executable, "-m", "artfs.cli"]  # the command, as whoever runs the tests


def can_mount() -> str:
    """Return why real mounts cannot be tested here; empty if they can."""
    if not os.path.exists("/dev/fuse") or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    return ""


def wait_for(condition, what="the condition"):
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {DEADLINE:.0f} s")
        time.sleep(0.01)


def as_user(uid):
    """Return the start of a command that runs as another user, who may read this interpreter wherever it is installed."""
    if uid is None:
        return []
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]


class Artfs:
    """One registry, store and data directory, and the mounts of it."""

    def __init__(self, root: Path, uid: int | None = None) -> None:
        self.root = root
        self.uid = uid
        self.mountpoint = root / "mnt"
        self.command = [*as_user(uid), *PLAIN]
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ARTFS_")},
            **{f"ARTFS_{name.upper()}_DIR": str(root / name) for name in ("data", "cache", "state", "runtime")},
            "ARTFS_ENTITY": "me",
            "ARTFS_LOG_LEVEL": "debug",
            "ARTFS_METADATA_TTL": "0.2",
            "HOME": str(root),
        }
        self._mounted: set[Path] = set()

    def run(self, *arguments, code=0, **kwargs):
        """Run a command; check its exit code and return the finished process."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/", timeout=300, **kwargs,
        )  # fmt: skip
        assert done.returncode == code, f"artfs {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        if isinstance(done.stdout, str):
            assert not leaks(done.stdout + done.stderr, self.environment), f"artfs {arguments} prints a secret"
        return done

    def here(self, *arguments, code=0):
        """Run a command as `run` does, but in this process, in a tenth of the time; return what it printed. For what a test only needs."""
        assert self.command == PLAIN, "this process is not that user"
        ((found, out, err),) = run_here(self, [arguments])
        assert found == code, f"artfs {arguments}: {found}\n{out}\n{err}"
        assert not leaks(out + err, self.environment), f"artfs {arguments} prints a secret"
        return out.strip()

    def start(self, *arguments, **kwargs):
        """Start a command and return the running process, with pipes for what it says."""
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            env=self.environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", **kwargs,
        )  # fmt: skip

    @contextlib.contextmanager
    def held_registry(self):
        """Let nobody write to the registry, so that a commit gets as far as that and no further."""
        with contextlib.closing(sqlite3.connect(self.root / "data/registry.sqlite", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                database.execute("ROLLBACK")

    def out(self, *arguments):
        return self.run(*arguments).stdout.strip()

    def json(self, *arguments):
        return json.loads(self.out(*arguments, "--json"))

    def mount(self, *arguments, at=None):
        """Mount and return the mount point."""
        mountpoint = at or self.mountpoint
        self.run("mount", mountpoint, *arguments)
        self._mounted.add(mountpoint)
        return mountpoint

    def umount(self, *arguments, at=None):
        mountpoint = at or self.mountpoint
        self.run("umount", mountpoint, *arguments)
        self._mounted.discard(mountpoint)

    def pid(self, at=None):
        return int(os.getxattr(at or self.mountpoint, "user.artfs.pid"))

    def kill(self, at=None):
        """End the mount process without warning, and wait until it is gone."""
        pid = self.pid(at)
        descriptor = os.pidfd_open(pid)
        os.kill(pid, 9)
        import select

        select.select([descriptor], [], [])
        os.close(descriptor)

    def close(self):
        for mountpoint in [path for path, _ in mount_points() if path.is_relative_to(self.root)]:
            with contextlib.suppress(ArtfsError):
                unmount(str(mountpoint), force=True)
        assert not leaks(self.log(), self.environment), "a secret is in the log of a mount"

    def log(self):
        return "".join(path.read_text() for path in sorted((self.root / "state/log").glob("*.log")))

    def unexpected_log(self, *expected):
        """Return the lines of the log that warn of something that was not expected."""
        lines = [
            line
            for line in self.log().splitlines()
            if " WARNING " in line or " ERROR " in line or line.startswith("Traceback")
        ]
        return [line for line in lines if not any(text in line for text in expected)]

    def collection(self, name="data"):
        return self.mountpoint / "me/demo" / name

    def draft(self, name="draft", collection="data"):
        """Make a draft through the mount."""
        path = self.collection(collection) / ".staging" / name
        path.mkdir(parents=True)
        return path

    def commit(self, path, *arguments):
        """Commit a draft by the command, and return the version's directory."""
        reference = self.out("commit", path, *arguments)
        collection, _, version = reference.partition(":")
        return self.mountpoint / collection / version

    def blob(self, data):
        """Return where the bytes of a file lie in the store."""
        name = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return self.root / "data/store/md5" / name[:2] / name[2:]

    def store_files(self, algorithm="md5"):
        return sorted((self.root / "data/store" / algorithm).glob("*/*"))


@contextlib.contextmanager
def small_disk(path, size):
    """Mount an empty disk of so many bytes, which only root can."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path, free):
    """Fill the disk that a new file lies on but for so many bytes."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    os.truncate(path, max(0, path.stat().st_size - free))


def tree_of(path):
    """Return what a directory holds: names to bytes, targets of symlinks, or None for directories."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in names + files:
            item = Path(directory, name)
            key = str(item.relative_to(path))
            found[key] = os.readlink(item) if item.is_symlink() else None if item.is_dir() else item.read_bytes()
    return found
