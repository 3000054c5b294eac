"""The contract suite runs on every implementation of the port."""

from pathlib import Path

import pytest

from artfs.registry.sql import postgres
from artfs.registry.sql.registry import open_registry
from tests.harness import wait_for
from tests.registry import processes
from tests.registry.implementations import IMPLEMENTATIONS, Databases
from tests.registry.wandb_differences import DIFFERENCES, RACES

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Expect what a W&B server cannot do to fail there, and only there."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if item.path.parent == HERE and callspec is not None and callspec.params.get("implementation") == "wandb":
            if (reason := DIFFERENCES.get(item.originalname)) is not None:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
            elif (reason := RACES.get(item.originalname)) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    processes.end_all()


@pytest.fixture
def patient(monkeypatch):
    """Let a server begin a connection as slowly as it may on a machine that does much else."""
    monkeypatch.setitem(postgres._ARGUMENTS, "connect_timeout", 60)


@pytest.fixture(scope="session")
def postgres_databases(postgres_server):
    return Databases(postgres_server)


@pytest.fixture
def find_databases(request):
    """Return what returns the databases: their server is started for the tests that need it, not for the others."""
    return lambda: request.getfixturevalue("postgres_databases")


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, find_databases, patient):
    with IMPLEMENTATIONS[request.param](find_databases) as found:
        yield found


@pytest.fixture
def clients(implementation):
    """Open a client of some data; all are closed at the end."""
    opened = []

    def open_client(name="registry", default_entity="me"):
        opened.append(implementation.open(name, default_entity))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def registry(clients):
    return clients()


@pytest.fixture
def postgres_url(postgres_server, patient):
    """The URL of an empty database. The server runs again afterwards, whatever the test has done to it."""
    url = postgres_server.database()
    yield url
    if not postgres_server.running:
        postgres_server.start()
    with postgres_server.connect() as connection:
        connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


@pytest.fixture
def wait_for_waiting_writer(postgres_server):
    """Return what waits until a writer of the database of a URL waits for another one to end."""

    def wait(url):
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with postgres_server.connect(url.rpartition("/")[2]) as connection:
            wait_for(lambda: connection.execute(waiting).fetchone() != (0,), "a writer that waits")

    return wait


@pytest.fixture
def opened():
    """Open registries by URL; all are closed at the end."""
    registries = []

    def open_one(url, default_entity="me"):
        registries.append(open_registry(url, default_entity))
        return registries[-1]

    yield open_one
    for registry in registries:
        registry.close()
