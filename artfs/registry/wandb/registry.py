"""`WandbRegistry`: the port of a registry on a W&B server.

The server has no transactions: a change of several things is several requests, in an order in which none loses anything, and two clients
at once can still overlap in the moments between (``docs/wandb.md``).
"""

from __future__ import annotations

from artfs.registry.wandb.changes import Changes
from artfs.registry.wandb.commits import Commits
from artfs.registry.wandb.runs import Runs


class WandbRegistry(Commits, Changes, Runs):
    """A registry on a W&B server. The methods are documented at `artfs.registry.port.Registry`."""
