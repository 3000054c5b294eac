"""A store in a directory: modes, renames and copies, leftovers, full disks, links that somebody has put there."""

import errno
import os
import stat
import subprocess
import sys
import time

import pytest

from artfs.errors import InvalidInputError, NoSpaceError, PermissionDeniedError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.storage import files
from artfs.storage.files import FilesStore, clone, open_store

DATA = os.urandom(3 << 20)
BLOB = Digest.of(DATA)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return FilesStore(root)


def read(store, blob=BLOB):
    source = store.open(blob)
    try:
        return source.read(0, 100 << 20)
    finally:
        source.close()


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def leftovers(store):
    return list(store._temporary.iterdir())


def open_below(directory):
    """Return what this process has open in a directory."""
    names = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return [name for name in names if name.startswith(str(directory))]


@pytest.fixture
def file(tmp_path):
    """A private file with the bytes of the blob."""
    path = tmp_path / "draft" / "file"
    path.parent.mkdir()
    path.write_bytes(DATA)
    path.chmod(0o640)
    return path


# The directory --------------------------------------------------------------------------------------------------


def test_a_blob_lies_under_its_algorithm_and_hex_digest(store, root):
    name = BLOB.hex
    assert store.path(BLOB) == root / "md5" / name[:2] / name[2:]
    other = Digest.of(DATA, Algorithm.XXH128)
    assert store.path(other) == root / "xxh128" / other.hex[:2] / other.hex[2:]
    store.write(BLOB, [DATA])
    assert store.path(BLOB).read_bytes() == DATA


@pytest.mark.parametrize("how", ["write", "adopt", "copy"])
def test_a_store_is_for_this_user_alone_and_its_blobs_are_read_only(root, file, how):
    old = os.umask(0)
    try:
        store = FilesStore(root)
        if how == "write":
            store.write(BLOB, [DATA])
        else:
            if how == "copy":
                os.link(file, file.with_name("again"))
            store.adopt(BLOB, file)
    finally:
        os.umask(old)
    assert mode(store.path(BLOB)) == 0o400
    assert {mode(path) for path in (root, root / "tmp", store.path(BLOB).parent)} == {0o700}
    assert read(store) == DATA


def test_leftovers_of_a_day_ago_are_swept_and_newer_ones_are_left(store, root):
    store.write(BLOB, [DATA])
    now = time.time()
    for name, age in (("old", 86_400 + 60), ("new", 86_400 - 3600), ("fresh", 0)):
        path = root / "tmp" / name
        path.write_bytes(b"half")
        os.utime(path, (now - age, now - age))
    os.utime(store.path(BLOB), (0, 0))
    again = FilesStore(root)
    assert sorted(path.name for path in leftovers(again)) == ["fresh", "new"]
    assert read(again) == DATA


def test_nothing_is_left_of_a_writer_that_failed(store):
    def failing():
        yield DATA
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write(BLOB, failing())
    assert leftovers(store) == []
    assert not store.path(BLOB).parent.exists()


