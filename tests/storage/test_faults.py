"""What all objects make of faults on the way to a real server: the right bytes or the right error."""

import itertools
import re

import pytest

from artfs.errors import ArtfsError, ChangedError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.storage.port import Locator
from artfs.storage.retry import Retrying
from tests.servers.faults import LongBody, Reset, ShortBody, Stall, Status, WrongRange
from tests.storage.places import CONTENT, PLACES

SIZE = len(CONTENT)
AT, COUNT = 100, 80  # what is read
WANTED = CONTENT[AT : AT + COUNT]
RIGHT = bytes


def read(place, uri, **locator):
    return bytes(place.objects.read(Locator(uri, **locator), AT, COUNT))


def partial(said, body, **headers):
    """Return a reply that says which bytes it has, but not of which object."""
    date = "Tue, 24 Nov 2026 20:00:00 GMT"
    return Status(206, body=body, headers={"Content-Range": f"bytes {said}", "Last-Modified": date, **headers})


FAULTS = [
    (ShortBody(10), UnreachableError, ""),
    (ShortBody(10, honest=True), UnreachableError, "a reply of 80 bytes had 10"),
    (LongBody(10), UnreachableError, "a reply of 80 bytes had"),
    (LongBody(10, honest=False), RIGHT, ""),  # they come after the reply
    (WrongRange(1), UnreachableError, ""),
    (WrongRange(-100), UnreachableError, ""),
    (Status(200, body=WANTED), (UnreachableError, ChangedError), ""),  # as if it were all of the object
    (Status(206, body=WANTED), UnreachableError, ""),
    (partial("100-179/*", WANTED), (RIGHT, UnreachableError), ""),
    (partial(f"0-79/{SIZE}", CONTENT[:80]), UnreachableError, ""),
    (partial("100-179/180", WANTED, ETag='"any"'), ChangedError, "180"),
    (partial(f"100-99/{SIZE}", b""), UnreachableError, ""),
    (partial("nonsense", b""), UnreachableError, ""),
    (Status(403), PermissionDeniedError, "refused"),
    (Status(401), PermissionDeniedError, "refused"),
    (Status(404), NotFoundError, "does not exist"),
    (Status(412), ChangedError, "has changed"),
    (Status(416), ChangedError, "shorter"),
    (Status(400), UnreachableError, "400"),
    (Status(429), UnreachableError, "429"),
    (Status(500), UnreachableError, "500"),
    (Status(503, retry_after=3), UnreachableError, "503"),
    (Reset(None), UnreachableError, ""),
    (Reset(0), UnreachableError, ""),
    (Reset(10), UnreachableError, ""),
]
LASTING = [fault for fault, allowed, _ in FAULTS if allowed is UnreachableError]


@pytest.mark.parametrize(("fault", "allowed", "reason"), FAULTS, ids=itertools.count())
def test_a_fault_gives_the_right_bytes_or_the_right_error(place, fault, allowed, reason):
    uri = place.put("object")
    with place.proxy.injected(fault, method="GET") as injection:
        try:
            outcome = read(place, uri, size=SIZE)
        except ArtfsError as error:
            outcome = error
    assert injection.hits
    assert isinstance(outcome, allowed), outcome
    if isinstance(outcome, bytes):
        assert outcome == WANTED
    else:
        assert uri in str(outcome)
        assert reason in str(outcome)
    after = Retrying(place.objects, sleep=lambda _: None)  # for what came after a reply may damage the next one
    assert bytes(after.read(Locator(uri, size=SIZE), AT, COUNT)) == WANTED


@pytest.mark.parametrize("fault", LASTING, ids=itertools.count())
def test_a_fault_that_does_not_last_is_survived_by_trying_again(place, fake_time, fault):
    uri = place.put("object")
    retrying = Retrying(place.objects, clock=fake_time.clock, sleep=fake_time.sleep)
    injection = place.proxy.inject(fault, times=2, method="GET")
    assert bytes(retrying.read(Locator(uri, size=SIZE), AT, COUNT)) == WANTED
    assert (injection.hits, len(fake_time.pauses)) == (2, 2)


@pytest.mark.parametrize("kind", PLACES)
def test_a_reply_that_stalls_is_given_up_and_asked_for_again(kind, impatient, open_place):
    place = open_place(kind)
    uri = place.put("object")
    retrying = Retrying(place.objects, sleep=lambda _: None)
    assert bytes(retrying.read(Locator(uri, size=SIZE), AT, COUNT)) == WANTED
    for after in (0, 10):
        injection = place.proxy.inject(Stall(after), method="GET")
        with pytest.raises(UnreachableError, match=f"{re.escape(uri)}.* in time"):
            read(place, uri, size=SIZE)
        assert bytes(retrying.read(Locator(uri, size=SIZE), AT, COUNT)) == WANTED
        assert injection.hits == 1


def test_a_question_is_asked_again_too(place, fake_time):
    uri = place.put("object")
    retrying = Retrying(place.objects, clock=fake_time.clock, sleep=fake_time.sleep)
    injection = place.proxy.inject(Status(503), times=2, path="object")
    assert retrying.describe(uri).size == SIZE
    assert (injection.hits, len(fake_time.pauses)) == (2, 2)


def test_a_service_that_denies_bytes_of_an_object_of_unknown_size_is_not_believed(place):
    uri = place.put("object")
    with (
        place.proxy.injected(Status(416), method="GET", times=1),
        pytest.raises(UnreachableError, match=re.escape(uri)),
    ):
        read(place, uri)
    assert read(place, uri) == WANTED


def test_a_reply_that_does_not_name_its_object_is_not_taken_for_the_pinned_one(place):
    uri = place.put("object")
    info = place.objects.describe(uri)
    reply = partial(f"100-179/{SIZE}", WANTED, **({} if info.version is None else {"ETag": '"any"'}))
    kind, reason = (UnreachableError, "ETag") if info.version is None else (ChangedError, "version")
    assert read(place, uri, etag=info.etag) == WANTED
    with place.proxy.injected(reply), pytest.raises(kind, match=reason):
        read(place, uri, etag=info.etag)
    assert read(place, uri, etag=info.etag) == WANTED
