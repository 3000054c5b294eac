"""Measure a mount of a W&B server against the SDK: ``python benchmarks/wandb.py [--quick] [--json FILE] [--only NAME]``.

The server is the double of the tests, in a process of its own; it serves both in the same run. The SDK (0.31) runs in its own process, with
directories that nobody has used, and what is timed is its ``download()`` alone: neither its import nor the search for the artifact. Every
cold run of artfs begins with a new mount and empty caches; the page cache is dropped where that is allowed (root).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).parent.parent)  # and not this directory, whose name for this file is that of the SDK

from tests.wandb_server.server import WandbServer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
SIZE = 10_000  # bytes of a small file
THREADS = 32
TILE = os.urandom(MIB)

_SDK = """
import json, sys, time
import wandb
artifact = wandb.Api().artifact(sys.argv[1])
start = time.perf_counter()
root = artifact.download(root="got")
print(json.dumps({"seconds": time.perf_counter() - start, "root": str(root)}))
"""

_READER = """
import json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
root, threads = sys.argv[1], int(sys.argv[2])
start = time.perf_counter()
paths = [os.path.join(place, name) for place, _, names in os.walk(root) for name in names if "/.artfs" not in place]
listed = time.perf_counter() - start

def read(path):
    descriptor, count = os.open(path, os.O_RDONLY), 0
    try:
        while data := os.read(descriptor, 1 << 20):
            count += len(data)
    finally:
        os.close(descriptor)
    return count

with ThreadPoolExecutor(threads) as pool:
    size = sum(pool.map(read, paths))
