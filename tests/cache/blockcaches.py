"""Block caches for tests: their bytes, opening and closing them, and looking at what is on the disk."""

import contextlib
import random
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import blake3

from artfs.cache.blocks import BlockCache
from artfs.cache.datafiles import Content
from artfs.model.entry import BLOCK_SIZE

MIB = 1 << 20
PLENTY = 1 << 34

SMALL = Content("md5/" + "5a" * 16, 1000)
BIG = Content("md5/" + "b1" * 16, 3 * BLOCK_SIZE + 5000)
OTHER = Content("xxh128/" + "0f" * 16, 2 * BLOCK_SIZE)


def numbered(number, size=BLOCK_SIZE, kind="md5"):
    """Return one of many contents."""
    return Content(f"{kind}/{blake3.blake3(str(number).encode()).hexdigest()[:32]}", size)


def block_of(content, number, variant=0):
    """Return the bytes of a block: others for each content, number and variant."""
    return random.Random(f"{content}{number}{variant}").randbytes(content.length(number))


def checksum_of(content, number, variant=0):
    return blake3.blake3(block_of(content, number, variant)).digest()


def whole_of(content):
    return b"".join(block_of(content, number) for number in range(content.blocks))


def checksums_of(content):
    return [checksum_of(content, number) for number in range(content.blocks)]


@contextlib.contextmanager
def opened(cache_dir, *, max_bytes=PLENTY, keep_free=0, **options):
    cache = BlockCache(cache_dir, max_bytes=max_bytes, keep_free=keep_free, **options)
    try:
        yield cache
    finally:
        cache.close()


def fill(cache, *contents, proven=True, numbers=None):
    """Write blocks, and have them recorded."""
    for content in contents:
        file = cache.file(*content)
        for number in range(content.blocks) if numbers is None else numbers:
            file.write(number, block_of(content, number), proven=proven)
    cache.flush()


def hits(cache, content):
    """Read every block; return the numbers of those that are there, which must be right."""
    file, found = cache.file(*content), []
    for number in range(content.blocks):
        data = file.read(number)
        if data is not None:
            assert data == block_of(content, number), f"block {number} of {content} is wrong"
            found.append(number)
    return found


def world_of(cache_dir):
    """Return the directory of the world in use."""
    return max(path for path in (cache_dir / "blocks" / "1").iterdir() if len(path.name) == 16)


def data_file(cache_dir, content):
    kind, digits = content.name.split("/")
    return world_of(cache_dir) / "data" / kind / digits[:2] / f"{digits[2:]}-{content.size}"


def flip(path, place, bit=1):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


def keeper_of(cache):
    return cache._shelf.keeper


def evict(cache, need=1 << 60):
    """Evict at least so many bytes, at once, as the thread of the cache does; return how many."""
    keeper = keeper_of(cache)
    try:
        return keeper.evictor.evict(lambda: need)
    except (OSError, sqlite3.Error) as error:
        cache._shelf.failed(keeper, error, writing=True)


def sweep_now(cache):
    """Wait until the cache has tidied itself."""
    keeper_of(cache)._threads[1].join()


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


PREAMBLE = """
import sys
from pathlib import Path
from artfs.cache import ledger, recorder, world
from tests.cache.blockcaches import *
ledger._BUSY_SECONDS = recorder._WAIT_SECONDS = world._LOCK_SECONDS = 60.0  # as in conftest.py
cache = BlockCache(Path(sys.argv[1]), max_bytes=PLENTY, keep_free=0)
"""


@contextlib.contextmanager
def running(cache_dir, program, *arguments):
    """Run a program in another process, which is killed in the end."""
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), str(cache_dir), *map(str, arguments)]
    root = Path(__file__).parents[2]  # where `tests` is imported from
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            yield process
        finally:
            process.kill()
