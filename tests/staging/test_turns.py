"""Commits of one collection are published in the order in which they were begun, whoever finishes them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from artfs.app.services import open_services
from artfs.errors import BusyError, UnreachableError
from artfs.model.names import CollectionRef, parse_artifact_ref
from artfs.staging import turns
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted, Progress
from artfs.staging.turns import EarlierCommitError, give_up, unfinished
from tests.harness import wait_for
from tests.staging.test_commit import COLLECTION, commit, content, make, write

KILLED = """
import os, signal, sys
from tests.staging.test_commit import make
from artfs.app.services import open_services
from artfs.config import load_config
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
def on_step(name):
    if name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
with open_services(load_config()) as services:
    draft = make(services, {"f": b"older"}, "older")
    committer = services.committer(on_step)
    committer.freeze(draft, Journal())
    committer.run(draft, Progress())
"""


def begin(services, name="older"):
    """Begin the commit of a draft that holds its name, and go no further."""
    draft = make(services, {"f": name.encode()}, name)
    services.committer().freeze(draft, Journal())
    return draft


def versions(services):
    """Return what the versions hold, in their order; `latest` is the last of them."""
    found = [services.registry.version(COLLECTION.at(f"v{index}")) for index in range(count(services))]
    latest = services.registry.version(parse_artifact_ref("demo/data", "me"))
    assert latest == found[-1]
    return [content(services, version)["f"].decode() for version in found]


def count(services):
    return services.registry.version(parse_artifact_ref("demo/data", "me")).index + 1


def away(*_):
    raise UnreachableError("the registry is away")


# Order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["frozen", "hashed", "reserved", "stored", "published"])
def test_a_commit_that_was_killed_is_finished_before_a_newer_one(services, step):
    done = subprocess.run([sys.executable, "-c", KILLED, step], check=False)
    assert done.returncode == -signal.SIGKILL
    told = []
    committer = services.committer(tell=told.append)
    draft = make(services, {"f": b"newer"}, "newer")
    committer.freeze(draft, Journal())
    committer.run(draft, Progress())
    assert versions(services) == ["older", "newer"]
    assert told == ["the commit of draft 'older' of me/demo/data was begun before, and comes first"]
    assert unfinished(services.drafts.root, str(COLLECTION)) == []


def test_many_commits_of_many_threads_are_published_in_the_order_in_which_they_were_begun(services):
    names = [f"{number:02}" for number in range(8)]
    drafts = [begin(services, name) for name in names]
    threads = [
        threading.Thread(target=lambda draft=draft: services.committer().run(draft, Progress()))
        for draft in reversed(drafts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions(services) == names


def test_who_was_overtaken_by_the_thread_of_another_is_told_what_was_made(services):
    older, newer = begin(services), begin(services, "newer")
    assert services.committer().run(newer, Progress()).version.index == 1
    result = services.committer().run(older, Progress())
    assert (result.version.index, result.created, older.is_gone) == (0, True, True)


def test_who_is_overtaken_between_two_looks_is_told_what_was_made(services, monkeypatch):
    draft = begin(services)

    class Overtaken(turns.Turn):
        """As it is seen by a thread that has looked just before another one ended the commit."""

        looks = 0

        @property
        def ended(self):
            self.looks += 1
            if self.looks == 1:
                services.committer().run(draft, Progress())
                assert draft.is_gone
                return None
            return self.became

        @ended.setter
        def ended(self, became):
            self.became = became

    draft.turn = Overtaken()
    assert services.committer().run(draft, Progress()).version.index == 0


def test_the_order_holds_when_the_clock_goes_back(services, monkeypatch):
    monkeypatch.setattr(turns.time, "time_ns", iter(range(9, 0, -1)).__next__)
    drafts = [begin(services, name) for name in ("a", "b", "c")]
    for draft in reversed(drafts):
        services.committer().run(draft, Progress())
    assert versions(services) == ["a", "b", "c"]


def test_commits_of_other_collections_wait_for_nothing(services):
    begin(services)
    other = services.drafts.create(CollectionRef("me", "demo", "other"), "x")
    write(other, {"f": b"1"})
    assert commit(services, other).version.index == 0
    assert len(unfinished(services.drafts.root, str(COLLECTION))) == 1


# Another process --------------------------------------------------------------------------------------------------


def test_a_commit_of_another_process_is_waited_for(services, config):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child owns the older commit, and goes on with it when it is told
        os.close(writing)
        with open_services(config) as own:
            older = begin(own)
            os.read(reading, 1)
            own.committer().run(older, Progress())
        os._exit(0)
    os.close(reading)
    wait_for(lambda: unfinished(services.drafts.root, str(COLLECTION)))
    told, newer = threading.Event(), begin(services, "newer")
    committer = services.committer(tell=lambda _: told.set())
    thread = threading.Thread(target=lambda: committer.run(newer, Progress()))
    thread.start()
    assert told.wait(60)
    assert thread.is_alive()
    os.close(writing)
    thread.join()
    os.waitpid(pid, 0)
    assert versions(services) == ["older", "newer"]


def test_a_commit_of_another_process_that_cannot_go_on_is_not_waited_for_for_ever(services, config, monkeypatch):
    monkeypatch.setattr("artfs.staging.drafts.note", lambda _: None)  # as if the other services were another process
    with open_services(config) as other, pytest.MonkeyPatch.context() as patch:
        older, newer = begin(other), begin(services, "newer")
        patch.setattr(other.registry, "reserve", away)
        with pytest.raises(UnreachableError):
            other.committer().run(older, Progress())
        with pytest.raises(
            EarlierCommitError, match=r"'older'.* comes first, which waits: the registry is away.*--abort"
        ) as caught:
            services.committer(patience=0.2).run(newer, Progress())
        assert caught.value.exit_code == 8
        with pytest.raises(EarlierCommitError):  # as a mount, which looks again
            services.committer(patience=0).run(newer, Progress())
        patch.undo()
        other.committer().run(older, Progress())
    services.committer().run(newer, Progress())
    assert versions(services) == ["older", "newer"]


def test_who_waits_for_another_process_can_be_interrupted(services, config, monkeypatch):
    monkeypatch.setattr("artfs.staging.drafts.note", lambda _: None)
    with open_services(config) as other:
        begin(other)
        newer, progress = begin(services, "newer"), Progress()
        with pytest.raises(CommitInterrupted):
            services.committer(tell=lambda _: progress.cancelled.set()).run(newer, progress)
        assert services.committer().is_frozen(newer)


# What cannot go on -------------------------------------------------------------------------------------------------


def test_a_commit_that_cannot_go_on_holds_up_the_later_ones_until_it_is_given_up(services):
    older, newer = begin(services), begin(services, "newer")
    older.transient = True  # as the draft of `artfs put`
    ran = services.registry.reserve

    def only_newer(new):
        return away() if new.client_id == Journal.load(older).client_id else ran(new)

    patch = pytest.MonkeyPatch()
    patch.setattr(services.registry, "reserve", only_newer)
    for _ in range(2):
        with pytest.raises(EarlierCommitError, match="the registry is away"):
            services.committer().run(newer, Progress())
    assert give_up(services.drafts.root, COLLECTION, "nothing") is None
    assert give_up(services.drafts.root, COLLECTION, "older").id == older.id
    assert give_up(services.drafts.root, COLLECTION, "older") is None
    services.committer().run(newer, Progress())
    with pytest.raises(BusyError, match="given up"):
        services.committer().run(older, Progress())
    assert (services.committer().is_frozen(older), older.transient) == (False, False)
    assert "given up" in older.error
    assert versions(services) == ["newer"]
    patch.undo()
    commit(services, older)
    assert versions(services) == ["newer", "older"]


def test_a_commit_that_fails_for_good_lets_the_next_one_pass(services):
    older, told = services.drafts.create(COLLECTION, "older"), []
    services.committer().freeze(older, Journal())  # there is nothing in it
    newer = begin(services, "newer")
    services.committer(tell=told.append).run(newer, Progress())
    assert versions(services) == ["newer"]
    assert "has failed: the draft is empty" in told[-1]
    assert not services.committer().is_frozen(older)


def test_a_commit_whose_database_is_damaged_holds_up_nobody(services):
    older = begin(services)
    older.release()
    (older.directory / turns.DATABASE).write_bytes(b"not a database" * 100)
    commit(services, make(services, {"f": b"newer"}, "newer"))
    assert versions(services) == ["newer"]


def test_a_commit_of_an_earlier_version_of_artfs_comes_first(services):
    older, newer = begin(services), begin(services, "newer")
    journal = older.database.get(turns.JOURNAL_KEY)
    del journal["order"]
    older.database.set(turns.JOURNAL_KEY, journal)
    services.committer().run(newer, Progress())
    assert versions(services) == ["older", "newer"]
