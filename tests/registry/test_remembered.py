"""A registry that may be away: what was seen can be listed without it, and it is asked again before long."""

import sqlite3
import stat
import threading

import pytest

from artfs.errors import CredentialsError, NotFoundError, UnreachableError
from artfs.model.names import CollectionRef, RunRef
from artfs.model.run import RunState
from artfs.registry import fallback
from artfs.registry.memory import Memory
from artfs.registry.port import VersionChange
from artfs.registry.remembered import RememberedRegistry
from tests.registry.fake import FakeRegistry
from tests.registry.fake_data import FakeData
from tests.registry.making import DATA, OTHER, become, commit, everything, make_portfolio, new, run

PICKED = CollectionRef("me", "demo", "picked")
AWAY = pytest.mark.expects_warning("the registry is away")


class Link:
    """The way to a registry, which can be cut: then every method of what ``connect`` has returned fails. Counts the calls."""

    def __init__(self):
        self.data = FakeData()
        self.cut = False
        self.refused = False
        self.calls = 0

    def connect(self):
        self.check()
        return _Linked(self)

    def check(self):
        self.calls += 1
        if self.cut:
            raise UnreachableError("the link is cut")
        if self.refused:
            raise CredentialsError("the key is not accepted")


class _Linked:
    def __init__(self, link):
        self._link = link
        self._registry = FakeRegistry("me", link.data)

    def __getattr__(self, name):
        self._link.check()
        return getattr(self._registry, name)

    def close(self):
        self._registry.close()


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "seen" / "registry.sqlite"


@pytest.fixture
def opened(link, path):
    """Open registries over the link, with one memory; all are closed at the end."""
    registries = []

    def open_one(connect=link.connect):
        registries.append(RememberedRegistry(connect, Memory(path), "me"))
        return registries[-1]

    yield open_one
    for registry in registries:
        registry.close()


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(fallback, "PAUSE", 0.0)
    monkeypatch.setattr(fallback, "PAUSE_PER_WAIT", 0.0)  # of a machine that is slow just then, too


def fill(registry):
    """Make some of everything that a registry can show."""
    commit(registry, "c0", "best", description="Größe", metadata={"a": [1, None, "\ud800"]})
    version = commit(registry, "c1", collection=OTHER, kind="model")
    registry.create_collection(type(OTHER)("me", "demo", "empty"))
    registry.create_entity("you")
    registry.record_logged(run("r1"), version.id)
    registry.record_use(run("r2", config={"a": [1]}), version.id)
    become(registry, run("r1", state=RunState.FAILED, exit_code=3, finished_at=run("r1").created_at))
    registry.set_collection_description(DATA, "text")
    make_portfolio(registry, PICKED, [version])


def all_of(registry):
    return (everything(registry), registry.id, registry.version(DATA.at("best")), registry.version(DATA.at("v0")))


@AWAY
def test_all_that_was_seen_is_shown_while_the_registry_is_away(link, opened, no_pause):
    registry = opened()
    fill(registry)
    seen = all_of(registry)
    link.cut = True
    assert all_of(registry) == seen


@AWAY
def test_all_that_was_seen_is_shown_by_a_program_that_never_reached_the_registry(link, opened):
    first = opened()
    fill(first)
    seen = all_of(first)
    link.cut = True
    assert all_of(opened()) == seen


@pytest.mark.parametrize("seen_by", ["name", "list"])
def test_without_credentials_what_was_seen_is_found_by_name_and_lists_are_refused(link, opened, seen_by):
    registry = opened()
    fill(registry)
    seen = all_of(registry)
    found = {name: registry.find(DATA, name) for name in ("v0", "best")}
    if seen_by == "list":
        for name in found:
            registry._memory.forget(f"find {DATA} {name}")
    link.refused = True
    for again in (registry, opened()):
        assert (again.id, again.version(DATA.at("best")), again.version(DATA.at("v0"))) == seen[1:]
        assert {name: again.find(DATA, name) for name in found} == found
        assert again.entity_exists("me")
        assert again.project_exists("me", "demo")
        assert again.collection_info(DATA).ref == DATA
        with pytest.raises(NotFoundError):
            again.find(DATA, "v9")
        for ask, *words in (
            (again.entities,),
            (again.listing, DATA),
            (again.version, DATA.at("v9")),
            (again.remove_alias, DATA, "best"),
        ):
            with pytest.raises(CredentialsError):
                ask(*words)
        assert again.health().away_since is None


