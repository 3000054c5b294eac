"""Stores for the contract suite, places that need a kernel to make them, and the eyes of an ordinary user."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from artfs.storage.blobs import ObjectBlobStore
from tests.storage.implementations import OBJECT_STORES, STORES
from tests.storage.places import (  # noqa: F401
    fake_time,
    gcs_client,
    home,
    http_client,
    impatient,
    open_place,
    place,
    s3_client,
    shared_places,
    small_parts,
    writable,
)

NOBODY = 65534


@pytest.fixture(params=[*STORES, *OBJECT_STORES])
def open_blobs(request, tmp_path):
    """Open the store; all that are opened in a test are one store."""
    if request.param in OBJECT_STORES:
        place = request.getfixturevalue("shared_places")(request.param)
        return lambda: ObjectBlobStore(place.objects, f"{place.root}/store")
    return STORES[request.param](tmp_path)


@pytest.fixture
def store(open_blobs):
    return open_blobs()


@pytest.fixture
def public():
    """A directory that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="artfs-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def other_file_system(tmp_path):
    """A directory on another file system than ``tmp_path``."""
    path = Path(tempfile.mkdtemp(prefix="artfs-test-", dir="/dev/shm"))
    try:
        assert path.stat().st_dev != tmp_path.stat().st_dev, "this test needs /dev/shm to be a file system of its own"
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "artfs-test", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def unprivileged():
    """Return a context in which this process may do only what an ordinary user may."""

    @contextlib.contextmanager
    def context():
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    return context
