"""A registry in a SQLite file: the file itself, other processes, damage, crashes, other versions of the program."""

import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, inspect

from artfs.errors import IntegrityError, InvalidInputError, NoSpaceError, SchemaError, UnreachableError
from artfs.model.names import CollectionRef
from artfs.registry.port import VersionChange
from artfs.registry.sql import migrations, schema
from artfs.registry.sql.registry import open_registry
from artfs.registry.sql.sqlite import sqlite_engine
from tests.registry.making import DATA, aliases, commit, everything, indices, manifest, new, run
from tests.registry.processes import COMMITTER, KILLED, results, start, start_ready, tell


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.sqlite"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


def execute(path, statement):
    """Do something to the file behind the registry's back, and return its rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


# The file -------------------------------------------------------------------------------------------------------


def test_the_file_and_its_directory_are_made_for_this_user_alone(tmp_path, opened):
    old = os.umask(0)
    try:
        registry = opened(f"sqlite:///{tmp_path}/new/registry.sqlite")
        commit(registry, "c1")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm"), 0o600)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_readers_do_not_wait_and_what_is_published_survives_a_loss_of_power(path, url, opened):
    registry = opened(url)
    assert execute(path, "PRAGMA journal_mode") == [("wal",)]
    with registry._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_reader_reads_while_a_writer_writes(url, opened):
    writer, reader = opened(url), opened(url)
    commit(writer, "c1")
    before = everything(reader)
    with writer._database.writing() as connection:
        connection.exec_driver_sql("UPDATE entities SET name = 'changed'")
        assert everything(reader) == before


def test_a_closed_registry_leaves_one_file(path, url):
    registry = open_registry(url, "me")
    commit(registry, "c1")
    registry.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_registry_that_is_opened_again_says_the_same(url, opened):
    first = open_registry(url, "me")
    commit(first, "c1", "best", metadata={"a": 1})
    known, registry_id = everything(first), first.id
    first.close()
    again = opened(url)
    assert (everything(again), again.id) == (known, registry_id)


@pytest.mark.parametrize(
    "name", ["plain", "a b", "ü", "100%", "a%20b", "what?", "a#b", "a;b&c=d", "new\nline", "\udcff"]
)
def test_any_path_can_be_named_by_a_url(tmp_path, opened, name):
    directory = tmp_path / name
    commit(opened((directory / "r.sqlite").as_uri().replace("file://", "sqlite:///")), "c1")
    assert sorted(entry.name for entry in directory.iterdir()) == ["r.sqlite", "r.sqlite-shm", "r.sqlite-wal"]
    assert list(tmp_path.iterdir()) == [directory]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "/just/a/path",
        "sqlite://",
        "sqlite:///relative/registry.sqlite",
        "sqlite:///:memory:",
        "sqlite:///{directory}/new/nul%00byte",
        "sqlite+aiosqlite:///{directory}/registry.sqlite",
        "sqlite://user:geheim@host/{directory}/registry.sqlite",
        "mysql://user:geheim@host/db",
        "mysql+pymysql://user:geheim@host:3306/db?password=geheim",
        "mysql://user:geheim@host:port/db",
        "oracle://user:geheim@[host/db",
    ],
)
def test_a_url_that_is_not_supported_is_refused_without_its_password(tmp_path, url):
    with pytest.raises(InvalidInputError) as caught:
        open_registry(url.format(directory=tmp_path), "me")
    assert "geheim" not in caught.value.message + caught.value.hint
    assert "sqlite:////absolute/path" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file/registry.sqlite"):
        with pytest.raises(UnreachableError, match="cannot be opened") as caught:
            open_registry(f"sqlite:///{path}", "me")
        assert str(path) in caught.value.message


def test_lists_take_as_many_statements_for_many_as_for_one(url, opened):
    registry = opened(url)
    ref = run("r1").ref
    asked = []
    event.listen(registry._database._engine, "before_cursor_execute", lambda *call: asked.append(call[2]))

    def statements():
        counts = []
        for ask in (
            lambda: registry.versions(DATA),
            lambda: registry.links(registry.version(DATA.at("v0")).id),
            lambda: registry.logged(ref),
            lambda: registry.used(ref),
            lambda: registry.runs("me", "demo"),
            lambda: registry.collection_infos("me", "demo"),
        ):
            asked.clear()
            ask()
            counts.append(len(asked))
        return counts

    def add(number):
        version = commit(registry, f"c{number}", f"a{number}", f"b{number}")
        registry.change_version(DATA.at("latest"), VersionChange(add_tags=("t", "u")))
        registry.record_logged(run("r1"), version.id)
        registry.record_use(run("r1"), version.id)
        registry.record_run(run(f"other-{number}"))
        registry.link(registry.version(DATA.at("v0")).id, CollectionRef("me", "demo", f"picked-{number}"), [])

    add(0)
    few = statements()
    for number in range(1, 6):
        add(number)
    assert statements() == few
    assert len(registry.logged(ref)) == len(registry.links(registry.version(DATA.at("v0")).id)) == 6


# Damage and other versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"SQLite format 3\0" + bytes(84)])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path, url, content):
    path.write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        open_registry(url, "me")
    assert str(path) in caught.value.message
    assert "backup" in caught.value.hint
    assert path.read_bytes() == content


def test_damage_is_found_when_it_is_read(path, url, opened):
    registry = open_registry(url, "me")
    commit(registry, "c1")
    registry.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(IntegrityError, match="damaged"):
        everything(opened(url))


def test_a_truncated_file_is_damage(path, url):
    open_registry(url, "me").close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(IntegrityError, match="damaged"):
        everything(open_registry(url, "me"))


def test_a_registry_of_a_newer_program_is_refused_and_left_as_it_is(path, url):
    registry = open_registry(url, "me")
    commit(registry, "c1")
    registry.close()
    newer = len(migrations.STEPS) + 1
    execute(path, f"UPDATE about SET schema_version = {newer}")
    execute(path, "CREATE TABLE from_the_future (x)")
    before = path.read_bytes()
    with pytest.raises(SchemaError) as caught:
        open_registry(url, "me")
    for part in (str(path), str(newer), str(len(migrations.STEPS)), "newer"):
        assert part in caught.value.message
    assert "upgrade" in caught.value.hint
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_new_registry_has_the_tables_of_the_schema_and_its_number(path, url, opened):
    registry = opened(url)
    with registry._database.reading() as connection:
        assert set(inspect(connection).get_table_names()) == set(schema.metadata.tables)
    assert execute(path, "SELECT only, registry_id, schema_version FROM about") == [
        (1, registry.id, len(migrations.STEPS))
    ]


def test_a_registry_of_the_first_schema_is_brought_to_this_one_with_all_it_holds(path, url, opened):
    registry = open_registry(url, "me")
    commit(registry, "c1")
    known = everything(registry)
    registry.close()
    execute(path, "DROP TABLE repeats")
    execute(path, "UPDATE about SET schema_version = 1")
    registry = opened(url)
    assert everything(registry) == known
    assert execute(path, "SELECT schema_version FROM about") == [(len(migrations.STEPS),)]
    registry.reserve(new("c2", "d"))
    registry.reserve(new("c3", "d"))
    assert registry.publish("c2", manifest(), []).id == registry.publish("c3", manifest(), []).id


def test_a_step_that_fails_leaves_the_schema_as_it_was(path, url, monkeypatch):
    open_registry(url, "me").close()
    before = path.read_bytes()

    def fail(connection):
        connection.exec_driver_sql("CREATE TABLE half_done (x)")
        raise UnreachableError("the disk is gone")

    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, fail))
    with pytest.raises(UnreachableError, match="the disk is gone"):
        open_registry(url, "me")
    assert path.read_bytes() == before


def test_a_full_disk_is_said_to_be_full(path, url, opened):
    registry = opened(url)
    with registry._database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite never goes below what there is
    with pytest.raises(NoSpaceError, match=r"registry\.sqlite"):
        registry.reserve(new("c1", description="x" * 1_000_000))
    assert registry.entities() == ["me"]


# Other processes ------------------------------------------------------------------------------------------------


def test_processes_never_share_an_index_not_even_while_the_file_is_made(url, opened):
    processes = start_ready(COMMITTER, url, "abc", 8)
    tell(processes, "go")
    found, ids = [], set()
    for *numbers, registry_id in results(processes):
        found += map(int, numbers)
        ids.add(registry_id)
    registry = opened(url)
    assert sorted(found) == indices(registry) == list(range(24))
    assert ids == {registry.id}
    assert aliases(registry) == {"best": 23, "latest": 23}


def test_a_writer_that_is_killed_in_a_transaction_leaves_nothing_of_it(path, url, opened):
    registry = opened(url)
    commit(registry, "c0", "best")
    registry.reserve(new("c1"))
    before = everything(registry)
    process = start(KILLED, url)
    process.communicate()
    assert process.returncode == -9
    assert everything(registry) == everything(opened(url)) == before
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    assert registry.publish("c1", manifest("c1"), ["best"]).index == 1
    assert aliases(registry) == {"best": 1, "latest": 1}


def test_a_committer_that_is_killed_at_any_time_loses_nothing_that_it_was_told_is_published(path, url, opened):
    process = start(COMMITTER, url, "a", 100_000)
    tell([process], "go")
    lines = [process.stdout.readline() for _ in range(21)]
    process.kill()
    told = lines[1:] + process.communicate()[0].splitlines()
    registry = opened(url)
    found = indices(registry)
    assert len(told) >= 20
    assert found[: len(told)] == [int(line) for line in told if line]
    assert found == list(range(len(found)))
    assert aliases(registry) == {"best": found[-1], "latest": found[-1]}
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    assert commit(registry, "next").aliases == ("latest",)


def test_many_may_begin_to_use_a_new_database_at_once(tmp_path):
    def begin(url, gate):
        gate.wait()
        engine = sqlite_engine(url)
        try:
            with engine.connect().execution_options(artfs_writing=True) as connection, connection.begin():
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (x)")
        finally:
            engine.dispose()

    with ThreadPoolExecutor(8) as pool:
        for number in range(150):
            gate = threading.Barrier(8, timeout=120)
            list(pool.map(begin, [f"sqlite:///{tmp_path}/{number}.sqlite"] * 8, [gate] * 8))
