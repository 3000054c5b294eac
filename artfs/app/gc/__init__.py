"""Garbage collection: objects in the store that no version needs, and versions whose time to live has run out.

``live`` finds out what is needed, ``collector`` what is not, and removes it. What makes that safe beside commits and readers is in
`artfs.registry.sweeps` and `artfs.storage.holds`.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from artfs.app.gc.collector import Collector, Garbage, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.app.services import Services
    from artfs.staging.progress import Progress

__all__ = ["Collector", "Garbage", "Settings", "open_collector"]


@contextlib.contextmanager
def open_collector(
    services: Services, grace: float, progress: Progress, on_step: Callable[[str], None] = lambda _: None
) -> Iterator[Collector]:
    """Open a collector of the registry and store of some services. InvalidInputError where they are those of a W&B server."""
    backends, config = services.backends, services.config
    with contextlib.closing(backends.sweep_book()) as book:
        registry = services.registry.id
        settings = Settings(registry, config.data_dir / "drafts" / registry, grace)
        read = partial(backends.read_manifest, services.store)
        with contextlib.closing(Collector(book, backends.holdings(), read, settings, progress, on_step)) as collector:
            yield collector
