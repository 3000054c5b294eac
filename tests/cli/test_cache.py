"""`artfs cache`: what is in the block cache by version, and making it smaller, proving and emptying it while a mount uses it."""

import json
import os
import subprocess
import sys
import threading

import pytest

from tests.cli.here import run_here
from tests.cli.test_warm import Cold, codes, data_file
from tests.mount.conftest import Remote
from tests.mount.test_offline_mount import put_all

MIB = 1 << 20
ONE = {"a": os.urandom(3 * MIB), "shared": os.urandom(MIB)}
TWO = {"b": os.urandom(2 * MIB), "shared": ONE["shared"]}


@pytest.fixture(scope="module")
def logged(tmp_path_factory, s3_server):
    found = Remote(tmp_path_factory.mktemp("cache"), s3_server)
    put_all(found, {"one": ONE, "two": TWO})
    return found


@pytest.fixture
def filled(logged, tmp_path):
    """An artfs whose cache holds two versions that share a content; one of them is pinned."""
    own = Cold(tmp_path)
    own.environment = {**logged.environment, **{
        f"ARTFS_{name.upper()}_DIR": str(tmp_path / name) for name in ("data", "cache", "state", "runtime")
    }}  # fmt: skip
    assert codes(run_here(own, [["warm", "demo/one"], ["pin", "demo/two"]])) == [0, 0]
    yield own
    own.close()
    assert not own.unexpected_log()


def flip(path, place):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_contents_are_told_by_version_with_what_is_pinned(filled):
    lines = [["cache", "ls", "--json"], ["cache", "ls"], ["warm", "--evict", "demo/one:v0/a"], ["cache", "ls", "-h"]]
    done = run_here(filled, lines)
    assert codes(done) == [0] * 4, done
    found = json.loads(done[0][1])
    assert {row["version"]: (row["here"], row["pinned"], row["files_here"], row["files"]) for row in found["versions"]} == {
        "me/demo/one:v0": (4 * MIB, MIB, 2, 2), "me/demo/two:v0": (3 * MIB, 3 * MIB, 2, 2),
    }  # fmt: skip
    assert found["total"]["here"] == 6 * MIB
    assert found["rest"]["here"] == 0
    rows = {line.split()[-1]: line.split() for line in done[1][1].splitlines()}
    assert rows["me/demo/one:v0"][:4] == ["4,194,304", "4,194,304", "2", "partly"]
    assert rows["me/demo/two:v0"][:4] == ["3,145,728", "3,145,728", "2", "yes"]
    after = {line.split()[-1]: line.split() for line in done[3][1].splitlines()}
    assert after["me/demo/one:v0"][:5] == ["1.0", "MB", "4.2", "MB", "1"]


def test_contents_of_no_known_version_come_last(filled):
    for path in (filled.root / "cache/index").glob("*/*.sqlite"):
        path.unlink()
    done = run_here(filled, [["cache", "ls", "--json"], ["cache", "ls"]])
    found = json.loads(done[0][1])
    assert found["versions"] == []
    assert (found["rest"]["here"], found["rest"]["files_here"]) == (6 * MIB, 3)
    assert "(of no version that is known here)" in done[1][1]


def test_it_is_made_smaller_but_for_what_is_pinned(filled):
    lines = [
        ["cache", "gc", "--json"],
        ["cache", "gc", "--to", "5M", "--json"],
        ["cache", "gc", "--json", "--cache-size", "4M"],
        ["cache", "gc", "--to", "1M"],
        ["cache", "gc", "--to", "much"],
        ["ready"],
    ]
    done = run_here(filled, lines)
    assert codes(done) == [0, 0, 0, 0, 2, 0], done
    assert [json.loads(out)["freed"] for _, out, _ in done[:3]] == [0, MIB, 2 * MIB]
    assert json.loads(done[2][1])["bytes"] == 3 * MIB
    assert "0 B evicted; the cache holds 3.1 MB, 3.1 MB of it pinned" in done[3][1]
    assert "it is larger than that still" in done[3][2]
    assert "--to: 'much' is not a size" in done[4][2]


