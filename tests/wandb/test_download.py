"""Small files: whole or not at all, with credentials for the server only."""

import gzip

import pytest

from artfs.errors import (
    ChangedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.wandb import connections, download
from tests.wandb.conftest import KEY, OTHER_KEY, basic
from tests.wandb.stub import Reply, Stub

CONTENT = bytes(range(256)) * 4000
SIZE = len(CONTENT)
SIGNED = "/bucket/manifest?X-Amz-Signature=sig123"


def whole(**headers):
    return Reply(200, CONTENT, headers)


def rest(request, *, etag='"e"', total=SIZE, shift=0):
    start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    headers = {"ETag": etag, "Content-Range": f"bytes {start + shift}-{len(CONTENT) - 1}/{total}"}
    return Reply(206, CONTENT[start:], headers)


def read(session, url, **settings):
    return b"".join(session.get(url, **settings))


def test_a_file_is_read_in_pieces_when_it_is_wanted(session, server):
    server.script += [whole()]
    pieces = session.get(server.url + SIGNED)
    assert server.requests == []
    first = next(pieces)
    assert 0 < len(first) <= 1 << 18
    assert first + b"".join(pieces) == CONTENT
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", SIGNED)
    assert request.headers["accept-encoding"] == "identity"


def test_an_empty_file_is_read(session, server):
    server.script += [Reply(200)]
    assert read(session, server.url, size=0) == b""


def test_credentials_go_to_the_server_and_only_if_asked_for(session, server):
    server.default = Reply(200, b"x")
    read(session, server.url + SIGNED)
    read(session, server.url + "/artifacts/e/1", authorised=True)
    assert [request.authorization for request in server.requests] == [None, basic(KEY)]
    with Stub() as other:
        with pytest.raises(InvalidInputError, match="not a URL of"):
            session.get(other.url + SIGNED, authorised=True)
        assert other.requests == []


def test_a_redirect_to_another_host_is_followed_without_credentials(session, server):
    with Stub(default=Reply(200, b"x")) as other:
        server.script += [
            Reply(307, b"", {"Location": "/elsewhere"}),
            Reply(302, b"away", {"Location": other.url + SIGNED}),
        ]
        assert read(session, server.url, authorised=True) == b"x"
        assert [request.authorization for request in server.requests] == [basic(KEY)] * 2
        assert server.requests[1].path == "/elsewhere"
        assert [(request.authorization, request.path) for request in other.requests] == [(None, SIGNED)]


def test_credentials_do_not_come_back_on_the_way_back(session, server):
    with Stub(default=Reply(302, b"", {"Location": f"{server.url}/back"})) as other:
        server.script += [Reply(302, b"", {"Location": other.url}), Reply(200, b"x")]
        read(session, server.url, authorised=True)
    assert [request.authorization for request in server.requests] == [basic(KEY), None]


def test_redirects_without_an_end_or_to_something_else(session, server):
    server.default = Reply(302, b"", {"Location": "/again?sig=sig123"})
    with pytest.raises(UnreachableError, match="without an end") as caught:
        read(session, server.url)
    assert "sig123" not in str(caught.value)
    assert len(server.requests) == 10
    for to in ("file:///etc/passwd", "ftp://x/y", "http://[x"):
        server.default = Reply(302, b"", {"Location": to})
        with pytest.raises(UnreachableError, match="not HTTP"):
            read(session, server.url)


def test_refused_credentials_are_read_again(session, server, environ):
    def refuse(_):
        environ["WANDB_API_KEY"] = OTHER_KEY
        return Reply(401)

    server.script += [refuse, Reply(200, b"x")]
    assert read(session, server.url, authorised=True) == b"x"
    assert server.requests[1].authorization == basic(OTHER_KEY)


def test_a_place_elsewhere_that_says_401_says_nothing_of_the_credentials(session, server, caplog):
    with Stub(default=Reply(401)) as other:
        server.script += [Reply(302, b"", {"Location": other.url})]
        with pytest.raises(PermissionDeniedError):
            read(session, server.url, authorised=True)
    server.script += [Reply(401)]
    with pytest.raises(PermissionDeniedError):
        read(session, server.url + SIGNED)
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [(403, b"", PermissionDeniedError), (400, b"<Error><Code>ExpiredToken</Code>", PermissionDeniedError), (404, b"", NotFoundError),
     (410, b"", NotFoundError)],
)  # fmt: skip
def test_a_refusal_is_final(session, server, status, body, cls):
    server.script += [Reply(status, body + b"sig123")]
    with pytest.raises(cls, match=str(status)) as caught:
        read(session, server.url + SIGNED)
    assert f"{server.url}/bucket/manifest" in str(caught.value)
    assert "sig123" not in str(caught.value)


@pytest.mark.parametrize("reply", [Reply(429), Reply(500), Reply(503, b"<Code>SlowDown</Code>"), Reply(hang_up=True)])
def test_what_may_pass_is_tried_again(session, server, fake_time, reply):
    server.script += [reply, Reply(200, b"x")]
    assert read(session, server.url + SIGNED) == b"x"
    assert len(fake_time.slept) == 1


def test_501_does_not_pass(session, server):
    server.default = Reply(501)
    with pytest.raises(Exception, match="501"):
        read(session, server.url + SIGNED)
    assert len(server.requests) == 1


