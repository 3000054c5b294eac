"""The server as a fixture: one for each test, as it starts in a millisecond."""

import pytest

from tests.wandb_server.server import WandbServer

__all__ = ["wandb_server"]


@pytest.fixture
def wandb_server(tmp_path):
    """A server whose operations must all have been valid when the test ends."""
    with WandbServer(tmp_path / "wandb-server") as server:
        yield server
        server.check()
