"""`artfs log`: the history of a collection, newest first."""

import re

import pytest

from tests.cli.conftest import run_all
from tests.cli.test_lineage import record
from tests.cli.test_start import SLOW, imported
from tests.harness import Artfs


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    found = Artfs(tmp_path_factory.mktemp("history"))
    source = found.root / "source"
    source.mkdir()
    (source / "a").write_text("a" * 2000)
    (source / "b").write_text("b")
    found.here("put", source, "demo/data", "--description", "the first\nof \x1b[2Jmany")
    (source / "c").write_text("c")
    (source / "b").unlink()
    found.here("put", source, "demo/data:best")
    (source / "a").write_text("A")
    (source / "c").rename(source / "d")
    found.here("put", source, "demo/data", "--description", "last")
    record(found, "r1", [], ["demo/data:v1"], "lr \x1b 0.1")
    return found


def without_times(text):
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", text)


def test_versions_come_newest_first_with_what_is_known_of_them(history):
    done = history.run("log", "demo/data")
    assert done.stderr == ""
    assert (
        without_times(done.stdout)
        == """\
me/demo/data:v2  (latest)
    TIME  2 B, 2 files
    | last

me/demo/data:v1  (best)
    TIME  2.0 kB, 2 files
    logged by me/demo/r1 "lr \\x1b 0.1"

me/demo/data:v0
    TIME  2.0 kB, 2 files
    | the first
    | of \\x1b[2Jmany
"""
    )


def test_stat_counts_what_each_version_changed(history):
    lines = [line for line in history.out("log", "demo/data", "--stat").splitlines() if "~" in line]
    assert lines == ["    +0 -0 ~1 1 renamed  -2.0 kB", "    +1 -1 ~0  +0 B", "    +2 -0 ~0  +2.0 kB"]
    (first, *_) = history.json("log", "demo/data", "--stat")
    assert first["changes"] == {"added": 0, "removed": 0, "changed": 1, "renamed": 1, "bytes": -1999}


def test_a_history_begins_where_it_is_told_and_has_as_many_versions(history):
    def names(*arguments):
        return [row["version"] for row in history.json("log", *arguments)]

    assert names("demo/data:best") == ["v1", "v0"]
    assert names("demo/data", "-n", "2") == ["v2", "v1"]
    assert names("me/demo/data:v1", "-n1", "--stat") == ["v1"]
    assert names("demo/data", "-n", "0") == []
    assert history.run("log", "demo/data", "-n", "0").stdout == ""


def test_json_says_all_of_a_version(history):
    _, row, _ = history.json("log", "demo/data")
    assert {key: row[key] for key in ("name", "aliases", "tags", "type", "size", "file_count", "description", "changes")} == {
        "name": "me/demo/data:v1", "aliases": ["best"], "tags": [], "type": "dataset", "size": 2001, "file_count": 2,
        "description": None, "changes": None,
    }  # fmt: skip
    assert row["logged_by"] == {"run": "me/demo/r1", "name": "lr \x1b 0.1", "job_type": "train"}


def test_no_manifest_is_opened_without_stat(cli, small):
    cli.here("put", small, "demo/data")
    for path in cli.store_files():
        path.unlink()
    assert [row["version"] for row in cli.json("log", "demo/data")] == ["v0"]
    assert "is not in the store" in cli.run("log", "demo/data", "--stat", code=3).stderr


def test_a_version_before_that_was_deleted_is_passed_over(cli, small):
    for text in ("1", "2", "3"):
        (small / "f").write_text(text)
        cli.here("put", small, "demo/data")
    cli.run("rm", "demo/data:v1")
    newest, oldest = cli.json("log", "demo/data", "--stat")
    assert (newest["version"], newest["changes"]["changed"], oldest["version"]) == ("v2", 1, "v0")


def test_what_does_not_exist_is_said(history):
    for (code, out, err), says in zip(
        run_all(history, [["log", "demo/nothing"], ["log", "demo/data:v9"], ["log", "demo"]]),
        ("no collection me/demo/nothing", "v9", "me/uncategorized/demo"),
        strict=True,
    ):
        assert (code, out) == (3, "")
        assert says in err


def test_nothing_slow_is_imported(history):
    assert not SLOW & imported(history, ["log", "--help"])
    assert not {"trio", "pyfuse3", "rich"} & imported(history, ["log", "demo/data", "--stat"])
