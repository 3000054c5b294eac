"""`artfs warm`, `pin`, `unpin` and `ready`, with a store elsewhere whose requests are counted."""

import contextlib
import hashlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import threading
from dataclasses import dataclass

import pytest

from artfs.app.warm import ALONE, IN_MOUNT
from tests.cli.here import run_here
from tests.cli.test_start import SLOW, imported, on_terminal
from tests.harness import ALONE as BY_ITSELF
from tests.harness import Artfs, wait_for
from tests.mount.conftest import Remote
from tests.mount.test_offline_mount import put_all
from tests.servers.faults import Fault, Stall

MIB = 1 << 20
DATA = {
    "images/a.png": os.urandom(BY_ITSELF + 3000),
    "images/b.png": os.urandom(BY_ITSELF + 5000),
    "images/deep/c.png": os.urandom(BY_ITSELF + 7000),
    "labels.txt": b"a b c\n",
    "copy.txt": b"a b c\n",
    "big": os.urandom(9 * MIB + 17),
    "empty": b"",
}
PAIR = 2 * BY_ITSELF + 8000  # bytes of the two images
SMALL = 3 * BY_ITSELF + 15006
SIZE = sum(map(len, DATA.values())) - 6  # a content is counted once
MANY = {f"{number:02}": os.urandom(BY_ITSELF) for number in range(40)}
OTHER = {f"{number:02}": os.urandom(MIB) for number in range(12)}


@pytest.fixture(scope="module")
def logged(tmp_path_factory, s3_server, proxy):
    """Two collections in a store elsewhere."""
    found = Remote(tmp_path_factory.mktemp("warm"), s3_server, proxy.url)
    put_all(found, {"data": DATA, "other": OTHER, "many": MANY})
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture
def cold(logged, proxy, tmp_path):
    """The same with a cache, pins and drafts of its own, empty, and no request counted."""
    own = Cold(tmp_path)
    own.environment = {**logged.environment, **{
        f"ARTFS_{name.upper()}_DIR": str(tmp_path / name) for name in ("data", "cache", "state", "runtime")
    }}  # fmt: skip
    own.bucket = logged.bucket
    proxy.clear()
    proxy.forget()
    yield own
    own.close()
    assert not own.unexpected_log("did not come within")


class Cold(Artfs):
    def key(self, data):
        name = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return f"{name[:2]}/{name[2:]}"


def codes(done):
    return [code for code, *_ in done]


def data_file(artfs, data):
    """Return where the cache keeps a content."""
    name = hashlib.md5(data, usedforsecurity=False).hexdigest()
    (found,) = (artfs.root / "cache/blocks").glob(f"*/*/data/md5/{name[:2]}/{name[2:]}*-{len(data)}")
    return found


def test_all_is_fetched_once_and_nothing_the_second_time_and_it_can_be_proven(cold, proxy):
    lines = [["warm", "--check", "demo/data"], ["warm", "demo/data"]]
    cold_check, first = run_here(cold, lines)
    assert cold_check[0] == 1
    assert "the list of files of me/demo/data:v0 is not on this machine" in cold_check[1]
    assert first[0] == 0, first
    assert first[1].startswith("me/demo/data:v0: 6 files, 10 MB: 10 MB fetched in ")
    assert proxy.count("GET", cold.key(DATA["labels.txt"])) == 1
    assert proxy.count("GET", cold.key(DATA["big"])) == 2  # runs of 8 blocks
    proxy.forget()
    lines = [["warm", "demo/data", "--json"], ["warm", "--check", "demo/data"], ["ready", "demo/data:latest", "--json"]]
    again, check, ready = run_here(cold, lines)
    assert proxy.requests() == []
    result = json.loads(again[1])
    assert (result["fetched_files"], result["here"], result["bytes"]) == (0, SIZE, SIZE)
    assert check[:2] == (0, "me/demo/data:v0: ready: 6 files, 10 MB\n")
    (found,) = json.loads(ready[1])
    assert (ready[0], found["ready"], found["bytes"]) == (0, True, SIZE)


@dataclass(frozen=True)
class Held(Fault):
    """The reply comes when something has happened."""

    happened: threading.Event

    def change(self, reply):
        assert self.happened.wait(60)


