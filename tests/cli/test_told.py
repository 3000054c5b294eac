"""What a user is told: shortened where a name is long, harmless in JSON, in the same form for each error, and soon."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mode", ["600", "660", "666"])
def test_setup_lets_everybody_open_the_device(as_root, tmp_path, mode):
    device = tmp_path / "fuse"
    device.touch()
    device.chmod(int(mode, 8))
    command = [ROOT / "scripts/fuse-device.sh", device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert device.stat().st_mode & 0o777 == 0o666
    assert done.stdout == ("" if mode == "666" else f"setup: chmod 0666 {device} (its mode was 0{mode})\n")
