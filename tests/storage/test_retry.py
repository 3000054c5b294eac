"""Trying again: what, how often, after which pauses, and what is said when it is given up."""

import itertools
import re
import types

import pytest

from artfs.errors import ChangedError, IntegrityError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.storage import retry
from artfs.storage.port import Locator, ObjectInfo
from artfs.storage.retry import DEADLINE, FIRST_PAUSE, LAST_PAUSE, Retrying

URI = "https://host/path"
SIGNED = f"{URI}?Signature=secret"


class Failing:
    """Objects whose requests raise what a test says, one error for each, and then succeed."""

    def __init__(self, errors, time=None, seconds=0.0) -> None:
        self._errors = iter(errors)
        self._time, self._seconds = time, seconds
        self.asked = []

    def _answer(self, question, answer):
        self.asked.append(question)
        if self._time:
            self._time.now += self._seconds
        error = next(self._errors, None)
        if error is not None:
            raise error
        return answer

    def read(self, locator, offset, size):
        return self._answer(("read", locator, offset, size), b"bytes")

    def describe(self, uri, version=None):
        return self._answer(("describe", uri, version), ObjectInfo(uri, 5))

    def list(self, prefix):
        return self._answer(("list", prefix), iter([]))

    def write(self, uri, data, digest=None):
        return self._answer(("write", uri), ObjectInfo(uri, 5))

    def upload(self, uri, path, digest=None):
        return self._answer(("upload", uri), ObjectInfo(uri, 5))

    def remove(self, uri):
        return self._answer(("remove", uri), None)

    def close(self):
        self.asked.append(("close",))


def unreachable(text="no answer", **more):
    return UnreachableError(text, **more)


@pytest.fixture
def no_jitter(monkeypatch):
    monkeypatch.setattr(retry, "random", types.SimpleNamespace(uniform=lambda _, most: most))


def retrying(inner, fake_time, **settings):
    return Retrying(inner, clock=fake_time.clock, sleep=fake_time.sleep, **settings)


def test_what_fails_is_asked_again_unchanged_until_it_succeeds(fake_time):
    inner = Failing([unreachable()] * 3)
    locator = Locator(URI, 1, 2, "etag", "version", 3.0, {"a": "b"})
    assert retrying(inner, fake_time).read(locator, 4, 5) == b"bytes"
    assert inner.asked == [("read", locator, 4, 5)] * 4
    inner = Failing([unreachable()] * 3)
    assert retrying(inner, fake_time).describe(URI, "version").size == 5
    assert inner.asked == [("describe", URI, "version")] * 4


def test_what_succeeds_is_asked_once_and_nobody_sleeps(fake_time):
    inner = Failing([])
    retrying(inner, fake_time).read(Locator(URI), 0, 1)
    assert (len(inner.asked), fake_time.pauses) == (1, [])


@pytest.mark.parametrize(
    "error",
    [NotFoundError("a"), PermissionDeniedError("b"), ChangedError("c"), IntegrityError("d"), ValueError("e"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_answer_is_final_even_if_it_is_a_refusal(fake_time, error):
    for ask in (lambda objects: objects.read(Locator(URI), 0, 1), lambda objects: objects.describe(URI)):
        inner = Failing([error])
        with pytest.raises(type(error)) as caught:
            ask(retrying(inner, fake_time))
        assert caught.value is error
        assert (len(inner.asked), fake_time.pauses) == (1, [])


def test_a_refusal_after_a_failure_is_final_too(fake_time):
    inner = Failing([unreachable(), NotFoundError("gone")])
    with pytest.raises(NotFoundError, match="gone"):
        retrying(inner, fake_time).read(Locator(URI), 0, 1)


def test_pauses_double_up_to_the_last(fake_time, no_jitter):
    retrying(Failing([unreachable()] * 10), fake_time, deadline=1e6).read(Locator(URI), 0, 1)
    assert fake_time.pauses == [min(LAST_PAUSE, FIRST_PAUSE * 2**number) for number in range(10)]


def test_pauses_have_jitter_but_are_never_less_than_half(fake_time):
    retrying(Failing([unreachable()] * 200), fake_time, deadline=1e6).read(Locator(URI), 0, 1)
    long = fake_time.pauses[20:]
    assert all(LAST_PAUSE / 2 <= pause <= LAST_PAUSE for pause in long)
    assert len(set(long)) > 100


def test_a_pause_is_as_long_as_the_service_asks_for(fake_time, no_jitter):
    errors = [unreachable(retry_after=seconds) for seconds in (17.0, 0.0, None, 0.01)]
    retrying(Failing(errors), fake_time).read(Locator(URI), 0, 1)
    assert fake_time.pauses == [17.0, 0.2, 0.4, 0.8]


def test_what_keeps_failing_is_given_up_before_the_deadline(fake_time, no_jitter):
    inner = Failing(itertools.repeat(unreachable("the last reason", hint="try something")))
    began = fake_time.now
    with pytest.raises(UnreachableError) as caught:
        retrying(inner, fake_time).read(Locator(SIGNED), 0, 1)
    waited = fake_time.now - began
    assert DEADLINE - LAST_PAUSE <= waited <= DEADLINE
    assert caught.value.message == (
        f"{URI} cannot be reached: gave up after {len(inner.asked)} tries in {waited:.0f} s: the last reason"
    )
    assert caught.value.hint == "try something"
    assert isinstance(caught.value.__cause__, UnreachableError)


def test_the_time_of_the_requests_counts(fake_time):
    inner = Failing(itertools.repeat(unreachable()), fake_time, seconds=25.0)
    with pytest.raises(UnreachableError, match="gave up after 3 tries in 75 s"):
        retrying(inner, fake_time).describe(URI)


def test_a_service_that_asks_for_more_time_than_there_is_is_given_up_at_once(fake_time):
    inner = Failing([unreachable(retry_after=DEADLINE + 1)])
    with pytest.raises(UnreachableError, match=re.escape("gave up after 1 try in 0 s")):
        retrying(inner, fake_time).read(Locator(URI), 0, 1)
    assert fake_time.pauses == []


def test_writes_and_listings_are_passed_on_once(fake_time, tmp_path):
    for name, ask in {
        "list": lambda objects: objects.list(URI),
        "write": lambda objects: objects.write(URI, []),
        "upload": lambda objects: objects.upload(URI, tmp_path),
        "remove": lambda objects: objects.remove(URI),
    }.items():
        inner = Failing([unreachable()])
        with pytest.raises(UnreachableError, match=r"^no answer$"):
            ask(retrying(inner, fake_time))
        ask(retrying(inner, fake_time))
        assert [question[0] for question in inner.asked] == [name] * 2
    inner = Failing([])
    retrying(inner, fake_time).close()
    assert inner.asked == [("close",)]
