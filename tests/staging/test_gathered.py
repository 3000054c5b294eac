"""What a commit gathers: sorted, checked, a few in memory and many on disk, gone at the end."""

import random
import sqlite3
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError, NoSpaceError
from artfs.model.digest import Algorithm, version_digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import parse_entry_path
from artfs.staging import gathered
from artfs.staging.drafts import DraftReference
from artfs.staging.gathered import Gathered, check
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted, Progress
from artfs.storage.port import ObjectInfo
from artfs.storage.references import FileReferences
from artfs.storage.resolver import References
from tests.model.strategies import entry_paths, examples
from tests.staging.test_commit import write


def entry(path, number=0):
    digest = f"{number:032x}"
    extra = {"etag": digest, "versionID": number} if number % 3 else {}
    return Entry(parse_entry_path(path), digest, number, ref=f"s3://bucket/{path}", extra=extra)


def lines(entries):
    return [(one.path, one.digest, one.size) for one in entries]


@pytest.fixture
def few(monkeypatch):
    """Little is many, so that small tests go to the disk."""
    monkeypatch.setattr(gathered, "IN_MEMORY", 10)
    monkeypatch.setattr(gathered, "_BATCH", 4)


@pytest.mark.parametrize("count", [0, 1, 10, 11, 12, 100])
@pytest.mark.parametrize("own", [0, 30])
def test_entries_come_back_as_they_were_sorted_by_path_and_as_often_as_wanted(few, tmp_path, count, own):
    names = [f"{directory}{number}" for number in range(count) for directory in ("", "ü/", "a b/c-")]
    entries = [entry(f"x{name}", number) for number, name in enumerate(names)]
    mine = [entry(f"own{number}", number) for number in range(own)]
    random.Random(count).shuffle(entries)
    found = Gathered(tmp_path)
    for one in entries:
        found.add(one)
    found.add_own(reversed(mine))
    expected = sorted(entries + mine, key=lambda one: one.path)
    assert list(found) == list(found) == expected
    assert list(found.lines()) == lines(expected)
    assert b"".join(encode_manifest(found)) == b"".join(encode_manifest(expected))
    assert (tmp_path / "gathered.sqlite").exists() == (len(entries) > 10)
    found.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_has_left_is_not_taken_for_an_entry(few, tmp_path):
    left = Gathered(tmp_path)
    for number in range(20):
        left.add(entry(f"old{number}"))
    found = Gathered(tmp_path)
    for number in range(20):
        found.add(entry(f"new{number}"))
    assert {one.path[:3] for one in found} == {"new"}
    found.close()
    left._database.close()


def test_the_totals_are_those_of_all_entries():
    entries = [entry("a", 5), entry("b/c", 7)]
    totals = check(lines(entries), Algorithm.XXH128)
    assert (totals.size, totals.count) == (12, 2)
    assert totals.digest == version_digest([(one.path, one.digest) for one in entries], Algorithm.XXH128)


def conflicts(paths):
    """Say in the plainest way whether paths cannot be in one tree."""
    return len(set(paths)) != len(paths) or any(longer.startswith(f"{path}/") for path in paths for longer in paths)


