"""What the real W&B SDK computes, writes and reads, compared with what artfs does."""

import json
import re
import string
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.entry import Entry, file_extra
from artfs.model.manifest import MAX_ENTRIES, decode_manifest, encode_manifest
from artfs.model.metadata import parse_metadata
from artfs.model.names import parse_alias, parse_collection, parse_project, parse_tag, parse_type
from artfs.model.paths import parse_entry_path
from artfs.model.reference import file_uri_path, unchecked_file_digest
from tests.model.strategies import ODD_NAMES, contents, examples, json_values, names, texts, trees

ALGORITHMS = [Algorithm.MD5, Algorithm.XXH128]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """Keep the SDK offline, and in a directory of its own."""
    directory = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
            patch.setenv(f"WANDB_{name}", str(directory))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_SILENT", "true")
        patch.delenv("WANDB_USE_V1_ARTIFACTS", raising=False)
        yield directory


@pytest.fixture(scope="module")
def wandb(place):
    import wandb

    return wandb


@pytest.fixture(scope="module")
def fresh(place):
    """Return a function that makes an empty directory."""
    counter = iter(range(1 << 30))

    def make():
        directory = place / f"tree{next(counter)}"
        directory.mkdir()
        return directory

    return make


@pytest.fixture(scope="module")
def artifact(wandb):
    def make(algorithm=Algorithm.MD5, **options):
        return wandb.Artifact("digits", "dataset", digest_algorithm=algorithm.name, **options)

    return make


@pytest.fixture(scope="module")
def read_by_wandb(wandb):
    """Return a function that reads a manifest with the SDK."""
    from wandb.sdk.artifacts._generated import ArtifactDigestAlgorithm
    from wandb.sdk.artifacts.artifact_manifest import ArtifactManifest

    def read(data, algorithm=Algorithm.MD5):
        found = ArtifactDigestAlgorithm(f"MANIFEST_{algorithm.name}")
        return ArtifactManifest.from_manifest_json(json.loads(data), found)

    return read


def write_tree(directory, tree):
    for path, data in tree.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def entries_of(tree, algorithm):
    """Return the entries that artfs makes of a tree."""
    made = (
        Entry(parse_entry_path(path), Digest.of(data, algorithm).base64, len(data), extra=file_extra(algorithm))
        for path, data in tree.items()
    )
    return sorted(made, key=lambda entry: entry.path)


def digest_of(entries, algorithm=Algorithm.MD5):
    ordered = sorted(entries, key=lambda entry: entry.path)
    return version_digest(((entry.path, entry.digest) for entry in ordered), algorithm)


def translated(entries):
    """Return entries of the SDK as those of artfs, by path."""
    return {
        str(entry.path): Entry(
            parse_entry_path(entry.path), entry.digest, entry.size or 0, entry.ref, entry.birth_artifact_id, entry.extra
        )
        for entry in entries
    }


def by_path(entries):
    return {str(entry.path): entry for entry in entries}


def written_by_wandb(manifest):
    return json.dumps(manifest.to_manifest_json()).encode()


def uploaded_by_wandb(manifest):
    """Return the manifest as the SDK's uploader writes it: with sizes, local paths and client hints for every entry."""
    document = manifest.to_manifest_json()
    for path, entry in manifest.entries.items():
        fields = {"digest": entry.digest, "ref": entry.ref, "size": entry.size or 0, "local_path": entry.local_path}
        fields |= {"birthArtifactID": entry.birth_artifact_id, "skip_cache": entry.skip_cache, "extra": entry.extra}
        document["contents"][path] = {
            key: value for key, value in fields.items() if value or key in {"size", "skip_cache"}
        }
    return json.dumps(document, ensure_ascii=False).encode()


def decode(data):
    return list(decode_manifest([data]))


