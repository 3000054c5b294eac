"""`artfs gc` and `artfs fsck` as a user runs them, with a mount beside them."""

import json
import sqlite3

import pytest

from artfs.errors import InvalidInputError
from artfs.model.durations import duration_text, parse_duration
from tests.cli.conftest import run_all


@pytest.fixture
def stored(mounted, tmp_path):
    """Two versions, of which the first is deleted."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(name.encode())
    lines = [
        ["put", tmp_path / "old", "demo/data"],
        ["put", tmp_path / "new", "demo/data"],
        ["rm", "-y", "demo/data:v0"],
    ]
    assert [code for code, _, _ in run_all(mounted, lines)] == [0, 0, 0]
    return mounted


def test_nothing_is_deleted_without_delete_and_readers_go_on(stored):
    with open(stored.collection() / "v1/f", "rb") as file:
        look = ["gc", "--grace", "0", "--list"]
        (_, shown, said), (_, as_json, _), (_, by_default, _) = run_all(stored, [look, [*look, "--json"], ["gc"]])
        assert "would delete 2 objects" in shown
        assert "nothing was deleted: artfs gc --delete" in said
        assert stored.blob(b"old").exists()
        names = {one["name"]: one["kind"] for one in json.loads(as_json)["names"]}
        assert sorted(names.values()) == ["files", "lists of files"]
        assert all(name in shown for name in names)
        assert "would delete 0 objects" in by_default, "24 hours are the default"
        delete = ["gc", "--grace", "0", "--delete"]
        (_, shown, _), (_, as_json, _) = run_all(stored, [delete, [*delete, "--json"]])
        assert "deleted 2 objects" in shown
        assert not stored.blob(b"old").exists()
        assert file.read() == b"new"
    assert (stored.collection() / "latest/f").read_bytes() == b"new"
    found = json.loads(as_json)
    assert (found["deleted"], found["objects"], found["bytes"], found["needed"]) == (True, 0, 0, 2)


def test_a_version_whose_time_has_run_out_is_gone_from_the_mount_at_once(stored):
    (stored.root / "new/f").write_bytes(b"newest")
    stored.run("put", stored.root / "new", "demo/data")
    with sqlite3.connect(stored.root / "data/registry.sqlite") as database:
        database.execute("UPDATE versions SET ttl_seconds = 0")
    assert (stored.collection() / "v1").exists()
    (_, shown, _), (_, as_json, _) = run_all(stored, [["gc"], ["gc", "--delete", "--json"]])
    assert "would delete me/demo/data:v1: its time to live has run out" in shown
    assert "keeps me/demo/data:v2, whose time to live has run out: it has the alias latest" in shown
    assert json.loads(as_json)["expired"] == ["me/demo/data:v1"]
    assert not (stored.collection() / "v1").exists()
    assert (stored.collection() / "v2/f").read_bytes() == b"newest"


def test_what_cannot_be_collected_says_why(cli):
    assert "'5' is not a duration" in cli.run("gc", "--grace", "5", code=2).stderr
    assert "collects garbage itself" in cli.run("gc", "--registry", "http://localhost:9", code=2).stderr


def test_fsck_finds_and_repairs(stored):
    ((code, shown, _),) = run_all(stored, [["fsck", "--deep"]])
    assert code == 0
    assert all(line.startswith("ok ") for line in shown.splitlines())
    stored.blob(b"new").unlink()
    again = ["put", stored.root / "new/f", "demo/again"]  # the same bytes
    (code, shown, _), (json_code, as_json, _), (put, _, _), (mended, _, _) = run_all(
        stored, [["fsck", "--fix"], ["fsck", "--json"], again, ["fsck"]]
    )
    assert (code, json_code, put, mended) == (1, 1, 0, 0)
    assert "f of me/demo/data:v1 is missing" in shown
    (row,) = [row for row in json.loads(as_json) if row["level"] == "problem"]
    assert (row["check"], row["fixable"], row["fixed"]) == ("store", False, False)
    (drafts,) = [path for path in (stored.root / "data/drafts").iterdir() if path.is_dir()]
    (drafts / ".trash-1").mkdir()
    stored.run("fsck")
    assert (drafts / ".trash-1").exists()
    assert ": repaired" in stored.out("fsck", "--fix")
    assert not (drafts / ".trash-1").exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90s", 90), ("15m", 900), ("24h", 86400), ("1D12h", 129600), ("2w", 1209600)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds
    assert parse_duration(duration_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "5", "-1h", "1y", "1.5h", "h", "1 h", "٣h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidInputError, match="is not a duration"):
        parse_duration(text)
