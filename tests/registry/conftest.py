"""The contract suite runs on every implementation of the port."""

from pathlib import Path

import pytest

from tests.registry.implementations import IMPLEMENTATIONS, workspace


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request):
    with workspace() as directory:
        yield IMPLEMENTATIONS[request.param](Path(directory))


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
