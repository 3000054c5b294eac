"""A manifest of 10 million entries, the most that is allowed: minutes and gigabytes, so it runs by `make test-heavy` only."""

import contextlib
import hashlib
import itertools
import os
import re
import time
from pathlib import Path

import pytest

from artfs.model.manifest import MAX_ENTRIES
from tests.mount.conftest import Call, within
from tests.safety.conftest import md5, plant_file

PER_DIRECTORY = 1000
SECONDS_PER_MILLION = 60.0
MEMORY = 700 << 20

pytestmark = pytest.mark.heavy


def write_manifest(path, count):
    """Write a manifest of so many files of 4 bytes, and return its MD5."""
    hasher = hashlib.md5(usedforsecurity=False)
    fields = f'{{"digest":"{md5(b"one!")}","size":4}}'
    lines = (f'"{n // PER_DIRECTORY:05}/{n % PER_DIRECTORY:03}":{fields}' for n in range(count))
    with path.open("wb") as file:
        head = b'{"version":1,"storagePolicy":"wandb-storage-policy-v1","storagePolicyConfig":{"storageLayout":"V2"},"contents":{'
        first = True
        for piece in itertools.chain([head], iter(lambda: ",\n".join(itertools.islice(lines, 20_000)), ""), [b"}}"]):
            data = piece if isinstance(piece, bytes) else (b"" if first else b",\n") + piece.encode()
            first = first and isinstance(piece, bytes)
            hasher.update(data)
            file.write(data)
    return hasher.digest()


def peak_of(pid):
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) << 10


def memory_of_compiler():
    """Return the most memory that the process has had which compiles a manifest now."""
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, TypeError):
            if b"artfs.cache.compile" in (directory / "cmdline").read_bytes():
                return peak_of(directory.name)
    return 0


@pytest.mark.parametrize("more", [0, 1], ids=["the most", "one more"])
def test_a_manifest_of_ten_million_entries(fresh, more):
    (fresh.root / "f").write_bytes(b"one!")
    fresh.run("put", fresh.root / "f", "demo/data")
    manifest = fresh.root / "manifest"
    plant_file(fresh, "data", manifest, write_manifest(manifest, MAX_ENTRIES + more))
    fresh.mount()
    version = fresh.collection() / "v0"
    began = time.monotonic()
    if more:
        fresh.expected.append("has more than")
        with pytest.raises(OSError):
            within(os.listdir, version, seconds=3600)
        assert f"manifest has more than {MAX_ENTRIES} entries" in fresh.log()
        return
    listing, compiling = Call(os.listdir, version), 0
    while not listing.done:
        compiling = max(compiling, memory_of_compiler())
        time.sleep(0.2)
    names = listing.result()
    seconds = time.monotonic() - began
    assert len(names) == MAX_ENTRIES // PER_DIRECTORY
    assert sorted(within(os.listdir, version / names[-1])) == [f"{n:03}" for n in range(PER_DIRECTORY)]
    assert within((version / "09999/999").read_bytes) == b"one!"
    most = peak_of(fresh.pid())
    index = sum(path.stat().st_size for path in (fresh.root / "cache/index").rglob("*") if path.is_file())
    print(f"\n{seconds:.0f} s, mount process {most >> 20} MiB, compiler {compiling >> 20} MiB, index {index >> 20} MiB")
    assert seconds < SECONDS_PER_MILLION * MAX_ENTRIES / 1e6
    assert most < MEMORY
    assert 0 < compiling < MEMORY
