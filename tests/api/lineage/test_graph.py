"""What the walk finds, where it ends, and what it asks."""

import pytest

from artfs.api.lineage import Direction, Gap, Reason, node_key, trace
from artfs.errors import NotFoundError, PermissionDeniedError, UnreachableError
from artfs.model.names import RunRef
from artfs.registry.port import Version

UP, DOWN = Direction.UP, Direction.DOWN


def names(lineage):
    return {node.collection.collection if isinstance(node, Version) else node.id for node in lineage.nodes.values()}


def edges(lineage):
    short = {
        key: node.collection.collection if isinstance(node, Version) else node.id for key, node in lineage.nodes.items()
    }
    return {(short[earlier], short[later]) for earlier, later in lineage.edges}


def gaps(lineage):
    return {(gap.reason, gap.direction, gap.count) for gap in lineage.gaps}


def chain(world, length):
    """v0 -> r1 -> v1 -> r2 -> v2 ..."""
    for step in range(1, length):
        world.run(f"r{step}", [f"v{step - 1}x"], [f"v{step}x"])


def test_a_version_that_no_run_knows_is_alone(world):
    lineage = trace(world, world.version("alone"))
    assert names(lineage) == {"alone"}
    assert (list(lineage.edges), list(lineage.gaps)) == ([], [])


def test_both_directions_are_followed_to_their_ends(world):
    chain(world, 5)
    lineage = trace(world, world.version("v2x"))
    assert names(lineage) == {*(f"v{step}x" for step in range(5)), *(f"r{step}" for step in range(1, 5))}
    assert ("v1x", "r2") in edges(lineage)
    assert ("r2", "v2x") in edges(lineage)
    assert len(lineage.edges) == 8


def test_one_direction_leaves_the_other_unasked(world):
    chain(world, 5)
    assert names(trace(world, world.version("v2x"), directions=(UP,))) == {"v2x", "r2", "v1x", "r1", "v0x"}
    assert {question for question, _ in world.asked} == {"logged_by", "used"}
    world.asked.clear()
    assert names(trace(world, world.version("v2x"), directions=(DOWN,))) == {"v2x", "r3", "v3x", "r4", "v4x"}
    assert {question for question, _ in world.asked} == {"used_by", "logged"}


def test_what_else_a_run_upstream_logged_and_a_run_downstream_used_is_not_of_the_lineage(world):
    world.run("make", ["raw"], ["data", "by-product"])
    world.run("train", ["data", "base"], ["model"])
    assert names(trace(world, world.version("data"))) == {"raw", "make", "data", "train", "model"}


def test_a_run_can_be_the_root(world):
    chain(world, 4)
    lineage = trace(world, world.registry.run(RunRef("me", "demo", "r2")), depth=1)
    assert names(lineage) == {"v1x", "r2", "v2x"}
    assert lineage.root == "run:me/demo/r2"


def test_the_ends_of_a_diamond_are_found_once_with_all_their_edges(diamond):
    lineage = trace(diamond, diamond.version("whole"))
    assert len(lineage.nodes) == 6
    assert edges(lineage) == {
        ("raw", "split"), ("split", "left"), ("split", "right"), ("left", "join"), ("right", "join"), ("join", "whole"),
    }  # fmt: skip


@pytest.mark.parametrize("root", ["data", "model"])
def test_a_circle_ends(world, root):
    world.run("resumed", ["data", "model"], ["model"])
    world.run("again", ["model"], ["data"])
    lineage = trace(world, world.version(root))
    assert edges(lineage) == {
        ("data", "resumed"), ("model", "resumed"), ("resumed", "model"), ("model", "again"), ("again", "data"),
    }  # fmt: skip


def test_each_question_is_asked_once(diamond):
    diamond.run("again", ["whole"], ["raw"])
    trace(diamond, diamond.version("left"))
    assert set(diamond.asked.values()) == {1}