def test_nothing_of_a_killed_writer_is_visible(store, root):
    script = f"""
import os, pathlib, signal
from artfs.model.digest import Digest
from artfs.storage.files import FilesStore
def data():
    yield bytes(1 << 20)
    os.kill(os.getpid(), signal.SIGKILL)
FilesStore(pathlib.Path({str(root)!r})).write(Digest.from_hex({BLOB.hex!r}), data())
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(leftovers(store)) == 1
    assert not store.has(BLOB)
    store.write(BLOB, [DATA])
    assert read(store) == DATA


def test_everything_written_is_synced_in_one_call(store, root, monkeypatch):
    calls = []

    class Libc:
        def __init__(self, *_, **__):
            pass

        def syncfs(self, descriptor):
            calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            return self.result

    monkeypatch.setattr(files.ctypes, "CDLL", Libc)
    Libc.result = 0
    store.sync()
    assert calls == [str(root)]
    Libc.result = -1
    monkeypatch.setattr(files.ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(UnreachableError, match="Input/output error"):
        store.sync()


def test_sync_leaves_no_file_open(store):
    store.sync()
    assert open_below(store._root) == []


# Adopting -------------------------------------------------------------------------------------------------------


def test_an_adopted_file_becomes_the_blob_without_a_copy(store, file):
    inode = file.stat().st_ino
    store.adopt(BLOB, file)
    assert store.path(BLOB).stat().st_ino == inode
    assert not file.exists()
    assert leftovers(store) == []


def test_a_file_on_another_file_system_is_copied(store, other_file_system):
    path = other_file_system / "file"
    path.write_bytes(DATA)
    store.adopt(BLOB, path)
    assert read(store) == DATA
    assert mode(store.path(BLOB)) == 0o400
    assert not path.exists()
    assert leftovers(store) == []


def test_a_file_with_other_names_is_copied_because_they_could_change_it(store, file):
    twin = file.with_name("twin")
    os.link(file, twin)
    store.adopt(BLOB, file)
    assert store.path(BLOB).stat().st_ino != twin.stat().st_ino
    assert (mode(twin), twin.stat().st_nlink, file.exists()) == (0o640, 1, False)
    twin.write_bytes(b"changed")
    assert read(store) == DATA


def test_a_file_with_other_names_is_not_copied_over_a_blob_of_its_size(store, file):
    store.write(BLOB, [DATA])
    inode = store.path(BLOB).stat().st_ino
    os.link(file, file.with_name("twin"))
    store.adopt(BLOB, file)
    assert store.path(BLOB).stat().st_ino == inode
    assert not file.exists()


def test_a_file_with_other_names_mends_a_blob_of_another_size(store, file):
    store.write(BLOB, [DATA[:-1]])
    os.link(file, file.with_name("twin"))
    store.adopt(BLOB, file)
    assert read(store) == DATA


def test_a_reader_of_a_blob_that_is_replaced_goes_on_with_what_it_opened(store, file):
    store.write(BLOB, [b"old"])
    source = store.open(BLOB)
    store.adopt(BLOB, file)
    assert source.read(0, 10) == b"old"
    source.close()


def test_a_file_that_cannot_be_moved_is_left_as_it_was(store, file, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(type(file), "rename", fail)
        with pytest.raises(UnreachableError, match=f"{BLOB.hex}.*Input/output error"):
            store.adopt(BLOB, file)
    assert (mode(file), file.read_bytes()) == (0o640, DATA)
    assert not store.has(BLOB)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("copied", [0, 1000])
def test_a_copy_goes_on_without_the_help_of_the_file_system(tmp_path, file, monkeypatch, number, copied):
    original = os.copy_file_range
    counts = [copied] if copied else []

    def give_up(source, target, _):
        if counts:
            return original(source, target, counts.pop())
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", give_up)
    monkeypatch.setattr(files.fcntl, "ioctl", give_up_ioctl)
    clone(file, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA


def give_up_ioctl(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_a_copy_that_fails_says_so_and_leaves_nothing(store, file, monkeypatch):
    os.link(file, file.with_name("twin"))

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "copy_file_range", fail)
    monkeypatch.setattr(files.fcntl, "ioctl", give_up_ioctl)
    with pytest.raises(UnreachableError, match="Input/output error"):
        store.adopt(BLOB, file)
    assert file.read_bytes() == DATA
    assert (store.has(BLOB), leftovers(store)) == (False, [])


def test_a_copy_never_replaces_a_file(tmp_path, file):
    (tmp_path / "copy").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        clone(file, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"mine"


# Disks ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_to_be_full_and_nothing_is_left(small_disk):
    store = FilesStore(small_disk / "store")
    small = Digest.of(b"small")
    with pytest.raises(NoSpaceError, match=BLOB.hex) as caught:
        store.write(BLOB, [DATA])
    assert "--store" in caught.value.hint
    assert (store.has(BLOB), leftovers(store)) == (False, [])
    store.write(small, [b"small"])
    assert read(store, small) == b"small"


def test_a_file_that_does_not_fit_is_left_where_it_is(small_disk, file):
    store = FilesStore(small_disk / "store")
    with pytest.raises(NoSpaceError, match=BLOB.hex):
        store.adopt(BLOB, file)
    assert (mode(file), file.read_bytes()) == (0o640, DATA)
    assert (store.has(BLOB), leftovers(store)) == (False, [])


def test_a_quota_that_is_used_up_is_no_space_either(store):
    def over_quota():
        yield b""
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with pytest.raises(NoSpaceError):
        store.write(BLOB, over_quota())


def test_the_store_of_another_user_is_refused(public, unprivileged):
    root = public / "store"
    FilesStore(root)
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user")
    with unprivileged(), pytest.raises(PermissionDeniedError, match="denied") as caught:
        FilesStore(root)
    assert str(root) in caught.value.message
    assert "another user" in caught.value.hint


def test_a_store_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnreachableError) as caught:
        FilesStore(tmp_path / "file" / "store")
    assert str(tmp_path / "file" / "store") in caught.value.message


# Links and other things at the place of a blob ------------------------------------------------------------------


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symlink_at_the_place_of_a_blob_is_not_followed(store, tmp_path, target):
    (tmp_path / "elsewhere").write_bytes(DATA)
    place = store.path(BLOB)
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / target)
    assert not store.has(BLOB)
    assert store.missing([BLOB]) == {BLOB}
    with pytest.raises(UnreachableError, match=BLOB.hex):
        store.open(BLOB)
    store.write(BLOB, [DATA])
    assert (place.is_symlink(), read(store)) == (False, DATA)
    assert mode(tmp_path / "elsewhere") != 0o400
    assert not (tmp_path / "nowhere").exists()


def test_a_symlink_at_the_place_of_a_blob_is_replaced_by_an_adopted_file(store, tmp_path, file):
    (tmp_path / "elsewhere").write_bytes(b"not mine")
    store.path(BLOB).parent.mkdir(parents=True)
    store.path(BLOB).symlink_to(tmp_path / "elsewhere")
    os.link(file, file.with_name("twin"))
    store.adopt(BLOB, file)
    assert (store.path(BLOB).is_symlink(), read(store)) == (False, DATA)
    assert (tmp_path / "elsewhere").read_bytes() == b"not mine"


def test_a_blob_that_cannot_be_looked_at_is_an_error_of_the_store(store, root):
    (root / "md5").write_text("in the way")
    for ask in (store.has, store.open, lambda blob: store.missing([blob])):
        with pytest.raises(UnreachableError, match=BLOB.hex):
            ask(BLOB)


# Sources --------------------------------------------------------------------------------------------------------


def test_what_is_in_the_page_cache_is_read_without_blocking(store):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)
    assert source.read(0, len(DATA)) == DATA
    assert source.read_nowait(100, 5000) == DATA[100:5100]
    source.close()


def test_what_is_not_in_the_page_cache_is_not_waited_for(store, monkeypatch):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)

    def would_block(*_):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    for answer in (would_block, lambda *_: 1000):  # not at all, or only in part
        monkeypatch.setattr(os, "preadv", answer)
        assert source.read_nowait(0, 5000) is None
    source.close()


def test_a_read_that_a_signal_cut_short_is_gone_on_with(store, monkeypatch):
    store.write(BLOB, [DATA])
    source, pread = store.open(BLOB), os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: pread(descriptor, min(size, 70_000), offset))
    assert source.read(10, 1 << 20) == DATA[10 : 10 + (1 << 20)]
    assert source.read(len(DATA) - 10, 100) == DATA[-10:]
    source.close()


def test_a_read_that_fails_names_the_blob(store, monkeypatch):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(UnreachableError, match=f"{BLOB.hex}.*Input/output error"):
        source.read(0, 10)
    source.close()


def test_a_closed_source_gives_its_file_back_once(store):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)
    assert open_below(store._root) == [str(store.path(BLOB))]
    source.close()
    assert open_below(store._root) == []
    other = os.open("/dev/null", os.O_RDONLY)
    source.close()
    os.close(other)  # would fail, had the source closed it
    with pytest.raises(UnreachableError):
        source.read(0, 1)


# URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "a b#c?d%20ü", "\udcff"])
def test_a_store_is_named_by_a_path_or_a_url(tmp_path, name):
    place = tmp_path / name
    FilesStore(place).write(BLOB, [DATA])
    for url in (str(place), place.as_uri(), place.as_uri().replace("file://", "file://localhost")):
        assert open_store(url).has(BLOB), url


@pytest.mark.parametrize(
    "url", ["", "relative/path", "file:relative", "file://host/path", "ftp://user:geheim@host/path?key=geheim"]
)
def test_anything_else_is_no_store_and_its_password_is_not_shown(url):
    with pytest.raises(InvalidInputError, match="is not a store") as caught:
        open_store(url)
    assert "geheim" not in caught.value.message
    assert "file:///absolute/path" in caught.value.hint
