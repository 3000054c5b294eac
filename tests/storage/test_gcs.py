"""Google Cloud Storage on a server that does as it does: generations, parts, refusals, names that obstore cannot say."""

import contextlib
import datetime
import gzip
import json
import re
import traceback

import google.cloud.storage.blob
import pytest

from artfs.errors import (
    ChangedError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.digest import Digest
from artfs.storage import gcs
from artfs.storage.bucket_uris import shown
from artfs.storage.gcs_session import GcsSession, converted
from artfs.storage.port import Locator
from tests.servers.faults import FlippedBit, Reset, ShortBody, Status
from tests.storage.places import CONTENT

SIZE = len(CONTENT)
HARD_KEYS = ["d//e", "dir/", "/lead", "//", "a/./b", "a/../b", "a/..", "tab\tnew\nline", "del\x7f"]


@pytest.fixture
def place(shared_places):
    return shared_places("gcs")


@pytest.fixture
def own(open_place):
    return open_place("gcs")


@pytest.fixture
def versioned(open_place):
    return open_place("gcs", versioned=True)


def read(place, uri, at=0, count=SIZE, **locator):
    return bytes(place.objects.read(Locator(uri, **locator), at, count))


# -- generations


def test_an_old_generation_is_read_after_its_object_was_replaced(versioned):
    uri = versioned.put("object")
    old = versioned.objects.describe(uri)
    versioned.put("object", b"new")
    assert read(versioned, uri, 5, 10, version=old.version, size=SIZE) == CONTENT[5:15]
    assert versioned.objects.describe(uri, old.version).size == SIZE
    assert versioned.objects.describe(uri).version != old.version


@pytest.mark.parametrize("key", ["object", "odd//object"])
def test_a_generation_that_is_gone_has_changed_while_the_object_is_there(place, key):
    uri = place.put(key)
    old = place.objects.describe(uri)
    place.put(key, b"new")
    for pins in ({"version": old.version}, {"version": old.version, "etag": old.etag, "size": SIZE}):
        with pytest.raises(ChangedError, match=re.escape(uri)):
            read(place, uri, **pins)
    with pytest.raises(NotFoundError, match=old.version):
        place.objects.describe(uri, old.version)
    place.remove(key)
    with pytest.raises(NotFoundError, match=re.escape(uri)):
        read(place, uri, version=old.version)


@pytest.mark.parametrize("version", ["none", "1.5", "-1", "9" * 30])
def test_what_is_no_number_is_no_generation(place, version):
    uri = place.put("object")
    with pytest.raises(NotFoundError, match=re.escape(repr(version))):
        read(place, uri, version=version)
    with pytest.raises(NotFoundError, match=re.escape(repr(version))):
        place.objects.describe(uri, version)


def test_a_read_that_is_pinned_to_an_etag_is_pinned_to_its_generation(versioned):
    uri = versioned.put("object")
    etag = versioned.objects.describe(uri).etag
    assert read(versioned, uri, 5, 10, etag=etag) == CONTENT[5:15]
    versioned.put("object", b"new")
    versioned.proxy.forget()
    assert read(versioned, uri, 50, 10, etag=etag) == CONTENT[50:60]
    assert versioned.proxy.count() == 1  # the generation is remembered
    with pytest.raises(ChangedError, match=re.escape(uri)):
        read(versioned, uri, etag="another")


def test_a_listing_gives_the_generations(versioned):
    versioned.put("a", b"old")
    for key in ("a", "b"):
        versioned.put(key, key.encode())
    found = list(versioned.objects.list(f"{versioned.root}/"))
    assert [info.uri for info in found] == [versioned.uri("a"), versioned.uri("b")]
    assert [read(versioned, info.uri, version=info.version) for info in found] == [b"a", b"b"]


# -- contents and names


def test_what_is_stored_compressed_is_read_as_it_is_stored(place):
    packed = gzip.compress(CONTENT, mtime=0)
    uri = place.put("packed", packed, content_encoding="gzip")
    place.put("odd//packed", packed, content_encoding="gzip")
    for one in (uri, place.uri("odd//packed")):
        assert place.objects.describe(one).size == len(packed)
        assert read(place, one, 0, len(packed), size=len(packed)) == packed
        assert read(place, one, 5, 10, size=len(packed)) == packed[5:15]


@pytest.mark.parametrize("key", HARD_KEYS)
def test_a_key_that_obstore_cannot_name_is_read_described_and_listed_all_the_same(place, key):
    for other in ("d", "d/e", "dir", "lead", "a", "a/b", "b", "x"):
        place.put(other, b"another")
    uri = place.put(key)
    info = place.objects.describe(uri)
    assert (info.uri, info.size) == (uri, SIZE)
    pins = {"etag": info.etag, "version": info.version}
    assert read(place, uri, 5, 10, size=SIZE, **pins) == CONTENT[5:15]
    assert read(place, uri, size=SIZE) == CONTENT
    assert read(place, uri, SIZE - 5, 10) == CONTENT[-5:]
    assert read(place, uri, SIZE, 10) == b""
    for size in (SIZE - 1, SIZE + 1):
        with pytest.raises(ChangedError, match=str(size)):
            read(place, uri, 0, 10, size=size)
    assert uri in [found.uri for found in place.objects.list(uri)]
    place.objects.write(uri, [b"new"])
    assert place.get(key) == b"new"
    with pytest.raises(ChangedError, match=re.escape(shown(uri))):
        read(place, uri, 0, 10, **pins)
    place.objects.remove(uri)
    with pytest.raises(NotFoundError, match=re.escape(shown(uri))):
        read(place, uri, 0, 10)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (ShortBody(3, honest=True), UnreachableError),
        (ShortBody(3), UnreachableError),
        (Reset(3), UnreachableError),
        (Status(403), PermissionDeniedError),
        (Status(404), NotFoundError),
        (Status(503), UnreachableError),
    ],
    ids=range(6),
)
def test_a_fault_meets_also_what_google_cloud_storage_reads(place, fault, kind):
    uri = place.put("odd//object")
    with (
        place.proxy.injected(fault, method="GET", path="alt=media") as injection,
        pytest.raises(kind, match=re.escape(uri)),
    ):
        read(place, uri, 5, 10, size=SIZE)
    assert injection.hits
    assert read(place, uri, 5, 10, size=SIZE) == CONTENT[5:15]


