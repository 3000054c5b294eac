"""``kill -9`` at each step of a commit to a W&B server: ``artfs commit --resume`` finishes it, with one version."""

import os
import subprocess
import sys

import pytest

from artfs.cli.main import exit_code
from artfs.model.names import CollectionRef
from tests.harness import wait_for
from tests.registry.wandb.conftest import pending, uploads
from tests.staging.test_commit import content

PART = 65536
FILES = {f"d{number % 3}/f{number}": bytes([number]) * (number * 100 + 1) for number in range(40)} | {
    "big": bytes(range(256)) * 256 * 6 + b"end"
}
PARTS = 7

SCRIPT = """
import os, signal, sys
from artfs.app.services import open_services
from artfs.config import load_config
from artfs.storage import wandb_parts, wandb_upload
from artfs.wandb.session import WandbSession
from tests.registry.wandb.test_commit_kill import FILES, PART
from tests.staging.test_commit import commit, make
step = sys.argv[1]
wandb_parts.FROM, wandb_parts.PART, wandb_upload.BATCH, wandb_upload.UPLOADS = 3 * PART, PART, 15, 2
def die():
    os.kill(os.getpid(), signal.SIGKILL)
if step.startswith("after "):
    _, what, count = step.split()
    ask, put, counts = WandbSession.ask, WandbSession.put, {}
    def done(name):
        counts[name] = counts.get(name, 0) + 1
        if name == what and counts[name] == int(count):
            die()
    def asking(self, operation, variables):
        answer = ask(self, operation, variables)
        done(operation.name)
        return answer
    def putting(self, url, headers, data):
        answer = put(self, url, headers, data)
        done("part" if "partNumber=" in url else "manifest" if "manifest" in url else "file")
        return answer
    WandbSession.ask, WandbSession.put = asking, putting
def on_step(name):
    if name == step:
        die()
with open_services(load_config()) as services:
    commit(services, make(services, FILES), "best", on_step=on_step)
"""
STEPS = ["frozen", "hashed", "reserved", "adopted", "written", "stored", "published"]
REQUESTS = [
    "CreateArtifact 1", "CreateArtifactManifest 1", "CreateArtifactFiles 2", "file 1", "file 17", "file 40", "part 1", "part 4",
    f"part {PARTS}", "CompleteMultipartUploadArtifact 1", "CreateArtifactManifest 2", "manifest 1", "CommitArtifact 1",
]  # fmt: skip


@pytest.mark.parametrize("step", [*STEPS, *(f"after {request}" for request in REQUESTS)])
def test_a_commit_that_was_killed_is_finished(server, environment, services, fresh, step, tmp_path, capsys):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, step], cwd=os.getcwd(), env=environment, check=False, timeout=300
    )
    assert done.returncode == -9
    received = len(uploads(server))
    assert exit_code(["commit", "--resume"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "me/demo/data:v0\n"
    assert "nothing new" not in shown.err
    (version,) = services.registry.versions(CollectionRef("me", "demo", "data"))
    assert (version.index, version.aliases) == (0, ("best", "latest"))
    assert content(fresh, version) == FILES
    assert pending(server) == []
    assert not list((tmp_path / "data/drafts").glob("*/*"))
    assert received <= len(uploads(server)) <= len(FILES) - 1 + PARTS + 2  # two were on their way


@pytest.mark.parametrize("how", ["known URLs", "known upload", "another upload"])
def test_parts_that_had_come_are_not_sent_again_while_their_upload_is_known(server, environment, monkeypatch, how):
    monkeypatch.setattr("artfs.storage.wandb_parts.FROM", 3 * PART)
    monkeypatch.setattr("artfs.storage.wandb_parts.PART", PART)
    bucket = server.state.bucket
    script = [sys.executable, "-c", SCRIPT, "after part 5"]
    assert subprocess.run(script, cwd=os.getcwd(), env=environment, check=False, timeout=300).returncode == -9
    wait_for(lambda: not any(listener.connections for listener in server._listeners), "the end of what was on its way")
    (upload,) = bucket.uploads
    if how != "known URLs":
        server.expire_urls()
    if how == "known upload":
        monkeypatch.setattr(bucket, "begin", lambda key, expected: upload)
    server.forget()
    assert exit_code(["commit", "--resume"]) == 0
    taken = sum(one.status[0] == 200 for one in server.requests("PUT", "partNumber="))
    assert taken == PARTS if how == "another upload" else 1 <= taken <= PARTS - 3
    asked = [len(one.variables["input"]["artifactFiles"]) for one in server.requests(operation="CreateArtifactFiles")]
    assert sum(asked) == len(FILES) + (0 if how != "known URLs" else -1)
    assert server.read("me/demo/data:v0", "big") == FILES["big"]
