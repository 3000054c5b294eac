"""What a hostile review of download and checkout has found: nothing outside of the root is touched, and nobody waits for Ctrl-C."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import pytest

import artfs
from artfs.api import placing
from artfs.content import export as exporting
from artfs.errors import InvalidInputError, PermissionDeniedError
from tests.harness import tree_of


@pytest.fixture
def outside(tmp_path):
    """A directory that nothing may change, and that it has not at the end."""
    directory = tmp_path / "outside"
    (directory / "d").mkdir(parents=True)
    for name in ("keep", "b.txt", "d/keep", "d/b.txt"):
        (directory / name).write_text("mine")
    before = tree_of(directory)
    yield directory
    assert tree_of(directory) == before


def test_an_empty_root_is_the_default_one_and_not_the_working_directory(log, place):
    artifact = log(files={"a": b"1"})
    (place / "mine").touch()
    assert artifact.checkout("") == str(place / "artifacts/data")
    assert artifact.download("") == str(place / "artifacts/data:v0")
    artifact.verify("")
    assert sorted(path.name for path in place.iterdir()) == ["artifacts", "mine"]


def test_checkout_refuses_what_holds_the_home_directory_or_the_data_of_artfs(log, tmp_path, monkeypatch):
    artifact = log(files={"a": b"1"})
    before = tree_of(tmp_path / "data")
    for root in (tmp_path, tmp_path / "data"):
        with pytest.raises(InvalidInputError, match="cannot be replaced by an artifact"):
            artifact.checkout(root)
    assert tree_of(tmp_path / "data") == before
    home = tmp_path / "homes/user"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(InvalidInputError, match="cannot be replaced by an artifact"):
        artifact.checkout(home.parent)
    assert home.is_dir()


def test_checkout_refuses_what_lies_in_the_data_of_artfs(log, api, tmp_path):
    artifact = log(files={"a": b"1"})
    before = tree_of(tmp_path / "data/store")
    elsewhere = artfs.Api(store=(tmp_path / "elsewhere").as_uri())
    (tmp_path / "link").symlink_to(tmp_path / "data/store")
    for client, root in (
        (api.client, tmp_path / "data/store"),
        (api.client, tmp_path / "data/new"),
        (api.client, tmp_path / "link"),
        (elsewhere.client, tmp_path / "elsewhere/md5"),
    ):
        with pytest.raises(InvalidInputError, match="cannot be replaced by an artifact"):
            artfs.Artifact(client, "me", "demo", "data:v0").checkout(root)
    elsewhere.client.close()
    assert tree_of(tmp_path / "data/store") == before
    assert not (tmp_path / "data/new").exists()
    assert artifact.download()


def test_a_root_that_is_a_file_is_named(log, place):
    (place / "root").touch()
    with pytest.raises(InvalidInputError, match="root is in the way: it is no directory"):
        log().download(place / "root")


def test_checkout_does_not_follow_a_symlink_that_comes_while_it_looks(log, place, outside, monkeypatch):
    artifact = log(files={"d/b.txt": b"new"})
    root = place / "root"
    (root / "d").mkdir(parents=True)
    child = placing._child

    def swap(*arguments):
        found = child(*arguments)
        if not (root / "d").is_symlink():  # after it was seen as a directory, before it is looked into
            (root / "d").rmdir()
            (root / "d").symlink_to(outside)
        return found

    monkeypatch.setattr(placing, "_child", swap)
    with pytest.raises(InvalidInputError):
        artifact.checkout(root)


def test_download_does_not_follow_a_symlink_that_comes_while_it_writes(log, place, outside, monkeypatch):
    artifact = log(files={"d/b.txt": b"new"})
    root = place / "root"
    is_there = exporting._Export._is_there

    def swap(*arguments):
        found = is_there(*arguments)
        shutil.rmtree(root / "d")
        (root / "d").symlink_to(outside)
        return found

    monkeypatch.setattr(exporting._Export, "_is_there", swap)
    with pytest.raises(Exception, match=r"b\.txt"):
        artifact.download(root)


def test_checkout_says_what_it_cannot_remove(log, place, monkeypatch):
    artifact = log(files={"a": b"1"})
    (place / "root/other").mkdir(parents=True)

    def refuse(name, **_):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(placing.shutil, "rmtree", refuse)
    with pytest.raises(PermissionDeniedError, match="root/other cannot be removed: Permission denied"):
        artifact.checkout(place / "root")


def test_verify_says_what_it_cannot_read(log, place, monkeypatch):
    artifact = log(files={"a": b"1"})
    artifact.download(place / "root")

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(placing, "is_content", refuse)
    with pytest.raises(PermissionDeniedError, match="root/a cannot be read"):
        artifact.verify(place / "root")


def test_when_a_download_ends_early_no_thread_goes_on_with_a_big_file(log, place, monkeypatch):
    artifact = log(files={"a": b"1", "b": b"2"})
    began, stopped = threading.Event(), threading.Event()

    def endless(_, entry):
        if entry.path == "a":
            began.wait(10)
            raise KeyboardInterrupt
        while not stopped.wait(0.01):
            began.set()
            yield b"x"

    monkeypatch.setattr(type(artifact.client.services.reader), "export", endless)
    monkeypatch.setattr(type(artifact.client.services.reader), "share", lambda *_: False)
    timer = threading.Timer(10, stopped.set)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        artifact.download(place / "root")
    timer.cancel()
    assert not stopped.is_set()
    assert os.listdir(place / "root") == []


KILLED = """
import artfs, os
artifact = artfs.Api().artifact("demo/data")
reader = type(artifact.client.services.reader)
reader.share = lambda *_: False
def export(*_):
    yield b"x" * 10_000_000
    os.kill(os.getpid(), 9)
reader.export = export
artifact.download("root")
"""


def test_a_download_that_is_killed_leaves_no_temporary_file(log, place):
    artifact = log(files={"d/a": b"1"})
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=place, check=False).returncode == -signal.SIGKILL
    assert tree_of(place / "root") == {"d": None}
    assert (pathlib.Path(artifact.download("root")) / "d/a").read_bytes() == b"1"


def test_a_file_system_without_nameless_files_gets_whole_files_too(log, place, monkeypatch):
    artifact = log(files={"d/a": b"1"})
    opened = os.open

    def refuse(path, flags, *arguments, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return opened(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert tree_of(artifact.download("root")) == {"d": None, "d/a": b"1"}
