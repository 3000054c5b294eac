"""One container for all tests of the directory."""

import os
import shutil

import pytest

from tests.harness import can_mount
from tests.secrets import leaks
from tests.systemd.container import SYSTEMD, Container


@pytest.fixture(scope="session")
def container(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.fail("only root can start a container")
    assert os.path.exists(SYSTEMD), "systemd is not installed: scripts/setup.sh does it"
    assert shutil.which("dbus-daemon"), "dbus is not installed: scripts/setup.sh does it"
    assert not can_mount()
    found = Container(tmp_path_factory.mktemp("container"))
    yield found
    journal = found.journal()
    found.close()
    assert "artfs" in journal
    assert not leaks(journal), "a secret is in the journal of the container"
