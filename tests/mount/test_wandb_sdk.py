"""What the real SDK logs is what a mount, the commands and the Python API read: bytes, digests, names, aliases, metadata, references."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Artfs
from tests.wandb_server.programs import run
from tests.wandb_server.server import WandbServer

pytest.importorskip("wandb")

_API = """
import json, artfs
api = artfs.Api()
seen = {}
for name in ("files:v0", "files:best", "tables:latest", "references:latest", "growing:latest", "shelf:shelved"):
    one = api.artifact(f"me/all/{name}")
    seen[name] = {
        "version": one.version, "digest": one.digest, "type": one.type, "aliases": sorted(one.aliases), "size": one.size,
        "description": one.description, "metadata": one.metadata, "tags": sorted(one.tags), "id": one.id,
        "entries": {
            path: {"digest": entry.digest, "size": entry.size or 0, "ref": entry.ref} for path, entry in one.manifest.entries.items()
        },
    }
files = api.artifact("me/all/files:v0")
seen["logged by"] = files.logged_by().id
seen["used by"] = [run.id for run in files.used_by()]
seen["source"] = api.artifact("me/all/shelf:shelved").source_qualified_name
seen["registry"] = [
    api.artifact(f"{place}wandb-registry-model/cool:staging").qualified_name for place in ("", "My Org/", "my-org/")
]
table = api.artifact("me/all/tables:latest").get("results")
seen["table"] = [[number, picture.image.getpixel((0, 0))[0]] for _, (number, picture) in table.iterrows()]
same = api.artifact("me/all/again:latest").get("same")
seen["same table"] = [[number, picture.image.getpixel((0, 0))[0]] for _, (number, picture) in same.iterrows()]
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with WandbServer(tmp_path_factory.mktemp("wandb-server")) as server:
        server.organization("My Org")
        server.registry("My Org", "model")
        server.entity("me").organization = server.organization("My Org")
        server.entity("me").xxhash_digests_enabled = True
        yield server


@pytest.fixture(scope="module")
def logged(server, http_server):
    """What the SDK says of what it has logged."""
    (http_server.files / "remote.txt").write_bytes(b"from the web")
    seen = run(server, "everything", f"{http_server.url}/remote.txt")
    server.check()
    return seen


@pytest.fixture(scope="module")
def mounted(server, logged, tmp_path_factory):
    found = Artfs(tmp_path_factory.mktemp("artfs"))
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(found.root / "home")
    found.environment["ARTFS_REGISTRY"] = server.url
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log("directory/0002.bin", "d2/0002.bin")
    server.check()


