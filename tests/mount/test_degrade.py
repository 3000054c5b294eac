"""How a mount gets worse, step by step, and never wrong: docs/integrity.md has the ladder, and here is a test for each of its rungs.

Cache good, cache full, cache disk broken, origin slow, origin down; and at every rung, nobody is held by the kernel for longer than the
deadline, and unmounting works. Other rungs and faults of cache and origin: test_cache_faults.py, test_origin_faults.py, test_offline.py.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artfs.app.client import mount_points
from artfs.storage.latencies import SHARE
from tests.harness import ALONE, DEADLINE, small_disk, wait_for
from tests.mount.conftest import Call, Remote, within
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Delay, Reset, Stall, Status

BLOCK = 1 << 20
SMALL = ALONE
WARM = 60  # reads of one size after which it is known what is slow

READER = """
import mmap, os, sys
kind, path, offset = sys.argv[1], sys.argv[2], int(sys.argv[3])
descriptor = os.open(path, os.O_RDONLY | (os.O_DIRECT if kind == "direct" else 0))
print("ready", flush=True)
if kind == "mmap":
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    mapped[offset]
elif kind == "direct":
    os.preadv(descriptor, [mmap.mmap(-1, 4096)], offset)
else:
    os.pread(descriptor, 1, offset)
print("read", flush=True)
"""


def reader(kind, path, offset=0):
    """Start a process that reads one byte, and return it when it has opened the file."""
    command = [sys.executable, "-c", READER, kind, str(path), str(offset)]
    found = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert found.stdout.readline() == "ready\n"
    return found


def is_in_kernel(pid):
    """Whether a process is held by a request or a page of a FUSE mount."""
    with contextlib.suppress(OSError):
        place = Path(f"/proc/{pid}/wchan").read_text()
        return "request_wait" in place or "folio" in place or "fuse" in place
    return False


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(scope="module")
def mount(tmp_path_factory, s3_server, proxy):
    """A mount whose store is reached through a proxy, and which knows how long its reads take."""
    found = Remote(tmp_path_factory.mktemp("degrade"), s3_server, proxy.url)
    found.files = {f"{number:03}/data": os.urandom(SMALL) for number in range(WARM + 100)}
    found.big = {f"big-{number}/data": os.urandom(2 * BLOCK + 17) for number in range(8)}
    found.version = found.put(found.files | found.big)
    found.mount()
    names = iter(found.files)
    for _ in range(WARM):
        name = next(names)
        assert (found.version / name).read_bytes() == found.files[name]
    found.unread, found.unread_big = names, iter(found.big)
    yield found
    proxy.clear()
    found.close()
    assert not found.unexpected_log(*found.expected)


def take(mount, *, big=False):
    """Return a file that nobody has read: its path, its bytes and its key in the bucket."""
    name = next(mount.unread_big if big else mount.unread)
    data = (mount.files | mount.big)[name]
    return mount.version / name, data, mount.key(data)


def status(mount):
    (found,) = mount.json("status")
    return found


# Cache good --------------------------------------------------------------------------------------------------------


def test_what_is_in_the_cache_costs_no_request(mount, proxy):
    path, data, key = take(
        mount, big=True
    )  # there were too few of that size for a second request, which might come late
    assert path.read_bytes() == data
    for _ in range(2):
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that the kernel has nothing
            proxy.forget()
            assert within(file.read) == data
    assert proxy.count(path=key) == 0


# Cache full --------------------------------------------------------------------------------------------------------


def test_a_full_cache_evicts_what_was_not_read_lately(remote, s3_server):
    found = remote()
    size = 8 * BLOCK
    found.environment["ARTFS_CACHE_SIZE"] = str(size)
    files = {f"{number:02}/data": os.urandom(2 * BLOCK) for number in range(12)}
    version = found.put(files)
    found.mount()
    for name, data in files.items():
        assert within((version / name).read_bytes) == data
    wait_for(lambda: status(found)["cache"]["bytes"] <= size, "the cache to keep to its size")
    assert within(os.getxattr, version / "00/data", "user.artfs.cached") == b"no"
    for name, data in files.items():
        assert within((version / name).read_bytes) == data
    assert sum(path.stat().st_blocks * 512 for path in (found.root / "cache/blocks").rglob("md5/*/*")) <= size


# Cache disk broken -------------------------------------------------------------------------------------------------


def test_a_broken_cache_disk_is_read_through_in_bounded_memory(tmp_path, s3_server, as_root):
    found = Remote(tmp_path, s3_server)
    found.expected += ["is off for 60 s", "cannot be kept"]
    data = os.urandom(48 * BLOCK)
    version = found.put({"data": data})
    with small_disk(found.root / "cache", 16 * BLOCK):
        found.mount()
        within(os.listdir, version)
        found.umount()
        subprocess.run(["mount", "-o", "remount,ro", found.root / "cache"], check=True)
        found.mount()
        try:
            for _ in range(8):
                with (version / "data").open("rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that the kernel has nothing
                    assert within(file.read) == data
            assert status(found)["services"]["s3"]["read"]["size"] >= 7 * len(data)
            most = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{found.pid()}/status").read_text())
            assert int(most[1]) << 10 < 330 * BLOCK
        finally:
            found.close()
    assert not found.unexpected_log(*found.expected)


# Origin slow -------------------------------------------------------------------------------------------------------


def asked(mount):
    """Return how many reads the store was asked for, and how many of them for a second time."""
    counts = status(mount)["services"]["s3"]
    return counts["read"]["requests"], counts.get("hedge", {"requests": 0})["requests"]


def test_one_slow_reply_among_many_does_not_delay_its_reader(mount, proxy):
    reads, before = asked(mount)
    while (
        SHARE * reads < before + 0.1
    ):  # a slow machine has used up its second requests: one is there at the start, others come by reads
        for _ in range(10):
            path, data, _ = take(mount)
            assert within(path.read_bytes) == data
        reads, before = asked(mount)
    path, data, key = take(mount)
    with proxy.injected(Delay(30.0), 1, "GET", key) as slow:
        began = time.monotonic()
        assert within(path.read_bytes) == data
        assert time.monotonic() - began < 25
    assert slow.hits == 1
    assert proxy.count("GET", key) == 2
    assert asked(mount)[1] == before + 1
    assert "asked for a second time" in mount.out("status")


def test_a_store_that_wants_to_be_left_alone_is_not_asked_twice(mount, proxy):
    first, data, key = take(mount)
    proxy.inject(Status(503), 1, "GET", key)
    assert within(first.read_bytes) == data
    proxy.forget()
    path, data, key = take(mount)
    with proxy.injected(Delay(1.0), 1, "GET", key):
        assert within(path.read_bytes) == data
    assert proxy.count("GET", key) == 1


# Origin down -------------------------------------------------------------------------------------------------------


def test_while_the_store_is_down_what_is_here_is_read_and_status_says_why_the_rest_is_not(mount, proxy):
    here, known, _ = take(mount)
    assert here.read_bytes() == known
    path, data, _ = take(mount)
    with proxy.injected(Reset(None)) as down:
        reading = Call(path.read_bytes)
        wait_for(lambda: down.hits >= 2, "a read that is tried again")
        with here.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert within(file.read) == known
        (away,) = wait_for(lambda: status(mount)["away"], "the store to be away")
        assert away["service"] == f"s3://{mount.bucket}"
        assert "cannot be reached" in away["reason"]
        assert f"away      s3://{mount.bucket} since" in mount.out("status")
        assert not reading.done
    assert reading.result() == data
    wait_for(lambda: not status(mount)["away"], "the store to be back")


# Nobody is held ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["read", "mmap"])
def test_a_reader_that_waits_for_a_stalled_store_can_be_killed_at_once(mount, proxy, kind):
    path, _, key = take(mount, big=True)
    with proxy.injected(Stall(after=1000), method="GET", path=key) as stall:
        process = reader(kind, path)
        wait_for(lambda: stall.hits and is_in_kernel(process.pid), "a reader that waits")
        process.kill()
        assert process.wait(15) == -signal.SIGKILL  # the store stalls for longer
    process.stdout.close()
    proxy.drop_connections()


def test_a_direct_read_that_was_killed_is_held_until_its_reply_and_no_longer(mount, proxy):
    path, _, key = take(mount, big=True)
    with proxy.injected(Stall(after=1000), method="GET", path=key) as stall:
        process = reader("direct", path)
        wait_for(lambda: stall.hits and is_in_kernel(process.pid), "a reader that waits")
        process.kill()
        # the kernel waits for the answer of a direct read, which the deadline bounds
        wait_for(lambda: state_of(process.pid) == "D", "a reader that cannot end")
    proxy.clear()
    assert process.wait(DEADLINE) == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.parametrize("stopped", [False, True], ids=["alive", "stopped"])
def test_unmounting_by_force_works_whatever_waits_and_however_its_process_is(remote, s3_server, stopped):
    with FaultProxy(s3_server.url) as proxy:
        found = remote(proxy.url)
        files = {f"{kind}/data": os.urandom(BLOCK + 17) for kind in ("read", "mmap", "direct")}
        version = found.put(files)
        found.mount()
        within(os.listdir, version)
        pid = found.pid()
        with proxy.injected(Stall(after=1000), method="GET") as stall:
            readers = [reader(name.partition("/")[0], version / name) for name in files]
            wait_for(lambda: stall.hits >= 3 and all(is_in_kernel(one.pid) for one in readers), "readers that wait")
            if stopped:
                os.kill(pid, signal.SIGSTOP)
            else:
                assert "in use by" in found.run("umount", found.mountpoint, code=5).stderr
            began = time.monotonic()
            found.umount("--force")
            assert time.monotonic() - began < 45  # the store stalls for longer
            for one in readers:
                assert one.wait(DEADLINE) != 0
                one.stdout.close()
            assert found.mountpoint not in [path for path, _ in mount_points()]
            wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the mount process")
