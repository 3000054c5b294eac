"""Which entity has the registries: they are projects of organizations, and may be named by less than that.

A registry (``wandb-registry-*``) is asked for in the entity of its organization, whatever stands before it: that entity, the name under
which the organization is shown, a team of it, or a user who belongs to no other one. The SDK does the same.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.registry.wandb import operations, recordable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artfs.registry.wandb import parse
    from artfs.wandb.session import WandbSession

_REMEMBERED = 1024


class Organizations:
    """The organizations of entities. Thread-safe. ``viewer`` is who has logged in, with organizations, and the default entity."""

    def __init__(
        self, session: WandbSession, viewer: Callable[[], parse.Node], default_entity: Callable[[], str]
    ) -> None:
        self._session = session
        self._viewer = viewer
        self._default_entity = default_entity
        self._lock = threading.Lock()
        self._homes: LRUCache[str, str] = LRUCache(_REMEMBERED)

    def home(self, entity: str, project: str) -> str:
        """Return the entity in which a project is; the same one where nothing else is known. Blocks."""
        if not project.startswith(recordable.REGISTRY):
            return entity
        with self._lock:
            known = self._homes.get(entity)
        if known is None:
            known = self._find(entity)
            with self._lock:
                self._homes[entity] = known
        return known

    def entity_of(self, name: str) -> str | None:
        """Return the entity of an organization of who has logged in, by the name under which it is shown; None if it is none."""
        return _by_name(self._viewer().get("organizations") or ()).get(name)

    def _find(self, entity: str) -> str:
        own = _by_name(self._viewer().get("organizations") or ())
        if entity in own.values():
            return entity
        found = self._ask(entity)
        if found:
            return next(iter(found.values())) if len(found) == 1 else entity
        return own.get(entity) or self._ask(self._default_entity()).get(entity) or entity

    def _ask(self, entity: str) -> dict[str, str]:
        """Return the organization of an entity, or those of the user whose entity it is: their names, and their entities."""
        node = self._session.ask(operations.ORGANIZATIONS, {"entity": entity}).get("entity") or {}
        own = node.get("organization")
        return _by_name([own] if own else []) or _by_name((node.get("user") or {}).get("organizations") or ())


def _by_name(organizations: Iterable[parse.Node]) -> dict[str, str]:
    found = {one.get("name"): (one.get("orgEntity") or {}).get("name") for one in organizations}
    return {name: entity for name, entity in found.items() if isinstance(name, str) and isinstance(entity, str)}