@pytest.fixture(scope="module")
def api(mounted, logged):
    """What the Python API sees, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _API],
        env=mounted.environment,
        cwd=mounted.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def project(mounted):
    return mounted.mountpoint / "me/all"


def read(version):
    """Return the SHA-256 of each file below a directory."""
    return {
        os.path.relpath(os.path.join(place, name), version): hashlib.sha256(Path(place, name).read_bytes()).hexdigest()
        for place, _, names in os.walk(version)
        for name in names
    }


def test_the_collections_and_their_versions_are_there(project):
    assert sorted(os.listdir(project)) == ["again", "files", "growing", "other", "references", "shelf", "tables"]
    assert sorted(os.listdir(project / "files")) == [".commit", ".staging", "best", "latest", "v0", "with.dot"]
    assert sorted(os.listdir(project / "growing")) == [".commit", ".staging", "latest", "v0", "v1"]


def test_many_files_with_odd_names_have_the_same_bytes(project, logged):
    assert read(project / "files/best") == logged["bytes"]
    assert len(logged["bytes"]) == 1016


def test_files_with_xxh128_digests_have_the_same_bytes(project, logged, server):
    assert server.artifact("me/all/other:v0").entries["0008.bin"].algorithm == "XXH128"
    expected = {path.removeprefix("d1/"): digest for path, digest in logged["bytes"].items() if path.startswith("d1/")}
    assert read(project / "other/v0") == expected
    assert os.getxattr(project / "other/v0/0008.bin", "user.artfs.verified") == b"proven"


def test_sizes_and_digests_are_those_of_the_manifest(project, logged):
    for path, entry in logged["files"]["entries"].items():
        file = project / "files/v0" / path
        assert file.stat().st_size == entry["size"]
        assert os.getxattr(file, "user.artfs.digest").decode() == entry["digest"]


def test_an_incremental_version_has_the_files_of_both(project):
    assert {path.name: path.read_text() for path in (project / "growing/latest").iterdir() if path.is_file()} == {
        "one.txt": "contents of dollar$.txt", "two.txt": "outside",
    }  # fmt: skip


def test_references_are_followed(project, logged):
    version = project / "references/latest"
    assert (version / "local.txt").read_text() == "outside"
    assert (version / "remote.txt").read_text() == "from the web"
    assert (version / "from-files.bin").read_bytes() == b"1"
    assert (version / "from-other.bin").read_bytes() == b"8" * 8
    assert len(os.listdir(version / "directory")) == 143
    with pytest.raises(OSError, match="Input/output"):  # its digest is that of its URI: the SDK refuses it, too
        (version / "directory/0002.bin").read_bytes()
    with pytest.raises(OSError, match="Invalid argument"):
        (version / "strange").read_bytes()
    assert logged["references"]["entries"]["strange"]["ref"] == "strange://somewhere/else"


def test_a_reference_by_a_client_id_is_resolved_before_it_gets_into_a_manifest(project, logged, server):
    assert logged["client ref"].startswith("wandb-client-artifact://")
    entries = server.artifact("me/all/again:latest").entries
    assert {entry.ref.partition("://")[0] for entry in entries.values() if entry.ref} == {"wandb-artifact"}
    same = (project / "again/latest/same.table.json").read_bytes()
    assert same == (project / "tables/latest/results.table.json").read_bytes()


def test_a_portfolio_and_a_registry_show_the_version(project, mounted, logged):
    assert sorted(os.listdir(project / "shelf")) == [".commit", ".staging", "latest", "shelved", "v0"]
    assert (project / "shelf/shelved/d1/0001.bin").read_bytes() == b"1"
    registry = mounted.mountpoint / "my-org/wandb-registry-model/cool"
    assert os.readlink(registry / "staging") == "v0"
    for named in ("my-org", "My Org", "me"):
        registry = mounted.mountpoint / named / "wandb-registry-model/cool"
        assert (registry / "staging/dollar$.txt").read_text() == "contents of dollar$.txt"


def test_the_commands_tell_what_the_sdk_tells(mounted, logged):
    for name in ("files", "other", "tables", "references", "growing", "again"):
        told, said = mounted.json("show", f"me/all/{name}:latest"), logged[name]
        assert {key: told[key] for key in ("digest", "type", "size", "description", "metadata", "id")} == {
            key: said[key] for key in ("digest", "type", "size", "description", "metadata", "id")
        }
        assert sorted(told["aliases"]) == said["aliases"]
        assert sorted(told["tags"]) == said["tags"]


def test_get_brings_the_same_bytes(mounted, logged, tmp_path):
    mounted.run("get", "me/all/files:best", tmp_path / "out")
    assert read(tmp_path / "out") == logged["bytes"]


def test_the_api_tells_what_the_sdk_tells(api, logged):
    for name in ("files:v0", "files:best", "tables:latest", "references:latest", "growing:latest"):
        said = logged[name.partition(":")[0]]
        assert {key: value for key, value in api[name].items() if key != "entries"} == {
            key: value for key, value in said.items() if key != "entries"
        }
        assert api[name]["entries"] == {
            path: {key: entry[key] for key in ("digest", "size", "ref")} for path, entry in said["entries"].items()
        }
    assert (api["logged by"], api["used by"]) == ("run-all", ["run-all"])
    assert api["registry"] == ["my-org/wandb-registry-model/cool:v0"] * 3
    assert (api["shelf:shelved"]["digest"], api["source"]) == (logged["files"]["digest"], "me/all/files:v0")


def test_a_table_comes_back_with_its_images(api):
    assert api["table"] == api["same table"] == [[0, 0], [1, 50], [2, 100]]


@pytest.mark.parametrize("layout", ["V1", "V2", None])
@pytest.mark.parametrize("kind", ["FULL", "INCREMENTAL", "PATCH"])
def test_each_layout_and_kind_of_manifest_is_read(server, mounted, layout, kind):
    name = f"made-{layout}-{kind}".lower()
    server.log_artifact("me", "made", name, files={"a": b"first", "d/b": b"old"}, layout=layout)
    server.log_artifact("me", "made", name, files={"a": b"second", "c": b""}, layout=layout, manifest_kind=kind)
    expected = {"a": b"second", "c": b""} | ({} if kind == "FULL" else {"d/b": b"old"})
    version = mounted.mountpoint / "me/made" / name / "v1"
    assert read(version) == {path: hashlib.sha256(data).hexdigest() for path, data in expected.items()}