# -- writing


@pytest.mark.parametrize(("size", "resumable"), [(256 << 10, False), ((256 << 10) + 1, True), (3 * (256 << 10), True)])
@pytest.mark.parametrize("named", [False, True])
def test_what_is_big_goes_in_pieces(place, monkeypatch, tmp_path, size, resumable, named):
    monkeypatch.setattr(google.cloud.storage.blob, "_MAX_MULTIPART_SIZE", 256 << 10)
    monkeypatch.setattr(gcs, "_PART", 256 << 10)
    data = (CONTENT * 3)[:size]
    path = tmp_path / "file"
    path.write_bytes(data)
    place.proxy.forget()
    info = place.objects.upload(place.uri("object"), path, Digest.of(data) if named else None)
    # The server sends the pieces past the proxy, so what is seen is that they were announced, and of which object.
    assert place.proxy.count("POST", "uploadType=resumable") == resumable
    assert place.get("object") == data
    assert (info.size, info.version) == (size, place.objects.describe(info.uri).version)


def test_a_refused_digest_is_said_to_be_one(place):
    text = 'Provided MD5 hash "AAA" doesn\'t match calculated MD5 hash "BBB".'
    body = json.dumps({"error": {"code": 400, "message": text}}).encode()
    place.proxy.inject(Status(400, body=body, headers={"Content-Type": "application/json"}), method="POST")
    with pytest.raises(IntegrityError, match=re.escape(place.uri("object"))):
        place.objects.write(place.uri("object"), [CONTENT], Digest.of(b""))
    assert place.get("object") is None


def test_bytes_that_were_damaged_on_their_way_are_found_without_a_digest(place):
    from google.resumable_media import DataCorruption

    with pytest.raises(IntegrityError, match="gs://bucket/key"), converted("gs://bucket/key"):
        raise DataCorruption(None, "checksum mismatch")


def test_a_write_into_a_bucket_that_does_not_exist_is_not_found(place):
    with pytest.raises(NotFoundError, match="gs://no-such-bucket/key"):
        place.objects.write("gs://no-such-bucket/key", [CONTENT])


# -- credentials


@pytest.fixture
def opened(own):
    """The sessions that the objects of the place have opened."""
    found, open_session = [], own.objects._sessions._open

    def counting():
        found.append(open_session())
        return found[-1]

    own.objects._sessions._open = counting
    return found


ASKING = {
    "read": lambda place, uri: read(place, uri) == CONTENT,
    "describe": lambda place, uri: place.objects.describe(uri).size == SIZE,
    "list": lambda place, uri: [info.uri for info in place.objects.list(uri)] == [uri],
    "write": lambda place, uri: place.objects.write(uri, [b"new"]).size == 3,
    "remove": lambda place, uri: place.objects.remove(uri) is None,
}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("asking", ASKING)
def test_a_refusal_is_answered_by_new_credentials_and_asking_again_once(own, opened, asking, status):
    uri = own.put("object")
    own.proxy.inject(Status(status))
    assert ASKING[asking](own, uri)
    assert len(opened) == 2
    own.proxy.inject(Status(status), times=None)
    own.proxy.forget()
    for _ in range(3):
        with pytest.raises(PermissionDeniedError, match=re.escape(uri)):
            ASKING[asking](own, uri)
    assert (own.proxy.count(), len(opened)) == (3, 2)


