"""The public API in a directory of its own: an empty registry and store, a fresh session, the working directory of a user."""

import os

import pytest

import artfs
from artfs.api import session


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the program under test works: its current directory. Settings lead beside it."""
    for name in list(os.environ):
        if name.startswith("ARTFS_"):
            monkeypatch.delenv(name)
    for name in ("data", "cache", "state", "runtime"):
        monkeypatch.setenv(f"ARTFS_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("ARTFS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ARTFS_ENTITY", "me")
    (tmp_path / "config.toml").touch()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def fresh(place, monkeypatch):
    """A process that has not used artfs yet. What it has opened is closed at the end."""
    one = session._Session()
    one.ends = True  # nothing is left to the end of the test process
    monkeypatch.setattr(session, "_session", one)
    yield one
    if one.run is not None:
        one.run.finish()
    if one.client is not None:
        one.client.close()


@pytest.fixture
def api(fresh):
    return artfs.Api()


@pytest.fixture
def log(fresh, place):
    """Log an artifact made of files (path: bytes), and return it as it is logged."""

    def log(name="data", files=None, kind="dataset", project="demo", aliases=(), **attributes):
        artifact = artfs.Artifact(name, kind, **attributes)
        for path, data in (files if files is not None else {"a.txt": b"one", "d/b.txt": b"two"}).items():
            with artifact.new_file(path, "xb") as file:
                file.write(data)
        with artfs.init(project=project) as run:
            run.log_artifact(artifact, aliases=list(aliases))
        return artifact

    return log
