"""Small files in packs: neighbours come with one request, each file is proven by itself, and damage stays where it is."""

import contextlib
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.content.packs import Pack, pack_of, place_of
from artfs.content.proof import cache_name, content_key
from artfs.errors import IntegrityError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, Entry, Packed, file_extra
from artfs.model.manifest import decode_manifest, encode_manifest
from artfs.model.paths import parse_entry_path
from tests.content.fakes import PATIENCE, FakeSource, block_list_of
from tests.content.packs import (
    ACROSS,
    DATA,
    FILES,
    FIRST_BLOCK,
    MOVED,
    PACK,
    SIZE,
    SPANS,
    bytes_of,
    complaints,
    content,
    damage,
    damaged_on_its_way,
    entries_of,
    in_pack,
    kept,
    requests,
    store_of_pack,
)
from tests.model.strategies import examples


@pytest.fixture
def store():
    return store_of_pack()


# Places ---------------------------------------------------------------------------------------------------------------


@st.composite
def spans(draw):
    near = st.builds(lambda block, shift: block * BLOCK_SIZE + shift, st.integers(0, 4), st.integers(-2, 2))
    size = draw(st.sampled_from([1, 2, BLOCK_SIZE - 1, BLOCK_SIZE]) | st.integers(1, BLOCK_SIZE))
    last = len(DATA) - size
    offset = draw(near | st.integers(0, last))
    return min(max(offset, 0), last), size


@examples(100)
@given(spans())
def test_the_pieces_of_a_place_are_the_bytes_of_the_file(span):
    offset, size = span
    entry = in_pack("f", b"", DATA, 0)
    entry = Entry(entry.path, PACK.base64, size, extra={"pack": Packed(PACK, len(DATA), offset).encode()})
    place = place_of(entry)
    pieces = list(place.pieces(size))
    data = b"".join(DATA[number * BLOCK_SIZE + at :][:length] for number, at, length in pieces)
    assert data == DATA[offset : offset + size]
    assert [number for number, _, _ in pieces] == list(range(place.first, place.last + 1))
    assert all(length > 0 and at + length <= BLOCK_SIZE for _, at, length in pieces)
    assert (place.content.blob, place.content.size) == (PACK, len(DATA))


