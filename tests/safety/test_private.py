"""What artfs makes for itself is for its user alone, whatever the umask, in a whole session of commands, mounts and the API."""

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import run_all
from tests.harness import DEADLINE, Artfs, as_user, wait_for
from tests.mount.conftest import NOBODY

SESSION = """
import sys
import artfs
with artfs.init(project="demo") as run:
    artifact = artfs.Artifact("of-api", "dataset", metadata={"rows": 1})
    artifact.add_file(sys.argv[1])
    with artifact.new_file("new") as file:
        file.write("new")
    artifact.add_reference("file://" + sys.argv[1], name="ref")
    run.log_artifact(artifact).wait()
    run.use_artifact("of-api:latest").download(sys.argv[2])
    left = artfs.Artifact("left", "dataset")
    left.add_file(sys.argv[1])
"""


def everything(root):
    """Return what lies below a directory, itself included, with type and mode; symlinks have none."""
    for directory, names, files in os.walk(root):
        for path in (Path(directory), *(Path(directory, name) for name in names + files)):
            found = path.lstat()
            if not stat.S_ISLNK(found.st_mode):
                yield path, found.st_mode


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def session(tmp_path):
    """Directories after a session with the umask 000, the mount still up; its home and configuration were made by it."""
    found = Artfs(tmp_path / "artfs")
    found.root.mkdir()
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in ("DATA", "CACHE", "STATE", "RUNTIME"):
        del found.environment[f"ARTFS_{name}_DIR"]
    found.home = home
    found.environment |= {
        "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "ARTFS_ENTITY": "me", "NETRC": str(home / ".netrc"),
    }  # fmt: skip
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "WANDB_API_KEY"):
        found.environment.pop(name, None)
    (home / "run").mkdir(mode=0o700)
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_bytes(b"x" * 3_000_000)
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o777)
    found.source = source
    with umask(0):
        lines = [["config", "set", "threads", "2"], ["put", source, "demo/data:best"]]
        assert [(code, err) for code, _, err in run_all(found, lines) if code] == []
    found.run("mount", found.mountpoint, umask=0)
    yield found
    found.run("umount", "--force", found.mountpoint)


def test_all_of_it_is_private(session, tmp_path):
    with umask(0):
        draft = session.draft()
        (draft / "d").mkdir()
        (draft / "d/f").write_bytes(b"draft")
        (draft / "d/f").chmod(0o666)
        kept = session.draft("kept", "data")
        (kept / "open").write_bytes(b"for all")
        (kept / "open").chmod(0o777)
    lines = [
        ["commit", draft],
        ["stage", "demo/data:v0"],
        ["get", "demo/data:v0", tmp_path / "out"],
        ["alias", "demo/data:v0", "good"],
        ["verify", "demo/data:v0"],
        ["run", "--", "true"],
    ]
    with umask(0):
        assert [(code, err) for code, _, err in run_all(session, lines) if code] == []
    login = [*session.command, "login", "http://127.0.0.1:9"]
    subprocess.run(
        login, env=session.environment, input="k" * 40, text=True, check=True, capture_output=True, umask=0, cwd="/"
    )
    command = [sys.executable, "-c", SESSION, str(session.source / "f"), str(tmp_path / "downloaded")]
    done = subprocess.run(command, env=session.environment, capture_output=True, text=True, umask=0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        tmp_path / "out/run"
    ).stat().st_mode & 0o777 == 0o777  # what is the user's has the modes that the umask leaves
    seen, wrong = set(), []
    for path, mode in everything(session.home):
        name = str(path.relative_to(session.home))
        seen.add(name.removeprefix(".local/").partition("/")[0])
        if (
            mode & 0o077 and "/tree/" not in name
        ):  # the modes in a draft are its user's: its directory is closed to others
            wrong.append(f"{mode:o} {name}")
    assert wrong == []
    assert {".cache", ".config", ".netrc", "run", "share", "state"} <= seen
    assert any(name.name == "open" and mode & 0o777 == 0o777 for name, mode in everything(session.home))


def test_the_block_cache_and_what_is_remembered_of_a_registry_are_private(remote, postgres_server):
    found = remote(registry=postgres_server.database())
    version = found.put({"big": os.urandom(3_000_000), "small": b"small"})
    found.run("mount", found.mountpoint, umask=0)
    for name in ("big", "small"):
        assert (version / name).read_bytes()
        wait_for(lambda: os.getxattr(version / name, "user.artfs.cached") == b"yes", "the cache")
    kept = {path.relative_to(found.root): mode for path, mode in everything(found.root / "cache")}
    assert {"blocks", "index", "seen", "epochs"} <= {part for path in kept for part in path.parts}
    assert {str(path): oct(mode) for path, mode in kept.items() if mode & 0o077} == {}


def test_the_control_socket_answers_nobody_else_and_says_who_was_refused(as_root, open_path):
    found = Artfs(open_path / "artfs")
    found.root.mkdir()
    found.root.chmod(0o755)
    try:
        found.mount()
        control = Path(os.fsdecode(os.getxattr(found.mountpoint, "user.artfs.control")))
        assert stat.S_IMODE(control.stat().st_mode) == 0o600
        assert stat.S_IMODE(control.parent.stat().st_mode) == 0o700
        ask = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect(sys.argv[1])\n"
            'try:\n s.sendall(b\'{"op": "status"}\\n\')\n print(len(s.recv(9)))\n'
            "except (BrokenPipeError, ConnectionResetError): print(0)"
        )

        def answer():
            command = [*as_user(NOBODY), sys.executable, "-c", ask, control]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)

        assert "PermissionError" in answer().stderr
        control.parent.chmod(0o755)  # should its user open everything, who asks still counts
        control.chmod(0o666)
        assert answer().stdout == "0\n"
        wait_for(lambda: "uid 65534 was refused at the control socket" in found.log(), "the refusal in the log")
        assert found.json("status")[0]["mountpoint"] == str(found.mountpoint)
    finally:
        found.close()
    assert not found.unexpected_log("uid 65534 was refused")
