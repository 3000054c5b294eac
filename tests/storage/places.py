"""Where the tests of objects put them: a bucket of a real server, or its directory of files, behind a proxy that makes faults.

A place has the objects under test (``objects``), and puts objects there by another program than artfs.
"""

import contextlib
import functools
import itertools
import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from artfs.storage import http, s3, spans
from artfs.storage.gcs import GcsObjects
from artfs.storage.http import HttpObjects
from artfs.storage.s3 import S3Objects
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Status

CONTENT = random.Random(7).randbytes(300_000)
STALL = 0.3  # seconds after which a reply that stalls is given up by tests that wait for it

_FOREIGN = ("AWS_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "STORAGE_EMULATOR", "NETRC", "REQUESTS_CA", "CURL_CA")
_names = itertools.count(1)


def clear_environment(patch, home):
    """Take away the credentials, settings and proxies of whoever runs the tests, and let nobody look for others."""
    for name in os.environ:
        if name.startswith(_FOREIGN) or name.lower().endswith("_proxy"):
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def impatient(monkeypatch):
    """Give a stalled reply up soon, if the objects are opened in the test, or are those of HTTP."""
    monkeypatch.setattr(spans, "READ_TIMEOUT", f"{int(STALL * 1000)}ms")
    monkeypatch.setattr(http, "READ_TIMEOUT", STALL)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """The home directory of somebody who has no credentials yet."""
    path = tmp_path / "home"
    path.mkdir()
    clear_environment(monkeypatch, path)
    return path


class Place:
    """The base of the places. ``root`` is the URI under which everything of a test lies."""

    writes = True
    root: str

    def __init__(self, server, client, proxy, versioned=False) -> None:
        self.server = server
        self.client = client  # of the same server, not by the proxy
        self.proxy = proxy
        self.versioned = versioned
        self.move()
        self.objects = self.open()

    def move(self):
        """Go on under another root, where nothing is yet, by a proxy that makes no faults and has counted nothing."""
        self.proxy.clear()
        self.proxy.forget()

    def uri(self, key):
        return f"{self.root}/{key}"

    def put(self, key, data=CONTENT):
        """Make or replace an object, and return its URI."""
        raise NotImplementedError

    def get(self, key):
        """Return the bytes of an object, or None if it is not there."""
        raise NotImplementedError

    def remove(self, key):
        raise NotImplementedError

    def put_many(self, keys):
        """Make objects that contain their key, several at a time."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: self.put(key, key.encode()), keys))

    def close(self):
        self.objects.close()


class S3Place(Place):
    """A prefix: a bucket of SeaweedFS costs volumes, of which there are not many."""

    def move(self):
        super().move()
        self.bucket = _bucket(self.server, self.versioned)
        self.prefix = f"place-{next(_names)}"
        self.root = f"s3://{self.bucket}/{self.prefix}"

    def open(self):
        return S3Objects()

    def at(self, key):
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}"}

    def put(self, key, data=CONTENT):
        self.client.put_object(**self.at(key), Body=data)
        return self.uri(key)

    def get(self, key):
        try:
            with contextlib.closing(self.client.get_object(**self.at(key))["Body"]) as body:
                return body.read()
        except self.client.exceptions.NoSuchKey:
            return None

    def remove(self, key):
        self.client.delete_object(**self.at(key))


@functools.cache
def _bucket(server, versioned):
    return server.bucket(versioned)


def refusal(code, status=400):
    """Return a fault: S3 refuses, and says why."""
    return Status(status, body=f"<Error><Code>{code}</Code><Message>refused</Message></Error>".encode())


@pytest.fixture
def small_parts(monkeypatch):
    """Let parts be as small as S3 allows, and go one after another, so that none is broken off when another one fails."""
    monkeypatch.setattr(s3, "_SINGLE_PUT", 6 << 20)
    monkeypatch.setattr(s3, "_PART", 5 << 20)
    monkeypatch.setattr(s3, "_THREADS", 1)


class GcsPlace(Place):
    def move(self):
        super().move()
        self.bucket = self.server.bucket(self.versioned)
        self.root = f"gs://{self.bucket}"

    def open(self):
        return GcsObjects()

    def put(self, key, data=CONTENT, **properties):
        blob = self.client.bucket(self.bucket).blob(key)
        for name, value in properties.items():
            setattr(blob, name, value)
        blob.upload_from_string(data)
        return self.uri(key)

    def get(self, key):
        import google.api_core.exceptions

        try:
            return self.client.bucket(self.bucket).blob(key).download_as_bytes(raw_download=True)
        except google.api_core.exceptions.NotFound:
            return None

    def remove(self, key):
        self.client.bucket(self.bucket).blob(key).delete()


class HttpPlace(Place):
    writes = False

    def move(self):
        super().move()
        self.directory = f"place-{next(_names)}"
        self.root = f"{self.proxy.url}/{self.directory}"

    def open(self):
        return HttpObjects()

    def put(self, key, data=CONTENT):
        self.server.put(f"{self.directory}/{key}", data)
        return self.uri(key)

    def get(self, key):
        path = self.server.files / self.directory / key
        return path.read_bytes() if path.exists() else None

    def remove(self, key):
        (self.server.files / self.directory / key).unlink()


PLACES = {"s3": S3Place, "gcs": GcsPlace, "http": HttpPlace}


@pytest.fixture(scope="session")
def s3_client(s3_server):
    with contextlib.closing(s3_server.client(max_pool_connections=16)) as client:
        yield client


@pytest.fixture(scope="session")
def gcs_client(gcs_server):
    with contextlib.closing(gcs_server.client()) as client:
        yield client


@pytest.fixture(scope="session")
def http_client():
    """Files of nginx are written as files."""


@contextlib.contextmanager
def make_place(request, patch, kind, **settings):
    """Open a place; objects that are opened meanwhile find its server by the environment."""
    server = request.getfixturevalue(f"{kind}_server")
    client = request.getfixturevalue(f"{kind}_client")
    with FaultProxy(server.url, keep_host=server.keep_host) as proxy:
        for name, value in ({} if kind == "http" else server.environment(url=proxy.url)).items():
            patch.setenv(name, value)
        with contextlib.closing(PLACES[kind](server, client, proxy, **settings)) as place:
            yield place


@pytest.fixture
def open_place(request, home, monkeypatch):
    """Return a function that makes a place of a kind, with objects of the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda kind, **settings: stack.enter_context(make_place(request, monkeypatch, kind, **settings))


@pytest.fixture(scope="module")
def shared_places(request, tmp_path_factory):
    """Return a function that gives the place of a kind, which is opened once for all tests of a file."""
    found = {}
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        home = tmp_path_factory.mktemp("home")
        clear_environment(patch, home)

        def get(kind):
            if kind not in found:
                found[kind] = stack.enter_context(make_place(request, patch, kind))
            found[kind].move()
            return found[kind]

        yield get


@pytest.fixture(params=PLACES)
def place(request, shared_places):
    """Each kind of objects."""
    return shared_places(request.param)


@pytest.fixture(params=[kind for kind, cls in PLACES.items() if cls.writes])
def writable(request, shared_places):
    """Each kind of objects that can be written."""
    return shared_places(request.param)


class FakeTime:
    """A clock that stands still but for those who sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def fake_time():
    return FakeTime()
