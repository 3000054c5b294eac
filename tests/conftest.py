"""What the whole suite has: the order of its files, the servers, and that a warning in the log that a test did not expect fails it."""

import gc
import logging
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.secrets import leaks
from tests.servers.fixtures import *  # noqa: F403 - started when a test first asks for them

ROOT = Path(__file__).parent

# The tests start hundreds of processes, each of which would compile all of artfs: let Python keep what it compiles, whatever the
# environment says. Set here, as everything that is imported or started from now on inherits it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# In the background of a shell, processes ignore SIGINT, and so would those that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = (ROOT / "slow.txt").read_text().split()
"""The files of tests that take longest, the longest first. One that is missing there costs time at most."""


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist keeps the order that the next function makes


def pytest_collection_modifyitems(config, items):
    """Where several processes share the tests by file, begin with those that take longest, so that all end at about the same time."""
    if not hasattr(config, "workerinput"):
        return
    ranks = {ROOT / name: rank for rank, name in enumerate(SLOW)}
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (ranks.get(item.path, len(SLOW)), -counts[item.path]))


def pytest_collection_finish():
    """Let the garbage collector look at what the tests make, and not each time at ten thousand tests."""
    gc.collect()
    gc.freeze()


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
