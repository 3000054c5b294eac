"""Say why something takes long: which service does not answer and is asked again. For who waits, in the Python API and at a terminal."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from artfs.app.beside import beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from artfs.app.services import Services

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds for which a service may be silent without a word
_INTERVAL = 0.5  # seconds


def saying_why(services: Services, tell: Callable[[str], None] = log.warning) -> AbstractContextManager[None]:
    """Tell, once for each service that does not answer for a while, as long as the body works."""

    def watch(done: threading.Event) -> None:
        told: set[str] = set()
        while not done.wait(_INTERVAL):
            for trouble in services.backends.troubles():
                if trouble.service not in told and time.time() - trouble.since >= PATIENCE:
                    told.add(trouble.service)
                    seconds = services.config.retry_seconds
                    tell(
                        f"{trouble.service} does not answer, and is asked again for up to {seconds:g} s: {trouble.reason}"
                    )

    return beside(watch, "artfs-why")
