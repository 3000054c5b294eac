"""What a store holds: one suite for the store in a directory and those in buckets; and what drafts hold in the first."""

import contextlib
import os
import threading
import time

import pytest

from artfs.model.digest import Algorithm, Digest
from artfs.storage.blobs import ObjectBlobStore
from artfs.storage.files import FilesStore
from artfs.storage.files_holdings import FileHoldings
from artfs.storage.holdings import ObjectHoldings
from artfs.storage.holds import Holds
from tests.storage.implementations import OBJECT_STORES

BLOBS = {Digest.of(data, algorithm): data for algorithm in Algorithm for data in (b"one", b"three")}


@pytest.fixture(params=["files", *OBJECT_STORES])
def pair(request, tmp_path):
    """A store, what it holds, and what puts another object into it."""
    if request.param == "files":
        root = tmp_path / "store"
        store = FilesStore(root)

        def put(name, data):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)

        return store, FileHoldings(store, root), put
    place = request.getfixturevalue("shared_places")(request.param)
    root = f"{place.root}/store"
    store = ObjectBlobStore(place.objects, root)
    return (
        store,
        ObjectHoldings(place.objects, store, root),
        lambda name, data: place.objects.write(f"{root}/{name}", [data]),
    )


def test_every_blob_is_listed_with_its_size_and_the_time_of_the_store(pair):
    store, holdings, put = pair
    before = holdings.time("me")
    for blob, data in BLOBS.items():
        store.write(blob, [data])
    for name in ("md5/zz/not-a-digest", "md5/loose", "other/ab/cdef", "blake3/00/1122"):
        put(name, b"x")
    after = holdings.time("me")
    found = {held.blob: held for held in holdings.blobs()}
    assert {blob: held.size for blob, held in found.items()} == {blob: len(data) for blob, data in BLOBS.items()}
    for held in found.values():
        assert before - 1 <= held.modified <= after + 1, "to the second"
    assert abs(after - time.time()) < 60


def test_registries_that_use_a_store_say_so(pair):
    _, holdings, _ = pair
    assert holdings.claims() == []
    for name in ("one", "two", "one"):
        holdings.claim(name)
    assert holdings.claims() == ["one", "two"]
    assert list(holdings.blobs()) == []


def test_blobs_are_removed_until_there_is_no_more_time(pair):
    store, holdings, _ = pair
    for blob, data in BLOBS.items():
        store.write(blob, [data])
    first, *others = BLOBS
    gone = Digest.of(b"never there")
    with holdings.removing():
        assert holdings.remove([first, gone], lambda: True) == 2
        assert holdings.remove(others, lambda: False) == 0
    assert store.missing(BLOBS) == {first}


@pytest.fixture
def draft(tmp_path):
    path = tmp_path / "drafts" / "a-draft"
    path.mkdir(parents=True)
    return path


def test_what_a_draft_holds_is_told_once_and_what_comes_later_again(tmp_path, draft):
    holdings = FileHoldings(FilesStore(tmp_path / "store"), tmp_path / "store")
    hold = holdings.holds.of_draft(draft)
    first, second, third, *_ = BLOBS
    with hold.adding([first, second]):
        pass
    assert list(holdings.held()) == [first, second]
    assert list(holdings.held()) == []
    with open(tmp_path / "store/holds/a-draft", "a") as file:
        file.write("md5:0123")  # broken off
    with hold.adding([third]):
        pass
    assert list(holdings.held()) == [third]
    hold.end()
    assert list(FileHoldings(FilesStore(tmp_path / "store"), tmp_path / "store").held()) == []


def test_a_hold_is_over_when_its_draft_is_gone_but_not_when_all_drafts_are_out_of_sight(tmp_path, draft):
    holds = Holds(tmp_path / "store")
    (tmp_path / "store").mkdir()
    with holds.of_draft(draft).adding([]):
        pass
    assert [hold.is_over for hold in holds.all()] == [False]
    away = draft.parent.rename(tmp_path / "not-mounted")
    assert [hold.is_over for hold in holds.all()] == [False]
    away.rename(draft.parent)
    draft.rmdir()
    assert [hold.is_over for hold in holds.all()] == [True]
    (tmp_path / "store/holds/a-draft").write_text("damaged\n")
    assert [hold.is_over for hold in holds.all()] == [False]


def test_nobody_moves_files_into_the_store_while_some_are_removed_and_the_other_way_round(tmp_path, draft):
    (tmp_path / "store").mkdir()
    holds = Holds(tmp_path / "store")
    for outer, inner in (
        (holds.removing, lambda: holds.adding(draft, [])),
        (lambda: holds.adding(draft, []), holds.removing),
        (holds.removing, holds.removing),
    ):
        order = []

        def enter(inner=inner, order=order):
            with inner():
                order.append("inside")

        thread = threading.Thread(target=enter)
        with outer():
            thread.start()
            thread.join(0.1)
            order.append("over")
        thread.join()
        assert order == ["over", "inside"]
    with holds.adding(draft, []), holds.adding(draft, []):
        pass


def test_files_of_another_user_are_an_error_that_says_so(tmp_path, unprivileged, public):
    from artfs.errors import PermissionDeniedError

    store = FilesStore(public / "store")
    store.write(Digest.of(b"x"), [b"x"])
    os.chmod(public / "store", 0o700)
    holdings = FileHoldings(store, public / "store")
    with unprivileged(), contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(PermissionDeniedError, match="another user"))
        list(holdings.blobs())
