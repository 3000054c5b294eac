"""Garbage collection: what goes, what stays, and what it does beside commits, other collectors and a ``kill -9``."""

import os
import random
import subprocess
import sys
import threading
import time

import pytest

from artfs.errors import ArtfsError, BusyError, IntegrityError, InvalidInputError, NotFoundError
from artfs.model.digest import Digest
from artfs.model.names import CollectionRef
from artfs.registry.port import VersionChange
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted, Progress
from artfs.storage import holds
from tests.app.gc_world import World, use_store_elsewhere
from tests.harness import ALONE, wait_for
from tests.staging.test_commit import COLLECTION, make, write

BIG = os.urandom(3 << 20)
SHARED = b"in both"


@pytest.fixture(params=["here", "elsewhere"])
def world(request, services):
    if request.param == "elsewhere":
        use_store_elsewhere(services)
    return World(services)


@pytest.fixture
def here(services):
    return World(services)


@pytest.fixture
def elsewhere(services):
    use_store_elsewhere(services)
    return World(services)


def blob(data):
    return str(Digest.of(data))


def put_aside(world, data):
    """Put an object into the store that nobody needs."""
    world.services.store.write(Digest.of(data), [data])
    return blob(data)


# What goes, and what stays -------------------------------------------------------------------------------------


def test_what_only_a_deleted_version_needed_goes_and_everything_else_stays(world):
    shared = os.urandom(ALONE)
    old = world.commit({"big": BIG, "old": os.urandom(ALONE), "shared": shared})
    new = world.commit({"new": b"new", "shared": shared})
    kept = world.stored()
    world.delete(old)
    found = world.find()
    assert {kind: count for kind, (count, _) in found.kinds.items()} == {
        "files": 2,
        "block lists": 1,
        "lists of files": 1,
    }
    assert world.stored() == kept, "finding removes nothing"
    assert world.collect().size == found.size > len(BIG)
    assert world.stored() == {blob(b"new"), blob(shared), str(new.manifest.digest)}
    assert world.content(new) == {"new": b"new", "shared": shared}
    assert world.find().count == 0


def test_what_is_younger_than_the_grace_by_the_time_of_the_store_stays(world, monkeypatch):
    put_aside(world, b"orphan")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * 86400)  # the clock of this machine is wrong
    assert world.collect(grace=3600.0).count == 0
    assert world.find(grace=3600.0).young == 1
    assert world.collect().count == 1
    assert world.stored() == set()


def test_a_version_that_was_deleted_within_the_grace_keeps_what_it_needs(world):
    old = world.commit({"a": b"one"})
    world.commit({"a": b"two"})
    world.delete(old)
    put_aside(world, b"orphan")
    for name in world.stored():
        path = world.services.store.path(Digest.from_hex(name.partition(":")[2]))
        assert path.exists()
    assert world.find(grace=3600.0).needed == 4
    assert world.find(grace=0.0).needed == 2


def test_what_a_draft_of_this_machine_starts_from_stays(world):
    old = world.commit({"a": b"one"})
    world.commit({"a": b"two"})
    draft = make(world.services, {}, "other", base=world.base(old))
    world.delete(old)
    assert world.collect().count == 0
    draft.discard()
    assert world.collect().count == 2


def test_files_of_a_commit_that_failed_stay_for_its_draft(here):
    draft = make(here.services, {"a": b"only here", "big": BIG})

    def fail(step):
        if step == "stored":
            raise InvalidInputError("no")

    committer = here.services.committer(fail)
    committer.freeze(draft, Journal())
    with pytest.raises(InvalidInputError):
        committer.run(draft, Progress())
    draft.database.execute("DELETE FROM marks")  # so that only the hold knows
    here.collect()
    assert {blob(b"only here"), blob(BIG)} <= here.stored()
    draft.discard()
    assert here.collect().count == 4
    assert here.stored() == set()
    assert here.services.backends.holdings().holds.all() == []


def test_a_hold_of_another_machine_is_never_over(here, monkeypatch):
    draft = make(here.services, {"a": b"theirs"})
    hold = holds.Holds(here.services.store.path(Digest.of(b"")).parents[2]).of_draft(draft.directory)
    put_aside(here, b"theirs")
    with monkeypatch.context() as patch:
        patch.setattr(holds, "machine", lambda: "another machine")
        with hold.adding([Digest.of(b"theirs")]):
            pass
    draft.discard()
    assert here.collect().count == 0
    hold.end()
    assert here.collect().count == 1


def test_nothing_is_removed_when_it_is_not_known_what_a_version_needs(world):
    version = world.commit({"a": b"one"})
    put_aside(world, b"orphan")
    path = world.services.store.path(version.manifest.digest)
    data = path.read_bytes()
    path.chmod(0o600)
    for damage, error in (
        (data[:-5], IntegrityError),
        (data.replace(b'"a"', b'"b"'), IntegrityError),
        (None, NotFoundError),
    ):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        with pytest.raises(error, match=version.id):
            world.collect()
    assert blob(b"orphan") in world.stored()


