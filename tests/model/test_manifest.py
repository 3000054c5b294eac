"""Manifest v1, written and read as streams; a manifest is untrusted until its last byte."""

import dataclasses
import itertools
import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model import manifest as manifest_module
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, MAX_SIZE, Entry, file_extra
from artfs.model.manifest import decode_entry, decode_manifest, encode_entry, encode_manifest, storage_place
from artfs.model.paths import parse_entry_path
from tests.model.strategies import contents, entries, examples
from tests.model.test_paths import HOSTILE

NOTHING = Digest.of(b"").base64
FILE = f'{{"digest":"{NOTHING}"}}'
TOKEN = 1 << 20  # characters

# Every feature of the format in a layout that artfs would not write, with text of one to four bytes a character.
RICH = (
    ' {"version" : 1 ,\n\t"storagePolicy":"wandb-storage-policy-v1","n":-1.5e+3,"m":1E5 ,"unknown":[1.5e+3,{"x":"\\u00e9\\ud83e\\udd8a"},null,-0.1],'
    '"storagePolicyConfig":{"storageLayout":"V2","storageRegion":"default"},"contents":\r\n{ "a/b é🦊.txt":{"digest":"'
    + NOTHING
    + '","size":0,"local_path":"/tmp/x","skip_cache":false,"ref":"","birthArtifactID":"QXJ0aWZhY3Q6MTY="} , '
    '"\\u00e9\\ud83e\\udd8a\\n\\"\\\\":{"size":12,"extra":{"alg":"XXH128","n":[1e-2,true]},"digest":"fVls5fyrr2IqIwC71+pumg=="},'
    '"r":{"digest":"é🦊\\ud83e\\udd8a","ref":"s3://bucket/日本","size":null,"extra":null,"birthArtifactID":null}}} \n'
).encode()  # fmt: skip
RICH_ENTRIES = [
    Entry(parse_entry_path("a/b é🦊.txt"), NOTHING, 0, None, "QXJ0aWZhY3Q6MTY="),
    Entry(parse_entry_path('é🦊\n"\\'), "fVls5fyrr2IqIwC71+pumg==", 12, extra={"alg": "XXH128", "n": [0.01, True]}),
    Entry(parse_entry_path("r"), "é🦊🦊", 0, "s3://bucket/日本"),
]


def manifest(members, version="1"):
    """Return the text of a manifest whose ``contents`` has this text between its braces."""
    return f'{{"version":{version},"contents":{{{members}}}}}'


def decode(document, *cuts):
    data = document if isinstance(document, bytes) else document.encode()
    places = [0, *sorted(cuts), len(data)]
    return list(decode_manifest(data[start:end] for start, end in itertools.pairwise(places)))


def outcome(document, *cuts):
    """Return the entries, or None if the manifest is refused. Any other error is an error of the test."""
    try:
        return decode(document, *cuts)
    except InvalidInputError:
        return None


def written(found):
    return b"".join(encode_manifest(found))


def refuse(document, reason=None):
    """Check that a manifest is refused for the reason, whole and byte by byte."""
    data = document if isinstance(document, bytes) else document.encode()
    with pytest.raises(InvalidInputError, match=reason):
        decode(data)
    if len(data) < 5000:
        with pytest.raises(InvalidInputError):
            decode(data, *range(len(data)))


# Writing


@given(contents)
@examples(100)
def test_what_is_written_is_read_back(found):
    assert decode(written(found)) == found


@given(contents)
@examples(60)
def test_what_is_written_is_the_json_of_the_format(found):
    parsed = json.loads(written(found))
    assert list(parsed) == ["version", "storagePolicy", "storagePolicyConfig", "contents"]
    assert parsed["version"] == 1
    assert parsed["storagePolicy"] == "wandb-storage-policy-v1"
    assert parsed["storagePolicyConfig"] == {"storageLayout": "V2"}
    assert list(parsed["contents"]) == [entry.path for entry in found]
    for entry in found:
        fields = parsed["contents"][entry.path]
        assert fields.pop("digest") == entry.digest
        assert fields.pop("ref", None) == entry.ref
        assert fields.pop("size", 0) == entry.size
        assert fields.pop("birthArtifactID", None) == entry.birth_artifact_id
        assert fields.pop("extra", {}) == entry.extra
        assert fields == {}


