"""The real command line in directories of its own; a real mount where a test asks for one."""

import json
import subprocess
import sys

import pytest

from tests.harness import Artfs
from tests.mount.conftest import as_root, open_path, require_fuse

__all__ = ["as_root", "open_path"]


@pytest.fixture(scope="session")
def fuse():
    require_fuse()


@pytest.fixture
def cli(tmp_path):
    """An artfs without a mount."""
    return Artfs(tmp_path)


@pytest.fixture
def mounted(fuse, tmp_path):
    """An artfs with a mount. Its log must not warn of anything that a test did not expect."""
    found = Artfs(tmp_path)
    found.expected = []
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """An artfs without a mount, with two versions of a collection and one of another, for tests that only look."""
    found = Artfs(tmp_path_factory.mktemp("listed"))
    source = found.root / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("hello\n")
    (source / "sub/ü b").write_bytes(b"x" * 2048)
    found.source = source
    found.here("put", source, "demo/data", "--description", "first", "--metadata", '{"rows": 1}', "--type", "model")
    (source / "a.txt").write_text("hello again\n")
    found.here("put", source, "demo/data:best")
    found.here("put", source / "a.txt", "demo/one")
    return found


@pytest.fixture
def small(tmp_path):
    """A directory with two files."""
    source = tmp_path / "small"
    (source / "d").mkdir(parents=True)
    (source / "f").write_text("one\n")
    (source / "d/g").write_text("two\n")
    return source


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from artfs.cli.main import exit_code
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_code(line)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def run_all(artfs, lines):
    """Run many command lines in one process; return exit code, stdout and stderr of each."""
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps([[str(word) for word in line] for line in lines])]
    done = subprocess.run(
        command, env=artfs.environment, capture_output=True, text=True, check=True, cwd="/", timeout=120
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
