"""Second requests: which reads get one, whose answer is taken, how many there may be, and what a service has to do to get none."""

import os
import threading
import time

import pytest

from artfs.errors import NotFoundError, UnreachableError
from artfs.storage import hedge
from artfs.storage.hedge import Hedged
from artfs.storage.latencies import BURST, FLOOR, QUIET, SAMPLES, SHARE, Latencies, _Recent
from artfs.storage.metrics import Metered
from artfs.storage.port import Locator
from artfs.storage.threads import Threads
from artfs.storage.wandb_urls import FileUrls
from tests.harness import wait_for

LOCATOR = Locator("s3://bucket/key")
SIZE = 1 << 20
PATIENCE = 60.0  # seconds that nothing takes, however slow the machine is


class Served:
    """Objects that answer at once, but for the requests that a test holds, by their numbers from 0."""

    def __init__(self) -> None:
        self.came = threading.Condition()
        self.asked = []
        self.held = {}
        self.closed = False

    def hold(self, number, error=None):
        """Let a request wait until the event that is returned is set; then it answers, or fails."""
        event = threading.Event()
        self.held[number] = event, error
        return event

    def read(self, locator, offset, size):
        with self.came:
            number = len(self.asked)
            self.asked.append((locator, offset, size))
            self.came.notify_all()
        event, error = self.held.get(number, (None, None))
        if event is not None:
            assert event.wait(PATIENCE)
        if error is not None:
            raise error
        return b"%d" % number

    def close(self):
        self.closed = True


@pytest.fixture
def served():
    return Served()


@pytest.fixture
def patient(served, monkeypatch):
    """Objects that know how long reads of a MiB take, and to which none is slow. Their clock stands still.

    Requests come in the order in which they are made, so that a test knows their numbers.
    """
    monkeypatch.setattr("artfs.storage.latencies.FLOOR", PATIENCE)
    found = Hedged(served, clock=lambda: 1000.0)
    warm(found, 80)
    run = found._threads.run

    def run_in_order(job):
        before = len(served.asked)
        run(job)
        with served.came:
            assert served.came.wait_for(lambda: len(served.asked) > before, PATIENCE)

    found._threads.run = run_in_order
    yield found
    for event, _ in served.held.values():
        event.set()
    wait_for(lambda: found._racing == 0, "the end of all requests")
    found.close()


@pytest.fixture
def hedged(patient, monkeypatch):
    """The same, to which a request that a test holds is slow soon."""
    lose_patience(patient, monkeypatch)
    return patient


def lose_patience(hedged, monkeypatch):
    monkeypatch.setattr("artfs.storage.latencies.FLOOR", 0.01)
    for recent in hedged._latencies(LOCATOR.uri)._sizes.values():
        recent.patience = 0.01


def warm(hedged, count):
    for _ in range(count):
        hedged.read(LOCATOR, 0, SIZE)


def test_the_second_request_is_answered_long_before_the_first(served, hedged):
    slow = served.hold(80)
    assert hedged.read(LOCATOR, 5, SIZE) == b"81"
    assert not slow.is_set()
    assert served.asked[80:] == [(LOCATOR, 5, SIZE)] * 2
    assert hedged.second.counts()["read"].requests == 1


def test_the_first_request_may_still_be_the_first_to_be_answered(served, hedged):
    first, second = served.hold(80), served.hold(81)
    threading.Thread(target=lambda: wait_for(lambda: len(served.asked) == 82) and first.set()).start()
    assert hedged.read(LOCATOR, 0, SIZE) == b"80"
    assert not second.is_set()


def test_what_comes_in_time_is_asked_for_once(served, patient):
    warm(patient, 50)
    assert len(served.asked) == 130
    assert patient.second.counts() == {}


def test_nobody_is_asked_twice_before_it_is_known_what_is_slow(served):
    hedged = Hedged(served)
    warm(hedged, SAMPLES - 1)
    slow = served.hold(SAMPLES - 1)
    threading.Timer(3 * FLOOR, slow.set).start()
    assert hedged.read(LOCATOR, 0, SIZE) == b"%d" % (SAMPLES - 1)
    assert len(served.asked) == SAMPLES


