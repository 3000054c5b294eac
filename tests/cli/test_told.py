"""What a user is told: shortened where a name is long, harmless in JSON, in the same form for each error, and soon."""

import subprocess
from pathlib import Path

import pytest

from artfs.errors import ArtfsError

ROOT = Path(__file__).parents[2]


def test_a_reference_of_100_kb_makes_a_short_message(cli):
    (line,) = cli.run("show", "demo/" + "x" * 100_000, code=2).stderr.splitlines()
    assert len(line) < 1000
    error = ArtfsError(f"no {'a' * 100_000}{'z' * 100_000} here")
    assert str(error) == error.message == f"no {'a' * 200}…{'z' * 99} here"
    assert ArtfsError("x" * 300).message == "x" * 300


@pytest.mark.parametrize("mode", ["600", "660", "666"])
def test_setup_lets_everybody_open_the_device(as_root, tmp_path, mode):
    device = tmp_path / "fuse"
    device.touch()
    device.chmod(int(mode, 8))
    command = [ROOT / "scripts/fuse-device.sh", device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert device.stat().st_mode & 0o777 == 0o666
    assert done.stdout == ("" if mode == "666" else f"setup: chmod 0666 {device} (its mode was 0{mode})\n")