def test_a_terminal_sees_how_far_it_is(cold, proxy):
    seen = threading.Event()

    def look(shown):
        if b"fetching" in shown and b"of 12 files" in shown:
            seen.set()

    proxy.inject(Held(seen), None, "GET", cold.key(OTHER["03"]))  # else it may be over before it is shown
    printed, shown = on_terminal(cold, "warm", "demo/other", look=look)
    assert printed.startswith("me/demo/other:v0: 12 files, 13 MB: 13 MB fetched")
    assert b"fetching" in shown
    assert b"of 12 files" in shown


def test_damage_on_the_disk_is_found_by_a_check_although_the_ledger_has_it(cold, proxy):
    cold.run("warm", "demo/data")
    path = data_file(cold, DATA["big"])
    with path.open("r+b") as file:
        file.seek(4 * MIB + 5)
        byte = file.read(1)
        file.seek(4 * MIB + 5)
        file.write(bytes([byte[0] ^ 1]))
    proxy.forget()
    check, warm, again = run_here(
        cold, [["warm", "--check", "demo/data"], ["warm", "demo/data"], ["ready", "demo/data"]]
    )
    assert check[0] == 1
    assert "me/demo/data:v0/big: 1,048,576 of 9,437,201 bytes are damaged in the cache, and forgotten" in check[1]
    assert (warm[0], again[0]) == (0, 0), (warm, again)
    assert proxy.count("GET") == 1


def test_paths_patterns_and_lists_name_what_is_fetched(cold, proxy, tmp_path, monkeypatch):
    (tmp_path / "list").write_text("# wanted\ndemo/data:v0/labels.txt\n\ndemo/data:latest/images/deep\n")
    lines = [
        ["warm", "demo/data:v0/images/*.png", "--json"],
        ["warm", "--list", tmp_path / "list", "--json"],
        ["warm", "demo/data:v0/**/[ab].png", "demo/data:v0/l*", "--json"],
        ["warm", "demo/data:v0/nothing"],
        ["warm", "demo/data:v0/*.nothing"],
        ["warm", "--list", tmp_path / "missing"],
        ["warm"],
        ["warm", "--check", "--evict", "demo/data"],
    ]
    done = run_here(cold, lines)
    assert codes(done) == [0, 0, 0, 3, 3, 2, 2, 2], done
    assert [json.loads(out)["fetched_bytes"] for _, out, _ in done[:3]] == [PAIR, BY_ITSELF + 7006, 0]
    assert json.loads(done[2][1])["here"] == PAIR + 6
    assert "me/demo/data:v0 has no 'nothing'" in done[3][2]
    assert "has nothing that matches '*.nothing'" in done[4][2]
    monkeypatch.setattr("sys.stdin", io.StringIO("demo/data:v0/copy.txt\ndemo/data/copy.txt\n"))
    (given,) = run_here(cold, [["warm", "--list", "-", "--json"]])
    assert given[0] == 3  # without a version the text names another collection
    monkeypatch.setattr("sys.stdin", io.StringIO("demo/data:v0/copy.txt\n"))
    (given,) = run_here(cold, [["warm", "--list", "-", "--json"]])
    assert json.loads(given[1])["here"] == 6
    assert proxy.count("GET", cold.key(DATA["big"])) == 0


def test_what_is_of_several_versions_comes_as_the_list_has_it(cold, proxy, tmp_path):
    order = [("many", "30"), ("other", "11"), ("many", "02"), ("other", "00"), ("many", "31")]
    blobs = {"many": MANY, "other": OTHER}
    (tmp_path / "list").write_text("".join(f"demo/{collection}:v0/{name}\n" for collection, name in order))
    (done,) = run_here(cold, [["warm", "--list", tmp_path / "list", "--json"]])
    assert done[0] == 0, done
    result = json.loads(done[1])
    assert (result["versions"], result["fetched_files"]) == (["me/demo/many:v0", "me/demo/other:v0"], 5)
    assert all(proxy.count("GET", cold.key(blobs[collection][name])) == 1 for collection, name in order)


