"""Which services do not answer."""

import pytest

from artfs.errors import NotFoundError, UnreachableError
from artfs.storage.port import Locator
from artfs.storage.retry import Retrying
from artfs.storage.troubles import Trouble, Troubles
from tests.storage.test_retry import Failing


def test_a_service_is_in_trouble_from_its_first_failure_to_its_next_answer():
    times = iter([10.0, 20.0, 30.0])
    troubles = Troubles(lambda: next(times))
    assert list(troubles.now()) == []
    troubles.failed("s3://bucket/a", "no answer")
    troubles.failed("https://user:secret@host:1/b?sig=secret", "status 500")
    troubles.failed("s3://bucket/b", "status 503")
    assert list(troubles.now()) == [
        Trouble("https://host:1", 20.0, "status 500"),
        Trouble("s3://bucket", 10.0, "status 503"),
    ]
    troubles.answered("s3://bucket/c")
    troubles.answered("s3://another/c")
    assert [trouble.service for trouble in troubles.now()] == ["https://host:1"]


@pytest.mark.parametrize("answer", [None, NotFoundError("no such thing")])
def test_it_shows_while_it_is_tried_again_and_a_refusal_is_an_answer(fake_time, answer):
    seen = []

    def sleep(seconds):
        seen.append(list(objects.troubles.now()))
        fake_time.sleep(seconds)

    failing = Failing([UnreachableError("the wire is cut")] * 2 + ([answer] if answer else []))
    objects = Retrying(failing, clock=fake_time.clock, sleep=sleep)
    try:
        objects.read(Locator("s3://bucket/key"), 0, 1)
    except NotFoundError:
        assert answer is not None
    assert [[(trouble.service, trouble.reason) for trouble in one] for one in seen] == [
        [("s3://bucket", "the wire is cut")]
    ] * 2
    assert list(objects.troubles.now()) == []


def test_what_was_given_up_stays_in_trouble(fake_time):
    objects = Retrying(Failing([UnreachableError("no")] * 99), clock=fake_time.clock, sleep=fake_time.sleep)
    with pytest.raises(UnreachableError):
        objects.describe("gs://bucket/key")
    (trouble,) = objects.troubles.now()
    assert (trouble.service, trouble.reason) == ("gs://bucket", "no")
