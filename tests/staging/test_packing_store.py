"""Commits to a store elsewhere: small files go in packs, those of earlier versions stay where they are, and what vanishes comes again."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from artfs.errors import IntegrityError, NotFoundError, UnreachableError
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.entry import BLOCK_SIZE, Packed
from artfs.model.manifest import decode_manifest
from artfs.model.names import CollectionRef
from artfs.staging.packing import PACK_SIZE, SMALL, EarlierVersions, Lying
from artfs.staging.progress import Progress
from artfs.staging.target import StoreTarget
from artfs.staging.upload import upload_packs
from artfs.storage.files import store_path
from tests.app.gc_world import ElsewhereStore, World, use_store_elsewhere
from tests.staging.test_commit import base_of, commit, content, make, write
from tests.staging.test_packing import hashed_of

# A store elsewhere ----------------------------------------------------------------------------------------------------


class Bucket(ElsewhereStore):
    """A store elsewhere that notes what was sent to it."""

    def __init__(self, root):
        super().__init__(root)
        self.sent = {}
        self._noting = threading.Lock()

    def _note(self, blob, data):
        with self._noting:
            assert blob not in self.sent, "it was sent twice"
            self.sent[blob] = data

    def write(self, blob, data):
        whole = b"".join(data)
        if not self.has(blob):
            self._note(blob, whole)
        super().write(blob, [whole])

    def adopt(self, blob, path):
        self._note(blob, path.read_bytes())
        super().adopt(blob, path)

    def lose(self, blob):
        self.path(blob).unlink()
        self.sent.pop(blob, None)


@pytest.fixture
def bucket(services):
    use_store_elsewhere(services)
    services.store = Bucket(store_path(services.config.store))
    return services.store


@pytest.fixture
def target(services, bucket):
    """Return a function that makes the target of another commit."""
    return lambda: StoreTarget(bucket, earlier=EarlierVersions(services.registry, services.open_index))


def store(target, draft):
    """Store the files of a draft, and return them and their entries as the manifest names them."""
    hashed = hashed_of(draft)
    target.store_files(draft, hashed, Progress())
    return hashed, [target.named(one.entry) for one in hashed]


def read(bucket, entry):
    """Read an entry plainly, by what it says."""
    packed = entry.packed
    name, offset, size = (entry.blob, 0, entry.size) if packed is None else (packed.pack, packed.offset, packed.size)
    with contextlib.closing(bucket.open(name)) as source:
        data = bytes(source.read(0, 2 * PACK_SIZE))
    assert len(data) == size
    return data[offset : offset + entry.size]


def test_small_files_go_together_and_each_other_one_goes_by_itself(bucket, target, services):
    files = {"b": b"two", "a": b"one", "big": os.urandom(BLOCK_SIZE + 1), "d/c": b"three", "edge": os.urandom(SMALL)}
    files["over"] = os.urandom(SMALL + 1)
    _, entries = store(target(), make(services, files))
    together = b"one" + b"two" + b"three" + files["edge"]
    big = next(entry for entry in entries if entry.path == "big")
    assert bucket.sent == {
        Digest.of(together): together,
        Digest.of(files["over"]): files["over"],
        Digest.of(files["big"]): files["big"],
        big.block_list: bucket.sent[big.block_list],
    }
    assert {entry.path: read(bucket, entry) for entry in entries} == files
    assert {entry.path for entry in entries if entry.packed is None} == {"big", "over"}


def test_an_empty_file_is_in_no_pack(bucket, target, services):
    _, entries = store(target(), make(services, {"a": b"", "b": b"1", "c": b"2"}))
    assert [entry.packed is None for entry in entries] == [True, False, False]
    assert Digest.of(b"12") in bucket.sent


def test_a_single_small_file_goes_by_itself(bucket, target, services):
    _, (small_one, big) = store(target(), make(services, {"a": b"one", "big": bytes(SMALL + 1)}))
    assert small_one.packed is None
    assert set(bucket.sent) == {small_one.blob, big.blob}


def test_two_files_of_one_content_are_a_single_one(bucket, target, services):
    _, entries = store(target(), make(services, {"a": b"one", "b": b"one"}))
    assert [entry.packed for entry in entries] == [None, None]
    assert bucket.sent == {Digest.of(b"one"): b"one"}


def test_no_pack_has_a_single_file(bucket, target, services):
    files = {f"{number:02}": random.Random(number).randbytes(SMALL) for number in range(PACK_SIZE // SMALL + 1)}
    _, entries = store(target(), make(services, files))
    assert {entry.path: read(bucket, entry) for entry in entries} == files
    assert [entry.path for entry in entries if entry.packed is None] == ["32"], "docs/formats.md says so"


def test_more_than_a_pack_is_several_packs(bucket, target, services):
    files = {f"{number:02}": random.Random(number).randbytes(SMALL - number) for number in range(70)}
    _, entries = store(target(), make(services, files))
    assert {entry.path: read(bucket, entry) for entry in entries} == files
    assert len(bucket.sent) == 3
    assert all(len(data) <= PACK_SIZE for data in bucket.sent.values())


def test_without_anything_earlier_nothing_is_looked_for(bucket, services):
    _, entries = store(StoreTarget(bucket), make(services, {"a": b"one", "b": b"two"}))
    assert bucket.sent == {Digest.of(b"onetwo"): b"onetwo"}
    assert all(entry.home is None for entry in entries)


def test_each_pack_is_given_to_who_keeps_it(bucket, services):
    kept = []
    target = StoreTarget(bucket, keep=lambda packed, data: kept.append((packed.pack, packed.size, data)))
    store(target, make(services, {"a": b"one", "b": b"two", "big": bytes(SMALL + 1)}))
    assert kept == [(Digest.of(b"onetwo"), 6, b"onetwo")]


def test_a_store_on_this_machine_has_no_packs(services):
    version = commit(services, make(services, {"a": b"one", "b": b"two"})).version
    assert all(entry.packed is None for entry in services.open_index(version).entries())
    assert services.store.has(Digest.of(b"one"))


def test_progress_counts_every_small_file_and_byte(bucket, services):
    draft, progress = make(services, {"a": b"one", "b": b"four"}), Progress()
    upload_packs(draft, hashed_of(draft), bucket, progress)
    found = progress.snapshot()
    assert [found[name] for name in ("files_done", "files_total", "bytes_done", "bytes_total")] == [2, 2, 7, 7]


# Earlier versions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def earlier(services, bucket):
    return EarlierVersions(services.registry, services.open_index)


def version_of(services, files, base=None, name="draft"):
    return commit(services, make(services, files, name, base)).version


def wanted(*data):
    return {Digest.of(one): len(one) for one in data}


def test_of_the_first_version_nothing_is_there_yet(services, earlier):
    assert earlier.find(make(services, {"a": b"one"}), wanted(b"one"), Progress()) == {}


def test_a_file_of_the_latest_version_is_found_where_it_lies(services, earlier):
    version_of(services, {"a": b"0", "b": b"1"})
    latest = version_of(services, {"a": b"one", "z": b"two"})
    found = earlier.find(make(services, {"x": b"two"}), wanted(b"two", b"0", b"three"), Progress())
    assert found == {Digest.of(b"two"): Lying(Packed(Digest.of(b"onetwo"), 6, 3), latest.id)}


def test_a_file_that_lies_by_itself_is_found_in_no_pack(services, earlier):
    version_of(services, {"a": b"one", "big": bytes(SMALL + 1)})
    assert earlier.find(make(services, {"x": b"one"}), wanted(b"one", bytes(SMALL + 1)), Progress()) == {
        Digest.of(b"one"): None,
        Digest.of(bytes(SMALL + 1)): None,
    }


def test_a_file_of_the_version_that_a_draft_starts_from_is_found_too(services, earlier):
    base = version_of(services, {"a": b"one", "b": b"two"})
    latest = version_of(services, {"c": b"three", "d": b"four"})
    found = earlier.find(make(services, {}, base=base_of(base)), wanted(b"two", b"three"), Progress())
    assert {blob: lying.home for blob, lying in found.items()} == {
        Digest.of(b"two"): base.id,
        Digest.of(b"three"): latest.id,
    }


def test_the_latest_version_goes_before_the_base_and_the_base_is_not_opened_for_nothing(services, bucket):
    opened = []

    def open_index(version):
        opened.append(version.id)
        return services.open_index(version)

    base = version_of(services, {"a": b"one", "b": b"two"})
    latest = version_of(services, {"a": b"one", "b": b"two", "c": b"three", "d": b"four"}, name="other")
    draft = make(services, {}, base=base_of(base))
    found = EarlierVersions(services.registry, open_index).find(draft, wanted(b"three", b"four"), Progress())
    assert {lying.home for lying in found.values()} == {latest.id}
    assert opened == [latest.id]


def test_a_base_that_was_deleted_is_not_looked_at(services, earlier):
    base = version_of(services, {"a": b"one", "b": b"two"})
    version_of(services, {"c": b"three", "d": b"four"})
    draft = make(services, {}, base=base_of(base))
    services.registry.delete_version(base.collection.at("v0"), delete_aliases=True)
    assert set(earlier.find(draft, wanted(b"one", b"three"), Progress())) == {Digest.of(b"three")}


@pytest.mark.parametrize("error", [NotFoundError("gone"), IntegrityError("damaged")])
def test_a_list_of_files_that_cannot_be_had_helps_nobody_and_hinders_nobody(services, bucket, error):
    base = version_of(services, {"a": b"one", "b": b"two"})
    latest = version_of(services, {"c": b"three", "d": b"four"})

    def open_index(version):
        if version.id == latest.id:
            raise error
        return services.open_index(version)

    draft = make(services, {}, base=base_of(base))
    found = EarlierVersions(services.registry, open_index).find(draft, wanted(b"one", b"three"), Progress())
    assert set(found) == {Digest.of(b"one")}


def test_a_store_that_does_not_answer_is_told(services, bucket):
    version_of(services, {"a": b"one", "b": b"two"})

    def open_index(_):
        raise UnreachableError("the store does not answer")

    with pytest.raises(UnreachableError, match="does not answer"):
        EarlierVersions(services.registry, open_index).find(make(services, {}), wanted(b"one"), Progress())


def test_the_same_bytes_by_another_algorithm_are_not_the_same_file(services, earlier):
    version_of(services, {"a": b"one", "b": b"two"})
    assert earlier.find(make(services, {}), {Digest.of(b"one", Algorithm.XXH128): 3}, Progress()) == {}


def test_a_file_that_earlier_versions_have_is_not_sent_again(services, bucket, target):
    files = {f"{number:03}": b"%d" % number for number in range(300)}
    first = version_of(services, files)
    bucket.sent.clear()
    one = target()
    _, entries = store(one, make(services, files | {"123": b"changed", "new/one": b"new", "moved": b"77"}))
    assert bucket.sent == {Digest.of(b"changednew"): b"changednew"}
    assert one.homes == {first.id}
    assert {entry.path: read(bucket, entry) for entry in entries}["moved"] == b"77"


def test_one_changed_file_is_sent_by_itself_and_everything_can_be_read(services, bucket):
    files = {f"{number:03}": b"%d" % number for number in range(300)}
    version_of(services, files)
    bucket.sent.clear()
    second = version_of(services, files | {"123": b"changed"})
    assert set(bucket.sent) == {Digest.of(b"changed"), second.manifest.digest}
    assert content(services, second) == files | {"123": b"changed"}


def test_a_version_of_versions_keeps_the_places_of_them_all(services, bucket):
    files = {}
    for number in range(4):
        files |= {f"{number}/{name}": f"{number}{name}".encode() for name in ("a", "b", "c")}
        files.pop(f"{number - 1}/b", None)
        version = version_of(services, files)
    assert content(services, version) == files
    assert len({entry.packed.pack for entry in services.open_index(version).entries()}) == 4


def test_a_draft_that_starts_from_packs_keeps_what_it_does_not_change(services, bucket):
    first = version_of(services, {"a": b"one", "b": b"two", "c": b"three"})
    bucket.sent.clear()
    draft = make(services, {}, base=base_of(first))
    draft.tree.copy_up("b", [b"changed"])
    draft.tree.rename("a", "z")
    draft.tree.unlink("c")
    write(draft, {"n": b"three"})  # bytes that were there
    second = commit(services, draft).version
    assert content(services, second) == {"b": b"changed", "z": b"one", "n": b"three"}
    assert set(bucket.sent) == {Digest.of(b"changed"), second.manifest.digest}


def test_a_new_version_has_its_bytes_although_the_pack_of_an_earlier_one_is_gone(services, bucket):
    version_of(services, {"a": b"one", "b": b"two"})
    bucket.lose(Digest.of(b"onetwo"))
    second = version_of(services, {"a": b"one", "b": b"two", "c": b"three"})
    named = {entry.path: entry for entry in services.open_index(second).entries()}
    assert {path: read(bucket, entry) for path, entry in named.items()} == {"a": b"one", "b": b"two", "c": b"three"}


# What vanishes --------------------------------------------------------------------------------------------------------


def restored(target, bucket, draft, hashed):
    """Restore what is not there any more, and return what the manifest says then, after it was read."""
    names = {name for one in hashed if one.item.size for name in target.named(one.entry).stored}
    target.restore(draft, hashed, target.missing(names), Progress())
    manifest = target.store_manifest([one.entry for one in hashed])
    with contextlib.closing(bucket.open(manifest.digest)) as source:
        return list(decode_manifest([bytes(source.read(0, manifest.size))]))


@pytest.fixture
def many():
    files = {f"{number:02}": random.Random(number).randbytes(SMALL) for number in range(PACK_SIZE // SMALL + 8)}
    return files | {"big": os.urandom(SMALL + 1), "empty": b""}


@pytest.mark.parametrize("lost", [[0], [1], [0, 1]])
def test_packs_that_vanish_during_a_commit_are_brought_again(services, bucket, target, many, lost):
    one, draft = target(), make(services, many)
    hashed, entries = store(one, draft)
    packs = list(dict.fromkeys(entry.packed.pack for entry in entries if entry.packed))
    for number in lost:
        bucket.lose(packs[number])
    found = restored(one, bucket, draft, hashed)
    assert {entry.path: read(bucket, entry) for entry in found} == many


def test_a_file_by_itself_that_vanishes_is_brought_again(services, bucket, target, many):
    one, draft = target(), make(services, many)
    hashed, _ = store(one, draft)
    bucket.lose(Digest.of(many["big"]))
    assert {entry.path: read(bucket, entry) for entry in restored(one, bucket, draft, hashed)} == many


def test_what_is_restored_of_an_earlier_pack_lies_in_a_new_one_and_needs_no_version(services, bucket, target):
    files = {"a": b"one", "b": b"two", "c": b"three"}
    version_of(services, files)
    one, draft = target(), make(services, {"a": b"one", "c": b"three", "d": b"four", "e": b"five"})
    hashed, _ = store(one, draft)
    assert one.homes
    bucket.lose(Digest.of(b"onetwothree"))
    found = restored(one, bucket, draft, hashed)
    assert {entry.path: read(bucket, entry) for entry in found} == {
        "a": b"one",
        "c": b"three",
        "d": b"four",
        "e": b"five",
    }
    assert one.homes == frozenset()


def test_a_single_file_that_is_restored_of_an_earlier_pack_lies_by_itself(services, bucket, target):
    version_of(services, {"a": b"one", "b": b"two"})
    one, draft = target(), make(services, {"a": b"one", "big": bytes(SMALL + 1)})
    hashed, _ = store(one, draft)
    bucket.lose(Digest.of(b"onetwo"))
    found = restored(one, bucket, draft, hashed)
    assert {entry.path: read(bucket, entry) for entry in found} == {"a": b"one", "big": bytes(SMALL + 1)}
    assert all(entry.packed is None for entry in found)


def test_restoring_tells_which_blobs_were_brought_and_no_others(services, bucket, target):
    version_of(services, {"a": b"one", "b": b"two"})
    one, draft = target(), make(services, {"a": b"one", "c": b"three", "d": b"four"})
    hashed, _ = store(one, draft)
    old, kept = Digest.of(b"onetwo"), Digest.of(b"threefour")
    bucket.lose(old)
    assert one.restore(draft, hashed, {old}, Progress()) == {Digest.of(b"one")}
    assert kept in bucket.sent


STEPS = ["reserved", "adopted", "stored"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kept", [b"one", b"nothing of it"])
def test_a_version_that_is_deleted_and_collected_during_a_commit_takes_nothing_from_it(services, bucket, step, kept):
    world = World(services)
    first = world.commit({"a": b"one", "b": b"two", "c": b"three"})
    done = []

    def collect(name):
        if name == step and not done:
            done.append(name)
            world.delete(first)
            world.collect()

    files = {"a": kept, "b": b"two", "d": b"four", "e": b"five"}
    second = world.commit(files, on_step=collect)
    assert done
    for entry in services.open_index(second).entries():
        assert read(bucket, entry) == files[entry.path]
    world.collect()
    for entry in services.open_index(second).entries():
        assert read(bucket, entry) == files[entry.path]


def test_what_nobody_has_any_more_fails_the_commit_by_its_name(services, bucket):
    world = World(services)
    first = world.commit({"a": b"one", "b": b"two"})
    draft = make(services, {"new": b"new"}, base=base_of(first))
    done = []

    def collect(name):
        if name == "stored" and not done:
            done.append(name)
            world.delete(first)
            bucket.lose(Digest.of(b"onetwo"))

    with pytest.raises(NotFoundError, match="the bytes of a are not in the store"):
        commit(services, draft, on_step=collect)


def test_a_pack_stays_as_long_as_one_of_its_files_is_needed(services, bucket):
    world = World(services)
    first = world.commit({"a": b"one", "b": b"two", "c": b"three"})
    second = world.commit({"b": b"two", "d": b"four"})
    third = world.commit({"x": b"unrelated"})
    world.delete(first)
    world.collect()
    assert bucket.has(Digest.of(b"onetwothree"))
    assert {read(bucket, entry) for entry in services.open_index(second).entries()} == {b"two", b"four"}
    world.delete(second)
    world.collect()
    assert not bucket.has(Digest.of(b"onetwothree"))
    assert world.content(third) == {"x": b"unrelated"}


def test_a_draft_keeps_the_packs_of_its_base(services, bucket):
    world = World(services)
    first = world.commit({"a": b"one", "b": b"two"})
    draft = make(services, {"new": b"new"}, base=base_of(first))
    world.commit({"x": b"unrelated"}, name="other")
    world.delete(first)
    world.collect()
    assert bucket.has(Digest.of(b"onetwo"))
    draft.discard()


def test_a_commit_that_broke_off_sends_only_the_packs_that_are_not_there(services, bucket, many, monkeypatch):
    draft = make(services, many)
    hashed = hashed_of(draft)
    write_to, count = Bucket.write, []

    def break_off(self, blob, data):
        count.append(blob)
        if len(count) == 2:
            raise UnreachableError("the store is away")
        write_to(self, blob, data)

    monkeypatch.setattr(Bucket, "write", break_off)
    monkeypatch.setattr("artfs.staging.upload._PACKS", 1)
    with pytest.raises(UnreachableError):
        StoreTarget(bucket).store_files(draft, hashed, Progress())
    monkeypatch.setattr(Bucket, "write", write_to)
    first = set(bucket.sent)
    assert len(first) == 1
    one = StoreTarget(bucket)
    one.store_files(draft, hashed, Progress())  # the bucket refuses what was sent twice
    entries = [one.named(each.entry) for each in hashed]
    assert {entry.path: read(bucket, entry) for entry in entries} == many


def test_commits_at_the_same_time_with_the_same_files_make_the_same_pack(services, bucket):
    files = {f"{number:03}": b"%d" % number for number in range(100)}
    drafts = [make(services, files, f"draft-{number}") for number in range(2)]
    found = []
    for draft in drafts:
        target = StoreTarget(bucket)
        _, entries = store(target, draft)
        found.append([entry.packed for entry in entries])
    assert found[0] == found[1]
    assert len(bucket.sent) == 1


def test_a_collection_of_another_name_has_packs_of_its_own(services, bucket, earlier):
    version_of(services, {"a": b"one", "b": b"two"})
    other = services.drafts.create(CollectionRef("me", "demo", "other"), "draft", None)
    write(other, {"a": b"one"})
    assert earlier.find(other, wanted(b"one"), Progress()) == {}


def test_a_symlink_to_a_small_file_of_its_draft_lies_where_that_lies(services, bucket):
    draft = make(services, {"a": b"one", "b": b"two"})
    draft.tree.symlink("c", "a")
    version = commit(services, draft).version
    named = {entry.path: entry for entry in services.open_index(version).entries()}
    assert named["c"].packed == named["a"].packed is not None
    assert content(services, version) == {"a": b"one", "b": b"two", "c": b"one"}


def test_execute_bits_come_back_out_of_a_pack(services, bucket):
    draft = make(services, {"a": b"one", "run.sh": b"two"})
    Path(draft.tree.local_path("run.sh")).chmod(0o755)
    version = commit(services, draft).version
    assert {entry.path: entry.executable for entry in services.open_index(version).entries()} == {
        "a": False,
        "run.sh": True,
    }
    assert all(entry.packed for entry in services.open_index(version).entries())


def test_the_digest_of_a_version_is_that_of_the_same_files_by_themselves(services, bucket):
    files = {f"{number:03}": b"%d" % number for number in range(100)}
    packed = version_of(services, files)
    lines = ((path, Digest.of(data).base64) for path, data in sorted(files.items()))
    assert packed.digest == version_digest(lines)
    assert (packed.size, packed.file_count) == (sum(map(len, files.values())), 100)


def test_equal_content_is_nothing_new_wherever_it_lies(services, bucket):
    first = version_of(services, {"a": b"one"})  # by itself
    version_of(services, {"a": b"one", "b": b"two"})
    again = version_of(services, {"a": b"one"})
    assert again.digest == first.digest
    assert again.index == 2
    assert commit(services, make(services, {"a": b"one"})).created is False


# kill -9 --------------------------------------------------------------------------------------------------------------

KILLED = {f"d{number % 3}/f{number:02}": bytes([number]) * (number * 9_000 + 1) for number in range(60)}
KILLED["big"] = bytes(SMALL + 1)

SCRIPT = """
import os, signal, sys
from artfs.app.services import open_services
from artfs.config import load_config
from tests.app.gc_world import ElsewhereStore, use_store_elsewhere
from tests.staging.test_commit import commit, make
from tests.staging.test_packing_store import KILLED
step = sys.argv[1]
def on_step(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)
write, count = ElsewhereStore.write, []
def killing(self, blob, data):
    write(self, blob, data)
    count.append(blob)
    on_step(f"write {len(count)}")
ElsewhereStore.write = killing
with open_services(load_config()) as services:
    use_store_elsewhere(services)
    commit(services, make(services, KILLED), "best", on_step=on_step)
"""


@pytest.mark.parametrize("step", ["reserved", "write 1", "write 2", "adopted", "stored", "published"])
def test_a_commit_to_a_bucket_that_was_killed_is_resumed(services, bucket, step):
    done = subprocess.run([sys.executable, "-c", SCRIPT, step], cwd=os.getcwd(), check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    (draft,) = services.drafts.acquire()
    result = services.committer().run(draft, Progress())  # the bucket refuses what is sent twice
    assert result.created
    (version,) = services.registry.versions(draft.collection)
    assert (version.index, version.aliases) == (0, ("best", "latest"))
    assert content(services, version) == KILLED
    world = World(services)
    needed = {str(name) for entry in services.open_index(version).entries() for name in entry.stored}
    world.collect()
    assert world.stored() == needed | {str(version.manifest.digest)}
    assert content(services, version) == KILLED
