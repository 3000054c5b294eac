"""`artfs du`: bytes of versions and of what is in them, each content counted once."""

import os

import pytest

from tests.cli.conftest import run_all
from tests.cli.test_start import SLOW, imported
from tests.harness import Artfs


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    found = Artfs(tmp_path_factory.mktemp("used"))
    source = found.root / "source"
    for path, size in {"a": 10, "d/b": 2000, "d/e/c": 30, "d/e/f/g": 4, "h/i": 500}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(os.urandom(size))
    (source / "z").mkdir()
    (source / "z/copy").write_bytes((source / "d/b").read_bytes())
    found.here("put", source, "demo/data")
    (source / "a").unlink()
    found.here("put", source, "demo/data")
    return found


def rows(artfs, *arguments):
    return [(row["version"].rpartition("/")[2], row["path"], row["size"]) for row in artfs.json("du", *arguments)]


def test_the_bytes_of_a_version_are_those_of_its_contents(used):
    (row,) = used.json("du", "demo/data:v0")
    assert row == {
        "version": "me/demo/data:v0", "path": "", "size": 2544, "here": 2544, "to_fetch": 0, "files": 6, "files_here": 6,
    }  # fmt: skip


def test_lines_have_columns_and_sizes_for_people_if_wanted(used):
    header, line = used.run("du", "demo/data:v0").stdout.splitlines()
    assert header.split() == ["bytes", "here", "to", "fetch", "name"]
    assert line.split() == ["2,544", "2,544", "0", "me/demo/data:v0"]
    assert used.run("du", "-h", "demo/data:v0").stdout.splitlines()[1].split() == [
        "2.5", "kB", "2.5", "kB", "0", "B", "me/demo/data:v0",
    ]  # fmt: skip


def test_directories_down_to_a_depth(used):
    assert rows(used, "demo/data:v0", "-d", "1") == [
        ("data:v0", "", 2544), ("data:v0", "d", 2034), ("data:v0", "h", 500), ("data:v0", "z", 0),
    ]  # fmt: skip
    assert rows(used, "demo/data:v0/d", "-d", "2") == [
        ("data:v0", "d", 2034),
        ("data:v0", "d/e", 34),
        ("data:v0", "d/e/f", 4),
    ]


def test_several_arguments_each_counted_for_itself(used):
    assert rows(used, "demo/data:v0", "demo/data:v1", "demo/data:v1/z", "demo/data:v1/z/copy") == [
        ("data:v0", "", 2544), ("data:v1", "", 2534), ("data:v1", "z", 2000), ("data:v1", "z/copy", 2000),
    ]  # fmt: skip


def test_paths_in_a_mount_are_versions(used, fuse):
    used.mount()
    try:
        collection = used.collection()
        assert rows(used, collection / "latest", collection / "v0/d") == [("data:v1", "", 2534), ("data:v0", "d", 2034)]
        draft = used.draft()
        assert f"du -sh {draft}" in used.run("du", draft, code=2).stderr
    finally:
        used.umount()


def test_what_does_not_exist_is_said(used):
    for (code, out, err), says in zip(
        run_all(used, [["du", "demo/data:v0/nothing"], ["du", "demo/nothing"], ["du", "demo/data:v9"]]),
        ("has no 'nothing'", "me/demo/nothing", "v9"),
        strict=True,
    ):
        assert (code, out) == (3, "")
        assert says in err


def test_h_is_for_sizes_and_help_has_its_long_name(used):
    assert used.run("du", "--help").stdout.startswith("Usage: artfs du ")
    assert not SLOW & imported(used, ["du", "--help"])
    assert not {"trio", "pyfuse3", "rich"} & imported(used, ["du", "demo/data:v0"])
