"""HTTP: servers without ranges or lengths, packed bodies, what a server says and how slowly."""

import contextlib
import email.utils
import gzip
import re
import types

import pytest

from artfs.errors import (
    ChangedError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.storage import http, http_session
from artfs.storage.http import HttpObjects
from artfs.storage.port import Locator
from artfs.storage.retry import Retrying
from tests.harness import wait_for
from tests.servers.faults import ChangedETag, IgnoredRange, Reset, ShortBody, Stall, Status
from tests.storage.places import CONTENT
from tests.storage.raw_http import Server, chunked, reply, span

SIZE = len(CONTENT)
SECRET = "secret-that-nobody-may-see"


@pytest.fixture
def objects(home):
    with contextlib.closing(HttpObjects()) as opened:
        yield opened


@pytest.fixture
def place(shared_places):
    return shared_places("http")


def read(objects, uri, at=0, count=SIZE, **locator):
    return bytes(objects.read(Locator(uri, **locator), at, count))


# -- what HTTP does not do


def test_http_does_not_list_write_or_know_versions(place, tmp_path):
    uri = place.put("object")
    for ask in (
        lambda: place.objects.list(uri),
        lambda: place.objects.write(uri, [b"x"]),
        lambda: place.objects.upload(uri, tmp_path),
        lambda: place.objects.remove(uri),
        lambda: place.objects.describe(uri, "version"),
    ):
        with pytest.raises(NotSupportedError, match=re.escape(uri)):
            ask()


@pytest.mark.parametrize(
    "uri", ["http://", "http://[::1", "http:///path", "https://a b/", "http://h:99999/", "http://\ud800/", "ftp://h/a"]
)
def test_what_is_no_url_is_refused(objects, uri):
    for ask in (lambda: read(objects, uri), lambda: objects.describe(uri)):
        with pytest.raises(InvalidInputError):
            ask()


# -- servers without ranges


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_server_that_ignores_ranges_is_read_all_the_same(place, size):
    uri = place.put("object")
    etag = place.objects.describe(uri).etag
    place.proxy.inject(IgnoredRange(), times=None)
    for pins in ({}, {"etag": etag}):
        for at, count in ((0, 10), (0, SIZE), (5, 10), (SIZE - 5, 5), (SIZE - 5, 10), (SIZE, 10), (SIZE + 5, 10)):
            assert read(place.objects, uri, at, count, size=size, **pins) == CONTENT[at : at + count]
    assert read(place.objects, uri, 10, 20, offset=1000, size=50) == CONTENT[1010:1030]


def test_a_server_that_ignores_ranges_is_reported_once_without_its_signature(objects, caplog):
    with Server(lambda _: reply(200, CONTENT, Content_Length=SIZE)) as server:
        for name in ("a", "b"):
            read(objects, f"{server.url}/{name}?Signature={SECRET}", 5, 10)
        assert [record.message for record in caplog.records if record.name == "artfs.storage.http"] == [
            f"{server.url}/a was sent as a whole: reading in the middle of files of this server is slow"
        ]


def test_a_whole_reply_of_another_size_or_object_is_not_taken(place):
    uri = place.put("object")
    etag = place.objects.describe(uri).etag
    place.proxy.inject(IgnoredRange(), times=None)
    for size in (SIZE - 1, SIZE + 1):
        with pytest.raises(ChangedError, match=str(SIZE)):
            read(place.objects, uri, 5, 10, size=size)
    with pytest.raises(ChangedError, match=str(SIZE)):
        read(place.objects, uri, 0, 10, offset=SIZE - 5, size=10)
    place.proxy.inject(ChangedETag())
    with pytest.raises(ChangedError, match="changed-by-a-test"):
        read(place.objects, uri, 5, 10, etag=etag)


@pytest.mark.parametrize("fault", [ShortBody(50), Reset(50), Stall(50)], ids=range(3))
@pytest.mark.parametrize("at", [0, 20, 100])
def test_a_whole_reply_that_breaks_off_is_an_error(place, impatient, fault, at):
    uri = place.put("object")
    place.proxy.inject(IgnoredRange())
    place.proxy.inject(fault)
    with pytest.raises(UnreachableError, match=re.escape(uri)):
        read(place.objects, uri, at, 80)
    place.proxy.clear()
    again = Retrying(place.objects, sleep=lambda _: None)
    assert bytes(again.read(Locator(uri), at, 80)) == CONTENT[at : at + 80]


def test_a_reply_in_chunks_without_a_length_is_read_to_its_end(objects):
    with Server(lambda _: reply(200, chunked(CONTENT), Transfer_Encoding="chunked")) as server:
        assert objects.describe(f"{server.url}/a").size == -1
        for size in (None, SIZE):
            for at, count in ((0, SIZE), (5, 10), (SIZE - 5, 10), (SIZE, 10), (SIZE + 5, 10)):
                assert read(objects, f"{server.url}/a", at, count, size=size) == CONTENT[at : at + count]
        assert read(objects, f"{server.url}/a", 0, 20, offset=100, size=20) == CONTENT[100:120]
        with pytest.raises(ChangedError, match="longer"):
            read(objects, f"{server.url}/a", SIZE - 10, 10, size=SIZE - 1)
        with pytest.raises(ChangedError, match="shorter"):
            read(objects, f"{server.url}/a", SIZE - 5, 10, size=SIZE + 1)


def test_a_reply_in_chunks_that_breaks_off_is_an_error(objects):
    with Server(lambda _: reply(200, chunked(CONTENT, whole=False), Transfer_Encoding="chunked")) as server:
        for at, size in ((SIZE - 5, None), (SIZE + 5, None), (SIZE - 5, SIZE + 100)):
            with pytest.raises(UnreachableError, match=re.escape(server.url)):
                read(objects, f"{server.url}/a", at, 10, size=size)


def test_a_reply_that_ends_with_its_connection_is_taken_only_as_far_as_it_is_sure(objects):
    with Server(lambda _: reply(200, CONTENT)) as server:
        assert read(objects, f"{server.url}/a", 5, 10) == CONTENT[5:15]
        assert read(objects, f"{server.url}/a", 5, SIZE, size=SIZE) == CONTENT[5:]
        for at in (SIZE - 5, SIZE, SIZE + 5):
            with pytest.raises(UnreachableError, match="whether the reply is whole"):
                read(objects, f"{server.url}/a", at, 10)


def test_the_end_of_another_object_is_not_the_end_of_the_pinned_one(objects):
    def changed_since(head):
        return reply(416) if "Range: " in head else reply(200, b"short", Content_Length=5, ETag='"new"')

    with Server(changed_since) as server:
        with pytest.raises(ChangedError, match="new"):
            read(objects, f"{server.url}/a", 10, 10, etag="old")
        assert read(objects, f"{server.url}/a", 10, 10, etag="new") == b""
        with pytest.raises(UnreachableError, match="denies byte 2"):
            read(objects, f"{server.url}/a", 2, 10, etag="new")


def test_the_end_of_an_object_of_a_length_that_is_never_said_is_believed(objects):
    def unsure(head):
        return reply(416) if "Range: " in head else reply(200, chunked(CONTENT), Transfer_Encoding="chunked")

    with Server(unsure) as server:
        assert read(objects, f"{server.url}/a", SIZE, 10) == b""


# -- packed bodies

PACKED = gzip.compress(CONTENT, mtime=0)


def packed(head):
    """Answer as a server that packs whatever is asked for."""
    return reply(200, chunked(PACKED), Transfer_Encoding="chunked", Content_Encoding="gzip")


@pytest.mark.parametrize("size", [None, SIZE, len(PACKED)])
def test_a_body_that_a_server_packs_on_its_way_is_not_taken(objects, size):
    with Server(packed) as server:
        with pytest.raises(UnreachableError, match="packed"):
            read(objects, f"{server.url}/a", 5, 10, size=size)
        assert server.field("Accept-Encoding") == "identity"


def test_a_part_of_a_packed_body_is_taken_only_if_it_is_of_the_recorded_file(objects):
    def part(head):
        return span(head, PACKED).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)

    with Server(part) as server:
        assert read(objects, f"{server.url}/a.gz", 5, 10, size=len(PACKED)) == PACKED[5:15]
        with pytest.raises(ChangedError, match=str(len(PACKED))):
            read(objects, f"{server.url}/a.gz", 5, 10, size=SIZE)
        with pytest.raises(UnreachableError, match="packed"):
            read(objects, f"{server.url}/a.gz", 5, 10)


