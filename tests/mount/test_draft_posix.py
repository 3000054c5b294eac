"""A draft is an ordinary POSIX directory: system calls, and the tools that stress them."""

import fcntl
import mmap
import os
import shutil
import sqlite3
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest

from tests.harness import tree_of


@pytest.fixture
def draft(artfs, request):
    path = artfs.draft(request.node.name[:60])
    yield path
    shutil.rmtree(path)
    assert request.node.name[:60] not in os.listdir(path.parent)


def test_write_append_truncate_and_sparse_files(draft):
    file = draft / "f"
    file.write_bytes(b"0123456789")
    with file.open("ab") as opened:
        opened.write(b"ab")
    file.write_text("short")
    assert file.read_text() == "short"
    file.write_bytes(b"0123456789ab")
    os.truncate(file, 5)
    with file.open("r+b") as opened:
        opened.seek(10_000_000)
        opened.write(b"end")
    assert file.stat().st_size == 10_000_003
    assert file.stat().st_blocks * 512 < 1_000_000
    assert file.read_bytes()[:6] == b"01234\0"
    assert file.read_bytes()[-3:] == b"end"


def test_exclusive_creation_and_modes(draft):
    os.close(os.open(draft / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    with pytest.raises(FileExistsError):
        os.open(draft / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert (draft / "f").stat().st_mode & 0o777 == 0o640
    (draft / "f").chmod(0o751)
    os.utime(draft / "f", ns=(10**18, 10**18 + 5))
    found = (draft / "f").stat()
    assert (found.st_mode & 0o777, found.st_atime_ns, found.st_mtime_ns) == (0o751, 10**18, 10**18 + 5)


def test_a_read_only_file_can_be_created_and_written_by_its_creator(draft):
    descriptor = os.open(draft / "f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o444)
    assert os.write(descriptor, b"x") == 1
    os.close(descriptor)


def test_renames_links_and_directories(draft):
    (draft / "a/b").mkdir(parents=True)
    (draft / "a/b/f").write_text("1")
    os.link(draft / "a/b/f", draft / "a/g")
    assert (draft / "a/g").stat().st_nlink == 2
    assert (draft / "a/g").stat().st_ino == (draft / "a/b/f").stat().st_ino
    (draft / "a/g").write_text("two")
    assert (draft / "a/b/f").read_text() == "two"
    (draft / "a").rename(draft / "z")
    (draft / "z/b/f").rename(draft / "z/g2")
    (draft / "other").write_text("other")
    (draft / "other").replace(draft / "z/g2")
    os.symlink("z/g2", draft / "link")
    assert (draft / "link").read_text() == "other"
    for call, number in (
        (lambda: (draft / "z").rmdir(), 39),
        (lambda: (draft / "z").rename(draft / "link"), 20),
        (lambda: (draft / "link").rename(draft / "z"), 21),
        (lambda: (draft / "z").rename(draft / "z/b/inside"), 22),
        (lambda: (draft / "nothing").unlink(), 2),
        (lambda: (draft / "z").mkdir(), 17),
        (lambda: os.setxattr(draft / "other2", "user.x", b""), 2),
        (lambda: os.setxattr(draft / "z/g", "user.x", b""), 95),
        (lambda: os.listdir(draft / "link"), 20),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == number


def test_an_open_file_lives_on_after_it_was_unlinked(draft):
    with (draft / "f").open("w+") as file:
        file.write("still there")
        file.flush()
        (draft / "f").unlink()
        (draft / "f").write_text("another")
        file.seek(0)
        assert file.read() == "still there"
        assert os.fstat(file.fileno()).st_nlink == 0
        os.ftruncate(file.fileno(), 5)
        assert os.fstat(file.fileno()).st_size == 5


def test_memory_maps_read_and_write(draft):
    array = np.memmap(draft / "m", dtype="int64", mode="w+", shape=(100_000,))
    array[:] = np.arange(100_000)
    array.flush()
    del array
    assert (np.fromfile(draft / "m", dtype="int64") == np.arange(100_000)).all()
    with (draft / "m").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:8] = b"12345678"
    assert (draft / "m").read_bytes()[:8] == b"12345678"


def test_locks(draft):
    with (draft / "l").open("w") as first, (draft / "l").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(first, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_is_emptied_while_it_is_listed(draft):
    for number in range(2000):
        (draft / f"f{number}").touch()
    with os.scandir(draft) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(draft) == []


def test_sqlite_works_in_a_draft(draft):
    database = sqlite3.connect(draft / "d.sqlite")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE t (x)")
    database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    database.commit()
    database.close()
    database = sqlite3.connect(draft / "d.sqlite")
    assert database.execute("SELECT sum(x) FROM t").fetchone() == (499500,)
    database.close()


def test_git_works_in_a_draft(draft):
    def git(*arguments):
        command = [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "init.defaultBranch=main",
            "-C",
            draft,
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init")
    (draft / "f").write_text("one")
    git("add", "f")
    git("commit", "-m", "one")
    (draft / "f").write_text("two")
    git("commit", "-am", "two")
    git("gc", "-q")
    git("checkout", "-q", "HEAD~1")
    assert (draft / "f").read_text() == "one"
    assert git("fsck") == ""
    assert git("status", "--porcelain") == ""


def test_rsync_and_tar_and_zip_work_in_a_draft(draft, tmp_path):
    source = tmp_path / "s"
    (source / "d/e").mkdir(parents=True)
    for number in range(50):
        (source / f"d/{number}").write_bytes(os.urandom(number * 100))
    (source / "l").symlink_to("d/3")
    subprocess.run(["rsync", "-a", f"{source}/", f"{draft}/copy/"], check=True)
    again = subprocess.run(
        ["rsync", "-ain", f"{source}/", f"{draft}/copy/"], check=True, capture_output=True, text=True
    )
    assert again.stdout == ""
    assert tree_of(draft / "copy") == tree_of(source)
    with tarfile.open(draft / "t.tar", "w") as tar:
        tar.add(draft / "copy", "copy")
    with tarfile.open(draft / "t.tar") as tar:
        tar.extractall(draft / "untar", filter="tar")
    assert tree_of(draft / "untar/copy") == tree_of(source)
    shutil.make_archive(str(tmp_path / "z"), "zip", source)
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        archive.extractall(draft / "unzip")
    assert (draft / "unzip/d/7").read_bytes() == (source / "d/7").read_bytes()


def test_what_a_draft_does_not_do_is_refused(draft, artfs):
    (draft / "f").touch()
    for call in (
        lambda: os.link(draft / "f", artfs.collection() / ".staging/f"),
        lambda: (draft / "f").rename(artfs.collection() / "f"),
        lambda: (draft / "f").rename(artfs.collection() / ".commit/f"),
        lambda: (artfs.collection() / ".staging/file").touch(),
        lambda: os.setxattr(draft, "user.other", b"1"),
    ):
        with pytest.raises(OSError):
            call()


def test_a_draft_says_what_its_commit_will_record(draft):
    os.setxattr(draft, "user.artfs.type", b"model")
    os.setxattr(draft, "user.artfs.description", b"text")
    os.setxattr(draft, "user.artfs.metadata", b'{"a": 1}')
    assert {name: os.getxattr(draft, name) for name in os.listxattr(draft)} == {
        "user.artfs.type": b"model", "user.artfs.description": b"text", "user.artfs.metadata": b'{"a": 1}',
    }  # fmt: skip
    for name, value in (("type", b"wandb-x"), ("metadata", b"[]"), ("metadata", b"{"), ("type", b"\xff")):
        with pytest.raises(OSError) as caught:
            os.setxattr(draft, f"user.artfs.{name}", value)
        assert caught.value.errno == 22
    with pytest.raises(OSError) as caught:
        os.setxattr(draft, "user.artfs.digest", b"x")
    assert caught.value.errno == 95


def test_drafts_are_renamed_and_their_names_are_checked(artfs):
    first, second = artfs.draft("one"), artfs.draft("two")
    (first / "f").write_text("1")
    for call in (lambda: first.rename(second), lambda: first.rename(first.parent / ".x"), lambda: first.rmdir()):
        with pytest.raises(OSError):
            call()
    first.rename(first.parent / "three")
    assert (first.parent / "three/f").read_text() == "1"
    assert sorted(os.listdir(first.parent)) == ["three", "two"]
    shutil.rmtree(first.parent / "three")
    second.rmdir()
    assert os.listdir(first.parent) == []


def test_base_files_behave_like_any_other_file(artfs, tmp_path):
    source = tmp_path / "s"
    (source / "d").mkdir(parents=True)
    for name in ("a", "b", "c", "d/e", "d/f"):
        (source / name).write_text(name * 1000)
    artfs.here("put", source, "demo/based")
    draft = artfs.mountpoint / artfs.out("stage", "demo/based", "--name", "x")
    inode = (draft / "a").stat().st_ino
    with (draft / "a").open("r+") as writer, (draft / "a").open() as reader:
        assert reader.read(3) == "aaa"
        writer.write("XYZ")
        writer.flush()
        assert (draft / "a").read_text() == "XYZ" + "a" * 997
        assert (draft / "a").stat().st_ino == inode
        reader.seek(0)
        assert reader.read() == "XYZ" + "a" * 997
    (draft / "b").write_text("short")
    (draft / "c").chmod(0o600)
    os.link(draft / "d/e", draft / "linked")
    (draft / "d").rename(draft / "moved")
    (draft / "moved/new").touch()
    (draft / "d").mkdir()
    assert os.listdir(draft / "d") == []
    assert tree_of(draft) == {
        "a": b"XYZ" + b"a" * 997, "b": b"short", "c": b"c" * 1000, "d": None, "linked": b"d/e" * 1000, "moved": None,
        "moved/e": b"d/e" * 1000, "moved/f": b"d/f" * 1000, "moved/new": b"",
    }  # fmt: skip
    artfs.kill()
    artfs.mount()
    assert (draft / "a").read_text() == "XYZ" + "a" * 997
    assert sorted(os.listdir(draft)) == ["a", "b", "c", "d", "linked", "moved"]
    shutil.rmtree(draft)
