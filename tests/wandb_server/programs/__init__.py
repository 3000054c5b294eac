"""Programs that use the real SDK, each run by ``test_sdk`` in a process of its own. They print what they saw as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

DEADLINE = 300.0


class ProgramError(Exception):
    """A program that failed; the message has what it wrote."""


def run(server, name: str, *arguments: str, home=None, **environment: str | None) -> dict:
    """Run a program of this package against a server, and return what it printed last. None unsets a variable."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "COV_"))}
    env = inherited | server.environment(home) | {"PYTHONWARNINGS": "ignore"} | environment
    env = {key: value for key, value in env.items() if value is not None}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / f"{name}.py"), *arguments],
        env=env, cwd=env["HOME"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ProgramError(f"{name} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}")
    return json.loads(done.stdout.splitlines()[-1])