print(json.dumps({"seconds": time.perf_counter() - start, "listed": listed, "count": len(paths), "size": size}))
"""


def serve(directory: str, count: int, big: int, pipe: multiprocessing.connection.Connection) -> None:
    """Be the server, until the pipe says "end": "stop" and "start" it, or say how often it was asked since "forget"."""
    with WandbServer(directory) as server:
        files = {f"d{number % 100:02}/{number:05}.bin": os.urandom(SIZE) for number in range(count)}
        server.log_artifact("me", "bench", "small", files=files)
        server.log_artifact("me", "bench", "big", files={"big.bin": (big, lambda _, length: TILE[:length])})
        entry = server.artifact("me/bench/big:v0").entries["big.bin"]
        url = server.signer.sign("GET", "/" + server.state.has("me", entry.digest))
        pipe.send((server.url, server.key, url))
        while (what := pipe.recv()) != "end":
            counts = {}
            if what == "count":
                for request in server.requests():
                    name = request.operation or request.method
                    counts[name] = counts.get(name, 0) + 1
            else:
                getattr(server, what)()
            pipe.send(counts)
        if not server._listeners:  # noqa: SLF001 - stopped for good
            return


class Bench:
    """The server, the mounts, the SDK, and what was measured."""

    def __init__(self, root: Path, *, quick: bool) -> None:
        self.root = root
        self.runs = 1 if quick else 3
        self.count = 1000 if quick else 10_000
        self.big = (128 if quick else 3072) * MIB
        self.rows: list[dict[str, object]] = []
        self._number = 0
        self._pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=serve, args=(str(root / "server"), self.count, self.big, other))
        self._process.start()
        self.url, self.key, self.big_url = self._pipe.recv()
        self._downloads: list[float] = []

    def close(self) -> None:
        self._pipe.send("end")
        self._process.join()

    def tell(self, what: str) -> dict[str, int]:
        """Have the server do something."""
        self._pipe.send(what)
        return self._pipe.recv()

    def record(self, what: str, value: str, target: str, met: bool | None, note: str) -> None:
        self.rows.append({"what": what, "measured": value, "target": target, "met": met, "note": note})
        print(f"{'MISS' if met is False else 'ok  '} {what}: {value} (target {target or 'none'}) {note}", flush=True)

    def new(self, name: str) -> Path:
        """Return a new directory."""
        self._number += 1
        path = self.root / f"{name}-{self._number}"
        path.mkdir()
        return path

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a program that has a home directory of its own."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("ARTFS_", "WANDB_"))}
        own |= {
            f"WANDB_{name}_DIR": str(home / f"wandb-{name}".lower()) for name in ("CACHE", "DATA", "CONFIG", "ARTIFACT")
        }
        own |= {f"ARTFS_{name.upper()}_DIR": str(home / name) for name in ("data", "cache", "state", "runtime")}
        return own | {
            "HOME": str(home), "WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.key, "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false", "ARTFS_REGISTRY": self.url, "ARTFS_CACHE_FREE": "0",
        }  # fmt: skip

    def python(self, home: Path, code: str, *arguments: str) -> dict[str, float]:
        """Run a program, and return what it printed last."""
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=home, env=self.environment(home)
        )
        return json.loads(done.stdout.splitlines()[-1])

    def sdk_download(self, name: str = "me/bench/small:v0") -> float:
        """Return the seconds of a download of an artifact by the SDK, of which nothing is here."""
        drop_caches()
        home = self.new("sdk")
        seen = self.python(home, _SDK, name)
        shutil.rmtree(home)
        return seen["seconds"]

    def downloads(self) -> list[float]:
        """Return the seconds of the downloads of the small files, made when first asked for."""
        while len(self._downloads) < self.runs:
            self._downloads.append(self.sdk_download())
        return self._downloads

    @contextlib.contextmanager
    def mounted(self, home: Path) -> Iterator[Path]:
        """Mount, and give the directory of the project."""
        drop_caches()
        mountpoint = home / "mnt"
        command = [sys.executable, "-m", "artfs.cli"]
        subprocess.run(
            [*command, "mount", mountpoint], check=True, env=self.environment(home), stdout=subprocess.DEVNULL
        )
        try:
            yield mountpoint / "me/bench"
        finally:
            subprocess.run(
                [*command, "umount", mountpoint], check=True, env=self.environment(home), stdout=subprocess.DEVNULL
            )


def drop_caches() -> None:
    """Drop the page cache, where that is allowed."""
    os.sync()
    with contextlib.suppress(PermissionError):
        Path("/proc/sys/vm/drop_caches").write_text("3")


def cpu_seconds(project: Path) -> float:
    """Return the seconds of CPU that the daemon has spent."""
    pid = int(os.getxattr(project.parent.parent, "user.artfs.pid"))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(project: Path) -> float:
    """Return the peak of the daemon's resident memory, in MB."""
    pid = int(os.getxattr(project.parent.parent, "user.artfs.pid"))
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def first_byte(bench: Bench) -> None:
    """One file of an artifact of 10,000, of which nothing is here: the manifest is fetched and compiled, a URL asked for, the file read."""
    times, asked = [], {}
    for run in range(bench.runs):
        home = bench.new("artfs")
        with bench.mounted(home) as project:
            bench.tell("forget")
            start = time.perf_counter()
            with open(project / f"small/v0/d{run:02}/{run:05}.bin", "rb", buffering=0) as file:
                assert file.read(1)
            times.append(time.perf_counter() - start)
            asked = bench.tell("count")
        shutil.rmtree(home)
    theirs, ours = statistics.median(bench.downloads()), statistics.median(times)
    bench.record(
        f"first byte of one file of an artifact of {bench.count:,}, against the SDK's download() of it",
        f"{theirs / ours:.0f} x faster", "10 x", theirs / ours >= 10, f"{ours:.3f} s against {theirs:.2f} s; requests: {asked}",
    )  # fmt: skip


