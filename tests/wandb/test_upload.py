"""Bytes to a signed URL."""

import base64
import hashlib
import os
import time

import pytest

from artfs.errors import (
    ChangedError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.wandb import connections, upload
from artfs.wandb.replies import RefusedError
from artfs.wandb.session import WandbSession
from artfs.wandb.upload import FileSpan
from tests.wandb.stub import Reply, Stub

CONTENT = os.urandom(1 << 20)
SIGNED = "/bucket/object?X-Goog-Signature=sig123"
OK = Reply(200, b"", {"ETag": '"etag"'})


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_bytes_are_put_with_the_headers_of_the_server_and_a_length(session, server):
    server.script += [OK]
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    headers = [f"Content-MD5:{md5}", "Content-Type: application/x:y ", "X-Empty:"]
    assert session.put(server.url + SIGNED, headers, CONTENT) == '"etag"'
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("PUT", SIGNED, CONTENT)
    assert request.headers["content-md5"] == md5
    assert request.headers["content-type"] == "application/x:y"
    assert request.headers["x-empty"] == ""
    assert request.headers["content-length"] == str(len(CONTENT))
    assert "transfer-encoding" not in request.headers
    assert request.authorization is None


def test_what_was_sent_is_counted_and_what_was_refused_is_a_failure(session, server, file):
    server.script += [OK, OK, Reply(403, b"<Error><Code>AccessDenied</Code></Error>")]
    session.put(server.url + SIGNED, [], CONTENT)
    session.put(server.url + SIGNED, [], FileSpan(file, 10, 30))
    with pytest.raises(PermissionDeniedError):
        session.put(server.url + SIGNED, [], b"refused")
    uploads = session.uploads
    assert (uploads.timings.count, uploads.failures, uploads.size) == (3, 1, len(CONTENT) + 20)
    assert (uploads.busy, uploads.busy_size) == (0, 0)


@pytest.mark.parametrize("form", ["bytes", "file"])
def test_an_empty_file_has_a_length_too(session, server, file, form):
    server.script += [Reply(204)]
    assert session.put(server.url + SIGNED, [], b"" if form == "bytes" else FileSpan(file, 7, 7)) == ""
    assert server.requests[0].headers["content-length"] == "0"
    assert "transfer-encoding" not in server.requests[0].headers


def test_no_header_is_made_up(session, server, file):
    server.script += [OK, OK]
    session.put(server.url + SIGNED, [], CONTENT)
    session.put(server.url + SIGNED, [], FileSpan(file, 0, 10))
    for request in server.requests:
        assert set(request.headers) == {
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "connection",
            "content-length",
        }


def test_a_span_of_a_file_is_put_and_put_again(session, server, file):
    server.script += [Reply(503), Reply(500), OK]
    assert session.put(server.url + SIGNED, [], FileSpan(file, 1000, 900_000)) == '"etag"'
    assert [request.body for request in server.requests] == [CONTENT[1000:900_000]] * 3


def test_a_span_has_a_start_and_an_end():
    for start, end in ((-1, 5), (5, 4)):
        with pytest.raises(InvalidInputError):
            FileSpan(0, start, end)


def test_a_file_that_became_shorter_is_not_sent(session, server, file):
    server.default = OK
    os.ftruncate(file, 1000)
    with pytest.raises(ChangedError, match="shorter"):
        session.put(server.url + SIGNED, [], FileSpan(file, 0, len(CONTENT)))


@pytest.mark.parametrize(
    "header", ["no colon", ":value", "na me:x", "key:a\r\nx: y", "key:\x00", "käse:x", "key:\u0142"]
)
def test_a_header_that_is_none_is_refused(session, server, header):
    with pytest.raises(InvalidInputError, match="header") as caught:
        session.put(server.url + SIGNED, [header], b"x")
    assert header not in str(caught.value)
    assert server.requests == []


def test_headers_of_the_connection_are_not_those_of_the_server(session, server):
    server.script += [OK]
    session.put(
        server.url + SIGNED, ["Content-Length:5", "Host:evil", "Transfer-Encoding:chunked", "Connection:close"], b"abc"
    )
    headers = server.requests[0].headers
    assert (headers["content-length"], headers["host"]) == ("3", server.netloc)
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [(403, "AccessDenied", PermissionDeniedError), (401, "", PermissionDeniedError), (400, "ExpiredToken", PermissionDeniedError),
     (400, "BadDigest", IntegrityError), (400, "InvalidDigest", IntegrityError), (404, "NoSuchUpload", NotFoundError), (404, "", NotFoundError),
     (409, "", ConflictError), (412, "PreconditionFailed", ConflictError), (413, "", InvalidInputError), (400, "EntityTooLarge", InvalidInputError),
     (400, "Strange", RefusedError), (501, "", RefusedError), (307, "", UnreachableError)],
)  # fmt: skip
def test_a_refusal_is_final_and_named(session, server, fake_time, status, code, cls):
    server.script += [
        Reply(status, f"<Error><Code>{code}</Code><Signature>sig123</Signature>".encode(), {"Location": "/x"})
    ]
    with pytest.raises(cls) as caught:
        session.put(server.url + SIGNED, [], b"x")
    assert type(caught.value) is cls
    assert f"PUT {server.url}/bucket/object" in caught.value.message
    assert code in caught.value.message or status == 307
    assert "sig123" not in str(caught.value)
    assert fake_time.slept == []