def test_only_what_differs_from_its_default_is_written():
    path = parse_entry_path("a")
    assert encode_entry(Entry(path, NOTHING, 0)) == f'{{"digest":"{NOTHING}","size":0}}'
    assert encode_entry(Entry(path, "etag", 0, "s3://b/k")) == '{"digest":"etag","ref":"s3://b/k"}'
    assert encode_entry(Entry(path, "etag", 7, "s3://b/k", "id", {"etag": "x"})) == (
        '{"digest":"etag","ref":"s3://b/k","size":7,"birthArtifactID":"id","extra":{"etag":"x"}}'
    )


def test_the_same_entries_are_always_the_same_bytes():
    found = [Entry(parse_entry_path("a é"), NOTHING, 0), Entry(parse_entry_path("b"), "etag", 0, "s3://b/k")]
    assert written(iter(found)).decode() == (
        '{"version":1,"storagePolicy":"wandb-storage-policy-v1","storagePolicyConfig":{"storageLayout":"V2"},"contents":{\n'
        f'"a é":{{"digest":"{NOTHING}","size":0}},\n'
        '"b":{"digest":"etag","ref":"s3://b/k"}\n'
        "}}\n"
    )


def test_a_version_without_files_has_a_manifest():
    assert json.loads(written([]))["contents"] == {}
    assert decode(written([])) == []


def many(count):
    for number in range(count):
        yield Entry(parse_entry_path(f"dir/{number:06}"), NOTHING, number)


def test_a_big_manifest_is_written_in_pieces_of_about_64_kib():
    pieces = list(encode_manifest(many(5000)))
    assert len(pieces) == len(b"".join(pieces)) // (1 << 16) + 1
    assert all(1 << 16 < len(piece) < (1 << 16) + 300 for piece in pieces[:-1])
    assert decode(b"".join(pieces)) == list(many(5000))


def test_a_piece_is_written_before_the_last_entry_is_known():
    source = many(100_000)
    next(encode_manifest(source))
    assert next(source).size < 1500


def test_a_number_that_json_cannot_hold_is_not_written():
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            written([Entry(parse_entry_path("a"), NOTHING, 0, extra={"x": number})])


# Reading


def test_any_layout_of_the_json_is_read():
    assert decode(RICH) == RICH_ENTRIES


