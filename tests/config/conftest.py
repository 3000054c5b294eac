"""Settings that come from the test alone: a home of its own, no variables, no configuration file."""

import os

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The home directory, in which nothing was ever configured."""
    for name in os.environ:
        if name.startswith(("ARTFS_", "XDG_")):
            monkeypatch.delenv(name)
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture
def write_file(home):
    """Write ``config.toml``."""

    def write(text):
        path = home / ".config" / "artfs" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
