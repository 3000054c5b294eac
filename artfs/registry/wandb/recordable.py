"""What a W&B server can record: checked before anything is asked for, as a change of several things is several requests.

Names are checked by the callers of a registry, as the port says; here, only that text is Unicode, that numbers are the server's, and that
values are JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.model.entry import JsonValue
    from artfs.model.names import CollectionRef

REGISTRY = "wandb-registry-"
"""How the projects begin that are registries."""

_MOST = (1 << 63) - 1  # Int64


def check(what: str, *values: str | int | None) -> None:
    """Refuse text that is not Unicode, and numbers that are not of 64 bits; InvalidInputError."""
    for value in values:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InvalidInputError(f"{what} {value[:80]!r} is not valid Unicode: it cannot be recorded") from error
        elif value is not None and not -_MOST <= value <= _MOST:
            raise InvalidInputError(f"{what} {value} is too large: it cannot be recorded")


def check_collection(collection: CollectionRef) -> None:
    """Refuse the names of a collection, as `check` does."""
    check("the name", collection.entity, collection.project, collection.collection)


def check_new_project(entity: str, project: str) -> None:
    """Refuse to make a registry, which is a project of an organization: under a team it would be one that nobody looks into."""
    if project.startswith(REGISTRY):
        raise PermissionDeniedError(
            f"there is no registry {project!r} of {entity!r}, and none is made here",
            hint=f"registries belong to organizations: ORGANIZATION/{project}/NAME",
        )


def check_ttl(seconds: int | None) -> None:
    """Refuse a time to live that the server does not have: it is None, or at least a second."""
    check("the time to live", seconds)
    if seconds is not None and seconds <= 0:
        raise InvalidInputError(
            f"a time to live of {seconds} seconds cannot be recorded on a W&B server", hint="delete the version instead"
        )


def encode(what: str, values: Mapping[str, JsonValue]) -> str:
    """Return a JSON object as the text that the server keeps; InvalidInputError for what is not JSON."""
    try:
        return json.dumps(dict(values), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{what} cannot be recorded: {error}") from error
