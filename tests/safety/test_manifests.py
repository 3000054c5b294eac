"""A manifest is untrusted input: what no commit would write is refused when it is added, and by mount, `get` and API when it is loaded.

The rules themselves are tested in tests/model/test_manifest.py and test_paths.py, here is whether every way in obeys them.
"""

import errno
import json
import os
import subprocess
import sys

import pytest

import artfs
from artfs.errors import InvalidInputError
from tests.cli.conftest import run_all
from tests.harness import Artfs, tree_of
from tests.safety.conftest import as_program, manifest_of, md5, plant

DATA = b"one\n"
FILE = {"digest": md5(DATA), "size": len(DATA)}
DEEP = "/".join(["d" * 255] * 16)  # 4,095 bytes

HOSTILE = {
    "absolute": [("/tmp/artfs-evil", FILE)],
    "up": [("../evil", FILE)],
    "up-in-the-middle": [("d/../../evil", FILE)],
    "up-alone": [("..", FILE)],
    "dot-alone": [(".", FILE)],
    "empty": [("", FILE)],
    "slashes-alone": [("//", FILE)],
    "drive": [("C:/evil", FILE)],
    "nul": [("d/\0evil", FILE)],
    "surrogate": [("d/\ud800evil", FILE)],
    "long-name": [("x" * 256, FILE)],
    "long-path": [(f"{DEEP[:-3]}/xxx", FILE)],
    "file-and-directory": [("d", FILE), ("d/f", FILE)],
    "directory-and-file": [("d/f", FILE), ("d", FILE)],
    "twice": [("f", FILE), ("./f", FILE)],
    "negative-size": [("f", {**FILE, "size": -1})],
    "absurd-size": [("f", {**FILE, "size": (1 << 53) + 1})],
    "size-of-a-float": [("f", {**FILE, "size": 4.0})],
    "size-of-a-truth": [("f", {**FILE, "size": True})],
    "size-of-a-text": [("f", {**FILE, "size": "4"})],
    "digest-of-nothing": [("f", {**FILE, "digest": ""})],
    "digest-that-leads-up": [("f", {**FILE, "digest": "../../../../etc/passwd"})],
    "entry-of-a-list": [("f", [])],
}

