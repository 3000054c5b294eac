"""Other processes that use a registry: committers, and one that is killed in a transaction."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

COMMITTER = """
import sys
from artfs.registry.sql.registry import open_registry
from tests.registry.making import commit
url, name, count = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
registry = open_registry(url, "me")
for number in range(int(count)):
    version = commit(registry, f"{name}-{number}", "best")
    print(version.index, flush=True)
print(registry.id, flush=True)
"""
"""Commits contents of its own once it is told to, and prints the index of each; at the end, the id of the registry."""

REPEATER = """
import sys
from artfs.registry.sql.registry import open_registry
from tests.registry.making import DATA, manifest, new
url, name = sys.argv[1:]
registry = open_registry(url, "me")
print("ready", flush=True)
for line in sys.stdin:
    client, content = f"{name}-{line.strip()}", line.strip()
    reservation = registry.reserve(new(client, content))
    if reservation.existing:
        version = registry.add_aliases(DATA.at(f"v{reservation.index}"), [name])
    else:
        version = registry.publish(client, manifest(content), [name])
    print(version.id, flush=True)
"""
"""Commits each content that it reads, which others are told to commit too, and prints the id of the version."""

KILLED = """
import os, signal, sys
from artfs.registry.sql import commits
from artfs.registry.sql.registry import open_registry
from tests.registry.making import manifest
registry = open_registry(sys.argv[1], "me")
with registry._database.writing() as connection:
    commits.publish(connection, "c1", manifest("c1"), ["best"])
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Dies when it has published c1 but not ended the transaction."""


_started = []


def start(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _started.append(process)
    return process


def end_all():
    """End what a test that failed has left."""
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def start_ready(script, url, names, *arguments):
    """Start a process for each name, and wait until all of them can be told to begin."""
    processes = [start(script, url, name, *arguments) for name in names]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    return processes


def tell(processes, line):
    for process in processes:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


def results(processes):
    """Return the words that each process prints until it ends; it must end well."""
    found = []
    for process in processes:
        out, _ = process.communicate()
        assert process.returncode == 0
        found.append(out.split())
    return found
