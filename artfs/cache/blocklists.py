"""Block lists that this machine has: those that it derived, and those that manifests name.

A block list is the BLAKE3 of each block of a file, 32 bytes each. A derived one is kept by the digest of the content, and only after all of
that was read and its digest matched, so it proves partial reads from then on. One that a manifest names is kept by its own digest: it
proves what that manifest says, and nothing of the content of another. One file for each,
``<cache>/blocklists/<algorithm>/<hex>``: the list, then the BLAKE3 of the list. Damage, or a wrong length, is a miss.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.model.digest import Algorithm, Digest
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import Sequence


class BlockLists:
    """The block lists of one cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        self._directory = cache_dir / "blocklists"

    def find(self, content: Digest, named: Digest | None, blocks: int) -> bytes | None:
        """Return the list of a content: the one that was derived, else the one that its manifest names. Reads local disk."""
        return self.get(content, blocks) or (None if named is None else self.get(named, blocks))

    def get(self, digest: Digest, blocks: int) -> bytes | None:
        """Return the list of so many blocks that was kept by a digest. Reads local disk."""
        try:
            data = self._path(digest).read_bytes()
        except OSError:
            return None
        body, check = data[:-32], data[-32:]
        if len(body) != 32 * blocks or Digest.of(body, Algorithm.BLAKE3).raw != check:
            return None
        return body

    def put(self, digest: Digest, digests: Sequence[bytes]) -> None:
        """Keep a list, atomically. Raises OSError where the cache cannot be written."""
        path = self._path(digest)
        make_private(path.parent)
        body = b"".join(digests)
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body + Digest.of(body, Algorithm.BLAKE3).raw)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).rename(path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _path(self, digest: Digest) -> Path:
        return self._directory / digest.algorithm.value / digest.hex
