"""What commands print: results alone on stdout, for machines with --json, everything else on stderr."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import run_all

ARTIFACT_ATTRIBUTES = {
    "aliases", "commit_hash", "created_at", "description", "digest", "entity", "id", "manifest", "metadata", "name", "project",
    "size", "source_version", "state", "type", "updated_at", "version",
}  # fmt: skip
"""The attributes of the W&B ``Artifact`` class."""


def test_put_prints_the_reference_and_nothing_else(cli, small):
    done = cli.run("put", small, "demo/data")
    assert (done.stdout, done.stderr) == ("me/demo/data:v0\n", "")
    done = cli.run("put", small, "demo/data:best")
    assert done.stdout == "me/demo/data:v0\n"
    assert "nothing new" in done.stderr
    (small / "f").write_text("changed")
    assert cli.json("put", small, "demo/data") == {"version": "me/demo/data:v1", "created": True, "warnings": []}
    again = cli.json("put", small, "demo/data")
    assert (again["version"], again["created"], len(again["warnings"])) == ("me/demo/data:v1", False, 1)


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ((), ["me"]),
        (("me",), ["demo"]),
        (("me/demo",), ["data", "one"]),
        (("me/demo/data",), ["v0", "v1"]),
        (("me/demo/data:v0",), ["a.txt", "sub/"]),
        (("me/demo/data:best/sub",), ["ü b"]),
        (("me/demo/data:best/sub/",), ["ü b"]),
        (("me/demo/data:latest/a.txt",), ["a.txt"]),
    ],
)
def test_ls_prints_a_name_a_line_and_the_same_names_as_json(listed, place, names):
    done = listed.run("ls", *place)
    assert (done.stdout.splitlines(), done.stderr) == (names, "")
    assert [row["name"] for row in listed.json("ls", *place)] == names


def test_ls_long_prints_sizes_digests_and_aliases_too(listed):
    (line,) = listed.run("ls", "-l", "me/demo/data:v0/a.txt").stdout.splitlines()
    assert line.split() == ["6", "sZRqySSS0jR8YjW00mERhA==", "a.txt"]
    first, second = listed.run("ls", "--long", "me/demo/data").stdout.splitlines()
    assert first.split()[:3] == ["v0", "2,054", "2"]
    assert second.endswith("best, latest")


def test_ls_json_says_what_a_version_and_a_file_are(listed):
    first, second = listed.json("ls", "me/demo/data")
    assert (first["kind"], first["size"], first["file_count"], first["aliases"]) == ("version", 2054, 2, [])
    assert second["aliases"] == ["best", "latest"]
    assert first["digest"] != second["digest"]
    file, directory = listed.json("ls", "me/demo/data:v0")
    assert file == {"name": "a.txt", "kind": "file", "size": 6, "digest": "sZRqySSS0jR8YjW00mERhA==", "ref": None}
    assert directory == {"name": "sub/", "kind": "directory"}


def test_ls_json_of_nothing_is_an_empty_list(cli):
    assert cli.json("ls", "me") == []
    assert cli.run("ls", "me").stdout == ""


def test_show_json_has_the_attribute_names_of_the_artifact_class(listed):
    shown = listed.json("show", "demo/data:v0")
    assert set(shown) >= ARTIFACT_ATTRIBUTES
    assert {name: shown[name] for name in ("entity", "project", "name", "version", "source_version", "state", "type", "size")} == {
        "entity": "me", "project": "demo", "name": "data:v0", "version": "v0", "source_version": "v0", "state": "COMMITTED",
        "type": "model", "size": 2054,
    }  # fmt: skip
    assert (shown["description"], shown["metadata"], shown["aliases"]) == ("first", {"rows": 1}, [])
    assert re.fullmatch("[0-9a-f]{32}", shown["digest"])
    assert listed.json("show", "demo/data")["aliases"] == ["best", "latest"]


def test_show_prints_an_attribute_a_line(listed):
    lines = dict(line.split(None, 1) for line in listed.run("show", "me/demo/data:best").stdout.splitlines())
    assert lines["name"] == "data:v1"
    assert json.loads(lines["aliases"]) == ["best", "latest"]


def test_names_and_descriptions_do_nothing_to_a_terminal(cli, small):
    (small / "evil \x1b[2J").write_text("")
    (small / "two\nlines").write_text("")
    cli.run(
        "put", small, "demo/data", "--description", "first\x1b[2J\n   digest  none", "--metadata", '{"a": "\\u009b2J"}'
    )
    assert cli.run("ls", "me/demo/data:v0").stdout.splitlines() == ["d/", "evil \\x1b[2J", "f", "two\\nlines"]
    assert "\x1b" not in cli.run("ls", "-l", "me/demo/data:v0").stdout
    shown = cli.run("show", "me/demo/data:v0").stdout
    assert "    description  first\\x1b[2J\n                    digest  none\n" in shown
    assert "\x9b" not in shown
    said = cli.run("get", "demo/data", small / "evil \x1b[2J" / "x", code=2).stderr
    assert "evil \\x1b[2J" in said
    assert "\x1b" not in said


def test_alias_prints_the_aliases_of_the_version(cli, small):
    cli.run("put", small, "demo/data")
    done = cli.run("alias", "demo/data:v0", "b", "a")
    assert (done.stdout, done.stderr) == ("a\nb\nlatest\n", "")
    (small / "f").write_text("two")
    cli.run("put", small, "demo/data")
    assert cli.json("alias", "demo/data:v1", "a") == ["a", "latest"]
    assert cli.json("alias", "--remove", "demo/data:v0", "b") == []


def test_get_prints_the_directory(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    done = cli.run("get", "demo/data", tmp_path / "out")
    assert (done.stdout, done.stderr) == (f"{tmp_path}/out\n", "")


def test_mount_umount_and_rm_print_nothing_on_stdout(cli, fuse, small):
    cli.run("put", small, "demo/data")
    assert cli.run("mount", cli.mountpoint).stdout == ""
    assert os.listdir(cli.mountpoint) == ["me"]
    assert cli.run("umount", cli.mountpoint).stdout == ""
    assert os.listdir(cli.mountpoint) == []
    done = cli.run("rm", "demo/data:v0", "--delete-aliases")
    assert (done.stdout, done.stderr) == ("", "deleted me/demo/data:v0\n")
    assert cli.out("ls", "me/demo/data") == ""


def test_every_command_has_a_help_that_says_what_it_does(cli):
    names = ["mount", "umount", "stage", "commit", "put", "get", "ls", "show", "log", "diff", "verify", "alias", "rm"]
    (_, listed, _), (_, version, _), *helps = run_all(
        cli, [["--help"], ["--version"], *([name, "-h"] for name in names)]
    )
    assert re.fullmatch(r"artfs, version \S+\n", version)
    for name, (code, out, err) in zip(names, helps, strict=True):
        assert re.search(rf"^  {name} +\S", listed, re.MULTILINE), name
        assert out.startswith(f"Usage: artfs {name} ")
        assert (code, err) == (0, "")


def test_nobody_reading_the_output_is_no_error(listed):
    for place in ((), ("me/demo/data:v0",)):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "artfs.cli", "ls", *place]
        done = subprocess.run(
            command, env=listed.environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writer)
        assert done.stderr == ""
        assert done.returncode in {1, 141}
    piped = f"{sys.executable} -m artfs.cli ls | head -0"
    done = subprocess.run(["bash", "-c", piped], env=listed.environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_who_only_reads_does_not_wait_for_who_writes(cli, fuse, small, tmp_path):
    cli.run("put", small, "demo/data")
    with cli.held_registry():
        assert cli.out("ls", "me/demo/data") == "v0"
        assert cli.json("show", "demo/data")["version"] == "v0"
        cli.run("get", "demo/data", tmp_path / "out")
        cli.mount()
        assert (cli.collection() / "v0/f").read_text() == (tmp_path / "out/f").read_text() == "one\n"
        cli.umount()


def test_rm_of_a_link_takes_the_link_only(cli, small):
    cli.run("put", small, "demo/data")
    link = "import artfs; artfs.Api().artifact('demo/data').link('shelf/picked', aliases=['prod'])"
    subprocess.run([sys.executable, "-c", link], env=cli.environment, check=True)
    assert "me/demo/data:v0 stays" in cli.run("rm", "shelf/picked:prod", "--delete-aliases").stderr
    assert cli.out("ls", "me/shelf/picked") == ""
    assert cli.json("show", "demo/data:latest")["state"] == "COMMITTED"


def test_get_rm_and_config_path_say_as_json_what_they_say_otherwise(cli, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/f").write_bytes(b"12345")
    cli.run("put", tmp_path / "in", "demo/json")
    there = str(tmp_path / "out")
    assert cli.json("get", "demo/json:v0", there) == {
        "version": "me/demo/json:v0", "directory": there, "files": 1, "bytes": 5,
    }  # fmt: skip
    assert cli.json("rm", "demo/json:v0", "--yes", "--delete-aliases") == {"deleted": "me/demo/json:v0"}
    assert cli.json("config", "path")["path"] == cli.run("config", "path").stdout.strip()


def test_config_takes_the_options_of_config_list_and_refuses_them_before_a_command(cli):
    assert cli.json("config", "--verify", "strict") == cli.json("config", "list", "--verify", "strict")
    assert "put the options after 'get'" in cli.run("config", "--json", "get", "verify", code=2).stderr
