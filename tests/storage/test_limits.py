"""A budget of bytes: never exceeded, given out in order, given back whatever happens."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from artfs.errors import UnreachableError
from artfs.storage import limits
from artfs.storage.limits import ByteLimit, Limited
from artfs.storage.port import Locator
from tests.harness import wait_for

PATIENCE = 120.0
LOCATOR = Locator("s3://bucket/key")


class Held:
    """Objects whose reads are held back until a test lets them go."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.gate = threading.Semaphore(0)
        self.reading = self.most = 0
        self.order = []
        self.failure = None

    def read(self, locator, offset, size):
        with self.lock:
            self.reading += size
            self.most = max(self.most, self.reading)
            self.order.append(offset)
        assert self.gate.acquire(timeout=PATIENCE)
        with self.lock:
            self.reading -= size
        if self.failure:
            raise self.failure
        return bytes(size)


def waiting(limit, count):
    """Wait until so many wait for their turn."""
    wait_for(lambda: len(limit._waiting) == count, f"{count} that wait")


def test_bytes_that_are_free_are_given_at_once():
    limit = ByteLimit(10)
    assert limit.acquire(4, 0)
    assert limit.acquire(6, 0)
    assert limit.in_use == 10
    assert not limit.acquire(1, 0)
    limit.release(6)
    assert limit.in_use == 4
    assert limit.acquire(1, 0)


def test_more_than_the_budget_is_given_when_nothing_else_is_out():
    limit = ByteLimit(10)
    assert limit.acquire(1000, 0)
    assert limit.in_use == 10
    assert not limit.acquire(1, 0)
    limit.release(1000)
    assert limit.in_use == 0
    assert limit.acquire(1, 0)
    assert not limit.acquire(1000, 0)


def test_who_gives_up_waiting_leaves_nothing_behind():
    limit = ByteLimit(10)
    assert limit.acquire(10, 0)
    for _ in range(3):
        assert not limit.acquire(5, 0)
    assert len(limit._waiting) == 0
    limit.release(10)
    assert limit.acquire(10, 0)


def test_who_waits_gets_the_bytes_when_they_are_given_back():
    limit = ByteLimit(10)
    assert limit.acquire(10, 0)
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(limit.acquire, 10, PATIENCE)
        waiting(limit, 1)
        assert not later.done()
        limit.release(10)
        assert later.result(PATIENCE)


def test_bytes_are_given_in_the_order_of_asking_so_that_a_big_request_is_not_starved():
    limit, given = ByteLimit(10), []

    def take(size):
        assert limit.acquire(size, PATIENCE)
        given.append(size)

    assert limit.acquire(4, 0)
    with ThreadPoolExecutor(3) as pool:
        for number, size in enumerate((10, 2, 3), 1):
            pool.submit(take, size)
            waiting(limit, number)
        assert given == []  # 2 and 3 would fit, but 10 was first
        limit.release(4)
        wait_for(lambda: given == [10], "the first")
        limit.release(10)
        wait_for(lambda: sorted(given) == [2, 3, 10], "the others")


def test_who_gives_up_lets_the_next_one_have_its_turn(monkeypatch):
    limit, enough = ByteLimit(10), threading.Event()
    assert limit.acquire(6, 0)
    condition, wait_for_turn = limit._condition, limit._condition.wait_for

    def give_up_when_told(ready, timeout):
        if timeout == PATIENCE:
            return wait_for_turn(ready, timeout)
        condition.release()
        assert enough.wait(PATIENCE)
        condition.acquire()
        return ready()

    monkeypatch.setattr(condition, "wait_for", give_up_when_told)
    with ThreadPoolExecutor(2) as pool:
        big = pool.submit(limit.acquire, 10, 1)
        waiting(limit, 1)
        small = pool.submit(limit.acquire, 4, PATIENCE)
        waiting(limit, 2)
        enough.set()
        assert not big.result(PATIENCE)
        assert small.result(PATIENCE)


def test_no_more_bytes_are_read_at_once_than_the_limit():
    inner, limit = Held(), ByteLimit(100)
    objects = Limited(inner, limit)
    with ThreadPoolExecutor(16) as pool:
        reads = [pool.submit(objects.read, LOCATOR, number, 30) for number in range(16)]
        wait_for(lambda: inner.reading == 90, "three reads")
        waiting(limit, 13)
        for _ in reads:
            inner.gate.release()
        assert all(len(read.result(PATIENCE)) == 30 for read in reads)
    assert inner.most == 90
    assert limit.in_use == 0


def test_a_read_bigger_than_the_limit_is_made_alone():
    inner, limit = Held(), ByteLimit(100)
    objects = Limited(inner, limit)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(objects.read, LOCATOR, 0, 500)
        wait_for(lambda: inner.reading == 500, "the big read")
        second = pool.submit(objects.read, LOCATOR, 1, 1)
        waiting(limit, 1)
        assert inner.order == [0]
        inner.gate.release()
        inner.gate.release()
        assert (len(first.result(PATIENCE)), len(second.result(PATIENCE))) == (500, 1)


@pytest.mark.parametrize("failure", [UnreachableError("no answer"), KeyboardInterrupt()])
def test_a_read_that_fails_gives_its_bytes_back(failure):
    inner, limit = Held(), ByteLimit(100)
    inner.failure = failure
    inner.gate.release()
    with pytest.raises(type(failure)):
        Limited(inner, limit).read(LOCATOR, 0, 30)
    assert limit.in_use == 0


def test_a_read_that_cannot_begin_in_time_is_an_error_and_is_not_made(monkeypatch):
    monkeypatch.setattr(limits, "WAIT", 0.0)
    inner, limit = Held(), ByteLimit(100)
    assert limit.acquire(80, 0)
    with pytest.raises(UnreachableError, match="30 bytes"):
        Limited(inner, limit).read(LOCATOR, 0, 30)
    assert inner.order == []
    assert limit.in_use == 80


def test_several_objects_share_one_limit():
    inner, limit = Held(), ByteLimit(100)
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(Limited(inner, limit).read, LOCATOR, number, 60) for number in range(2)]
        waiting(limit, 1)
        wait_for(lambda: inner.reading == 60, "one read")
        for _ in reads:
            inner.gate.release()
        assert [len(read.result(PATIENCE)) for read in reads] == [60, 60]
    assert inner.most == 60
