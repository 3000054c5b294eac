"""Two other places for a file of a W&B server: the cache of the SDK on this machine, and the addresses by digest that older servers have.

What is in the SDK's cache is not proven here, and often is wrong: the SDK itself compares sizes only. What an address by digest gives is
taken whole, into a temporary file, because such addresses know no ranges.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from cachetools import LRUCache

from artfs.errors import NotFoundError
from artfs.model.manifest import storage_place
from artfs.storage.files import FileSource
from artfs.wandb.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.model.entry import Entry
    from artfs.wandb.session import WandbSession

PLACES = Operation(
    "Places",
    "query Places($id: ID!) { artifact(id: $id) { artifactSequence { ...PlaceFields }"
    " artifactMemberships { edges { node { artifactCollection { ...PlaceFields } } } } } }"
    " fragment PlaceFields on ArtifactCollection { name project { name entity { name } } }",
)


def in_sdk_cache(entry: Entry) -> FileSource | None:
    """Return the file that the SDK has kept, opened, whatever is in it; None if there is none."""
    path = _sdk_cache() / "artifacts" / "obj" / entry.algorithm.value / entry.blob.hex[:2] / entry.blob.hex[2:]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return FileSource(descriptor, f"{path}")


def _sdk_cache() -> Path:
    import platformdirs

    return Path(os.environ.get("WANDB_CACHE_DIR") or platformdirs.user_cache_dir("wandb"))


_Place: TypeAlias = tuple[str, str, str]
"""Entity, project and collection."""


class ByDigest:
    """Files by the addresses that are made of a digest. Thread-safe."""

    def __init__(self, session: WandbSession, read_manifest: Callable[[str], Iterator[bytes]]) -> None:
        self._session = session
        self._read_manifest = read_manifest
        self._lock = threading.Lock()
        self._places: LRUCache[str, tuple[_Place, ...]] = LRUCache(1024)
        self._layouts: LRUCache[str, tuple[str, str]] = LRUCache(1024)

    def open(self, entry: Entry, version_id: str) -> FileSource:
        """Return a file, fetched whole. NotFoundError if no address has it; IntegrityError if it has another size."""
        for url in self._addresses(entry, version_id):
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the source closes its own descriptor of it
            with file:
                try:
                    for piece in self._session.get(url, authorised=True, size=entry.size):
                        file.write(piece)
                except NotFoundError:
                    continue
                file.flush()
                return FileSource(os.dup(file.fileno()), entry.path)
        raise NotFoundError(f"the W&B server has no bytes of {entry.path!r}")

    def _addresses(self, entry: Entry, version_id: str) -> Iterator[str]:
        base, digest = str(self._session.base), entry.blob.hex
        birth, name = quote(entry.birth_artifact_id or ""), quote(entry.path.rpartition("/")[2])
        layout, region = self._layout(version_id)
        first, second = [], []
        for place in self._places_of(version_id):
            there = f"{base}/artifactsV2/{quote(region, safe='')}/{'/'.join(quote(part) for part in place)}"
            second.append(f"{there}/{quote(version_id)}/{birth}/{digest}/{name}")
            second.append(f"{there}/{birth}/{digest}/{name}")
            first.append(f"{base}/artifacts/{quote(place[0])}/{digest}")
        yield from dict.fromkeys([*first, *second] if layout == "V1" else [*second, *first])

    def _layout(self, version_id: str) -> tuple[str, str]:
        """Return how the files of a version are addressed, and in which region they lie: only its manifest says that."""
        with self._lock:
            known = self._layouts.get(version_id)
        if known is None:
            layout, region = storage_place(self._read_manifest(version_id))
            known = layout, region or "default"
            with self._lock:
                self._layouts[version_id] = known
        return known

    def _places_of(self, version_id: str) -> tuple[_Place, ...]:
        """Return the collections that show a version, that where it was logged first. Not all may be seen, but one is enough."""
        with self._lock:
            known = self._places.get(version_id)
        if known is None:
            artifact = self._session.ask(PLACES, {"id": version_id}).get("artifact") or {}
            edges = (artifact.get("artifactMemberships") or {}).get("edges") or ()
            shown = [(edge.get("node") or {}).get("artifactCollection") for edge in edges if edge]
            found = (_place(one) for one in (artifact.get("artifactSequence"), *shown))
            known = tuple(dict.fromkeys(place for place in found if place is not None))
            if not known:
                raise NotFoundError(f"the W&B server does not say where version {version_id!r} is")
            with self._lock:
                self._places[version_id] = known
        return known


def _place(collection: Any) -> _Place | None:  # noqa: ANN401 - JSON
    try:
        project = collection["project"]
        return str(project["entity"]["name"]), str(project["name"]), str(collection["name"])
    except (KeyError, TypeError):  # one that is not shown
        return None
