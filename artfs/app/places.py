"""Make the places of a registry that a draft needs to be shown in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.errors import ExistsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.model.names import CollectionRef
    from artfs.registry.port import Registry


def make_collection(registry: Registry, collection: CollectionRef) -> None:
    """Make a collection and what it lies in, where missing."""
    steps: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        (registry.create_entity, (collection.entity,)),
        (registry.create_project, (collection.entity, collection.project)),
        (registry.create_collection, (collection,)),
    ]
    for make, arguments in steps:
        try:
            make(*arguments)
        except ExistsError:
            continue
