"""What a server asks for: Retry-After, and the rate limit that all threads keep to."""

import concurrent.futures
import email.utils
import time

import pytest

from artfs.errors import UnreachableError
from artfs.wandb.retry import LONGEST_RESET, RateLimit, retry_after
from tests.wandb.conftest import VIEWER, viewer
from tests.wandb.stub import Reply


def limited(remaining, reset, status=200):
    reply = viewer() if status == 200 else Reply(status)
    reply.headers |= {"RateLimit-Remaining": str(remaining), "RateLimit-Reset": str(reset)}
    return reply


def ask(session):
    return session.ask(VIEWER, {})


def test_the_pause_is_never_shorter_than_retry_after(session, server, fake_time):
    server.script += [Reply(503, headers={"Retry-After": "17"}), viewer()]
    ask(session)
    assert fake_time.slept == [17.0]


def test_a_retry_after_that_is_too_late_is_reported(session, server, fake_time):
    server.script += [Reply(503, headers={"Retry-After": "90"})]
    with pytest.raises(UnreachableError, match="1 try") as caught:
        ask(session)
    assert caught.value.retry_after == 90
    assert fake_time.slept == []


def test_retry_after_may_be_a_date():
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < retry_after({"Retry-After": date}) < 110
    assert retry_after({"Retry-After": email.utils.formatdate(0, usegmt=True)}) == 0
    for text in ("", "soon", "-1", "nan", "1e9", "9" * 400):
        assert retry_after({"Retry-After": text}) is None


def test_when_nothing_remains_the_next_question_waits_for_the_reset(session, server, fake_time):
    server.script += [limited(0, 7.5), viewer()]
    ask(session)
    assert fake_time.slept == []
    ask(session)
    assert 7.5 <= sum(fake_time.slept) <= 8


@pytest.mark.parametrize(
    "reply", [limited(1, 30), limited(5, 30), limited("x", 30), limited(0, "x"), limited(-1, 30), limited(0, 0)]
)
def test_when_something_remains_nobody_waits(session, server, fake_time, reply):
    server.script += [reply, viewer()]
    ask(session), ask(session)
    assert fake_time.slept == []


def test_all_threads_keep_to_the_limit(session, server, fake_time):
    server.script += [limited(0, 5)]  # if all sleep one after the other, none of them is at its deadline
    ask(session)
    asked_at = []
    server.default = lambda _: asked_at.append(fake_time.at) or viewer()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(session), range(8)))
    assert len(asked_at) == 8
    assert min(asked_at) >= 1005


def test_a_429_is_for_all_threads(fake_time):
    limit = RateLimit(fake_time.clock)
    limit.note(503, {"Retry-After": "25"})
    assert limit.pause() == 0
    limit.note(429, {"Retry-After": "25"})
    limit.note(200, {})
    assert limit.pause() == 25


def test_a_limit_beyond_the_deadline_is_an_error_at_once(session, server, fake_time):
    server.script += [limited(0, 120)]
    ask(session)
    with pytest.raises(UnreachableError, match="rate limit") as caught:
        ask(session)
    assert caught.value.retry_after == 120
    assert fake_time.slept == []
    fake_time.at += 121
    server.script += [viewer()]
    ask(session)


def test_a_reset_that_is_a_date_does_not_silence_for_ever(fake_time):
    limit = RateLimit(fake_time.clock)
    limit.note(200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "999999999"})
    assert limit.pause() == LONGEST_RESET


def test_files_elsewhere_do_not_wait_for_the_server(session, server, fake_time):
    server.script += [limited(0, 20), Reply(200, b"abc")]
    ask(session)
    assert b"".join(session.get(f"{server.url}/signed?sig=1")) == b"abc"
    assert fake_time.slept == []
    server.script += [Reply(200, b"abc")]
    assert b"".join(session.get(f"{server.url}/own", authorised=True)) == b"abc"
    assert 20 <= sum(fake_time.slept) <= 21


def test_files_of_the_server_itself_say_what_remains(session, server, fake_time):
    server.script += [limited(0, 12), viewer()]
    assert list(session.get(f"{server.url}/own", authorised=True)) == [viewer().body]
    ask(session)
    assert 12 <= sum(fake_time.slept) <= 13
    server.script += [limited(0, 12), viewer()]
    list(session.get(f"{server.url}/signed?sig=1"))
    ask(session)
    assert sum(fake_time.slept) <= 13
