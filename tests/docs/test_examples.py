"""Every console and Python block of the documents is run, on a real mount, and prints what the document shows."""

import subprocess

import pytest

from artfs.app.client import mount_points
from tests.docs.console import environment, run, steps
from tests.docs.services import SERVICES, wanted
from tests.docs.test_docs import DOCUMENTS, name_of
from tests.mount.conftest import require_fuse
from tests.secrets import leaks

WITH_EXAMPLES = [document for document in DOCUMENTS if steps(document.read_text())]


@pytest.fixture(scope="module", autouse=True)
def fuse():
    require_fuse()


@pytest.fixture
def variables():
    """The variables that a document is run with."""
    return {}


def secrets_in_logs(home, variables):
    """Return the secrets of a document's services that are in the logs of its mounts."""
    logs = "".join(path.read_text() for path in (home / ".local/state/artfs").glob("log/*.log"))
    return leaks(logs, {"NETRC": str(home / ".netrc"), **variables})


@pytest.fixture
def alice(tmp_path, variables):
    """A home directory. What is still mounted in it at the end is unmounted, and no secret may be in its logs."""
    home = tmp_path / "alice"
    home.mkdir()
    yield home
    for mountpoint, _ in mount_points():
        if mountpoint.is_relative_to(home):
            subprocess.run(["artfs", "umount", "--force", mountpoint], env=environment(home), check=True, timeout=300)
    assert not secrets_in_logs(home, variables)


def test_a_secret_in_the_log_of_a_document_would_be_found(tmp_path):
    log = tmp_path / ".local/state/artfs/log/x.log"
    log.parent.mkdir(parents=True)
    log.write_text("the key is 0123456789abcdef\n")
    assert secrets_in_logs(tmp_path, {}) == []
    assert secrets_in_logs(tmp_path, {"WANDB_API_KEY": "0123456789abcdef"}) == ["0123456789abcdef"]
    (tmp_path / ".netrc").write_text("machine m login user password 0123456789abcdef\n")
    assert secrets_in_logs(tmp_path, {}) == ["0123456789abcdef"]


@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=name_of)
def test_examples_print_what_is_shown(alice, variables, document, request):
    services = [SERVICES[name](request, alice) for name in wanted(document.read_text())]
    names = {}
    variables |= environment(alice)
    for service in services:
        variables |= service.environment
        names |= service.names
    wrong = run(document, alice, variables, names)
    assert not wrong, "\n\n".join(["", *wrong])
