"""A reader that follows references to entries of other versions; `artfs.content.following_pipeline` is its mount's side.

Only these two know that such references exist; to everything below, an entry has bytes in the store or names them elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.content.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.content.origin import Origins
    from artfs.content.proof import Prover
    from artfs.content.remote import Remote
    from artfs.content.targets import Targets
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer


class FollowingReader(Reader):
    """A reader whose exports follow references to other versions."""

    def __init__(self, origins: Origins, prover: Prover, remote: Remote, targets: Targets) -> None:
        super().__init__(origins, prover, remote)
        self._targets = targets

    def export(self, entry: Entry) -> Iterator[Buffer]:
        """Yield all the bytes of an entry in order; see `Reader.export`."""
        yield from super().export(self._targets.of(entry))
