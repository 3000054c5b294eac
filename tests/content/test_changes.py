"""The changes between two versions as a whole: sorted, with renames found, counted, and not in memory."""

import subprocess
import sys

import pytest

from artfs.content.changes import Changes, Counts
from artfs.errors import NoSpaceError
from artfs.model.diff import Kind, Line, compare, order_key


def changes_of(before, after, size=10):
    def lines(tree):
        return [Line(path, tree[path], size) for path in sorted(tree, key=order_key)]

    return Changes(compare(lines(before), lines(after)))


def renames(changes):
    return {change.before.path: change.after.path for change in changes if change.kind is Kind.RENAMED}


def test_a_file_under_another_path_with_the_same_bytes_is_renamed():
    with changes_of({"a": "1", "b": "2", "c": "3"}, {"a": "1", "d": "2", "c": "4", "e": "5"}) as changes:
        assert [(change.kind.value, change.path) for change in changes] == [
            ("changed", "c"), ("renamed", "d"), ("added", "e"),
        ]  # fmt: skip
        assert renames(changes) == {"b": "d"}
        assert changes.counts() == Counts(added=1, removed=0, changed=1, renamed=1, bytes=10)


def test_a_file_that_is_still_there_was_not_renamed():
    with changes_of({"a": "1"}, {"a": "1", "copy": "1"}) as changes:
        assert changes.counts() == Counts(1, 0, 0, 0, 10)


def test_of_files_with_the_same_bytes_those_that_kept_their_names_belong_together():
    before = {"x/a": "0", "x/b": "0", "x/c": "0", "x/d": "0"}
    after = {"y/d": "0", "y/z": "0", "y/b": "0"}
    with changes_of(before, after) as changes:
        assert renames(changes) == {"x/b": "y/b", "x/d": "y/d", "x/a": "y/z"}
        assert [change.path for change in changes if change.kind is Kind.REMOVED] == ["x/c"]


def test_what_has_no_digest_is_no_rename():
    with changes_of({"a": ""}, {"b": ""}) as changes:
        assert changes.counts() == Counts(1, 1, 0, 0, 0)


def test_sums_of_directories_at_the_top():
    with changes_of({"a": "1", "d/x": "2", "d/y": "3"}, {"a": "2", "d/x": "1", "e/f/z": "9"}) as changes:
        assert list(changes.by_directory()) == [
            ("", Counts(0, 0, 1, 0, 0)),
            ("d", Counts(0, 1, 1, 0, -10)),
            ("e", Counts(1, 0, 0, 0, 10)),
        ]


def test_changes_come_sorted_whatever_order_they_were_added_in():
    with Changes() as changes:
        for path in ("z", "a/b/c", "a", "b/a"):
            changes.add(compare([], [Line(path, path, 1)]))
        assert [change.path for change in changes] == ["a", "z", "a/b/c", "b/a"]
        assert [change.path for change in changes] == ["a", "z", "a/b/c", "b/a"]


def test_a_full_disk_is_said():
    with Changes() as changes:
        changes._database.execute("PRAGMA max_page_count = 20")
        with pytest.raises(NoSpaceError, match="no space left for the list of changes"):
            changes.add(compare([], (Line(f"{number:09}", "digest", 1) for number in range(5000))))


PROGRAM = """
import resource, sys
from artfs.content.changes import Changes
from artfs.model.diff import Line, compare
count = int(sys.argv[1])
def lines(top):
    return (Line(f"{top}/a-directory-with-a-name/{number:012}", f"digest-of-{number:012}", 10) for number in range(count))
with Changes(compare(lines("before"), lines("after"))) as changes:
    assert changes.counts().renamed == count
    assert sum(1 for _ in changes) == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_changes():
    few, many = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, str(count)], capture_output=True, text=True, check=True, timeout=120).stdout)
        for count in (1_000, 150_000)
    )  # fmt: skip
    assert many - few < 60 << 10  # KiB: the page caches of SQLite; as objects it would be 150 MB
