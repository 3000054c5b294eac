import itertools

import pytest

from artfs.errors import InvalidInputError, NotFoundError
from artfs.wandb.operation import Operation
from artfs.wandb.paging import edges, pages
from tests.wandb.stub import data

FILES = Operation("Files", "query Files($cursor: String, $perPage: Int) { project { files { x } } }")
PATH = ["project", "files"]


def page(names, cursor=None, *, more=True):
    found = [{"version": f"of {name}", "node": {"name": name}} for name in names]
    return data(project={"files": {"edges": found, "pageInfo": {"endCursor": cursor, "hasNextPage": more}}})


def names(found):
    return [node["name"] for node in found]


def test_all_pages_are_walked_to_the_last(session, server):
    server.script += [page("ab", "1"), page("", "2"), page("c", "3", more=False)]
    assert names(pages(session, FILES, {"entity": "e"}, PATH, page_size=2)) == ["a", "b", "c"]
    assert [request.json["variables"] for request in server.requests] == [
        {"entity": "e", "cursor": cursor, "perPage": 2} for cursor in (None, "1", "2")
    ]


def test_a_page_is_asked_for_when_it_is_needed(session, server):
    server.script += [page("ab", "1"), page("c", more=False)]
    found = pages(session, FILES, {}, PATH)
    assert server.requests == []
    assert names(itertools.islice(found, 2)) == ["a", "b"]
    assert len(server.requests) == 1
    assert names(found) == ["c"]
    assert len(server.requests) == 2


def test_edges_have_what_stands_beside_the_node(session, server):
    server.script += [page("a", more=False)]
    assert list(edges(session, FILES, {}, PATH)) == [{"version": "of a", "node": {"name": "a"}}]


def test_nulls_are_left_out(session, server):
    found = {"edges": [None, {"node": None}, {"node": {"name": "a"}}], "pageInfo": {"hasNextPage": False}}
    server.script += [data(project={"files": found})]
    assert names(pages(session, FILES, {}, PATH)) == ["a"]


@pytest.mark.parametrize("cursors", [["1", "1"], ["1", "2", "1"], [None], [""], [3]])
def test_a_cursor_that_leads_nowhere_is_refused(session, server, cursors):
    server.script += [page("a", cursor) for cursor in cursors]
    with pytest.raises(InvalidInputError, match="cursor"):
        list(pages(session, FILES, {}, PATH))


def test_a_list_without_an_end_is_refused(session, server):
    numbers = itertools.count()
    server.default = lambda _: page("", str(next(numbers)))
    with pytest.raises(InvalidInputError, match="more than 5 pages"):
        list(pages(session, FILES, {}, PATH, most_pages=5))
    assert len(server.requests) == 5


def test_what_is_null_on_the_path_is_not_found(session, server):
    server.script += [data(project=None), data(project={"files": None})]
    for what in ("project", "project.files"):
        with pytest.raises(NotFoundError, match=f"{what} is not there"):
            list(pages(session, FILES, {}, PATH))


@pytest.mark.parametrize(
    "project",
    [
        {},
        {"files": []},
        {"files": {}},
        {"files": {"edges": []}},
        {"files": {"edges": {}, "pageInfo": {"hasNextPage": False}}},
        7,
    ],
)
def test_a_reply_without_the_list_is_refused(session, server, project):
    server.script += [data(project=project)]
    with pytest.raises(InvalidInputError, match="has no"):
        list(pages(session, FILES, {}, PATH))
