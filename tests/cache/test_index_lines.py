"""The lines of an index, which versions are compared by: what its entries say, in the order that comparing relies on."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artfs.model.diff import line_of, order_key
from artfs.model.digest import Digest
from artfs.model.entry import Entry
from artfs.model.paths import parse_entry_path
from tests.cache.test_index import entry, manifest_of, open_index
from tests.model.strategies import names

NAMES = st.sampled_from(["a", "a-", "a.b", "a0", "b", "ü", "z"]) | names


def fitting(paths):
    """Return the paths without those that are both a file and a directory."""
    kept = []
    for path in sorted(paths):
        parents = {"/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)}
        if not parents & set(kept):
            kept.append(path)
    return kept


@given(paths=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=20))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_lines_and_entries_come_in_the_order_of_order_key(tmp_path, paths):
    entries = [entry(path, number) for number, path in enumerate(fitting({parse_entry_path(one) for one in paths}))]
    index = open_index(tmp_path, manifest_of(*entries))
    expected = [line_of(one) for one in sorted(entries, key=lambda one: order_key(one.path))]
    assert list(index.lines()) == [line_of(one) for one in index.entries()] == expected


def test_lines_say_the_algorithm_and_may_be_of_a_part(tmp_path):
    other = Entry(parse_entry_path("d/x"), Digest.of(b"x").base64, 1, extra={"alg": "XXH128", "executable": True})
    index = open_index(tmp_path, manifest_of(entry("a", 1, extra={"executable": True}), other, entry("d/e/y", 2)))
    assert [(line.path, line.size) for line in index.lines(index.find("d").number)] == [("d/x", 1), ("d/e/y", 2)]
    assert list(index.lines(index.find("d/x").number)) == [line_of(other)]
    assert line_of(other) in list(index.lines())
