"""Every console and Python block of the documents is run, on a real mount, and prints what the document shows."""

import subprocess

import pytest

from artfs.app.client import mount_points
from tests.docs.console import environment, run, steps
from tests.docs.services import SERVICES, wanted
from tests.docs.test_docs import DOCUMENTS, name_of
from tests.mount.conftest import require_fuse

WITH_EXAMPLES = [document for document in DOCUMENTS if steps(document.read_text())]


@pytest.fixture(scope="module", autouse=True)
def fuse():
    require_fuse()


@pytest.fixture
def alice(tmp_path):
    """A home directory. What is still mounted in it at the end is unmounted."""
    home = tmp_path / "alice"
    home.mkdir()
    yield home
    for mountpoint, _ in mount_points():
        if mountpoint.is_relative_to(home):
            subprocess.run(["artfs", "umount", "--force", mountpoint], env=environment(home), check=True, timeout=300)


@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=name_of)
def test_examples_print_what_is_shown(alice, document, request):
    services = [SERVICES[name](request, alice) for name in wanted(document.read_text())]
    variables, names = environment(alice), {}
    for service in services:
        variables |= service.environment
        names |= service.names
    wrong = run(document, alice, variables, names)
    assert not wrong, "\n\n".join(["", *wrong])
