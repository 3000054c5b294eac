"""References to entries of other versions: where they lead, what is believed of it, and what is refused."""

import dataclasses
import random
import threading
import uuid
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from artfs.cache.index import Indexes
from artfs.content.following import FollowingReader
from artfs.content.following_pipeline import FollowingPipeline
from artfs.content.targets import MAX_HOPS, AllReferences, Targets, leads_on
from artfs.errors import (
    ChangedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
    VersionDeletedError,
)
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import parse_entry_path
from artfs.model.reference import artifact_uri
from artfs.registry.port import ManifestFile, State, Version
from tests.content.fakes import block_list_of

BIG = random.Random(5).randbytes(2 * BLOCK_SIZE + 7)


class Shelf:
    """Versions by id, with their manifests in a fake store. ``failure`` is what the registry says instead."""

    def __init__(self, store, indexes):
        self.store, self.indexes = store, indexes
        self.versions, self.asked, self.failure, self.commits = {}, [], None, {}

    def add(self, *entries, version_id=None):
        """Make a version of some entries; return its id."""
        data = b"".join(encode_manifest(sorted(entries, key=lambda entry: entry.path)))
        manifest = ManifestFile(Digest.of(data), len(data))
        self.store.blobs[manifest.digest] = bytearray(data)
        collection, index, time = (
            CollectionRef("me", "demo", "data"),
            len(self.versions),
            datetime(2024, 1, 1, tzinfo=UTC),
        )
        version = Version(
            id=version_id or uuid.uuid4().hex, collection=collection, index=index, source=collection, source_index=index,
            type="dataset", state=State.COMMITTED, digest="d", algorithm=Algorithm.MD5, manifest=manifest, commit_hash="c",
            size=0, file_count=len(entries), description=None, metadata={}, aliases=(), tags=(),
            created_at=time, updated_at=time,
        )  # fmt: skip
        self.versions[version.id] = version
        return version.id

    def version_by_id(self, version_id):
        self.asked.append(version_id)
        if self.failure is not None:
            raise self.failure
        if version_id not in self.versions:
            raise NotFoundError(f"there is no version with the id {version_id!r}")
        return self.versions[version_id]

    def version_of_commit(self, client_id):
        return self.version_by_id(self.commits.get(client_id, client_id))

    def open_index(self, version):
        manifest = version.manifest
        return self.indexes.open(manifest.digest, manifest.size, lambda: [bytes(self.store.blobs[manifest.digest])])


@pytest.fixture
def shelf(store, tmp_path):
    return Shelf(store, Indexes(tmp_path / "cache"))


@pytest.fixture
def targets(shelf):
    return Targets(shelf.version_by_id, shelf.version_of_commit, shelf.open_index)


@pytest.fixture
def following(new_reader, targets):
    plain = new_reader()
    return FollowingReader(plain._origins, plain._prover, plain._remote, targets)


def leading(path, version_id, target, **changes):
    """Return a reference to an entry of a version, as W&B records it."""
    found = Entry(parse_entry_path(path), target.digest, 0, ref=artifact_uri(version_id, target.path))
    return dataclasses.replace(found, **changes)


# Following ------------------------------------------------------------------------------------------------------


def test_only_references_to_versions_lead_on(store):
    assert not leads_on(store.add("a", b"x"))
    for ref, answer in (("s3://b/k", False), ("file:///x", False), ("wandb-client-artifact://6172/x", True),
                        ("wandb-artifact:x", False), ("wandb-artifact://6172/x", True), ("Wandb-Artifact://6172/x", True)):  # fmt: skip
        assert leads_on(Entry(parse_entry_path("a"), "d", 1, ref=ref)) is answer


def test_a_version_may_be_named_by_its_commit(store, shelf, targets):
    content = store.add("a/b", b"content")
    shelf.commits["Client-1"] = shelf.add(content)
    for path in ("one", "two"):
        found = targets.of(Entry(parse_entry_path(path), content.digest, 0, ref="wandb-client-artifact://Client-1/a/b"))
        assert (found.path, found.digest, found.size, found.ref) == (path, content.digest, 7, None)
    assert len(shelf.asked) == 1
    assert [one.ref for one in targets.expand("wandb-client-artifact://Client-1/a")] == [
        artifact_uri(shelf.commits["Client-1"], "a/b")
    ]


