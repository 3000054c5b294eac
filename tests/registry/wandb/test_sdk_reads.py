"""What artfs commits, the unmodified SDK of W&B downloads, verifies and builds on: same paths, bytes and digests."""

import base64
import hashlib
import os
from datetime import UTC, datetime

import pytest

from artfs.model.digest import Digest, version_digest
from artfs.model.names import CollectionRef
from artfs.model.run import RunInfo
from artfs.staging.drafts import DraftReference
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
from artfs.storage import wandb_parts
from tests.staging.test_commit import base_of, content, write
from tests.wandb_server.programs import run

FILES = {
    "a.txt": b"hello\n",
    "nested/deep/leaf.bin": os.urandom(3 << 20),
    "odd names/with space & (x).txt": b"odd",
    "ünïcödé $ #?%.txt": b"more",
    "same": b"hello\n",
    "empty": b"",
}
MANY = {f"d{number % 7}/{number:05}.txt": b"file %d" % number for number in range(2000)}
BIG = os.urandom(3 * 65536 + 5)


def digest_of(files):
    return version_digest((path, Digest.of(data).base64) for path, data in sorted(files.items()))


def md5s(files):
    return {path: hashlib.md5(data).hexdigest() for path, data in files.items()}


def log(services, name, files, base=None, references=(), **values):
    draft = services.drafts.create(CollectionRef("me", "demo", name), "draft", base)
    write(draft, files)
    for reference in references:
        draft.add_reference(reference)
    committer = services.committer()
    committer.freeze(draft, Journal(**values))
    return committer.run(draft, Progress()).version


@pytest.mark.usefixtures("environment")
def test_the_sdk_reads_what_artfs_commits_and_builds_on_it(server, services, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_parts, "FROM", 2 * 65536)
    monkeypatch.setattr(wandb_parts, "PART", 65536)
    made = RunInfo("run-1", "me", "demo", "run-1", "", datetime.now(UTC), config={"lr": 0.1}, metadata={"host": "h"})
    services.registry.record_run(made)
    first = log(
        services, "files", FILES, aliases=("best",), type="model", description="text", metadata={"a": [1, None]},
        tags=("gold",), run="me/demo/run-1",
    )  # fmt: skip
    changed = FILES | {"a.txt": b"changed"}
    log(services, "files", {"a.txt": b"changed"}, base=base_of(first))
    log(services, "many", MANY)
    log(services, "big", {"big": BIG})
    (tmp_path / "outside").write_bytes(b"outside")
    outside = (tmp_path / "outside").as_uri()

    there = f"wandb-artifact://{base64.b64decode(first.id).hex()}"
    references = [
        DraftReference(outside, "local.txt", True, 100),
        DraftReference(f"{there}/nested", "linked", True, 100),
    ]
    log(services, "references", {"own": b"own"}, references=references)

    names = ["files:best", "files:latest", "many:latest", "big:latest", "references:latest"]
    seen = run(server, "../../registry/wandb/sdk_reads", *(f"me/demo/{name}" for name in names))

    expected = {"files:best": FILES, "files:latest": changed, "many:latest": MANY, "big:latest": {"big": BIG}}
    for name, files in expected.items():
        found = seen[f"me/demo/{name}"]
        assert found["files"] == md5s(files)
        assert found["digest"] == found["manifest"] == digest_of(files)
        assert found["size"] == found["sizes"] == sum(map(len, files.values()))
        assert found["count"] == len(files)
    leaf = FILES["nested/deep/leaf.bin"]
    best = seen["me/demo/files:best"]
    assert (best["version"], best["aliases"], best["type"], best["description"]) == ("v0", ["best"], "model", "text")
    assert (best["metadata"], best["tags"], best["logged_by"]) == ({"a": [1, None]}, ["gold"], "run-1")
    assert best["config"] == {"lr": 0.1}  # and nothing of what artfs keeps there for itself
    assert seen["leaf"] == hashlib.md5(leaf).hexdigest()
    linked = seen["me/demo/references:latest"]
    assert linked["refs"] == {"local.txt": outside, "linked/deep/leaf.bin": f"{there}/nested/deep/leaf.bin"}
    assert linked["files"] == md5s({"own": b"own", "local.txt": b"outside", "linked/deep/leaf.bin": leaf})

    # And back: the SDK has made a new version of what artfs had committed.
    assert seen["draft"] == "v2"
    version = services.registry.version(CollectionRef("me", "demo", "files").at("latest"))
    assert content(services, version) == FILES | {"added by the SDK": b"added"}
