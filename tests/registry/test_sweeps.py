"""What the registry knows of removals from the store: on SQLite and PostgreSQL alike."""

import dataclasses
import time

import pytest

from artfs.errors import BusyError, CollectedError
from artfs.registry import owners
from artfs.registry.port import VersionChange
from artfs.registry.sql.sweeping import SqlSweepBook
from artfs.registry.sweeps import Relied
from tests.registry.making import DATA, commit, manifest, new

ME = owners.this_process()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.sqlite"
        return
    databases = request.getfixturevalue("postgres_databases")
    found = databases.take()
    yield found
    databases.give_back(found)


@pytest.fixture
def registry(url, opened):
    return opened(url)


@pytest.fixture
def book(url, registry):
    found = SqlSweepBook(url)
    yield found
    found.close()


def reserve(registry, client="c1", digest="d1"):
    return registry.reserve(new(client, digest))


def test_a_commit_is_not_published_after_a_sweep_that_it_has_not_seen(registry, book):
    seen = reserve(registry).seen
    book.begin(ME)
    number = book.open_sweep(ME, {"md5:aa", "md5:bb"})
    with pytest.raises(CollectedError):
        registry.publish("c1", manifest("one"), ["best"], Relied(seen))
    (sweep,) = registry.sweeps(seen)
    assert (sweep.number, sweep.owner, sweep.over, sweep.names) == (number, ME, False, {"md5:aa", "md5:bb"})
    book.close_sweep(number)
    assert [one.over for one in registry.sweeps(seen)] == [True]
    with pytest.raises(CollectedError):
        registry.publish("c1", manifest("one"), ["best"], Relied(seen))
    version = registry.publish("c1", manifest("one"), ["best"], Relied(number))
    assert version.aliases == ("best", "latest")
    assert registry.publish("c1", manifest("one"), ["best"], Relied(0)).id == version.id, "what is published stays so"


def test_a_commit_sees_every_sweep_that_was_not_over_when_it_reserved(registry, book):
    book.begin(ME)
    first = book.open_sweep(ME, {"md5:aa"})
    second = book.open_sweep(ME, {"md5:bb"})
    book.close_sweep(second)
    seen = reserve(registry).seen
    assert seen < first
    assert [sweep.number for sweep in registry.sweeps(seen)] == [first, second]
    book.close_sweep(first)
    assert reserve(registry).seen == seen, "as long as it is the same reservation"
    assert [sweep.names for sweep in registry.sweeps(seen)] == [{"md5:aa"}, {"md5:bb"}]
    assert reserve(registry, "c2", "d2").seen == second


def test_names_are_forgotten_when_no_commit_needs_them_and_numbers_are_never_used_again(registry, book):
    book.begin(ME)
    numbers = []
    for name in "abc":
        numbers.append(book.open_sweep(ME, {name}))
        book.close_sweep(numbers[-1])
    assert numbers == [1, 2, 3]
    assert [(sweep.number, set(sweep.names)) for sweep in registry.sweeps(0)] == [(3, set())]
    assert book.open_sweep(ME, {"d"}) == 4


def test_a_version_that_files_are_taken_over_from_must_exist(registry, book):
    old = commit(registry, "old")
    commit(registry, "newer")
    seen = reserve(registry).seen
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    with pytest.raises(CollectedError, match="deleted"):
        registry.publish("c1", manifest("one"), [], Relied(seen, frozenset({old.id})))
    assert registry.publish("c1", manifest("one"), [], Relied(seen)).index == 2


def test_only_one_process_collects_and_a_dead_one_is_succeeded(registry, book):
    seen = reserve(registry).seen
    host, pid, boot, _ = ME.split(" ")
    dead = f"{host} {pid} {boot} 1"  # another process had the number before
    book.begin(dead)
    number = book.open_sweep(dead, {"md5:aa"})
    assert owners.is_gone(dead)
    assert not owners.is_gone(ME)
    assert not owners.is_gone(f"elsewhere {pid} {boot} 1")
    book.begin(ME)
    assert [(sweep.number, sweep.over) for sweep in registry.sweeps(seen)] == [(number, True)]
    with pytest.raises(BusyError, match="taken for dead"):
        book.open_sweep(dead, {"md5:bb"})
    with pytest.raises(BusyError, match=f"process {pid} on {host}"):
        book.begin("elsewhere 1 x 2")
    number = book.open_sweep(ME, {"md5:bb"})
    book.end(ME)
    assert registry.sweeps(number - 1)[0].over
    book.begin("elsewhere 1 x 2")
    with pytest.raises(BusyError, match="on elsewhere"):
        book.begin(ME)


def test_versions_are_kept_that_exist_or_were_deleted_lately(registry, book):
    made = [commit(registry, name) for name in ("one", "two", "three")]
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    now = time.time()
    assert {kept.id: kept.deleted for kept in book.kept(now - 60)} == {
        made[0].id: True,
        made[1].id: False,
        made[2].id: False,
    }
    assert {kept.id for kept in book.kept(now + 60)} == {made[1].id, made[2].id}
    (found,) = book.published_since({made[1].id})
    assert (found.id, found.manifest) == (made[2].id, made[2].manifest)


def test_time_runs_out_from_the_publication_on(registry, book):
    made = [commit(registry, name) for name in ("one", "two")]
    registry.change_version(DATA.at("v0"), VersionChange(ttl_seconds=(None, 100)))
    born = made[0].created_at.timestamp()
    assert book.expired(born + 99) == []
    (found,) = book.expired(born + 101)
    assert (found.id, found.collection, found.index, found.kept) == (made[0].id, DATA, 0, "")
    assert not book.expire(made[0].id, born + 99)
    assert not book.expire(made[1].id, born + 1e9)
    registry.add_aliases(DATA.at("v0"), ["best"])
    assert not book.expire(made[0].id, born + 101), "it was named meanwhile"
    registry.remove_alias(DATA, "best")
    assert book.expire(made[0].id, born + 101)
    assert [version.index for version in registry.versions(DATA)] == [1]


def test_reservations_are_dropped_by_their_age(registry, book):
    reserve(registry)
    now = time.time()
    assert (book.stale_commits(now - 60), book.stale_commits(now + 60)) == (0, 1)
    assert (book.drop_stale_commits(now - 60), book.drop_stale_commits(now + 60)) == (0, 1)
    assert dataclasses.replace(reserve(registry), id="") == dataclasses.replace(reserve(registry), id="")