def test_the_latest_version_of_a_collection_is_looked_up_each_time(store, shelf, targets):
    old, new = store.add("a", b"old"), store.add("a", b"newer")
    for number, content in enumerate((old, new)):
        shelf.commits["seq:latest"] = shelf.add(content)
        ref = f"wandb-client-artifact://seq:latest/a{'/' * number}"
        assert targets.of(Entry(parse_entry_path("x"), content.digest, 0, ref=ref)).size == content.size


@pytest.mark.parametrize("uri", ["wandb-client-artifact:///a", "wandb-client-artifact://a b/c", "wandb-client-artifact://x:best/a",
                                 "wandb-client-artifact://x/../a", "wandb-client-artifact://x", f"wandb-client-artifact://{'x' * 257}/a"])  # fmt: skip
def test_a_name_of_a_commit_that_is_none_is_refused(store, shelf, targets, uri):
    shelf.commits["x"] = shelf.add(store.add("a", b"x"))
    with pytest.raises((InvalidInputError, NotFoundError)):
        targets.of(Entry(parse_entry_path("y"), "digest", 0, ref=uri))


def test_other_entries_are_what_they_are_and_cost_no_question(store, shelf, targets):
    for entry in (store.add("a", b"x"), Entry(parse_entry_path("b"), "etag", 1, ref="s3://b/k")):
        assert targets.known(entry) is entry
        assert targets.of(entry) is entry
    assert shelf.asked == []


def test_a_reference_has_the_bytes_of_its_target_under_its_own_path(store, shelf, targets):
    target = store.add("dir/ü 100%#?", b"text", executable=True)
    entry = leading("here", shelf.add(target), target)
    assert targets.known(entry) is None
    end = targets.of(entry)
    assert end == dataclasses.replace(target, path="here")
    assert targets.known(entry) == end


def test_a_reference_to_a_reference_is_pinned_as_that_one(shelf, targets):
    target = Entry(parse_entry_path("obj"), "etag", 9, ref="s3://b/k", extra={"etag": "etag", "versionID": "v7"})
    end = targets.of(leading("here", shelf.add(target), target))
    assert (end.path, end.ref, end.size, end.extra) == ("here", "s3://b/k", 9, {"etag": "etag", "versionID": "v7"})


def test_a_chain_is_followed_to_its_end(store, shelf, targets):
    entry = store.add("f", b"text")
    for number in range(MAX_HOPS):
        entry = leading(f"f{number}", shelf.add(entry), entry)
    assert targets.of(entry).ref is None
    assert b"".join([bytes(store.blobs[targets.of(entry).blob])]) == b"text"


def test_a_cycle_ends_in_an_error(shelf, targets):
    version_id = uuid.uuid4().hex
    entry = Entry(parse_entry_path("f"), "digest", 0, ref=artifact_uri(version_id, "f"))
    shelf.add(entry, version_id=version_id)
    with pytest.raises(InvalidInputError, match=r"f leads to .*cycle"):
        targets.of(entry)


def test_each_version_is_asked_for_once_and_each_file_looked_up_once(store, shelf, targets):
    entries = [store.add(f"f{number}", b"%d" % number) for number in range(20)]
    version_id = shelf.add(*entries)
    opened = []
    targets._open_index = lambda version: opened.append(version) or shelf.open_index(version)
    for _ in range(3):
        for entry in entries:
            targets.of(leading("here", version_id, entry))
    assert shelf.asked == [version_id]
    assert len(opened) == len(entries)


# What is believed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"digest": Digest.of(b"other").base64}, {"size": 5}])
def test_another_digest_or_size_than_was_recorded_is_refused_each_time(store, shelf, targets, changes):
    target = store.add("f", b"text")
    entry = leading("here", shelf.add(target), target, **changes)
    for _ in range(2):
        with pytest.raises(ChangedError, match="here leads to wandb-artifact://"):
            targets.of(entry)


