"""A PostgreSQL server that goes away and comes back: nothing is lost, nothing is made twice, nothing has to be opened again."""

import contextlib
import socket
import threading
from concurrent.futures import Future

import psycopg
import pytest

from artfs.errors import UnreachableError
from artfs.registry.sql import commits, postgres
from artfs.registry.sql.registry import open_registry
from tests.registry.making import DATA, OTHER, aliases, commit, everything, indices, manifest, new, run

DEADLINE = 300  # seconds until every call must have ended, on a slow machine


@pytest.fixture
def url(postgres_url):
    return postgres_url


@pytest.fixture
def cut(request, postgres_server, url):
    """Return what cuts every connection of the database, with the server or without it."""
    return {
        "connections": lambda: postgres_server.drop_connections(url),
        "server": postgres_server.kill,
    }[request.param]


def either_way(test):
    return pytest.mark.parametrize("cut", ["connections", "server"], indirect=True)(test)


def bring_back(server):
    if not server.running:
        server.start()


def begin(call):
    """Return the future of a call in a thread of its own, which may never end."""
    future = Future()

    def run_call():
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run_call, daemon=True).start()
    return future


def outcome(call):
    """Return what a call returns or raises; one that does not end fails the test."""
    return begin(call).result(DEADLINE)


# In the middle of a commit --------------------------------------------------------------------------------------


@either_way
@pytest.mark.parametrize("step", ["reserve", "publish"])
def test_a_transaction_that_loses_its_server_leaves_nothing_and_can_be_repeated(
    monkeypatch, postgres_server, url, opened, cut, step
):
    registry = opened(url)
    commit(registry, "c0", "best")
    if step == "publish":
        registry.reserve(new("c1"))
    before = everything(registry)
    done = getattr(commits, step)

    def interrupted(*arguments):
        result = done(*arguments)
        cut()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(commits, step, interrupted)
        with pytest.raises(UnreachableError):
            outcome(lambda: commit(registry, "c1", "best"))
    bring_back(postgres_server)
    assert everything(registry) == everything(opened(url)) == before
    version = commit(registry, "c1", "best")
    assert (version.index, version.aliases) == (1, ("best", "latest"))
    assert commit(registry, "c1", "best") == version
    assert [found.digest for found in registry.versions(DATA)] == ["c0", "c1"]


