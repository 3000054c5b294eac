"""A control socket that answers in a trio nursery, and clients in threads and in other processes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from artfs.app import control
from tests.harness import as_user
from tests.registry.conftest import postgres_databases
from tests.staging.conftest import config, services
from tests.storage.places import gcs_client, s3_client, shared_places

__all__ = ["config", "gcs_client", "postgres_databases", "s3_client", "services", "shared_places"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def public():
    """A directory that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="artfs-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(nursery):
    """Answer at a socket until the test ends."""

    def start(path, operations):
        nursery.start_soon(control.answer_all, control.listen(path), operations)

    return start


@pytest.fixture
def python_as(public):
    """Run Python code as another user, in a thread, and return what it printed."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    async def run(uid, code):
        command = [*as_user(uid), sys.executable, "-c", code]
        done = await trio.to_thread.run_sync(
            lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