# Digests


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"x", b"\r\n", bytes(1 << 17), bytes(range(256)) * 1025])
def test_a_file_has_the_digest_that_wandb_gives_it(artifact, fresh, algorithm, data):
    file = fresh() / "file"
    file.write_bytes(data)
    entry = artifact(algorithm).add_file(str(file))
    assert Digest.of(data, algorithm).base64 == entry.digest
    assert translated([entry])["file"].algorithm is algorithm
    assert translated([entry])["file"].blob == Digest.of(data, algorithm)


@given(tree=trees, algorithm=st.sampled_from(ALGORITHMS))
@example(tree={name: name.encode() for name in ODD_NAMES}, algorithm=Algorithm.MD5)
@example(tree={f"{first}/{second}": b"" for first in ODD_NAMES[:8] for second in ODD_NAMES}, algorithm=Algorithm.XXH128)
@example(
    tree={"/".join("abcdefghijklmnopq"[:depth]) + "/file": b"x" * depth for depth in range(1, 17)},
    algorithm=Algorithm.MD5,
)
@examples(40)
def test_a_tree_has_the_entries_and_the_version_digest_that_wandb_gives_it(artifact, fresh, tree, algorithm):
    directory = fresh()
    write_tree(directory, tree)
    theirs = artifact(algorithm)
    theirs.add_dir(str(directory), policy="immutable")
    ours = entries_of(tree, algorithm)
    assert translated(theirs.manifest.entries.values()) == by_path(ours)
    assert theirs.digest == digest_of(ours, algorithm)
    assert theirs.size == sum(entry.size for entry in ours)


def test_the_order_in_which_files_are_added_does_not_change_the_digest(artifact, fresh):
    directory = fresh()
    tree = {"b": b"1", "a/b": b"2", "a-b": b"3", "é": b"4", "🦊": b"5", "\uffff": b"6", "B": b"7", "a b": b"8"}
    write_tree(directory, tree)
    for order in (sorted(tree), sorted(tree, reverse=True)):
        theirs = artifact()
        for path in order:
            theirs.add_file(str(directory / path), path, policy="immutable")
        assert theirs.digest == digest_of(entries_of(tree, Algorithm.MD5))


@given(found=contents, algorithm=st.sampled_from(ALGORITHMS))
@examples(60)
def test_a_version_of_files_and_references_has_the_digest_that_wandb_gives_it(read_by_wandb, found, algorithm):
    theirs = read_by_wandb(b"".join(encode_manifest(found)), algorithm)
    assert theirs.digest() == digest_of(found, algorithm)


# Manifests


@given(
    tree=trees,
    algorithm=st.sampled_from(ALGORITHMS),
    policy=st.sampled_from(["mutable", "immutable"]),
    skip=st.booleans(),
)
@example(tree={name: name.encode() for name in ODD_NAMES}, algorithm=Algorithm.XXH128, policy="mutable", skip=True)
@examples(30)
def test_what_wandb_writes_of_a_tree_is_read_as_the_entries_that_artfs_makes(
    artifact, fresh, tree, algorithm, policy, skip
):
    directory = fresh()
    write_tree(directory, tree)
    theirs = artifact(algorithm)
    theirs.add_dir(str(directory), policy=policy, skip_cache=skip)
    assert all(entry.local_path and entry.skip_cache is skip for entry in theirs.manifest.entries.values())
    ours = by_path(entries_of(tree, algorithm))
    assert by_path(decode(written_by_wandb(theirs.manifest))) == ours
    assert by_path(decode(uploaded_by_wandb(theirs.manifest))) == ours


def test_the_uploaded_form_holds_what_artfs_has_to_ignore(artifact, fresh):
    file = fresh() / "file"
    file.write_bytes(b"x")
    theirs = artifact()
    theirs.add_file(str(file))
    (fields,) = json.loads(uploaded_by_wandb(theirs.manifest))["contents"].values()
    assert fields.keys() == {"digest", "size", "local_path", "skip_cache"}


def test_a_storage_region_changes_no_entry(artifact, fresh):
    write_tree(directory := fresh(), {"a": b"x"})
    theirs = artifact(storage_region="coreweave-us")
    theirs.add_dir(str(directory))
    data = written_by_wandb(theirs.manifest)
    assert b"coreweave-us" in data
    assert decode(data) == entries_of({"a": b"x"}, Algorithm.MD5)


