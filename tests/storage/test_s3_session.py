"""Credentials of S3 that are rotated, missing or refused, and the places where it is looked for."""

import contextlib
import gc
import re
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import botocore.exceptions
import obstore
import pytest

from artfs.errors import (
    PermissionDeniedError,
    UnreachableError,
)
from artfs.storage import renewal, s3, s3_session, spans
from artfs.storage.port import Locator
from artfs.storage.s3_session import S3Session
from tests.servers.faults import Status
from tests.servers.seaweed import Credentials
from tests.storage.places import CONTENT, refusal

SIZE = len(CONTENT)
WRONG = Credentials("AKIAWRONGSEAWEED0001", "wrong-secret-that-nobody-may-see-0123456789")


@pytest.fixture
def own(open_place):
    """A place with objects of the test's own, which have not asked for anything yet."""
    return open_place("s3")


def read(place, uri, at=0, count=SIZE, **locator):
    return bytes(place.objects.read(Locator(uri, **locator), at, count))


def use(monkeypatch, credentials):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials.secret_key)


def all_text(error, caplog):
    return "".join(traceback.format_exception(error)) + repr(error) + error.hint + caplog.text


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
    "read an odd key": lambda place, uri: read(place, place.uri("odd\tkey")) == b"x",
}


@pytest.mark.parametrize("asking", ASKING)
def test_credentials_that_were_rotated_in_the_environment_are_loaded_again(own, opened, s3_server, monkeypatch, asking):
    uri = own.put("object")
    own.put("odd\tkey", b"x")
    use(monkeypatch, WRONG)
    assert own.objects._sessions._current()
    use(monkeypatch, s3_server.owner)
    assert ASKING[asking](own, uri)
    assert len(opened) == 2


def test_credentials_that_were_rotated_in_a_profile_are_loaded_again(own, opened, home, s3_server, monkeypatch):
    def write_profile(credentials):
        (home / ".aws").mkdir(exist_ok=True)
        (home / ".aws/credentials").write_text(
            f"[work]\naws_access_key_id={credentials.access_key}\naws_secret_access_key={credentials.secret_key}\n"
        )

    uri = own.put("object")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_PROFILE", "work")
    write_profile(s3_server.owner)
    assert read(own, uri) == CONTENT
    write_profile(WRONG)
    own.proxy.inject(Status(403))  # what was right is not any more
    with pytest.raises(PermissionDeniedError):
        read(own, uri)
    assert len(opened) == 2
    monkeypatch.setattr(renewal, "PAUSE", 0.0)
    write_profile(s3_server.reader)
    assert read(own, uri) == CONTENT
    assert len(opened) == 3


@pytest.mark.parametrize(
    "fault", [Status(403), refusal("ExpiredToken"), refusal("InvalidToken"), refusal("AccessDenied", 403)], ids=range(4)
)
@pytest.mark.parametrize("key", ["object", "odd\tobject"])
def test_a_refusal_is_answered_by_new_credentials_and_asking_again(own, opened, fault, key):
    uri = own.put(key)
    own.proxy.inject(fault, method="GET", path="object")
    assert read(own, uri) == CONTENT
    assert (own.proxy.count("GET", "object"), len(opened)) == (2, 2)


@pytest.mark.parametrize("key", ["object", "odd\tobject"])
def test_a_question_with_an_expired_token_is_asked_again_although_its_refusal_has_no_code(own, opened, key):
    uri = own.put(key)
    own.proxy.inject(refusal("ExpiredToken"), method="HEAD", path="object")
    assert own.objects.describe(uri).size == SIZE
    assert len(opened) == 2


def test_what_stays_refused_is_asked_for_twice_and_credentials_are_not_loaded_each_time(own, opened):
    uri = own.put("object")
    own.proxy.inject(refusal("AccessDenied", 403), times=None)
    for _ in range(5):
        with pytest.raises(PermissionDeniedError, match="AccessDenied"):
            read(own, uri)
    assert (own.proxy.count(), len(opened)) == (6, 2)


