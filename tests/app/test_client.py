"""The client of the control socket, and how it finds the mount that a path lies in."""

import contextlib
import errno
import json
import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from artfs import errors
from artfs.app import client
from artfs.app.client import (
    MountInfo,
    error_of,
    find_mount,
    mount_of,
    mount_of_registry,
    mount_points,
    refresh_all,
    request,
)
from artfs.errors import ArtfsError, BusyError, UnreachableError
from artfs.model.names import CollectionRef


@pytest.fixture
def answering():
    """Answer every connection to a socket with some bytes; return the requests that came."""
    with contextlib.ExitStack() as stack:

        def start(path, answer):
            requests = []
            server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            server.bind(str(path))
            server.listen()

            def serve():
                while True:
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        return  # the end of the test
                    with connection, connection.makefile("rb") as stream:
                        requests.append(json.loads(stream.readline()))
                        connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return requests

        yield start


def lines(*messages):
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


# Errors ---------------------------------------------------------------------------------------------------------

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ArtfsError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_of_artfs_comes_through_with_its_class_message_and_hint(kind):
    error = error_of({"type": kind.__name__, "message": "what", "hint": "try this"})
    assert type(error) is kind
    assert (error.message, error.hint, error.exit_code) == ("what", "try this", kind.exit_code)


@pytest.mark.parametrize("name", ["Unknown", "annotations", "__doc__", "__builtins__", "", None, 5, ["BusyError"]])
def test_an_error_of_a_class_that_nobody_knows_is_an_error_of_artfs(name):
    error = error_of({"type": name, "message": "what", "hint": None})
    assert type(error) is ArtfsError
    assert (error.message, error.hint) == ("what", "")


@pytest.mark.parametrize("details", [None, "text", 5, ["BusyError"]])
def test_an_error_that_says_nothing_is_one_of_the_mount(details):
    assert isinstance(error_of(details), UnreachableError)


# Requests -------------------------------------------------------------------------------------------------------


def test_the_answers_end_with_the_result(tmp_path, answering):
    requests = answering(tmp_path / "s", lines({"progress": 1}, {"result": 2}, {"result": 3}))
    assert list(request(tmp_path / "s", {"op": "x", "text": "ü\n"})) == [{"progress": 1}, {"result": 2}]
    assert requests == [{"op": "x", "text": "ü\n"}]


def test_an_error_in_an_answer_is_raised(tmp_path, answering):
    error = {"type": "BusyError", "message": "in use", "hint": "wait"}
    answering(tmp_path / "s", lines({"progress": 1}, {"error": error}))
    answers = request(tmp_path / "s", {"op": "x"})
    assert next(answers) == {"progress": 1}
    with pytest.raises(BusyError, match="in use"):
        next(answers)


@pytest.mark.parametrize("answer", [b"", lines({"progress": 1})])
def test_a_process_that_ends_before_it_has_answered_is_an_error_that_says_what_happens_next(
    tmp_path, answering, answer
):
    answering(tmp_path / "s", answer)
    with pytest.raises(UnreachableError, match="ended before it had answered") as caught:
        list(request(tmp_path / "s", {"op": "x"}))
    assert "resumed" in caught.value.hint


@pytest.mark.parametrize("kind", ["missing", "dead", "a file"])
def test_where_nobody_answers_the_socket_is_named(tmp_path, kind):
    path = tmp_path / "s"
    if kind == "dead":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "a file":
        path.write_text("")
    with pytest.raises(UnreachableError) as caught:
        list(request(path, {"op": "x"}))
    assert str(path) in caught.value.message
    assert "has died" in caught.value.message
    assert caught.value.hint == "artfs mount repairs what it has left"


def test_a_process_that_does_not_answer_in_time_is_an_error(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with pytest.raises(UnreachableError, match="timed out"):
            list(request(tmp_path / "s", {"op": "x"}, timeout=0.01))


def test_a_request_that_is_given_up_leaves_nothing_open(tmp_path, answering):
    answering(tmp_path / "s", lines({"progress": 1}, {"result": 2}))
    answers = request(tmp_path / "s", {"op": "x"})
    next(answers)
    connection, stream = (answers.gi_frame.f_locals[name] for name in ("connection", "stream"))
    answers.close()
    assert stream.closed
    assert connection.fileno() == -1


# All mounts of a user -------------------------------------------------------------------------------------------


def status(mountpoint, registry, **more):
    about = {"mountpoint": mountpoint, "registry": registry, "read_only": False, "pid": 1, "commits": []}
    return lines({"result": {**about, **more}})


@pytest.fixture
def config(tmp_path):
    return SimpleNamespace(runtime_dir=tmp_path, state_dir=tmp_path, registry="sqlite:////right")


def leave_dead_sockets(directory):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "0-dead.sock"))
    (directory / "1-file.sock").write_text("")


def test_the_mount_of_a_registry_is_found_among_others(config, tmp_path, answering):
    leave_dead_sockets(tmp_path)
    answering(tmp_path / "2.sock", status("/mnt/wrong", "sqlite:////wrong"))
    answering(tmp_path / "3.sock", lines({"error": {"type": "BusyError", "message": "not now", "hint": ""}}))
    answering(tmp_path / "4.sock", status("/mnt/read-only", "sqlite:////right", read_only=True))
    answering(tmp_path / "5.sock", status("/mnt/right", "sqlite:////right"))
    answering(tmp_path / "6.sock", status("/mnt/second", "sqlite:////right"))
    assert mount_of_registry(config) == MountInfo(Path("/mnt/right"), tmp_path / "5.sock")


