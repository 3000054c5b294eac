"""The port of what a store holds: everything in it by name, to find what nobody needs, and to remove it.

Only a collector of garbage and a check of the store use it. Beside the blobs, ``registries/<id>`` says which registries have versions
in the store: the objects of one are garbage to another.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.digest import Algorithm, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from artfs.storage.blobs import ObjectBlobStore
    from artfs.storage.port import Objects

REGISTRIES = "registries"

_AT_ONCE = 32  # removals


@dataclass(frozen=True, slots=True)
class Held:
    """A blob of a store. ``size`` is in bytes, ``modified`` the unix time, by the store's own clock, since when it is there."""

    blob: Digest
    size: int
    modified: float


class Holdings(Protocol):
    """What is in a store. Blocks."""

    def claim(self, registry: str) -> None:
        """Say that the versions of a registry are in the store."""

    def time(self, registry: str) -> float:
        """Return the unix time by the store's own clock, which it says by the claim of a registry, made anew."""

    def claims(self) -> list[str]:
        """Return the registries that have said so."""

    def blobs(self) -> Iterator[Held]:
        """Yield every blob, in no order that means anything. What is no blob is left out."""

    def held(self) -> Iterator[Digest]:
        """Yield the blobs that drafts hold, whose commit is under way or has failed; but for those that were yielded before."""

    def removing(self) -> AbstractContextManager[None]:
        """Keep files from being moved into the store meanwhile, where that is the only place of their bytes."""

    def remove(self, blobs: Collection[Digest], may_go_on: Callable[[], bool]) -> int:
        """Remove blobs; return how many. ``may_go_on`` is asked before each, and what is left when it says no stays."""

    def tidy(self) -> None:
        """Remove what is held for drafts that are gone."""


def blob_of(algorithm: str, name: str) -> Digest | None:
    """Return the blob with a name in the layout of a store; None if there is none of that name."""
    with contextlib.suppress(ValueError, InvalidInputError):
        return Digest.from_hex(name, Algorithm(algorithm))
    return None


class ObjectHoldings:
    """What is in a store in a bucket. Files that are uploaded stay where they are: nothing has to be held."""

    def __init__(self, objects: Objects, store: ObjectBlobStore, root: str) -> None:
        self._objects = objects
        self._store = store
        self._root = root.rstrip("/")

    def claim(self, registry: str) -> None:
        """Write the claim. Nothing is listed: who commits need not be allowed to."""
        self._objects.write(f"{self._root}/{REGISTRIES}/{registry}", [b""])

    def time(self, registry: str) -> float:
        """Write the claim anew, and look when that was."""
        self.claim(registry)
        uri = f"{self._root}/{REGISTRIES}/{registry}"
        for info in self._objects.list(uri):
            if info.uri == uri and info.modified is not None:
                return info.modified
        raise NotFoundError(f"{uri} was written, and is not listed")

    def claims(self) -> list[str]:
        """Return the registries that have versions here."""
        prefix = f"{self._root}/{REGISTRIES}/"
        return sorted(info.uri.removeprefix(prefix) for info in self._objects.list(prefix))

    def blobs(self) -> Iterator[Held]:
        """Yield every blob."""
        for algorithm in Algorithm:
            prefix = f"{self._root}/{algorithm.value}/"
            for info in self._objects.list(prefix):
                blob = blob_of(algorithm.value, info.uri.removeprefix(prefix).replace("/", "", 1))
                if blob is not None and info.modified is not None and self._store.uri(blob) == info.uri:
                    yield Held(blob, info.size, info.modified)

    def held(self) -> Iterator[Digest]:
        """Yield nothing."""
        return iter(())

    def removing(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def remove(self, blobs: Collection[Digest], may_go_on: Callable[[], bool]) -> int:
        """Remove blobs, many at once."""

        def one(blob: Digest) -> bool:
            if not may_go_on():
                return False
            self._objects.remove(self._store.uri(blob))
            return True

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="artfs-remove") as pool:
            return sum(pool.map(one, blobs))

    def tidy(self) -> None:
        """Do nothing: nothing is held."""
