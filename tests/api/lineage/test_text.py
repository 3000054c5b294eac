"""The tree for a terminal, and the words in it."""

import unicodedata
from dataclasses import replace

import pytest

from artfs.api.lineage import render_text, trace
from artfs.api.lineage.graph import Direction
from artfs.api.lineage.labels import size_text, visible
from artfs.errors import NotFoundError
from artfs.model.names import CollectionRef, RunRef
from artfs.model.run import RunState
from tests.api.lineage.conftest import NASTY
from tests.registry.making import become, run


def shown(lineage, **more):
    return "\n".join(render_text(lineage, **more))


def test_the_tree_of_a_diamond_marks_what_was_shown(diamond):
    become(diamond.registry, replace(run("join", name="join them"), state=RunState.FINISHED))
    diamond.run("eval", ["whole"], ["report"], job_type="", name="")
    whole = diamond.version("whole")
    diamond.registry.add_aliases(whole.collection.at("v0"), ["best"])
    lineage = trace(diamond, diamond.registry.version(whole.collection.at("best")))
    assert (
        shown(lineage)
        == """\
team/proj/whole:v0 (best, latest)  dataset  3 B

logged by:
└─ run me/demo/join "join them" train finished
   ├─ team/proj/left:v0 (latest)  dataset  3 B
   │  └─ run me/demo/split "run split" train running
   │     └─ team/proj/raw:v0 (latest)  dataset  1.5 MB
   └─ team/proj/right:v0 (latest)  dataset  3 B
      └─ run me/demo/split (shown above)

used by:
└─ run me/demo/eval running
   └─ team/proj/report:v0 (latest)  dataset  3 B"""
    )


def test_what_is_not_there_is_said(world):
    assert shown(trace(world, world.version("alone"))).splitlines()[1:] == ["logged by: no run", "used by: no run"]
    lineage = trace(world, world.run("idle", [], []))
    assert shown(lineage).splitlines()[1:] == ["used: nothing", "logged: nothing"]
    lineage = trace(world, world.version("alone"), directions=(Direction.DOWN,))
    assert shown(lineage).splitlines()[1:] == ["used by: no run"]


def test_a_run_as_the_root(diamond):
    assert shown(trace(diamond, diamond.registry.run(RunRef("me", "demo", "split")), depth=1)).splitlines() == [
        'run me/demo/split "run split" train running',
        "",
        "used:",
        "└─ team/proj/raw:v0 (latest)  dataset  1.5 MB",
        "",
        "logged:",
        "├─ team/proj/left:v0 (latest)  dataset  3 B",
        "│  └─ … 1 more (--depth)",
        "└─ team/proj/right:v0 (latest)  dataset  3 B",
        "   └─ … 1 more (--depth)",
    ]


def test_a_circle_is_marked(world):
    world.run("resumed", ["model"], ["model"])
    assert "   └─ team/proj/model:v0 (shown above)" in shown(trace(world, world.version("model")))


def test_cuts_are_said_where_they_are(diamond):
    diamond.refused["used", RunRef("me", "demo", "split")] = NotFoundError("no")
    assert "│     └─ … not shown by the registry" in shown(trace(diamond, diamond.version("whole")))
    assert "└─ … 1 more (the graph is too big)" in shown(trace(diamond, diamond.version("whole"), max_nodes=1))


def test_a_link_says_where_the_version_was_logged(diamond):
    linked = diamond.registry.link(diamond.version("left").id, CollectionRef("team", "proj", "shelf"), [])
    first = shown(trace(diamond, linked)).splitlines()[0]
    assert first == "team/proj/shelf:v0 (latest)  dataset  3 B  link to team/proj/left:v0"


def test_a_chain_longer_than_the_stack_is_drawn(world):
    for step in range(1, 700):
        world.run(f"r{step}", [f"c{step - 1}"], [f"c{step}"])
    lines = shown(trace(world, world.version("c699"))).splitlines()
    assert len(lines) == 2 * 699 + 5
    assert lines[-3].endswith("team/proj/c0:v0 (latest)  dataset  3 B")


@pytest.mark.parametrize("name", NASTY)
def test_nothing_that_a_registry_says_reaches_the_terminal_as_control(diamond, name):
    lineage = trace(diamond, diamond.version("whole"))
    for key, node in lineage.nodes.items():
        if key.startswith("run:"):
            lineage.nodes[key] = replace(node, name=name, job_type=name)
        else:
            collection = replace(node.collection, entity=name, collection=name)
            lineage.nodes[key] = replace(node, collection=collection, source=node.source, aliases=(name,), type=name)
    for options in ({}, {"ascii_only": True}):
        text = shown(lineage, **options)
        assert {unicodedata.category(char) for char in text.replace("\n", "")}.isdisjoint(
            {"Cc", "Cf", "Cs", "Zl", "Zp"}
        )
        assert len(text.splitlines()) == 11
    text.encode("ascii")


def test_invisible_characters_are_shown_as_escapes():
    assert visible("a\x1b[31m\nb\u202e\u200bc\x85\ud800\uffff") == "a\\x1b[31m\\nb\\u202e\\u200bc\\x85\\ud800\\uffff"
    assert visible("Größe 模型 🎉 é") == "Größe 模型 🎉 é"
    assert visible("\U000e0041") == "\\U000e0041"


def test_long_texts_are_shortened_in_the_middle():
    assert visible("a" * 80 + "z" * 80, 10) == "aaaaaa…zzz"
    assert len(visible("\x1b" * 1000)) == 100


def test_sizes():
    sizes = [0, 999, 1000, 9_949, 9_950, 999_499, 999_500, 12_345_678, 10**15, 10**24]
    assert [size_text(size) for size in sizes] == [
        "0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "12 MB", "1.0 PB", "1000000 EB",
    ]  # fmt: skip
