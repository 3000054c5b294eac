"""What damage to the block cache, a full or read-only disk under it and a sudden end do to reads: they cost time, and never a byte."""

import contextlib
import os
import shutil
import subprocess

import pytest

from tests.harness import ALONE, fill, small_disk, wait_for
from tests.mount.conftest import Call, Remote, within
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Stall

BLOCK = 1 << 20
WARNINGS = ("is damaged, the cache begins empty", "is off for 60 s", "cannot be kept")


class Cached(Remote):
    """A version, and what its files must hold whatever happens to the cache."""

    def __init__(self, root, server, url=None, sizes=()) -> None:
        super().__init__(root, server, url)
        self.expected += WARNINGS
        self.cache = root / "cache"
        self.files = {f"{number}/data": os.urandom(size) for number, size in enumerate(sizes)}
        self.version = self.put(self.files)

    def is_right(self):
        """Check every byte of every file, and the names."""
        assert sorted(within(os.listdir, self.version), key=int) == [str(number) for number in range(len(self.files))]
        for name, data in self.files.items():
            assert within((self.version / name).read_bytes) == data, name

    def warm(self):
        """Mount, and fill the cache."""
        self.mount()
        self.is_right()
        for name in self.files:
            assert within(os.getxattr, self.version / name, "user.artfs.cached") == b"yes"

    def data_file(self, number):
        """Return the cache file of a file of the version. Beside it there may be that of a cache that is being removed."""
        name = self.key(self.files[f"{number}/data"]).removeprefix("store/md5/")
        return max(self.cache.glob(f"blocks/*/*/data/md5/{name}*-*"))

    def cache_files(self, pattern="**/*"):
        return [path for path in sorted(self.cache.glob(pattern)) if path.is_file() and path.stat().st_size]


@pytest.fixture(scope="module")
def cached(tmp_path_factory, s3_server):
    """One bucket and version for the tests of this module, mounted by each as it needs."""
    found = Cached(tmp_path_factory.mktemp("cached"), s3_server, sizes=[ALONE, 2 * ALONE] + [BLOCK + 170_017] * 6)
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture(autouse=True)
def ended(cached):
    yield
    cached.close()


