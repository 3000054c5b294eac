"""What the fields of the schema answer: ``read`` and ``files`` the queries, ``write`` and ``change`` the mutations.

A field without a resolver here is the attribute of that name, in snake case.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from tests.wandb_server.signing import Signer
from tests.wandb_server.state import State

RESOLVERS: dict[tuple[str, str], Callable[..., Any]] = {}


@dataclass
class Context:
    """What a resolver may use."""

    state: State
    signer: Signer
    base: str  # URL of the API
    features: dict[str, bool]
    max_page_size: int
    default_page_size: int | None
    url_lifetime: float | None = None  # None: as the signer has it
    invalid: bool = False  # whether the variables do not fit the schema
    bugs: list[BaseException] = dataclass_field(default_factory=list)  # errors of this double itself


def field(*places: str) -> Callable:
    """Register the resolver of these fields: "Type.field"."""

    def register(function):
        for place in places:
            name, _, field_name = place.partition(".")
            RESOLVERS[name, field_name] = function
        return function

    return register


def snake(name: str) -> str:
    """Return the attribute of a field: ``createdAt`` is ``created_at``."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
