"""What differs between two versions: as sets of paths and digests say, one line of each in memory."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from artfs.model.diff import Change, Kind, Line, change_of, compare, digest_text, line_of, merge, order_key
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import Entry
from artfs.model.paths import parse_entry_path
from tests.model.strategies import entry_paths, examples

trees = st.dictionaries(entry_paths, st.sampled_from("xyz"), max_size=12)


def lines(tree):
    return [Line(path, tree[path], len(path)) for path in sorted(tree, key=order_key)]


def below(tree):
    """Return the directories of a tree, each with its files and directories, as an index has them."""
    found = {"": (set(), set())}
    for path in tree:
        parts = path.split("/")
        for depth in range(len(parts)):
            directory = "/".join(parts[:depth])
            found.setdefault(directory, (set(), set()))[depth + 1 < len(parts)].add(parts[depth])
    return found


def walked(directories, at=""):
    files, names = directories[at]
    for name in sorted(files):
        yield f"{at}/{name}" if at else name
    for name in sorted(names):
        yield from walked(directories, f"{at}/{name}" if at else name)


@given(trees)
@examples(300)
def test_paths_are_in_the_order_of_a_walk_that_lists_files_before_directories(tree):
    assert sorted(tree, key=order_key) == list(walked(below(tree)))


@given(trees, trees)
@examples(300)
def test_the_changes_are_what_sets_say(before, after):
    found = list(compare(lines(before), lines(after)))
    kinds = {kind: {change.path for change in found if change.kind is kind} for kind in Kind}
    assert kinds == {
        Kind.ADDED: after.keys() - before.keys(),
        Kind.REMOVED: before.keys() - after.keys(),
        Kind.CHANGED: {path for path in before.keys() & after.keys() if before[path] != after[path]},
        Kind.RENAMED: set(),
    }
    assert [change.path for change in found] == sorted((change.path for change in found), key=order_key)
    for change in found:
        assert change.before == (
            Line(change.path, before[change.path], len(change.path)) if change.path in before else None
        )
        assert change.after == (
            Line(change.path, after[change.path], len(change.path)) if change.path in after else None
        )


@given(trees, trees)
@examples(100)
def test_the_changes_the_other_way_are_those_reversed(before, after):
    assert [change.reversed() for change in compare(lines(before), lines(after))] == list(
        compare(lines(after), lines(before))
    )


def test_two_endless_versions_are_compared_a_line_at_a_time():
    taken = [0, 0]

    def endless(side):
        for number in itertools.count():
            taken[side] += 1
            yield Line(f"{number:09}", f"{number // 1000 * side}", 1)

    first = next(compare(endless(0), endless(1)))
    assert first == Change(Kind.CHANGED, Line("000001000", "0", 1), Line("000001000", "1", 1))
    assert max(taken) <= 1002


def test_a_file_that_became_a_directory_is_removed_and_what_is_in_it_added():
    found = list(compare([Line("a", "x", 1)], [Line("a/b", "x", 1)]))
    assert [(change.kind, change.path) for change in found] == [(Kind.REMOVED, "a"), (Kind.ADDED, "a/b")]


def test_only_digests_count_and_those_of_two_algorithms_are_never_the_same():
    text = Digest.of(b"").base64
    md5 = line_of(Entry(parse_entry_path("a"), text, 0))
    xxh = line_of(Entry(parse_entry_path("a"), text, 0, extra={"alg": "XXH128"}))
    assert md5 == Line("a", text, 0)
    assert xxh.digest == digest_text(text, Algorithm.XXH128) != md5.digest
    executable = line_of(Entry(parse_entry_path("a"), text, 5, extra={"executable": True}))
    assert change_of(md5, executable) is None
    assert change_of(md5, xxh).kind is Kind.CHANGED
    assert change_of(None, None) is None


def test_what_has_no_partner_is_paired_with_none():
    assert list(merge("acd", "bce", str, str)) == [("a", None), (None, "b"), ("c", "c"), ("d", None), (None, "e")]
    assert list(merge("", "a", str, str)) == [(None, "a")]
    assert list(merge("a", "", str, str)) == [("a", None)]
