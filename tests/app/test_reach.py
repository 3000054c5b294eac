"""Whether the registry answers is asked now, in bounded time, and by one question at a time."""

import threading

import pytest
import trio
import trio.testing

from artfs.app import reach
from artfs.app.reach import Reach
from artfs.errors import NotFoundError, PermissionDeniedError, UnreachableError
from artfs.registry.fallback import Fallback

pytestmark = pytest.mark.trio


class Registry:
    def __init__(self) -> None:
        self.asked = 0
        self.error = None
        self.go_on = threading.Event()
        self.go_on.set()

    def entities(self):
        self.asked += 1
        assert self.go_on.wait(120)
        if self.error is not None:
            raise self.error
        return []


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Give registries as much time as a busy machine needs."""
    monkeypatch.setattr(reach, "DEADLINE", 60.0)


@pytest.fixture
def registry():
    return Registry()


async def test_one_that_answers_does_so_in_some_time(registry, nursery):
    found = await Reach(registry, nursery).ask()
    assert (found["answers"], found["reason"]) == (True, "")
    assert 0 <= found["seconds"] < 60


async def test_one_that_does_not_is_told_with_the_reason_and_without_secrets(registry, nursery):
    registry.error = UnreachableError("postgresql://u:verysecret@h/d is away", hint="start it")
    assert await Reach(registry, nursery).ask() == {
        "answers": False, "seconds": None, "reason": "postgresql://h/d is away (start it)",
    }  # fmt: skip
    registry.error = PermissionDeniedError("the key is refused")
    assert (await Reach(registry, nursery).ask())["reason"] == "the key is refused"


@pytest.mark.expects_warning("cannot be asked")
async def test_a_mistake_of_the_program_is_an_answer_too(registry, nursery):
    registry.error = ZeroDivisionError("oops")
    found = await Reach(registry, nursery).ask()
    assert not found["answers"]
    assert "oops" in found["reason"]


async def test_one_that_hangs_is_waited_for_a_short_time_and_not_asked_again_meanwhile(registry, nursery, monkeypatch):
    monkeypatch.setattr(reach, "DEADLINE", 0.05)
    registry.go_on.clear()
    asker = Reach(registry, nursery)
    began = trio.current_time()
    found = []
    async with trio.open_nursery() as several:
        for _ in range(3):
            several.start_soon(lambda: ask(asker, found))
    assert trio.current_time() - began < 60
    found.append(await asker.ask())
    assert [one["answers"] for one in found] == [False] * 4
    assert all("has not answered for" in one["reason"] for one in found)
    assert registry.asked == 1
    monkeypatch.setattr(reach, "DEADLINE", 60.0)
    registry.go_on.set()
    assert (await asker.ask())["answers"]
    assert registry.asked == 1
    assert (await asker.ask())["answers"]
    assert registry.asked == 2


async def ask(asker, found):
    found.append(await asker.ask())


async def test_a_registry_elsewhere_is_asked_although_its_memory_could_answer(nursery):
    asked = []

    class Elsewhere:
        def entity_exists(self, entity):
            asked.append(entity)
            return False

        def close(self):
            pass

    fallback = Fallback(Elsewhere, None)
    assert (await Reach(fallback, nursery).ask())["answers"]
    assert (await Reach(fallback, nursery).ask())["answers"]
    assert len(asked) == 2
    assert (fallback.timings.count, fallback.failures, fallback.asking) == (2, 0, 0)


@pytest.mark.expects_warning("the registry is away")
async def test_a_question_to_a_registry_elsewhere_tells_whether_it_is_away(nursery):
    class Away:
        def entity_exists(self, entity):
            raise UnreachableError("no route to it")

    fallback = Fallback(Away, None)
    assert not (await Reach(fallback, nursery).ask())["answers"]
    assert fallback.health().reason == "no route to it"
    assert (fallback.timings.count, fallback.failures, fallback.asking) == (1, 1, 0)


async def test_that_there_is_no_such_name_is_an_answer(nursery):
    class Strict:
        def entity_exists(self, entity):
            raise NotFoundError(f"there is no {entity}")

    assert (await Reach(Fallback(Strict, None), nursery).ask())["answers"]