parts = st.lists(st.sampled_from(["a", "b", "a-", "a.b", "ab"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(parts, max_size=6) | st.lists(entry_paths, max_size=4))
@examples(500)
def test_paths_that_cannot_be_in_one_tree_are_refused_and_no_others(paths):
    entries = [entry(path) for path in sorted(paths)]
    if conflicts(paths):
        with pytest.raises(InvalidInputError, match=r"comes twice|is a file, and a directory with"):
            check(lines(entries), Algorithm.MD5)
    else:
        assert check(lines(entries), Algorithm.MD5).count == len(paths)


def test_a_conflict_is_named_also_if_it_is_on_disk(few, tmp_path):
    for extra, message in (("d/5", "d/5 comes twice"), ("d/5/x", "d/5 is a file, and a directory with d/5/x in it")):
        found = Gathered(tmp_path)
        for number in range(50):
            found.add(entry(f"d/{number}"))
        found.add_own([entry(extra)])
        with pytest.raises(InvalidInputError, match=message):
            check(found.lines(), Algorithm.MD5)
        found.close()


def test_more_files_than_a_manifest_may_have_are_refused(monkeypatch):
    monkeypatch.setattr(gathered, "MAX_ENTRIES", 3)
    check(lines(map(entry, "abc")), Algorithm.MD5)
    with pytest.raises(InvalidInputError, match="at most 3 files"):
        check(lines(map(entry, "abcd")), Algorithm.MD5)


def test_memory_does_not_grow_with_what_a_reference_stands_for(tmp_path):
    def peak(count):
        tracemalloc.start()
        found = Gathered(tmp_path)
        for number in range(count):
            found.add(entry(f"part-{number // 1000:04d}/image-{number:08d}", number))
        check(found.lines(), Algorithm.MD5)
        for _ in encode_manifest(found):
            pass
        found.close()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(40_000) < 1.2 * peak(20_000)


def test_a_full_disk_is_no_space(few, tmp_path, monkeypatch):
    found = Gathered(tmp_path)

    class Full:
        def execute(self, *_):
            raise sqlite3.OperationalError("database or disk is full")

        def close(self):
            pass

    for number in range(11):
        found.add(entry(str(number)))
    real, found._database = found._database, Full()
    for number in range(11, 14):
        found.add(entry(str(number)))
    with pytest.raises(NoSpaceError, match=str(tmp_path)):
        found.add(entry("14"))
    real.close()
    found.close()


# In a commit ----------------------------------------------------------------------------------------------------


class Bucket:
    """Objects of a bucket, without their bytes. ``each`` is told of each object before it is listed."""

    def __init__(self, count, each=lambda _: None):
        self.count, self.each = count, each

    def list(self, prefix):
        for number in range(self.count):
            self.each(number)
            yield ObjectInfo(f"{prefix}part-{number % 7}/{number:06d}", number + 1, etag=f"{number:032x}")

    def close(self):
        pass


def referring(services, bucket):
    """Make a draft that refers to all of a bucket, and has a file of its own."""
    services.__dict__["references"] = References(FileReferences(None, []), {"s3": lambda: bucket})
    draft = services.drafts.create(CollectionRef("me", "demo", "data"), "draft")
    write(draft, {"zzz/own": b"mine", "README": b"text"})
    draft.add_reference(DraftReference("s3://bucket/", "data", True, 10_000_000))
    return draft


def test_a_commit_of_many_objects_names_them_all_and_leaves_nothing_behind(services, few):
    draft, progress = referring(services, Bucket(1000)), Progress()
    committer = services.committer()
    committer.freeze(draft, Journal())
    version = committer.run(draft, progress).version
    found = list(services.open_index(version).entries())
    paths = {f"data/part-{number % 7}/{number:06d}" for number in range(1000)} | {"zzz/own", "README"}
    assert {one.path for one in found} == paths
    assert (version.file_count, version.size) == (1002, sum(range(1001)) + 8)
    assert version.digest == version_digest(sorted((one.path, one.digest) for one in found))
    assert not draft.directory.exists()


def test_a_listing_can_be_interrupted_and_the_commit_done_again(services, few):
    progress = Progress()

    def interrupt(number):
        if number == 500:
            progress.cancelled.set()
        assert number < 510

    draft = referring(services, Bucket(1000, interrupt))
    committer = services.committer()
    committer.freeze(draft, Journal())
    with pytest.raises(CommitInterrupted):
        committer.run(draft, progress)
    assert committer.is_frozen(draft)
    assert not (draft.directory / "gathered.sqlite").exists()
    services.__dict__["references"] = References(FileReferences(None, []), {"s3": lambda: Bucket(1000)})
    assert services.committer().run(draft, Progress()).version.file_count == 1002