def test_damage_is_named_and_dropped_and_the_exit_code_says_it(filled):
    flip(data_file(filled, ONE["a"]), 2 * MIB + 9)
    flip(data_file(filled, TWO["b"]), 5)
    lines = [["cache", "verify", "--json"], ["cache", "verify"], ["ready"], ["warm", "demo/one", "demo/two"], ["ready"]]
    first, second, ready, warm, again = run_here(filled, lines)
    assert first[0] == 1
    found = json.loads(first[1])
    assert {row["file"]: row["blocks"] for row in found["damaged"]} == {
        "me/demo/one:v0/a": [2],
        "me/demo/two:v0/b": [0],
    }
    assert (found["damaged_blocks"], found["bytes"]) == (2, 6 * MIB)
    assert second == (0, "3 contents, 4.2 MB read: 0 blocks were damaged\n", "")
    assert ready[0] == 1
    assert (warm[0], again[0]) == (0, 0), (warm, again)
    assert "2.1 MB fetched" in warm[1]


def test_damage_is_named_for_people(filled):
    flip(data_file(filled, ONE["a"]), 2 * MIB + 9)
    (done,) = run_here(filled, [["cache", "verify"]])
    assert done[:2] == (
        1, "damaged  me/demo/one:v0/a: blocks 2\n3 contents, 6.3 MB read: 1 block was damaged, and dropped\n",
    )  # fmt: skip


def test_it_is_emptied_but_for_what_is_pinned(filled):
    lines = [
        ["cache", "clear", "--json"],
        ["ready"],
        ["cache", "clear", "--pinned", "-y", "--json"],
        ["ready"],
        ["pin"],
    ]
    done = run_here(filled, lines)
    assert codes(done) == [0, 0, 0, 1, 0], done
    assert [json.loads(done[number][1]) for number in (0, 2)] == [
        {"freed": 3 * MIB, "bytes": 3 * MIB, "pinned": 3 * MIB, "most": json.loads(done[0][1])["most"]},
        {"freed": 3 * MIB, "bytes": 0, "pinned": 0, "most": json.loads(done[2][1])["most"]},
    ]
    assert done[4][1].splitlines()[1].split() == ["me/demo/two:v0", "3.1", "MB", "0", "B", "all"]


ASKED = """
import os, pty, sys
answer, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
os.write(terminal, answer.encode() + b"\\n")
said = b""
try:
    while data := os.read(terminal, 4096):
        said += data
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_terminal_is_asked_before_everything_goes(filled):
    def ask(answer):
        command = [sys.executable, "-c", ASKED, answer, *filled.command, "cache", "clear"]
        return subprocess.run(
            command, env=filled.environment, capture_output=True, text=True, check=False, timeout=60, cwd="/"
        )

    refused = ask("n")
    assert "Drop 3.1 MB from the cache in " in refused.stdout
    assert refused.returncode == 130
    assert json.loads(run_here(filled, [["cache", "ls", "--json"]])[0][1])["total"]["here"] == 6 * MIB
    assert ask("y").returncode == 0
    assert json.loads(run_here(filled, [["cache", "ls", "--json"]])[0][1])["total"]["here"] == 3 * MIB


def test_a_mount_reads_right_bytes_while_its_cache_is_emptied_verified_and_made_smaller(filled, fuse):
    filled.mount()
    stop, wrong, reads = threading.Event(), [], []

    def read():
        while not stop.is_set():
            for collection, files in (("one", ONE), ("two", TWO)):
                for name, data in files.items():
                    descriptor = os.open(filled.collection(collection) / "v0" / name, os.O_RDONLY)
                    try:
                        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                        found = b"".join(iter(lambda: os.read(descriptor, MIB), b""))
                    finally:
                        os.close(descriptor)
                    reads.append(name)
                    if found != data:
                        wrong.append(name)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        lines = [
            ["cache", "clear", "--yes"],
            ["cache", "verify"],
            ["cache", "gc", "--to", "0"],
            ["cache", "clear", "--pinned", "-y"],
        ]
        while len(reads) < 12 and thread.is_alive():
            assert codes(run_here(filled, lines)) == [0] * 4
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert len(reads) >= 12
