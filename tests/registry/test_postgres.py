"""A registry in PostgreSQL: other processes, other settings of the server, what it refuses, other versions of the program."""

import threading

import pytest
from sqlalchemy import inspect, text

from artfs.errors import InvalidInputError, PermissionDeniedError, SchemaError, UnreachableError
from artfs.registry.port import VersionChange
from artfs.registry.sql import commits, migrations, schema
from artfs.registry.sql.registry import open_registry
from tests.harness import wait_for
from tests.registry.making import DATA, OTHER, aliases, commit, everything, indices, manifest, new, run
from tests.registry.processes import COMMITTER, KILLED, REPEATER, results, start, start_ready, tell


@pytest.fixture
def url(postgres_url):
    return postgres_url


@pytest.fixture
def execute(postgres_server, url):
    """Do something to the database behind the registry's back, and return its rows."""

    def run_statement(statement):
        with postgres_server.connect(url.rpartition("/")[2]) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return run_statement


# Other processes ------------------------------------------------------------------------------------------------


def test_processes_never_share_an_index_not_even_while_the_tables_are_made(url, opened):
    processes = start_ready(COMMITTER, url, "abcd", 8)
    tell(processes, "go")
    found, ids = [], set()
    for *numbers, registry_id in results(processes):
        found += map(int, numbers)
        ids.add(registry_id)
    registry = opened(url)
    assert sorted(found) == indices(registry) == list(range(32))
    assert {version.digest for version in registry.versions(DATA)} == {f"{n}-{k}" for n in "abcd" for k in range(8)}
    assert ids == {registry.id}
    published_last = max(
        registry.versions(DATA), key=lambda version: version.created_at
    ).index  # the index is reserved before
    assert aliases(registry) == {"best": published_last, "latest": published_last}


def test_the_same_content_from_processes_at_once_is_one_version(url, opened):
    processes = start_ready(REPEATER, url, "abcd")
    for number in range(10):
        tell(processes, f"content-{number}")
        assert len({process.stdout.readline() for process in processes}) == 1
    results(processes)
    registry = opened(url)
    versions = registry.versions(DATA)
    assert [version.digest for version in versions] == [f"content-{number}" for number in range(10)]
    assert versions[-1].aliases == ("a", "b", "c", "d", "latest")


def test_a_writer_that_is_killed_in_a_transaction_leaves_nothing_of_it_and_holds_up_nobody(url, opened):
    registry = opened(url)
    commit(registry, "c0", "best")
    registry.reserve(new("c1"))
    before = everything(registry)
    process = start(KILLED, url)
    process.communicate()
    assert process.returncode == -9
    assert registry.reserve(new("c2")).index == 2
    assert everything(registry) == everything(opened(url)) == before
    assert registry.publish("c1", manifest("c1"), ["best"]).index == 1
    assert aliases(registry) == {"best": 1, "latest": 1}


def test_a_committer_that_is_killed_at_any_time_loses_nothing_that_it_was_told_is_published(execute, url, opened):
    process = start(COMMITTER, url, "a", 100_000)
    tell([process], "go")
    lines = [process.stdout.readline() for _ in range(21)]
    process.kill()
    told = lines[1:] + process.communicate()[0].splitlines()
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for(lambda: not execute(others), "the end of what the server still does for it")
    registry = opened(url)
    found = indices(registry)
    assert len(told) >= 20
    assert found[: len(told)] == [int(line) for line in told if line]
    assert found == list(range(len(found)))
    assert aliases(registry) == {"best": found[-1], "latest": found[-1]}


# Transactions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_a_writer_sees_what_the_one_before_it_wrote_whatever_the_server_prefers(
    execute, url, opened, wait_for_waiting_writer, level
):
    database = url.rpartition("/")[2]
    execute(f"ALTER DATABASE {database} SET default_transaction_isolation = '{level}'")
    first, second = opened(url), opened(url)
    found = []
    thread = threading.Thread(target=lambda: found.append(second.reserve(new("c2"))))
    with first._database.writing() as connection:
        commits.reserve(connection, new("c1"))
        thread.start()
        wait_for_waiting_writer(url)
    thread.join()
    assert [reservation.index for reservation in found] == [1]


def test_a_reader_reads_while_a_writer_writes(url, opened):
    writer, reader = opened(url), opened(url)
    commit(writer, "c1")
    before = everything(reader)
    with writer._database.writing() as connection:
        connection.execute(text("UPDATE entities SET name = 'changed'"))
        assert everything(reader) == before


def test_a_reader_sees_one_state_until_it_ends(url, opened):
    writer, reader = opened(url), opened(url)
    commit(writer, "c1")
    count = text("SELECT count(*) FROM versions")
    with reader._database.reading() as connection:
        assert connection.scalar(count) == 1
        commit(writer, "c2")
        assert connection.scalar(count) == 1
    assert indices(reader) == [0, 1]


def test_every_wait_for_the_server_has_an_end(url, opened):
    with opened(url)._database.writing() as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            milliseconds = connection.scalar(text("SELECT setting FROM pg_settings WHERE name = :name"), {"name": name})
            assert 0 < int(milliseconds) <= 60_000


def test_a_writer_that_never_ends_makes_others_fail_and_not_wait_for_ever(monkeypatch, url, opened):
    monkeypatch.setitem(arguments(), "options", "-c lock_timeout=100ms")
    first, second = opened(url), opened(url)
    with first._database.writing():
        with pytest.raises(UnreachableError, match="lock timeout"):
            second.reserve(new("c1"))
        assert second.entities() == ["me"]
    assert second.reserve(new("c1")).index == 0