def test_a_file_that_is_packed_is_read_as_it_is(objects):
    def whole(_):
        return reply(200, PACKED, Content_Length=len(PACKED), Content_Encoding="gzip")

    with Server(whole) as server:
        assert objects.describe(f"{server.url}/a.gz").size == len(PACKED)
        assert read(objects, f"{server.url}/a.gz", 0, len(PACKED), size=len(PACKED)) == PACKED
        assert read(objects, f"{server.url}/a.gz", 5, 10, size=len(PACKED)) == PACKED[5:15]
        with pytest.raises(ChangedError, match=str(len(PACKED))):
            read(objects, f"{server.url}/a.gz", 5, 10, size=SIZE)
        with pytest.raises(UnreachableError, match="packed"):
            read(objects, f"{server.url}/a.gz", 5, 10)


# -- what a server says


def test_a_description_has_the_etag_as_it_was_sent_and_without_its_marks(objects):
    for raw, etag in (('"abc"', "abc"), ('W/"abc"', "abc"), ("abc", "abc"), ('""', "")):
        with Server(lambda _: reply(200, b"12345", Content_Length=5, ETag=raw, Content_Type="text/x")) as server:
            info = objects.describe(f"{server.url}/a")
            assert (info.size, info.etag, info.raw_etag, info.version, info.content_type) == (
                5,
                etag,
                raw,
                None,
                "text/x",
            )


