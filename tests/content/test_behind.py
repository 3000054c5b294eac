"""Writing behind: everything is written in the end, memory is bounded, and nothing that a write does harms who reads."""

import threading

import pytest

from artfs.content.behind import WriteBehind

PATIENCE = 120.0


class File:
    """A cache file that writes when it may."""

    name = "md5/00"

    def __init__(self):
        self.written = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)
        self.failure = None

    def write(self, number, data, *, proven, checksum):
        assert proven
        self.begun.release()
        assert self.gate.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        self.written.append((number, bytes(data), checksum))


@pytest.fixture
def file():
    return File()


def test_what_was_put_is_written_in_its_order_and_drain_waits_for_it(file):
    behind = WriteBehind()
    for number in range(50):
        behind.put(file, number, b"%d" % number, b"c" if number % 2 else None)
    behind.drain()
    assert file.written == [(number, b"%d" % number, b"c" if number % 2 else None) for number in range(50)]
    behind.put(file, 50, b"later", None)
    behind.drain()
    assert file.written[-1] == (50, b"later", None)


def test_drain_with_nothing_to_do_does_not_wait():
    WriteBehind().drain()


def test_who_brings_more_than_may_wait_waits_and_one_that_is_bigger_than_all_passes(file):
    behind = WriteBehind(most_bytes=100)
    behind.put(file, 0, bytes(1000), None)
    behind.drain()
    file.gate.clear()
    behind.put(file, 1, bytes(60), None)
    assert file.begun.acquire(timeout=PATIENCE)
    assert file.begun.acquire(timeout=PATIENCE)
    passed = threading.Event()

    def put():
        behind.put(file, 2, bytes(60), None)
        passed.set()

    thread = threading.Thread(target=put)
    thread.start()
    assert not passed.wait(0.05)
    file.gate.set()
    thread.join(PATIENCE)
    behind.drain()
    assert [number for number, *_ in file.written] == [0, 1, 2]


@pytest.mark.expects_warning("could not be cached")
def test_a_write_that_fails_is_logged_and_the_others_are_written(file):
    behind = WriteBehind()
    file.failure = ZeroDivisionError("a mistake")
    behind.put(file, 0, b"a", None)
    behind.drain()
    file.failure = None
    behind.put(file, 1, b"b", None)
    behind.drain()
    assert file.written == [(1, b"b", None)]


def test_a_thread_that_has_ended_for_want_of_work_is_followed_by_another(file, monkeypatch):
    monkeypatch.setattr("artfs.content.behind._IDLE_SECONDS", 0.0)
    behind = WriteBehind()
    for number in range(20):
        behind.put(file, number, b"x", None)
        behind.drain()
    assert len(file.written) == 20
