"""Many clients at once: no index is given twice, and no reader sees half of a change. Runs on every implementation."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from artfs.model.names import CollectionRef
from tests.registry.making import DATA, aliases, commit, indices, manifest, new, run

THREADS = 6


def at_once(*jobs):
    """Run the jobs in threads that start together, and return what they return."""
    barrier = threading.Barrier(len(jobs))

    def start(job):
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(start, jobs))


def test_threads_of_one_client_never_share_an_index(registry):
    def committer(thread):
        return lambda: [commit(registry, f"c{thread}-{number}", f"of-{thread}") for number in range(5)]

    results = [version for versions in at_once(*map(committer, range(THREADS))) for version in versions]
    assert sorted(version.index for version in results) == list(range(5 * THREADS))
    assert len({version.id for version in results}) == 5 * THREADS
    assert indices(registry) == list(range(5 * THREADS))
    assert len(aliases(registry)) == THREADS + 1


def test_clients_that_reserve_at_once_never_share_an_index(clients, implementation):
    def reserve(client, name):
        return [client.reserve(new(f"{name}-{number}")).index for number in range(5)]

    jobs = [partial(reserve, client, name) for name, client in enumerate([clients() for _ in range(THREADS)])]
    found = sorted(index for indices in at_once(*jobs) for index in indices)
    assert found == sorted(implementation.reserved(index) for index in range(5 * THREADS))


def test_one_commit_from_several_threads_is_one_version(registry):
    versions = at_once(*[lambda: commit(registry, "c1", "best")] * THREADS)
    assert len({version.id for version in versions}) == 1
    assert indices(registry) == [0]


def test_the_same_content_from_several_committers_at_once_is_one_version(registry):
    for thread in range(THREADS):
        registry.reserve(new(f"c{thread}", "same"))
    versions = at_once(
        *[lambda name=f"c{thread}": registry.publish(name, manifest(), [name]) for thread in range(THREADS)]
    )
    assert len({version.id for version in versions}) == 1
    assert aliases(registry) == {"latest": versions[0].index, **{f"c{n}": versions[0].index for n in range(THREADS)}}


def test_making_one_place_at_once_makes_one_place(registry):
    def committer(number):
        return lambda: commit(registry, f"c{number}", collection=CollectionRef("you", f"p{number % 2}", "c"))

    def user(number):
        return lambda: registry.record_use(run(f"r{number}", "runs"), version.id)

    version, *_ = at_once(*map(committer, range(THREADS)))
    assert registry.entities() == ["me", "you"]
    assert registry.projects("you") == ["p0", "p1"]
    at_once(*map(user, range(THREADS)))
    assert sorted(found.id for found in registry.used_by(version.id)) == [f"r{number}" for number in range(THREADS)]


def test_a_reader_sees_every_publication_whole(clients):
    writer, reader = clients(), clients()
    commit(writer, "first", "best")
    done = threading.Event()

    def write():
        try:
            for number in range(40):
                commit(writer, f"c{number}", "best")
        finally:
            done.set()

    def read():
        seen = 0
        while not done.is_set() or not seen:
            listing = reader.listing(DATA)
            newest = listing.versions[-1].index
            assert {alias.name: alias.index for alias in listing.aliases} == {"best": newest, "latest": newest}
            version = reader.version(DATA.at("best"))
            assert version.aliases == ("best", "latest")
            assert version.index >= newest
            seen += 1

    at_once(write, read)
    assert aliases(reader) == {"best": 40, "latest": 40}
