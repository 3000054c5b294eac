"""The servers as fixtures. They start when a test first asks for them and serve the whole session: a test makes its own
bucket or database. Import them in one conftest only: what is imported twice is started twice.

The proxies belong to a test, or to a file of them: what they do to requests and what they have counted is theirs alone.
"""

import contextlib

import pytest

from tests.servers.fault_proxy import FaultProxy
from tests.servers.gcs import FakeGCS
from tests.servers.nginx import Nginx
from tests.servers.postgres import Postgres
from tests.servers.seaweed import SeaweedFS

__all__ = ["fault_proxy", "gcs_server", "http_server", "latency_proxy", "postgres_server", "proxy", "s3_server"]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory):
    with FakeGCS(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def http_server(tmp_path_factory):
    with Nginx(tmp_path_factory.mktemp("http")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """One database server; a test that stops it must start it again."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(s3_server):
    """One proxy before S3 for all tests of a file, which read through it what one of them has made."""
    with FaultProxy(s3_server.url) as found:
        yield found


@pytest.fixture
def fault_proxy():
    """Return a function that puts a ``FaultProxy`` before a server of this package, and returns it."""
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(FaultProxy(server.url, keep_host=server.keep_host))


@pytest.fixture
def latency_proxy(tmp_path):
    """Return a function that puts an ``Nginx`` before a server of this package: its ``proxy_url`` is the way through."""
    with contextlib.ExitStack() as stack:

        def put_before(server):
            directory = tmp_path / f"latency-proxy-{server.ports[0]}"
            return stack.enter_context(Nginx(directory, upstream=server.url))

        yield put_before
