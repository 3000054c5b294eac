"""What the mount remembers of the registry: for how long, and one question at a time."""

import pytest
import trio
import trio.testing

from artfs.errors import NotFoundError, UnreachableError
from artfs.model.names import CollectionRef
from artfs.vfs import catalog as catalog_module
from artfs.vfs.catalog import MAX_QUESTIONS, Catalog
from tests.content.fakes import FakeStore
from tests.vfs.fakes import WatchedRegistry
from tests.vfs.world import DATA

pytestmark = pytest.mark.trio

TTL = 10.0


@pytest.fixture
def registry():
    registry, store = WatchedRegistry(), FakeStore()
    registry.version_id = registry.add(store, DATA, [store.add("f", b"x")], "best").id
    return registry


@pytest.fixture
def catalog(registry):
    return Catalog(registry, TTL)


QUESTIONS = {
    "entities": lambda catalog, registry: catalog.entities(),
    "projects": lambda catalog, registry: catalog.projects("me"),
    "entity_exists": lambda catalog, registry: catalog.entity_exists("me"),
    "project_exists": lambda catalog, registry: catalog.project_exists("me", "demo"),
    "collection_infos": lambda catalog, registry: catalog.collection_infos("me", "demo"),
    "collection_info": lambda catalog, registry: catalog.collection_info(DATA),
    "find": lambda catalog, registry: catalog.find(DATA, "best"),
    "listing": lambda catalog, registry: catalog.listing(DATA),
    "version": lambda catalog, registry: catalog.version(DATA.at("best")),
    "logged_by": lambda catalog, registry: catalog.lineage(registry.version_id),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_an_answer_is_remembered_for_the_ttl_and_no_longer(registry, catalog, autojump_clock, question):
    def ask():
        return QUESTIONS[question](catalog, registry)

    first = await ask()
    autojump_clock.jump(TTL - 0.1)
    with trio.testing.assert_no_checkpoints():
        assert await ask() is first
    assert len(registry.questions(question)) == 1
    autojump_clock.jump(0.1)
    assert await ask() == first
    assert len(registry.questions(question)) == 2


async def test_answers_are_those_of_the_registry(registry, catalog, autojump_clock):
    registry.log(registry.version_id, used_by=["a", "b"])
    assert await catalog.entities() == ["me"]
    assert await catalog.projects("me") == ["demo"]
    assert (await catalog.entity_exists("me"), await catalog.entity_exists("nobody")) == (True, False)
    assert (await catalog.project_exists("me", "demo"), await catalog.project_exists("me", "x")) == (True, False)
    assert list((await catalog.collection_infos("me", "demo")).values()) == registry.inner.collection_infos(
        "me", "demo"
    )
    assert await catalog.collection_info(DATA) == registry.inner.collection_info(DATA)
    assert await catalog.find(DATA, "best") == registry.inner.find(DATA, "best")
    assert await catalog.listing(DATA) == registry.inner.listing(DATA)
    assert await catalog.version(DATA.at("best")) == registry.inner.version(DATA.at("v0"))
    logged_by, used_by = await catalog.lineage(registry.version_id)
    assert (logged_by.id, [run.id for run in used_by]) == ("logger", ["a", "b"])


async def test_the_time_an_answer_takes_counts_against_its_ttl(registry, catalog, autojump_clock):
    with registry.held():
        async with trio.open_nursery() as askers:
            askers.start_soon(catalog.listing, DATA)
            await trio.to_thread.run_sync(registry.wait_for_questions, 1)
            autojump_clock.jump(TTL / 2)
            registry.gate.set()
    assert catalog.ttl_left(DATA) == TTL / 2
    autojump_clock.jump(TTL / 2)
    await catalog.listing(DATA)
    assert len(registry.questions("listing")) == 2


async def test_what_is_left_of_a_ttl_is_told(registry, catalog, autojump_clock):
    assert catalog.ttl_left(DATA) == 0.0
    await catalog.listing(DATA)
    assert catalog.ttl_left(DATA) == TTL
    autojump_clock.jump(4)
    assert catalog.ttl_left(DATA) == TTL - 4
    autojump_clock.jump(TTL)
    assert catalog.ttl_left(DATA) == 0.0


async def test_one_question_is_asked_however_many_want_the_answer(registry, catalog, autojump_clock):
    answers = []

    async def ask():
        answers.append(await catalog.listing(DATA))

    with registry.held():
        async with trio.open_nursery() as askers:
            for _ in range(20):
                askers.start_soon(ask)
            await trio.to_thread.run_sync(registry.wait_for_questions, 1)
            await trio.testing.wait_all_tasks_blocked()
            registry.gate.set()
    assert len(answers) == 20
    assert len(registry.questions("listing")) == 1


async def test_different_questions_are_asked_side_by_side_but_not_too_many(registry, catalog, autojump_clock):
    collections = [CollectionRef("me", "demo", f"c{number}") for number in range(2 * MAX_QUESTIONS)]
    registry.place("me", "demo", *collections)
    with registry.held():
        async with trio.open_nursery() as askers:
            for collection in collections:
                askers.start_soon(catalog.listing, collection)
            await trio.to_thread.run_sync(registry.wait_for_questions, MAX_QUESTIONS)
            await trio.testing.wait_all_tasks_blocked()
            assert len(registry.asked) == MAX_QUESTIONS
            registry.gate.set()
    assert len(registry.asked) == len(collections)


async def test_after_forget_everything_is_asked_anew(registry, catalog, autojump_clock):
    await catalog.entities()
    await catalog.listing(DATA)
    catalog.forget()
    assert catalog.ttl_left(DATA) == 0.0
    await catalog.entities()
    await catalog.listing(DATA)
    assert len(registry.asked) == 4


async def test_an_answer_that_was_asked_for_before_a_change_is_not_remembered(registry, catalog, autojump_clock):
    with registry.held():
        async with trio.open_nursery() as askers:
            askers.start_soon(catalog.listing, DATA)
            await trio.to_thread.run_sync(registry.wait_for_questions, 1)
            catalog.forget()
            assert catalog.ttl_left(DATA) == 0.0
            registry.gate.set()
    assert catalog.ttl_left(DATA) == 0.0
    registry.inner.add_aliases(DATA.at("v0"), ["new"])
    assert "new" in [alias.name for alias in (await catalog.listing(DATA)).aliases]


async def test_who_asks_after_a_change_gets_an_answer_from_after_it(registry, catalog, autojump_clock):
    """Also when the question of before is still under way, and others wait for it."""
    answers = []

    async def ask():
        answers.append([alias.name for alias in (await catalog.listing(DATA)).aliases])

    with registry.held():
        async with trio.open_nursery() as askers:
            askers.start_soon(ask)
            await trio.to_thread.run_sync(registry.wait_for_questions, 1)
            registry.inner.add_aliases(DATA.at("v0"), ["new"])
            catalog.forget()
            for _ in range(5):
                askers.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            registry.gate.set()
    assert all("new" in answer for answer in answers[1:])
    assert len(registry.questions("listing")) == 2


@pytest.mark.parametrize("error", [UnreachableError("it does not answer"), NotFoundError("nothing there")])
async def test_an_error_is_not_remembered(registry, catalog, error, autojump_clock):
    registry.failure = error
    with pytest.raises(type(error)):
        await catalog.listing(DATA)
    registry.failure = None
    assert (await catalog.listing(DATA)).versions
    assert catalog.ttl_left(DATA) == TTL


async def test_an_error_reaches_everybody_who_waits_for_the_answer_and_is_asked_for_once(
    registry, catalog, autojump_clock
):
    errors = []

    async def ask():
        with pytest.raises(UnreachableError) as caught:
            await catalog.listing(DATA)
        errors.append(caught.value)

    registry.failure = UnreachableError("it does not answer")
    with registry.held():
        async with trio.open_nursery() as askers:
            for _ in range(20):
                askers.start_soon(ask)
            await trio.to_thread.run_sync(registry.wait_for_questions, 1)
            await trio.testing.wait_all_tasks_blocked()
            registry.gate.set()
    assert len(errors) == 20
    assert len(registry.questions("listing")) == 1


async def test_an_asker_that_is_cancelled_does_not_take_the_answer_from_the_others(registry, catalog, autojump_clock):
    answers = []

    async def ask():
        answers.append(await catalog.listing(DATA))

    with registry.held():
        async with trio.open_nursery() as askers, trio.open_nursery() as impatient:
            impatient.start_soon(catalog.listing, DATA)
            await trio.to_thread.run_sync(registry.wait_for_questions, 1)
            askers.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
            registry.gate.set()
    assert len(answers) == 1


async def test_what_is_remembered_is_bounded(registry, catalog, monkeypatch, autojump_clock):
    monkeypatch.setattr(catalog_module, "_MAX_ANSWERS", 8)
    collections = [CollectionRef("me", "demo", f"c{number}") for number in range(20)]
    registry.place("me", "demo", *collections)
    for collection in collections:
        await catalog.listing(collection)
        assert catalog.ttl_left(collection) == TTL
    assert sum(catalog.ttl_left(collection) > 0 for collection in collections) <= 8


async def test_nothing_is_left_of_questions_that_were_answered_or_failed(registry, catalog, autojump_clock):
    for number in range(10):
        with pytest.raises(NotFoundError):
            await catalog.listing(CollectionRef("me", "demo", f"nothing{number}"))
    await catalog.entities()
    assert catalog._asking == {}
