"""Run command lines in the process of the tests: nothing has to be imported again, so that a test may have many of them."""

import contextlib
import io
import os

import pytest

from artfs.cli.main import exit_code


def run_here(artfs, lines):
    """Run command lines of an artfs, one after the other; return exit code, stdout and stderr of each."""
    done = []
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ARTFS_")]:
            patch.delenv(name)
        for name, value in artfs.environment.items():
            patch.setenv(name, value)
        patch.setattr(os, "nice", lambda _: 0)  # the tests go on as fast as before
        for line in lines:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = exit_code([str(word) for word in line])
            done.append((code, out.getvalue(), err.getvalue()))
    return done
