"""SQLite in a program that forks: threads are inside of it at any moment, and the children use the same files."""

import contextlib
import os
import signal
import threading
import time

import pytest

from artfs import sqlite
from artfs.cache import ledger
from artfs.cache.blocks import BlockCache
from artfs.model.names import CollectionRef
from artfs.registry import memory
from artfs.registry.memory import Memory
from artfs.registry.sql import sqlite as registry_file
from artfs.registry.sql.registry import open_registry
from artfs.sqlite import connect, no_fork
from tests.harness import wait_for
from tests.registry.making import commit, new

FORKS = 20
BLOCK = b"x" * 5000


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let a slow disk, or a machine that does much else, be no reason to go on without a transaction or a lock."""
    monkeypatch.setattr(sqlite, "PATIENCE", 60.0)
    monkeypatch.setattr(registry_file, "BUSY_TIMEOUT", 120.0)
    monkeypatch.setattr(ledger, "_BUSY_SECONDS", 120.0)
    monkeypatch.setattr(memory, "_BUSY_SECONDS", 120.0)


@contextlib.contextmanager
def threads_that_do(*things):
    """Do each thing over and over again in a thread of its own; yield the errors that come."""
    stop, errors = threading.Event(), []

    def over_and_over(thing):
        number = 0
        while not stop.is_set():
            try:
                thing(number)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                errors.append(error)
            number += 1
            stop.wait(0.001)  # who waits for a lock of SQLite looks for it now and then: leave it free for a moment

    threads = [threading.Thread(target=over_and_over, args=(thing,)) for thing in things]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def fork(action, seconds=300):
    """Do something in a forked child, which is killed if that takes too long; return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:  # noqa: BLE001 - pytest goes on in the parent only
            os._exit(1)
        os._exit(0)
    ended = threading.Event()
    killer = threading.Thread(target=lambda: ended.wait(seconds) or os.kill(child, signal.SIGKILL))
    killer.start()
    _, status = os.waitpid(child, 0)
    ended.set()
    killer.join()
    return os.waitstatus_to_exitcode(status)


def test_children_use_what_threads_of_their_parent_use_at_that_moment(tmp_path):
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    registry, seen = open_registry(url, "me"), Memory(tmp_path / "seen.sqlite")
    cache = BlockCache(tmp_path / "cache", max_bytes=1 << 30, keep_free=0)

    def in_child(number):
        child = open_registry(url, "me")
        commit(child, f"child-{number}", collection=CollectionRef("me", "demo", "children"))
        child.close()
        assert Memory(tmp_path / "seen.sqlite").get("question") == "answer"
        other = BlockCache(tmp_path / "cache", max_bytes=1 << 30, keep_free=0)
        other.pin(f"child-{number}", ["blake3/" + "0" * 64])
        other.close()

    seen.put("question", "answer")
    with threads_that_do(
        lambda number: commit(registry, f"parent-{number}"),
        lambda number: seen.put(f"asked {number % 50}", "answered"),
        lambda number: cache.pin("parent", [f"blake3/{number:064x}"]),
    ) as errors:
        for number in range(FORKS):
            assert fork(lambda number=number: in_child(number)) == 0
    assert errors == []
    assert len(registry.versions(CollectionRef("me", "demo", "children"))) == FORKS
    assert all(cache.pinned(f"child-{number}") for number in range(FORKS))
    registry.close()
    cache.close()


def test_a_fork_waits_for_the_end_of_a_transaction(tmp_path):
    database = connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    database.execute("CREATE TABLE t (a)")
    begun, ending, events = threading.Event(), threading.Event(), []

    def transaction():
        database.execute("BEGIN IMMEDIATE")
        begun.set()
        ending.wait()
        database.execute("INSERT INTO t VALUES (1)")
        events.append("committed")
        database.execute("COMMIT")

    thread = threading.Thread(target=transaction)
    thread.start()
    begun.wait()
    forking = threading.Thread(target=lambda: events.append(("forked", fork(lambda: None))))
    forking.start()
    wait_for(lambda: sqlite._forking)
    ending.set()
    thread.join()
    forking.join()
    assert events == ["committed", ("forked", 0)]


@pytest.mark.expects_warning("does not wait any longer")
def test_a_fork_does_not_wait_for_ever(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "PATIENCE", 0.05)
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with no_fork():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait()
    assert fork(lambda: None) == 0
    leave.set()
    thread.join()
    assert "does not wait any longer" in caplog.text


def test_who_forks_in_a_transaction_goes_on_with_it(tmp_path):
    database = connect(tmp_path / "db", isolation_level=None)
    database.execute("CREATE TABLE t (a)")
    database.execute("BEGIN IMMEDIATE")
    assert fork(lambda: None) == 0
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("COMMIT")
    assert list(database.execute("SELECT a FROM t")) == [(1,)]


@pytest.mark.parametrize("how", ["commit", "rollback", "close", "error"])
def test_nobody_is_inside_after_the_end_of_a_transaction(tmp_path, how):
    def transaction():
        database = connect(tmp_path / "db", check_same_thread=False)
        database.execute("CREATE TABLE IF NOT EXISTS t (a UNIQUE)")
        with contextlib.closing(database):
            database.execute("INSERT INTO t VALUES (1)")
            if how == "error":
                with pytest.raises(sqlite.sqlite3.IntegrityError):
                    database.execute("INSERT INTO t VALUES (1)")
                database.rollback()
            elif how in {"commit", "rollback"}:
                getattr(database, how)()  # else it is closed in its middle

    thread = threading.Thread(target=transaction)
    thread.start()
    thread.join()
    started = time.monotonic()
    assert fork(lambda: None) == 0
    assert time.monotonic() - started < sqlite.PATIENCE


def test_rows_come_as_from_sqlite_itself(tmp_path):
    database = connect(":memory:")
    database.execute("CREATE TABLE t (a)")
    database.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(1000)])
    cursor = database.execute("SELECT a FROM t ORDER BY a")
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany(2) == [(1,), (2,)]
    assert [a for (a,) in cursor] == list(range(3, 1000))
    assert cursor.fetchall() == []


def test_a_reservation_of_the_parent_is_published_after_a_fork(tmp_path):
    registry = open_registry(f"sqlite:///{tmp_path}/registry.sqlite", "me")
    registry.reserve(new("c1"))
    assert fork(lambda: None) == 0
    assert commit(registry, "c1").index == 0
    registry.close()
