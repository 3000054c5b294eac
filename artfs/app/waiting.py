"""Say why something takes long: which service does not answer and is asked again. For who waits, in the Python API."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.app.services import Services

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds for which a service may be silent without a word
_INTERVAL = 0.5  # seconds


@contextlib.contextmanager
def saying_why(services: Services) -> Iterator[None]:
    """Log a warning, once for each service that does not answer for a while, as long as the body works."""
    done = threading.Event()

    def watch() -> None:
        told: set[str] = set()
        while not done.wait(_INTERVAL):
            for trouble in services.backends.troubles():
                if trouble.service not in told and time.time() - trouble.since >= PATIENCE:
                    told.add(trouble.service)
                    seconds = services.config.retry_seconds
                    log.warning(
                        "%s does not answer, and is asked again for up to %g s: %s",
                        trouble.service,
                        seconds,
                        trouble.reason,
                    )

    thread = threading.Thread(target=watch, name="artfs-why", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
