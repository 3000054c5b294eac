"""Commits under way: tried again, stopped, resumed, given back; the kernel is told; nothing ends the mount."""

import itertools
import threading
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from artfs.errors import BusyError, ExistsError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.names import CollectionRef
from artfs.staging.commit import CommitResult
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted
from artfs.staging.turns import Begun, EarlierCommitError
from artfs.vfs.commits import MAX_COMMITS, Commits, Outcomes
from artfs.vfs.namespace import Kind
from tests.vfs.fakes import PATIENCE
from tests.vfs.world import DATA

pytestmark = pytest.mark.trio

DONE = CommitResult(version=SimpleNamespace(size=1000), created=True, warnings=("a word to the log",), hashed_files=0)


class FakeCommitter:
    """A ``Committer`` whose runs end as the test says: each outcome is a result, an error, or a function of the progress."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.runs = []  # (draft, time of the mount)
        self.running = 0
        self.most_running = 0
        self.arrived = threading.Semaphore(0)
        self._lock = threading.Lock()

    def is_frozen(self, draft):
        return Journal.load(draft) is not None

    def freeze(self, draft, wanted):
        wanted.save(draft)

    def run(self, draft, progress):
        with self._lock:
            self.runs.append((draft.name, trio.from_thread.run_sync(trio.current_time)))
            outcome = self.outcomes.pop(0) if self.outcomes else DONE
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.arrived.release()
        try:
            if callable(outcome):
                outcome = outcome(progress)
            if isinstance(outcome, Exception):
                if not isinstance(outcome, UnreachableError | CommitInterrupted):
                    Journal.clear(draft)
                raise outcome
            draft.discard()
            return outcome
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def commits(world):
    """The commits of a mount, with a committer that does what it is told."""
    committer = FakeCommitter()
    world.registry.place("me", "demo", DATA)
    commits = Commits(world.staging, committer, world.catalog, world.kernel, world.namespace.place, world.nursery)
    commits.committer = committer
    return commits


async def begin(commits, name="x", *aliases, shown=None):
    draft = await commits.create(DATA, name)
    return commits.start(draft, shown or name, Journal(aliases=aliases))


# Drafts -----------------------------------------------------------------------------------------------------------


async def test_drafts_are_found_by_collection_and_name(commits):
    draft = await commits.create(DATA, "x")
    other = await commits.create(CollectionRef("me", "demo", "other"), "x")
    assert commits.staged(DATA) == [draft]
    assert commits.find(DATA, "x") is draft
    assert commits.find(CollectionRef("me", "demo", "other"), "x") is other
    with pytest.raises(NotFoundError, match="'y'"):
        commits.find(DATA, "y")
    with pytest.raises(ExistsError):
        await commits.create(DATA, "x")


async def test_a_draft_that_is_discarded_is_let_go_of_first(commits):
    draft, gone = await commits.create(DATA, "x"), []
    commits.gone = lambda found: gone.append((found, found.directory.exists()))
    await commits.discard(draft)
    assert gone == [(draft, True)]
    assert commits.staged(DATA) == []


# A commit ---------------------------------------------------------------------------------------------------------


async def test_a_commit_is_listed_until_it_is_published_and_then_its_draft_is_gone(commits):
    gone, go = [], threading.Event()
    commits.gone = gone.append
    commits.committer.outcomes.append(lambda _: go.wait(PATIENCE) and DONE)
    job = await begin(commits, "x", "best", shown="best")
    draft = job.draft
    assert (commits.committing(DATA), commits.staged(DATA), commits.jobs) == ([job], [], [job])
    assert (job.name, job.draft_name, job.aliases, commits.job(draft)) == ("best", "x", ("best",), job)
    assert commits.is_frozen(draft)
    with pytest.raises(NotFoundError):
        commits.find(DATA, "x")
    go.set()
    await job.done.wait()
    assert (job.result, job.error) == (DONE, None)
    assert (commits.jobs, commits.job(draft), commits.staged(DATA), gone) == ([], None, [], [draft])


async def test_the_kernel_and_the_catalog_forget_what_a_commit_has_changed(world, commits):
    await world.catalog.listing(DATA)
    job = await begin(commits, "x", "best", "good", shown="best")
    await job.done.wait()
    place = world.namespace.place
    assert {
        (place(Kind.COMMIT, DATA), b"best"), (place(Kind.STAGING, DATA), b"x"), (place(Kind.COLLECTION, DATA), b"latest"),
        (place(Kind.COLLECTION, DATA), b"best"), (place(Kind.COLLECTION, DATA), b"good"),
    } <= set(world.kernel.names)  # fmt: skip
    assert place(Kind.COLLECTION, DATA) in world.kernel.attrs
    assert world.catalog.ttl_left(DATA) == 0.0


async def test_two_commits_of_one_name_cannot_be_under_way(commits):
    go = threading.Event()
    commits.committer.outcomes.append(lambda _: go.wait(PATIENCE) and DONE)
    job = await begin(commits, "x", "best", shown="best")
    draft = await commits.create(DATA, "y")
    with pytest.raises(ExistsError, match="'best'"):
        commits.start(draft, "best", Journal(aliases=("best",)))
    assert not commits.committer.is_frozen(draft)
    assert commits.staged(DATA) == [draft]
    go.set()
    await job.done.wait()


async def test_what_cannot_be_frozen_stays_a_draft(commits):
    def refuse(*_):
        raise InvalidInputError("no alias")

    commits.committer.freeze = refuse
    draft = await commits.create(DATA, "x")
    with pytest.raises(InvalidInputError):
        commits.start(draft, "x", Journal(aliases=("v3",)))
    assert (commits.staged(DATA), commits.jobs) == ([draft], [])


async def test_only_a_few_commits_run_at_once_and_all_are_done(commits):
    go = threading.Event()
    commits.committer.outcomes += [lambda _: go.wait(PATIENCE) and DONE] * (MAX_COMMITS + 3)
    jobs = []
    for number in range(MAX_COMMITS + 3):
        draft = await commits.create(CollectionRef("me", "demo", f"data{number}"), "x")
        jobs.append(commits.start(draft, "x", Journal()))
    for _ in range(MAX_COMMITS):
        assert await trio.to_thread.run_sync(lambda: commits.committer.arrived.acquire(timeout=PATIENCE))
    await trio.testing.wait_all_tasks_blocked()
    go.set()
    await commits.finish()
    assert all(job.done.is_set() and job.result is DONE for job in jobs)
    assert commits.committer.most_running == MAX_COMMITS


async def test_commits_of_one_collection_run_one_after_the_other_in_the_order_in_which_they_were_begun(commits):
    go = threading.Event()
    commits.committer.outcomes.append(lambda _: go.wait(PATIENCE) and DONE)
    jobs = []
    for order, name in enumerate("abc"):
        draft = await commits.create(DATA, name)
        jobs.append(commits.start(draft, name, Journal(order=order)))
    while not jobs[2].waiting_for:
        await trio.sleep(0)
    assert [job.waiting_for.partition(",")[0] for job in jobs] == ["", *["the commit of draft 'a'"] * 2]
    assert "artfs commit --abort me/demo/data/a" in jobs[1].waiting_for
    go.set()
    await commits.finish()
    assert [name for name, _ in commits.committer.runs] == ["a", "b", "c"]
    assert {job.waiting_for for job in jobs} == {""}


async def test_commits_that_were_left_are_resumed_in_their_order(world, commits):
    for order, name in ((3, "c"), (1, "a"), (2, "b")):
        Journal(order=order).save(await commits.create(DATA, name))
    commits.resume()
    await commits.finish()
    assert [name for name, _ in commits.committer.runs] == ["a", "b", "c"]


async def test_a_commit_that_comes_after_one_of_another_process_looks_again_soon_and_warns_of_nothing(
    commits, tmp_path
):
    earlier = Begun(1, "id", tmp_path, str(DATA), "older", "no answer", given_up=False)
    commits.committer.outcomes += [EarlierCommitError.of(earlier)] * 9
    job = await begin(commits)
    await job.done.wait()
    times = [time for _, time in commits.committer.runs]
    assert all(0.4 < later - sooner < 2.0 for sooner, later in itertools.pairwise(times))
    assert "'older'" in job.waiting_for
    assert job.result is DONE


# What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.expects_warning("waits: no answer")
async def test_a_registry_that_cannot_be_reached_is_tried_again_less_and_less_often(commits, caplog, autojump_clock):
    commits.committer.outcomes += [UnreachableError("no answer")] * 8
    job = await begin(commits)
    await job.done.wait()
    assert job.result is DONE
    times = [time for _, time in commits.committer.runs]
    assert [after - before for before, after in itertools.pairwise(times)] == [2, 4, 8, 16, 32, 60, 60, 60]
    assert sum("waits" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.expects_warning("waits: ")
async def test_why_a_commit_waits_is_told_and_logged_when_it_changes(commits, caplog, autojump_clock):
    commits.committer.outcomes += [UnreachableError(text) for text in ("one", "one", "two", "one")]
    job = await begin(commits)
    seen = []
    while not job.done.is_set():
        seen.append(job.waiting_for)
        await trio.sleep(1)
    assert list(dict.fromkeys(seen)) == ["", "one", "two"]
    messages = [record.getMessage() for record in caplog.records if "waits" in record.getMessage()]
    assert [message.rpartition(": ")[2] for message in messages] == ["one", "two", "one"]


@pytest.mark.expects_warning("failed: it is empty")
async def test_a_commit_that_fails_for_good_gives_its_draft_back(world, commits):
    commits.committer.outcomes.append(InvalidInputError("it is empty"))
    job = await begin(commits, "x", "best", shown="best")
    await job.done.wait()
    assert (job.result, str(job.error)) == (None, "it is empty")
    assert (commits.staged(DATA), commits.jobs, commits.is_frozen(job.draft)) == ([job.draft], [], False)
    assert (world.namespace.place(Kind.STAGING, DATA), b"x") in world.kernel.names
    again = commits.start(job.draft, "x", Journal())
    await again.done.wait()
    assert again.result is DONE


@pytest.mark.expects_warning("broke off")
async def test_a_mistake_of_the_program_is_logged_and_leaves_the_commit_to_the_next_mount(commits, caplog):
    commits.committer.outcomes.append(ZeroDivisionError("a mistake"))
    job = await begin(commits)
    await job.done.wait()
    assert (job.result, job.error) == (None, None)
    assert "a mistake" in job.waiting_for
    assert commits.is_frozen(job.draft)
    assert any(record.exc_info for record in caplog.records)
    await commits.finish()
    other = await begin(commits, "y")  # the mount goes on
    await other.done.wait()
    assert other.result is DONE


# The end of the mount, and the next -------------------------------------------------------------------------------


def interrupted(progress):
    """Work until asked to stop, as a commit does between its steps."""
    assert progress.cancelled.wait(PATIENCE)
    return CommitInterrupted("later")


async def test_a_running_commit_stops_and_is_resumed_by_the_next_mount(world, commits):
    commits.committer.outcomes.append(interrupted)
    job = await begin(commits, "x", "best", shown="best")
    assert await trio.to_thread.run_sync(lambda: commits.committer.arrived.acquire(timeout=PATIENCE))
    commits.stop()
    await commits.finish()
    assert (job.result, job.error, job.done.is_set()) == (None, None, True)
    assert commits.is_frozen(job.draft)
    assert commits.staged(DATA) == []
    following = Commits(
        world.staging, commits.committer, world.catalog, world.kernel, world.namespace.place, world.nursery
    )
    following.resume()
    (resumed,) = following.jobs
    assert (resumed.draft, resumed.name, resumed.aliases) == (job.draft, "best", ("best",))
    following.resume()  # once is enough
    assert following.jobs == [resumed]
    await following.finish()
    assert resumed.result is DONE


async def test_a_commit_that_has_not_begun_when_the_mount_ends_is_left_to_the_next(commits):
    job = await begin(commits)
    commits.stop()
    await commits.finish()
    assert (commits.committer.runs, job.result, commits.committer.is_frozen(job.draft)) == ([], None, True)


async def test_drafts_that_were_not_being_committed_are_not_resumed(commits):
    await commits.create(DATA, "x")
    commits.resume()
    assert commits.jobs == []


@pytest.mark.expects_warning("waits: no answer")
async def test_a_commit_that_waits_to_be_tried_again_stops_at_once(commits, autojump_clock):
    commits.committer.outcomes += [UnreachableError("no answer")] * 2
    job = await begin(commits)
    while not job.waiting_for:
        await trio.sleep(0)
    commits.stop()
    await commits.finish()
    assert trio.current_time() == 0.0
    assert len(commits.committer.runs) == 1
    assert (job.done.is_set(), job.result, commits.is_frozen(job.draft)) == (True, None, True)


async def test_no_commit_begins_when_the_mount_is_ending(commits):
    draft = await commits.create(DATA, "x")
    commits.stop()
    with pytest.raises(BusyError, match="ending"):
        commits.start(draft, "x", Journal())
    assert not commits.committer.is_frozen(draft)
    assert commits.staged(DATA) == [draft]


async def test_the_end_waits_for_every_commit(commits):
    go = threading.Event()
    commits.committer.outcomes += [lambda _: go.wait(PATIENCE) and DONE] * 2
    jobs = [await begin(commits, name) for name in ("x", "y")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.finish)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        go.set()
    assert all(job.result is DONE for job in jobs)


@pytest.mark.expects_warning("waits: the registry is away")
async def test_a_commit_that_cannot_reach_the_registry_does_not_keep_the_mount_from_ending(commits):
    commits.committer.outcomes += [UnreachableError("the registry is away")] * 3
    job = await begin(commits)
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(60):
        await commits.end()
    assert (job.result, job.error, job.done.is_set()) == (None, None, True)
    assert commits.committer.is_frozen(job.draft)


@pytest.mark.expects_warning("failed: the draft is empty")
async def test_what_became_of_commits_is_counted_and_one_under_way_is_not(commits):
    unchanged = CommitResult(version=SimpleNamespace(size=7), created=False, warnings=(), hashed_files=0)
    commits.committer.outcomes = [DONE, DONE, unchanged, InvalidInputError("the draft is empty")]
    for name in "abcd":
        job = await begin(commits, name)
        await job.done.wait()
    assert commits.outcomes == Outcomes(published=2, unchanged=1, failed=1, size=2000)