@pytest.mark.parametrize("locator", [Locator("s3://bucket/key", hedge=False), Locator("s3://other/key")], ids=repr)
def test_what_may_not_be_asked_for_twice_and_what_nothing_is_known_of_is_asked_for_once(served, hedged, locator):
    slow = served.hold(80)
    threading.Timer(0.2, slow.set).start()
    assert hedged.read(locator, 0, SIZE) == b"80"
    assert len(served.asked) == 81


def test_the_urls_of_a_wandb_server_are_not_asked_for_twice():
    urls = FileUrls(lambda version, paths: {path: f"https://host/{path}?sig=x" for path in paths})
    assert urls.get("version", "path").hedge is False


def test_reads_of_other_sizes_are_measured_for_themselves(served, hedged):
    slow = served.hold(80)
    threading.Timer(0.2, slow.set).start()
    assert hedged.read(LOCATOR, 0, 64 * SIZE) == b"80"
    assert len(served.asked) == 81


def test_a_refusal_is_an_answer_and_a_failure_is_none(served, hedged):
    served.hold(80)
    served.hold(81, NotFoundError("gone")).set()
    with pytest.raises(NotFoundError, match="gone"):
        hedged.read(LOCATOR, 0, SIZE)
    served.held[80][0].set()
    wait_for(lambda: hedged._racing == 0)
    first = served.hold(82)
    served.hold(83, UnreachableError("it broke")).set()
    threading.Thread(target=lambda: wait_for(lambda: len(served.asked) == 84) and first.set()).start()
    assert hedged.read(LOCATOR, 0, SIZE) == b"82"


def test_when_both_fail_that_is_said(served, hedged):
    first = served.hold(80, UnreachableError("the first"))
    served.hold(81, UnreachableError("the second")).set()
    threading.Thread(target=lambda: wait_for(lambda: len(served.asked) == 82) and first.set()).start()
    with pytest.raises(UnreachableError, match=r"the (first|second)"):
        hedged.read(LOCATOR, 0, SIZE)


def test_a_request_that_fails_by_itself_is_not_waited_for_and_brings_no_second_one(served, patient):
    served.hold(80, UnreachableError("no")).set()
    with pytest.raises(UnreachableError, match="no"):
        patient.read(LOCATOR, 0, SIZE)
    assert len(served.asked) == 81


@pytest.mark.parametrize("error", [UnreachableError("status 503", retry_after=1.0), UnreachableError("status 500")])
def test_a_service_that_has_just_failed_gets_no_second_request(served, patient, monkeypatch, error):
    served.hold(80, error).set()
    with pytest.raises(UnreachableError):
        patient.read(LOCATOR, 0, SIZE)
    lose_patience(patient, monkeypatch)
    slow = served.hold(81)
    threading.Timer(0.2, slow.set).start()
    assert patient.read(LOCATOR, 0, SIZE) == b"81"
    assert len(served.asked) == 82


def test_a_service_that_is_slow_with_everything_is_asked_for_a_few_percent_more_and_no_more(monkeypatch):
    class Slow(Served):
        def read(self, locator, offset, size):
            super().read(locator, offset, size)
            time.sleep(0.005)
            return b""

    monkeypatch.setattr(_Recent, "add", lambda recent, _: setattr(recent, "patience", 0.001))
    slow, reads = Slow(), 200
    hedged = Hedged(slow)
    warm(hedged, reads)
    wait_for(lambda: hedged._racing == 0)
    assert 1 <= len(slow.asked) - reads <= 3 + 0.03 * reads
    hedged.close()


def test_few_reads_are_asked_for_twice_at_once_so_that_memory_is_bounded(served, hedged, monkeypatch):
    monkeypatch.setattr(hedge, "AT_ONCE", 2)
    monkeypatch.setattr(Latencies, "take", lambda *_: True)
    for number in range(80, 84):
        served.hold(number)
    readers = [threading.Thread(target=hedged.read, args=(LOCATOR, 0, SIZE)) for _ in range(2)]
    for reader in readers:
        reader.start()
    wait_for(lambda: len(served.asked) == 84)
    late = served.hold(84)
    threading.Timer(0.2, late.set).start()
    assert hedged.read(LOCATOR, 0, SIZE) == b"84"
    assert len(served.asked) == 85
    for number in range(80, 84):
        served.held[number][0].set()
    for reader in readers:
        reader.join()


