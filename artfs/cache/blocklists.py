"""Block lists that this machine derived, for content whose manifest carries none.

A block list is the BLAKE3 of each block of a file, 32 bytes each. It is written only after the whole file was read and its digest
matched, so it proves partial reads from then on. One file for each content, ``<cache>/blocklists/<algorithm>/<hex>``: the list,
then the BLAKE3 of the list. Damage, or a wrong length, is a miss.
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
    """The derived block lists of one cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        self._directory = cache_dir / "blocklists"

    def get(self, content: Digest, blocks: int) -> bytes | None:
        """Return the list of a content of so many blocks. Reads local disk."""
        try:
            data = self._path(content).read_bytes()
        except OSError:
            return None
        body, check = data[:-32], data[-32:]
        if len(body) != 32 * blocks or Digest.of(body, Algorithm.BLAKE3).raw != check:
            return None
        return body

    def put(self, content: Digest, digests: Sequence[bytes]) -> None:
        """Keep a list, atomically. Raises OSError where the cache cannot be written."""
        path = self._path(content)
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

    def _path(self, content: Digest) -> Path:
        return self._directory / content.algorithm.value / content.hex
