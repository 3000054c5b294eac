"""Fixtures of the tests of the double itself."""

import pytest

from tests.wandb_server.client import Client
from tests.wandb_server.fixtures import wandb_server  # noqa: F401


@pytest.fixture
def server(wandb_server):  # noqa: F811
    wandb_server.project("me", "p")
    return wandb_server


@pytest.fixture
def client(server):
    return Client(server)