@given(contents, st.sampled_from([None, 0, 3, "\t"]), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
@examples(100)
def test_entries_are_read_in_the_order_of_the_file_whatever_its_layout(found, indent, ascii_only, tight, random):
    random.shuffle(found)
    members = [
        ("version", 1),
        ("contents", {entry.path: json.loads(encode_entry(entry)) for entry in found}),
        ("storagePolicy", "wandb-storage-policy-v1"),
        ("later", {"contents": {"a": 1}}),
    ]
    random.shuffle(members)
    separators = (",", ":") if tight else None
    document = json.dumps(dict(members), indent=indent, ensure_ascii=ascii_only, separators=separators)
    assert decode(document) == found


@pytest.mark.parametrize("cut", range(len(RICH) + 1))
def test_a_cut_anywhere_changes_nothing(cut):
    assert decode(RICH, cut) == RICH_ENTRIES
    assert decode(RICH, cut, cut) == RICH_ENTRIES


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_small_chunks_change_nothing(length):
    assert decode(RICH, *range(0, len(RICH), length)) == RICH_ENTRIES


SNIPPETS = [
    "{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "\\ud800", "\\u0000", "\n", " ", "-", "1", "0", "1e", "1.", "1e5", "1e999",
    "9" * 40, "9" * 5000, "null", "true", "false", "NaN", "-Infinity", '""', "{}", "[]", "..", "/", "🦊",
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b"\xf0\x9f",
    "[" * 3000, '"size":', '"digest":', '"contents":', '"version":1,', '"extra":{"alg":"XXH128"},', FILE,
]  # fmt: skip


@st.composite
def documents(draw, most=3):
    """Draw a manifest, then break it in a few places."""
    data = draw(st.just(RICH) | contents.map(written))
    for _ in range(draw(st.integers(0, most))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.sampled_from([start, start, start + 1, start + 2, start + 9, len(data)]))
        new = draw(st.just(b"") | st.sampled_from(SNIPPETS) | st.binary(max_size=2))
        data = data[:start] + (new if isinstance(new, bytes) else new.encode()) + data[end:]
    return data


@given(documents(), st.data())
@examples(300)
def test_good_or_bad_a_manifest_is_judged_alike_however_it_is_cut(document, data):
    whole = outcome(document)
    cuts = data.draw(st.lists(st.integers(0, len(document)), max_size=6))
    assert outcome(document, *cuts) == whole
    assert outcome(document, *range(0, len(document), 1 + len(document) // 50)) == whole


@given(documents(most=1))
@examples(100)
def test_what_is_read_of_any_manifest_can_be_written_and_read_again(document):
    found = outcome(document)
    assume(found)
    assert decode(written(found)) == found


@pytest.mark.parametrize("length", range(len(RICH.rstrip())))
def test_a_manifest_that_ends_too_early_is_refused(length):
    with pytest.raises(InvalidInputError):
        decode(RICH[:length])


def test_the_white_space_at_the_end_may_be_missing():
    assert decode(RICH.rstrip()) == RICH_ENTRIES


def test_a_written_manifest_that_ends_too_early_is_refused():
    data = written(RICH_ENTRIES)
    assert [length for length in range(len(data) + 1) if outcome(data[:length]) is not None] == [
        len(data) - 1,
        len(data),
    ]


def test_entries_come_before_the_last_chunk_is_asked_for():
    pieces = list(encode_manifest(many(5000)))
    taken = []
    chunks = (taken.append(place) or piece for place, piece in enumerate(pieces))
    reader = decode_manifest(chunks)
    assert next(reader).path == "dir/000000"
    assert taken == [0]
    assert sum(1 for _ in reader) == 4999
    assert taken == list(range(len(pieces)))


def test_nothing_is_held_of_what_was_read():
    length = 1 << 16
    window = manifest_module._Window(
        itertools.chain([b"{"], itertools.repeat(b'"k":1,' + b" " * length, 100), [b'"k":1}'])
    )
    for _ in window.members():
        window.value()
        assert len(window._text) <= 2 * length


def test_two_entries_with_one_path_are_left_to_who_holds_them_all():
    assert [entry.path for entry in decode(manifest(f'"a//b":{FILE},"a":{FILE},"a/b":{FILE}'))] == ["a/b", "a", "a/b"]


# Hostile: the document


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" \n",
        b"null",
        b"1",
        b'"version"',
        b"[]",
        b"[" + RICH + b"]",
        b"{",
        b"}",
        b"{]",
        b"\xef\xbb\xbf" + RICH,
        RICH.decode().encode("utf-16"),
        RICH.decode().encode("utf-16-le"),
        b"\0" + RICH,
        RICH + b"\0",
        RICH + b"x",
        RICH + b"{}",
        RICH + b",",
        RICH + RICH,
        RICH.replace(b'{"version" :', b'{,"version" :'),
        RICH.replace(b"}}} \n", b"}},} \n"),
        RICH.replace(b"}}} \n", b"},}} \n"),
        RICH.replace(b'"version" :', b"version :"),
        RICH.replace(b'"version" :', b"'version' :"),
        RICH.replace(b'"version" : 1', b'"version" , 1'),
        RICH.replace(b'"version" : 1 ,', b'"version" : 1 ;'),
        RICH.replace(b'"version" : 1 ,', b'"version" : 1 '),
        RICH.replace(b"\n\t", b"\x0c"),
        RICH.replace(b"\n\t", b"\xc2\xa0"),
        RICH.replace(b"\n\t", b"/* x */"),
        RICH.replace(b"/tmp/x", b"/tmp/\n"),
        RICH.replace(b"/tmp/x", b"/tmp/\\x"),
    ],
)
def test_what_is_not_one_json_object_in_utf8_is_refused(document):
    assert document != RICH
    refuse(document)


@pytest.mark.parametrize(
    "char", [chr(code) for code in range(128) if chr(code) not in " \t\n\r,"] + ["\x85", "\xa0", "\u2028", "\u3000"]
)
def test_nothing_but_the_four_white_spaces_of_json_may_stand_between_its_parts(char):
    for before, after in ((b"1 ", b","), (b"", b'"storagePolicy"'), (b"", b'{ "a/b'), (b"}} ", b"\n")):
        assert RICH.count(before + after) == 1
        refuse(RICH.replace(before + after, before + char.encode() + after))


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff", b"\xfe", b"\x80", b"\xc3", b"\xc0\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\xa6", b"\xf4\x90\x80\x80"
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", [b"b \xc3\xa9", b"/tmp/x", b'"unknown"', b"\n\t", b"}} \n"])
def test_bytes_that_are_not_utf8_are_refused_anywhere(broken, where):
    assert RICH.count(where) == 1
    refuse(RICH.replace(where, broken + where))
    refuse(RICH.replace(where, where + broken))


