"""Real kernel mounts. Without FUSE they are skipped, but where ARTFS_REQUIRE_FUSE is set that is a failure."""

import os

import pytest

from artfs.app.client import mount_points
from artfs.app.unmount import unmount
from tests.harness import Artfs, can_mount


@pytest.fixture(scope="session", autouse=True)
def fuse():
    reason = can_mount()
    if reason:
        assert not os.environ.get("ARTFS_REQUIRE_FUSE"), f"mounts must be tested here, but {reason}"
        pytest.skip(reason)
    for mountpoint, _ in mount_points():  # what an interrupted run has left
        if "pytest-of-" in str(mountpoint):
            unmount(str(mountpoint), force=True)


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
