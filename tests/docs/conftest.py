"""The servers that documents speak of."""

from tests.wandb_server.fixtures import *  # noqa: F403
