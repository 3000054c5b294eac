"""Small files go into packs: which, in what order, what is not sent again, and what happens when a pack vanishes meanwhile."""

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import BusyError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import Entry, Packed, file_extra
from artfs.model.paths import parse_entry_path
from artfs.staging.hashing import Hashed, hash_files
from artfs.staging.items import Item
from artfs.staging.packing import PACK_SIZE, SMALL, Lying, Places, groups, pack, small
from artfs.staging.progress import Progress
from artfs.staging.scan import scan
from tests.model.strategies import examples
from tests.staging.test_commit import make

HALF = SMALL // 2


def made_up(path, size, text=None):
    """Return a file that was hashed, of which nothing but path, size and digest is known."""
    item = Item(path, "file", (), local=True, mode=0o644, nlink=1, size=size, blocks=0, uid=0, gid=0,
                atime_ns=0, mtime_ns=0, ctime_ns=0)  # fmt: skip
    return Hashed(item, Entry(parse_entry_path(path), Digest.of((text or path).encode()).base64, size), b"")


def paths(group):
    return [str(one.entry.path) for one in group]


# Which files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "goes"), [(0, False), (1, True), (SMALL, True), (SMALL + 1, False)])
def test_only_files_with_bytes_and_up_to_a_quarter_of_a_block_are_small(size, goes):
    one = made_up("f", size)
    assert small([one]) == ({one.entry.blob: one} if goes else {})


def test_a_content_is_packed_once():
    one, other = made_up("a", 5, "same"), made_up("b", 5, "same")
    assert len(small([one, other])) == 1


# Groups ---------------------------------------------------------------------------------------------------------------


def test_files_are_packed_in_the_order_of_their_paths():
    found = list(groups([made_up(path, 5) for path in ("b", "a/z", "c", "a-b", "a/a")]))
    assert [paths(group) for group in found] == [["a-b", "a/a", "a/z", "b", "c"]]


def test_nothing_is_no_pack():
    assert list(groups([])) == []


def test_a_pack_is_filled_to_its_last_byte_and_no_further():
    files = [made_up(f"{number:02}", SMALL) for number in range(PACK_SIZE // SMALL)]
    assert [len(group) for group in groups(files)] == [len(files)]
    assert [len(group) for group in groups([*files, made_up("99", 1)])] == [len(files), 1]
    assert [len(group) for group in groups([*files, made_up("0", 1)])] == [len(files), 1]


@examples(60)
@given(
    st.dictionaries(
        st.text("abc/-.0", min_size=1, max_size=8).filter(
            lambda text: "//" not in text and text[0] != "/" and text[-1] != "/" and not {".", ".."} & set(text.split("/"))
        ),
        st.integers(1, SMALL) | st.sampled_from([1, SMALL]),
        max_size=120,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_groups_are_the_sorted_files_cut_where_a_pack_is_full(sizes, rng):
    files = [made_up(path, size) for path, size in sizes.items()]
    found = list(groups(files))
    assert [path for group in found for path in paths(group)] == sorted(sizes)
    totals = [sum(one.item.size for one in group) for group in found]
    assert all(0 < total <= PACK_SIZE for total in totals)
    for total, following in zip(totals, found[1:], strict=False):
        assert total + following[0].item.size > PACK_SIZE, "it would have had room"
    rng.shuffle(files)
    assert [paths(group) for group in groups(files)] == [paths(group) for group in found]


def test_the_same_files_make_the_same_packs_in_whatever_order_they_were_hashed():
    files = [made_up(path, SMALL, text) for path, text in (("a", "same"), ("m", "other"), ("z", "same"))]
    found = [[paths(group) for group in groups(small(order).values())] for order in (files, files[::-1])]
    assert found[0] == found[1]


# Packs ----------------------------------------------------------------------------------------------------------------


def hashed_of(draft, algorithm=Algorithm.MD5):
    """Hash the files of a draft, and return them by path."""
    found, _ = hash_files(draft, scan(draft.tree, Progress()).files, 2, algorithm, Progress())
    return sorted(found, key=lambda one: one.entry.path)


def taken_out(data, lying):
    place = lying.packed
    assert place.size == len(data)
    return data[place.offset :]


@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.XXH128])
def test_a_pack_is_the_files_one_after_the_other_and_is_named_by_its_md5(services, algorithm):
    files = {"a": b"one", "b/c": os.urandom(1000), "d": b"\0"}
    draft = make(services, files)
    hashed = hashed_of(draft, algorithm)
    data, places = pack(draft, hashed)
    assert data == b"".join(files.values())
    assert {one.entry.path: places[one.entry.blob] for one in hashed} == {
        "a": Lying(Packed(Digest.of(data), 1004, 0), None),
        "b/c": Lying(Packed(Digest.of(data), 1004, 3), None),
        "d": Lying(Packed(Digest.of(data), 1004, 1003), None),
    }


def test_files_of_the_same_bytes_lie_where_these_bytes_are(services):
    draft = make(services, {"a": b"same", "b": b"other", "c": b"same"})
    data, places = pack(draft, hashed_of(draft))
    assert taken_out(data, places[Digest.of(b"same")])[:4] == b"same"
    assert taken_out(data, places[Digest.of(b"other")])[:5] == b"other"
    assert len(places) == 2


def test_what_is_packed_of_a_draft_has_each_content_once(services):
    draft = make(services, {"a": b"same", "b": b"other", "c": b"same"})
    data, places = pack(draft, next(groups(small(hashed_of(draft)).values())))
    assert sorted(len(taken_out(data, lying)) for lying in places.values()) in ([4, 9], [5, 9])


def _rewrite(path):
    path.write_bytes(b"longer than before")


def _touch_other_bytes(path):
    status = path.stat()
    path.write_bytes(b"eno")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_rewrite, _touch_other_bytes, lambda path: path.unlink()])
