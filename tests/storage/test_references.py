"""``file://`` references: what may be opened, what is refused without being touched, what lies below a directory."""

import ctypes
import os
import socket
from pathlib import Path

import pytest

from artfs.errors import InvalidInputError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.storage.references import FileReferences

IN_OPEN = 0x20


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_bytes(b"inside")
    return path


@pytest.fixture
def anywhere():
    return FileReferences(None, [])


def content(source):
    data = source.read(0, 1 << 20)
    source.close()
    return data


class Watch:
    """Says whether somebody has opened a file since it was last asked: inotify(7)."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.descriptor >= 0
        assert libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_OPEN) >= 0

    def opened(self):
        try:
            return bool(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return False

    def close(self):
        os.close(self.descriptor)


@pytest.fixture
def watch():
    watches = []

    def start(path):
        watches.append(Watch(path))
        return watches[-1]

    yield start
    for one in watches:
        one.close()


# Opening --------------------------------------------------------------------------------------------------------


def test_a_file_is_opened_by_uri_and_by_path(anywhere, root):
    file = root / "file"
    for uri in (file.as_uri(), f"file://localhost{file}", f"FILE://{file}"):
        source = anywhere.open(uri)
        assert (source.size, source.local) == (6, True)
        assert content(source) == b"inside"
    assert content(anywhere.open_path(file)) == b"inside"


@pytest.mark.parametrize("name", ["a b", "ü数", "100%", "a%20b", "a?b#c", "new\nline", "it's", "\udcff"])
def test_any_name_can_be_written_as_a_uri(anywhere, root, name):
    (root / name).write_text(name, errors="surrogateescape")
    assert content(anywhere.open((root / name).as_uri())) == os.fsencode(name)


def test_a_uri_without_escapes_is_taken_as_it_is_written(anywhere, root):
    (root / "a b?c#d").write_bytes(b"plain")
    assert content(anywhere.open(f"file://{root}/a b?c#d")) == b"plain"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/key",
        "https://user:geheim@host/path?X-Amz-Signature=geheim",
        "s3://user:geheim@host:port/key",
        "/etc/passwd",
        "file://other.host/etc/passwd",
        "file:///etc/../etc/passwd",
        "file:///etc/%2e%2e/etc/passwd",
        "file:///etc/pass%00wd",
        "file://",
    ],
)
def test_anything_else_is_refused_and_shows_no_secret(anywhere, uri):
    with pytest.raises(InvalidInputError) as caught:
        anywhere.open(uri)
    assert "geheim" not in caught.value.message + caught.value.hint


def test_a_file_that_is_missing_is_named(anywhere, root):
    with pytest.raises(NotFoundError) as caught:
        anywhere.open((root / "nothing").as_uri())
    assert str(root / "nothing") in caught.value.message
    (root / "dangling").symlink_to("nothing")
    with pytest.raises(NotFoundError, match="dangling"):
        anywhere.open_path(root / "dangling")


def test_a_file_that_this_user_may_not_read_is_refused(anywhere, public, unprivileged):
    secret = public / "secret"
    secret.write_text("secret")
    secret.chmod(0)
    (public / "closed").mkdir(mode=0)
    with unprivileged():
        for path in (secret, public / "closed" / "file"):
            with pytest.raises(PermissionDeniedError, match="Permission denied") as caught:
                anywhere.open_path(path)
            assert str(path) in caught.value.message


@pytest.mark.parametrize("path", ["loop", "file/below", "x" * 300])
def test_a_path_that_leads_nowhere_is_an_error_of_artfs(anywhere, root, path):
    (root / "loop").symlink_to("loop")
    with pytest.raises(UnreachableError, match="cannot be read"):
        anywhere.open_path(root / path)


# What is never opened -------------------------------------------------------------------------------------------


def test_a_fifo_is_refused_without_being_opened(anywhere, root, watch):
    fifo = root / "fifo"
    os.mkfifo(fifo)
    watching = watch(fifo)
    with pytest.raises(PermissionDeniedError, match="fifo is not a regular file"):
        anywhere.open_path(fifo)
    assert not watching.opened()
    os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    assert watching.opened()  # it does notice


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_a_device_is_refused(anywhere, root, path):
    (root / "link").symlink_to(path)
    for asked in (Path(path), root / "link"):
        with pytest.raises(PermissionDeniedError, match="is not a regular file"):
            anywhere.open_path(asked)


def test_a_directory_and_a_socket_are_refused(anywhere, root):
    with pytest.raises(PermissionDeniedError, match="sub is not a regular file"):
        anywhere.open_path(root / "sub")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        with pytest.raises(PermissionDeniedError, match="socket is not a regular file"):
            anywhere.open_path(root / "socket")


def test_what_is_refused_is_not_kept_open(anywhere, root):
    (root / "link").symlink_to("/dev/null")
    for path in ("sub", "link", "nothing"):
        with pytest.raises((PermissionDeniedError, NotFoundError)):
            anywhere.open_path(root / path)
    with pytest.raises(PermissionDeniedError):
        FileReferences([root / "sub"], []).open_path(root / "file")
    source = anywhere.open_path(root / "file")
    held = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert [name for name in held if name.startswith(str(root))] == [str(root / "file")]
    source.close()


# Roots and forbidden places -------------------------------------------------------------------------------------


def test_without_roots_everything_readable_is_served_and_with_none_of_them_nothing(root):
    assert content(FileReferences(None, []).open_path(root / "file")) == b"inside"
    with pytest.raises(PermissionDeniedError, match="outside of the roots"):
        FileReferences([], []).open_path(root / "file")


def test_only_what_lies_below_a_root_is_served(root, tmp_path, watch):
    for name in ("outside", "root-like"):
        (tmp_path / name).write_bytes(b"outside")
    references = FileReferences([tmp_path / "elsewhere", root], [])
    assert content(references.open((root / "file").as_uri())) == b"inside"
    for path in (tmp_path / "outside", tmp_path / "root-like", root / ".." / "outside"):
        watching = watch(path)
        with pytest.raises(PermissionDeniedError, match="outside of the roots") as caught:
            references.open_path(path)
        assert str(path) in caught.value.message
        assert "reference_roots" in caught.value.hint
        assert not watching.opened()


@pytest.mark.parametrize("kind", ["file", "directory", "relative", "chain"])
def test_a_symlink_that_leads_out_of_a_root_is_refused_unopened(root, tmp_path, watch, kind):
    secret = tmp_path / "secret" / "file"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    targets = {"file": secret, "directory": secret.parent, "relative": "../secret/file", "chain": root / "hop"}
    (root / "hop").symlink_to(secret)
    (root / "link").symlink_to(targets[kind])
    asked = root / "link" / "file" if kind == "directory" else root / "link"
    watching = watch(secret)
    with pytest.raises(PermissionDeniedError, match="outside of the roots"):
        FileReferences([root], []).open_path(asked)
    assert not watching.opened()


def test_a_symlink_within_the_roots_is_followed(root, tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "link").symlink_to(root / "file")
    references = FileReferences([root, tmp_path / "second"], [])
    assert content(references.open_path(tmp_path / "second" / "link")) == b"inside"


def test_a_root_that_is_a_symlink_means_what_it_leads_to(root, tmp_path):
    (tmp_path / "data").symlink_to(root)
    references = FileReferences([tmp_path / "data"], [])
    assert content(references.open_path(tmp_path / "data" / "file")) == b"inside"
    assert content(references.open_path(root / "file")) == b"inside"


def test_what_counts_is_what_was_opened_not_what_the_path_said_before(root, tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"secret")
    asked = root / "link"
    asked.symlink_to(root / "file")
    realpath = os.path.realpath

    def swap_afterwards(path):
        found = realpath(path)
        if Path(path) == asked:
            asked.unlink()
            asked.symlink_to(tmp_path / "secret")
        return found

    references = FileReferences([root], [])
    monkeypatch.setattr(os.path, "realpath", swap_afterwards)
    with pytest.raises(PermissionDeniedError, match="outside of the roots"):
        references.open_path(asked)


def test_nothing_below_a_forbidden_place_is_opened_or_even_looked_up(root, tmp_path, monkeypatch):
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "file").write_bytes(b"in the mount")
    (tmp_path / "mount-like").write_bytes(b"beside")
    references = FileReferences(None, [mount])
    assert content(references.open_path(tmp_path / "mount-like")) == b"beside"

    def touched(path, *_, **__):
        pytest.fail(f"{path} was touched")

    with monkeypatch.context() as patch:
        for name in ("open", "stat", "lstat", "readlink"):
            patch.setattr(os, name, touched)
        for uri in ((mount / "file").as_uri(), mount.as_uri()):
            with pytest.raises(PermissionDeniedError, match="may not name"):
                references.open(uri)


def test_a_link_into_a_forbidden_place_is_refused_unopened(root, tmp_path, watch):
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "file").write_bytes(b"in the mount")
    (root / "link").symlink_to(mount / "file")
    (root / "dir").symlink_to(mount)
    watching = watch(mount / "file")
    for roots in (None, [tmp_path]):
        for path in (
            root / "link",
            root / "dir" / "file",
            root / ".." / "mount" / "file",
            Path(f"/proc/self/root{mount}/file"),
        ):
            with pytest.raises(PermissionDeniedError, match=r"may not name|outside of the roots"):
                FileReferences(roots, [mount]).open_path(path)
    assert not watching.opened()


# Below a directory ----------------------------------------------------------------------------------------------


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_a_file_is_all_there_is_at_its_path(anywhere, root):
    assert list(anywhere.walk(root / "file")) == [("", root / "file")]


def test_the_files_below_a_directory_come_sorted_by_name(anywhere, root):
    make(root, "b", "a/z", "a/b/c", "a-b", "B", "sub/.hidden", "a/ü")
    found = list(anywhere.walk(root))
    assert [path for path, _ in found] == ["B", "a/b/c", "a/z", "a/ü", "a-b", "b", "file", "sub/.hidden"]
    assert all(file == root / path for path, file in found)


def test_an_empty_directory_has_no_files(anywhere, root):
    (root / "sub" / "deeper").mkdir()
    assert list(anywhere.walk(root / "sub")) == []


def test_symlinks_to_files_and_directories_are_followed(anywhere, root, tmp_path):
    make(tmp_path / "other", "one", "deep/two")
    (root / "sub" / "link").symlink_to("../file")
    (root / "again").symlink_to(tmp_path / "other")
    (root / "twice").symlink_to("again")
    (tmp_path / "start").symlink_to(root)
    assert [path for path, _ in anywhere.walk(tmp_path / "start")] == [
        "again/deep/two",
        "again/one",
        "file",
        "sub/link",
        "twice/deep/two",
        "twice/one",
    ]


@pytest.mark.parametrize("target", [".", "..", "../..", "self"])
def test_a_cycle_of_symlinks_is_named(anywhere, root, target):
    (root / "sub" / "cycle").symlink_to(root if target == "self" else target)
    start = root.parent if target == "../.." else root
    with pytest.raises(InvalidInputError, match="sub/cycle leads back"):
        list(anywhere.walk(start))


@pytest.mark.parametrize("target", ["nothing", "nothing/below", "bad", "x" * 300, "../file/below"])
def test_a_symlink_to_nowhere_is_named(anywhere, root, target):
    (root / "sub" / "bad").symlink_to(target)
    with pytest.raises(InvalidInputError, match="sub/bad is a symlink to nowhere"):
        list(anywhere.walk(root))


def test_special_files_are_named_and_not_opened(anywhere, root, watch):
    os.mkfifo(root / "sub" / "fifo")
    watching = watch(root / "sub" / "fifo")
    with pytest.raises(InvalidInputError, match="sub/fifo is not a regular file"):
        list(anywhere.walk(root))
    assert not watching.opened()
    (root / "a-device").symlink_to("/dev/null")
    with pytest.raises(InvalidInputError, match="a-device is not a regular file"):
        list(anywhere.walk(root))


def test_a_directory_that_cannot_be_listed_is_named(anywhere, public, unprivileged):
    (public / "closed").mkdir()
    (public / "closed").chmod(0o700 if os.geteuid() == 0 else 0)
    with unprivileged(), pytest.raises(PermissionDeniedError, match="closed cannot be listed: Permission denied"):
        list(anywhere.walk(public))
    (public / "closed").chmod(0o700)


def test_a_link_through_a_closed_directory_is_named(anywhere, public, unprivileged):
    make(public, "closed/file", "open/ok")
    (public / "open" / "to-closed").symlink_to("../closed/file")
    (public / "closed").chmod(0)
    with unprivileged(), pytest.raises(InvalidInputError, match="to-closed is"):
        list(anywhere.walk(public / "open"))
    (public / "closed").chmod(0o700)


def test_files_found_in_a_walk_are_opened_under_the_same_rules(root, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "sub" / "link").symlink_to(tmp_path / "secret")
    references = FileReferences([root], [])
    (found,) = [file for path, file in references.walk(root) if path == "sub/link"]
    with pytest.raises(PermissionDeniedError, match="outside of the roots"):
        references.open_path(found)