def test_a_store_that_another_registry_uses_is_left_alone(world):
    world.commit({"a": b"one"})
    world.services.backends.holdings().claim("another")
    put_aside(world, b"orphan")
    with pytest.raises(InvalidInputError, match="another registry"):
        world.collect()
    assert blob(b"orphan") in world.stored()


# Time to live --------------------------------------------------------------------------------------------------


def test_versions_whose_time_has_run_out_are_deleted_but_for_those_that_are_named_or_linked(here, monkeypatch):
    registry = here.services.registry
    made = [here.commit({"a": b"%d" % number}) for number in range(5)]
    for version in made[1:]:
        ref = version.collection.at(f"v{version.index}")
        registry.change_version(ref, VersionChange(ttl_seconds=(None, 60)))
    registry.add_aliases(made[1].collection.at("v1"), ["best"])
    registry.link(made[2].id, CollectionRef("me", "demo", "portfolio"), [])
    registry.remove_alias(CollectionRef("me", "demo", "portfolio"), "latest")
    assert here.find().expired == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    kept = {version.index: version.kept for version in here.find().expired}
    assert kept == {1: "it has the alias best", 2: "a portfolio links it", 3: "", 4: "it has the alias latest"}
    assert [version.index for version in here.collect(grace=3600.0).expired] == [3]
    assert [version.index for version in registry.versions(COLLECTION)] == [0, 1, 2, 4]
    assert blob(b"3") in here.stored(), "its files have their grace"
    here.collect()
    assert blob(b"3") not in here.stored()


# Beside others -------------------------------------------------------------------------------------------------


def test_a_commit_that_found_an_object_which_is_removed_before_it_publishes_brings_it_again(world):
    for data in (b"reused", BIG, SHARED):
        put_aside(world, data)
    steps = []

    def collect(step):
        steps.append(step)
        if step == "stored" and steps.count("stored") < 3:  # also in the middle of bringing it again
            assert world.collect().count  # the manifest, too, where nothing is held

    files = {"a": b"reused", "big": BIG, "c": SHARED, "new": b"new"}
    if world.services.store.local:
        put_aside(world, b"orphan")
    assert world.content(world.commit(files, on_step=collect)) == files
    assert "published" in steps


def test_an_object_that_is_being_removed_is_waited_for(elsewhere):
    put_aside(elsewhere, b"reused")
    draft = make(elsewhere.services, {"a": b"reused"})
    committer, progress = elsewhere.services.committer(), Progress()
    committer.freeze(draft, Journal())
    result = []
    thread = threading.Thread(target=lambda: result.append(committer.run(draft, progress).version))

    def begin(step):
        if step == "opened":
            thread.start()
            wait_for(lambda: "garbage" in str(progress.snapshot()["phase"]), "the commit waits")

    assert elsewhere.collect(on_step=begin).count == 1
    thread.join()
    assert elsewhere.content(result[0]) == {"a": b"reused"}


def test_what_was_published_since_it_was_looked_for_is_spared(world):
    put_aside(world, b"reused")
    made = []

    def publish(step):
        if step == "begun":
            made.append(world.commit({"a": b"reused"}))

    assert world.collect(on_step=publish).count == 0
    assert world.content(made[0]) == {"a": b"reused"}


def test_what_is_taken_over_from_a_version_that_was_deleted_and_collected_fails_the_commit_by_name(world):
    old = world.commit({"kept/a": b"one", "b": b"two"})
    world.commit({"c": b"three"})
    draft = make(world.services, {"own": b"own"}, "linking")
    draft.tree.symlink("link", "/mnt/artfs/me/demo/data/v0/kept/a")

    def delete(step):
        if step == "hashed":
            world.delete(old)
            world.collect()

    committer = world.services.committer(delete)
    committer.freeze(draft, Journal())
    with pytest.raises(NotFoundError, match="bytes of link are not in the store any more"):
        committer.run(draft, Progress())
    assert "link" in draft.error
    draft.tree.unlink("link")
    committer = world.services.committer()
    committer.freeze(draft, Journal())
    assert world.content(committer.run(draft, Progress()).version) == {"own": b"own"}


def test_what_is_taken_over_from_a_deleted_version_is_committed_while_it_is_there(world):
    old = world.commit({"a": b"one"})
    world.commit({"c": b"three"})
    draft = make(world.services, {"own": b"own"}, "based", base=world.base(old))
    world.delete(old)
    committer = world.services.committer()
    committer.freeze(draft, Journal())
    version = committer.run(draft, Progress()).version
    world.collect()
    assert world.content(version) == {"a": b"one", "own": b"own"}