@AWAY
def test_what_was_never_seen_is_unreachable(link, opened):
    link.cut = True
    registry = opened()
    for ask in (
        lambda: registry.id,
        lambda: registry.entities(),
        lambda: registry.listing(DATA),
        lambda: registry.logged_by("x"),
        lambda: registry.links("x"),
        lambda: registry.collection_infos("me", "demo"),
        lambda: registry.runs("me", "demo"),
        lambda: registry.run(RunRef("me", "demo", "r1")),
        lambda: registry.logged(RunRef("me", "demo", "r1")),
        lambda: registry.used(RunRef("me", "demo", "r1")),
    ):
        with pytest.raises(UnreachableError, match="the link is cut"):
            ask()


@AWAY
@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.change_version(DATA.at("v0"), VersionChange(add_tags=("t",))),
        lambda registry: registry.set_collection_description(DATA, "another"),
        lambda registry: registry.link(registry.version(DATA.at("v0")).id, PICKED, []),
        lambda registry: registry.unlink(PICKED.at("v0")),
        lambda registry: become(registry, run("r1")),
    ],
)
def test_a_change_fails_while_the_registry_is_away_and_is_never_made_up_for(link, opened, change):
    registry = opened()
    fill(registry)
    all_of(registry)
    before = everything(FakeRegistry("me", link.data))
    link.cut = True
    with pytest.raises(UnreachableError):
        change(registry)
    link.cut = False
    assert everything(FakeRegistry("me", link.data)) == before


@AWAY
def test_questions_about_a_run_do_not_get_each_others_answers(link, opened):
    registry = opened()
    version, other = commit(registry, "c0"), commit(registry, "c1")
    ref = run("r1").ref
    registry.record_logged(run("r1"), version.id)
    registry.record_use(run("r1"), other.id)
    registry.run(ref), registry.logged(ref), registry.used(ref), registry.runs("me", "demo")
    link.cut = True
    assert registry.run(ref) == run("r1")
    assert registry.runs("me", "demo") == [run("r1")]
    assert [found.index for found in registry.logged(ref)] == [0]
    assert [found.index for found in registry.used(ref)] == [1]


@AWAY
def test_the_answer_that_was_seen_last_counts(link, opened):
    registry = opened()
    commit(registry, "c0")
    registry.listing(DATA)
    commit(registry, "c1")
    seen = registry.listing(DATA)
    link.cut = True
    assert registry.listing(DATA) == seen
    assert [info.index for info in seen.versions] == [0, 1]


@AWAY
def test_what_was_found_to_be_gone_is_not_shown_again(link, opened):
    registry = opened()
    commit(registry, "c0")
    registry.version(DATA.at("v0"))
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    with pytest.raises(NotFoundError):
        registry.version(DATA.at("v0"))
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.version(DATA.at("v0"))


@AWAY
def test_a_registry_that_is_away_is_not_asked_again_at_once(link, opened, monkeypatch):
    monkeypatch.setattr(fallback, "PAUSE", 1e6)
    registry = opened()
    fill(registry)
    seen = everything(registry)
    link.cut = True
    registry.entities()
    asked = link.calls
    assert everything(registry) == seen
    assert link.calls == asked


@AWAY
def test_a_registry_that_is_back_is_asked_again(link, opened, no_pause):
    registry = opened()
    commit(registry, "c0")
    seen = registry.listing(DATA)
    link.cut = True
    assert registry.listing(DATA) == seen
    away = registry.health()
    assert away.away_since is not None
    assert "the link is cut" in away.reason
    registry.listing(DATA)
    assert registry.health() == away
    link.cut = False
    commit(FakeRegistry("me", link.data), "c1")
    assert [info.index for info in registry.listing(DATA).versions] == [0, 1]
    assert registry.health().away_since is None


@AWAY
def test_a_change_is_tried_though_the_registry_was_away_just_now(link, opened, monkeypatch):
    monkeypatch.setattr(fallback, "PAUSE", 1e6)
    registry = opened()
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.reserve(new("c1"))
    assert registry.health().away_since is not None
    link.cut = False
    assert registry.reserve(new("c1")).index == 0
    assert registry.health().away_since is None
    assert registry.entities() == ["me"]


