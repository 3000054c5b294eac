"""`artfs verify`: everything is proven or named, with the exit code that says so."""

import json
import os

import pytest

from tests.cli.conftest import run_all
from tests.cli.test_start import SLOW, big, imported, on_terminal

__all__ = ["big"]


@pytest.fixture
def logged(cli, small):
    """A version of two files and one big one."""
    (small / "big").write_bytes(os.urandom(3 << 20))
    cli.here("put", small, "demo/data")
    return cli


def damage(artfs, data):
    path = artfs.blob(data)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(len(data) // 2)
        byte = file.read(1)
        file.seek(len(data) // 2)
        file.write(bytes([byte[0] ^ 1]))


def test_a_version_that_is_right_is_proven(logged):
    done = logged.run("verify", "demo/data")
    assert done.stderr == ""
    assert done.stdout.startswith("me/demo/data:v0: 3 files, 3.1 MB read in ")
    assert done.stdout.endswith("/s): 3 proven\n")
    found = logged.json("verify", "demo/data:v0")
    assert {key: found[key] for key in ("version", "files", "bytes", "proven", "damaged", "complete", "bad")} == {
        "version": "me/demo/data:v0", "files": 3, "bytes": (3 << 20) + 8, "proven": 3, "damaged": 0, "complete": True, "bad": [],
    }  # fmt: skip


def test_every_bad_file_is_named_and_the_others_are_proven(logged, small):
    damage(logged, (small / "big").read_bytes())
    logged.blob(b"two\n").unlink()
    done = logged.run("verify", "demo/data", code=7)
    first, second, summary = sorted(done.stdout.splitlines())
    assert first.startswith("damaged      big: blob md5:")
    assert "its bytes do not match the manifest" in first
    assert second.startswith("me/demo/data:v0: 3 files, ")
    assert second.endswith(": 1 proven, 1 damaged, 1 missing")
    assert summary.startswith("missing      d/g: blob md5:")
    found = json.loads(logged.run("verify", "demo/data", "--json", code=7).stdout)
    assert [(row["path"], row["state"]) for row in found["bad"]] == [("big", "damaged"), ("d/g", "missing")]
    assert found["proven"] == 1


def test_what_is_on_this_machine_is_proven_too(logged, small):
    assert logged.json("verify", "demo/data", "--cached")["proven"] == 3
    damage(logged, (small / "big").read_bytes())
    assert "damaged      big" in logged.run("verify", "demo/data", "--cached", code=7).stdout


def test_references_are_read_where_they_are(cli, small):
    cli.here("put", "--reference", small.as_uri(), "demo/refs")
    assert cli.json("verify", "demo/refs")["proven"] == 2
    (small / "f").write_text("ONE\n")
    (small / "d/g").unlink()
    found = json.loads(cli.run("verify", "demo/refs", "--json", code=7).stdout)
    assert [(row["path"], row["state"]) for row in found["bad"]] == [("d/g", "missing"), ("f", "changed")]


def test_a_name_that_would_move_the_cursor_is_shown_plainly(cli, small):
    (small / "evil \x1b[2J").write_text("evil")
    cli.here("put", small, "demo/data")
    cli.blob(b"evil").unlink()
    assert "missing      evil \\x1b[2J: " in cli.run("verify", "demo/data", code=7).stdout


def test_what_does_not_exist_is_said(logged):
    for (code, out, err), says in zip(
        run_all(logged, [["verify", "demo/data:v9"], ["verify", "demo/nothing"]]), ("v9", "nothing"), strict=True
    ):
        assert (code, out) == (3, "")
        assert says in err


def test_a_bar_is_shown_to_a_terminal(cli, big):
    cli.here("put", big, "demo/data")
    printed, shown = on_terminal(cli, "verify", "demo/data")
    assert printed.endswith("1 proven\n")
    assert b"\x1b[?25l" in shown


def test_bad_files_go_to_stdout_although_a_bar_is_on_the_terminal(cli, small):
    (small / "big").write_bytes(os.urandom(40 << 20))
    cli.here("put", small, "demo/data")
    damage(cli, (small / "big").read_bytes())
    printed, shown = on_terminal(cli, "verify", "demo/data", code=7)
    assert printed.startswith("damaged      big: ")
    assert b"damaged" not in shown


def test_a_store_on_this_machine_needs_no_cache(logged):
    logged.run("verify", "demo/data")
    assert not list((logged.root / "cache").glob("blocks*"))


def test_nothing_slow_is_imported(logged):
    assert not SLOW & imported(logged, ["verify", "--help"])
    assert not {"trio", "pyfuse3", "rich"} & imported(logged, ["verify", "demo/data"])