def test_a_length_that_is_none_is_not_believed(objects):
    for length in ("\xb2", "five", "-5", "5, 5", ""):
        with (
            Server(lambda _: reply(200, b"12345", Content_Length=length)) as server,
            contextlib.suppress(UnreachableError),
        ):
            assert objects.describe(f"{server.url}/a").size == -1


def test_describing_does_not_read_the_object(objects):
    with Server(lambda _: reply(200, b"12345", Content_Length=1 << 40)) as server:
        assert objects.describe(f"{server.url}/a").size == 1 << 40


def test_a_read_is_conditional_on_the_pinned_etag(objects):
    with Server(span) as server:
        read(objects, f"{server.url}/a", 5, 10)
        assert server.field("If-Match") is None
        with pytest.raises(UnreachableError, match="ETag"):
            read(objects, f"{server.url}/a", 5, 10, etag="abc")
        assert server.field("If-Match") == '"abc"'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (410, NotFoundError),
        (407, PermissionDeniedError),
        (204, UnreachableError),
        (304, UnreachableError),
        (405, UnreachableError),
        (451, UnreachableError),
    ],
)
def test_a_status_is_the_right_error(place, status, kind):
    uri = place.put("object")
    place.proxy.inject(Status(status), times=2)
    for ask in (lambda: read(place.objects, uri), lambda: place.objects.describe(uri)):
        with pytest.raises(kind, match=re.escape(uri)):
            ask()


def test_a_signed_url_that_has_expired_is_refused_whatever_the_status(place):
    uri = place.put("object")
    body = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
    place.proxy.inject(Status(400, body=body))
    with pytest.raises(PermissionDeniedError, match="expired"):
        read(place.objects, uri)
    place.proxy.inject(Status(400, body=b"<Error><Code>InvalidArgument</Code></Error>"))
    with pytest.raises(UnreachableError, match="400"):
        read(place.objects, uri)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-7", None),
        ("\xb2", None),
        ("", None),
        ("soon", None),
        ("Wed, 99 Nov 2026 20:00:00 GMT", None),
    ],
)
def test_a_busy_server_says_how_long_it_wants_to_be_left_alone(objects, text, expected):
    with (
        Server(lambda _: reply(503, Retry_After=text)) as server,
        pytest.raises(UnreachableError, match="503") as caught,
    ):
        read(objects, f"{server.url}/a")
    assert caught.value.retry_after == expected


def test_a_busy_server_may_name_a_date(objects, monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(http, "time", types.SimpleNamespace(time=lambda: now))
    for seconds, expected in ((90, 90.0), (-90, 0.0)):
        date = email.utils.formatdate(now + seconds, usegmt=True)
        with Server(lambda _: reply(429, Retry_After=date)) as server, pytest.raises(UnreachableError) as caught:
            read(objects, f"{server.url}/a")
        assert caught.value.retry_after == expected


def test_what_a_busy_server_asks_for_is_waited_for(place, fake_time):
    uri = place.put("object")
    place.proxy.inject(Status(429, retry_after=17))
    retrying = Retrying(place.objects, clock=fake_time.clock, sleep=fake_time.sleep)
    assert bytes(retrying.read(Locator(uri), 5, 10)) == CONTENT[5:15]
    assert fake_time.pauses == [17.0]


# -- time and connections


@pytest.mark.parametrize("fault", [None, IgnoredRange()])
def test_a_reply_that_comes_too_slowly_is_given_up(place, monkeypatch, fault):
    uri = place.put("object")
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", -1.0)
    if fault:
        place.proxy.inject(fault)
    with pytest.raises(UnreachableError, match="too slowly"):
        read(place.objects, uri, 5, 10)


@pytest.mark.parametrize("query", ["", "?X-Amz-Signature=abc"])
def test_connections_are_kept_and_ended_when_objects_are_closed(open_place, monkeypatch, query):
    made, plain = [], http_session._checked
    monkeypatch.setattr(http_session, "_checked", lambda connection: made.append(1) or plain(connection))
    place = open_place("http")
    uri = place.put("object") + query
    for at in range(5):
        assert read(place.objects, uri, at, 10, size=SIZE) == CONTENT[at : at + 10]
    assert len(made) == len(place.proxy._connections) == 1
    place.objects.close()
    wait_for(lambda: not place.proxy._connections, "the end of the connection")