def test_no_mount_shows_a_registry_that_nobody_has_mounted(config, tmp_path, answering):
    assert mount_of_registry(config) is None
    leave_dead_sockets(tmp_path)
    answering(tmp_path / "2.sock", status("/mnt/wrong", "sqlite:////wrong"))
    assert mount_of_registry(config) is None
    assert (
        mount_of_registry(
            SimpleNamespace(runtime_dir=tmp_path / "missing", state_dir=tmp_path / "missing", registry="")
        )
        is None
    )


def test_every_live_mount_hears_of_a_change_and_a_dead_one_is_no_failure(config, tmp_path, answering, monkeypatch):
    # A mount has a second, in which a thread of a busy machine may not get its turn.
    monkeypatch.setattr(client, "request", lambda control, message, timeout: request(control, message, 60 * timeout))
    leave_dead_sockets(tmp_path)
    heard = [answering(tmp_path / f"{number}.sock", lines({"result": {}})) for number in range(2, 4)]
    broken = answering(tmp_path / "1.sock", lines({"error": {"type": "NotFoundError", "message": "x", "hint": ""}}))
    refresh_all(config)
    assert [*heard, broken] == [[{"op": "refresh"}]] * 3
    refresh_all(config, CollectionRef("e", "p", "c"), ["v1", "best"])
    for messages in [*heard, broken]:
        assert messages[1:] == [{"op": "refresh", "collection": "e/p/c", "names": ["v1", "best"]}]


# Mount points ---------------------------------------------------------------------------------------------------

MOUNTINFO = [
    rb"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
    rb"90 22 0:50 / /mnt/plain rw,nosuid,nodev shared:5 master:1 - fuse.artfs artfs rw,user_id=0,group_id=0",
    rb"91 22 0:51 / /mnt/with\040space\011tab\012line\134back rw - fuse.artfs artfs rw",
    rb"92 22 0:52 / /mnt/other rw shared:9 - fuse.sshfs fuse.artfs rw",
    b"93 22 0:53 / /mnt/\xc3\xbc\xe6\x95\xb0 rw - fuse.artfs name\\040of\\040it rw",
    rb"94 22 0:54 / /mnt/plain/inner ro - fuse.artfs artfs ro",
    rb"95 22 0:55 / /mnt/\134040 rw - fuse.artfs artfs rw",
]


@pytest.fixture
def mountinfo(monkeypatch):
    """Let the kernel say what is mounted."""
    original = Path.read_bytes

    def set_lines(found):
        def read_bytes(path):
            return b"\n".join([*found, b""]) if str(path) == "/proc/self/mountinfo" else original(path)

        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        monkeypatch.setattr(Path, "read_text", lambda path, *_, **__: read_bytes(path).decode(errors="surrogateescape"))

    return set_lines


def test_the_mounts_of_artfs_are_found_in_order_with_their_minors(mountinfo):
    mountinfo(MOUNTINFO)
    assert mount_points() == [
        (Path("/mnt/plain"), 50),
        (Path("/mnt/with space\ttab\nline\\back"), 51),
        (Path("/mnt/ü数"), 53),
        (Path("/mnt/plain/inner"), 54),
        (Path("/mnt/\\040"), 55),
    ]


def test_what_the_kernel_says_now_can_be_read():
    assert isinstance(mount_points(), list)


@pytest.mark.parametrize(
    ("path", "mountpoint"),
    [
        ("/mnt/plain", "/mnt/plain"),
        ("/mnt/plain/a/b", "/mnt/plain"),
        ("/mnt/plain/inner/a", "/mnt/plain/inner"),
        ("/mnt/plain/a/../inner", "/mnt/plain/inner"),
        ("/mnt/plain/innermost", "/mnt/plain"),
        ("/mnt/plain-not", None),
        ("/mnt", None),
        ("/mnt/other/a", None),
        ("/mnt/with space\ttab\nline\\back/x", "/mnt/with space\ttab\nline\\back"),
        ("plain/x", "/mnt/plain"),
    ],
)
def test_a_path_lies_in_the_innermost_mount_above_it(mountinfo, monkeypatch, path, mountpoint):
    mountinfo(MOUNTINFO)
    monkeypatch.setattr(os, "getcwd", lambda: "/mnt")
    assert mount_of(Path(path)) == (None if mountpoint is None else Path(mountpoint))


def test_the_mount_of_a_path_says_where_its_socket_is(mountinfo, monkeypatch):
    mountinfo(MOUNTINFO)
    asked = []

    def getxattr(path, name):
        asked.append((path, name))
        return b"/run/\xff.sock"

    monkeypatch.setattr(os, "getxattr", getxattr)
    found = find_mount("/mnt/plain/e/p/c")
    assert found == MountInfo(Path("/mnt/plain"), Path("/run/\udcff.sock"))
    assert asked == [(Path("/mnt/plain"), "user.artfs.control")]
    assert find_mount("/elsewhere") is None


def test_the_mount_of_a_symlink_is_the_one_that_it_leads_to(mountinfo, monkeypatch, tmp_path):
    mountinfo([rb"90 22 0:50 / " + bytes(tmp_path / "mnt") + rb" rw - fuse.artfs artfs rw"])
    monkeypatch.setattr(os, "getxattr", lambda *_: b"/run/s")
    (tmp_path / "link").symlink_to("mnt/e")
    assert find_mount(str(tmp_path / "link")) == MountInfo(tmp_path / "mnt", Path("/run/s"))


def test_a_mount_that_does_not_answer_is_named_with_what_to_do(mountinfo, monkeypatch):
    mountinfo(MOUNTINFO)

    def fail(*_):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(client.os, "getxattr", fail)
    with pytest.raises(UnreachableError, match="/mnt/plain does not answer: Transport endpoint") as caught:
        find_mount("/mnt/plain/a")
    assert caught.value.hint == "artfs mount /mnt/plain"