def test_it_is_given_up_after_a_minute(session, server, fake_time):
    server.default = Reply(503)
    with pytest.raises(UnreachableError, match="gave up"):
        read(session, server.url + SIGNED)
    assert 30 < sum(fake_time.slept) <= 60


# -- broken transfers


def test_a_broken_transfer_is_taken_up_where_it_ended(session, server):
    broken = Reply(200, CONTENT, {"ETag": '"e"'}, cut=300_000)
    server.script += [broken, rest]
    assert read(session, server.url + SIGNED, size=len(CONTENT)) == CONTENT
    assert server.requests[1].headers["range"] == "bytes=300000-"
    assert server.requests[1].headers["if-match"] == '"e"'


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"e"'}])
def test_a_broken_transfer_of_what_has_no_mark_is_an_error(session, server, headers):
    server.script += [Reply(200, CONTENT, headers, cut=300_000)]
    with pytest.raises(UnreachableError, match="after 300000"):
        read(session, server.url + SIGNED)


@pytest.mark.parametrize(
    "second",
    [lambda request: rest(request, etag='"f"'), lambda request: rest(request, total=5), Reply(412), Reply(416)],
)
def test_what_has_changed_meanwhile_is_not_put_together(session, server, second):
    server.script += [Reply(200, CONTENT, {"ETag": '"e"'}, cut=300_000), second]
    with pytest.raises(ChangedError):
        read(session, server.url + SIGNED)


@pytest.mark.parametrize(
    "second", [lambda request: rest(request, shift=1), Reply(200, CONTENT, {"ETag": '"e"'}), Reply(206, CONTENT)]
)
def test_other_bytes_than_those_asked_for_are_not_taken(session, server, second):
    server.script += [Reply(200, CONTENT, {"ETag": '"e"'}, cut=300_000), second]
    with pytest.raises((UnreachableError, ChangedError)):
        read(session, server.url + SIGNED)


def test_one_that_breaks_always_is_given_up(session, server):
    server.script += [Reply(200, CONTENT, {"ETag": '"e"'}, cut=1000)]

    def bit(request):
        reply = rest(request)
        reply.cut = 10
        return reply

    server.default = bit
    with pytest.raises(UnreachableError, match="broke off"):
        read(session, server.url + SIGNED)
    assert len(server.requests) < 30


# -- sizes


def test_a_file_of_another_size_is_refused_before_its_first_byte(session, server):
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        server.script += [whole()]
        with pytest.raises(IntegrityError, match=f"has {len(CONTENT)} bytes, and not {size}"):
            next(session.get(server.url + SIGNED, size=size))


@pytest.mark.parametrize("difference", [-1, 1])
def test_without_a_length_the_size_is_checked_at_the_end(session, server, difference):
    server.script += [Reply(200, CONTENT, length=False)]
    with pytest.raises(IntegrityError):
        read(session, server.url + SIGNED, size=len(CONTENT) + difference)
    server.script += [Reply(200, CONTENT, length=False)]
    assert read(session, server.url + SIGNED, size=len(CONTENT)) == CONTENT


def test_an_end_that_nothing_proves_is_none(session, server):
    server.script += [Reply(200, CONTENT, length=False)]
    with pytest.raises(UnreachableError, match="nothing tells"):
        read(session, server.url + SIGNED)
    chunked = b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT)
    server.script += [Reply(200, chunked + b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})]
    assert read(session, server.url + SIGNED) == CONTENT
    server.script += [Reply(200, chunked, {"Transfer-Encoding": "chunked"})]
    with pytest.raises(UnreachableError):
        read(session, server.url + SIGNED)


@pytest.mark.parametrize("length", [True, False])
def test_there_is_a_bound(session, server, length):
    server.script += [Reply(200, CONTENT, length=length)]
    with pytest.raises(InvalidInputError, match="allowed"):
        read(session, server.url + SIGNED, most=1000)


def test_a_packed_file_is_refused(session, server):
    server.script += [Reply(200, gzip.compress(CONTENT), {"Content-Encoding": "gzip"})]
    with pytest.raises(UnreachableError, match="packed"):
        read(session, server.url + SIGNED)


# -- time


def test_a_file_that_stalls_is_left(session, server, monkeypatch):
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.05)
    server.default = Reply(
        200, b"abcdef", pause_between=0.5
    )  # also where its head came too late, and it is asked again
    with pytest.raises(UnreachableError, match="in time"):
        read(session, server.url + SIGNED)


def test_a_file_that_drips_is_left_and_a_slow_reader_is_not_blamed(connect, server, fake_time, monkeypatch):
    monkeypatch.setattr(download, "_PIECE", 1000)
    session = connect(server.url)
    server.script += [whole()]
    for number, _ in enumerate(session.get(server.url + SIGNED)):
        fake_time.at += 100
        if number == 20:
            break
    ticks = iter(range(0, 10**9, 20))
    slow = connect(server.url, clock=lambda: float(next(ticks)))
    server.script += [whole()]
    monkeypatch.setattr(download, "TIME", 200.0)
    with pytest.raises(UnreachableError, match="too slowly"):
        read(slow, server.url + SIGNED)


def test_what_is_not_read_to_its_end_gives_its_connection_back(session, server):
    server.default = whole()
    for _ in range(3):
        pieces = session.get(server.url + SIGNED)
        next(pieces)
        pieces.close()
    assert len(server.requests) == 3