def test_second_requests_are_counted_beside_the_reads(served, hedged):
    metered = Metered(hedged, {"hedge": hedged.second})
    served.hold(80)
    assert metered.read(LOCATOR, 0, SIZE) == b"81"
    counts = metered.counts()
    assert (counts["read"].requests, counts["hedge"].requests, counts["hedge"].size) == (1, 1, 2)
    assert set(metered.timings()) == {"read", "hedge"}


def test_in_a_forked_child_reads_go_on(served, patient):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if patient.read(LOCATOR, 0, SIZE) == b"80" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What is known of a service ----------------------------------------------------------------------------------------


def known(seconds):
    latencies = Latencies()
    for one in seconds:
        latencies.took(SIZE, one)
    return latencies


def test_slow_is_what_takes_longer_than_99_of_100_and_never_less_than_the_floor():
    assert known([0.001] * 200).patience(SIZE, 0.0) == FLOOR
    assert known([0.2] * 200).patience(SIZE, 0.0) == 0.2
    assert known([0.2] * 198 + [9.0] * 2).patience(SIZE, 0.0) == 0.2
    assert known([0.2] * 197 + [9.0] * 3).patience(SIZE, 0.0) == 9.0
    assert known([9.0] * 300 + [0.2] * 264).patience(SIZE, 0.0) == 0.2  # what was long ago does not count
    assert known([0.2] * (SAMPLES - 1)).patience(SIZE, 0.0) is None


def test_second_requests_are_paid_for_by_requests_and_few_can_be_saved_up():
    latencies = known([0.2] * 10_000)
    assert [latencies.take(0.0) for _ in range(int(BURST) + 1)] == [True] * int(BURST) + [False]
    assert latencies.patience(SIZE, 0.0) is None
    taken = 0
    for _ in range(1000):
        latencies.took(SIZE, 0.2)
        taken += latencies.take(0.0)
    assert taken <= 1000 * SHARE + 1


def test_a_service_that_asks_to_be_left_alone_is_for_as_long_as_it_asks():
    latencies = known([0.2] * 100)
    latencies.failed(0.0, None)
    assert not latencies.take(QUIET - 1)
    assert latencies.patience(SIZE, QUIET - 1) is None
    latencies.failed(0.0, QUIET + 50)
    latencies.failed(0.0, 1.0)
    assert not latencies.take(QUIET + 49)
    assert latencies.take(QUIET + 51)


# Threads -----------------------------------------------------------------------------------------------------------


def test_a_thread_that_is_free_does_the_next_job_and_ends_when_there_is_none(monkeypatch):
    monkeypatch.setattr("artfs.storage.threads.IDLE", 0.05)
    threads, seen = Threads("test"), []
    for _ in range(3):
        done = threading.Event()
        threads.run(lambda: (seen.append(threading.current_thread()), done.set()))
        assert done.wait(PATIENCE)
        wait_for(lambda: threads._crew.idle == 1 or not seen[-1].is_alive())
    assert 1 <= len(set(seen)) <= 3
    wait_for(lambda: not any(thread.is_alive() for thread in seen), "the end of an idle thread")


def test_jobs_at_the_same_time_have_a_thread_each(monkeypatch):
    monkeypatch.setattr("artfs.storage.threads.IDLE", 0.05)
    threads, together = Threads("test"), threading.Barrier(8)
    done = [threading.Event() for _ in range(8)]
    for event in done:
        threads.run(lambda event=event: (together.wait(PATIENCE), event.set()))
    assert all(event.wait(PATIENCE) for event in done)
    threads.close()
    wait_for(lambda: not any(one.name == "test" and one.is_alive() for one in threading.enumerate()))


def test_what_a_job_held_is_given_back_when_it_is_done():
    import weakref

    threads, held = Threads("test"), {1}
    gone, done = weakref.ref(held), threading.Event()
    threads.run(lambda held=held: done.set())
    del held
    assert done.wait(PATIENCE)
    wait_for(lambda: gone() is None)
    threads.close()