@either_way
@pytest.mark.parametrize("step", ["reserve", "publish"])
def test_a_step_whose_answer_is_lost_is_done_once_when_it_is_repeated(
    monkeypatch, postgres_server, url, opened, cut, step
):
    registry = opened(url)
    commit(registry, "c0", "best")
    if step == "publish":
        registry.reserve(new("c1"))
    dialect = registry._database._engine.dialect
    end = dialect.do_commit

    def commit_and_lose(connection):
        end(connection)
        cut()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    call = {
        "reserve": lambda: registry.reserve(new("c1")),
        "publish": lambda: registry.publish("c1", manifest("c1"), ["best"]),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(dialect, "do_commit", commit_and_lose)
        with pytest.raises(UnreachableError, match="closed the connection"):
            call()
    bring_back(postgres_server)
    assert indices(registry) == ([0] if step == "reserve" else [0, 1])
    version = commit(registry, "c1", "best")
    assert (version.index, version.aliases) == (1, ("best", "latest"))
    assert commit(registry, "c2").index == 2
    assert [found.digest for found in registry.versions(DATA)] == ["c0", "c1", "c2"]


@either_way
def test_a_commit_that_loses_the_server_between_its_steps_goes_on_when_it_is_back(postgres_server, url, opened, cut):
    registry = opened(url)
    commit(registry, "c0", "best")
    reservation = registry.reserve(new("c1"))
    cut()
    if not postgres_server.running:
        with pytest.raises(UnreachableError):
            outcome(lambda: registry.publish("c1", manifest("c1"), ["best"]))
    bring_back(postgres_server)
    assert (indices(registry), aliases(registry)) == ([0], {"best": 0, "latest": 0})
    version = registry.publish("c1", manifest("c1"), ["best"])
    assert (version.id, version.index) == (reservation.id, 1)
    assert registry.reserve(new("c1")).existing
    assert indices(registry) == indices(opened(url)) == [0, 1]
    assert aliases(registry) == {"best": 1, "latest": 1}


@either_way
def test_a_writer_that_waits_for_its_turn_when_the_server_goes_away_ends_and_leaves_nothing(
    postgres_server, url, opened, cut, wait_for_waiting_writer
):
    first, second = opened(url), opened(url)
    waiting = []

    def hold_up():
        with first._database.writing() as connection:
            commits.reserve(connection, new("c1"))
            waiting.append(begin(lambda: second.reserve(new("c2"))))
            wait_for_waiting_writer(url)
            cut()

    with pytest.raises(UnreachableError):
        hold_up()
    with contextlib.suppress(UnreachableError):  # it may have got its turn first
        waiting[0].result(DEADLINE)
    bring_back(postgres_server)
    assert [registry.reserve(new(name)).index for registry, name in ((second, "c2"), (first, "c1"))] == [0, 1]


# Away -----------------------------------------------------------------------------------------------------------

CALLS = {
    "entities": lambda registry: registry.entities(),
    "projects": lambda registry: registry.projects("me"),
    "collections": lambda registry: registry.collections("me", "demo"),
    "listing": lambda registry: registry.listing(DATA),
    "version": lambda registry: registry.version(DATA.at("v0")),
    "versions": lambda registry: registry.versions(DATA),
    "logged_by": lambda registry: registry.logged_by("x"),
    "used_by": lambda registry: registry.used_by("x"),
    "create_entity": lambda registry: registry.create_entity("you"),
    "create_project": lambda registry: registry.create_project("me", "new"),
    "create_collection": lambda registry: registry.create_collection(OTHER),
    "reserve": lambda registry: registry.reserve(new("c1")),
    "publish": lambda registry: registry.publish("c1", manifest("c1"), []),
    "add_aliases": lambda registry: registry.add_aliases(DATA.at("v0"), ["x"]),
    "rename_alias": lambda registry: registry.rename_alias(DATA, "x", "y"),
    "remove_alias": lambda registry: registry.remove_alias(DATA, "y"),
    "set_description": lambda registry: registry.set_description(DATA.at("v0"), "x"),
    "set_metadata": lambda registry: registry.set_metadata(DATA.at("v0"), {"x": 1}),
    "record_run": lambda registry: registry.record_run(run("r1")),
    "delete_version": lambda registry: registry.delete_version(DATA.at("v0"), delete_aliases=True),
    "abandon": lambda registry: registry.abandon("c2"),
    "remove_collection": lambda registry: registry.remove_collection(OTHER),
    "remove_project": lambda registry: registry.remove_project("me", "new"),
    "remove_entity": lambda registry: registry.remove_entity("you"),
}
"""Calls that all succeed in this order on a registry with one version, made once each."""


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_every_call_fails_while_the_server_is_away_and_works_when_it_is_back(postgres_server, url, opened, end):
    registry = opened(url)
    commit(registry, "c0")
    before = everything(registry)
    getattr(postgres_server, end)()
    for call in CALLS.values():
        with pytest.raises(UnreachableError) as caught:
            outcome(lambda call=call: call(registry))
        assert postgres_server.password not in caught.value.message
    bring_back(postgres_server)
    assert everything(registry) == before
    for call in CALLS.values():
        call(registry)
    assert indices(registry) == [1]


def test_connections_that_were_cut_while_nobody_used_them_are_not_noticed(postgres_server, url, opened):
    registry = opened(url)
    for number in range(3):
        assert postgres_server.drop_connections(url)
        assert commit(registry, f"c{number}").index == number


def test_a_registry_that_is_not_there_when_it_is_opened_is_unreachable(postgres_server, url, opened):
    postgres_server.stop()
    with pytest.raises(UnreachableError) as caught:
        outcome(lambda: open_registry(url, "me"))
    assert postgres_server.password not in caught.value.message
    bring_back(postgres_server)
    assert opened(url).entities() == ["me"]


def test_a_server_that_takes_a_connection_and_says_nothing_is_unreachable(monkeypatch):
    assert 0 < postgres._ARGUMENTS["connect_timeout"] <= 10
    monkeypatch.setitem(postgres._ARGUMENTS, "connect_timeout", 2)  # the least that the driver takes
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/artfs"
        with pytest.raises(UnreachableError, match="timeout"):
            outcome(lambda: open_registry(url, "me"))


def test_committers_that_go_on_through_a_crash_of_the_server_lose_nothing(postgres_server, url, opened):
    threads, each = 4, 6
    registries = [opened(url) for _ in range(threads)]
    begun, back = threading.Semaphore(0), threading.Event()

    def work(name, registry):
        def until_done(call):
            while True:
                try:
                    return call()
                except UnreachableError:
                    back.wait(DEADLINE)

        for number in range(each):
            until_done(lambda number=number: registry.reserve(new(f"{name}-{number}")))
            begun.release()
            until_done(lambda number=number: registry.publish(f"{name}-{number}", manifest(), []))

    workers = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(registries)]
    for worker in workers:
        worker.start()
    for _ in range(threads):
        assert begun.acquire(timeout=DEADLINE)
    postgres_server.kill()
    bring_back(postgres_server)
    back.set()
    for worker in workers:
        worker.join(DEADLINE)
        assert not worker.is_alive()
    found = registries[0].versions(DATA)
    assert [version.index for version in found] == list(range(threads * each))
    assert {version.digest for version in found} == {f"{t}-{n}" for t in range(threads) for n in range(each)}
