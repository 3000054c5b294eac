"""Worker threads: every job is done once, its outcome comes back on the loop, and the loop never waits."""

import threading
from pathlib import Path

import pytest
import trio

from artfs.content.workers import Workers
from tests.harness import wait_for

PATIENCE = 120.0


@pytest.fixture
async def workers():
    workers = Workers(3)
    yield workers
    workers.close()


@pytest.mark.trio
async def test_a_job_returns_its_result_or_its_error_on_the_loop(workers):
    loop, found = threading.current_thread(), []
    assert await workers.run(lambda: threading.current_thread() is not loop)
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    finished = trio.Event()

    def done(result, error):
        found.append((result, error, threading.current_thread() is loop))
        finished.set()

    workers.submit(lambda: 7, done)
    assert found == []
    await finished.wait()
    assert found == [(7, None, True)]


@pytest.mark.trio
async def test_many_jobs_are_done_once_each_by_no_more_threads_than_allowed(workers):
    names, lock, results = set(), threading.Lock(), []

    def job(number):
        with lock:
            names.add(threading.get_ident())
        return number

    async with trio.open_nursery() as nursery:
        for number in range(500):

            async def one(number=number):
                results.append(await workers.run(lambda: job(number)))

            nursery.start_soon(one)
    assert sorted(results) == list(range(500))
    assert len(names) <= 3


@pytest.mark.trio
async def test_jobs_run_side_by_side(workers):
    barrier = threading.Barrier(3, timeout=PATIENCE)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(workers.run, barrier.wait)


@pytest.mark.trio
async def test_who_is_cancelled_does_not_wait_for_the_job(workers):
    gate, ended = threading.Event(), threading.Event()

    def job():
        gate.wait(PATIENCE)
        ended.set()

    with trio.move_on_after(0) as scope:
        await workers.run(job)
    assert scope.cancelled_caught
    gate.set()
    assert await trio.to_thread.run_sync(ended.wait, PATIENCE)


def test_a_job_that_outlives_the_loop_harms_nothing():
    gate, threads = threading.Event(), set()

    def job():
        threads.add(threading.get_native_id())
        gate.wait(PATIENCE)

    async def main():
        workers = Workers(1)
        workers.submit(job, lambda *_: None)
        while not threads:
            await trio.sleep(0)
        workers.close()

    trio.run(main)
    gate.set()
    wait_for(lambda: not any(Path(f"/proc/self/task/{thread}").exists() for thread in threads), "the end of the thread")