@pytest.mark.parametrize(
    "reply",
    [Reply(429), Reply(500), Reply(503), Reply(408), Reply(400, b"<Code>RequestTimeout</Code>"), Reply(hang_up=True)],
)
def test_what_may_pass_is_tried_again(session, server, fake_time, reply):
    server.script += [reply, OK]
    assert session.put(server.url + SIGNED, [], CONTENT) == '"etag"'
    assert len(fake_time.slept) == 1


def test_it_is_given_up(session, server, fake_time):
    server.default = Reply(503, headers={"Retry-After": "50"})
    with pytest.raises(UnreachableError, match="gave up after") as caught:
        session.put(server.url + SIGNED, [], b"x")
    assert caught.value.retry_after == 50
    assert 200 < sum(fake_time.slept) <= 300


def test_a_place_that_takes_bytes_too_slowly_is_left(server, file, home, monkeypatch):
    ticks = iter(range(0, 10**9, 50))
    session = WandbSession(server.url, clock=lambda: float(next(ticks)), sleep=lambda _: None)
    server.default = OK
    with pytest.raises(UnreachableError, match="too slowly"):
        session.put(server.url + SIGNED, [], FileSpan(file, 0, len(CONTENT)))
    session.close()


def test_the_time_to_connect_is_not_the_time_to_send(session, server, file, monkeypatch):
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", 0.1)
    server.before_body = lambda: time.sleep(0.4)
    server.default = OK
    os.ftruncate(file, 64 << 20)  # more than the buffers of the sockets take
    assert session.put(server.url + SIGNED, [], FileSpan(file, 0, 64 << 20)) == '"etag"'
    assert len(server.requests) == 1


def test_only_http_is_sent_to(session):
    for url in ("file:///etc/passwd", "no url", ""):
        with pytest.raises(InvalidInputError):
            session.put(url, [], b"x")


def test_connections_are_kept(session, server):
    server.default = Reply(200, b"<ok/>" * 100, {"ETag": '"e"'})
    for _ in range(4):
        session.put(server.url + SIGNED, [], b"x")
    assert len({request.connection for request in server.requests}) == 1


def test_an_upload_has_no_credentials_even_to_the_server(session, server):
    with Stub(default=OK) as other:
        session.put(other.url + SIGNED, [], b"x")
        assert other.requests[0].authorization is None
    assert upload.TIME == 300