HALF = r"\ud800"


@pytest.mark.parametrize("half", [HALF, r"\udfff", r"\uDC80", r"\udd8a\ud83e", r"x\ud83e", r"\ud83e\n"])
@pytest.mark.parametrize(
    "document",
    [
        manifest(f'"a{HALF}":{FILE}'),
        manifest(f'"a":{{"digest":"{HALF}","ref":"s3://b/k"}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/{HALF}"}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/k","birthArtifactID":"{HALF}"}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/k","extra":{{"{HALF}":1}}}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/k","extra":{{"x":[{{"y":"{HALF}"}}]}}}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/k","extra":{{"alg":"{HALF}"}}}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/k","local_path":"{HALF}"}}'),
        manifest(f'"a":{{"digest":"e","ref":"s3://b/k","{HALF}":0}}'),
        f'{{"{HALF}":0,"version":1,"contents":{{}}}}',
        f'{{"unknown":["{HALF}"],"version":1,"contents":{{}}}}',
        f'{{"storagePolicyConfig":{{"storageRegion":"{HALF}"}},"version":1,"contents":{{}}}}',
    ],
)
def test_half_a_surrogate_pair_is_refused_anywhere(document, half):
    refuse(document.replace(HALF, half))


def test_a_whole_surrogate_pair_is_one_character():
    document = manifest(
        r'"\ud83e\udd8a":{"digest":"\uD83E\uDD8A","ref":"x://\u00e9","extra":{"\ud83e\udd8a":"\ud83e\udd8a"}}'
    )
    expected = [Entry(parse_entry_path("🦊"), "🦊", 0, "x://é", extra={"🦊": "🦊"})]
    assert decode(document) == expected
    assert decode(document, *range(len(document))) == expected


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400 + ".0", "9" * 5000]
)
@pytest.mark.parametrize(
    "document",
    [
        manifest('"a":{"digest":"e","ref":"x://","extra":{"n":[NUMBER]}}'),
        manifest('"a":{"digest":"e","ref":"x://","size":NUMBER}'),
        manifest('"a":{"digest":"e","ref":"x://","unknown":NUMBER}'),
        manifest('"a":NUMBER'),
        '{"version":NUMBER,"contents":{}}',
        '{"version":1,"unknown":NUMBER,"contents":{}}',
    ],
)
def test_a_number_that_no_json_can_carry_is_refused_anywhere(document, number):
    with pytest.raises(InvalidInputError):
        decode(document.replace("NUMBER", number))


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
@pytest.mark.parametrize(
    "document", [manifest('"a":{"digest":"e","ref":"x://","extra":{"deep":DEEP'), '{"version":1,"unknown":DEEP']
)
def test_a_value_that_is_nested_too_deeply_is_refused(document, opening):
    data = document.replace("DEEP", opening * 100_000).encode()
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        decode(data)
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        decode(data, *range(0, len(data), 1000))


