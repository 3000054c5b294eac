"""The bytes that come through fsspec: whatever is asked for in whatever order, from threads and processes, or an error."""

import contextlib
import errno
import io
import multiprocessing
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import artfs
from artfs.api.filesystem import ArtfsFileSystem, blocks
from artfs.model.entry import BLOCK_SIZE
from artfs.model.names import parse_artifact_ref

BIG = random.Random(1).randbytes(20 * BLOCK_SIZE + 12_345)
PATH = "me/demo/data:v0/big"
URL = f"artfs://{PATH}"


@pytest.fixture
def fs(fresh):
    ArtfsFileSystem.clear_instance_cache()
    yield fsspec.filesystem("artfs")
    ArtfsFileSystem.clear_instance_cache()


@pytest.fixture
def far(place, s3_server, monkeypatch):
    """Make the store of the test an S3 bucket."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARTFS_STORE", f"s3://{s3_server.bucket()}/store")


@pytest.fixture(params=["local", "far"])
def data(request, place):
    if request.param == "far":
        request.getfixturevalue("far")
    return request.getfixturevalue("log")("data", {"big": BIG, "small": b"small", "empty": b""})


@pytest.fixture
def cold(fs, data, place):
    """Forget what was kept when the version was committed."""
    services = fs.client.services
    entry = services.open_index(services.registry.version(parse_artifact_ref("me/demo/data:v0", ""))).entry(1)
    assert services.reader.is_local(entry) is not os.environ.get("ARTFS_STORE", "").startswith("s3:")
    fs.client.close()
    for path in sorted((place.parent / "cache").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return fs


def fetched(fs, monkeypatch):
    """Return a list that gets the blocks of each request from now on."""
    requests = []
    real = blocks.fetch

    def fetch(client, entry, first, last):
        requests.append((first, last))
        return real(client, entry, first, last)

    monkeypatch.setattr(blocks, "fetch", fetch)
    return requests


def test_the_whole_comes_in_any_way_of_reading(cold):
    with cold.open(PATH) as file:
        assert file.read() == BIG
        assert file.read() == b""
        assert (file.size, file.tell(), file.path) == (len(BIG), len(BIG), PATH)
    with cold.open(URL) as file:
        assert b"".join(iter(lambda: file.read(300_000), b"")) == BIG
    target = bytearray(len(BIG))
    with cold.open(PATH) as file:
        assert file.readinto(target) == len(BIG)
    assert target == BIG
    assert cold.cat_file(PATH) == BIG
    assert cold.cat([PATH, "me/demo/data:v0/empty"]) == {PATH: BIG, "me/demo/data:v0/empty": b""}
    assert cold.head(PATH, 10) + cold.tail(PATH, 10) == BIG[:10] + BIG[-10:]
    assert cold.read_block(PATH, 2_000_000, 100) == BIG[2_000_000:2_000_100]


def test_only_the_blocks_that_are_asked_for_are_read(cold, monkeypatch):
    requests = fetched(cold, monkeypatch)
    with cold.open(PATH) as file:
        file.seek(7 * BLOCK_SIZE - 10)
        assert file.read(20) == BIG[7 * BLOCK_SIZE - 10 : 7 * BLOCK_SIZE + 10]
        file.seek(-5, os.SEEK_END)
        assert file.read() == BIG[-5:]
    assert requests in ([(6, 6), (7, 7), (20, 20)], [(6, 7), (20, 20)])
    requests.clear()
    assert cold.cat_file(PATH, 3 * BLOCK_SIZE, 3 * BLOCK_SIZE + 1) == BIG[3 * BLOCK_SIZE :][:1]
    assert requests == [(3, 3)]


@pytest.mark.parametrize("data", ["far"], indirect=True)
def test_a_reader_in_order_has_more_under_way_than_it_has_read(cold, monkeypatch):
    requests = fetched(cold, monkeypatch)
    with cold.open(PATH) as file:
        for number in range(5):
            assert file.read(BLOCK_SIZE) == BIG[number * BLOCK_SIZE :][:BLOCK_SIZE]
        assert file.raw._content._running[-1].last > 5
        assert b"".join(iter(lambda: file.read(BLOCK_SIZE), b"")) == BIG[5 * BLOCK_SIZE :]
    blocks = [number for first, last in requests for number in range(first, last + 1)]
    assert sorted(blocks) == list(range(21))  # each once
    assert len(requests) < 9


@pytest.mark.parametrize("data", ["far"], indirect=True)
def test_without_room_for_more_requests_a_reader_goes_on(cold, monkeypatch):
    threads = cold._fetchers.current()
    while threads._room.acquire(blocking=False):
        pass
    with cold.open(PATH) as file:
        assert b"".join(iter(lambda: file.read(BLOCK_SIZE // 3), b"")) == BIG


@pytest.mark.parametrize("data", ["far"], indirect=True)
def test_room_is_given_back(cold):
    threads = cold._fetchers.current()
    for _ in range(30):
        with cold.open(PATH) as file:
            file.read(3 * BLOCK_SIZE)
            file.read(BLOCK_SIZE)
            file.read(BLOCK_SIZE)
    assert threads._room._value == blocks._ROOM
    file = cold.open(PATH)
    file.read(12 * BLOCK_SIZE)
    file.read(BLOCK_SIZE)
    del file
    assert threads._room._value == blocks._ROOM


OFFSETS = st.one_of(
    st.integers(0, len(BIG) + 10),
    st.builds(lambda n, d: max(0, n * BLOCK_SIZE + d), st.integers(0, 20), st.integers(-3, 3)),
)
SIZES = st.one_of(st.integers(0, 100), st.integers(0, 3 * BLOCK_SIZE), st.just(-1), st.just(BLOCK_SIZE))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), SIZES),
        st.tuples(st.just("readinto"), st.integers(0, 2 * BLOCK_SIZE)),
        st.tuples(st.just("readline"), st.integers(0, 2000)),
        st.tuples(st.just("seek"), OFFSETS),
        st.tuples(st.just("forward"), st.integers(0, BLOCK_SIZE)),
        st.tuples(st.just("from the end"), st.integers(-len(BIG), 5)),
        st.tuples(st.just("pickle"), st.none()),
    ),
    max_size=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_seeks_and_reads_in_any_order_give_the_bytes_of_the_file(data, fs, steps):
    model, file = io.BytesIO(BIG), fs.open(PATH)
    for step, value in steps:
        if step == "read":
            assert file.read(value) == model.read(value)
        elif step == "readinto":
            ours, theirs = bytearray(value), bytearray(value)
            assert file.readinto(ours) == model.readinto(theirs)
            assert ours == theirs
        elif step == "readline":
            assert file.readline(value) == model.readline(value)
        elif step == "seek":
            assert file.seek(value) == model.seek(value)
        elif step == "forward":
            assert file.seek(value, os.SEEK_CUR) == model.seek(value, os.SEEK_CUR)
        elif step == "from the end":
            assert file.seek(value, os.SEEK_END) == model.seek(value, os.SEEK_END)
        else:
            other = pickle.loads(pickle.dumps(file))
            file.close()
            file = other
        assert file.tell() == model.tell()
    file.close()


SLICES = st.one_of(st.none(), OFFSETS, st.integers(-len(BIG) - 5, -1))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(slices=st.lists(st.tuples(SLICES, SLICES), min_size=1, max_size=8))
def test_slices_are_those_of_python(data, fs, slices):
    starts, ends = [list(one) for one in zip(*slices, strict=True)]
    expected = [BIG[start:end] for start, end in slices]
    assert fs.cat_ranges([PATH] * len(slices), starts, ends) == expected
    assert [fs.cat_file(PATH, start, end) for start, end in slices] == expected


@pytest.mark.parametrize("data", ["far"], indirect=True)
def test_ranges_that_lie_together_come_in_one_request(cold, monkeypatch):
    requests = fetched(cold, monkeypatch)
    starts = [5 * BLOCK_SIZE + 100, 3 * BLOCK_SIZE, 3 * BLOCK_SIZE + 500_000, 15 * BLOCK_SIZE, 4 * BLOCK_SIZE + 7]
    ends = [start + 1000 for start in starts]
    paths = [PATH, URL, PATH, "me/demo/data/v0/big", PATH]
    assert cold.cat_ranges(paths, starts, ends) == [BIG[a:b] for a, b in zip(starts, ends, strict=True)]
    assert sorted(requests) == [(3, 5), (15, 15)]


def test_ranges_of_several_files_fail_one_by_one(data, fs):
    mixed = fs.cat_ranges([PATH, "me/demo/data:v0/none", "me/demo/data:v0/small"], 0, 3)
    assert mixed[0] == BIG[:3]
    assert isinstance(mixed[1], FileNotFoundError)
    assert mixed[2] == b"sma"
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["me/demo/data:v0/none"], 0, 3, on_error="raise")
    with pytest.raises(ValueError):
        fs.cat_ranges([PATH], [0], [1, 2])


def test_a_closed_file_and_impossible_places_are_refused(data, fs):
    file = fs.open(PATH)
    with pytest.raises(ValueError):
        file.seek(-1)
    with pytest.raises(ValueError):
        file.seek(0, 7)
    assert file.seek(len(BIG) + 100) == len(BIG) + 100
    assert file.read() == b""
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"")
    file.close()
    with pytest.raises(ValueError):
        file.read()


def test_a_text_file_is_decoded_and_a_compressed_one_unpacked(fs, log):
    import gzip

    lines = "".join(f"line {number} \u00e4\n" for number in range(200_000))
    log("text", {"t.txt": lines.encode(), "t.txt.gz": gzip.compress(lines.encode())})
    with fs.open("me/demo/text:v0/t.txt", "r", encoding="utf-8") as file:
        assert "".join(file) == lines
    with fsspec.open("artfs://me/demo/text:v0/t.txt.gz", "rt", encoding="utf-8", compression="infer") as file:
        assert file.read() == lines
    with fs.open("me/demo/text:v0/t.txt") as file:
        assert file.readlines() == lines.encode().splitlines(keepends=True)


# References ---------------------------------------------------------------------------------------------------------


def test_references_are_followed_whether_their_size_is_known_or_not(fs, place, http_server):
    url = http_server.put("fsspec/known.bin", BIG[:3_000_000])
    (place / "near.bin").write_bytes(BIG[:2_000_000])
    base = artfs.Artifact("base", "dataset")
    with base.new_file("x/own.bin", "wb") as file:
        file.write(BIG[:1_500_000])
    with artfs.init(project="demo") as run:
        run.log_artifact(base).wait()
        artifact = artfs.Artifact("refs", "dataset")
        artifact.add_reference(url, name="known")
        artifact.add_reference(url, name="unknown", checksum=False)
        artifact.add_reference((place / "near.bin").as_uri(), name="near")
        artifact.add_reference(base.get_entry("x/own.bin").ref_url(), name="other")
        run.log_artifact(artifact).wait()
    root = "me/demo/refs:v0"
    expected = {"known": 3_000_000, "unknown": 3_000_000, "near": 2_000_000, "other": 1_500_000}
    assert fs.info(f"{root}/unknown")["size"] is None
    assert fs.info(f"{root}/known")["ref"] == url
    fs.du(root)
    for name, size in expected.items():
        path = f"{root}/{name}"
        assert fs.cat_file(path) == BIG[:size]
        assert fs.cat_file(path, -10, -5) == BIG[size - 10 : size - 5]
        assert fs.cat_ranges([path, path], [5, 100], [50, 1000]) == [BIG[5:50], BIG[100:1000]]
        with fs.open(path) as file:
            assert file.read(10) == BIG[:10]
            assert file.seek(-7, os.SEEK_END) == size - 7
            assert file.read() == BIG[size - 7 : size]
            file.seek(1_000_000)
            assert b"".join(iter(lambda file=file: file.read(200_000), b"")) == BIG[1_000_000:size]
    fs.get(root, str(place / "got"), recursive=True)
    assert {path.name: path.stat().st_size for path in (place / "got").iterdir()} == expected
    (place / "near.bin").unlink()
    fs.client.close()
    with pytest.raises(FileNotFoundError), fs.open(f"{root}/near") as file:
        file.read()


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.expects_warning("cannot be read")
@pytest.mark.parametrize("data", ["local"], indirect=True)
def test_damage_in_the_store_is_an_error_and_never_a_wrong_byte(data, fs, place):
    fs.client.close()
    (blob,) = [
        path for path in (place.parent / "data").rglob("*") if path.is_file() and path.stat().st_size == len(BIG)
    ]
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(9 * BLOCK_SIZE + 77)
        file.write(bytes([BIG[9 * BLOCK_SIZE + 77] ^ 1]))
    with fs.open(PATH) as file:
        got = bytearray(file.read(9 * BLOCK_SIZE - 5))
        with pytest.raises(OSError, match="damaged") as caught:
            got.extend(iter(lambda: file.read(1)[0], None))
        assert caught.value.errno == errno.EIO
        assert BIG.startswith(got)
        file.seek(10 * BLOCK_SIZE)
        assert file.read() == BIG[10 * BLOCK_SIZE :]
        file.seek(0)
        with pytest.raises(OSError, match="damaged"):
            file.read()
    for read in (fs.cat_file, fs.cat):
        with pytest.raises(OSError, match="damaged"):
            read(PATH)
    assert fs.cat_file(PATH, 0, 9 * BLOCK_SIZE) == BIG[: 9 * BLOCK_SIZE]
    whole, part = fs.cat_ranges([PATH, PATH], [0, 15 * BLOCK_SIZE], [None, 16 * BLOCK_SIZE])
    assert isinstance(whole, OSError)
    assert part == BIG[15 * BLOCK_SIZE : 16 * BLOCK_SIZE]
    (place / "old").write_bytes(b"old")
    with pytest.raises(OSError, match="damaged"):
        fs.get_file(PATH, str(place / "old"))
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"old": b"old"}


@pytest.mark.expects_warning("cannot be read")
@pytest.mark.parametrize("data", ["local"], indirect=True)
def test_a_blob_that_is_gone_is_an_error_of_the_store(data, fs, place):
    fs.client.close()
    for path in (place.parent / "data").rglob("*"):
        if path.is_file() and path.stat().st_size == len(BIG):
            path.unlink()
    with pytest.raises(OSError, match="missing") as caught:
        fs.cat_file(PATH)
    assert caught.value.errno == errno.EIO


# Threads and processes ----------------------------------------------------------------------------------------------


def test_threads_read_with_one_file_system_and_with_their_own(cold):
    rng = random.Random(3)
    spans = [(start, start + rng.randrange(2 * BLOCK_SIZE)) for start in (rng.randrange(len(BIG)) for _ in range(60))]

    def read(number):
        start, end = spans[number]
        fs = cold if number % 2 else fsspec.filesystem("artfs")
        with fs.open(PATH) as file:
            file.seek(start)
            return file.read(end - start)

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(read, range(60))) == [BIG[start:end] for start, end in spans]


def test_threads_share_an_open_file(data, fs):
    with fs.open(PATH) as file, ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda _: file.read(100_003), range(210)))
        assert sum(map(len, pieces)) == len(BIG)
        assert all(piece in BIG for piece in pieces[:5])


def read_in_child(fs, file, answers):
    with contextlib.suppress(BrokenPipeError):
        try:
            fresh = fsspec.open(URL).open()
            answers.send((fs.cat_file(PATH) == BIG, file.read() == BIG[BLOCK_SIZE:], fresh.read(3) == BIG[:3]))
        except Exception as error:
            answers.send(repr(error))
            raise
        finally:
            answers.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_with_what_their_parent_has_open(data, fs, method, monkeypatch):
    context = multiprocessing.get_context(method)
    file = fs.open(PATH)
    assert file.read(12 * BLOCK_SIZE) + file.read(BLOCK_SIZE) == BIG[: 13 * BLOCK_SIZE]  # more is under way
    file.seek(BLOCK_SIZE)
    workers = []
    for _ in range(3):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=read_in_child, args=(fs, file, theirs))
        process.start()
        theirs.close()
        workers.append((process, ours))
    for process, ours in workers:
        assert ours.poll(180)
        assert ours.recv() == (True, True, True)
        process.join(180)
        assert process.exitcode == 0
    assert file.read() == BIG[BLOCK_SIZE:]