def test_only_one_collects_at_a_time(here):
    put_aside(here, b"orphan")

    def collect_too(step):
        if step == "begun":
            with pytest.raises(BusyError, match=f"process {os.getpid()} on"):
                here.collect()

    assert here.collect(on_step=collect_too).count == 1
    assert here.collect().count == 0


KILLED = """
import os, signal, sys
from artfs.app.services import open_services
from artfs.config import load_config
from tests.app.gc_world import World
def on_step(name):
    if name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
with open_services(load_config()) as services:
    World(services).collect(on_step=on_step)
"""


@pytest.mark.parametrize("step", ["begun", "opened", "removed", "closed"])
def test_a_collector_that_was_killed_harms_nobody_and_is_succeeded_at_once(here, step):
    old = here.commit({"a": b"one", "shared": SHARED})
    new = here.commit({"b": b"two", "shared": SHARED})
    here.delete(old)
    done = subprocess.run([sys.executable, "-c", KILLED, step], check=False, env=os.environ)
    assert done.returncode == -9
    again = here.commit({"a": b"one", "c": b"three"})  # needs what the dead one was about to remove
    assert here.content(again) == {"a": b"one", "c": b"three"}
    here.collect()
    assert here.content(new) == {"b": b"two", "shared": SHARED}
    assert here.content(again) == {"a": b"one", "c": b"three"}
    assert here.find().count == 0


def test_the_reservation_of_a_commit_that_never_ended_is_dropped_and_the_commit_can_still_be_resumed(here, monkeypatch):
    draft = make(here.services, {"a": b"one"})

    def stop(step):
        if step == "adopted":
            raise CommitInterrupted("stopped")

    committer = here.services.committer(stop)
    committer.freeze(draft, Journal())
    with pytest.raises(CommitInterrupted):
        committer.run(draft, Progress())
    assert here.find().stale_commits == 0
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 31 * 86400)
        assert here.collect().stale_commits == 1
    version = here.services.committer().run(draft, Progress()).version
    assert here.content(version) == {"a": b"one"}


# Everything together -------------------------------------------------------------------------------------------

STEPS = ["scanned", "hashed", "reserved", "adopted", "stored", "published"]


@pytest.mark.parametrize("seed", range(2))
def test_commits_deletes_and_collections_in_any_order_leave_every_version_whole(world, seed):
    chance = random.Random(seed)
    pool = [b"content %d" % number for number in range(8)] + [os.urandom((1 << 20) + 7)]
    expected = {}  # files by version id
    versions = {}
    stopped = []  # drafts with their files, whose commit goes on later
    for turn in range(14):
        files = {f"f{chance.randrange(4)}": chance.choice(pool) for _ in range(3)} | {
            "turn": b"%d" % chance.randrange(6)
        }
        base = None
        if versions and chance.random() < 0.4:
            base = chance.choice(list(versions.values()))
            draft = make(world.services, {}, f"d{turn}", base=world.base(base))
            own = {f"own{turn}": chance.choice(pool)}
            write(draft, own)
            files = expected[base.id] | own
        else:
            draft = make(world.services, files, f"d{turn}")
        at = chance.choice(STEPS)
        fate = chance.choice(["whole", "collected", "collected", "stopped", "failed"])

        left = [chance.choice((1, 2))]  # collections: a commit that brings something again is met by another one

        def on_step(step, at=at, fate=fate, base=base, left=left):
            if step != at or not left[0]:
                return
            left[0] -= 1
            if base is not None and base.id in versions and chance.random() < 0.5:
                world.delete(versions.pop(base.id))
            if fate != "whole":
                world.collect()
            if fate == "stopped":
                raise CommitInterrupted("stopped")
            if fate == "failed" and at != "published":
                raise InvalidInputError("failed")

        def run(draft, files, on_step):
            committer = world.services.committer(on_step)
            if not draft.is_gone and not committer.is_frozen(draft):  # else it was finished before a newer one
                committer.freeze(draft, Journal())
            try:
                version = committer.run(draft, Progress()).version
            except CommitInterrupted:
                stopped.append((draft, files))
            except ArtfsError:
                stopped.append((draft, files))
                assert not committer.is_frozen(draft)
            else:
                versions[version.id], expected[version.id] = version, files

        run(draft, files, on_step)
        if stopped and chance.random() < 0.5:
            run(*stopped.pop(chance.randrange(len(stopped))), lambda _: None)
        if versions and chance.random() < 0.4:
            world.delete(versions.pop(chance.choice(list(versions))))
        if chance.random() < 0.3:
            world.collect()
    while stopped:
        run(*stopped.pop(), lambda _: None)
    world.collect()
    assert versions
    for version in versions.values():
        assert world.content(version) == expected[version.id]
    assert {version.id for version in world.services.registry.versions(COLLECTION)} == set(versions)