@pytest.mark.parametrize(
    "document",
    [
        f'{{"version":1,"version":1,"contents":{{"a":{FILE}}}}}',
        f'{{"version":1,"contents":{{"a":{FILE}}},"contents":{{"a":{FILE}}}}}',
        f'{{"version":1,"contents":{{}},"\\u0063ontents":{{"a":{FILE}}}}}',
        '{"version":1,"contents":{},"x":1,"x":1}',
        '{"version":1,"contents":{},"x":{"y":[{"z":1,"z":2}]}}',
        manifest(f'"a":{{"digest":"{NOTHING}","digest":"{NOTHING}"}}'),
        manifest(f'"a":{{"digest":"{NOTHING}","size":1,"\\u0073ize":2}}'),
        manifest(f'"a":{{"digest":"{NOTHING}","extra":{{"x":{{"y":1,"y":1}}}}}}'),
    ],
)
def test_a_key_that_comes_twice_is_refused(document):
    refuse(document, "twice")


@pytest.mark.parametrize("missing", ["version", "contents"])
def test_a_manifest_without_a_version_or_contents_is_refused(missing):
    members = {"version": 1, "contents": {}}
    del members[missing]
    refuse(json.dumps(members), f"no '{missing}'")
    refuse("{}", "no 'version'")


@pytest.mark.parametrize("version", ["0", "2", "-1", "1.5", '"1"', "null", "true", "[]", "[1]", "{}", "10", "1e1"])
def test_another_version_of_the_format_is_refused(version):
    refuse(manifest("", version), "version")


@pytest.mark.parametrize("value", ["null", "[]", "1", "true", '"a"', '[{"a":1}]'])
def test_contents_that_are_no_object_are_refused(value):
    refuse(f'{{"version":1,"contents":{value}}}', "JSON")


@pytest.mark.parametrize(
    "value", ['"wandb-storage-policy-v2"', '""', "null", "1", "[]", "{}", '["wandb-storage-policy-v1"]']
)
def test_an_unknown_storage_policy_is_refused(value):
    refuse(f'{{"version":1,"storagePolicy":{value},"contents":{{}}}}', "storage policy")


@pytest.mark.parametrize(
    "config", ["null", "{}", '{"storageLayout":"V1"}', '{"storageLayout":"V2","storageRegion":"x"}']
)
def test_both_storage_layouts_are_known(config):
    assert decode(f'{{"version":1,"storagePolicyConfig":{config},"contents":{{}}}}') == []


@pytest.mark.parametrize(
    "config",
    ["[]", "1", "true", '"V1"', '"V3"', '["V1"]']
    + [f'{{"storageLayout":{layout}}}' for layout in ('"V3"', '"v1"', "null", "1", "[]", '["V1"]', "{}", '{"V1":1}')],
)
def test_an_unknown_storage_layout_is_refused(config):
    refuse(f'{{"version":1,"storagePolicyConfig":{config},"contents":{{}}}}', "storage layout")


def test_the_number_of_entries_is_limited(monkeypatch):
    monkeypatch.setattr(manifest_module, "MAX_ENTRIES", 3)
    assert len(decode(manifest(",".join(f'"{name}":{FILE}' for name in "abc")))) == 3
    refuse(manifest(",".join(f'"{name}":{FILE}' for name in "abcd")), "more than 3 entries")


@pytest.mark.parametrize("length", [1000, 1 << 16, TOKEN - 1, TOKEN, 3 * TOKEN, 1 << 30])
def test_the_length_of_an_entry_is_limited_however_it_is_cut(length):
    empty = '{"digest":"e","ref":"x://","extra":{"x":""}}'
    longest = empty.replace('""', f'"{"x" * (TOKEN - len(empty))}"')
    for text, accepted in ((longest, True), (longest.replace("xx", "xxx", 1), False)):
        document = manifest(f'"a":{FILE},"b":{text},"c":{FILE}')
        assert (outcome(document, *range(0, len(document), length)) is not None) == accepted


def test_a_key_or_a_value_that_never_ends_is_not_read_to_its_end():
    for start in (b'{"', b'{"version":1,"contents":{"', b'{"version":1,"contents":{"a":{"digest":"', b'{"unknown":[0'):
        chunks = itertools.chain([start], itertools.repeat(b"0" * 65536 if start.endswith(b'"') else b",0" * 32768))
        with pytest.raises(InvalidInputError, match="too long"):
            list(decode_manifest(chunks))


def test_long_chunks_do_not_make_an_entry_too_long():
    found = [dataclasses.replace(entry, extra={"x": "x" * 1000}) for entry in many(4500)]
    data = written(found)
    assert len(data) > 4 * TOKEN
    assert decode(data) == found
    assert decode(data, data.index(b"gest", TOKEN)) == found