def flip(path, *offsets):
    """Change one bit at each place."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1 << offset % 8]))


def place(path, share):
    return min(int(path.stat().st_size * share), path.stat().st_size - 1)


# Damage ------------------------------------------------------------------------------------------------------------


def test_bits_that_flip_in_cached_data_are_found_and_fetched_again(cached):
    cached.warm()
    cached.umount()
    for number, name in enumerate(cached.files):
        size = len(cached.files[name])
        blocks = range(0, size, BLOCK)
        flip(cached.data_file(number), *(min(at + number * 150_001 % BLOCK, size - 1) for at in blocks))
    cached.mount()
    cached.is_right()
    cached.umount()
    cached.mount()
    cached.is_right()


def test_bits_that_flip_under_a_mount_are_found_in_what_it_has_not_used_yet(cached):
    cached.warm()
    cached.umount()
    cached.mount()
    with (cached.version / "7/data").open("rb", buffering=0) as file:
        data = cached.files["7/data"]
        assert within(os.pread, file.fileno(), 17, len(data) - 17) == data[-17:]
        flip(cached.data_file(7), 5, BLOCK - 1)
        flip(cached.data_file(6), *range(0, BLOCK, 4096))
        assert within(os.pread, file.fileno(), len(data), 0) == data
    cached.is_right()


@pytest.mark.parametrize("end", ["umount", "kill"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_bits_that_flip_in_the_ledger_cost_time_only(cached, end, share):
    if end == "kill":
        shutil.rmtree(cached.cache)  # so that there is something in the journal
    cached.warm()
    if end == "kill":
        wait_for(lambda: cached.cache_files("blocks/*/*/ledger.sqlite-wal"), "the record of the blocks")
    getattr(cached, end)()
    ledgers = cached.cache_files("blocks/*/*/ledger.sqlite*")
    assert "ledger.sqlite" in {path.name for path in ledgers}
    for path in ledgers:
        flip(path, place(path, share))
    cached.mount()
    cached.is_right()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_bits_that_flip_everywhere_else_cost_time_only(cached, share):
    cached.warm()
    cached.umount()
    others = [path for path in cached.cache_files() if not path.name.startswith("ledger") and "/data/" not in str(path)]
    assert {"epochs", "blocklists", "index"} <= {part for path in others for part in path.parts}
    for path in others:
        flip(path, place(path, share))
    cached.mount()
    cached.is_right()


def test_cache_files_that_are_cut_swapped_or_replaced_are_found_and_fetched_again(cached):
    cached.warm()
    cached.umount()
    two, three, four, five, six, seven = (cached.data_file(number) for number in range(2, 8))
    two.rename(two.with_name("aside"))
    three.rename(two)
    two.with_name("aside").rename(three)
    os.truncate(four, BLOCK // 2)
    os.truncate(five, 0)
    os.truncate(cached.data_file(1), 3 * BLOCK)
    cached.data_file(0).unlink()
    shutil.copy(six, seven)
    whole = six.read_bytes()
    six.write_bytes(whole[4096:] + whole[:4096])  # all of it is there, and nothing at its place
    cached.mount()
    cached.is_right()


@pytest.mark.parametrize("how", ["empty", "half", "garbage", "removed", "of another cache", "of an earlier time"])
def test_a_ledger_that_is_cut_or_replaced_costs_time_only(cached, how):
    cached.warm()
    cached.umount()
    *_, ledger = cached.cache_files("blocks/*/*/ledger.sqlite")
    match how:
        case "empty":
            os.truncate(ledger, 0)
        case "half":
            os.truncate(ledger, ledger.stat().st_size // 2)
        case "garbage":
            ledger.write_bytes(os.urandom(ledger.stat().st_size))
        case "removed":
            ledger.unlink()
        case "of another cache":
            (other,) = (cached.root / "cache-of-the-maker").glob("blocks/*/*/ledger.sqlite")
            shutil.copy(other, ledger)
        case "of an earlier time":
            before = ledger.read_bytes()
            for number in range(2, 5):
                os.truncate(cached.data_file(number), BLOCK // 2)
            cached.mount()
            cached.is_right()
            cached.umount()
            ledger.write_bytes(before)
            flip(cached.data_file(3), 5)
    cached.mount()
    cached.is_right()


def test_a_cache_that_is_removed_under_a_mount_costs_time_only(cached):
    cached.warm()
    shutil.rmtree(cached.cache)
    cached.is_right()
    cached.kill()
    cached.mount()
    cached.is_right()


# Disks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path, s3_server, as_root):
    """Return a function that makes an artfs whose cache has a small disk of its own."""
    with contextlib.ExitStack() as stack:

        def make(size):
            found = Cached(tmp_path / "artfs", s3_server, sizes=[1000] + [2 * BLOCK + 17] * 3)
            stack.enter_context(small_disk(found.cache, size))
            stack.callback(lambda: found.unexpected_log(*found.expected) and pytest.fail(found.log()))
            stack.callback(found.close)
            return found

        (tmp_path / "artfs").mkdir()
        yield make


def test_a_cache_disk_that_is_smaller_than_what_is_read_keeps_what_fits(disk):
    found = disk(4 * BLOCK)
    found.mount()
    for _ in range(2):
        found.is_right()
    found.kill()
    found.mount()
    found.is_right()


def test_a_cache_disk_that_becomes_full_lets_reads_through(disk):
    found = disk(16 * BLOCK)
    found.mount()
    assert within((found.version / "0/data").read_bytes) == found.files["0/data"]
    fill(found.cache / "filler", 0)
    found.is_right()
    found.umount()
    found.mount()
    found.is_right()
    (found.cache / "filler").unlink()
    found.umount()
    found.mount()
    found.is_right()
    assert within(os.getxattr, found.version / "1/data", "user.artfs.cached") == b"yes"


def test_a_cache_disk_that_is_read_only_lets_reads_through(disk):
    found = disk(16 * BLOCK)
    found.mount()
    for name in ("0/data", "1/data"):
        assert within((found.version / name).read_bytes) == found.files[name]
    found.umount()
    subprocess.run(["mount", "-o", "remount,ro", found.cache], check=True)
    found.mount()
    found.is_right()
    found.umount()
    subprocess.run(["mount", "-o", "remount,rw", found.cache], check=True)
    found.mount()
    found.is_right()


# A sudden end ------------------------------------------------------------------------------------------------------


def test_a_kill_in_the_middle_of_fetches_leaves_nothing_wrong_behind(tmp_path, s3_server):
    with FaultProxy(s3_server.url) as proxy:
        (tmp_path / "artfs").mkdir()
        found = Cached(tmp_path / "artfs", s3_server, proxy.url, sizes=[1000] + [3 * BLOCK + 17] * 6)
        try:
            found.mount()
            for number, after in ((1, 0), (3, 1000), (5, BLOCK)):
                key = found.key(found.files[f"{number}/data"])
                with proxy.injected(Stall(after), method="GET", path=key) as stall:
                    reads = [Call((found.version / f"{number + more}/data").read_bytes) for more in (0, 1)]
                    wait_for(lambda: stall.hits, "a fetch")
                    found.kill()
                    with pytest.raises(OSError):
                        reads[0].result()
                    with contextlib.suppress(OSError):
                        reads[1].result()
                found.mount()
                assert within((found.version / "0/data").read_bytes) == found.files["0/data"]
            found.is_right()
            found.umount()
            found.mount()
            found.is_right()
        finally:
            found.close()
        assert not found.unexpected_log(*found.expected)
