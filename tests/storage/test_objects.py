"""What all objects promise, on real servers: S3, GCS, and for reading HTTP."""

import inspect
import re
import traceback

import pytest

from artfs.errors import (
    ChangedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.digest import Digest
from artfs.storage.limits import ByteLimit, Limited
from artfs.storage.metrics import Metered
from artfs.storage.port import Locator, Objects
from artfs.storage.retry import Retrying
from tests.servers.faults import Status
from tests.storage.places import CONTENT, PLACES

SIZE = len(CONTENT)
ODD_KEYS = [
    "a b", "a%20b", "a+b", "ü-é-e\u0301-漢-😀", "what?x=1", "part#1", "a&b<c>'d\"", "a=b:c@d;e,f", "~*!()[]{}|^`", "%", "%2F%2e", "..a/b..",
]  # fmt: skip


def read(place, uri, at=0, count=SIZE, **locator):
    return bytes(place.objects.read(Locator(uri, **locator), at, count))


def all_text(error):
    return "".join(traceback.format_exception(error)) + repr(error)


# -- the port


@pytest.mark.parametrize("kind", PLACES)
def test_objects_have_the_methods_of_the_port_with_its_arguments(kind, open_place):
    inner = open_place(kind).objects
    for objects in (inner, Retrying(inner), Limited(inner, ByteLimit(1)), Metered(inner)):
        for name, method in inspect.getmembers(Objects, inspect.isfunction):
            if not name.startswith("_"):
                expected = list(inspect.signature(method).parameters)[1:]
                assert list(inspect.signature(getattr(objects, name)).parameters) == expected, name


@pytest.mark.parametrize("kind", PLACES)
def test_objects_that_were_closed_can_be_used_again(kind, open_place):
    place = open_place(kind)
    uri = place.put("object")
    for _ in range(2):
        assert read(place, uri) == CONTENT
        place.objects.close()
    place.objects.close()


# -- spans


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 1), (0, 100), (SIZE // 2, 7777), (SIZE - 1, 1), (SIZE - 100, 100), (0, SIZE)],
)
def test_a_span_is_returned_exactly_by_one_request(place, offset, count):
    uri = place.put("object")
    read(place, uri, 0, 1)
    place.proxy.forget()
    for size in (None, SIZE):
        assert read(place, uri, offset, count, size=size) == CONTENT[offset : offset + count]
    assert [request.range for request in place.proxy.requests()] == [f"bytes={offset}-{offset + count - 1}"] * 2


def test_eight_mib_come_in_one_request(place):
    big = CONTENT * 30
    uri = place.put("big", big)
    read(place, uri, 0, 1)
    place.proxy.forget()
    assert read(place, uri, 4321, 8 << 20) == big[4321 : 4321 + (8 << 20)]
    assert place.proxy.count("GET") == 1


def test_a_read_past_the_end_of_a_known_size_returns_what_is_there_without_asking(place):
    uri = place.put("object")
    assert read(place, uri, SIZE - 10, 100, size=SIZE) == CONTENT[-10:]
    place.proxy.forget()
    assert read(place, uri, SIZE, 100, size=SIZE) == b""
    assert read(place, uri, SIZE + 5, 100, size=SIZE) == b""
    assert place.proxy.count() == 0


def test_a_read_past_the_end_of_an_unknown_size_returns_what_is_there(place):
    uri = place.put("object")
    etag = place.objects.describe(uri).etag
    for pins in ({}, {"etag": etag}):
        assert read(place, uri, SIZE - 10, 100, **pins) == CONTENT[-10:]
        assert read(place, uri, SIZE, 100, **pins) == b""
        assert read(place, uri, SIZE + 5, 100, **pins) == b""


def test_an_empty_object_has_no_bytes(place):
    uri = place.put("empty", b"")
    assert place.objects.describe(uri).size == 0
    assert read(place, uri) == b""
    assert read(place, uri, size=0) == b""


def test_a_locator_may_name_a_span_inside_of_an_object(place):
    uri = place.put("object")
    assert read(place, uri, 0, 500, offset=1000, size=500) == CONTENT[1000:1500]
    assert read(place, uri, 499, 1, offset=1000, size=500) == CONTENT[1499:1500]
    assert read(place, uri, 400, 1000, offset=1000, size=500) == CONTENT[1400:1500]
    assert read(place, uri, 500, 1, offset=1000, size=500) == b""
    assert read(place, uri, 20, 100, offset=SIZE - 50) == CONTENT[-30:]
    assert read(place, uri, 50, 100, offset=SIZE - 50) == b""


# -- what is pinned


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 1, 10 * SIZE])
def test_an_object_of_another_size_than_recorded_has_changed(place, size):
    uri = place.put("object")
    for pins in ({}, {"etag": place.objects.describe(uri).etag}):
        for at in (0, size - 1):
            with pytest.raises(ChangedError, match=re.escape(uri)):
                read(place, uri, at, 1, size=size, **pins)