@given(found=contents)
@examples(80)
def test_what_artfs_writes_is_read_by_wandb_as_the_same_entries(read_by_wandb, found):
    theirs = read_by_wandb(b"".join(encode_manifest(found)))
    assert translated(theirs.entries.values()) == by_path(found)
    assert list(theirs.entries) == [entry.path for entry in found]
    assert theirs.size() == sum(entry.size for entry in found)
    assert [str(entry.digest_algorithm().name) for entry in theirs.entries.values()] == [
        f"MANIFEST_{entry.algorithm.name}" for entry in found
    ]


@given(found=contents)
@examples(60)
def test_a_manifest_survives_the_way_through_wandb_and_back(read_by_wandb, found):
    theirs = read_by_wandb(b"".join(encode_manifest(found)))
    assert decode(written_by_wandb(theirs)) == found
    assert decode(uploaded_by_wandb(theirs)) == found


def test_wandb_reads_the_storage_layout_that_artfs_writes(read_by_wandb):
    policy = read_by_wandb(b"".join(encode_manifest([]))).storage_policy
    assert policy.name() == "wandb-storage-policy-v1"
    assert policy.config() == {"storageLayout": "V2"}


def test_a_manifest_may_have_as_many_entries_as_wandb_adds_for_one_reference(wandb):
    from wandb.sdk.artifacts.storage_handler import DEFAULT_MAX_OBJECTS

    assert MAX_ENTRIES == DEFAULT_MAX_OBJECTS


@pytest.mark.parametrize("uri", ["https://host/a b?c=d", "http://host/é#x", "weird://é/x"])
def test_references_that_are_not_checked_are_read_as_wandb_writes_them(artifact, read_by_wandb, uri):
    theirs = artifact()
    theirs.add_reference(uri, name="data/x", checksum=False)
    ours = [Entry(parse_entry_path("data/x"), uri, 0, uri)]
    assert decode(written_by_wandb(theirs.manifest)) == ours
    assert decode(uploaded_by_wandb(theirs.manifest)) == ours
    assert translated(read_by_wandb(b"".join(encode_manifest(ours))).entries.values()) == by_path(ours)
    assert theirs.digest == digest_of(ours)


# file:// references


plain_names = names.filter(lambda name: not re.search(r"[%?#\t\r\n]", name))
"""Names that the SDK finds again from a URI that it has not escaped."""


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("name", ["a.bin", "a b", "$x", "back\\slash", "ünïcödé 🦊", "a+b&c=d;e", "[1]"])
def test_a_reference_to_a_file_is_the_entry_that_wandb_makes(artifact, fresh, name, checksum):
    file = fresh() / name
    file.write_bytes(b"hello")
    for uri in (f"file://{file}", file.as_uri()):
        theirs = artifact()
        (entry,) = theirs.add_reference(uri, name="x", checksum=checksum)
        digest = Digest.of(b"hello").base64 if checksum else unchecked_file_digest(file.as_uri())
        ours = Entry(parse_entry_path("x"), digest, 5, uri)
        assert translated([entry]) == {"x": ours}
        assert decode(written_by_wandb(theirs.manifest)) == [ours]
        assert theirs.digest == digest_of([ours])
        assert Path(file_uri_path(entry.ref)) == file


@given(tree=trees, checksum=st.booleans())
@example(tree={f"d/{name}": name.encode() for name in ODD_NAMES}, checksum=True)
@example(tree={f"d/{name}": name.encode() for name in ODD_NAMES}, checksum=False)
@examples(30)
def test_references_to_the_files_of_a_directory_are_the_entries_that_wandb_makes(artifact, fresh, tree, checksum):
    directory = fresh()
    write_tree(directory, tree)
    theirs = artifact()
    theirs.add_reference(f"file://{directory}", name="data", checksum=checksum)
    ours = [
        Entry(
            parse_entry_path(f"data/{path}"),
            Digest.of(data).base64 if checksum else unchecked_file_digest((directory / path).as_uri()),
            len(data),
            f"file://{directory}/{path}",
        )
        for path, data in tree.items()
    ]
    assert translated(theirs.manifest.entries.values()) == by_path(ours)
    assert by_path(decode(written_by_wandb(theirs.manifest))) == by_path(ours)
    assert theirs.digest == digest_of(ours)