def test_what_does_not_fit_is_refused_with_numbers_before_anything_is_fetched(cold, proxy):
    lines = [
        ["warm", "demo/data:v0/images", "demo/data:v0/labels.txt"],
        ["warm", "demo/other", "--cache-size", "10M"],
        ["pin", "demo/data:v0/big", "--cache-size", "12M"],
        ["warm", "demo/other:v0/00", "demo/other:v0/01", "demo/other:v0/02", "--cache-size", "12M"],
        ["pin", "demo/other", "--cache-size", "12M"],
        ["pin", "--json"],
    ]
    done = run_here(cold, lines)
    assert codes(done) == [0, 9, 0, 9, 9, 0], done
    assert "it would have to hold 13 MB, and holds at most 10 MB before it evicts" in done[1][2]
    assert "(13 MB are still to be fetched)" in done[1][2]
    assert "it would have to hold 13 MB, 9.4 MB of them for what is pinned" in done[3][2]
    assert [pin["version"] for pin in json.loads(done[5][1])] == ["me/demo/data:v0"]
    assert sum(proxy.count("GET", cold.key(data)) for data in OTHER.values()) == 0


def test_a_pin_is_kept_when_the_cache_is_full_and_after_its_record_is_lost(cold, proxy, fuse):
    small = ["--cache-size", "14M"]
    lines = [
        ["pin", "demo/data:latest", *small],
        ["get", "demo/other", cold.root / "out", *small],
        ["ready", *small],
        ["cache", "gc", "--to", "1M", *small],
        ["ready", *small],
        ["warm", "--evict", "demo/data", *small],
        ["ready", *small],
        ["pin", *small],
        ["cache", "clear", "--yes", "--pinned"],
        ["ready"],
    ]
    done = run_here(cold, lines)
    assert codes(done) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1], done
    assert "pinned me/demo/data:v0 (me/demo/data:latest names it now; the pin stays with this version)" in done[0][1]
    assert "10 MB of 5 files are pinned, and stay" in done[5][2]
    assert done[7][1].splitlines()[1].split() == ["me/demo/data:v0", "10", "MB", "10", "MB", "all"]
    assert "not ready" in done[9][1]
    subprocess.run(["rm", "-r", cold.root / "cache/blocks"], check=True)
    cold.mount()  # tells the new cache what is pinned
    lines = [["warm", "demo/data", "demo/other"], ["cache", "clear", "--yes"], ["ready"], ["cache", "ls", "--json"]]
    done = run_here(cold, lines)
    assert codes(done) == [0, 0, 0, 0], done
    (left,) = json.loads(done[3][1])["versions"]
    assert (left["version"], left["here"], left["pinned"]) == ("me/demo/data:v0", left["pinned"], left["here"])


def test_what_is_unpinned_goes_and_a_version_that_was_deleted_can_be_unpinned(cold, logged):
    put_all(logged, {"gone": {"f": b"gone", "g": b"here"}})
    lines = [
        ["pin", "demo/gone", "demo/data:v0/images"],
        ["pin", "demo/data:v0/labels.txt"],
        ["pin", "--json"],
        ["rm", "demo/gone:v0", "--delete-aliases"],
        ["pin"],
        ["unpin", "demo/gone:latest"],
        ["unpin", "demo/data"],
        ["unpin", "demo/data"],
        ["pin"],
        ["cache", "clear", "--yes", "--json"],
        ["ready"],
    ]
    done = run_here(cold, lines)
    assert codes(done) == [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1], done
    pins = {pin["version"]: pin for pin in json.loads(done[2][1])}
    assert pins["me/demo/data:v0"]["paths"] == ["images", "labels.txt"]
    assert (pins["me/demo/data:v0"]["bytes"], pins["me/demo/data:v0"]["here"]) == (SMALL, SMALL)
    assert "deleted" in done[4][1] or "no " in done[4][1]
    assert "is not pinned" in done[7][2]
    assert json.loads(done[9][1])["bytes"] == 0


