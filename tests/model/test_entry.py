"""Entries: one file of a version."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, MAX_SIZE, Entry, file_extra, parse_algorithm
from artfs.model.paths import parse_entry_path
from tests.model.strategies import examples

PATH = parse_entry_path("a/b")
NOTHING = Digest.of(b"")
BLOCKS = Digest.of(b"", Algorithm.BLAKE3)


def entry(**fields):
    return Entry(PATH, **{"digest": NOTHING.base64, "size": 0, **fields})


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, MAX_SIZE])
def test_a_size_is_kept(size):
    assert entry(size=size).size == size


@pytest.mark.parametrize("size", [-1, -MAX_SIZE, MAX_SIZE + 1, 1 << 64, 10**30, True, False, 0.0, 1.5, "1", None])
def test_an_impossible_size_is_refused_with_the_path(size):
    with pytest.raises(InvalidInputError, match="'a/b' has the impossible size"):
        entry(size=size)


def test_a_size_is_at_most_8_pib():
    assert entry(size=9_007_199_254_740_992).size == 1 << 53
    with pytest.raises(InvalidInputError):
        entry(size=9_007_199_254_740_993)


def test_an_entry_without_a_digest_is_refused_with_the_path():
    with pytest.raises(InvalidInputError, match="'a/b' has no digest"):
        entry(digest="")


def test_an_entry_never_changes():
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry().size = 1


def test_an_entry_is_a_plain_file_unless_it_says_otherwise():
    plain = entry()
    assert (plain.ref, plain.birth_artifact_id, plain.extra) == (None, None, {})
    assert (plain.algorithm, plain.executable, plain.block_list) == (Algorithm.MD5, False, None)
    assert plain.blob == NOTHING


def test_two_entries_do_not_share_their_extra():
    assert entry().extra is not entry().extra


@pytest.mark.parametrize(
    ("extra", "algorithm"),
    [({}, Algorithm.MD5), ({"alg": "MD5"}, Algorithm.MD5), ({"alg": "XXH128"}, Algorithm.XXH128)],
)
def test_the_extra_names_the_algorithm_and_untagged_is_md5(extra, algorithm):
    assert parse_algorithm(extra) is algorithm
    assert entry(extra=extra).blob == Digest(algorithm, NOTHING.raw)


@pytest.mark.parametrize("name", ["", "md5", "BLAKE3", "SHA256", "xxh128", None, 1, True, [], {}, ["MD5"]])
def test_an_unknown_algorithm_is_refused(name):
    with pytest.raises(InvalidInputError, match="unknown digest algorithm"):
        parse_algorithm({"alg": name})


@pytest.mark.parametrize("digest", ['"etag"', "s3://bucket/key", "AAAA"])
def test_an_opaque_digest_of_a_reference_names_no_bytes(digest):
    opaque = entry(digest=digest, ref="s3://bucket/key")
    assert opaque.digest == digest
    with pytest.raises(InvalidInputError):
        _ = opaque.blob


@pytest.mark.parametrize("value", [1, "true", "yes", [True], {}, None, False])
def test_only_true_makes_a_file_executable(value):
    assert entry(extra={"executable": True}).executable
    assert not entry(extra={"executable": value}).executable


@pytest.mark.parametrize(
    "blocks",
    [
        None,
        [],
        "BLAKE3",
        {},
        {"alg": "BLAKE3", "size": BLOCK_SIZE},
        {"alg": "BLAKE3", "size": BLOCK_SIZE, "digest": None},
        {"alg": "BLAKE3", "size": BLOCK_SIZE, "digest": 1},
        {"alg": "BLAKE3", "size": BLOCK_SIZE * 2, "digest": BLOCKS.base64},
        {"alg": "BLAKE3", "digest": BLOCKS.base64},
        {"alg": "SHA256", "size": BLOCK_SIZE, "digest": BLOCKS.base64},
        {"size": BLOCK_SIZE, "digest": BLOCKS.base64},
    ],
)
def test_a_block_list_of_another_kind_is_not_used(blocks):
    assert entry(extra={"blocks": blocks}).block_list is None


@pytest.mark.parametrize("digest", ["", "?", NOTHING.base64, BLOCKS.hex])
def test_a_block_list_with_a_name_that_is_no_digest_is_refused(digest):
    with pytest.raises(InvalidInputError, match="BLAKE3"):
        _ = entry(extra={"blocks": {"alg": "BLAKE3", "size": BLOCK_SIZE, "digest": digest}}).block_list


def test_a_plain_md5_file_of_one_block_needs_no_extra():
    assert file_extra(Algorithm.MD5) == {}


def test_the_extra_of_a_file_is_written_as_the_format_says():
    assert file_extra(Algorithm.XXH128, executable=True, block_list=BLOCKS) == {
        "alg": "XXH128",
        "blocks": {"alg": "BLAKE3", "size": 1048576, "digest": "rxNJufX5oaagQE3qNtzJSZvLJcmtwRK3zJqTyuQfMmI="},
        "executable": True,
    }


@given(
    st.sampled_from([Algorithm.MD5, Algorithm.XXH128]), st.booleans(), st.none() | st.binary(min_size=32, max_size=32)
)
@examples(40)
def test_what_a_file_extra_says_is_read_back(algorithm, executable, raw):
    block_list = None if raw is None else Digest(Algorithm.BLAKE3, raw)
    found = entry(extra=file_extra(algorithm, executable=executable, block_list=block_list))
    assert (found.algorithm, found.executable, found.block_list) == (algorithm, executable, block_list)