def test_without_credentials_requests_are_not_signed(own):
    uri = own.put("object")
    assert read(own, uri) == CONTENT
    own.objects.describe(uri)
    assert not any("authorization" in map(str.lower, request.headers) for request in own.proxy.requests())


class Credentials:
    """Credentials of google-auth that give out tokens, or do not."""

    def __init__(self, error=None) -> None:
        self.token, self.expiry, self.error = "", None, error
        self.refreshed = 0

    @property
    def valid(self):
        return bool(self.token)

    def refresh(self, request):
        assert request.session is not None
        self.refreshed += 1
        if self.error is not None:
            raise self.error
        self.token = f"token-{self.refreshed}-that-nobody-may-see"
        self.expiry = datetime.datetime(2100, 1, 1)  # noqa: DTZ001 - as google-auth gives it


@pytest.fixture
def signed(own, monkeypatch):
    """A function that gives the session of the place credentials."""

    def give(credentials):
        plain = GcsSession.__init__

        def init(session):
            plain(session)
            session._anonymous = False
            monkeypatch.setattr(GcsSession, "_credentials", credentials)

        monkeypatch.setattr(GcsSession, "__init__", init)
        own.objects.close()
        return own

    return give


def test_obstore_signs_by_the_tokens_of_google_auth(signed):
    credentials = Credentials()
    own = signed(credentials)
    uri = own.put("object")
    for _ in range(2):
        assert read(own, uri) == CONTENT
    assert credentials.refreshed == 1
    assert own.proxy.requests()[-1].headers["authorization"] == "Bearer token-1-that-nobody-may-see"


def test_a_token_is_in_no_error_and_no_log(signed, caplog):
    own = signed(Credentials())
    uri = own.put("object")
    for fault in (Status(403), Status(500), Status(404), Reset(0)):
        with (
            own.proxy.injected(fault),
            pytest.raises((PermissionDeniedError, UnreachableError, NotFoundError)) as caught,
        ):
            read(own, uri)
        assert "nobody-may-see" not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_credentials_that_cannot_be_refreshed_are_an_error_of_artfs(signed, caplog):
    from google.auth.exceptions import RefreshError

    own = signed(Credentials(RefreshError("invalid_grant for secret-of-a-key")))
    with pytest.raises(PermissionDeniedError, match="RefreshError") as caught:
        read(own, own.put("object"))
    assert "secret-of-a-key" not in str(caught.value) + caplog.text


@pytest.mark.parametrize("content", ["{}", "no json", None])
def test_credentials_that_cannot_be_used_are_an_error_of_artfs(own, monkeypatch, tmp_path, content):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    for ask in (lambda: read(own, own.uri("object")), lambda: own.objects.describe(own.uri("object"))):
        with pytest.raises(PermissionDeniedError, match="Google credentials"):
            ask()


def test_an_emulator_that_is_no_url_is_refused(own, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    with pytest.raises(PermissionDeniedError, match="STORAGE_EMULATOR_HOST"):
        read(own, own.uri("object"))


def test_broken_credentials_of_gcloud_are_not_taken_for_none(home):
    for path in (".config/gcloud", "elsewhere"):
        (home / path).mkdir(parents=True)
        (home / path / "application_default_credentials.json").write_text("{}")
        with pytest.raises(PermissionDeniedError, match="Google credentials"):
            GcsSession()


def test_without_any_credentials_the_session_is_anonymous(home):
    with contextlib.closing(GcsSession()) as session:
        assert session._anonymous
        assert session._token() == {"token": "", "expires_at": None}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("RefreshError", PermissionDeniedError), ("TransportError", UnreachableError)],
)
def test_failures_of_google_auth_are_errors_of_artfs(name, kind):
    import google.auth.exceptions

    with pytest.raises(kind, match="gs://bucket/key") as caught, converted("gs://bucket/key"):
        raise getattr(google.auth.exceptions, name)("secret-of-a-key")
    assert "secret-of-a-key" not in str(caught.value)


@pytest.mark.parametrize(("status", "kind"), [(412, ChangedError), (418, UnreachableError), (400, UnreachableError)])
def test_a_refused_removal_says_why(place, status, kind):
    uri = place.put("object")
    place.proxy.inject(Status(status), method="DELETE")
    with pytest.raises(kind, match=re.escape(uri)):
        place.objects.remove(uri)
    assert place.get("object") == CONTENT


def test_nothing_is_asked_for_that_was_not_wanted(place):
    uri = place.put("object")
    place.objects.describe(uri)
    with pytest.raises(NotFoundError):
        place.objects.describe(place.uri("none"))
    list(place.objects.list(uri))
    assert all("/o" in request.path for request in place.proxy.requests())  # an object, or the objects


def test_a_flipped_bit_is_not_for_objects_to_find(place):
    """What is read is proven by who knows its digest, `artfs.content`."""
    uri = place.put("object")
    place.proxy.inject(FlippedBit(3), method="GET")
    assert read(place, uri, 0, 10) != CONTENT[:10]