LOOK = """
import json, sys
import artfs
api, found = artfs.Api(), {}
for name in json.loads(sys.argv[1]):
    artifact = api.artifact(f"demo/{name}:v0")
    for what in (lambda: artifact.manifest.entries, artifact.files, lambda: artifact.get_entry("f"), lambda: artifact.download(sys.argv[2])):
        try:
            list(what() or [])
        except artfs.errors.ArtfsError as error:
            found.setdefault(name, []).append([type(error).__name__, str(error)])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A mounted registry with a hostile version for each kind, and one that is right."""
    found = Artfs(tmp_path_factory.mktemp("hostile"))
    lines = []
    for name in (*HOSTILE, "right"):
        source = found.root / "source" / name
        source.mkdir(parents=True)
        (source / "f").write_bytes(name.encode())
        lines.append(["put", source, f"demo/{name}"])
    assert {code for code, _, _ in run_all(found, lines)} == {0}
    for name, entries in HOSTILE.items():
        plant(found, name, manifest_of(entries))
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log("manifest", "entry path", "entry '")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_mount_shows_nothing_of_it_and_lives(hostile, name):
    version = hostile.collection(name) / "v0"
    for call in (
        lambda: os.listdir(version),
        lambda: (version / "f").read_bytes(),
        lambda: (version / "d/f").stat(),
        lambda: (version / ".artfs/manifest.json").read_bytes(),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno in {errno.EIO, errno.EINVAL}
    assert (hostile.collection("right") / "v0/f").read_bytes() == b"right"


def test_get_writes_nothing_and_says_what_is_wrong_with_it(hostile, tmp_path):
    names = list(HOSTILE)
    lines = [["get", f"demo/{name}", tmp_path / "out" / name] for name in names]
    for name, (code, out, err) in zip(names, run_all(hostile, lines), strict=True):
        assert (code, out) == (2, ""), (name, err)
        assert "Traceback" not in err
        assert err.startswith("artfs: manifest "), err
        assert "cannot be accepted: " in err, err
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert not os.path.exists("/tmp/artfs-evil")


def test_the_api_gives_nothing_of_it(hostile, tmp_path):
    command = [sys.executable, "-c", LOOK, json.dumps(list(HOSTILE)), str(tmp_path / "out")]
    done = subprocess.run(command, env=hostile.environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout)
    for name in HOSTILE:
        assert [kind for kind, _ in found[name]] == ["InvalidInputError"] * 4, name
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert not os.path.exists("/tmp/artfs-evil")


def test_no_other_command_takes_it_either(hostile):
    commands = {"du": [], "verify": [], "diff": ["demo/right:v0"], "stage": [], "ls": ["-l"]}
    kinds = ("up", "file-and-directory", "absurd-size")
    lines = [[command, f"demo/{name}:v0", *more] for command, more in commands.items() for name in kinds]
    for line, (code, _, err) in zip(lines, run_all(hostile, lines), strict=True):
        assert code == 2, (line, code, err)
        assert "Traceback" not in err


# Adding ------------------------------------------------------------------------------------------------------------

BAD_NAMES = ["/tmp/artfs-evil", "../evil", "d/../../evil", "..", ".", "//", "C:/evil", "d/\0evil", "d/\ud800evil", "x" * 256, f"{DEEP[:-3]}/xxx"]  # fmt: skip


@pytest.fixture
def artifact(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/f").write_bytes(DATA)
    with as_program(cli):
        yield artfs.Artifact("data", "dataset")


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_is_no_file_below_its_version_cannot_be_added(artifact, tmp_path, name):
    before = tree_of(tmp_path)
    adding = [
        lambda: artifact.add_file("source/f", name=name),
        lambda: artifact.add_reference((tmp_path / "source/f").as_uri(), name=name),
        lambda: artifact.new_file(name).__enter__(),
    ]
    if not name.startswith("/") and name != ".":  # of a directory's name, slashes at the ends mean nothing
        adding.append(lambda: artifact.add_dir("source", name=name))
    for add in adding:
        with pytest.raises(InvalidInputError):
            add()
    assert not artifact.manifest.entries
    made = set(tree_of(tmp_path)) - set(before)
    assert {path for path in made if not path.startswith(("data", "cache", "state", "runtime"))} == set()
    assert not os.path.exists("/tmp/artfs-evil")


def test_a_path_cannot_become_a_file_and_a_directory(artifact):
    artifact.add_file("source/f", name="d")
    with pytest.raises(ValueError, match="d"):
        artifact.add_file("source/f", name="d/f")
    artifact.add_file("source/f", name="e/f")
    with pytest.raises(ValueError, match="e"):
        artifact.add_file("source/f", name="e")
    assert sorted(artifact.manifest.entries) == ["d", "e/f"]


def test_the_kernel_lets_no_name_into_a_draft_that_would_be_refused(fresh):
    fresh.mount()
    draft = fresh.draft()
    with pytest.raises(OSError) as caught:
        (draft / ("x" * 256)).touch()
    assert caught.value.errno == errno.ENAMETOOLONG
    deep = os.open(draft, os.O_PATH)

    def go_deeper():
        nonlocal deep
        os.mkdir("d" * 255, dir_fd=deep)
        below = os.open("d" * 255, os.O_PATH, dir_fd=deep)
        os.close(deep)
        deep = below

    with pytest.raises(OSError) as caught:  # by steps, as no path that long can be named at once
        any(go_deeper() for _ in range(17))
    os.close(deep)
    assert caught.value.errno == errno.ENAMETOOLONG
    (draft / "f").write_bytes(DATA)
    assert (fresh.commit(draft) / "f").read_bytes() == DATA
