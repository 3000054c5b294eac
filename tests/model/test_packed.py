"""Where a small file lies in a pack: what an entry says of it, and what of that is believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.entry import BLOCK_SIZE, MOST_PACKED, Entry, Packed, file_extra
from artfs.model.manifest import decode_entry, decode_manifest, encode_entry, encode_manifest
from artfs.model.paths import parse_entry_path
from tests.model.strategies import examples

DATA = b"some bytes"
LENGTH = len(DATA)
FILE = Digest.of(DATA)
PACK = Digest.of(b"a pack")
BLOCKS = Digest.of(b"blocks", Algorithm.BLAKE3)
PLACE = Packed(PACK, 100, 7)


def entry(size=LENGTH, pack=None, **fields):
    extra = {"pack": PLACE.encode() if pack is None else pack} | fields.pop("extra", {})
    return Entry(parse_entry_path("d/f"), fields.pop("digest", FILE.base64), size, extra=extra, **fields)


def said(**changes):
    return PLACE.encode() | changes


def fields_of(one):
    return json.loads(encode_entry(one))


def test_an_entry_says_where_its_bytes_are():
    assert entry().packed == Packed(PACK, 100, 7)
    assert PLACE.encode() == {"digest": PACK.base64, "size": 100, "offset": 7}


def test_what_is_stored_of_a_packed_file_is_the_pack_and_not_the_file():
    assert entry().stored == (PACK,)


def test_what_is_stored_of_any_other_file_is_the_file_with_its_block_list():
    path, big = parse_entry_path("d/f"), file_extra(Algorithm.MD5, block_list=BLOCKS)
    assert Entry(path, FILE.base64, 5).stored == (FILE,)
    assert Entry(path, FILE.base64, 0).stored == (FILE,)
    assert Entry(path, FILE.base64, BLOCK_SIZE + 1, extra=big).stored == (FILE, BLOCKS)
    assert Entry(path, "etag", 5, ref="s3://bucket/key").stored == ()


def test_a_file_without_a_pack_lies_by_itself():
    assert Entry(parse_entry_path("f"), FILE.base64, 5).packed is None
    assert Entry(parse_entry_path("f"), FILE.base64, 5, extra={"executable": True}).packed is None


def test_a_reference_lies_in_no_pack_whatever_it_says():
    reference = entry(ref="s3://bucket/key")
    assert reference.packed is None
    assert PACK not in reference.stored


@pytest.mark.parametrize("size", [0, BLOCK_SIZE + 1])
def test_an_empty_or_a_big_file_lies_in_no_pack_whatever_it_says(size):
    one = entry(size, pack=said(size=2 * BLOCK_SIZE))
    assert one.packed is None
    assert one.stored == (FILE,)


@pytest.mark.parametrize("size", [1, BLOCK_SIZE])
def test_a_file_of_up_to_one_block_may_lie_in_a_pack(size):
    assert entry(size, pack=said(size=2 * BLOCK_SIZE)).packed == Packed(PACK, 2 * BLOCK_SIZE, 7)


@pytest.mark.parametrize(
    "pack",
    [
        None, True, 5, "text", [], [PACK.base64, 100, 7], {},
        {"size": 100, "offset": 7}, {"digest": PACK.base64, "offset": 7}, {"digest": PACK.base64, "size": 100},
        said(digest=None), said(digest=5), said(digest=[PACK.base64]),
        said(size="100"), said(size=100.0), said(size=True), said(size=None), said(size=-100),
        said(offset="7"), said(offset=7.0), said(offset=False), said(offset=None), said(offset=-1),
    ],
)  # fmt: skip
def test_what_is_no_place_in_a_pack_is_as_if_nothing_was_said(pack):
    one = Entry(parse_entry_path("d/f"), FILE.base64, len(DATA), extra={"pack": pack})
    assert one.packed is None
    assert one.stored == (FILE,)
    assert decode_entry("d/f", fields_of(one)) == one


IMPOSSIBLE = [
    said(offset=91),  # the file would end one byte behind the pack
    said(offset=100),
    said(size=16),
    said(size=0, offset=0),
    said(size=MOST_PACKED + 1),
    said(offset=1 << 200),
    said(size=1 << 200),
    said(digest=""),
    said(digest="no digest"),
    said(digest=PACK.base64[:-4]),
    said(digest=BLOCKS.base64),
]


@pytest.mark.parametrize("pack", IMPOSSIBLE)
def test_a_place_that_cannot_be_is_refused_with_the_path_when_a_manifest_is_read(pack):
    with pytest.raises(InvalidInputError, match="manifest entry 'd/f'"):
        decode_entry("d/f", fields_of(entry(pack=pack)))
    manifest = b"".join(encode_manifest([entry(pack=pack)]))
    with pytest.raises(InvalidInputError, match="manifest entry 'd/f'"):
        list(decode_manifest([manifest]))


@pytest.mark.parametrize("pack", IMPOSSIBLE)
@pytest.mark.parametrize("kind", [{"ref": "s3://bucket/key"}, {"size": BLOCK_SIZE + 1}, {"size": 0}])
def test_a_place_that_cannot_be_is_ignored_where_no_pack_is_looked_for(pack, kind):
    one = entry(pack=pack, **kind)
    assert decode_entry("d/f", fields_of(one)) == one


@pytest.mark.parametrize(
    "pack",
    [said(offset=90), said(offset=0), said(size=MOST_PACKED, offset=MOST_PACKED - len(DATA)), said(size=10, offset=0)],
)
def test_a_place_at_the_edges_of_a_pack_is_taken(pack):
    found = decode_entry("d/f", fields_of(entry(pack=pack))).packed
    assert found == Packed(PACK, pack["size"], pack["offset"])


def test_what_else_is_said_of_a_pack_is_kept_and_ignored():
    one = entry(pack=said(made_by="tomorrow"))
    found = decode_entry("d/f", fields_of(one))
    assert found.packed == PLACE
    assert found.extra == one.extra


@st.composite
def packed_entries(draw):
    size = draw(st.sampled_from([1, BLOCK_SIZE]) | st.integers(1, BLOCK_SIZE))
    before, after = draw(st.integers(0, 8 * BLOCK_SIZE)), draw(st.integers(0, 8 * BLOCK_SIZE))
    algorithm = draw(st.sampled_from([Algorithm.MD5, Algorithm.XXH128]))
    digest = draw(st.binary(min_size=16, max_size=16))
    place = Packed(Digest(Algorithm.MD5, digest[::-1]), before + size + after, before)
    extra = file_extra(algorithm, executable=draw(st.booleans())) | {"pack": place.encode()}
    path = f"f{draw(st.integers(0, 10**6))}"
    return Entry(parse_entry_path(path), Digest(algorithm, digest).base64, size, extra=extra), place


@examples(50)
@given(st.lists(packed_entries(), min_size=1, max_size=6, unique_by=lambda found: found[0].path))
def test_a_manifest_keeps_every_place(found):
    found = sorted(found, key=lambda pair: pair[0].path)
    written = b"".join(encode_manifest(one for one, _ in found))
    read = list(decode_manifest([written]))
    assert read == [one for one, _ in found]
    assert [one.packed for one in read] == [place for _, place in found]
    assert [one.stored for one in read] == [(place.pack,) for _, place in found]
    assert b"".join(encode_manifest(read)) == written


@examples(25)
@given(packed_entries())
def test_where_a_file_lies_is_no_part_of_the_digest_of_a_version(found):
    one, _ = found
    extra = {key: value for key, value in one.extra.items() if key != "pack"}
    alone = Entry(one.path, one.digest, one.size, extra=extra)
    manifests = [b"".join(encode_manifest([entry])) for entry in (one, alone)]
    assert manifests[0] != manifests[1]
    digests = {
        version_digest((str(entry.path), entry.digest) for entry in decode_manifest([manifest]))
        for manifest in manifests
    }
    assert len(digests) == 1
    assert one.blob == alone.blob