# Hostile: the entries


def with_path(text):
    return manifest(f"{json.dumps(text)}:{FILE}")


@pytest.mark.parametrize(("text", "reason"), HOSTILE)
def test_a_path_that_is_no_file_below_its_version_is_refused(text, reason):
    refuse(with_path(text), "Unicode" if "Unicode" in reason else re.escape(reason))


@pytest.mark.parametrize("char", ["a", "é", "🦊"])
def test_a_name_has_at_most_255_bytes(char):
    size = len(char.encode())
    name = char * (255 // size) + "b" * (255 % size)
    for where in ("{}", "dir/{}", "{}/file"):
        assert decode(with_path(where.format(name)))[0].path == where.format(name)
        refuse(with_path(where.format(name + "b")), "longer than 255 bytes")


def test_a_path_has_at_most_4095_bytes():
    path = "/".join(["é" * 127] * 16) + "/" + "b" * 15
    assert decode(with_path(path))[0].path == path
    refuse(with_path(path + "b"), "longer than 4095 bytes")


@pytest.mark.parametrize("value", ["null", "1", "true", '"x"', "[]", f"[{FILE}]", '[["digest","x"]]'])
def test_an_entry_that_is_no_object_is_refused_with_its_path(value):
    refuse(manifest(f'"dir/file":{value}'), "'dir/file' is not an object")


@pytest.mark.parametrize(
    "size", ["-1", "-9223372036854775808", str(MAX_SIZE + 1), str(1 << 63), "9" * 400, "true", "false"]
)
def test_an_impossible_size_is_refused_with_the_path(size):
    for ref in ("", ',"ref":"x://"'):
        refuse(
            manifest(f'"dir/file":{{"digest":"{NOTHING}","size":{size}{ref}}}'), "'dir/file' has the impossible size"
        )


@pytest.mark.parametrize("size", ["0.0", "1.0", "1.5", "1e3", "-0.0", '""', '"1"', "[]", "{}", "[1]"])
def test_a_size_that_is_no_integer_is_refused_with_the_path(size):
    refuse(manifest(f'"dir/file":{{"digest":"{NOTHING}","size":{size}}}'), "'dir/file' has a field of the wrong type")


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("-0", 0), ("null", 0), ("1", 1), (str(MAX_SIZE), MAX_SIZE)])
def test_a_possible_size_is_read(text, size):
    assert decode(manifest(f'"a":{{"digest":"{NOTHING}","size":{text}}}'))[0].size == size


@pytest.mark.parametrize(
    "digest", ["", '"digest":null', '"digest":1', '"digest":true', '"digest":[]', '"digest":{}', '"digest":""']
)
@pytest.mark.parametrize("ref", ["", '"ref":"x://"'])
def test_an_entry_without_a_digest_is_refused_with_its_path(digest, ref):
    fields = ",".join(filter(None, ['"size":1', digest, ref]))
    refuse(manifest(f'"dir/file":{{{fields}}}'), "'dir/file' has no digest")


@pytest.mark.parametrize(
    "digest",
    ["x", "====", NOTHING[:-1], NOTHING[:-2], NOTHING + "=", NOTHING + NOTHING, " " + NOTHING, NOTHING + "\\n", "AAAA",
     "d41d8cd98f00b204e9800998ecf8427e", NOTHING.replace("2", "_"), NOTHING[:-3] + "h==", "é" * 24, "\\u0000" * 16,
     Digest.of(b"", Algorithm.BLAKE3).base64],
)  # fmt: skip
@pytest.mark.parametrize(
    "extra", ["", ',"extra":{"alg":"MD5"}', ',"extra":{"alg":"XXH128"}', ',"ref":""', ',"ref":null']
)
def test_a_file_whose_digest_can_match_no_bytes_is_refused(digest, extra):
    refuse(manifest(f'"a":{{"digest":"{digest}"{extra}}}'), "digest")


def test_the_digest_of_a_reference_may_be_any_text():
    assert decode(manifest('"a":{"digest":"\\"etag\\" é","ref":"x://"}'))[0].digest == '"etag" é'


