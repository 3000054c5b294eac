"""Proving a version where it lies: every fault is named, the others go on, and a block cache stays as it was."""

import dataclasses
import os
import random
import threading

import pytest

from artfs.cache.blocklists import BlockLists
from artfs.cache.blocks import BlockCache
from artfs.content.origin import Origins
from artfs.content.proof import Prover, cache_name
from artfs.content.reader import Reader
from artfs.content.remote import Remote
from artfs.content.targets import Targets
from artfs.content.verify import State, Verifier, verify
from artfs.errors import ChangedError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, Entry
from artfs.model.paths import parse_entry_path
from tests.content.fakes import FakeStore, reference

DATA = random.Random(3).randbytes(10 * BLOCK_SIZE + 17)


class World:
    """A store, a cache, and what proves and reads through them; a new process each time it is asked for."""

    def __init__(self, path, *, local):
        self.store = FakeStore()
        self.store.local = local
        self.path = path
        self.done = [0, 0]
        self._lock = threading.Lock()
        self._caches = []
        self.lists = BlockLists(path / "cache")

    def _advance(self, files, size):
        with self._lock:
            self.done[0] += files
            self.done[1] += size

    def cache(self):
        self._caches.append(BlockCache(self.path / "blocks", max_bytes=1 << 30, keep_free=0))
        return self._caches[-1]

    def _origins(self):
        return Origins(self.store, lambda entry: self.store.open_reference(entry.ref))

    def verifier(self):
        def nowhere(_):
            raise NotFoundError("there is no such version")

        cache = self.cache()
        return Verifier(self._origins(), Targets(nowhere, nowhere, nowhere), self.lists, lambda: cache, self._advance)

    def read(self, entry):
        """Read an entry as a mount does, so that it is cached."""
        cache, prover = self.cache(), Prover(self.store, self.lists)
        reader = Reader(self._origins(), prover, Remote(prover, lambda: cache))
        assert b"".join(reader.export(entry))
        reader.close()
        cache.close()

    def origin(self, *entries):
        return {verdict.path: verdict for verdict in verify(entries, self.verifier().origin, 3)}

    def cached(self, *entries):
        return {verdict.path: verdict for verdict in verify(entries, self.verifier().cached, 3)}

    def close(self):
        for cache in self._caches:
            cache.close()


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def world(request, tmp_path):
    found = World(tmp_path, local=request.param)
    yield found
    found.close()


@pytest.fixture
def remote(tmp_path):
    found = World(tmp_path, local=False)
    yield found
    found.close()


def states(verdicts):
    return {path: verdict.state for path, verdict in verdicts.items()}


def test_everything_is_read_and_proven(world):
    entries = [
        world.store.add("big", DATA),
        world.store.add("listed", DATA[1:], listed=True),
        world.store.add("xxh", DATA[:100], Algorithm.XXH128),
        world.store.add("empty", b""),
        reference("file", "file:///somewhere", DATA[:50]),
    ]
    world.store.blobs["file:///somewhere"] = DATA[:50]
    del world.store.blobs[entries[3].blob]  # nothing need be there for nothing
    found = world.origin(*entries)
    assert states(found) == dict.fromkeys(("big", "listed", "xxh", "empty", "file"), State.PROVEN)
    size = sum(entry.size for entry in entries)
    assert sum(verdict.size for verdict in found.values()) == size
    assert world.done == [5, size]


@pytest.mark.parametrize("offset", [0, BLOCK_SIZE, len(DATA) - 1])
def test_one_wrong_bit_is_found_wherever_it_is_and_the_others_are_proven(world, offset):
    entries = [world.store.add("bad", DATA), *(world.store.add(f"{n}", DATA[n:]) for n in range(1, 4))]
    world.store.flip(entries[0].blob, offset)
    found = world.origin(*entries)
    assert states(found) == {"bad": State.DAMAGED} | dict.fromkeys("123", State.PROVEN)
    assert "do not match the manifest" in found["bad"].reason


