"""Downloads share the blocks of the store or the cache where the file system can; what the user does to them changes neither."""

import os
import pathlib
import subprocess

import pytest

import artfs
from artfs.storage.files import share_blocks
from tests.harness import tree_of

MIB = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")


@pytest.fixture
def disk(tmp_path, monkeypatch, place):
    """A disk whose files can share blocks, as the place of everything."""
    image, root = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    root.mkdir()
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    try:
        for name in ("data", "cache", "state"):
            monkeypatch.setenv(f"ARTFS_{name.upper()}_DIR", str(root / name))
        monkeypatch.setenv("ARTFS_CACHE_FREE", "0")  # the disk is small
        (root / "work").mkdir()
        monkeypatch.chdir(root / "work")
        yield root
    finally:
        monkeypatch.chdir(place)
        subprocess.run(["umount", "--lazy", root], check=True)


def used(disk):
    os.sync()
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def log_big(disk, size=40 * MIB):
    data = os.urandom(size)
    (disk / "work/big").write_bytes(data)
    before = used(disk)
    artifact = artfs.Artifact("data", "dataset")
    artifact.add_file("big")
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact)
    return artifact, data, before


@needs_root
def test_what_is_added_and_downloaded_costs_no_space(disk, request):
    request.getfixturevalue("fresh")
    artifact, data, before = log_big(disk)
    root = pathlib.Path(artifact.download())
    artifact.checkout("other")
    assert tree_of(root) == tree_of(disk / "work/other") == {"big": data}
    assert used(disk) - before < 8 * MIB


@needs_root
def test_what_is_fetched_costs_its_space_once(disk, request, s3_server, monkeypatch):
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARTFS_STORE", f"s3://{s3_server.bucket()}/store")
    request.getfixturevalue("fresh")
    artifact, data, before = log_big(disk)
    for name in ("one", "two"):
        artifact.download(name)
        assert tree_of(disk / "work" / name) == {"big": data}
    assert used(disk) - before < 8 * MIB  # it is in the cache since it was logged, which shares it with what was added


@needs_root
def test_a_change_of_a_download_changes_nothing_else(disk, request):
    request.getfixturevalue("fresh")
    artifact, data, _ = log_big(disk)
    one = pathlib.Path(artifact.download("one")) / "big"
    one.chmod(0o600)
    with one.open("r+b") as file:
        file.write(b"changed")
    assert (pathlib.Path(artifact.download("two")) / "big").read_bytes() == data


@needs_root
@pytest.mark.expects_warning("is damaged or missing")
def test_a_shared_copy_of_damaged_bytes_is_an_error(disk, request):
    request.getfixturevalue("fresh")
    artifact, _, _ = log_big(disk)
    (blob,) = (path for path in (disk / "data/store/md5").glob("*/*") if path.stat().st_size == 40 * MIB)
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"damage")
    with pytest.raises(ValueError, match="damaged"):
        artifact.download("one")
    assert tree_of(disk / "work/one") == {}


def test_files_are_never_hard_links_to_the_store(log, place, tmp_path):
    artifact = log(files={"a": b"content"})
    file = pathlib.Path(artifact.download()) / "a"
    assert file.stat().st_nlink == 1
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "data/store/md5").glob("*/*"))


def test_where_blocks_cannot_be_shared_nothing_is(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with (
        (tmp_path / "a").open("rb") as source,
        pathlib.Path("/dev/shm", f"artfs-test-{os.getpid()}").open("wb") as target,
    ):
        assert share_blocks(source.fileno(), target.fileno()) is False
    pathlib.Path(target.name).unlink()