def test_the_algorithm_is_that_of_the_target_where_the_reference_names_none(store, shelf, targets, following):
    target = store.add("f", b"text", Algorithm.XXH128)
    entry = leading("here", shelf.add(target), target)
    assert targets.of(entry).algorithm is Algorithm.XXH128
    assert b"".join(following.export(entry)) == b"text"


@pytest.mark.expects_warning("is damaged or missing")
def test_a_block_list_that_only_the_target_names_is_not_believed(store, shelf, following):
    other = bytes(len(BIG))
    target = store.add("f", BIG)
    blocks = block_list_of(other)
    name = Digest.of(blocks, Algorithm.BLAKE3)
    store.blobs[name] = bytearray(blocks)
    lying = dataclasses.replace(target, extra={"blocks": {"alg": "BLAKE3", "size": BLOCK_SIZE, "digest": name.base64}})
    store.blobs[target.blob] = bytearray(
        other
    )  # what the list proves, and the digest of the referring manifest does not
    with pytest.raises(IntegrityError):
        list(following.export(leading("here", shelf.add(lying), target)))


# What leads nowhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["wandb-artifact://xyz/f", "wandb-artifact://6172/../f", "wandb-artifact://6172/a//f"])
def test_a_uri_that_is_not_valid_asks_nobody(shelf, targets, ref):
    with pytest.raises(InvalidInputError, match="here leads to"):
        targets.of(Entry(parse_entry_path("here"), "d", 0, ref=ref))
    assert shelf.asked == []


def test_a_path_that_is_not_there_or_a_directory_is_named(store, shelf, targets):
    target = store.add("d/f", b"text")
    version_id = shelf.add(target)
    for path in ("", "d", "d/g", "d/f/g"):
        entry = leading("here", version_id, target, ref=artifact_uri(version_id, path))
        with pytest.raises(NotFoundError, match=f"here leads to .*me/demo/data:v0 has no file '{path}'"):
            targets.of(entry)


@pytest.mark.parametrize(
    "error", [VersionDeletedError("gone"), NotFoundError("never"), PermissionDeniedError("not yours")]
)
def test_what_the_registry_refuses_keeps_its_kind_and_says_which_entry(store, shelf, targets, error):
    target = store.add("f", b"text")
    entry = leading("here", shelf.add(target), target)
    shelf.failure = error
    with pytest.raises(type(error), match=f"here leads to wandb-artifact://.*: {error.message}") as caught:
        targets.of(entry)
    assert type(caught.value) is type(error)


def test_a_registry_that_is_away_is_asked_again(store, shelf, targets):
    target = store.add("f", b"text")
    entry = leading("here", shelf.add(target), target)
    shelf.failure = UnreachableError("away", retry_after=3.0)
    with pytest.raises(UnreachableError) as caught:
        targets.of(entry)
    assert caught.value.retry_after == 3.0
    shelf.failure = None
    assert targets.of(entry).digest == target.digest


# Recording ------------------------------------------------------------------------------------------------------


def test_a_version_expands_to_its_entries_with_digest_and_size(store, shelf, targets):
    entries = [store.add("a", b"one"), store.add("d/b", BIG, listed=True), store.add("d/e/c.sh", b"x", executable=True)]
    version_id = shelf.add(*entries)
    found = {one.path: one for one in targets.expand(artifact_uri(version_id))}
    assert set(found) == {"a", "d/b", "d/e/c.sh"}
    for entry in entries:
        one = found[entry.path]
        assert (one.ref, one.digest, one.size) == (artifact_uri(version_id, entry.path), entry.digest, entry.size)
        assert dict(one.extra) == dict(entry.extra)
    assert {one.path for one in targets.expand(artifact_uri(version_id, "d"))} == {"b", "e/c.sh"}
    assert [one.path for one in targets.expand(artifact_uri(version_id, "d/b"))] == [""]
    with pytest.raises(NotFoundError, match="has no 'x'"):
        list(targets.expand(artifact_uri(version_id, "x")))
    with pytest.raises(InvalidInputError, match="more than 2 files"):
        list(targets.expand(artifact_uri(version_id), 2))


