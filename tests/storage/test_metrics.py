"""Counts of what objects are asked for."""

import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from artfs.errors import NotFoundError, UnreachableError
from artfs.storage import metrics
from artfs.storage.metrics import Metered, OperationCount
from artfs.storage.port import Locator, ObjectInfo

URI = "s3://bucket/key"


class Clocked:
    """Objects whose requests take a second each, and fail if a test says so."""

    def __init__(self, time) -> None:
        self.time, self.failure = time, None

    def _answer(self, answer):
        self.time.now += 1
        if self.failure is not None:
            raise self.failure
        return answer

    def read(self, locator, offset, size):
        return self._answer(memoryview(bytes(size - 1)))

    def describe(self, uri, version=None):
        return self._answer(ObjectInfo(uri, 77))

    def list(self, prefix):
        for number in range(3):
            yield self._answer(ObjectInfo(f"{prefix}{number}", 5))

    def write(self, uri, data, digest=None):
        return self._answer(ObjectInfo(uri, sum(map(len, data))))

    def upload(self, uri, path, digest=None):
        return self._answer(ObjectInfo(uri, 1000))

    def remove(self, uri):
        return self._answer(None)


ASK = {
    "read": lambda objects: objects.read(Locator(URI), 0, 100),
    "describe": lambda objects: objects.describe(URI),
    "list": lambda objects: list(objects.list(URI)),
    "write": lambda objects: objects.write(URI, [b"ab", b"c"]),
    "remove": lambda objects: objects.remove(URI),
}
SIZES = {"read": 99, "write": 3}


@pytest.fixture
def inner(fake_time, monkeypatch):
    monkeypatch.setattr(metrics, "time", types.SimpleNamespace(monotonic=fake_time.clock))
    return Clocked(fake_time)


@pytest.mark.parametrize("operation", ASK)
def test_a_request_is_counted_with_its_bytes_and_seconds(inner, operation):
    objects = Metered(inner)
    assert objects.counts() == {}
    seconds = 3.0 if operation == "list" else 1.0
    for times in (1, 2):
        ASK[operation](objects)
        size = SIZES.get(operation, 0)
        assert objects.counts() == {operation: OperationCount(times, 0, times * size, times * seconds)}


@pytest.mark.parametrize("operation", ASK)
@pytest.mark.parametrize("failure", [UnreachableError("no answer"), KeyboardInterrupt()])
def test_a_failure_is_counted_and_passed_on(inner, operation, failure):
    objects = Metered(inner)
    inner.failure = failure
    with pytest.raises(type(failure)) as caught:
        ASK[operation](objects)
    assert caught.value is failure
    assert objects.counts() == {operation: OperationCount(1, 1, 0, 1.0)}


@pytest.mark.parametrize("operation", ASK)
def test_that_something_does_not_exist_is_an_answer_and_no_failure(inner, operation):
    objects = Metered(inner)
    inner.failure = NotFoundError("nothing")
    with pytest.raises(NotFoundError):
        ASK[operation](objects)
    assert objects.counts() == {operation: OperationCount(1, 0, 0, 1.0)}


def test_an_upload_is_counted_as_a_write(inner, tmp_path):
    objects = Metered(inner)
    objects.upload(URI, tmp_path)
    objects.write(URI, [b"ab"])
    inner.failure = UnreachableError("no answer")
    with pytest.raises(UnreachableError):
        objects.upload(URI, tmp_path)
    assert objects.counts() == {"write": OperationCount(3, 1, 1002, 3.0)}


def test_a_listing_that_is_not_wanted_to_its_end_is_no_failure_and_takes_only_its_own_time(inner, fake_time):
    objects = Metered(inner)
    listing = objects.list(URI)
    assert [next(listing).uri, next(listing).uri] == [f"{URI}0", f"{URI}1"]
    fake_time.now += 1000  # whoever asked does something else
    assert objects.counts() == {}
    listing.close()
    assert objects.counts() == {"list": OperationCount(1, 0, 0, 2.0)}


def test_counts_that_were_given_out_do_not_change(inner):
    objects = Metered(inner)
    objects.describe(URI)
    before = objects.counts()
    objects.describe(URI)
    assert before["describe"].requests == 1


def test_requests_of_several_threads_are_all_counted(inner):
    objects = Metered(inner)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: objects.read(Locator(URI), 0, 11), range(2000)))
    assert (objects.counts()["read"].requests, objects.counts()["read"].size) == (2000, 20000)


def test_how_long_requests_took_is_counted_by_operation(inner):
    objects = Metered(inner)
    for _ in range(3):
        ASK["read"](objects)
    ASK["list"](objects)
    timings = objects.timings()
    assert {name: one.count for name, one in timings.items()} == {"read": 3, "list": 1}
    assert timings["read"].seconds == 3.0
    assert timings["read"].cumulative()[-1] == 3


@pytest.mark.parametrize("operation", ASK)
def test_what_is_on_its_way_is_counted_until_it_is_answered_or_has_failed(inner, operation):
    seen = []
    answer = inner._answer
    inner._answer = lambda value: (seen.append(objects.in_flight()), answer(value))[1]
    objects = Metered(inner)
    ASK[operation](objects)
    assert set(seen) == {(1, 100 if operation == "read" else 0)}
    assert objects.in_flight() == (0, 0)
    inner.failure = UnreachableError("gone")
    with pytest.raises(UnreachableError):
        ASK[operation](objects)
    assert objects.in_flight() == (0, 0)


def test_an_upload_is_on_its_way_with_the_size_of_its_file(inner, tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    seen = []
    answer = inner._answer
    inner._answer = lambda value: (seen.append(objects.in_flight()), answer(value))[1]
    objects = Metered(inner)
    objects.upload(URI, tmp_path / "f")
    assert seen == [(1, 5)]
    assert objects.in_flight() == (0, 0)