@pytest.mark.parametrize("name", ['"BLAKE3"', '"md5"', '"SHA256"', '""', "null", "1", "true", "[]", "{}", '["MD5"]'])
@pytest.mark.parametrize("ref", ["", ',"ref":"x://"'])
def test_an_unknown_algorithm_is_refused(name, ref):
    refuse(manifest(f'"a":{{"digest":"{NOTHING}","extra":{{"alg":{name}}}{ref}}}'), "unknown digest algorithm")


def test_an_empty_text_of_an_optional_field_is_no_text():
    document = manifest(f'"a":{{"digest":"{NOTHING}","ref":"","birthArtifactID":""}}')
    assert decode(document) == [Entry(parse_entry_path("a"), NOTHING, 0)]


@pytest.mark.parametrize("key", ["ref", "birthArtifactID"])
@pytest.mark.parametrize("value", ["1", "0", "true", "false", "[]", "{}", '["x"]', "1.5"])
def test_a_field_of_the_wrong_type_is_refused_with_the_path(key, value):
    refuse(manifest(f'"dir/file":{{"digest":"{NOTHING}","{key}":{value}}}'), "'dir/file' has a field of the wrong type")


@pytest.mark.parametrize("value", ["1", "0", "true", "false", "[]", '""', '"x"', '[["alg","MD5"]]'])
def test_an_extra_that_is_no_object_is_refused_with_the_path(value):
    refuse(
        manifest(f'"dir/file":{{"digest":"{NOTHING}","extra":{value}}}'),
        "'dir/file' has an 'extra' that is not an object",
    )


@pytest.mark.parametrize("name", ["", "x", NOTHING, "d41d8cd98f00b204e9800998ecf8427e"])
def test_a_block_list_whose_name_can_match_no_bytes_is_refused(name):
    extra = {"blocks": {"alg": "BLAKE3", "size": BLOCK_SIZE, "digest": name}}
    refuse(manifest(f'"a":{{"digest":"{NOTHING}","extra":{json.dumps(extra)}}}'), "BLAKE3")


def test_the_block_list_of_a_native_commit_is_read():
    block_list = Digest.of(b"", Algorithm.BLAKE3)
    extra = file_extra(Algorithm.MD5, block_list=block_list)
    assert decode(manifest(f'"a":{{"digest":"{NOTHING}","extra":{json.dumps(extra)}}}'))[0].block_list == block_list


@pytest.mark.parametrize("value", ["null", "1", '"x"', "[]", '{"a":[1,{"b":null}]}'])
def test_keys_that_artfs_does_not_know_are_ignored(value):
    unknown = f'"local_path":{value},"skip_cache":{value},"x":{value}'
    document = f'{{"x":{value},"version":1,"contents":{{"a":{{{unknown},"digest":"{NOTHING}"}}}},"y":{value}}}'
    assert decode(document) == [Entry(parse_entry_path("a"), NOTHING, 0)]


@given(entries)
@examples(100)
def test_one_entry_is_read_back_from_its_json(entry):
    assert decode_entry(entry.path, json.loads(encode_entry(entry))) == entry


def test_a_path_is_written_the_shortest_way_when_it_is_read():
    assert [entry.path for entry in decode(manifest(f'"./a//b/.":{FILE}'))] == ["a/b"]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"storageLayout": "V2", "storageRegion": "eu"}, ("V2", "eu")),
        ({"storageLayout": "V2"}, ("V2", None)),
        ({"storageRegion": ""}, ("V1", None)),
        ({"storageLayout": ["V2"], "storageRegion": 3}, ("V1", None)),
        (None, ("V1", None)),
        ([], ("V1", None)),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_layout_and_region_are_found_wherever_they_stand_and_what_follows_is_not_read(config, place, last):
    parts = [f'"storagePolicyConfig":{json.dumps(config)}', '"contents":{"a":{"digest":"x"},"b":{}}']
    document = "{" + ",".join(parts[::-1] if last else parts)
    assert storage_place([document.encode(), b"}"]) == place
    if not last and config:
        unread = iter([document.encode(), b"not JSON"])
        assert storage_place(unread) == place
        assert next(unread) == b"not JSON"