def test_what_leads_on_is_recorded_by_where_it_ends(store, shelf, targets):
    blob = store.add("f", b"text")
    outside = Entry(parse_entry_path("obj"), "etag", 9, ref="s3://b/k", extra={"etag": "etag", "versionID": "v7"})
    first = shelf.add(blob, outside)
    second = shelf.add(leading("f2", first, blob), leading("obj2", first, outside))
    third = shelf.add(*(leading(f"{path}-3", second, dataclasses.replace(target, path=parse_entry_path(path)))
                        for path, target in (("f2", blob), ("obj2", outside))))  # fmt: skip
    found = {one.path: one for one in targets.expand(artifact_uri(third))}
    assert {path: one.ref for path, one in found.items()} == {
        "f2-3": artifact_uri(first, "f"),
        "obj2-3": artifact_uri(first, "obj"),
    }
    assert (found["f2-3"].size, found["obj2-3"].size) == (4, 9)
    assert found["obj2-3"].extra == {}  # what pins it is in the manifest of its own version


def test_a_deleted_version_is_not_recorded_although_it_was_read(store, shelf, targets):
    target = store.add("f", b"text")
    version_id = shelf.add(target)
    targets.of(leading("here", version_id, target))
    shelf.failure = VersionDeletedError("gone")
    with pytest.raises(VersionDeletedError):
        list(targets.expand(artifact_uri(version_id)))


def test_other_uris_are_expanded_as_ever(shelf, targets):
    class Others:
        def expand(self, uri, *, checksum, max_objects):
            return [(uri, checksum, max_objects)]

    references = AllReferences(Others(), targets)
    assert references.expand("s3://b/k", checksum=False, max_objects=7) == [("s3://b/k", False, 7)]
    assert shelf.asked == []


# In the mount's read path ---------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_the_pipeline_reads_what_is_at_the_end_and_then_without_waiting(
    store, shelf, targets, following, nursery
):
    target = store.add("f", BIG, listed=True)
    entry = leading("here", shelf.add(target), target)
    pipeline = FollowingPipeline(following, nursery, targets)
    assert pipeline.is_remote(entry)  # nobody knows yet
    assert bytes(await pipeline.read(entry, BLOCK_SIZE - 3, 10)) == BIG[BLOCK_SIZE - 3 : BLOCK_SIZE + 7]
    assert not pipeline.is_remote(entry)
    with trio.testing.assert_no_checkpoints():
        assert bytes(await pipeline.read(entry, BLOCK_SIZE - 3, 10)) == BIG[BLOCK_SIZE - 3 : BLOCK_SIZE + 7]
    assert await pipeline.state(entry) == ("yes", "proven")


@pytest.mark.trio
async def test_what_leads_nowhere_fails_when_it_is_read_and_says_so_of_itself(
    store, shelf, targets, following, nursery
):
    target = store.add("f", b"text")
    entry = leading("here", uuid.uuid4().hex, target)
    pipeline = FollowingPipeline(following, nursery, targets)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="here leads to"):
            await pipeline.read(entry, 0, 10)
    assert await pipeline.state(entry) == ("no", "proven")
    pipeline.prefetch([entry])
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.trio
async def test_a_registry_that_never_answers_ends_in_an_error(
    store, shelf, targets, following, nursery, autojump_clock
):
    target = store.add("f", b"text")
    entry = leading("here", shelf.add(target), target)
    gate = threading.Event()
    targets._version_by_id = lambda _: gate.wait(30)
    pipeline = FollowingPipeline(following, nursery, targets, deadline=5)
    try:
        with pytest.raises(UnreachableError, match="where here leads to was not found within 5 s"):
            await pipeline.read(entry, 0, 10)
    finally:
        gate.set()
