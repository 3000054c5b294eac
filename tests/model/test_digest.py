"""Digests of bytes and of versions."""

import base64
import dataclasses
import hashlib

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest, version_digest
from tests.model.strategies import examples, texts

RAW = bytes(range(0xF0, 0x100))  # "8PHy8/T19vf4+fr7/P3+/w==": both signs of the alphabet, and padding

KNOWN = [
    (Algorithm.MD5, b"", "d41d8cd98f00b204e9800998ecf8427e"),
    (Algorithm.MD5, b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    (Algorithm.XXH128, b"", "99aa06d3014798d86001c324468d497f"),
    (Algorithm.XXH128, b"abc", "06b05ab6733a618578af5f94892f3950"),
    (Algorithm.BLAKE3, b"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    (Algorithm.BLAKE3, b"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
]


@pytest.mark.parametrize(("algorithm", "data", "answer"), KNOWN)
def test_each_algorithm_gives_its_published_answers(algorithm, data, answer):
    assert Digest.of(data, algorithm).hex == answer


def test_the_name_of_an_algorithm_in_a_store_never_changes():
    assert [algorithm.value for algorithm in Algorithm] == ["md5", "xxh128", "blake3"]


def test_bytes_are_named_by_their_md5_unless_another_algorithm_is_asked_for():
    assert Digest.of(b"abc").algorithm is Algorithm.MD5
    assert Digest.of(b"abc").base64 == "kAFQmDzST7DWlj99KOF/cg=="


@given(st.lists(st.binary(max_size=300)), st.sampled_from(Algorithm), st.sampled_from([bytes, bytearray, memoryview]))
@examples(60)
def test_bytes_hashed_in_pieces_have_the_digest_of_the_whole(pieces, algorithm, kind):
    hasher = algorithm.hasher()
    for piece in pieces:
        hasher.update(kind(piece))
    assert Digest(algorithm, hasher.digest()) == Digest.of(kind(b"".join(pieces)), algorithm)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_two_hashers_of_an_algorithm_share_nothing(algorithm):
    first, second = algorithm.hasher(), algorithm.hasher()
    first.update(b"abc")
    assert Digest(algorithm, second.digest()) == Digest.of(b"", algorithm)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_digest_has_the_length_of_its_algorithm(algorithm):
    assert len(Digest.of(b"", algorithm).raw) == algorithm.size
    for length in {0, 15, 16, 17, 31, 32, 33} - {algorithm.size}:
        with pytest.raises(
            InvalidInputError, match=f"{algorithm.name} digest has {algorithm.size} bytes, not {length}"
        ):
            Digest(algorithm, bytes(length))


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Algorithm))
@examples(60)
def test_every_digest_is_read_back_from_both_of_its_texts(raw, algorithm):
    digest = Digest(algorithm, raw[: algorithm.size])
    assert Digest.from_base64(digest.base64, algorithm) == digest
    assert Digest.from_hex(digest.hex, algorithm) == digest


def test_the_texts_of_a_digest_are_those_of_manifests_and_of_file_names():
    digest = Digest(Algorithm.MD5, RAW)
    assert digest.base64 == "8PHy8/T19vf4+fr7/P3+/w=="
    assert digest.hex == "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    assert str(digest) == "md5:f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "====",
        "8PHy8/T19vf4+fr7/P3+/w",
        "8PHy8/T19vf4+fr7/P3+/w=",
        "8PHy8/T19vf4+fr7/P3+/w===",
        "8PHy8/T19vf4+fr7/P3+/w==\n",
        " 8PHy8/T19vf4+fr7/P3+/w==",
        "8PHy8/T19vf4\n+fr7/P3+/w==",
        "8PHy8_T19vf4-fr7_P3-_w==",
        "8PHy8/T19vf4+fr7/P3+/x==",
        "8PHy8/T19vf4+fr7/P3+/w==8PHy8/T19vf4+fr7/P3+/w==",
        "8PHy8/T19vf4+fr7/P3+",
        "8PHy8/T19vf4+fr7/P3+/w==é",
        "\ud800",
        "\0",
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    ],
)
def test_a_text_that_is_no_base64_digest_is_refused(text):
    with pytest.raises(InvalidInputError):
        Digest.from_base64(text)


@given(st.integers(0, 23), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
@examples(300)
def test_no_digest_has_a_second_base64_text(at, char):
    text = Digest(Algorithm.MD5, RAW).base64
    changed = text[:at] + char + text[at + 1 :]
    try:
        digest = Digest.from_base64(changed)
    except InvalidInputError:
        return
    assert digest.base64 == changed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f0",
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfef",
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00",
        "F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF",
        "f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff",
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\n",
        "g0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "8PHy8/T19vf4+fr7/P3+/w==",
        "\ud800",
    ],
)
def test_a_text_that_is_no_hex_digest_is_refused(text):
    with pytest.raises(InvalidInputError):
        Digest.from_hex(text)


def test_a_text_of_one_algorithm_is_refused_as_one_of_another_length():
    with pytest.raises(InvalidInputError, match="BLAKE3"):
        Digest.from_base64(Digest(Algorithm.MD5, RAW).base64, Algorithm.BLAKE3)
    with pytest.raises(InvalidInputError, match="XXH128"):
        Digest.from_hex(Digest.of(b"", Algorithm.BLAKE3).hex, Algorithm.XXH128)


def test_equal_values_of_two_algorithms_are_two_digests():
    assert Digest(Algorithm.MD5, RAW) != Digest(Algorithm.XXH128, RAW)
    assert len({Digest(Algorithm.MD5, RAW), Digest(Algorithm.XXH128, RAW), Digest(Algorithm.MD5, RAW)}) == 2


def test_a_digest_never_changes():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Digest(Algorithm.MD5, RAW).raw = bytes(16)


def test_an_empty_version_has_the_digest_of_the_header():
    header = b"wandb-artifact-manifest-v1\n"
    assert version_digest([]) == hashlib.md5(header).hexdigest()
    assert version_digest([], Algorithm.XXH128) == xxhash.xxh128(header).hexdigest()


@given(
    st.dictionaries(
        texts(min_size=1, max_size=9), st.binary(max_size=9).map(lambda raw: base64.b64encode(raw).decode())
    )
)
@examples(60)
def test_a_version_has_the_digest_of_its_sorted_paths_and_digests(lines):
    stream = "wandb-artifact-manifest-v1\n" + "".join(f"{path}:{lines[path]}\n" for path in sorted(lines))
    assert version_digest(sorted(lines.items())) == hashlib.md5(stream.encode()).hexdigest()
    assert version_digest(iter(sorted(lines.items())), Algorithm.XXH128) == xxhash.xxh128(stream.encode()).hexdigest()


def test_another_path_or_another_digest_or_one_entry_more_is_another_version():
    versions = [[], [("a", "x")], [("b", "x")], [("a", "y")], [("a", "x"), ("b", "x")]]
    assert len({version_digest(lines) for lines in versions}) == len(versions)
