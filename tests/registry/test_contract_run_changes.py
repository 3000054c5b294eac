"""Changing a run while others do the same. Runs on every implementation."""

import contextlib
from datetime import UTC, datetime
from functools import partial

import pytest

from artfs.errors import ConflictError, InvalidInputError, NotFoundError
from artfs.model.run import RunChange, RunProgress, RunState
from tests.registry.making import UNRECORDABLE, everything, run
from tests.registry.test_contract_concurrency import at_once

FIRST = run("r1", config={"a": 1, "b": [1, 2]}, metadata={"host": "here"})
R1 = FIRST.ref
ENDED = datetime(2024, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)


def change(registry, **values):
    return registry.change_run(R1, RunChange(**values))


@pytest.fixture
def first(registry):
    registry.record_run(FIRST)
    registry.record_run(run("r2", config={"a": 1}))
    return FIRST


def test_all_of_a_run_changes_at_once_and_is_returned(registry, first):
    found = change(
        registry,
        name=("run r1", "better"),
        job_type=("train", "eval"),
        config=(first.config, {"b": [1, 2], "c": {"d": None}}),
        metadata={"host": "there"},
        progress=RunProgress(RunState.FAILED, 3, ENDED),
    )
    assert (found.name, found.job_type, found.config) == ("better", "eval", {"b": [1, 2], "c": {"d": None}})
    assert (found.metadata, found.state, found.exit_code) == ({"host": "there"}, RunState.FAILED, 3)
    assert (found.finished_at, found.created_at) == (ENDED, first.created_at)
    assert found == registry.run(R1)


def test_what_is_left_out_stays_as_it_is(registry, first):
    change(registry, progress=RunProgress(RunState.FAILED, 3, ENDED))
    before = registry.run(R1)
    after = change(registry, config=({}, {"c": 1}))
    assert after.config == {"a": 1, "b": [1, 2], "c": 1}
    assert (after.name, after.metadata, after.state) == (before.name, before.metadata, before.state)
    assert (after.exit_code, after.finished_at) == (3, ENDED)


def test_a_run_that_goes_on_has_no_end(registry, first):
    change(registry, progress=RunProgress(RunState.FAILED, 3, ENDED))
    found = change(registry, progress=RunProgress(RunState.RUNNING))
    assert (found.state, found.exit_code, found.finished_at) == (RunState.RUNNING, None, None)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": ("something else", "run r1")},
        {"job_type": ("train", "train")},
        {"config": ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1})},
        {"config": ({}, {"a": 1})},
        {"config": ({"gone": 1}, {})},
        {"metadata": {"host": "here"}},
        {"progress": RunProgress(RunState.RUNNING)},
    ],
)
def test_nothing_changes_where_all_is_as_wanted_already(registry, first, values):
    before = everything(registry)
    assert change(registry, **values) == registry.run(R1)
    assert everything(registry) == before


def test_a_number_becomes_a_truth_value(registry, first):
    assert change(registry, config=({"a": 1}, {"a": True})).config["a"] is True


CONFLICTS = {
    "name": ({"name": ("run r1", "theirs")}, {"name": ("run r1", "mine")}),
    "job type": ({"job_type": ("train", "theirs")}, {"job_type": ("train", "mine")}),
    "config 'a'": ({"config": ({"a": 1}, {"a": 2})}, {"config": ({"a": 1}, {"a": 3})}),
    "config 'b'": ({"config": ({"b": [1, 2]}, {})}, {"config": ({"b": [1, 2]}, {"b": 3})}),
    "config 'n'": ({"config": ({}, {"n": 1})}, {"config": ({}, {"n": True})}),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_what_somebody_else_has_changed_meanwhile_is_a_conflict_and_nothing_changes(registry, first, what):
    theirs, mine = CONFLICTS[what]
    change(registry, **theirs)
    before = everything(registry)
    more = {"metadata": {"host": "there"}, "progress": RunProgress(RunState.FAILED, 3, ENDED)}
    if "name" not in mine:
        more["name"] = ("run r1", "mine, too")
    with pytest.raises(ConflictError, match=what) as caught:
        change(registry, **mine, **more)
    assert "look" in caught.value.hint
    assert everything(registry) == before


def test_the_same_change_by_two_is_no_conflict(registry, first):
    wanted = {"name": ("run r1", "x"), "config": ({"a": 1}, {"a": 2})}
    assert change(registry, **wanted) == change(registry, **wanted)


def test_changes_of_different_things_are_merged(registry, first):
    change(registry, config=(first.config, {**first.config, "a": 2, "theirs": 1}), name=("run r1", "theirs"))
    change(registry, progress=RunProgress(RunState.FINISHED, 0, ENDED))
    found = change(registry, config=(first.config, {**first.config, "mine": 1}), job_type=("train", "mine"))
    assert found.config == {"a": 2, "b": [1, 2], "theirs": 1, "mine": 1}
    assert (found.name, found.job_type, found.state, found.exit_code) == ("theirs", "mine", RunState.FINISHED, 0)


def test_the_last_one_that_says_how_a_run_is_doing_is_right(registry, first):
    change(registry, progress=RunProgress(RunState.FAILED, 3, ENDED))
    found = change(registry, progress=RunProgress(RunState.FINISHED, 0, ENDED))
    assert (found.state, found.exit_code) == (RunState.FINISHED, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"name": ("run r1", UNRECORDABLE)},
        {"job_type": ("train", UNRECORDABLE)},
        {"config": ({}, {"x": float("nan")})},
        {"metadata": {"x": float("inf")}},
        {"progress": RunProgress(RunState.FAILED, 1 << 70)},
    ],
)
def test_what_cannot_be_recorded_is_refused_and_nothing_changes(registry, first, values):
    before = everything(registry)
    with pytest.raises(InvalidInputError):
        change(registry, **{"name": ("run r1", "x"), "config": ({}, {"y": 1}), **values})
    assert everything(registry) == before


def test_a_run_that_is_not_there_is_named(registry):
    with pytest.raises(NotFoundError, match="me/demo/r1"):
        change(registry, name=("run r1", "x"))


# At once --------------------------------------------------------------------------------------------------------


def test_no_value_is_lost_when_clients_change_theirs_at_once(clients):
    registry = clients()
    registry.record_run(FIRST)

    def write(name, client):
        for number in range(8):
            seen = client.run(R1)
            change(client, config=(seen.config, {**seen.config, f"{name}{number}": number}))

    at_once(
        *[partial(write, name, clients()) for name in "abc"],
        partial(change, clients(), name=("run r1", "x")),
        partial(change, clients(), progress=RunProgress(RunState.FINISHED, 0, ENDED)),
    )
    found = registry.run(R1)
    assert found.config == {**FIRST.config, **{f"{name}{number}": number for name in "abc" for number in range(8)}}
    assert (found.name, found.state, found.exit_code) == ("x", RunState.FINISHED, 0)


def test_what_several_claim_at_once_is_of_one_of_them_and_the_others_are_told(clients):
    registry = clients()
    registry.record_run(run("r1"))

    def claim(name, client):
        won = 0
        for number in range(20):
            with contextlib.suppress(ConflictError):
                change(client, config=({}, {f"slot{number}": name}))
                won += 1
        return won

    won = at_once(*[partial(claim, name, clients()) for name in "abc"])
    slots = list(registry.run(R1).config.values())
    assert len(slots) == 20
    assert won == [slots.count(name) for name in "abc"]
