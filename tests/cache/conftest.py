"""Fixtures of the cache tests."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let caches wait for each other, and for the disk, for as long as a busy machine needs."""
    monkeypatch.setattr("artfs.cache.ledger._BUSY_SECONDS", 60.0)
    monkeypatch.setattr("artfs.cache.recorder._WAIT_SECONDS", 60.0)
    monkeypatch.setattr("artfs.cache.world._LOCK_SECONDS", 60.0)
    monkeypatch.setattr("artfs.cache.upkeep._OTHERS_SECONDS", 60.0)


@pytest.fixture
def fast_path():
    """A directory in memory, where there is one: for tests that make hundreds of caches."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="artfs-test-", dir=parent))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a small file system in memory; called with its size in MiB, returns where it is."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    mounted = []

    def mount(mebibytes):
        directory = tmp_path / "disk"
        directory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", directory], check=True)
        mounted.append(directory)
        return directory

    yield mount
    for directory in mounted:
        if subprocess.run(["umount", directory], check=False, capture_output=True).returncode:
            subprocess.run(["umount", "--lazy", directory], check=True)  # a test that failed keeps files open
