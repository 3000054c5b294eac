"""S3 on a real server: versions, parts, and names that obstore cannot say."""

import re
import types

import botocore.endpoint
import pytest

from artfs.errors import (
    ChangedError,
    IntegrityError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.digest import Digest
from artfs.storage import s3_session
from artfs.storage.bucket_uris import shown
from artfs.storage.port import Locator
from tests.servers.faults import ChangedETag, Reset, Status, WrongRange
from tests.storage.places import CONTENT, refusal

SIZE = len(CONTENT)


@pytest.fixture
def place(shared_places):
    return shared_places("s3")


@pytest.fixture
def own(open_place):
    """A place with objects of the test's own, which have not asked for anything yet."""
    return open_place("s3")


@pytest.fixture
def versioned(open_place):
    return open_place("s3", versioned=True)


def read(place, uri, at=0, count=SIZE, **locator):
    return bytes(place.objects.read(Locator(uri, **locator), at, count))


# -- versions


def test_an_old_version_is_read_after_its_object_was_replaced_and_removed(versioned):
    uri = versioned.put("object")
    old = versioned.objects.describe(uri)
    assert old.version
    for change in (lambda: versioned.put("object", b"new"), lambda: versioned.remove("object")):
        change()
        assert read(versioned, uri, 5, 10, version=old.version) == CONTENT[5:15]
        assert read(versioned, uri, 5, 10, version=old.version, etag=old.etag, size=SIZE) == CONTENT[5:15]
        assert versioned.objects.describe(uri, old.version) == old
    with pytest.raises(NotFoundError, match=re.escape(uri)):
        read(versioned, uri)


def test_a_version_that_is_not_there_is_not_found(versioned):
    uri = versioned.put("object")
    other = versioned.objects.describe(versioned.put("other")).version
    for version in ("none", other, "0123456789abcdef0123456789abcdef"):
        with pytest.raises(NotFoundError, match=version):
            read(versioned, uri, version=version)
        with pytest.raises(NotFoundError, match=version):
            versioned.objects.describe(uri, version)


@pytest.mark.parametrize("fault", [refusal("InvalidArgument"), refusal("MethodNotAllowed", 405)], ids=range(2))
def test_what_a_service_does_not_take_for_a_version_is_not_found(place, fault):
    uri = place.put("object")
    with place.proxy.injected(fault), pytest.raises(NotFoundError, match="in version some-version"):
        read(place, uri, version="some-version")


def test_a_delete_marker_is_not_a_version_with_bytes(versioned):
    uri = versioned.put("object")
    marker = versioned.client.delete_object(**versioned.at("object"))["VersionId"]
    with pytest.raises(NotFoundError, match=marker):
        read(versioned, uri, version=marker)


def test_a_version_of_a_bucket_that_keeps_none_is_not_taken_for_another_object(place):
    uri = place.put("object")
    with pytest.raises(ChangedError, match="some-version"):
        read(place, uri, version="some-version")
    with pytest.raises(NotFoundError, match="some-version"):
        place.objects.describe(uri, "some-version")


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("key", ["object", "odd\tobject"])
def test_the_version_with_the_recorded_etag_is_found_when_none_was_recorded(versioned, gone, key):
    versioned.put(f"{key}-longer")
    uri = versioned.put(key)
    etag = versioned.objects.describe(uri).etag
    versioned.put(key, b"new")
    if gone:
        versioned.remove(key)
    assert read(versioned, uri, 5, 10, etag=etag, size=SIZE) == CONTENT[5:15]
    versioned.proxy.forget()
    assert read(versioned, uri, 50, 10, etag=etag, size=SIZE) == CONTENT[50:60]
    assert versioned.proxy.count() == 1  # where it is, is remembered
    with pytest.raises(NotFoundError if gone else ChangedError, match=re.escape(shown(uri))):
        read(versioned, uri, etag="0" * 32)


def test_an_object_from_before_its_bucket_kept_versions_is_found_by_its_etag(s3_server, own):
    bucket = s3_server.bucket()
    own.client.put_object(Bucket=bucket, Key="object", Body=CONTENT)
    uri = f"s3://{bucket}/object"
    etag = own.objects.describe(uri).etag
    own.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    own.client.put_object(Bucket=bucket, Key="object", Body=b"new")
    assert read(own, uri, 5, 10, etag=etag, size=SIZE) == CONTENT[5:15]


def test_the_search_for_a_version_ends_at_the_next_key(versioned):
    for number in range(5):
        versioned.put(f"object-{number}")
    uri = versioned.put("object")
    versioned.objects.describe(uri)
    client = versioned.objects._sessions._session.client
    paginator = client.get_paginator("list_object_versions")
    pages = []
    paginator_of = client.get_paginator

    class OnePage:
        def paginate(self, **arguments):
            for page in paginator.paginate(**arguments, PaginationConfig={"PageSize": 2}):
                pages.append(page)
                yield page

    client.get_paginator = lambda name: OnePage() if name == "list_object_versions" else paginator_of(name)
    with pytest.raises(ChangedError):
        read(versioned, uri, etag="0" * 32)
    assert len(pages) == 1


@pytest.mark.parametrize("status", [403, 404, 501])
def test_an_object_has_changed_also_where_versions_may_not_be_listed(own, status):
    uri = own.put("object")
    own.proxy.inject(Status(status), times=None, path="?versions")
    with pytest.raises(ChangedError, match=re.escape(uri)):
        read(own, uri, etag="0" * 32)


def test_a_listing_gives_the_latest_versions_and_no_delete_markers(versioned):
    for key in ("a", "b", "c"):
        versioned.put(key, b"old")
        versioned.put(key, key.encode() * 3)
    versioned.remove("b")
    found = list(versioned.objects.list(f"{versioned.root}/"))
    assert [info.uri for info in found] == [versioned.uri("a"), versioned.uri("c")]
    for info in found:
        described = versioned.objects.describe(info.uri)
        assert (info.version, info.etag, info.raw_etag, info.size) == (
            described.version, described.etag, described.raw_etag, 3,
        )  # fmt: skip
        assert read(versioned, info.uri, version=info.version) == info.uri[-1].encode() * 3


def test_a_long_listing_of_versions_comes_a_page_at_a_time_and_nothing_comes_twice(versioned):
    keys = [f"many/{number:04}" for number in range(1100)]
    versioned.put_many(keys)
    assert [info.uri for info in versioned.objects.list(versioned.uri("many/"))] == [versioned.uri(key) for key in keys]
    assert versioned.proxy.count(path="?versions") == 2
    versioned.proxy.inject(Status(403), times=None, path="key-marker=place")
    listing, found = versioned.objects.list(versioned.uri("many/")), []
    with pytest.raises(PermissionDeniedError, match="many"):
        found.extend(info.uri for info in listing)
    assert len(found) == len(set(found)) <= 1000


@pytest.mark.parametrize("path", ["?versioning", "?versions"])
@pytest.mark.parametrize("status", [403, 501])
def test_who_may_not_see_versions_lists_without_them(versioned, path, status):
    uri = versioned.put("object")
    versioned.proxy.inject(Status(status), times=None, path=path)
    found = list(versioned.objects.list(f"{versioned.root}/"))
    assert [(info.uri, info.version) for info in found] == [(uri, None)]


def test_written_objects_of_a_bucket_with_versions_say_theirs(versioned, tmp_path):
    first = versioned.objects.write(versioned.uri("object"), [b"first"])
    (tmp_path / "file").write_bytes(b"second")
    second = versioned.objects.upload(versioned.uri("object"), tmp_path / "file")
    assert first.version not in {None, second.version}
    assert read(versioned, first.uri, version=first.version) == b"first"
    assert read(versioned, first.uri, version=second.version) == b"second"


# -- what is pinned


def test_a_reply_with_another_etag_is_not_the_pinned_object(place):
    uri = place.put("object")
    etag = place.objects.describe(uri).etag
    for pins in ({"size": SIZE}, {}):
        with place.proxy.injected(ChangedETag(), method="GET"), pytest.raises(ChangedError, match=re.escape(uri)):
            read(place, uri, 5, 10, etag=etag, **pins)
    assert read(place, uri, 5, 10, etag=etag) == CONTENT[5:15]
    assert {name.lower(): value for name, value in place.proxy.requests()[-1].headers.items()}[
        "if-match"
    ] == f'"{etag}"'


# -- names that obstore cannot say


@pytest.mark.parametrize("key", ["d//e", "dir/", "a/b//c/", "tab\tnew\nline", "del\x7f"])
def test_a_key_that_obstore_cannot_name_is_read_and_described_all_the_same(versioned, key):
    for other in ("d", "d/e", "dir", "a", "a/b/c", "x"):
        versioned.put(f"other/{other}", b"another")
    uri = versioned.uri(key)
    data = b"" if key.endswith("/") else CONTENT  # SeaweedFS keeps no bytes in what it takes for directories
    versioned.put(key, data)
    info = versioned.objects.describe(uri)
    assert info.size == len(data)
    pins = {"etag": info.etag, "version": info.version}
    assert read(versioned, uri, size=len(data), **pins) == data
    assert read(versioned, uri, 5, 10) == data[5:15]
    assert read(versioned, uri, SIZE, 10) == b""
    if data:
        assert read(versioned, uri, SIZE - 5, 10, **pins) == data[-5:]
        with pytest.raises(ChangedError, match="ETag"):
            read(versioned, uri, etag="0" * 32)
        for size in (SIZE - 1, SIZE + 1):
            with pytest.raises(ChangedError, match=str(size)):
                read(versioned, uri, 0, 10, size=size)
        with pytest.raises(ChangedError, match="shorter"):
            read(versioned, uri, SIZE, 10, size=SIZE + 10)
        with pytest.raises(NotFoundError):
            read(versioned, uri, version="none")
        versioned.proxy.inject(WrongRange(), method="GET")
        with pytest.raises(UnreachableError, match="bytes 5 to 15"):
            read(versioned, uri, 5, 10)
        versioned.proxy.inject(Status(206, body=b"x", headers={"ETag": '"x"'}), method="GET")
        with pytest.raises(UnreachableError, match="which bytes"):
            read(versioned, uri, 5, 10, size=SIZE)
    versioned.objects.remove(uri)
    with pytest.raises(NotFoundError):
        read(versioned, uri, 5, 10)


def test_slashes_at_the_ends_of_a_key_are_part_of_it(place):
    place.put("dir", b"another object, without a slash")
    with pytest.raises(NotFoundError, match=re.escape(place.uri("dir/"))):
        read(place, place.uri("dir/"))
    with pytest.raises(NotFoundError, match=re.escape(place.uri("dir/"))):
        place.objects.describe(place.uri("dir/"))


def test_a_name_that_cannot_be_a_bucket_is_refused(place):
    with pytest.raises(InvalidInputError):
        list(place.objects.list("s3://-/"))
    with pytest.raises(InvalidInputError, match="cannot be an object"):
        place.objects.write(f"s3://{'x' * 300}/key", [b"x"])


def test_a_name_with_control_characters_is_shown_on_one_line(place):
    with pytest.raises(NotFoundError, match=r"a\\n2026 ERROR everything is lost does not exist") as caught:
        read(place, place.uri("a\n2026 ERROR everything is lost"))
    assert str(caught.value).isprintable()


# -- writing


@pytest.mark.parametrize(("size", "parts"), [((6 << 20) - 1, 0), (6 << 20, 0), ((6 << 20) + 1, 2), (10 << 20, 2)])
def test_what_is_bigger_than_one_request_goes_in_parts(place, small_parts, tmp_path, size, parts):
    data = (CONTENT * 40)[:size]
    path = tmp_path / "file"
    path.write_bytes(data)
    for write in (
        lambda: place.objects.upload(place.uri("object"), path, Digest.of(data)),
        lambda: place.objects.write(place.uri("object"), [data[:5], data[5:]], Digest.of(data)),
    ):
        place.proxy.forget()
        info = write()
        assert place.proxy.count("PUT", "partNumber=") == parts
        assert place.get("object") == data
        assert info.size == size
        assert (
            bytes(place.objects.read(Locator(info.uri, size=size, etag=info.etag), 5 << 20, 1000))
            == data[5 << 20 :][:1000]
        )


def test_an_upload_in_parts_that_fails_leaves_nothing(place, small_parts, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT * 30)
    place.proxy.inject(Status(400), times=None, method="PUT", path="partNumber=2")
    with pytest.raises(UnreachableError, match=re.escape(place.uri("object"))):
        place.objects.upload(place.uri("object"), path)
    assert place.get("object") is None
    assert place.client.list_multipart_uploads(Bucket=place.bucket).get("Uploads", []) == []


def test_a_write_that_fails_for_a_moment_is_repeated(place, monkeypatch):
    monkeypatch.setattr(botocore.endpoint, "time", types.SimpleNamespace(sleep=lambda _: None))
    for fault in (Status(503), Reset(None), Reset(before_reply=True)):
        place.proxy.inject(fault, method="PUT")
        place.objects.write(place.uri("object"), [CONTENT], Digest.of(CONTENT))
        assert place.get("object") == CONTENT
        place.remove("object")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refusal("BadDigest"), IntegrityError),
        (refusal("NoSuchBucket", 404), NotFoundError),
        (refusal("XMinioStorageFull", 507), NoSpaceError),
        (refusal("ExpiredToken"), PermissionDeniedError),
        (refusal("InvalidRequest"), UnreachableError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_refused_write_says_why(own, fault, kind):
    own.proxy.inject(fault, times=None, method="PUT")
    with pytest.raises(kind, match=re.escape(own.uri("object"))):
        own.objects.write(own.uri("object"), [CONTENT])


@pytest.mark.parametrize(("header", "expected"), [(7, 7.0), (None, None)])
def test_a_busy_service_says_how_long_it_wants_to_be_left_alone(own, monkeypatch, header, expected):
    monkeypatch.setattr(s3_session, "_TRIES", 1)
    own.proxy.inject(Status(503, retry_after=header), times=None, method="PUT")
    with pytest.raises(UnreachableError) as caught:
        own.objects.write(own.uri("object"), [CONTENT])
    assert caught.value.retry_after == expected
