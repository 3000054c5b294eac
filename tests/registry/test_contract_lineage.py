"""Runs, and the versions that they logged and used. Runs on every implementation."""

from datetime import datetime, timedelta, timezone

import pytest

from artfs.errors import NotFoundError
from tests.registry.making import DATA, commit, everything, new, run


def test_a_run_makes_its_entity_and_project(registry):
    registry.record_run(run("r1", "new"))
    assert registry.projects("me") == ["new"]


def test_a_run_is_recorded_once(registry):
    first = run("r1")
    version = commit(registry, "c1", by=first)
    registry.record_run(run("r1", name="another name", job_type="eval", hour=5))
    registry.record_logged(run("r1", name="a third name"), version.id)
    assert registry.logged_by(version.id) == first


def test_runs_of_one_id_in_two_projects_are_two_runs(registry):
    version = commit(registry, "c1")
    for project in ("a", "b"):
        registry.record_use(run("r1", project), version.id)
    assert [found.path for found in registry.used_by(version.id)] == ["me/a/r1", "me/b/r1"]


def test_nobody_logged_or_used_a_version_until_it_is_recorded(registry):
    version = commit(registry, "c1")
    assert registry.logged_by(version.id) is None
    assert list(registry.used_by(version.id)) == []
    assert registry.logged_by("no such version") is None
    assert list(registry.used_by("no such version")) == []


def test_the_first_run_that_says_so_logged_a_version(registry):
    version, other = commit(registry, "c1"), commit(registry, "c2")
    registry.record_logged(run("r1"), version.id)
    registry.record_logged(run("r2"), version.id)
    assert registry.logged_by(version.id) == run("r1")
    assert registry.logged_by(other.id) is None


def test_the_runs_that_used_a_version_come_oldest_first_and_once(registry):
    version = commit(registry, "c1")
    for name in ("r1", "r3", "r2", "r1", "r3"):
        registry.record_use(run(name, hour=int(name[1])), version.id)
    registry.record_run(run("r0"))
    assert [found.id for found in registry.used_by(version.id)] == ["r1", "r3", "r2"]


def test_a_run_is_returned_as_it_was_recorded(registry):
    version = commit(registry, "c1")
    abroad = datetime(2024, 5, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2)))
    used = run("r1", "demo", name="Größe", job_type="")
    used = type(used)(used.id, "you", used.project, used.name, used.job_type, abroad)
    registry.record_use(used, version.id)
    assert list(registry.used_by(version.id)) == [used]


@pytest.mark.parametrize("record", ["record_logged", "record_use"])
def test_a_version_that_is_not_there_is_named_and_no_run_is_recorded(registry, record):
    before = everything(registry)
    with pytest.raises(NotFoundError, match="no-such-id"):
        getattr(registry, record)(run("r1"), "no-such-id")
    assert everything(registry) == before


def test_the_run_of_a_commit_logged_its_version(registry):
    version, other = commit(registry, "c1", by=run("r1")), commit(registry, "c2")
    registry.record_logged(run("r2"), version.id)
    assert registry.logged_by(version.id) == run("r1")
    assert registry.logged_by(other.id) is None


def test_lineage_outlives_a_deleted_version(registry):
    version = commit(registry, "c1", by=run("r1"))
    registry.record_use(run("r2"), version.id)
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    assert registry.logged_by(version.id) == run("r1")
    assert list(registry.used_by(version.id)) == [run("r2")]


def test_what_was_recorded_of_an_abandoned_version_goes_with_it(registry):
    reservation = registry.reserve(new("c1"))
    registry.record_logged(run("r1"), reservation.id)
    registry.record_use(run("r1"), reservation.id)
    registry.abandon("c1")
    assert registry.logged_by(reservation.id) is None
    assert list(registry.used_by(reservation.id)) == []