def test_what_is_missing_short_long_or_lied_about_is_named(world):
    missing, short, long = (world.store.add(name, os.urandom(BLOCK_SIZE + 5)) for name in ("missing", "short", "long"))
    del world.store.blobs[missing.blob]
    del world.store.blobs[short.blob][-1:]
    world.store.blobs[long.blob] += b"x"
    lies = world.store.add("lies", b"123", size=0)
    gone, other = reference("gone", "file:///gone", b"123"), reference("other", "file:///other", b"123")
    world.store.blobs["file:///other"] = b"124"
    dangling = Entry(parse_entry_path("dangling"), Digest.of(b"").base64, 0, ref=f"wandb-artifact://{b'a'.hex()}/x")
    found = world.origin(missing, short, long, lies, gone, other, dangling)
    assert states(found) == {
        "missing": State.MISSING, "short": State.DAMAGED, "long": State.DAMAGED, "lies": State.DAMAGED, "gone": State.MISSING,
        "other": State.CHANGED, "dangling": State.MISSING,
    }  # fmt: skip
    assert "has 1,048,580 bytes, not the 1,048,581 of the manifest" in found["short"].reason
    assert all(verdict.reason for verdict in found.values())


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (ChangedError("is another object now"), State.CHANGED),
        (PermissionDeniedError("not for you"), State.REFUSED),
        (UnreachableError("is away"), State.UNREACHABLE),
    ],
)
def test_what_a_service_says_is_told_apart(remote, failure, state):
    entry = remote.store.add("f", DATA)
    remote.store.failure = failure
    found = remote.origin(entry)
    assert (found["f"].state, found["f"].reason) == (state, str(failure))


def test_a_reference_with_an_etag_is_pinned_and_not_proven(remote):
    def refer(path, digest, **fields):
        uri = f"s3://bucket/{path}"
        remote.store.blobs[uri] = DATA
        return Entry(parse_entry_path(path), digest or uri, len(DATA), ref=uri, **fields)

    entries = [
        refer("parts", "0123456789abcdef0123456789abcdef-3"),
        refer("whole", Digest.of(DATA).hex),
        refer("wrong", Digest.of(b"other").hex),
        refer("version", None, extra={"versionID": "abc"}),
        refer("nothing", None),
        refer("weak", "w", extra={"etag": 'W/"w"'}),
    ]
    found = remote.origin(*entries)
    assert states(found) == {
        "parts": State.PINNED, "whole": State.PROVEN, "wrong": State.CHANGED, "version": State.PINNED, "nothing": State.UNPINNED,
        "weak": State.UNPINNED,
    }  # fmt: skip
    assert found["parts"].size <= 1  # it proves nothing to read more
    del remote.store.blobs["s3://bucket/parts"]
    assert states(remote.origin(entries[0])) == {"parts": State.MISSING}


def test_the_cache_is_neither_filled_nor_believed(remote):
    entry, other = remote.store.add("f", DATA), remote.store.add("g", DATA[5:])
    remote.read(entry)
    before = remote.cache().statistics()
    remote.store.flip(entry.blob, 5)
    assert states(remote.origin(entry, other)) == {"f": State.DAMAGED, "g": State.PROVEN}
    assert remote.cache().statistics().blocks == before.blocks == 11
    assert states(remote.cached(entry, other)) == {"f": State.PROVEN, "g": State.ABSENT}


def test_the_same_content_is_read_once_and_judged_for_each_path(remote):
    entry = remote.store.add("a", DATA[:100])
    entries = [entry, *(dataclasses.replace(entry, path=parse_entry_path(f"b{number}")) for number in range(50))]
    remote.store.flip(entry.blob, 5)
    verdicts = list(verify(entries, remote.verifier().origin, 1))
    assert {verdict.state for verdict in verdicts} == {State.DAMAGED}
    assert len(verdicts) == 51
    assert len(remote.store.reads) == 1