@AWAY
def test_a_registry_that_cannot_be_reached_is_tried_once_however_many_ask_at_once(opened, monkeypatch):
    """Each attempt may take as long as a connection may: one after the other they would hold up every listing."""
    monkeypatch.setattr(fallback, "PAUSE", 1e6)
    readers = 8
    attempts, asking = [], threading.Barrier(readers)

    def connect():
        attempts.append(threading.get_ident())
        raise UnreachableError("nobody answers")

    registry = opened(connect)
    monkeypatch.setattr(registry, "_lock", _SlowLock(registry._lock, asking))
    found = []

    def read():
        try:
            registry.entities()
        except UnreachableError as error:
            found.append(error)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == readers
    assert len(attempts) == 1


class _SlowLock:
    """A lock that lets nobody in before all those who will ask for it have."""

    def __init__(self, lock, asking):
        self._lock = lock
        self._asking = asking

    def __enter__(self):
        self._asking.wait(60)
        return self._lock.__enter__()

    def __exit__(self, *error):
        return self._lock.__exit__(*error)


# The memory -----------------------------------------------------------------------------------------------------


def test_the_memory_is_for_this_user_alone(opened, path):
    fill(opened())
    opened().entities()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.expects_warning("cannot be remembered")
@AWAY
def test_a_memory_that_is_damaged_costs_the_memory_only(link, opened, path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 300)
    registry = opened()
    fill(registry)
    assert all_of(registry)[1] == registry.id
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.entities()


@AWAY
@pytest.mark.parametrize("answer", ["", "[", "null", "{}", "[[]]", '{"id": 3}', "\x00"])
def test_an_answer_of_another_program_is_not_believed(link, opened, path, answer):
    registry = opened()
    fill(registry)
    all_of(registry)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE seen SET answer = ?", [answer])
    database.close()
    link.cut = True
    for ask in (lambda: registry.version(DATA.at("v0")), lambda: registry.listing(DATA), lambda: registry.id):
        with pytest.raises(UnreachableError):
            ask()


@AWAY
def test_a_memory_of_another_format_is_forgotten(link, opened, path):
    first = opened()
    first.entities()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    link.cut = True
    with pytest.raises(UnreachableError):
        opened().entities()


@AWAY
def test_a_name_that_cannot_be_remembered_is_no_failure_of_the_memory(link, opened):
    registry = opened()
    registry.entities()
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.projects("half a pair: \ud800")
    assert registry.entities() == ["me"]


@AWAY
def test_lists_that_were_never_asked_for_show_the_names_that_were_seen(link, opened, no_pause):
    """Who reads by full names, as programs do, lists nothing while the registry is there."""
    fill(link.connect())
    registry = opened()
    assert registry.entity_exists("me")
    assert registry.project_exists("me", "demo")
    assert not registry.project_exists("me", "nothing")
    info = registry.collection_info(DATA)
    version, alias = registry.find(DATA, "v0"), registry.find(DATA, "latest")
    with pytest.raises(NotFoundError):
        registry.find(DATA, "v77")
    link.cut = True
    assert registry.entities() == ["me"]
    assert registry.projects("me") == ["demo"]
    assert registry.collection_infos("me", "demo") == [info]
    listing = registry.listing(DATA)
    assert (listing.versions, listing.aliases) == ((version,), (alias,))
    assert (listing.kind, listing.type, listing.updated_at) == (info.kind, info.type, info.updated_at)
    with pytest.raises(UnreachableError):
        registry.listing(OTHER)


@AWAY
def test_one_name_is_found_in_a_list_that_was_seen(link, opened, no_pause):
    fill(link.connect())
    registry = opened()
    listing, infos = registry.listing(DATA), registry.collection_infos("me", "demo")
    assert registry.entities()
    assert registry.projects("me")
    link.cut = True
    assert registry.find(DATA, "latest") in listing.aliases
    assert registry.find(DATA, f"v{listing.versions[0].index}") == listing.versions[0]
    assert registry.collection_info(DATA) in infos
    assert registry.entity_exists("me")
    assert registry.project_exists("me", "demo")
    assert not registry.project_exists("me", "nothing")
    for call in (
        lambda: registry.find(DATA, "nothing"),
        lambda: registry.collection_info(CollectionRef("me", "demo", "no")),
    ):
        with pytest.raises(NotFoundError):
            call()