def test_a_file_that_has_changed_since_it_was_hashed_is_named(services, change):
    draft = make(services, {"a": b"one", "d/b": b"two"})
    hashed = hashed_of(draft)
    change(Path(draft.tree.local_path("d/b")))
    with pytest.raises(BusyError, match="d/b has changed"):
        pack(draft, hashed)


def test_a_file_that_changes_as_if_it_had_not_is_found_by_its_digest(services, monkeypatch):
    draft = make(services, {"a": b"one", "b": b"two"})
    hashed = hashed_of(draft)
    monkeypatch.setattr("artfs.staging.packing.unchanged", lambda *_: True)
    Path(draft.tree.local_path("b")).write_bytes(b"owt")
    with pytest.raises(BusyError, match="b has changed"):
        pack(draft, hashed)


# Places ---------------------------------------------------------------------------------------------------------------

FILE = made_up("f", 5).entry
PLACE = Packed(Digest.of(b"pack"), 50, 3)


def places_of(*found):
    places = Places()
    places.add(dict(found))
    return places


def test_an_entry_is_named_with_its_place_and_the_version_that_has_it_there():
    named = places_of((FILE.blob, Lying(PLACE, "v0"))).named(FILE)
    assert (named.packed, named.home) == (PLACE, "v0")
    assert dataclasses.replace(named, extra={}) == FILE
    assert places_of((FILE.blob, Lying(PLACE, None))).named(dataclasses.replace(FILE, home="v1")).home == "v1"


def test_what_an_entry_says_beside_is_kept():
    one = dataclasses.replace(FILE, extra={"executable": True})
    named = places_of((FILE.blob, Lying(PLACE, None))).named(one)
    assert named.executable
    assert named.packed == PLACE
    assert one.extra == {"executable": True}


def test_what_lies_elsewhere_is_named_as_it_was():
    other = Packed(Digest.of(b"another pack"), 60, 4)
    places = places_of((FILE.blob, Lying(PLACE, "v0")))
    for one in (
        made_up("g", 5).entry,
        dataclasses.replace(FILE, ref="s3://bucket/key"),
        dataclasses.replace(FILE, extra={"pack": other.encode()}),
        dataclasses.replace(FILE, extra=file_extra(Algorithm.XXH128)),
    ):
        assert places.named(one) is one
    assert Places().named(FILE) is FILE


def test_what_is_forgotten_lies_nowhere_and_needs_no_version():
    places = places_of((FILE.blob, Lying(PLACE, "v0")), (made_up("g", 5).entry.blob, Lying(PLACE, None)))
    assert places.homes == {"v0"}
    places.forget([FILE.blob, made_up("unknown", 5).entry.blob])
    assert places.named(FILE) is FILE
    assert places.homes == frozenset()