def arguments():
    from artfs.registry.sql import postgres

    return postgres._ARGUMENTS


# What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda registry: commit(registry, "c1", description="a\0b"),
        lambda registry: commit(registry, "c1", "a\0b"),
        lambda registry: commit(registry, "c1", digest="a\0b"),
        lambda registry: registry.set_description(DATA.at("v0"), "a\0b"),
        lambda registry: registry.record_use(run("r1", "new", name="a\0b"), registry.version(DATA.at("v0")).id),
        lambda registry: registry.change_version(DATA.at("v0"), VersionChange(description=(None, "a\0b"))),
        lambda registry: registry.change_version(DATA.at("v0"), VersionChange(add_tags=("a\0b",))),
        lambda registry: registry.set_collection_description(DATA, "a\0b"),
        lambda registry: registry.link(registry.version(DATA.at("v0")).id, OTHER, ["a\0b"]),
    ],
)
def test_text_that_the_server_cannot_hold_is_refused_for_good_and_leaves_no_trace(url, opened, make):
    registry = opened(url)
    commit(registry, "c0")
    before = everything(registry)
    with pytest.raises(InvalidInputError, match="NUL"):
        make(registry)
    assert everything(registry) == before


def test_a_wrong_password_is_said_to_be_wrong_and_not_shown(url):
    user, _, place = url.rpartition("@")
    wrong = f"{user.rpartition(':')[0]}:geheim@{place}"
    with pytest.raises(PermissionDeniedError, match="password") as caught:
        open_registry(wrong, "me")
    assert "geheim" not in caught.value.message + caught.value.hint
    assert place in caught.value.message


def test_a_user_without_rights_is_refused(execute, postgres_server, url):
    execute("DROP ROLE IF EXISTS guest")
    execute("CREATE ROLE guest LOGIN PASSWORD 'geheim'")
    guest = url.replace(f"{postgres_server.user}:{postgres_server.password}", "guest:geheim")
    with pytest.raises(PermissionDeniedError, match="permission denied") as caught:
        open_registry(guest, "me")
    assert "geheim" not in caught.value.message + caught.value.hint


def test_a_database_that_is_not_there_is_named(url):
    with pytest.raises(UnreachableError, match=r"there_is_none.* does not exist") as caught:
        open_registry(f"{url.rpartition('/')[0]}/there_is_none", "me")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["postgresql://host", "postgresql://me:geheim@host/", "postgres://me:geheim@host:port/a"]
)
def test_a_url_that_means_no_database_is_refused_without_its_password(url):
    with pytest.raises(InvalidInputError) as caught:
        open_registry(url, "me")
    assert "geheim" not in caught.value.message + caught.value.hint
    assert "postgresql://user@host/database" in caught.value.hint


# Other servers and other versions -------------------------------------------------------------------------------


def test_names_are_sorted_by_code_points_whatever_the_language_of_the_server(postgres_server, opened):
    with postgres_server.connect() as connection:
        connection.execute(
            "CREATE DATABASE english TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C.UTF-8'"
        )
    names = ["B", "_x", "a", "Ä", "a-b", "ab", "me", "z", "\U0001f600", "\uff21"]
    try:
        registry = opened(postgres_server.url("english"))
        for name in set(names) - {"me"}:
            registry.create_entity(name)
            registry.create_project("me", name)
        version = commit(registry, "c1", *names, collection=DATA)
        assert registry.entities() == sorted(names)
        assert registry.projects("me") == sorted({*names, "demo"} - {"me"})
        assert list(version.aliases) == list(aliases(registry)) == sorted([*names, "latest"])
    finally:
        with postgres_server.connect() as connection:
            connection.execute("DROP DATABASE english WITH (FORCE)")


def test_a_new_registry_has_the_tables_of_the_schema_and_its_number(execute, url, opened):
    registry = opened(url)
    with registry._database.reading() as connection:
        assert set(inspect(connection).get_table_names()) == set(schema.metadata.tables)
    assert execute("SELECT about.only, registry_id, schema_version FROM about") == [
        (1, registry.id, len(migrations.STEPS))
    ]


def test_a_registry_of_the_first_schema_is_brought_to_this_one_with_all_it_holds(execute, url, opened):
    registry = open_registry(url, "me")
    commit(registry, "c1")
    known = everything(registry)
    registry.close()
    execute("DROP TABLE repeats")
    execute("UPDATE about SET schema_version = 1")
    registry = opened(url)
    assert everything(registry) == known
    assert execute("SELECT schema_version FROM about") == [(len(migrations.STEPS),)]
    registry.reserve(new("c2", "d"))
    registry.reserve(new("c3", "d"))
    assert registry.publish("c2", manifest(), []).id == registry.publish("c3", manifest(), []).id


def test_a_step_that_fails_leaves_the_schema_as_it_was(execute, url, monkeypatch):
    open_registry(url, "me").close()

    def fail(connection):
        connection.execute(text("CREATE TABLE half_done (x integer)"))
        raise UnreachableError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", (*migrations.STEPS, fail))
        with pytest.raises(UnreachableError, match="the server is gone"):
            open_registry(url, "me")
    assert execute("SELECT schema_version FROM about") == [(len(migrations.STEPS),)]
    assert execute("SELECT to_regclass('half_done')") == [(None,)]


def test_a_registry_of_a_newer_program_is_refused(execute, url):
    open_registry(url, "me").close()
    newer = len(migrations.STEPS) + 1
    execute(f"UPDATE about SET schema_version = {newer}")
    with pytest.raises(SchemaError, match=f"schema {newer}") as caught:
        open_registry(url, "me")
    assert "secret" not in caught.value.message
