"""The compiled index of a manifest."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artfs.cache import compile as compile_module
from artfs.cache.index import Indexes
from artfs.errors import IntegrityError, InvalidInputError, NotFoundError
from artfs.model.digest import Digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.paths import parse_entry_path

NOTHING = Digest.of(b"").base64


def entry(path, size=0, **fields):
    return Entry(parse_entry_path(path), NOTHING, size, **fields)


def manifest_of(*entries):
    return b"".join(encode_manifest(sorted(entries, key=lambda one: one.path)))


def open_index(directory, data, chunk=1 << 16, digest=None):
    pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return Indexes(directory).open(digest or Digest.of(data), len(data), lambda: iter(pieces))


def test_every_entry_is_found_by_path_by_number_and_in_its_directory(tmp_path):
    entries = [entry("a/b/c.txt", 3), entry("a-b", 1), entry("a/d", 2, extra={"executable": True}), entry("z", 4)]
    index = open_index(tmp_path, manifest_of(*entries))
    assert (index.file_count, index.size) == (4, 10)
    for one in entries:
        node = index.find(one.path)
        assert index.entry(node.number) == one
        assert index.node(node.number) == node
        assert node in index.children(node.parent)
        assert index.path(node.number) == one.path
    assert index.find("a/d").executable
    assert [node.name for node in index.children(0)] == ["a", "a-b", "z"]
    assert index.find("a").size == 1  # one directory in it
    assert index.find("a/nothing") is None
    assert index.find("z/nothing") is None


def test_entries_below_a_node_are_listed_alone(tmp_path):
    index = open_index(tmp_path, manifest_of(entry("a/b/c"), entry("a/d"), entry("e")))
    assert {one.path for one in index.entries(index.find("a").number)} == {"a/b/c", "a/d"}
    assert [one.path for one in index.entries(index.find("e").number)] == ["e"]


def test_a_listing_goes_on_where_it_stopped(tmp_path):
    index = open_index(tmp_path, manifest_of(*(entry(f"f{number:03}") for number in range(100))))
    seen, after = [], -1
    while nodes := index.children(0, after, 7):
        seen += [node.name for node in nodes]
        after = nodes[-1].number
    assert seen == [f"f{number:03}" for number in range(100)]


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 255
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(paths=st.sets(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=20))
def test_an_index_holds_exactly_what_its_manifest_lists(tmp_path, paths):
    files = {path for path in paths if not path.startswith("/") and path[1:2] != ":"}
    files = {path for path in files if not any(other.startswith(path + "/") for other in files)}
    data = manifest_of(*(entry(path) for path in files))
    index = open_index(tmp_path, data)
    assert {one.path for one in index.entries()} == {parse_entry_path(path) for path in files}


def test_numbers_are_the_same_on_every_machine(tmp_path):
    data = manifest_of(entry("b/x"), entry("a/y"), entry("c"))
    first, second = open_index(tmp_path / "1", data), open_index(tmp_path / "2", data, chunk=3)
    for path in ("a", "a/y", "b", "b/x", "c"):
        assert first.find(path) == second.find(path)


def test_a_path_that_is_a_file_and_a_directory_is_refused_and_leaves_nothing(tmp_path):
    for entries in (["a", "a/b"], ["a/b", "a/b/c/d"]):
        with pytest.raises(InvalidInputError, match="twice, or as a file and a directory"):
            open_index(tmp_path, manifest_of(*map(entry, entries)))
    assert not list(tmp_path.rglob("*.sqlite"))


def test_two_spellings_of_one_path_are_refused(tmp_path):
    data = manifest_of(entry("a/b")).replace(b'"a/b":', b'"a//b":{"digest":"%s","size":0},"a/b":' % NOTHING.encode())
    with pytest.raises(InvalidInputError, match="'a/b'"):
        open_index(tmp_path, data)


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(tmp_path):
    data = manifest_of(entry("a", 1))
    with pytest.raises(IntegrityError, match="damaged"):
        open_index(tmp_path, data.replace(b'"size":1', b'"size":2'), digest=Digest.of(data))


@pytest.mark.parametrize("damage", [b"", b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_index_is_compiled_anew(tmp_path, damage):
    data = manifest_of(entry("a", 1))
    open_index(tmp_path, data)
    (path,) = tmp_path.rglob("*.sqlite")
    path.write_bytes(damage)
    assert open_index(tmp_path, data).find("a").size == 1


def test_an_index_survives_its_file(tmp_path):
    data = manifest_of(entry("a", 1))
    index = open_index(tmp_path, data)
    for path in tmp_path.rglob("*.sqlite"):
        path.unlink()
    assert index.find("a").size == 1
    assert [one.path for one in open_index(tmp_path, data).entries()] == ["a"]


def test_a_small_index_needs_its_file_no_more_once_it_is_open(tmp_path):
    entries = [entry(f"d/{number:03}", number) for number in range(300)]
    index = open_index(tmp_path, manifest_of(*entries))
    (file,) = tmp_path.rglob("*.sqlite")
    file.write_bytes(bytes(file.stat().st_size))
    assert index.entry(index.find("d/299").number) == entries[299]
    assert list(index.entries()) == entries
    assert [line.path for line in index.lines()] == [one.path for one in entries]


def test_an_index_is_not_compiled_twice(tmp_path):
    data = manifest_of(entry("a"))
    open_index(tmp_path, data)
    indexes = Indexes(tmp_path)
    index = indexes.open(Digest.of(data), len(data), lambda: pytest.fail("read again"))
    assert indexes.get(Digest.of(data)) is index


def test_a_big_manifest_is_compiled_by_another_process_with_the_same_result(tmp_path, monkeypatch):
    data = manifest_of(*(entry(f"d{number % 7}/f{number}", number) for number in range(300)))
    here = open_index(tmp_path / "here", data)
    monkeypatch.setattr(compile_module, "_IN_PROCESS_LIMIT", 0)
    there = open_index(tmp_path / "there", data)
    assert list(here.entries()) == list(there.entries())
    with pytest.raises(IntegrityError, match="damaged"):
        open_index(tmp_path / "bad", data, digest=Digest.of(b"other"))
    with pytest.raises(InvalidInputError, match="JSON"):
        open_index(tmp_path / "worse", b"{")


def test_a_number_that_no_node_has_is_not_found(tmp_path):
    index = open_index(tmp_path, manifest_of(entry("d/a")))
    with pytest.raises(NotFoundError):
        index.node(99)
    with pytest.raises(NotFoundError):
        index.entry(index.find("d").number)


def test_an_index_of_another_format_is_a_miss(tmp_path):
    data = manifest_of(entry("a"))
    open_index(tmp_path, data)
    (path,) = tmp_path.rglob("*.sqlite")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert open_index(tmp_path, data).find("a") is not None


def test_an_index_that_is_damaged_anywhere_is_compiled_again(tmp_path):
    data = manifest_of(*(entry(f"d{number % 7}/f{number:03}", number) for number in range(300)))
    open_index(tmp_path, data)
    (path,) = tmp_path.rglob("*.sqlite")
    good = path.read_bytes()
    for at in [*range(0, len(good), len(good) // 40), len(good) - 1]:
        damaged = bytearray(good)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        assert len(list(open_index(tmp_path, data).entries())) == 300
        assert path.read_bytes() == good
    path.write_bytes(good[: len(good) // 2])
    assert open_index(tmp_path, data).file_count == 300
