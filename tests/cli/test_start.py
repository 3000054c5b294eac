"""What a command imports and shows: `artfs --help` is instant, and a bar is shown to a terminal only."""

import json
import os
import pty
import subprocess
import sys

import pytest

COMMANDS = [
    "mount",
    "umount",
    "stage",
    "commit",
    "put",
    "get",
    "ls",
    "show",
    "log",
    "diff",
    "du",
    "verify",
    "alias",
    "rm",
]
SLOW = {"rich", "sqlalchemy", "trio", "pyfuse3", "sqlite3", "blake3", "platformdirs"}


def imported(artfs, *lines):
    """Return what a process has imported that runs command lines one after the other."""
    script = (
        "import json, sys; from artfs.cli.main import exit_code;"
        "codes = [exit_code(line) for line in json.loads(sys.argv[1])];"
        "print(json.dumps([codes, list(sys.modules)]), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, json.dumps([[str(word) for word in line] for line in lines])]
    done = subprocess.run(command, env=artfs.environment, capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stderr.splitlines()[-1])
    assert set(codes) == {0}, done.stderr
    return set(modules)


def test_help_imports_nothing_slow(cli):
    modules = imported(cli, ["--help"], ["--version"])
    assert "click" in modules
    assert not SLOW & modules
    assert not SLOW & imported(cli, *([name, "--help"] for name in COMMANDS))


def test_only_the_mount_process_imports_what_a_mount_needs(cli, small, tmp_path):
    lines = ["put", small, "demo/data"], ["ls"], ["show", "demo/data"], ["get", "demo/data", tmp_path / "out"]
    assert not {"trio", "pyfuse3", "rich"} & imported(cli, *lines)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    file = tmp_path_factory.mktemp("big") / "file"
    with file.open("wb") as opened:
        opened.truncate(64 << 20)
    return file


def on_terminal(artfs, *arguments, code=0, look=lambda _: None):
    """Run a command whose stderr is a terminal; return what it wrote to stdout and to the terminal.

    ``look`` is called with what the terminal shows so far whenever that is more.
    """
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "artfs.cli", *map(str, arguments)]
    environment = artfs.environment | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = bytearray()
    try:
        while piece := os.read(master, 65536):
            shown += piece
            look(shown)
    except OSError:  # EIO: the last writer has gone
        pass
    finally:
        os.close(master)
    out = process.stdout.read().decode()
    process.stdout.close()
    assert process.wait() == code
    return out, bytes(shown)


def test_a_bar_is_shown_to_a_terminal_and_removed_again(cli, big, tmp_path):
    for arguments, out in (
        (("put", big, "demo/data"), "me/demo/data:v0\n"),
        (("get", "demo/data", tmp_path / "out"), f"{tmp_path}/out\n"),
    ):
        printed, shown = on_terminal(cli, *arguments)
        assert printed == out
        assert b"\x1b[?25l" in shown  # the cursor is hidden while a bar is there
        assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")
    printed, shown = on_terminal(cli, "show", "demo/data", "--json")
    assert json.loads(printed)["version"] == "v0"
    assert shown == b""


def test_a_bar_is_shown_for_the_commit_of_a_draft(mounted):
    draft = mounted.draft()
    (draft / "f").write_bytes(bytes(1 << 20))
    printed, shown = on_terminal(mounted, "commit", draft)
    assert printed == "me/demo/data:v0\n"
    assert b"\x1b[?25l" in shown


def test_nothing_is_shown_without_a_terminal(cli, big, tmp_path):
    assert cli.run("put", big, "demo/data").stderr == ""
    assert cli.run("get", "demo/data", tmp_path / "out").stderr == ""