@given(
    path=st.lists(plain_names | st.sampled_from(["a%20b", "100%", "%41", "é"]), min_size=1, max_size=3).map("/".join)
)
@examples(100)
def test_a_file_uri_names_the_path_that_wandb_reads(wandb, path):
    from wandb.util import local_file_uri_to_path

    for uri in (f"file:///data/{path}", PurePosixPath(f"/data/{path}").as_uri()):
        assert file_uri_path(uri) == PurePosixPath(local_file_uri_to_path(uri))


# Rules


def accepted(parse, *arguments, error=InvalidInputError):
    try:
        return parse(*arguments)
    except error:
        return None


@given(text=texts(max_size=12) | st.lists(st.sampled_from(["a", ".", "..", "", "é", "C:", "\\", " "])).map("/".join))
@example(text="C:/x")
@example(text="./C:/x")
@examples(400)
def test_a_path_means_the_same_to_wandb_or_is_refused_by_one_for_a_rule_of_its_own(wandb, text):
    from wandb.sdk.artifacts._validators import validate_artifact_path

    ours = accepted(parse_entry_path, text)
    theirs = accepted(validate_artifact_path, text, error=ValueError)
    if theirs is None and ours is not None:
        assert re.search(r"[\\:]", text)  # what only Windows takes for a drive, a root or a way up
    elif ours is None and theirs is not None:
        assert "\0" in text or re.match(r"[A-Za-z]:(/|$)", theirs)
    else:
        assert ours == theirs


words = st.text(
    st.sampled_from(string.ascii_letters + "019 -_.:/\\#?%\r\né") | st.characters(exclude_categories=["Cs"]), max_size=9
)


@given(text=words | st.sampled_from(["a" * 128, "a" * 129]))
@examples(300)
def test_a_name_that_artfs_takes_is_one_that_wandb_takes(wandb, text):
    from wandb.sdk.artifacts import _validators as rules

    if accepted(parse_collection, text):
        wandb.Artifact(text, "dataset")
    if accepted(parse_project, text):
        rules.validate_project_name(text)
    if accepted(parse_alias, text):
        assert rules.validate_aliases([text]) == [text]
    if accepted(parse_tag, text):
        assert rules.validate_tags([text]) == [text]
    if accepted(parse_type, text, "digits"):
        assert rules.validate_artifact_types([text]) == [text]


@given(
    kind=st.sampled_from(["job", "jobs", "run_table", "code", "wandb-", "wandb", "wandb-x", "dataset", "x-wandb-"]),
    collection=st.sampled_from(["digits", "run-1", "run-", "run", "source-1", "source", "x-run-1"]),
)
@examples(80)
def test_the_reserved_types_are_those_of_wandb(wandb, kind, collection):
    from wandb.sdk.artifacts._validators import validate_artifact_type

    assert accepted(parse_type, kind, collection) == accepted(
        validate_artifact_type, kind, collection, error=ValueError
    )


@given(value=st.dictionaries(texts(max_size=5), json_values | st.just(float("nan")) | st.just((1, 2)), max_size=4))
@example(value={str(number): number for number in range(100)})
@example(value={str(number): number for number in range(101)})
@example(value={"a": float("inf")})
@example(value={"a": [1, {"b": float("-inf")}]})
@examples(100)
def test_metadata_become_what_wandb_makes_of_them(wandb, value):
    from wandb.sdk.artifacts._validators import validate_metadata

    ours = accepted(parse_metadata, value)
    theirs = accepted(validate_metadata, value, error=ValueError)
    assert ours == theirs
