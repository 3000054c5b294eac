"""Drop the contents of versions from the block cache, but for what is pinned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.app.warm import contents_of
from artfs.content.warm import Content, missing_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.app.selecting import Selected
    from artfs.app.services import Services


@dataclass(slots=True)
class Evicted:
    """Contents of which something was dropped, and those that stay because they are pinned; sizes in bytes that were in the cache."""

    files: int = 0
    size: int = 0
    pinned_files: int = 0
    pinned_size: int = 0


def evict(services: Services, selected: Sequence[Selected]) -> Evicted:
    """Drop what the cache holds of selections. Other versions may have the same contents: they go for these, too. Blocks."""
    done = Evicted()
    for content in contents_of(services, selected):
        if not isinstance(content, Content) or content.file is None:
            continue
        held = content.entry.size - missing_bytes(content)
        if not held:
            continue
        if services.cache().upkeep.is_pinned(content.file.name):
            done.pinned_files += 1
            done.pinned_size += held
        else:
            content.file.drop()
            done.files += 1
            done.size += held
    return done
