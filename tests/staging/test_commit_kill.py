"""``kill -9`` at each step of a commit: it is resumed, nothing is lost, nothing is made twice."""

import os
import subprocess
import sys

import pytest

from artfs.model.digest import Digest, version_digest
from artfs.model.names import CollectionRef
from artfs.staging.progress import Progress
from tests.staging.test_commit import content

STEPS = ["frozen", "scanned", "hashed", "reserved", "bound", "adopted", "stored", "published", "discarded"]
FILES = {f"d{number % 3}/f{number}": bytes([number]) * (number * 40_000) for number in range(40)}

SCRIPT = """
import os, signal, sys
from tests.staging.test_commit import make, commit
from tests.staging.test_commit_kill import FILES
from artfs.app.services import open_services
from artfs.config import load_config
step = sys.argv[1]
if step.startswith("file"):
    from artfs.storage.files import FilesStore
    adopt, count = FilesStore.adopt, [0]
    def killing(self, blob, path):
        adopt(self, blob, path)
        count[0] += 1
        if count[0] == int(step[4:]):
            os.kill(os.getpid(), signal.SIGKILL)
    FilesStore.adopt = killing
def on_step(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)
with open_services(load_config()) as services:
    draft = make(services, FILES)
    commit(services, draft, "best", on_step=on_step)
"""


@pytest.mark.parametrize("step", [*STEPS, "file1", "file17", "file40"])
def test_a_commit_that_was_killed_is_resumed(services, step):
    done = subprocess.run([sys.executable, "-c", SCRIPT, step], cwd=os.getcwd(), check=False, env=os.environ)
    assert done.returncode == -9
    taken = services.drafts.acquire()
    committer = services.committer()
    if step == "discarded":
        assert taken == []
    else:
        (draft,) = taken
        assert committer.is_frozen(draft)
        result = committer.run(draft, Progress())
        assert result.created or step == "published"
    collection = CollectionRef("me", "demo", "data")
    (version,) = services.registry.versions(collection)
    assert (version.index, version.aliases) == (0, ("best", "latest"))
    assert content(services, version) == FILES
    assert version.digest == version_digest((path, Digest.of(data).base64) for path, data in sorted(FILES.items()))
    assert services.drafts.owned() == services.drafts.acquire() == []
    assert not list((services.config.data_dir / "drafts").glob("*/*"))