def all_files(bench: Bench) -> None:
    """All small files, cold; then cached, after a restart, without the server."""
    times, notes, home = [], "", None
    cached, asked = [], 0
    for _ in range(bench.runs):
        home = bench.new("artfs")
        with bench.mounted(home) as project:
            bench.tell("forget")
            seen = bench.python(home, _READER, str(project / "small/v0"), str(THREADS))
            assert (seen["count"], seen["size"]) == (bench.count, bench.count * SIZE), seen
            times.append(seen["seconds"])
            notes = (
                f"listing {seen['listed']:.2f} s; the daemon: {cpu_seconds(project):.1f} s of CPU, peak {peak_memory(project):.0f} MB;"
                f" requests: {bench.tell('count')}"
            )
        bench.tell("forget")
        bench.tell("stop")
        with bench.mounted(home) as project:
            seen = bench.python(home, _READER, str(project / "small/v0"), str(THREADS))
            assert (seen["count"], seen["size"]) == (bench.count, bench.count * SIZE), seen
            cached.append((seen["seconds"], seen["listed"]))
        bench.tell("start")
        asked += sum(bench.tell("count").values())
        shutil.rmtree(home)
    theirs, ours = statistics.median(bench.downloads()), statistics.median(times)
    bench.record(
        f"all {bench.count:,} files of 10 KB, cold, {THREADS} threads, against the SDK's download()",
        f"{theirs / ours:.2f} x faster", "1 x", ours < theirs, f"{ours:.2f} s against {theirs:.2f} s; {notes}",
    )  # fmt: skip
    bench.record(
        "the same, cached, after a restart, server stopped", f"works; {asked} requests", "works; 0 requests", asked == 0,
        f"{min(cached)[0]:.2f} s, of which {min(cached)[1]:.2f} s for the listing: there it is found out that nobody answers",
    )  # fmt: skip


def big_file(bench: Bench) -> None:
    """One big file in order, cold, against a plain GET of it and against the SDK."""
    plain, ours, peak = [], [], 0.0
    buffer = bytearray(MIB)
    for _ in range(bench.runs):
        start, count = time.perf_counter(), 0
        with urllib.request.urlopen(bench.big_url) as reply:
            while read := reply.readinto(buffer):
                count += read
        assert count == bench.big, count
        plain.append(bench.big / (time.perf_counter() - start))
        home = bench.new("artfs")
        with bench.mounted(home) as project:
            start, count = time.perf_counter(), 0
            with (project / "big/v0/big.bin").open("rb", buffering=0) as file:
                while read := file.readinto(buffer):
                    count += read
            assert count == bench.big, count
            ours.append(bench.big / (time.perf_counter() - start))
            peak = max(peak, peak_memory(project))
        shutil.rmtree(home)
    theirs = bench.big / bench.sdk_download("me/bench/big:v0")
    rate, get = statistics.median(ours), statistics.median(plain)
    bench.record(
        f"sequential read of {bench.big >> 20:,} MiB, cold, of a plain GET", f"{rate / get:.2f}", "", None,
        f"{rate / 1e6:,.0f} MB/s; GET {get / 1e6:,.0f}, the SDK's download() {theirs / 1e6:,.0f}; peak of the daemon {peak:.0f} MB",
    )  # fmt: skip


MEASUREMENTS = {"first": first_byte, "all": all_files, "big": big_file}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, once: to see that it works")
    parser.add_argument("--only", choices=sorted(MEASUREMENTS), action="append")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="artfs-bench-"))
    bench = Bench(root, quick=arguments.quick)
    load = os.getloadavg()[0]
    try:
        for name in arguments.only or MEASUREMENTS:
            MEASUREMENTS[name](bench)
    finally:
        bench.close()
        shutil.rmtree(root, ignore_errors=True)
    machine = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores"
    print(
        f"\n{datetime.now(UTC).date()}, {machine}, load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end\n"
    )
    print("| what | measured | target | |\n|---|---|---|---|")
    for row in bench.rows:
        print(
            f"| {row['what']} | {row['measured']} | {row['target'] or '-'} | {'missed: ' if row['met'] is False else ''}{row['note']} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": bench.rows}, indent=2) + "\n")
    sys.exit(0 if all(row["met"] is not False for row in bench.rows) else 1)


if __name__ == "__main__":
    main()
