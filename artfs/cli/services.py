"""What a command works with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from artfs.app import services as app_services
from artfs.app.waiting import saying_why
from artfs.cli.options import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.app.services import Services
    from artfs.config import Config


@contextlib.contextmanager
def open_services(config: Config) -> Iterator[Services]:
    """Do as `artfs.app.services.open_services`, and say on stderr which service it is that the command waits for."""
    with app_services.open_services(config) as services, saying_why(services, lambda text: warn([text])):
        yield services