@pytest.mark.parametrize("size", [1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
def test_a_file_by_itself_is_its_own_place(size):
    entry = Entry(parse_entry_path("f"), Digest.of(DATA[:size]).base64, size)
    place = place_of(entry)
    assert place.content is entry
    assert b"".join(DATA[n * BLOCK_SIZE + at :][:length] for n, at, length in place.pieces(size)) == DATA[:size]


def test_a_pack_is_no_content_that_a_manifest_can_name():
    pack = pack_of(PACK.base64, len(DATA))
    (read,) = decode_manifest(encode_manifest([Entry(parse_entry_path("f"), PACK.base64, len(DATA))]))
    assert not isinstance(read, Pack)
    assert content_key(pack) != content_key(read), "what is proven of one is not proven of the other"


# Reading, where blocking is allowed -----------------------------------------------------------------------------------


def test_files_of_one_block_come_with_one_request(store, reader):
    for path in FIRST_BLOCK:
        assert content(reader, FILES[path]) == bytes_of(path)
    assert requests(store) == [0]


@pytest.mark.parametrize("strict", [False, True])
def test_all_files_can_be_read_in_any_order_and_each_block_is_fetched_once(store, new_reader, strict):
    reader, paths = new_reader(strict=strict), list(SPANS)
    random.Random(5).shuffle(paths)
    for path in paths:
        assert content(reader, FILES[path]) == bytes_of(path)
    assert len(requests(store)) <= len(DATA) // BLOCK_SIZE


@pytest.mark.parametrize("path", ACROSS)
def test_a_file_across_two_blocks_comes_with_one_request(store, reader, path):
    assert content(reader, FILES[path]) == bytes_of(path)
    assert requests(store) == [SPANS[path][0] // BLOCK_SIZE]


def test_of_a_file_across_two_blocks_only_what_is_not_here_is_fetched(store, reader):
    reader.block(FILES["d/00"], 0)
    assert content(reader, FILES["d/10"]) == bytes_of("d/10")
    assert requests(store) == [0, 1]


@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.XXH128])
def test_files_are_proven_by_the_algorithm_of_their_entries(store, reader, algorithm):
    for path, entry in entries_of(DATA, {"a": (0, 10), "b": (BLOCK_SIZE - 5, 10)}, algorithm).items():
        assert content(reader, entry) == (DATA[:10] if path == "a" else DATA[BLOCK_SIZE - 5 :][:10])


def test_several_that_wait_for_files_of_one_block_cause_one_request(store, reader):
    found = {}

    def read(path):
        found[path] = bytes(reader.block(FILES[path], 0))

    threads = [threading.Thread(target=read, args=[path]) for path in FIRST_BLOCK for _ in range(2)]
    with store.held():
        for thread in threads:
            thread.start()
        store.wait_for_reads(1)
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {path: bytes_of(path) for path in FIRST_BLOCK}
    assert requests(store) == [0]


def test_what_was_fetched_for_one_file_is_read_by_another_process_without_the_store(store, new_reader):
    reader = new_reader()
    reader.block(FILES["d/00"], 0)
    kept(reader)
    store.failure = UnreachableError("the store is away")
    again = new_reader()
    for path in FIRST_BLOCK:
        assert content(again, FILES[path]) == bytes_of(path)
        assert again.state(FILES[path]) == ("yes", "proven")
    with pytest.raises(UnreachableError):
        again.block(FILES["d/15"], 0)


def test_how_much_of_a_file_is_here_is_known(store, reader):
    assert reader.state(FILES["d/10"]) == ("no", "proven")
    reader.block(FILES["d/00"], 0)
    assert reader.state(FILES["d/00"]) == ("yes", "proven")
    assert reader.state(FILES["d/10"]) == ("partly", "proven")
    assert reader.state(FILES["d/15"]) == ("no", "proven")
    assert [reader.is_here(FILES[path], 0) for path in ("d/00", "d/10", "d/15")] == [True, False, False]
    reader.block(FILES["d/15"], 0)
    assert reader.state(FILES["d/10"]) == ("yes", "proven")


@damage
def test_damage_of_a_file_is_an_error_for_it_alone_and_is_logged_once_by_its_path(store, reader, caplog):
    store.flip(PACK, SPANS["d/03"][0] + 17)
    for _ in range(2):
        for path in FIRST_BLOCK:
            with (
                pytest.raises(IntegrityError, match=FILES[path].blob.hex)
                if path == "d/03"
                else contextlib.nullcontext()
            ):
                assert content(reader, FILES[path]) == bytes_of(path)
    (message,) = complaints(caplog)
    assert "d/03" in message
    store.flip(PACK, SPANS["d/03"][0] + 17)
    assert content(reader, FILES["d/03"]) == bytes_of("d/03")


@damage
@pytest.mark.parametrize("offset", [BLOCK_SIZE - 1, BLOCK_SIZE])
def test_damage_of_either_half_of_a_file_across_two_blocks_is_found(store, reader, offset):
    store.flip(PACK, offset)
    with pytest.raises(IntegrityError):
        reader.block(FILES["d/10"], 0)
    for path in ("d/09", "d/11"):
        assert content(reader, FILES[path]) == bytes_of(path)


@damage
def test_a_manifest_that_lies_about_a_place_gets_no_false_byte_and_does_no_harm_to_others(store, reader):
    true = FILES["d/01"]
    for place in (
        Packed(PACK, len(DATA), 5),
        Packed(PACK, len(DATA), 3 * BLOCK_SIZE),
        Packed(PACK, len(DATA) - 1, SIZE),
    ):
        lie = Entry(true.path, true.digest, true.size, extra={"pack": place.encode()})
        if place.offset != SIZE:
            with pytest.raises(IntegrityError):
                reader.block(lie, 0)
    assert content(reader, true) == bytes_of("d/01")


def test_bytes_that_were_damaged_on_their_way_are_fetched_again(store, reader, monkeypatch):
    with damaged_on_its_way(monkeypatch):
        assert content(reader, FILES["d/00"]) == bytes_of("d/00")
    assert requests(store) == [0, 0]
    assert reader.damaged == 0


@damage
def test_a_missing_pack_is_an_integrity_error_that_names_the_file_and_is_logged_once(store, reader, caplog):
    del store.blobs[PACK]
    for _ in range(2):
        with pytest.raises(IntegrityError, match=FILES["d/03"].blob.hex):
            reader.block(FILES["d/03"], 0)
    (message,) = complaints(caplog)
    assert "d/03" in message
    store.blobs[PACK] = bytearray(DATA)
    assert content(reader, FILES["d/03"]) == bytes_of("d/03")


@damage
def test_of_a_pack_that_is_too_short_what_is_cut_is_an_integrity_error(store, reader):
    del store.blobs[PACK][3 * BLOCK_SIZE + 5 :]
    with pytest.raises(IntegrityError):
        reader.block(FILES["d/40"], 0)
    assert content(reader, FILES["d/01"]) == bytes_of("d/01")


def test_a_store_that_does_not_answer_is_told_and_the_next_read_tries_again(store, reader):
    store.failure = UnreachableError("the store is away")
    with pytest.raises(UnreachableError, match="is away"):
        reader.block(FILES["d/00"], 0)
    store.failure = None
    assert content(reader, FILES["d/00"]) == bytes_of("d/00")
    assert reader.damaged == 0


def test_what_is_damaged_in_the_cache_is_a_miss(store, new_reader):
    reader = new_reader()
    reader.block(FILES["d/00"], 0)
    kept(reader)
    path = reader._remote._cache.file(cache_name(pack_of(PACK.base64, len(DATA))), len(DATA)).path
    with path.open("r+b") as file:
        file.seek(SPANS["d/04"][0])
        file.write(b"damage")
    again = new_reader()
    assert content(again, FILES["d/04"]) == bytes_of("d/04")
    assert requests(store) == [0, 0]


@pytest.mark.expects_warning("cache")
def test_without_a_cache_everything_can_be_read_and_neighbours_come_with_one_request(store, new_reader, tmp_path):
    (tmp_path / "blocks").write_text("no directory")
    reader = new_reader()
    for path in SPANS:
        assert content(reader, FILES[path]) == bytes_of(path)
    assert len(requests(store)) == len(DATA) // BLOCK_SIZE


@pytest.mark.expects_warning("cache")
def test_where_nothing_can_be_written_everything_can_be_read(store, new_reader, monkeypatch):
    from artfs.cache.datafiles import DataFile

    def fail(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(DataFile, "write", fail)
    reader = new_reader()
    for path in SPANS:
        assert content(reader, FILES[path]) == bytes_of(path)
    assert reader.state(FILES["d/00"])[0] == "no"
    assert len(requests(store)) == len(DATA) // BLOCK_SIZE


@pytest.mark.parametrize("local", [False, True])
def test_a_file_that_lies_in_another_pack_now_is_read_there(store, new_reader, local):
    store.local = local
    store.blobs[Digest.of(MOVED)] = bytearray(MOVED)
    old, neighbour = FILES["d/00"], FILES["d/01"]
    reader = new_reader()
    assert content(reader, old) == bytes_of("d/00")
    del store.blobs[PACK]
    new = in_pack("x", bytes_of("d/00"), MOVED, 3 * BLOCK_SIZE)
    new_neighbour = in_pack("y", bytes_of("d/01"), MOVED, 3 * BLOCK_SIZE + SIZE)
    assert content(reader, new_neighbour) == bytes_of("d/01")
    again = new_reader()
    assert content(again, new) == bytes_of("d/00")
    assert content(again, new_neighbour) == content(again, neighbour)


@damage
@pytest.mark.parametrize("local", [False, True])
def test_a_file_that_is_damaged_in_one_pack_can_be_read_out_of_another(store, reader, local):
    store.local = local
    store.blobs[Digest.of(MOVED)] = bytearray(MOVED)
    store.flip(PACK, 3)
    with pytest.raises(IntegrityError):
        reader.block(FILES["d/00"], 0)
    assert content(reader, in_pack("x", bytes_of("d/00"), MOVED, 3 * BLOCK_SIZE)) == bytes_of("d/00")


def test_the_same_bytes_by_themselves_and_in_a_pack_are_one_content(store, reader):
    alone = store.add("alone", bytes_of("d/00"))
    assert content(reader, alone) == content(reader, FILES["d/00"]) == bytes_of("d/00")
    assert requests(store) == []


@damage
def test_what_is_read_of_a_pack_proves_nothing_of_a_file_with_the_same_bytes(store, reader):
    blocks = block_list_of(DATA)
    listed = Digest.of(blocks, Algorithm.BLAKE3)
    store.blobs[listed] = bytearray(blocks)
    whole = Entry(parse_entry_path("whole"), PACK.base64, len(DATA), extra=file_extra(Algorithm.MD5, block_list=listed))
    store.flip(PACK, SPANS["d/03"][0])
    assert content(reader, FILES["d/00"]) == bytes_of("d/00")
    with pytest.raises(IntegrityError):
        reader.block(whole, 0)


def test_what_is_kept_in_memory_for_a_file_is_not_the_block_that_it_came_in(store, reader, monkeypatch):
    """A reader of the beginnings of many files would else hold a block for each of them."""

    class Tracked(bytearray):
        pass

    import gc
    import weakref

    fetched, read = [], FakeSource.read

    def tracked(self, *arguments):
        data = Tracked(read(self, *arguments))
        fetched.append(weakref.ref(data))
        return data

    monkeypatch.setattr(FakeSource, "read", tracked)
    reader.block(FILES["d/00"], 0)
    for number in range(4):
        reader.release(pack_of(PACK.base64, len(DATA)), number)  # as if other blocks had come since
    gc.collect()
    assert reader.in_memory(FILES["d/00"], 0)
    assert [ref() for ref in fetched if ref() is not None] == []


def test_a_copy_never_shares_the_blocks_of_a_pack(store, reader, tmp_path):
    reader.block(FILES["d/00"], 0)
    with (tmp_path / "copy").open("w+b") as file:
        assert not reader.share(FILES["d/00"], file.fileno())


# In a store on this machine -------------------------------------------------------------------------------------------


@damage
def test_packs_in_a_store_on_this_machine_are_read_and_proven(store, reader):
    store.local = True
    store.flip(PACK, SPANS["d/03"][0] + 5)
    for path in SPANS:
        with pytest.raises(IntegrityError) if path == "d/03" else contextlib.nullcontext():
            assert content(reader, FILES[path]) == bytes_of(path)
    assert reader.state(FILES["d/00"]) == ("yes", "proven")


@damage
def test_a_pack_that_is_missing_in_a_store_on_this_machine_is_named_by_the_file(store, reader):
    store.local = True
    del store.blobs[PACK]
    with pytest.raises(IntegrityError, match=FILES["d/00"].blob.hex):
        reader.block(FILES["d/00"], 0)