@pytest.mark.parametrize(("offset", "size"), [(SIZE - 10, 11), (SIZE, 1), (10, SIZE)])
def test_a_span_that_the_object_does_not_hold_has_changed(place, offset, size):
    uri = place.put("object")
    for at in (0, size - 1):
        with pytest.raises(ChangedError, match=re.escape(uri)):
            read(place, uri, at, 1, offset=offset, size=size)


def test_an_object_is_read_while_it_has_the_pinned_etag(place):
    uri = place.put("object")
    info = place.objects.describe(uri)
    assert read(place, uri, 5, 100, etag=info.etag, size=info.size) == CONTENT[5:105]
    place.put("object", CONTENT[::-1])
    assert place.objects.describe(uri).etag != info.etag
    for size in (info.size, None):
        with pytest.raises(ChangedError, match=re.escape(uri)):
            read(place, uri, 5, 100, etag=info.etag, size=size)
    place.put("object", CONTENT[:50])
    with pytest.raises(ChangedError, match=re.escape(uri)):  # not the end of an object of unknown size
        read(place, uri, 100, 10, etag=info.etag)


@pytest.mark.parametrize(
    "pin", ["a\nb", "a\r\nX-Header: b", "\0", "漢", "\ud800", "x" * 2000, "9" * 2000], ids=range(7)
)
def test_what_no_object_can_have_is_not_even_asked_for(place, pin):
    uri = place.put("object")
    for pins in ({"etag": pin}, {"version": pin}):
        with pytest.raises(ChangedError, match=re.escape(uri)) as caught:
            read(place, uri, **pins)
        assert str(caught.value).isprintable()
    if place.writes:
        with pytest.raises(NotFoundError, match=re.escape(uri)) as caught:
            place.objects.describe(uri, pin)
        assert str(caught.value).isprintable()
    assert place.proxy.count() == 0


@pytest.mark.parametrize("pin", ["é", 'a"b', "a b", ""])
def test_a_strange_etag_is_one_that_the_object_does_not_have(place, pin):
    uri = place.put("object")
    with pytest.raises(ChangedError, match=re.escape(uri)):
        read(place, uri, etag=pin)


def test_a_size_beyond_all_measure_is_one_that_the_object_does_not_have(place):
    uri = place.put("object")
    for size in (1 << 40, (1 << 63) - 1):
        for at in (0, size - 1):
            with pytest.raises(ChangedError, match=re.escape(uri)):
                read(place, uri, at, 1, size=size)


def test_an_object_that_is_gone_is_not_found(place):
    uri = place.put("object")
    etag = place.objects.describe(uri).etag
    place.remove("object")
    for locator in ({}, {"etag": etag}, {"size": SIZE}):
        with pytest.raises(NotFoundError, match=re.escape(uri)):
            read(place, uri, **locator)
    with pytest.raises(NotFoundError, match=re.escape(uri)):
        place.objects.describe(uri)


def test_a_bucket_that_does_not_exist_is_not_found(writable):
    scheme = writable.root.partition(":")[0]
    for ask in (
        lambda: read(writable, f"{scheme}://no-such-bucket/key"),
        lambda: writable.objects.describe(f"{scheme}://no-such-bucket/key"),
        lambda: list(writable.objects.list(f"{scheme}://no-such-bucket/")),
    ):
        with pytest.raises(NotFoundError, match="no-such-bucket"):
            ask()


@pytest.mark.parametrize(
    "rest", ["", "bucket", "/key", "bucket-/key", "user:word@bucket/key", "../key", "bucket/\ud800"]
)
def test_a_uri_that_names_no_object_is_refused(writable, rest):
    uri = f"{writable.root.partition(':')[0]}://{rest}"
    for ask in (
        lambda: read(writable, uri),
        lambda: writable.objects.describe(uri),
        lambda: writable.objects.write(uri, [b"x"]),
        lambda: writable.objects.remove(uri),
    ):
        with pytest.raises(InvalidInputError) as caught:
            ask()
        assert "word" not in all_text(caught.value)


# -- names


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_object_with_an_odd_name_is_that_object(writable, key):
    uri = writable.put(key, key.encode() * 3)
    for other in ("a", "a/b", "what", "part", "dir", "lead", "d", "e", "a/x"):
        writable.put(other, b"another")
    size = len(key.encode() * 3)
    info = writable.objects.describe(uri)
    assert (info.uri, info.size) == (uri, size)
    assert read(writable, uri, 1, 5, etag=info.etag, size=size) == (key.encode() * 3)[1:6]
    assert read(writable, uri, size, 5) == b""
    assert [found.etag for found in writable.objects.list(uri) if found.uri == uri] == [info.etag]
    writable.remove(key)
    with pytest.raises(NotFoundError, match=re.escape(uri)):
        read(writable, uri)
    writable.objects.write(uri, [b"written"])
    assert writable.get(key) == b"written"
    writable.objects.remove(uri)
    assert writable.get(key) is None


def test_a_quoted_url_is_asked_for_as_it_stands(open_place):
    place = open_place("http")
    place.put("a b+%20ü", b"right")
    assert read(place, f"{place.root}/a%20b+%2520%C3%BC") == b"right"
    assert read(place, f"{place.root}/a%20b+%2520%C3%BC?query=1#fragment") == b"right"
    assert place.proxy.requests()[-1].path.endswith("/a%20b+%2520%C3%BC?query=1")


