"""Reads of signed URLs: which replies are taken from the connection itself, which are left to requests, and what breaks off."""

import contextlib
import re
import socket
import threading
import time

import pytest

from artfs.errors import UnreachableError
from artfs.storage import http
from artfs.storage.http import HttpObjects
from artfs.storage.port import Locator
from tests.storage.places import CONTENT
from tests.storage.raw_http import chunked

SIGNED = "?X-Amz-Signature=abc"
BIG = bytes(range(256)) * 2000


@pytest.fixture
def objects(home):
    with contextlib.closing(HttpObjects()) as opened:
        yield opened


class Peer:
    """A server whose connections stay: ``answer`` makes of each head the pieces that are sent, and None to end the connection."""

    def __init__(self, answer):
        self._answer, self.heads, self.connections = answer, [], 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/a{SIGNED}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection, contextlib.suppress(OSError):
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                self.heads.append(head.decode("latin-1"))
                for piece in self._answer(head.decode("latin-1")):
                    if piece is None:
                        return
                    connection.sendall(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


def part(head, data=CONTENT, more=""):
    """Return head and body of the reply to a request for a span."""
    first, last = map(int, re.search(r"bytes=(\d+)-(\d+)", head).groups())
    last = min(last, len(data) - 1)
    body = data[first : last + 1]
    text = f"HTTP/1.1 206 Partial\r\ncontent-length: {len(body)}\r\nContent-Range: bytes {first}-{last}/{len(data)}\r\n{more}\r\n"
    return text.encode(), body


def read(objects, peer, data=CONTENT, at=5, count=10):
    found = bytes(objects.read(Locator(peer.url, size=len(data)), at, count))
    assert found == data[at : at + count]


def test_a_connection_is_kept_for_the_next_read(objects):
    with Peer(part) as peer:
        for at in (0, 5, 50):
            read(objects, peer, at=at)
        assert (peer.connections, len(peer.heads)) == (1, 3)
        assert peer.heads[0].startswith(f"GET /a{SIGNED} HTTP/1.1\r\nHost: 127.0.0.1:")
        assert "Range: bytes=0-9" in peer.heads[0]


def test_a_reply_may_come_in_any_pieces(objects):
    def slowly(head):
        data = b"".join(part(head, BIG))
        return [data[:1], data[1:30], data[30:31], *(data[at : at + 70_000] for at in range(31, len(data), 70_000))]

    with Peer(slowly) as peer:
        for _ in range(2):
            read(objects, peer, BIG, 3, len(BIG) - 3)
        assert peer.connections == 1


def test_a_connection_that_the_server_has_ended_is_replaced(objects):
    with Peer(lambda head: [*part(head), None]) as peer:
        for _ in range(3):
            read(objects, peer)
        assert (peer.connections, len(peer.heads)) == (3, 3)


def test_a_connection_that_the_server_announces_to_end_is_not_kept(objects):
    with Peer(lambda head: part(head, more="Connection: close\r\n")) as peer:
        for _ in range(2):
            read(objects, peer)
        assert peer.connections == 2


def plain(status="206 Partial", version="1.1", length="10", more="", body=CONTENT[5:15]):
    span = f"Content-Range: bytes 5-14/{len(CONTENT)}\r\n"
    size = f"Content-Length: {length}\r\n" if length else ""
    return [f"HTTP/{version} {status}\r\n{size}{span}{more}\r\n".encode() + body]


ODD = {
    "in chunks": plain(length="", more="Transfer-Encoding: chunked\r\n", body=chunked(CONTENT[5:15])),
    "chunks with a length": plain(more="Transfer-Encoding: chunked\r\n", body=chunked(CONTENT[5:15])),
    "to the end of the connection": [*plain(length="", more="Connection: close\r\n"), None],
    "of an old protocol": [*plain(version="1.0"), None],
    "after another one": [b"HTTP/1.1 100 Continue\r\n\r\n", *plain()],
    "with a folded header": plain(more="X-Long: a\r\n b\r\n"),
}


@pytest.mark.parametrize("how", ODD)
def test_a_reply_that_is_not_plain_is_left_to_requests(objects, how):
    with Peer(lambda _: ODD[how]) as peer:
        if how in {"to the end of the connection", "chunks with a length"}:
            with contextlib.suppress(UnreachableError):  # nothing tells requests, either, whether it is whole
                read(objects, peer)
        else:
            read(objects, peer)
        assert len(peer.heads) == 2


@pytest.mark.parametrize(
    "more", ["Content-Length: 11\r\n", f"Content-Range: bytes 6-15/{len(CONTENT)}\r\n", "ETag: a\r\nETag: b\r\n"]
)
def test_a_reply_that_contradicts_itself_is_never_taken_by_halves(objects, more):
    with Peer(lambda _: [*plain(more=more), None]) as peer:
        with contextlib.suppress(UnreachableError):
            read(objects, peer)
        assert len(peer.heads) == 2


@pytest.mark.parametrize("keep", [0, 4, 9])
def test_a_body_that_breaks_off_is_an_error(objects, keep):
    with Peer(lambda head: [part(head)[0], part(head)[1][:keep], None]) as peer, pytest.raises(UnreachableError):
        read(objects, peer)


def test_a_body_that_is_longer_than_it_says_is_not_believed(objects):
    with Peer(lambda head: [part(head)[0] + part(head)[1] + b"more"]) as peer:
        read(objects, peer)  # by requests, on a connection of its own
        assert len(peer.heads) == 2


@pytest.mark.parametrize(
    "pieces", [[], [b"HTTP/1.1 206 Partial\r\n"], [plain()[0][:-3]]], ids=["nothing", "head", "body"]
)
def test_a_reply_that_stalls_is_given_up(objects, monkeypatch, pieces):
    usual = http.READ_TIMEOUT
    monkeypatch.setattr(http, "READ_TIMEOUT", 0.2)
    with Peer(lambda _: pieces) as peer:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=r"timed out|in time"):
            read(objects, peer)
        assert time.monotonic() - started < usual


def test_a_head_that_comes_drop_by_drop_is_given_up(objects, monkeypatch):
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 0.3)
    enough = threading.Event()

    def drops(_):
        while not enough.wait(0.05):
            yield b"X"

    with Peer(drops) as peer:
        with pytest.raises(UnreachableError):
            read(objects, peer)
        enough.set()


def test_a_head_without_an_end_is_not_kept_in_memory(objects):
    with (
        Peer(
            lambda _: [b"HTTP/1.1 206 Partial\r\n", *[b"X-Long: " + b"x" * 60_000 + b"\r\n"] * 4, b"\r\n", None]
        ) as peer,
        pytest.raises(UnreachableError),
    ):
        read(objects, peer)
