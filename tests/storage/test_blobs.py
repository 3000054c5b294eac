"""A store of blobs on objects: where they lie, and what is asked for. That it is a store, the contract suite tests."""

import threading

import pytest

from artfs.errors import IntegrityError, NotFoundError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.storage import blobs
from artfs.storage.blobs import ObjectBlobStore
from tests.servers.faults import Status
from tests.storage.places import CONTENT

BLOB = Digest.of(CONTENT)


@pytest.fixture
def place(writable):
    return writable


@pytest.fixture
def store(place):
    return ObjectBlobStore(place.objects, f"{place.root}/store/")


def test_blobs_lie_as_in_a_store_in_a_directory(place, store):
    name = BLOB.hex
    for algorithm in Algorithm:
        blob = Digest(algorithm, b"\xab" * algorithm.size)
        assert store.uri(blob) == f"{place.root}/store/{algorithm.value}/ab/{'ab' * (algorithm.size - 1)}"
    assert not store.local
    store.write(BLOB, [CONTENT])
    assert place.get(f"store/md5/{name[:2]}/{name[2:]}") == CONTENT


def test_a_blob_that_another_program_has_put_there_is_found(place, store):
    name = BLOB.hex
    place.put(f"store/md5/{name[:2]}/{name[2:]}")
    assert store.has(BLOB)
    assert store.missing([BLOB]) == set()
    source = store.open(BLOB)
    assert source.read(5, 10) == CONTENT[5:15]


def test_opening_asks_for_nothing_and_a_blob_that_is_gone_shows_at_the_first_read(place, store):
    store.has(BLOB)
    place.proxy.forget()
    source = store.open(BLOB)
    assert place.proxy.count() == 0
    with pytest.raises(NotFoundError, match=BLOB.hex):
        source.read(0, 10)


def test_bytes_that_are_not_those_of_an_md5_do_not_become_a_blob(store, tmp_path):
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(IntegrityError):
        store.write(BLOB, [b"other"])
    with pytest.raises(IntegrityError):
        store.adopt(BLOB, tmp_path / "file")
    assert not store.has(BLOB)
    assert (tmp_path / "file").exists()


def test_a_store_that_cannot_be_reached_is_not_an_empty_one(place, store):
    store.write(BLOB, [CONTENT])
    with place.proxy.injected(Status(500)):
        for ask in (
            lambda: store.has(BLOB),
            lambda: store.missing([BLOB]),
            lambda: store.missing([BLOB, Digest.of(b"")]),
        ):
            with pytest.raises(UnreachableError):
                ask()


class Counting:
    """Objects that have every second blob, and count who asks at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked, self.now, self.most = [], 0, 0
        self.together = threading.Barrier(4)

    def describe(self, uri, version=None):
        with self.lock:
            self.asked.append(uri)
            self.now += 1
            self.most = max(self.most, self.now)
        self.together.wait(120)
        with self.lock:
            self.now -= 1
        if int(uri[-4:], 16) % 2:
            raise NotFoundError(uri)


def numbered(count):
    return [Digest(Algorithm.MD5, number.to_bytes(16, "big")) for number in range(count)]


def test_many_blobs_are_asked_for_at_once_but_each_only_once(monkeypatch):
    monkeypatch.setattr(blobs, "_BATCH", 16)
    monkeypatch.setattr(blobs, "_QUESTIONS", 4)
    objects, wanted = Counting(), numbered(64)
    store = ObjectBlobStore(objects, "s3://bucket")
    assert store.missing(iter(wanted + wanted)) == {blob for blob in wanted if blob.raw[-1] % 2}
    assert sorted(objects.asked) == sorted(map(store.uri, wanted))
    assert objects.most == 4


def test_a_question_that_fails_ends_the_asking(monkeypatch):
    monkeypatch.setattr(blobs, "_BATCH", 16)

    class Failing:
        asked = 0

        def describe(self, uri, version=None):
            Failing.asked += 1
            raise UnreachableError("no answer")

    with pytest.raises(UnreachableError, match="no answer"):
        ObjectBlobStore(Failing(), "s3://bucket").missing(numbered(1000))
    assert Failing.asked <= 16


def test_nothing_is_asked_for_when_nothing_is_wanted():
    assert ObjectBlobStore(None, "s3://bucket").missing([]) == set()
