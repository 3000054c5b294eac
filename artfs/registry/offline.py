"""A registry that is not on this machine, while no network is to be used: what was seen of it last, and nothing else.

It is never opened. Every question is answered at once, out of the memory that `artfs.registry.remembered` has filled, or refused with an
OfflineError; changes are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeVar

from artfs.errors import OfflineError
from artfs.model.names import version_index, version_name
from artfs.registry.fallback import Health
from artfs.registry.remembered import RememberedRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.model.names import ArtifactRef
    from artfs.registry.memory import Memory
    from artfs.registry.port import Registry, Version

T = TypeVar("T")


class OfflineRegistry(RememberedRegistry):
    """The port of a registry (`artfs.registry.port.Registry`) over its memory alone."""

    def __init__(self, memory: Memory, default_entity: str) -> None:
        super().__init__(_refuse, memory, default_entity)

    def health(self) -> Health:
        """Say that nothing is wrong: it is not to be asked."""
        return Health(None, "")

    def version(self, ref: ArtifactRef) -> Version:
        """Return a version; one that was seen under its index is known by its aliases, too, as they were seen last."""
        try:
            return super().version(ref)
        except OfflineError:
            if version_index(ref.alias) is not None:
                raise
            return super().version(ref.collection.at(version_name(self.find(ref.collection, ref.alias).index)))

    def check(self) -> None:
        """Refuse: it cannot be asked whether it answers."""
        _refuse()

    def _read(self, question: str, ask: Callable[[Registry], T], decode: Callable[[str], T]) -> T:
        return self._remembered(
            question,
            decode,
            OfflineError(
                f"artfs is offline, and this was not seen of the registry before: {question.replace('_', ' ')}",
                hint="look at it once while there is a network: artfs pin, or a mount without --offline",
            ),
        )

    def _write(self, change: Callable[[Registry], T]) -> T:
        _refuse()


def _refuse() -> NoReturn:
    raise OfflineError("artfs is offline: the registry cannot be changed", hint="do it again without --offline")