def test_threads_whose_credentials_are_refused_load_new_ones_once(own, opened, s3_server, monkeypatch):
    uri = own.put("object")
    use(monkeypatch, WRONG)
    assert own.objects._sessions._current()
    use(monkeypatch, s3_server.reader)
    barrier, asked = threading.Barrier(8), threading.local()
    plain = s3.read_span

    def together(*arguments):
        try:
            return plain(*arguments)
        except PermissionDeniedError:
            if not hasattr(asked, "once"):
                asked.once = True
                barrier.wait(120)  # all of them were refused the same credentials
            raise

    monkeypatch.setattr(s3, "read_span", together)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: read(own, uri), range(8))) == [CONTENT] * 8
    assert len(opened) == 2


def test_what_is_written_in_parts_is_written_again_with_new_credentials(own, opened, small_parts, tmp_path):
    data = CONTENT * 30
    (tmp_path / "file").write_bytes(data)
    for fault in ({"method": "POST", "path": "uploads"}, {"method": "PUT", "path": "partNumber"}):
        own.objects._sessions._renewed_at = None
        own.proxy.inject(Status(403), **fault)
        own.objects.upload(own.uri("object"), tmp_path / "file")
        assert own.get("object") == data
        own.remove("object")
    assert len(opened) == 3


def test_a_secret_is_in_no_error_and_no_log(own, s3_server, monkeypatch, caplog):
    uri = own.put("object")
    own.put("odd\tobject")
    for credentials, fault in ((WRONG, None), (s3_server.owner, Status(403)), (s3_server.owner, Status(500))):
        use(monkeypatch, credentials)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token-that-nobody-may-see")
        own.objects.close()
        own.objects._sessions._renewed_at = None
        with own.proxy.injected(fault) if fault else contextlib.nullcontext():
            for ask in (
                lambda: read(own, uri),
                lambda: read(own, own.uri("odd\tobject")),
                lambda: own.objects.describe(uri),
            ):
                with pytest.raises((PermissionDeniedError, UnreachableError)) as caught:
                    ask()
                text = all_text(caught.value, caplog)
                assert credentials.secret_key not in text
                assert "token-that-nobody-may-see" not in text


def test_without_credentials_what_is_public_is_read_and_the_rest_is_refused(own, s3_server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    uri = own.put("object")
    for ask in (
        lambda: read(own, uri),
        lambda: own.objects.describe(uri),
        lambda: list(own.objects.list(uri)),
        lambda: own.objects.write(uri, [b"x"]),
    ):
        with pytest.raises(PermissionDeniedError, match=re.escape(uri)):
            ask()
    public = s3_server.bucket()
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],'
        f'"Resource":["arn:aws:s3:::{public}","arn:aws:s3:::{public}/*"]}}]}}'
    )
    own.client.put_bucket_policy(Bucket=public, Policy=policy)
    own.client.put_object(Bucket=public, Key="object", Body=CONTENT)
    uri = f"s3://{public}/object"
    assert read(own, uri) == CONTENT
    assert own.objects.describe(uri).size == SIZE
    assert [info.uri for info in own.objects.list(uri)] == [uri]
    assert not any("Authorization" in request.headers for request in own.proxy.requests())


def test_a_token_that_makes_no_header_is_an_error_of_artfs(own, monkeypatch, caplog):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-that-nobody-may-see\nand-more")
    for ask in (lambda: read(own, own.uri("object")), lambda: own.objects.describe(own.uri("object"))):
        with pytest.raises(UnreachableError, match="obstore has failed") as caught:
            ask()
        assert "nobody-may-see" not in all_text(caught.value, caplog)