def test_the_depth_counts_steps_and_what_is_beyond_is_counted(world):
    for number in range(3):
        world.run(f"use{number}", ["data"], [f"made{number}"])
    chain_end = world.version("data")
    lineage = trace(world, chain_end, depth=0)
    assert names(lineage) == {"data"}
    assert gaps(lineage) == {(Reason.DEPTH, DOWN, 3)}
    lineage = trace(world, chain_end, depth=1)
    assert names(lineage) == {"data", "use0", "use1", "use2"}
    assert gaps(lineage) == {(Reason.DEPTH, DOWN, 1)}
    assert len(lineage.gaps) == 3
    lineage = trace(world, chain_end, depth=2)
    assert len(lineage.nodes) == 7
    assert list(lineage.gaps) == []  # nothing is beyond: nothing is said


def test_at_the_depth_an_edge_between_nodes_that_are_there_is_kept(world):
    world.run("r", ["data"], ["model"])
    world.run("r", ["model"], [])
    lineage = trace(world, world.version("data"), directions=(DOWN,), depth=2)
    assert ("model", "r") in edges(lineage)
    assert list(lineage.gaps) == []


def test_the_farthest_are_cut_when_there_are_too_many_nodes(world):
    for number in range(6):
        world.run(f"use{number}", ["data"], [f"made{number}"])
    lineage = trace(world, world.version("data"), max_nodes=9)
    assert len(lineage.nodes) == 9
    assert {f"use{number}" for number in range(6)} <= names(lineage)
    assert gaps(lineage) == {(Reason.SIZE, DOWN, 1)}
    assert len(lineage.gaps) == 4
    assert len(trace(world, world.version("data"), max_nodes=13).gaps) == 0


def test_the_edges_are_bounded_too(world, monkeypatch):
    monkeypatch.setattr("artfs.api.lineage.graph.EDGES_PER_NODE", 1)
    inputs = [f"in{number}" for number in range(4)]
    for number in range(4):
        world.run(f"r{number}", inputs, ["out"] if not number else [f"out{number}"])
        world.run("last", [f"out{number}" if number else "out"], ["end"])
    for name in inputs:
        world.run("first", [], [name])
    lineage = trace(world, world.version("end"), max_nodes=14)
    assert len(lineage.edges) == 14
    assert Reason.SIZE in {gap.reason for gap in lineage.gaps}


@pytest.mark.parametrize("error", [NotFoundError("no"), PermissionDeniedError("no")])
def test_what_the_registry_does_not_show_is_a_gap(diamond, error):
    diamond.refused["used", RunRef("me", "demo", "split")] = error
    lineage = trace(diamond, diamond.version("whole"), directions=(UP,))
    assert names(lineage) == {"whole", "join", "left", "right", "split"}
    assert list(lineage.gaps) == [Gap("run:me/demo/split", UP, Reason.HIDDEN, None)]


def test_a_registry_that_does_not_answer_is_an_error(diamond):
    diamond.refused["used", RunRef("me", "demo", "join")] = UnreachableError("away")
    with pytest.raises(UnreachableError):
        trace(diamond, diamond.version("whole"))


def test_a_deleted_version_is_not_shown(diamond):
    left = diamond.version("left")
    diamond.registry.delete_version(left.collection.at("v0"), delete_aliases=True)
    assert names(trace(diamond, diamond.version("whole"))) == {"whole", "join", "right", "split", "raw"}


def test_a_version_in_a_portfolio_is_the_version(diamond):
    from artfs.model.names import CollectionRef

    left = diamond.version("left")
    linked = diamond.registry.link(left.id, CollectionRef("team", "proj", "shelf"), ["good"])
    lineage = trace(diamond, linked)
    assert lineage.root == node_key(left)
    assert len(lineage.nodes) == 5
    assert lineage.nodes[lineage.root] is linked


def test_no_direction_takes_the_room_of_the_other(world):
    chain(world, 30)
    lineage = trace(world, world.version("v14x"), max_nodes=9)
    assert names(lineage) == {"v12x", "r13", "v13x", "r14", "v14x", "r15", "v15x", "r16", "v16x"}
    assert gaps(lineage) == {(Reason.SIZE, UP, 1), (Reason.SIZE, DOWN, 1)}
