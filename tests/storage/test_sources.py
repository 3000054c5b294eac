"""Sources on objects: URLs that expire are renewed, and reading goes on where it was."""

import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from artfs.errors import NotFoundError, PermissionDeniedError, UnreachableError
from artfs.storage import sources
from artfs.storage.port import Locator
from artfs.storage.sources import ObjectSource
from tests.servers.faults import Status
from tests.storage.places import CONTENT

SIZE = len(CONTENT)
PATIENCE = 30.0


class Signed:
    """Objects that accept the URLs that a test says; the others are refused."""

    def __init__(self, *accepted) -> None:
        self.accepted = set(accepted)
        self.asked = []
        self.failure = None
        self.barrier = None

    def read(self, locator, offset, size):
        self.asked.append((locator.uri, offset, size))
        if self.failure:
            raise self.failure
        if locator.uri not in self.accepted:
            if self.barrier:
                self.barrier.wait(PATIENCE)
            raise PermissionDeniedError(f"{locator.uri} was refused")
        return memoryview(CONTENT)[offset : offset + size]


class Renewal:
    """Gives out locators one after another, and counts."""

    def __init__(self, *locators) -> None:
        self._locators = iter(locators)
        self.count = 0

    def __call__(self):
        self.count += 1
        return next(self._locators)


@pytest.fixture
def clock(fake_time, monkeypatch):
    monkeypatch.setattr(sources, "time", types.SimpleNamespace(time=fake_time.clock))
    return fake_time


def at(uri, expires=None):
    return Locator(uri, size=SIZE, expires=expires)


def test_a_source_has_the_bytes_of_its_locator(shared_places):
    place = shared_places("s3")
    source = ObjectSource(place.objects, Locator(place.put("object"), 100, 50))
    assert (source.local, source.size) == (False, 50)
    assert source.read(5, 100) == CONTENT[105:150]
    assert source.read_nowait(0, 10) is None
    source.close()
    assert ObjectSource(place.objects, Locator(place.uri("object"))).size is None


def test_a_url_is_used_until_shortly_before_it_expires(clock):
    objects, renewal = Signed("a", "b"), Renewal(at("b"))
    source = ObjectSource(objects, at("a", clock.now + 100), renewal)
    assert source.read(0, 10) == CONTENT[:10]
    clock.now += 60
    assert source.read(10, 10) == CONTENT[10:20]
    assert (renewal.count, [uri for uri, *_ in objects.asked]) == (0, ["a", "a"])
    clock.now += 15
    assert source.read(20, 10) == CONTENT[20:30]
    assert source.read(30, 10) == CONTENT[30:40]
    assert (renewal.count, objects.asked[2:]) == (1, [("b", 20, 10), ("b", 30, 10)])


def test_a_url_that_was_renewed_is_renewed_again_when_it_expires(clock):
    objects = Signed("a", "b", "c")
    renewal = Renewal(at("b", clock.now + 200), at("c"))
    source = ObjectSource(objects, at("a", clock.now), renewal)
    for seconds, uri in ((0, "b"), (100, "b"), (100, "c"), (10000, "c")):
        clock.now += seconds
        source.read(0, 1)
        assert objects.asked[-1][0] == uri
    assert renewal.count == 2


def test_a_url_that_is_refused_is_renewed_once_and_the_read_goes_on_at_its_offset():
    objects, renewal = Signed("b"), Renewal(at("b"))
    source = ObjectSource(objects, at("a"), renewal)
    assert source.read(70, 10) == CONTENT[70:80]
    assert source.read(80, 10) == CONTENT[80:90]
    assert renewal.count == 1
    assert objects.asked == [("a", 70, 10), ("b", 70, 10), ("b", 80, 10)]


def test_a_url_that_is_refused_although_it_is_fresh_is_an_error_and_no_loop():
    objects, renewal = Signed(), Renewal(at("b"), at("c"))
    source = ObjectSource(objects, at("a"), renewal)
    with pytest.raises(PermissionDeniedError, match="b was refused"):
        source.read(0, 10)
    assert (renewal.count, len(objects.asked)) == (1, 2)
    objects.accepted.add("c")
    assert source.read(0, 10) == CONTENT[:10]
    assert renewal.count == 2


def test_a_refusal_without_a_renewal_is_an_error():
    objects = Signed()
    with pytest.raises(PermissionDeniedError, match="a was refused"):
        ObjectSource(objects, at("a", expires=1.0)).read(0, 10)
    assert len(objects.asked) == 1


@pytest.mark.parametrize("failure", [NotFoundError("gone"), UnreachableError("no answer")])
def test_other_failures_do_not_renew(failure):
    objects, renewal = Signed("a"), Renewal()
    objects.failure = failure
    with pytest.raises(type(failure)):
        ObjectSource(objects, at("a"), renewal).read(0, 10)
    assert (renewal.count, len(objects.asked)) == (0, 1)


def test_a_renewal_that_fails_is_an_error_and_is_tried_again_by_the_next_read():
    objects, answers = Signed("b"), iter([UnreachableError("no registry"), at("b")])

    def renew():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = ObjectSource(objects, at("a"), renew)
    with pytest.raises(UnreachableError, match="no registry"):
        source.read(0, 10)
    assert source.read(0, 10) == CONTENT[:10]


@pytest.mark.parametrize("expired", [False, True])
def test_several_threads_renew_once(clock, expired):
    objects, renewal = Signed("b"), Renewal(at("b"), at("c"))
    objects.barrier = threading.Barrier(8)  # all of them were refused the first URL, if they have used it
    source = ObjectSource(objects, at("a", clock.now if expired else None), renewal)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: source.read(number * 10, 10), range(8)))
    assert b"".join(found) == CONTENT[:80]
    assert renewal.count == 1
    assert sum(uri == "a" for uri, *_ in objects.asked) == (0 if expired else 8)


def test_a_real_server_that_refuses_in_the_middle_is_gone_on_with(shared_places):
    place = shared_places("http")
    uri = place.put("object")
    renewal = Renewal(Locator(f"{uri}?fresh", size=SIZE))
    source = ObjectSource(place.objects, Locator(f"{uri}?old", size=SIZE), renewal)
    first = source.read(0, SIZE // 2)
    place.proxy.inject(Status(403), times=None, path="?old")
    assert first + source.read(SIZE // 2, SIZE) == CONTENT
    assert [request.path.partition("?")[2] for request in place.proxy.requests()] == ["old", "old", "fresh"]
