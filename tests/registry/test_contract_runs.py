"""Runs: how they are doing, what they logged and used. Runs on every implementation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest

from artfs.errors import InvalidInputError, NotEmptyError, NotFoundError
from artfs.model.names import RunRef
from artfs.model.run import RunChange, RunState
from tests.registry.making import (
    DATA,
    OTHER,
    UNRECORDABLE,
    become,
    commit,
    everything,
    make_portfolio,
    manifest,
    new,
    run,
)
from tests.registry.test_contract_concurrency import at_once

R1 = RunRef("me", "demo", "r1")
ABROAD = timezone(timedelta(hours=9))
DONE = run(
    "r1",
    state=RunState.FAILED,
    config={"lr": 0.1, "layers": [1, {"a": None}], "half": "\ud800", "nul": "a\0b"},
    metadata={"host": "Größe", "command": ["python", "train.py"]},
    exit_code=3221225477,  # as Windows has them
    finished_at=datetime(2024, 5, 1, 12, 30, 15, 123456, tzinfo=UTC),
)


def ids(runs):
    return [found.id for found in runs]


def names(versions):
    return [f"{version.collection.collection}:v{version.index}" for version in versions]


def test_a_run_is_returned_as_it_was_recorded(registry):
    registry.record_run(DONE)
    assert registry.run(R1) == DONE
    assert registry.run(R1).config == DONE.config
    assert registry.run(R1).metadata == DONE.metadata
    assert registry.runs("me", "demo") == [DONE]


def test_a_run_that_is_new_runs(registry):
    registry.record_run(run("r1"))
    found = registry.run(R1)
    assert (found.state, found.exit_code, found.finished_at) == (RunState.RUNNING, None, None)
    assert (found.config, found.metadata) == ({}, {})


@pytest.mark.parametrize("state", RunState)
def test_every_state_is_recorded(registry, state):
    registry.record_run(run("r1", state=state))
    assert registry.run(R1).state is state


def test_a_change_replaces_all_but_when_a_run_was_created(registry):
    first = run("r1", config={"old": 1}, hour=1)
    registry.record_run(first)
    become(registry, replace(DONE, name="another", job_type="eval", created_at=DONE.created_at + timedelta(hours=5)))
    assert registry.run(R1) == replace(DONE, name="another", job_type="eval", created_at=first.created_at)
    become(registry, first)
    assert registry.run(R1) == first


def test_a_change_is_seen_wherever_the_run_is(registry):
    version = commit(registry, "c1", by=run("r1"))
    registry.record_use(run("r1"), version.id)
    become(registry, DONE)
    assert registry.logged_by(version.id) == DONE
    assert registry.used_by(version.id) == [DONE]
    assert names(registry.logged(R1)) == names(registry.used(R1)) == ["data:v0"]


def test_a_change_is_of_one_run(registry):
    others = [run("r2"), run("r1", "other")]
    for each in (run("r1"), *others):
        registry.record_run(each)
    become(registry, DONE)
    assert [registry.run(other.ref) for other in others] == others


def test_recording_a_run_again_does_not_change_it(registry):
    registry.record_run(DONE)
    version = commit(registry, "c1", by=run("r1"))
    registry.record_run(run("r1"))
    registry.record_logged(run("r1"), version.id)
    registry.record_use(run("r1"), version.id)
    assert registry.run(R1) == DONE


def test_a_run_that_is_not_there_is_named_and_not_made(registry):
    registry.record_run(run("r2"))
    before = everything(registry)
    for ask in (registry.run, registry.logged, registry.used, lambda ref: registry.change_run(ref, RunChange())):
        with pytest.raises(NotFoundError, match="me/demo/r1"):
            ask(R1)
    with pytest.raises(NotFoundError, match="you/demo/r2"):
        registry.run(RunRef("you", "demo", "r2"))
    with pytest.raises(NotFoundError, match="me/nowhere"):
        registry.runs("me", "nowhere")
    assert everything(registry) == before


def test_runs_come_oldest_first_whatever_their_time_zone(registry):
    registry.record_run(run("late", hour=3))
    abroad = datetime(2024, 1, 1, 11, tzinfo=ABROAD)  # two o'clock UTC
    registry.record_run(replace(run("abroad"), created_at=abroad))
    registry.record_run(run("early", hour=1))
    registry.record_run(run("elsewhere", "other"))
    assert ids(registry.runs("me", "demo")) == ["early", "abroad", "late"]
    assert registry.run(RunRef("me", "demo", "abroad")).created_at == abroad


def test_a_project_without_runs_has_none(registry):
    commit(registry, "c1")
    assert registry.runs("me", "demo") == []


@pytest.mark.parametrize(
    "bad", [{"config": {"x": float("nan")}}, {"metadata": {"x": float("inf")}}, {"exit_code": 1 << 70}]
)
def test_what_cannot_be_recorded_of_a_run_is_refused_and_nothing_changes(registry, bad):
    registry.record_run(run("r1"))
    version = commit(registry, "c1")
    before = everything(registry)
    for change in (
        lambda: become(registry, run("r1", **bad)),
        lambda: registry.record_run(run("r2", "new", **bad)),
        lambda: registry.record_use(run("r2", "new", **bad), version.id),
    ):
        with pytest.raises(InvalidInputError):
            change()
    with pytest.raises(InvalidInputError):
        become(registry, run("r1", name=UNRECORDABLE))
    assert everything(registry) == before


def test_a_run_is_a_snapshot(registry):
    config = {"a": [1]}
    registry.record_run(run("r1", config=config))
    config["a"].append(2)
    seen = registry.run(R1)
    assert seen.config == {"a": [1]}
    become(registry, DONE)
    assert (seen.config, seen.state) == ({"a": [1]}, RunState.RUNNING)


def test_a_project_with_runs_is_not_removed(registry):
    registry.record_run(run("r1", "p"))
    with pytest.raises(NotEmptyError):
        registry.remove_project("me", "p")
    assert ids(registry.runs("me", "p")) == ["r1"]


# What they logged and used --------------------------------------------------------------------------------------


def test_what_a_run_logged_comes_oldest_first_with_its_aliases_and_tags(registry):
    first = commit(registry, "c1", "a", "b", collection=OTHER, by=run("r1"))
    second = commit(registry, "c2", "best", by=run("r1"))
    third = commit(registry, "c3", collection=OTHER, by=run("r1"))
    commit(registry, "c4", by=run("r2"))
    assert names(registry.logged(R1)) == ["other:v0", "data:v0", "other:v1"]
    assert registry.logged(R1) == [registry.version_by_id(version.id) for version in (first, second, third)]
    assert [version.aliases for version in registry.logged(R1)] == [("a", "b"), ("best",), ("latest",)]


def test_what_a_run_used_comes_first_use_first_and_once(registry):
    versions = [commit(registry, f"c{number}") for number in range(3)]
    for number in (2, 0, 2, 1, 0):
        registry.record_use(run("r1"), versions[number].id)
    registry.record_use(run("r2"), versions[0].id)
    assert names(registry.used(R1)) == ["data:v2", "data:v0", "data:v1"]
    assert registry.used(R1)[0] == registry.version(DATA.at("v2"))


def test_a_run_that_logged_and_used_nothing(registry):
    registry.record_run(run("r1"))
    assert (registry.logged(R1), registry.used(R1)) == ([], [])


def test_versions_that_were_recorded_in_another_order_come_oldest_first(registry):
    versions = [commit(registry, f"c{number}") for number in range(3)]
    for number in (2, 0, 1):
        registry.record_logged(run("r1"), versions[number].id)
    assert names(registry.logged(R1)) == ["data:v0", "data:v1", "data:v2"]


def test_only_committed_versions_are_shown(registry):
    registry.record_run(run("r1"))
    reservation = registry.reserve(new("c1", run=run("r1").path))
    registry.record_logged(run("r1"), reservation.id)
    registry.record_use(run("r1"), reservation.id)
    assert (registry.logged(R1), registry.used(R1)) == ([], [])
    registry.publish("c1", manifest(), [])
    assert names(registry.logged(R1)) == names(registry.used(R1)) == ["data:v0"]
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    assert (registry.logged(R1), registry.used(R1)) == ([], [])


def test_a_version_that_is_linked_too_is_shown_once_where_it_was_logged(registry):
    version = commit(registry, "c1", by=run("r1"))
    make_portfolio(registry, OTHER, [version])
    registry.record_use(run("r1"), version.id)
    assert names(registry.logged(R1)) == names(registry.used(R1)) == ["data:v0"]
    assert registry.logged(R1)[0].aliases == ("latest",)


def test_runs_that_change_at_once_are_each_recorded(clients):
    registry = clients()
    for number in range(4):
        registry.record_run(run(f"r{number}"))

    def change(number, client):
        for step in range(5):
            become(client, run(f"r{number}", config={"step": step}))

    at_once(*[partial(change, number, clients()) for number in range(4)])
    assert [found.config for found in registry.runs("me", "demo")] == [{"step": 4}] * 4
