"""The bytes of versions on a W&B server: files by version and path, through signed URLs; manifests by version.

A blob has no place of its own there, so it is opened by the entry that names it (`WandbStore.open_entry`), which says of which version
it is one. Nothing is written here: a commit to a W&B server brings its files itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artfs.errors import IntegrityError, NotFoundError, NotSupportedError
from artfs.model.entry import OF_MANIFEST
from artfs.storage.sources import ObjectSource
from artfs.storage.wandb_elsewhere import ByDigest
from artfs.storage.wandb_urls import FileUrls
from artfs.wandb.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.model.entry import Entry
    from artfs.storage.port import Locator, Objects, Source
    from artfs.storage.wandb_urls import Upcoming
    from artfs.wandb.session import WandbSession

FILE_URLS = Operation(
    "FileUrls",
    "query FileUrls($id: ID!, $names: [String!], $count: Int) { artifact(id: $id) {"
    " files(names: $names, first: $count) { edges { node { name directUrl } } } } }",
)
MANIFEST_URL = Operation(
    "ManifestUrl", "query ManifestUrl($id: ID!) { artifact(id: $id) { currentManifest { id file { directUrl } } } }"
)


class _Bytes:
    """Bytes in memory as a source."""

    local = False

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def read_nowait(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def close(self) -> None:
        pass


class WandbStore:
    """A `BlobStore` that reads entries of versions. ``objects`` reads ``http(s)://`` URLs."""

    local = False

    def __init__(self, session: WandbSession, objects: Objects) -> None:
        self._session = session
        self._objects = objects
        self._urls = FileUrls(self._ask)
        self._by_digest = ByDigest(session, self.read_manifest)

    # Reading ----------------------------------------------------------------------------------------------------

    def open_entry(self, entry: Entry, upcoming: Upcoming | None = None) -> Source:
        """Open the bytes of a file of a version. Blocks until its URL is there. NotFoundError.

        ``upcoming`` names files that come after it, whose URLs may be asked for with its own.
        """
        version_id, path = entry.home, entry.path
        if version_id is None:
            raise NotFoundError(f"{path} does not say of which version of the W&B server it is")
        if entry.extra.get(OF_MANIFEST) is True:
            return _Bytes(b"".join(self.read_manifest(version_id)))
        try:
            located = self._urls.get(version_id, path, upcoming=upcoming)
        except NotFoundError:
            return self._by_digest.open(entry, version_id)
        latest = [located]

        def renew() -> Locator:
            latest[0] = self._urls.get(version_id, path, latest[0], upcoming)
            return latest[0]

        return ObjectSource(self._objects, located, renew)

    def read_manifest(self, version_id: str) -> Iterator[bytes]:
        """Yield the bytes of the manifest of a version, not proven yet. NotFoundError."""
        answer = self._session.ask(MANIFEST_URL, {"id": version_id})
        manifest = (answer.get("artifact") or {}).get("currentManifest") or {}
        url = (manifest.get("file") or {}).get("directUrl")
        if not isinstance(url, str):
            raise NotFoundError(f"the W&B server has no manifest of the version with the id {version_id!r}")
        yield from self._session.get(url)

    def _ask(self, version_id: str, paths: Sequence[str]) -> Mapping[str, str]:
        answer = self._session.ask(FILE_URLS, {"id": version_id, "names": list(paths), "count": len(paths)})
        artifact = answer.get("artifact")
        if not isinstance(artifact, dict):
            raise NotFoundError(f"the W&B server has no version with the id {version_id!r}")
        found: dict[str, str] = {}
        for edge in (artifact.get("files") or {}).get("edges") or ():
            node: Any = (edge or {}).get("node") or {}
            name, url = node.get("name"), node.get("directUrl")
            if not isinstance(name, str) or not isinstance(url, str):
                raise IntegrityError("the W&B server has answered with a file that has no name or no URL")
            found[name] = url
        return found

    # What a store of blobs has ------------------------------------------------------------------------------------

    def has(self, blob: Digest) -> bool:
        """Return False: nobody can tell by the digest alone."""
        return False

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Return all of them: nobody can tell by the digests alone."""
        return set(blobs)

    def open(self, blob: Digest) -> Source:
        """NotFoundError: a blob is found by the entry that names it."""
        raise NotFoundError(f"blob {blob} is not in a store of its own on a W&B server")

    def write(self, blob: Digest, data: Iterable[bytes]) -> None:
        """NotSupportedError: files are uploaded by the commit of their version."""
        raise NotSupportedError(f"blob {blob} cannot be put on a W&B server without a version")

    def adopt(self, blob: Digest, path: Path) -> None:
        """NotSupportedError: files are uploaded by the commit of their version."""
        raise NotSupportedError(f"{path} cannot be put on a W&B server as the blob {blob} without a version")

    def sync(self) -> None:
        """Do nothing: what the server has taken is safe."""
