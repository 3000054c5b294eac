"""Fixtures of the whole suite: a warning in the log that a test did not expect fails it."""

import logging

import pytest

from tests.secrets import leaks
from tests.servers.fixtures import *  # noqa: F403 - started when a test first asks for them


@pytest.fixture(autouse=True)
def no_unexpected_warnings(caplog, request):
    """Fail a test that logs a warning it does not announce with the marker ``expects_warning(text)``."""
    caplog.set_level(logging.DEBUG, logger="artfs")
    yield
    expected = [mark.args[0] for mark in request.node.iter_markers("expects_warning")]
    for when in ("setup", "call"):
        for record in caplog.get_records(when):
            if record.name.startswith("artfs"):
                message = record.getMessage()
                assert not leaks(message), f"a secret is logged: {message}"
            if record.name.startswith("artfs") and record.levelno >= logging.WARNING:
                assert any(text in message for text in expected), f"unexpected {record.levelname}: {message}"