def test_the_same_content_is_read_once_by_threads_that_come_to_it_together(remote, monkeypatch):
    entry = remote.store.add("a", DATA[:100])
    entries = [dataclasses.replace(entry, path=parse_entry_path(name)) for name in ("a", "b", "c")]
    opened, second, open_blob = [], threading.Event(), remote.store.open

    def open_slowly(blob):
        opened.append(blob)
        if len(opened) > 1:
            second.set()
        second.wait(0.2)  # there is no second one, unless the others do not wait
        return open_blob(blob)

    monkeypatch.setattr(remote.store, "open", open_slowly)
    assert {verdict.state for verdict in remote.origin(*entries).values()} == {State.PROVEN}
    assert len(opened) == 1


def damage_cached(world, entry, offset):
    (path,) = (world.path / "blocks").rglob(f"*{cache_name(entry).rpartition('/')[2][4:]}-{entry.size}")
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def test_a_damaged_copy_is_no_fault_of_the_version_but_one_of_what_is_here(remote):
    entry = remote.store.add("f", DATA)
    remote.read(entry)
    damage_cached(remote, entry, 3 * BLOCK_SIZE)
    (found,) = remote.origin(entry).values()
    assert (found.state, found.cache_damaged) == (State.PROVEN, True)
    remote.close()
    remote.read(entry)
    damage_cached(remote, entry, 3 * BLOCK_SIZE)
    (found,) = remote.cached(entry).values()
    assert (found.state, found.cache_damaged) == (State.DAMAGED, True)
    assert "is forgotten" in found.reason
    remote.close()
    (found,) = remote.cached(entry).values()  # it is not there any more
    assert found.state is State.ABSENT


def test_what_is_here_is_proven_without_asking_anybody(remote):
    whole, part, absent = (
        remote.store.add(name, DATA[number:]) for number, name in enumerate(("whole", "part", "absent"))
    )
    empty = remote.store.add("empty", b"")
    remote.read(whole)
    remote.read(part)
    file = remote.cache().file(cache_name(part), part.size)
    file.drop()
    file.write(2, DATA[1:][2 * BLOCK_SIZE :][:BLOCK_SIZE], proven=True)
    remote.close()
    remote.store.failure = UnreachableError("nobody may be asked")
    remote.store.blobs.clear()
    found = remote.cached(whole, part, absent, empty)
    assert states(found) == {
        "whole": State.PROVEN, "part": State.ABSENT, "absent": State.ABSENT, "empty": State.PROVEN,
    }  # fmt: skip
    assert found["part"].reason == f"{BLOCK_SIZE:,} of {part.size:,} bytes are here"


def test_a_cached_content_that_is_not_what_the_manifest_names_is_found_although_its_checksums_are_right(remote):
    entry = remote.store.add("f", DATA[: 2 * BLOCK_SIZE])
    file = remote.cache().file(cache_name(entry), entry.size)
    for number in range(2):
        file.write(number, bytes(BLOCK_SIZE), proven=False)
    remote.close()
    assert states(remote.cached(entry)) == {"f": State.DAMAGED}
    remote.close()
    assert states(remote.cached(entry)) == {"f": State.ABSENT}


def test_when_nothing_answers_it_gives_up(remote):
    entries = [remote.store.add(f"{number:03}", os.urandom(10)) for number in range(200)]
    remote.store.failure = UnreachableError("is away")
    told = []
    with pytest.raises(UnreachableError, match="is away"):
        told.extend(verify(entries, remote.verifier().origin, 2))
    assert len(remote.store.reads) < 60


def test_who_is_interrupted_stops_at_the_next_block(remote):
    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    entries = [remote.store.add(f"{number:03}", os.urandom(10)) for number in range(100)]
    verifier = remote.verifier()
    verifier._advance = stop
    with pytest.raises(StoppedError):
        list(verify(entries, verifier.origin, 2))
    assert len(remote.store.reads) < 60
