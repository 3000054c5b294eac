"""What every store of blobs promises. Runs on every implementation."""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from artfs.errors import BusyError, NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.storage.port import BlobStore, Source

DATA = bytes(range(256)) * 9000
BLOB = Digest.of(DATA)
OTHER = Digest.of(b"other")


def content(store, blob):
    source = store.open(blob)
    try:
        return source.read(0, 100 << 20)
    finally:
        source.close()


def pieces(data, size=100_000):
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("port", [BlobStore, Source])
def test_an_implementation_has_the_methods_of_the_port_with_its_arguments(store, port):
    store.write(BLOB, [DATA])
    implementation = store if port is BlobStore else store.open(BLOB)
    for name, method in inspect.getmembers(port, inspect.isfunction):
        if not name.startswith("_"):
            expected = list(inspect.signature(method).parameters)[1:]
            assert list(inspect.signature(getattr(implementation, name)).parameters) == expected, name
    assert isinstance(implementation.local, bool)
    if port is Source:
        implementation.close()


def test_an_empty_store_has_nothing(store):
    assert not store.has(BLOB)
    assert store.missing([BLOB, OTHER, BLOB]) == {BLOB, OTHER}


def test_what_was_written_is_there(store, open_blobs):
    store.write(BLOB, pieces(DATA))
    for view in (store, open_blobs()):
        assert view.has(BLOB)
        assert not view.has(OTHER)
        assert view.missing(iter([BLOB, OTHER])) == {OTHER}
        assert content(view, BLOB) == DATA


@pytest.mark.parametrize("data", [[], [b""], [b"", b"a", b"", b"bc"]])
def test_pieces_of_any_size_are_joined(store, data):
    blob = Digest.of(b"".join(data))
    store.write(blob, data)
    assert content(store, blob) == b"".join(data)


def test_digests_of_two_algorithms_name_two_blobs(store):
    raw = Digest.of(b"0").raw
    blobs = [Digest(algorithm, raw) for algorithm in (Algorithm.MD5, Algorithm.XXH128)]
    blobs.append(Digest(Algorithm.BLAKE3, raw * 2))
    for number, blob in enumerate(blobs):
        assert store.missing(blobs) == set(blobs[number:])
        store.write(blob, [b"%d" % number])
    assert [content(store, blob) for blob in blobs] == [b"0", b"1", b"2"]


def test_writing_a_blob_that_is_there_does_nothing(store):
    blob = Digest.of(b"first")
    store.write(blob, [b"first"])
    store.write(blob, (pytest.fail("the data were asked for") for _ in [0]))
    assert content(store, blob) == b"first"


def test_a_blob_is_visible_only_when_it_is_whole(store, open_blobs):
    def watching():
        for piece in pieces(DATA):
            yield piece
            for view in (store, open_blobs()):
                assert not view.has(BLOB)
                assert view.missing([BLOB]) == {BLOB}
                with pytest.raises(NotFoundError):
                    content(view, BLOB)

    store.write(BLOB, watching())
    assert content(store, BLOB) == DATA


@pytest.mark.parametrize("error", [BusyError("the source has changed"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_writer_that_fails_midway_leaves_nothing(store, error):
    def failing():
        yield DATA
        raise error

    with pytest.raises(type(error)) as caught:
        store.write(BLOB, failing())
    assert caught.value is error
    assert not store.has(BLOB)
    store.write(BLOB, [DATA])
    assert content(store, BLOB) == DATA


def test_a_blob_that_is_not_there_is_named(store):
    with pytest.raises(NotFoundError, match=BLOB.hex):
        content(store, BLOB)


def test_a_source_reads_by_position_and_less_only_at_the_end(store):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)
    size = len(DATA)
    assert source.size in {size, None}
    for offset, count in (
        (0, 10),
        (5, 1000),
        (size - 5, 5),
        (size - 5, 100),
        (size, 10),
        (size + 10, 10),
        (1 << 20, 1 << 20),
    ):
        assert source.read(offset, count) == DATA[offset : offset + count]
    source.close()


def test_what_is_read_without_blocking_is_the_same_or_nothing(store):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)
    for offset, count in ((0, 10), (5, 1000), (len(DATA) - 5, 5), (len(DATA) - 5, 100), (len(DATA), 10)):
        assert source.read_nowait(offset, count) in {None, DATA[offset : offset + count]}
    source.close()


def test_threads_read_one_source_at_once(store):
    store.write(BLOB, [DATA])
    source = store.open(BLOB)
    spans = [(offset, 70_001) for offset in range(0, len(DATA), 70_001)]
    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(lambda span: source.read(*span), spans)) == DATA
    source.close()


def test_several_writers_of_one_blob_at_once_make_one_whole_blob(open_blobs):
    barrier = threading.Barrier(4)

    def write(store):
        def slowly():
            for piece in pieces(DATA):
                barrier.wait()  # all are at the same piece
                yield piece

        store.write(BLOB, slowly())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [open_blobs() for _ in range(4)]))
    assert content(open_blobs(), BLOB) == DATA


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_an_adopted_file_is_the_blob_and_a_local_store_takes_it(store, tmp_path, data):
    path, blob = tmp_path / "file", Digest.of(data)
    path.write_bytes(data)
    store.adopt(blob, path)
    assert store.has(blob)
    assert content(store, blob) == data
    assert path.exists() is not store.local


def test_adopting_a_blob_that_is_there_takes_the_file_and_mends_the_blob(store, tmp_path):
    path, blob = tmp_path / "file", Digest.of(DATA, Algorithm.XXH128)  # an MD5 is checked by some services
    store.write(blob, [b"damaged"])
    path.write_bytes(DATA)
    store.adopt(blob, path)
    assert content(store, blob) == DATA
    assert path.exists() is not store.local


def test_adopting_a_file_that_is_not_there_is_refused(store, tmp_path):
    with pytest.raises(NotFoundError):
        store.adopt(BLOB, tmp_path / "nothing")
    assert not store.has(BLOB)


def test_what_was_written_is_there_after_sync(store, tmp_path):
    store.sync()
    store.write(BLOB, [DATA])
    store.sync()
    assert content(store, BLOB) == DATA