def test_credentials_of_obstore_are_asked_for_again_before_they_expire(own, monkeypatch):
    uri = own.put("object")
    asked = []
    plain = S3Session._frozen
    monkeypatch.setattr(S3Session, "_frozen", lambda session: asked.append(1) or plain(session))
    for life, expected in ((timedelta(minutes=5), 1), (timedelta(seconds=-1), 3)):
        monkeypatch.setattr(s3_session, "_CREDENTIAL_LIFE", life)
        asked.clear()
        own.objects.close()
        for _ in range(3):
            read(own, uri)
        assert len(asked) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"AWS_PROFILE": "there-is-none"},
        {"AWS_ACCESS_KEY_ID": "AKIAHALF", "AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_ENDPOINT_URL_S3": "no url"},
        {"AWS_CA_BUNDLE": "/no/such/file"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_configuration_that_cannot_be_used_is_an_error_of_artfs(own, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for ask in (lambda: read(own, own.uri("object")), lambda: own.objects.describe(own.uri("object"))):
        with pytest.raises(PermissionDeniedError, match="AWS configuration"):
            ask()


def test_credentials_that_cannot_be_renewed_are_an_error_of_artfs(own, monkeypatch, home):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (home / ".aws").mkdir()
    program = "sh -c 'echo secret-of-a-program >&2; exit 1'"
    (home / ".aws/config").write_text(f"[default]\ncredential_process = {program}\n")
    with pytest.raises(PermissionDeniedError) as caught:
        read(own, own.uri("object"))
    assert "secret-of-a-program" not in str(caught.value)
    with (
        pytest.raises(PermissionDeniedError, match="CredentialRetrievalError") as caught,
        s3_session.converted("s3://b/k"),
    ):
        raise botocore.exceptions.CredentialRetrievalError(provider="p", error_msg="secret-of-a-program")
    assert "secret-of-a-program" not in str(caught.value)


# -- places


@pytest.mark.parametrize(
    ("settings", "bucket", "expected"),
    [
        ({}, "bucket", "https://bucket.s3.eu-west-1.amazonaws.com/key"),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, "bucket", "https://bucket.s3.eu-west-1.amazonaws.com/key"),
        ({}, "dotted.bucket", "https://s3.eu-west-1.amazonaws.com/dotted.bucket/key"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "bucket", "https://bucket.s3.dualstack.eu-west-1.amazonaws.com/key"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "bucket", "https://bucket.s3.eu-west-1.amazonaws.com.cn/key"),
        ({"AWS_ENDPOINT": "http://elsewhere", "AWS_ENDPOINT_URL": ""}, "bucket", "https://bucket.s3.eu-west-1.amazonaws.com/key"),
        ({"AWS_ENDPOINT_URL_S3": "http://elsewhere", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "bucket",
         "https://bucket.s3.eu-west-1.amazonaws.com/key"),
        ({"AWS_ENDPOINT_URL_S3": "https://s3.example.org"}, "bucket", "https://s3.example.org/bucket/key"),
        ({"AWS_ENDPOINT_URL": "http://s3.example.org:9000"}, "bucket", "http://s3.example.org:9000/bucket/key"),
    ],
)  # fmt: skip
def test_obstore_reads_where_boto3_would(home, monkeypatch, settings, bucket, expected):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(S3Session, "_region", lambda *_: "eu-west-1")
    with contextlib.closing(S3Session()) as session:
        url = obstore.sign(session.store(bucket), "GET", "key", timedelta(minutes=1))
    assert url.partition("?")[0] == expected
    assert "AKIA" in url


@pytest.mark.parametrize("status", [200, 301, 403])
def test_the_region_of_a_bucket_is_what_the_service_says_even_if_it_refuses(own, monkeypatch, status):
    monkeypatch.setattr(s3_session, "_TRIES", 1)
    with contextlib.closing(S3Session()) as session:
        with own.proxy.injected(Status(status, body=b"", headers={"x-amz-bucket-region": "eu-north-1"})):
            assert session._region("bucket", "us-east-1") == "eu-north-1"
        own.proxy.inject(Status(status, body=b""))
        assert session._region("bucket", "us-east-1") == "us-east-1"
        with own.proxy.injected(Status(500)), pytest.raises(UnreachableError, match="s3://bucket"):
            session._region("bucket", "us-east-1")
        own.proxy.close()
        with pytest.raises(UnreachableError, match="s3://bucket"):
            session._region("bucket", "us-east-1")


def test_what_obstore_would_find_in_the_environment_changes_nothing(own, monkeypatch):
    uri = own.put("object")
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert read(own, uri) == CONTENT


def test_a_private_authority_is_trusted_where_aws_is_told_so(http_server, own, monkeypatch):
    http_server.put("bucket/key", CONTENT)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", http_server.https_url)
    with pytest.raises(UnreachableError, match="cannot be connected"):
        read(own, "s3://bucket/key")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(http_server.certificate))
    own.objects.close()
    assert read(own, "s3://bucket/key", 5, 10, size=SIZE) == CONTENT[5:15]


@pytest.mark.parametrize("forked", [False, True])
def test_stores_are_let_go_of_but_in_a_forked_child(forked):
    """There, to let go of one would wait for threads that are in the parent."""

    class Session:
        pass

    threads, session = spans._Threads(), Session()
    threads.sessions.add(session)
    if forked:
        threads.forked()
    found = weakref.ref(session)
    del session
    gc.collect()
    assert (found() is not None) is forked