def test_a_mount_with_the_same_cache_does_the_work(cold, proxy, fuse):
    cold.mount("--metadata-ttl", "0")
    proxy.forget()
    version = cold.collection() / "v0"
    pattern = f"{cold.collection()}/v*/images/*.png"
    done = run_here(cold, [["warm", version / "big", "--json"], ["warm", pattern, "--json"], ["status", "--json"]])
    assert codes(done)[:2] == [0, 0], done
    assert [json.loads(out)["fetched_bytes"] for _, out, _ in done[:2]] == [len(DATA["big"]), PAIR]
    (status,) = json.loads(done[2][1])
    ours = [request for request in proxy.requests() if request.method == "GET"]
    # the list of files was fetched by whoever asked first; of blobs, the mount has asked for all
    assert status["services"]["s3"]["read"]["size"] >= len(DATA["big"]) + PAIR
    assert len(ours) >= status["services"]["s3"]["read"]["requests"]
    proxy.forget()
    assert (version / "big").read_bytes() == DATA["big"]
    assert proxy.count("GET", cold.key(DATA["big"])) == 0


@pytest.mark.parametrize(("where", "parallel"), [("in a mount", IN_MOUNT), ("alone", ALONE)])
def test_ctrl_c_ends_it_and_what_has_come_stays(cold, proxy, where, parallel, request):
    for data in MANY.values():
        proxy.inject(Stall(after=0), 1, "GET", cold.key(data))
    if where == "in a mount":
        request.getfixturevalue("fuse")
        cold.mount()

    def asked_for():
        return [name for name, data in MANY.items() if proxy.count("GET", cold.key(data))]

    running = cold.start("warm", "demo/many")
    try:
        wait_for(lambda: len(asked_for()) == parallel, "the requests")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert (running.returncode, out) == (130, "")
    assert "interrupted: what has come stays in the cache" in err
    proxy.clear()
    if where == "in a mount":  # what was on its way comes, and nothing else is asked for
        wait_for(lambda: held(cold) == parallel, "the requests to end")
    assert asked_for() == sorted(MANY)[:parallel]
    came = held(cold)
    result = cold.json("warm", "demo/many")
    assert result["fetched_files"] == len(MANY) - came
    assert asked_for() == sorted(MANY)


def held(artfs):
    """Return how many of the many files are in the cache."""
    (path,) = (artfs.root / "cache/blocks").glob("*/*/ledger.sqlite")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM files WHERE size = ?", (BY_ITSELF,)).fetchone()[0]


@pytest.mark.expects_warning("is damaged or missing")
def test_a_file_that_does_not_come_is_named_and_the_exit_code_is_that_of_its_error(cold, logged):
    data = os.urandom(BY_ITSELF)
    put_all(logged, {"bad": {"f": data, "g": b"will be here"}})
    name = hashlib.md5(data, usedforsecurity=False).hexdigest()
    client = logged.server.client()
    client.delete_object(Bucket=logged.bucket, Key=f"store/md5/{name[:2]}/{name[2:]}")
    client.close()
    (done,) = run_here(cold, [["warm", "demo/bad"]])
    assert done[0] == 7
    assert "me/demo/bad:v0/f: blob md5:" in done[2]
    assert "1 of 2 files did not come" in done[2]
    (again,) = run_here(cold, [["warm", "demo/bad"]])
    assert "nothing fetched" in again[1], "what is missing was not said to be needless"


def test_an_empty_list_is_called_so(cold, tmp_path):
    (tmp_path / "none").write_text("")
    (done,) = run_here(cold, [["warm", "--list", str(tmp_path / "none")]])
    assert done[:2] == (0, "an empty list: 0 files, 0 B: nothing to fetch\n")


def test_a_store_on_this_machine_needs_no_warming(cli, small):
    cli.run("put", small, "demo/data")
    done = run_here(
        cli, [["warm", "demo/data"], ["pin", "demo/data"], ["ready"], ["warm", "--check", "demo/data"], ["pin"]]
    )
    assert codes(done) == [0] * 5, done
    assert done[0][1] == "me/demo/data:v0: 2 files, 8 B: nothing to fetch, 8 B are on this machine anyway\n"
    assert done[4][1].splitlines()[1].split() == ["me/demo/data:v0", "8", "B", "8", "B", "all"]
    cli.blob(b"two\n").unlink()
    (ready,) = run_here(cli, [["ready"]])
    assert ready[0] == 1
    assert "me/demo/data:v0/d/g" in ready[1]


def test_nothing_slow_is_imported(cli):
    for name in ("warm", "pin", "unpin", "ready", "cache"):
        assert not SLOW & imported(cli, [name, "--help"])
