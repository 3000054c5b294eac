"""HTTP: forbidden addresses, redirects, passwords, TLS and proxies."""

import contextlib
import re
import socket
import traceback

import pytest

from artfs.errors import (
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.storage import http_session
from artfs.storage.addresses import is_forbidden
from artfs.storage.http import HttpObjects
from artfs.storage.port import Locator
from artfs.storage.retry import Retrying
from tests.harness import wait_for
from tests.servers.faults import Reset, ShortBody, Stall, Status
from tests.storage.places import CONTENT
from tests.storage.raw_http import Server, reply, span

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


def all_text(error, caplog):
    return "".join(traceback.format_exception(error)) + repr(error) + error.hint + caplog.text


# -- addresses

FORBIDDEN = [
    "169.254.169.254", "169.254.170.2", "169.254.0.1", "[169.254.169.254]", "169.254.169.254.", "fe80::1", "fe80::1%eth0", "[fe80::1]",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
    "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "::ffff:100.100.100.200", "168.63.129.16", "192.0.0.192",
    "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518", "0", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
    "metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data",
]  # fmt: skip
ALLOWED = [
    "127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "fd12::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
    "169.253.0.1", "169.255.0.1", "example.org", "metadata.example.org", "localhost", "", "1.2.3.4.5",
]  # fmt: skip


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_link_local_or_metadata_address_is_forbidden_in_every_spelling(host):
    assert is_forbidden(host)


@pytest.mark.parametrize("host", ALLOWED)
def test_other_addresses_are_not_forbidden(host):
    assert not is_forbidden(host)


@pytest.fixture
def no_connections(monkeypatch):
    """Let only connections to 127.0.0.2 be made: whoever tries another one fails the test."""
    plain = socket.socket.connect

    def connect(self, address):
        assert address[0] == "127.0.0.2", f"a connection to {address}"
        return plain(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


SIGNED = "?X-Amz-Signature=abc"


@pytest.mark.parametrize("query", ["", SIGNED])
@pytest.mark.parametrize(
    "uri",
    ["http://169.254.169.254/latest", "https://169.254.169.254/", "http://[fd00:ec2::254]/", "http://2852039166/", "http://metadata.google.internal/"],
)  # fmt: skip
def test_a_forbidden_address_is_not_even_connected_to(objects, no_connections, uri, query):
    for ask in (lambda: read(objects, uri + query), lambda: objects.describe(uri + query)):
        with pytest.raises(PermissionDeniedError, match="metadata") as caught:
            ask()
        assert "metadata_addresses" in caught.value.hint


@pytest.mark.parametrize("query", ["", SIGNED])
@pytest.mark.parametrize(
    "to", ["http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/", "//metadata.google.internal/"]
)
def test_a_redirect_to_a_forbidden_address_is_not_followed(objects, no_connections, to, query):
    with Server(lambda _: reply(302, Location=to, Content_Length=0), host="127.0.0.2") as server:
        with pytest.raises(PermissionDeniedError, match="metadata"):
            read(objects, f"{server.url}/a{query}")
        assert len(server.heads) == (2 if query else 1)  # a signed URL is asked for once more by who follows


@pytest.fixture
def loopback_is_forbidden(monkeypatch):
    monkeypatch.setattr(http_session, "is_forbidden", lambda host: host == "127.0.0.1")


def test_a_name_that_leads_to_a_forbidden_address_is_hung_up_on_before_anything_is_sent(objects, loopback_is_forbidden):
    with (
        Server(span) as server,
        Server(lambda _: reply(307, Location=f"http://localhost:{server.port}/"), host="127.0.0.2") as first,
    ):
        for uri in (f"http://localhost:{server.port}/a", f"http://localhost:{server.port}/a{SIGNED}", f"{first.url}/a"):
            with pytest.raises(PermissionDeniedError, match=re.escape("127.0.0.1")):
                read(objects, uri)
        with contextlib.closing(HttpObjects(allow_metadata=True)) as allowing:
            assert read(allowing, f"{first.url}/a", 5, 10) == CONTENT[5:15]
        assert server.heads[:3] == ["", "", ""]
        assert len(server.heads) == 4


def test_a_name_that_leads_to_a_forbidden_address_is_hung_up_on_before_tls_begins(objects, loopback_is_forbidden):
    with Server(span) as server:
        with pytest.raises(PermissionDeniedError, match=re.escape("127.0.0.1")):
            read(objects, f"https://localhost:{server.port}/a")
        assert wait_for(lambda: server.heads) == [""]


# -- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_signed_url_that_leads_elsewhere_is_followed(objects, status):
    with Server(span) as last, Server(lambda _: reply(status, Location=f"{last.url}/b", Content_Length=0)) as first:
        assert read(objects, f"{first.url}/a{SIGNED}", 5, 10) == CONTENT[5:15]
        assert last.heads[-1].startswith("GET /b HTTP/1.1")


def test_a_signed_url_is_sent_as_it_is_written(objects):
    with Server(span) as server:
        for _ in range(3):
            assert read(objects, f"{server.url}/a/../b%2Fc//d~{SIGNED}&e=%20/?", 5, 10) == CONTENT[5:15]
        assert [head.split(" HTTP")[0] for head in server.heads] == [f"GET /a/../b%2Fc//d~{SIGNED}&e=%20/?"] * 3
        assert "User-Agent: artfs/" in server.heads[-1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_the_span_that_was_asked_for(place, status):
    uri = place.put("object")
    place.proxy.inject(Status(status, headers={"Location": uri}), path="moved")
    assert read(place.objects, place.uri("moved"), 5, 10, size=SIZE) == CONTENT[5:15]
    place.proxy.inject(Status(status, headers={"Location": uri}), path="moved")
    assert place.objects.describe(place.uri("moved")).size == SIZE


@pytest.mark.parametrize("times", [11, None])
def test_redirects_without_an_end_are_given_up(place, times):
    uri = place.put("object")
    place.proxy.inject(Status(302, headers={"Location": uri}), times=times)
    with pytest.raises(UnreachableError, match="without an end"):
        read(place.objects, uri)
    assert place.proxy.count() == 11


def test_a_redirect_to_something_that_is_not_http_is_refused(place):
    uri = place.put("object")
    for to in ("file:///etc/passwd", "ftp://127.0.0.1/", "http://[::1"):
        place.proxy.inject(Status(302, headers={"Location": to}))
        with pytest.raises(InvalidInputError, match=re.escape(uri)) as caught:
            read(place.objects, uri)
        assert to not in str(caught.value)


# -- passwords


@pytest.fixture
def netrc(home):
    path = home / ".netrc"

    def write(text):
        path.write_text(text)
        path.chmod(0o600)

    return write


def basic(user, password):
    import base64

    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def test_a_password_of_netrc_goes_to_its_host_only(objects, netrc):
    netrc("machine 127.0.0.2 login me password word\ndefault login everybody password nothing\n")
    with Server(span, host="127.0.0.2") as its, Server(span) as other:
        read(objects, f"{its.url}/a", 5, 10)
        read(objects, f"{other.url}/a", 5, 10)
        assert its.field("Authorization") == basic("me", "word")
        assert other.field("Authorization") is None


def test_a_password_is_not_sent_after_a_redirect_to_another_host(objects, netrc):
    netrc("machine 127.0.0.2 login me password word\ndefault login everybody password nothing\n")
    with Server(span) as other, Server(lambda _: reply(302, Location=f"{other.url}/b"), host="127.0.0.2") as its:
        headers = {"Authorization": "Bearer token", "X-Key": "key", "Range": "bytes=0-0"}
        for locator in ({}, {"headers": headers}):
            assert read(objects, f"{its.url}/a", 5, 10, **locator) == CONTENT[5:15]
            for name in ("Authorization", "X-Key", "Cookie"):
                assert other.field(name) is None
        assert its.field("Authorization") == "Bearer token"
        assert its.field("X-Key") == "key"
        assert read(objects, its.url.replace("//", "//user:pass@"), 5, 10) == CONTENT[5:15]
        assert its.field("Authorization") == basic("user", "pass")
        assert other.field("Authorization") is None


def test_a_password_of_netrc_is_sent_to_the_host_that_a_redirect_leads_to(objects, netrc):
    netrc("machine 127.0.0.1 login you password other\n")
    with Server(span) as other, Server(lambda _: reply(302, Location=f"{other.url}/b"), host="127.0.0.2") as its:
        read(objects, f"{its.url}/a", 5, 10)
        assert its.field("Authorization") is None
        assert other.field("Authorization") == basic("you", "other")


@pytest.mark.parametrize(
    "query", ["X-Amz-Signature=abc", "a=1&X-Goog-Signature=abc", "Signature=abc&Expires=1", "sv=1&sig=abc"]
)
def test_a_signed_url_is_asked_for_without_a_password(objects, netrc, query):
    netrc("machine 127.0.0.1 login me password word\n")
    with Server(span) as server:
        read(objects, f"{server.url}/a?{query}", 5, 10)
        assert server.field("Authorization") is None
        read(objects, f"{server.url}/a?design=abc", 5, 10)
        assert server.field("Authorization") == basic("me", "word")


def test_netrc_is_found_where_the_environment_says_and_may_be_broken_or_missing(objects, netrc, home, monkeypatch):
    netrc("machine 127.0.0.1 login me password word\n")
    other = home / "other"
    other.write_text("machine 127.0.0.1 login other password word\n")
    with Server(span) as server:
        for path, expected in ((other, basic("other", "word")), (home / "none", None), (home, None)):
            monkeypatch.setenv("NETRC", str(path))
            read(objects, f"{server.url}/a", 5, 10)
            assert server.field("Authorization") == expected
        monkeypatch.delenv("NETRC")
        for text in (b"nonsense", b"\xff\xfe"):
            (home / ".netrc").write_bytes(text)
            read(objects, f"{server.url}/a", 5, 10)
            assert server.field("Authorization") is None
        monkeypatch.setenv("NETRC", "~/other")
        read(objects, f"{server.url}/a", 5, 10)
        assert server.field("Authorization") == basic("other", "word")
        monkeypatch.delenv("NETRC")
        (home / ".netrc").rename(home / "_netrc")
        (home / "_netrc").write_text("machine 127.0.0.1 login me password word\n")
        read(objects, f"{server.url}/a", 5, 10)
        assert server.field("Authorization") == basic("me", "word")


@pytest.mark.parametrize(
    "fault",
    [Status(403), Status(404), Status(500), Reset(None), Reset(5), ShortBody(5), Stall(5), Status(302, headers={"Location": "http://[::1"}),
     Status(302, headers={"Location": f"http://169.254.169.254/?{SECRET}"}), Status(302, headers={"Location": f"x://y/?{SECRET}"})],
    ids=range(10),
)  # fmt: skip
def test_a_signature_or_password_is_in_no_error_and_no_log(place, impatient, fault, caplog):
    uri = place.put("object").replace("//", f"//user:{SECRET}@") + f"?X-Amz-Signature={SECRET}#{SECRET}"
    headers = {"Authorization": f"Bearer {SECRET}"}
    with place.proxy.injected(fault):
        with pytest.raises((PermissionDeniedError, UnreachableError, NotFoundError, InvalidInputError)) as caught:
            read(place.objects, uri, 0, 10, headers=headers)
        assert SECRET not in all_text(caught.value, caplog)
        retrying = Retrying(place.objects, deadline=0.0)
        with pytest.raises((PermissionDeniedError, UnreachableError, NotFoundError, InvalidInputError)) as caught:
            retrying.read(Locator(uri, headers=headers), 0, 10)
        assert SECRET not in all_text(caught.value, caplog)


@pytest.mark.parametrize(
    "uri", [f"http://user:{SECRET}@[::1", f"http://user:{SECRET}@127.0.0.1:1/?{SECRET}", f"http://h:{SECRET}/"]
)
def test_a_url_that_cannot_be_asked_for_keeps_its_secret(objects, uri, caplog):
    with pytest.raises((InvalidInputError, UnreachableError)) as caught:
        read(objects, uri)
    assert SECRET not in all_text(caught.value, caplog)


# -- TLS and proxies


def test_a_server_whose_certificate_is_not_trusted_is_unreachable(http_server, objects, monkeypatch):
    http_server.put("tls", CONTENT)
    uri = f"{http_server.https_url}/tls"
    for ask in (lambda: read(objects, uri), lambda: objects.describe(uri)):
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            ask()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(http_server.certificate))
    assert read(objects, uri, 5, 10, size=SIZE) == CONTENT[5:15]


def test_a_server_that_does_not_speak_tls_is_unreachable(objects):
    with (
        Server(lambda _: reply(400)) as server,
        pytest.raises(UnreachableError, match=re.escape(f"{server.host}:{server.port}")),
    ):
        read(objects, server.url.replace("http:", "https:"))


def test_a_proxy_of_the_environment_is_used_and_may_not_reach_forbidden_addresses_either(objects, monkeypatch):
    with Server(span) as proxy, Server(span) as direct:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert read(objects, "http://somewhere.invalid/a", 5, 10) == CONTENT[5:15]
        assert proxy.heads[-1].startswith("GET http://somewhere.invalid/a HTTP/1.1")
        assert read(objects, f"{direct.url}/a", 5, 10) == CONTENT[5:15]
        assert direct.heads[-1].startswith("GET /a HTTP/1.1")
        assert read(objects, f"http://somewhere.invalid/a{SIGNED}", 5, 10) == CONTENT[5:15]
        assert proxy.heads.pop().startswith(f"GET http://somewhere.invalid/a{SIGNED} HTTP/1.1")
        for uri in ("http://169.254.169.254/", "http://metadata.google.internal/", "http://0xa9fea9fe/"):
            with pytest.raises(PermissionDeniedError, match="metadata"):
                read(objects, uri)
        assert len(proxy.heads) == 1
