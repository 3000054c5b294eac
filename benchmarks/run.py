"""Measure what docs/benchmarks.md shows: ``python benchmarks/run.py [--quick] [--json FILE] [--only NAME]``.

Every figure is the median of several runs, and every ratio is measured against its yardstick in the same run, on the same files.
Everything happens in a temporary directory on the disk of TMPDIR, which needs about 12 GB free.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from artfs.app.services import open_services
from artfs.config import load_config
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import EntryPath
from artfs.registry.port import ManifestFile, NewVersion

MIB = 1 << 20
THREADS = len(os.sched_getaffinity(0))


class Bench:
    """A temporary artfs, and the measurements made on it."""

    def __init__(self, root: Path, *, quick: bool) -> None:
        self.root = root
        self.mountpoint = root / "mnt"
        self.scale = 16 if quick else 1
        self.runs = 3 if quick else 5
        self.rows: list[dict[str, object]] = []
        for name in ("data", "cache", "state", "runtime"):
            os.environ[f"ARTFS_{name.upper()}_DIR"] = str(root / name)
        os.environ["ARTFS_ENTITY"] = "bench"
        self.config = load_config()

    def artfs(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "artfs.cli", *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    @contextlib.contextmanager
    def mounted(self):
        self.artfs("mount", str(self.mountpoint))
        try:
            yield self.mountpoint / "bench/speed"
        finally:
            self.artfs("umount", str(self.mountpoint))

    def record(self, what: str, value: float, unit: str, target: str, met: bool, note: str = "") -> None:
        row = {"what": what, "value": round(value, 3), "unit": unit, "target": target, "met": met, "note": note}
        self.rows.append(row)
        print(f"{'ok  ' if met else 'MISS'} {what}: {value:,.2f} {unit} (target {target}) {note}", flush=True)

    def log_manifest(self, name: str, count: int) -> None:
        """Log a version of so many files that exist in its manifest only: listing needs no bytes."""
        digest = Digest.of(b"").base64

        def entries():
            for number in range(count):
                yield Entry(EntryPath(f"d{number // 1000:04}/f{number:07}"), digest, 0)

        with open_services(self.config) as services:
            hasher, size = hashlib.md5(usedforsecurity=False), 0
            for piece in encode_manifest(entries()):
                hasher.update(piece)
                size += len(piece)
            manifest = ManifestFile(Digest(Algorithm.MD5, hasher.digest()), size)
            services.store.write(manifest.digest, encode_manifest(entries()))
            whole = version_digest((entry.path, entry.digest) for entry in entries())
            ref = CollectionRef("bench", "speed", name)
            services.registry.reserve(NewVersion(f"bench-{name}", ref, None, whole, Algorithm.MD5, 0, count))
            services.registry.publish(f"bench-{name}", manifest, [])


def drop_page_cache(path: Path) -> None:
    """Drop a file's pages, so that the next read has to ask for them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def settle_memory() -> None:
    """Give both sides the same start, as root: no cached pages, and free memory in one piece.

    How fast cached pages are copied depends on the size of the folios that they lie in: in memory that other work has fragmented the mount
    gets small ones, and a file that was there before keeps its big ones.
    """
    os.sync()
    with contextlib.suppress(PermissionError):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        Path("/proc/sys/vm/compact_memory").write_text("1")


def read_file(path: Path) -> float:
    """Read a file in pieces of 1 MiB; return bytes per second."""
    buffer = bytearray(MIB)
    start, count = time.perf_counter(), 0
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            count += read
    return count / (time.perf_counter() - start)


