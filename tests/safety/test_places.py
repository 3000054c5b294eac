"""Symlinks and directories that somebody else has put in the way: nothing is written outside, and nothing of theirs is believed."""

import contextlib
import os
import shutil
import stat
import threading
import time

import pytest

import artfs
from artfs.errors import InvalidInputError
from artfs.private import make_private
from artfs.staging.calls import exchange_names
from tests.harness import Artfs, tree_of
from tests.mount.conftest import NOBODY
from tests.safety.conftest import as_program
from tests.safety.test_private import umask

STRANGER = 12345


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An artfs with a version of two files."""
    found = Artfs(tmp_path_factory.mktemp("made"))
    source = found.root / "source"
    (source / "d").mkdir(parents=True)
    (source / "f").write_bytes(b"one\n")
    (source / "d/g").write_bytes(b"two\n")
    found.here("put", source, "demo/data")
    return found


@pytest.fixture
def version(made):
    """The version, of the API."""
    with as_program(made):
        yield artfs.Api().artifact("demo/data:v0")


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "outside"
    path.mkdir()
    (path / "f").write_bytes(b"not yours")
    (path / "g").write_bytes(b"nor this")
    return path


WAYS = {
    "a directory": lambda root, outside: (root / "d").symlink_to(outside),
    "a file": lambda root, outside: (root / "f").symlink_to(outside / "f"),
    "a file to nowhere": lambda root, outside: (root / "f").symlink_to(outside / "new"),
    "a directory to nowhere": lambda root, outside: (root / "d").symlink_to(outside / "new"),
    "a fifo": lambda root, _: os.mkfifo(root / "f"),
}


@pytest.mark.parametrize("way", WAYS)
def test_download_refuses_what_is_in_the_way_and_checkout_replaces_it_and_neither_follows_it(
    version, tmp_path, outside, way
):
    root = tmp_path / "root"
    root.mkdir()
    WAYS[way](root, outside)
    with pytest.raises(InvalidInputError, match="in the way"):
        version.download(str(root))
    assert tree_of(outside) == {"f": b"not yours", "g": b"nor this"}
    version.checkout(str(root))
    assert tree_of(root) == {"f": b"one\n", "d": None, "d/g": b"two\n"}
    assert tree_of(outside) == {"f": b"not yours", "g": b"nor this"}


@pytest.mark.parametrize("how", ["download", "checkout"])
def test_a_directory_that_becomes_a_symlink_meanwhile_leads_nowhere(version, tmp_path, outside, how):
    """Somebody swaps a directory for a symlink as fast as he can, while files are written below it again and again."""
    root, link = tmp_path / "root", tmp_path / "link"
    (root / "d").mkdir(parents=True)
    link.symlink_to(outside)
    ended = threading.Event()

    def swap():
        while not ended.is_set():
            with contextlib.suppress(OSError):
                exchange_names(str(root / "d"), str(link))
            time.sleep(0.001)  # else the threads that write see hardly any of it

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(40):
            with contextlib.suppress(artfs.errors.ArtfsError):
                getattr(version, how)(str(root))
    finally:
        ended.set()
        swapping.join()
    assert tree_of(outside) == {"f": b"not yours", "g": b"nor this"}


# Places of artfs itself --------------------------------------------------------------------------------------------


def test_a_directory_is_made_closed_with_all_above_it_and_what_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "there").mkdir(mode=0o755)
    with umask(0):
        make_private(tmp_path / "there/a/b/c")
        make_private(tmp_path / "there")
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("there", "there/a", "there/a/b/c")}
    assert modes == {"there": 0o755, "there/a": 0o700, "there/a/b/c": 0o700}
    (tmp_path / "file").touch()
    for path in ("file", "file/below"):
        with pytest.raises(OSError):
            make_private(tmp_path / path)


@pytest.mark.parametrize(
    ("name", "how"),
    [("data", "a symlink"), ("cache", "a directory"), ("state", "a symlink"), ("runtime", "a directory")],
)
def test_a_directory_of_somebody_else_is_not_used(as_root, open_path, name, how):
    found = Artfs(open_path / "artfs", uid=NOBODY)
    found.root.mkdir()
    os.chown(found.root, NOBODY, NOBODY)
    theirs = open_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    os.chown(theirs, STRANGER, STRANGER)
    if how == "a symlink":
        (found.root / name).symlink_to(theirs)
    else:
        found.environment[f"ARTFS_{name.upper()}_DIR"] = str(theirs)
    for line in [["mount", found.mountpoint], *([["ls"]] if name in {"data", "cache"} else [])]:
        done = found.run(*line, code=6)
        assert f"the {name} directory" in done.stderr
        assert f"belongs to uid {STRANGER}" in done.stderr
        assert f"ARTFS_{name.upper()}_DIR" in done.stderr
    assert tree_of(theirs) == {}


def test_what_somebody_puts_in_the_place_of_an_index_is_not_believed(as_root, open_path):
    """In a cache directory that everybody may write to, anybody can put a directory of his own in the place of ours."""
    found = Artfs(open_path / "artfs", uid=NOBODY)
    found.root.mkdir()
    os.chown(found.root, NOBODY, NOBODY)
    (found.root / "f").write_bytes(b"one\n")
    found.run("put", found.root / "f", "demo/data")
    assert found.out("ls", "demo/data:v0") == "f"
    cache = found.root / "cache"
    cache.chmod(0o777)
    (cache / "index").rename(cache / "aside")
    shutil.copytree(cache / "aside", cache / "index")
    for path in ((cache / "index"), *(cache / "index").rglob("*")):
        os.chown(path, STRANGER, STRANGER)
        path.chmod(0o777)
    assert f"belongs to uid {STRANGER}" in found.run("ls", "demo/data:v0", code=8).stderr
    shutil.rmtree(cache / "index")
    assert found.out("ls", "demo/data:v0") == "f"


def test_a_symlink_in_the_store_is_not_followed(made, tmp_path):
    blob = made.blob(b"one\n")
    (tmp_path / "same").write_bytes(b"one\n")  # the right bytes: only that it is a symlink gives it away
    blob.rename(tmp_path / "blob")
    blob.symlink_to(tmp_path / "same")
    try:
        assert "symbolic links" in made.run("get", "demo/data", tmp_path / "out", code=8).stderr
        assert not (tmp_path / "out/f").exists()
    finally:
        (tmp_path / "blob").rename(blob)
