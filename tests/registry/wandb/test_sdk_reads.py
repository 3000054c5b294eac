"""What artfs commits, the unmodified SDK of W&B downloads, verifies and builds on: same paths, bytes and digests."""

import base64
import hashlib
import os
import subprocess
import sys
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


_MEDIA = """
import json, sys, numpy, artfs
url, directory, odd = sys.argv[1:]
with artfs.init(entity="me", project="demo", id="media") as run:
    table = artfs.Table(columns=["n", "picture"])
    for shade in range(3):
        table.add_data(shade, artfs.Image(numpy.full((4, 4, 3), shade * 50, dtype=numpy.uint8)))
    tables = artfs.Artifact("tables", "predictions")
    tables.add(table, "results")
    run.log_artifact(tables).wait()
    references = artfs.Artifact("references", "dataset")
    references.add_reference(url, name="remote.txt")
    references.add_reference(directory, name="directory")
    references.add_reference(tables.get_entry("results.table.json"), name="of another")
    run.log_artifact(references).wait()
    noted = artfs.Artifact("noted", "dataset")  # the SDK has no way to read these either
    noted.add_reference(url, name="unchecked.txt", checksum=False)
    noted.add_reference("strange://somewhere/else", name="strange")
    run.log_artifact(noted).wait()
    named = artfs.Artifact("odd", "dataset")
    named.add_dir(odd)
    run.log_artifact(named).wait()
"""
ODD = (
    "empty", "sp ace/ünï (x) & y.txt", "dollar$.txt", "back\\slash", "percent%41.txt", "name:colon", ".hidden/.file", "new\nline",
    "quo'te\"s", "#hash?query=1", "tab\tin", "日本/語", "-dash", "very/" + "d/" * 20 + "deep", "n" * 200,
)  # fmt: skip


def test_the_sdk_reads_tables_references_and_odd_names_of_the_python_api(server, environment, http_server, tmp_path):
    (http_server.files / "remote.txt").write_bytes(b"from the web")
    odd = {name: b"" if name == "empty" else name.encode() for name in ODD}
    for root, files in ((tmp_path / "odd", odd), (tmp_path / "there", {"a": b"1", "d/b": b"2"})):
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    url, there = f"{http_server.url}/remote.txt", (tmp_path / "there").as_uri()
    words = [sys.executable, "-c", _MEDIA, url, there, tmp_path / "odd"]
    done = subprocess.run(
        words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr

    seen = run(server, "../../registry/wandb/sdk_reads_media")

    assert seen["table"] == [[0, 0], [1, 50], [2, 100]]
    assert seen["odd"] == md5s(odd)
    table = server.read("me/demo/tables:latest", "results.table.json")
    assert seen["references"] == md5s(
        {"remote.txt": b"from the web", "directory/a": b"1", "directory/d/b": b"2", "of another": table}
    )
    tables = base64.b64decode(server.artifact("me/demo/tables:latest").id).hex()
    assert seen["entries"]["of another"][0] == f"wandb-artifact://{tables}/results.table.json"
    assert seen["entries"]["strange"] == ["strange://somewhere/else", "strange://somewhere/else", 0]
    assert seen["entries"]["unchecked.txt"] == [url, url, 0]
    assert seen["entries"]["directory/d/b"][0] == f"{there}/d/b"