def big_file(bench: Bench) -> None:
    """Read one file of 1 GiB: first through the mount, then again, against the same file on the local disk."""
    source = bench.root / "big"
    source.mkdir()
    with (source / "big.bin").open("wb") as file:
        for _ in range(1024 // bench.scale):
            file.write(os.urandom(MIB))
    bench.artfs("put", str(source), "speed/big")
    first, ratios = [], []
    for _ in range(bench.runs):
        settle_memory()
        read_file(
            next((bench.root / "data/store/md5").glob("*/*"))
        )  # the first read is to measure the mount, not the disk
        with bench.mounted() as project:
            path = project / "big/latest/big.bin"
            first.append(read_file(path))
            read_file(source / "big.bin")
            ratios.append(
                statistics.median(read_file(path) for _ in range(3))
                / statistics.median(read_file(source / "big.bin") for _ in range(3))
            )
    bench.record(
        "first read of 1 GiB through the mount",
        statistics.median(first) / 1e9,
        "GB/s",
        "1",
        statistics.median(first) >= 1e9,
    )
    bench.record(
        "re-read of 1 GiB, of ext4", statistics.median(ratios), "ratio", "0.45", statistics.median(ratios) >= 0.45
    )
    shutil.rmtree(source)


def listing(bench: Bench) -> None:
    """`ls -lR` of 100,000 files, with nothing in the kernel's cache, and again."""
    count = 100_000 // bench.scale
    bench.log_manifest("listing", count)
    first, second = [], []
    for _ in range(bench.runs):
        with bench.mounted() as project:
            path = str(project / "listing/v0")
            subprocess.run(["ls", path], check=True, stdout=subprocess.DEVNULL)  # the index is there
            for times in (first, second):
                start = time.perf_counter()
                subprocess.run(["ls", "-lR", path], check=True, stdout=subprocess.DEVNULL)
                times.append(count / (time.perf_counter() - start))
    for name, times in (("first", first), ("second", second)):
        rate = statistics.median(times)
        bench.record(f"ls -lR of 100,000 files, {name} time", rate, "entries/s", "50,000", rate >= 50_000)


def small_files(bench: Bench) -> None:
    """Open, read and close 10,000 files of 4 KiB: the second epoch of a training."""
    count = 10_000 // bench.scale
    source = bench.root / "small"
    source.mkdir()
    for number in range(count):
        (source / f"{number:05}").write_bytes(os.urandom(4096))
    bench.artfs("put", str(source), "speed/small")
    names = sorted(os.listdir(source))
    epochs: dict[str, list[float]] = {"first": [], "second": []}
    for _ in range(bench.runs):
        with bench.mounted() as project:
            directory = os.path.realpath(project / "small/latest")
            for times in epochs.values():
                start = time.perf_counter()
                for name in names:
                    descriptor = os.open(f"{directory}/{name}", os.O_RDONLY)
                    os.read(descriptor, 4096)
                    os.close(descriptor)
                times.append(count / (time.perf_counter() - start))
    second = statistics.median(epochs["second"])
    note = f"first epoch {statistics.median(epochs['first']):,.0f}/s"
    bench.record(
        "open+read+close of 10,000 files of 4 KiB, second epoch", second, "files/s", "8,000", second >= 8000, note
    )
    shutil.rmtree(source)


def million(bench: Bench) -> None:
    """Mount with a version of 1,000,000 files in the registry, and walk it."""
    count = 1_000_000 // bench.scale
    bench.log_manifest("million", count)
    ready = []
    for _ in range(bench.runs):
        start = time.perf_counter()
        with bench.mounted():
            ready.append(time.perf_counter() - start)
    bench.record(
        "mount ready, with a version of 1,000,000 files",
        statistics.median(ready),
        "s",
        "1",
        statistics.median(ready) <= 1,
    )
    with bench.mounted() as project:
        pid = int(os.getxattr(bench.mountpoint, "user.artfs.pid"))
        before, start = resident(pid), time.perf_counter()
        walked = int(
            subprocess.run(
                f"find {project}/million/v0 -type f | wc -l", shell=True, check=True, capture_output=True
            ).stdout
        )
        took, grown = time.perf_counter() - start, resident(pid) - before
        if walked != count:
            raise SystemExit(f"find saw {walked} of {count} files")
    note = f"{walked:,} files in {took:.0f} s, the index included"
    bench.record("growth of the daemon by find over it", grown / 1e6, "MB", "below 200", grown < 200e6, note)


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def hash_alone(paths: list[Path]) -> float:
    """Hash files with MD5 alone, a file for each thread; return seconds."""

    def one(path: Path) -> bytes:
        hasher, buffer = hashlib.md5(usedforsecurity=False), bytearray(MIB)
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(memoryview(buffer)[:count])
        return hasher.digest()

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, paths))
    return time.perf_counter() - start


def commit(bench: Bench) -> None:
    """Commit a draft of 4 GiB, against hashing its files alone; and one changed file of 1,000."""
    ratios, moved = [], True
    for run in range(3):
        with bench.mounted() as project:
            draft = project / "commit/.staging/draft"
            draft.mkdir(parents=True)
            for number in range(16):
                with (draft / f"{number:02}").open("wb") as file:
                    for _ in range(256 // bench.scale):
                        file.write(os.urandom(MIB))
            local = sorted((bench.root / "data/drafts").glob("*/*/tree/*"))
            inodes = {path.stat().st_ino for path in local}
            os.sync()
            alone = hash_alone(local)
            start = time.perf_counter()
            bench.artfs("commit", str(draft))
            ratios.append(alone / (time.perf_counter() - start))
            blobs = (bench.root / "data/store/md5").glob("*/*")
            moved = moved and inodes <= {path.stat().st_ino for path in blobs}
        shutil.rmtree(bench.root / "data/store")
        print(f"     run {run}: {ratios[-1]:.2f}", flush=True)
    ratio = statistics.median(ratios)
    note = "no byte copied: the blobs are the draft's files" if moved else "BYTES WERE COPIED"
    bench.record("commit of 4 GiB, of hashing alone", ratio, "ratio", "0.75", ratio >= 0.75 and moved, note)

    source = bench.root / "thousand"
    source.mkdir()
    for number in range(1000):
        (source / f"{number:04}").write_bytes(os.urandom(4096))
    bench.artfs("put", str(source), "speed/thousand")
    with bench.mounted() as project:
        draft = Path(bench.artfs("stage", "speed/thousand:v0"))
        (draft / "0500").write_bytes(b"changed")
        start = time.perf_counter()
        result = json.loads(bench.artfs("commit", "--json", str(draft)))
        took = time.perf_counter() - start
    bench.record(
        "files hashed for one changed of 1,000",
        result["hashed_files"],
        "files",
        "1",
        result["hashed_files"] == 1,
        f"{took:.2f} s",
    )
    shutil.rmtree(source)


MEASUREMENTS = {"big": big_file, "listing": listing, "small": small_files, "million": million, "commit": commit}


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
        shutil.rmtree(root, ignore_errors=True)
    machine = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {THREADS} cores"
    print(f"\n{datetime.now(UTC).date()}, {machine}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": bench.rows}, indent=2) + "\n")
    sys.exit(0 if all(row["met"] for row in bench.rows) else 1)


if __name__ == "__main__":
    main()