# -- listing


def test_a_listing_has_every_object_below_a_prefix_and_no_other(writable):
    keys = ["p/a", "p/b/c", "p/z", "pq", "o"]
    writable.put_many(keys)
    found = {info.uri: info for info in writable.objects.list(writable.uri("p/"))}
    assert list(found) == [writable.uri(key) for key in ("p/a", "p/b/c", "p/z")]
    assert [info.uri for info in writable.objects.list(writable.uri("p"))] == [*found, writable.uri("pq")]
    assert [info.uri for info in writable.objects.list(f"{writable.root}/")] == sorted(map(writable.uri, keys))
    assert list(writable.objects.list(writable.uri("none"))) == []
    info = found[writable.uri("p/b/c")]
    described = writable.objects.describe(info.uri)
    assert (info.size, info.etag, info.version) == (5, described.etag, described.version)


def test_a_long_listing_comes_a_page_at_a_time(writable):
    keys = [f"many/{number:04}" for number in range(2500)]
    writable.put_many(keys)
    list(writable.objects.list(writable.uri("none")))
    writable.proxy.forget()
    listing = writable.objects.list(writable.uri("many/"))
    next(listing)
    begun = writable.proxy.count()
    assert [info.uri for info in listing] == [writable.uri(key) for key in keys[1:]]
    assert writable.proxy.count() == begun + 2


# -- writing


@pytest.mark.parametrize("data", [b"", b"x", CONTENT])
def test_what_was_written_is_there(writable, data):
    uri = writable.uri("d/written")
    for digest in (None, Digest.of(data)):
        info = writable.objects.write(uri, (data[at : at + 1000] for at in range(0, len(data), 1000)), digest)
        assert writable.get("d/written") == data
        assert info == writable.objects.describe(uri) or info.content_type == ""
        assert (info.uri, info.size) == (uri, len(data))
        assert read(writable, uri, size=len(data), etag=info.etag, version=info.version) == data


def test_what_was_uploaded_is_there_and_the_file_stays(writable, tmp_path):
    path = tmp_path / "file"
    for data in (b"", CONTENT):
        path.write_bytes(data)
        info = writable.objects.upload(writable.uri("uploaded"), path, Digest.of(data))
        assert writable.get("uploaded") == data == path.read_bytes()
        assert info.size == len(data)


def test_writing_replaces_an_object(writable):
    uri = writable.put("object")
    before = writable.objects.describe(uri)
    info = writable.objects.write(uri, [b"new"])
    assert writable.get("object") == b"new"
    assert info.etag != before.etag


def test_bytes_that_do_not_match_their_digest_are_refused_and_nothing_is_visible(writable, tmp_path):
    uri = writable.uri("object")
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    for write in (
        lambda: writable.objects.write(uri, [CONTENT], Digest.of(b"other")),
        lambda: writable.objects.upload(uri, path, Digest.of(b"other")),
    ):
        with pytest.raises(IntegrityError, match=re.escape(uri)):
            write()
        assert writable.get("object") is None
        assert list(writable.objects.list(uri)) == []


@pytest.mark.parametrize("error", [RuntimeError("a bug"), NotFoundError("a source that is gone"), KeyboardInterrupt()])
def test_a_write_whose_data_break_off_leaves_nothing(writable, error):
    def data():
        yield CONTENT
        raise error

    with pytest.raises(type(error)) as caught:
        writable.objects.write(writable.uri("object"), data())
    assert caught.value is error
    assert writable.get("object") is None


def test_a_write_that_is_refused_leaves_nothing(writable):
    writable.proxy.inject(Status(403), times=None, method="PUT")
    writable.proxy.inject(Status(403), times=None, method="POST")
    with pytest.raises(PermissionDeniedError, match="object"):
        writable.objects.write(writable.uri("object"), [CONTENT])
    assert writable.get("object") is None


def test_uploading_a_file_that_cannot_be_read_is_an_error_that_names_it(writable, tmp_path):
    with pytest.raises(NotFoundError, match=re.escape(str(tmp_path / "none"))):
        writable.objects.upload(writable.uri("object"), tmp_path / "none")
    with pytest.raises(UnreachableError, match=re.escape(str(tmp_path))):
        writable.objects.upload(writable.uri("object"), tmp_path)
    assert writable.get("object") is None


def test_removing_an_object_that_is_not_there_does_nothing(writable):
    uri = writable.put("object")
    writable.objects.remove(uri)
    assert writable.get("object") is None
    writable.objects.remove(uri)


# -- servers


@pytest.mark.parametrize("kind", PLACES)
def test_a_server_that_is_gone_is_unreachable(kind, open_place):
    place = open_place(kind)
    uri = place.put("object")
    read(place, uri, 0, 1)
    place.proxy.close()
    with pytest.raises(UnreachableError, match=re.escape(uri)):
        read(place, uri, size=SIZE)
    with pytest.raises(UnreachableError, match=re.escape(uri)):
        place.objects.describe(uri)
