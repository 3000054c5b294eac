"""What a user is told: shortened where a name is long, harmless in JSON, in the same form for each error, and soon."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from artfs.cli.options import json_text
from artfs.errors import ArtfsError
from tests.harness import Artfs

ROOT = Path(__file__).parents[2]


def test_a_reference_of_100_kb_makes_a_short_message(cli):
    (line,) = cli.run("show", "demo/" + "x" * 100_000, code=2).stderr.splitlines()
    assert len(line) < 1000
    error = ArtfsError(f"no {'a' * 100_000}{'z' * 100_000} here")
    assert str(error) == error.message == f"no {'a' * 200}…{'z' * 99} here"
    assert ArtfsError("x" * 300).message == "x" * 300


def test_json_is_readable_and_does_nothing_to_a_terminal(cli, tmp_path):
    evil = "ü 漢 \x1b[2J \x9b2J \u202e \x7f \u2028 \U000e0001 \udc80"
    text = json_text({"name": evil}, indent=2)
    assert json.loads(text) == {"name": evil}
    assert "ü 漢 " in text
    assert all(char.isprintable() or char == "\n" for char in text)
    (tmp_path / "f").touch()
    cli.run("put", tmp_path / "f", "demo/data", "--description", "ü \u202e \x9b")
    for command in (("show", "demo/data", "--json"), ("log", "demo/data", "--json"), ("ls", "me/demo", "--json")):
        assert "\u202e" not in (out := cli.out(*command))
        assert "\x9b" not in out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("pit",), "artfs: No such command 'pit'. (did you mean put or pin?)"),
        (("doctr",), "artfs: No such command 'doctr'. (did you mean doctor?)"),
        (("zzzzzz",), "artfs: No such command 'zzzzzz'."),
        (("put", "--alas", "x"), "artfs: No such option '--alas'. Did you mean '--alias'?"),
        (("commit",), "artfs: Missing argument 'PATH'."),
    ],
)
def test_a_mistake_of_usage_is_told_as_every_error_with_what_may_have_been_meant(cli, line, says):
    usage, hint, empty, told = cli.run(*line, code=2).stderr.splitlines()
    assert usage.startswith("Usage: artfs")
    assert hint.startswith("Try 'artfs")
    assert (empty, told.replace("No such option: --alas", "No such option '--alas'")) == ("", says)


def test_a_mount_process_that_is_stopped_is_named_with_what_to_do(mounted):
    pid = mounted.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        said = mounted.run("umount", mounted.mountpoint, code=5).stderr
        process = mounted.start("stats", mounted.mountpoint, "--once")
        assert process.stderr.readline().startswith("artfs: warning: the mount does not answer yet at ")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert f"(pid {pid}) is stopped, and does not answer (kill -CONT {pid} lets it go on, artfs umount --force" in said
    assert process.communicate(timeout=60)[1] == ""
    mounted.umount()


def test_who_may_not_mount_is_told_why_and_that_it_is_not_allowed(fuse, as_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("user")
    for path in (root, *root.parents[:-2]):
        path.chmod(0o755)
    os.chown(root, 65534, 65534)
    user = Artfs(root, uid=65534)
    lines = Path("/etc/fuse.conf").read_text().splitlines() if Path("/etc/fuse.conf").exists() else []
    if "user_allow_other" not in lines:
        said = user.run("mount", user.mountpoint, "-o", "allow_other", code=6).stderr
        assert "allow_other needs the line 'user_allow_other' in /etc/fuse.conf" in said
    user.mount()
    try:
        said = user.run("mount", user.mountpoint / "me", code=2).stderr
        assert f"{user.mountpoint}/me lies in the artfs that is mounted at {user.mountpoint}" in said
    finally:
        user.umount()
        user.close()


@pytest.mark.parametrize("mode", ["600", "660", "666"])
def test_setup_lets_everybody_open_the_device(as_root, tmp_path, mode):
    device = tmp_path / "fuse"
    device.touch()
    device.chmod(int(mode, 8))
    command = [ROOT / "scripts/fuse-device.sh", device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert device.stat().st_mode & 0o777 == 0o666
    assert done.stdout == ("" if mode == "666" else f"setup: chmod 0666 {device} (its mode was 0{mode})\n")
