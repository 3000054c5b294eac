"""Real kernel mounts. Without FUSE they are skipped, but where ARTFS_REQUIRE_FUSE is set that is a failure."""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from artfs import app
from artfs.app.client import mount_points
from artfs.app.unmount import unmount
from tests.harness import Artfs, can_mount

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
