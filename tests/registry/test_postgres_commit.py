"""Whole commits of drafts to PostgreSQL, whose server goes away in the middle: they are resumed from the journal."""

import contextlib

import psycopg
import pytest

from artfs.app.backends import Backends
from artfs.app.services import Services
from artfs.config import load_config
from artfs.errors import InvalidInputError, UnreachableError
from artfs.registry.sql import commits
from artfs.staging.progress import Progress
from tests.staging.test_commit import COLLECTION, base_of, commit, content, make, write

AWAY = pytest.mark.expects_warning("the registry is away")
FILES = {f"d{number % 3}/f{number}": bytes([number]) * (number * 4_000) for number in range(20)}


@pytest.fixture
def open_services(tmp_path, monkeypatch, postgres_url):
    """Return what opens the services of one data directory, as each program that is started with it does."""
    for name in ("data", "cache", "state", "runtime"):
        monkeypatch.setenv(f"ARTFS_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("ARTFS_ENTITY", "me")
    monkeypatch.setenv("ARTFS_REGISTRY", postgres_url)

    @contextlib.contextmanager
    def open_one():
        config = load_config()
        backends = Backends(config)
        services = Services(config, backends.registry(), backends, mountpoints=("/mnt/artfs",))
        try:
            yield services
        finally:
            services.close()

    return open_one


def resume(services):
    """Go on with the only draft, whose commit has begun."""
    (draft,) = services.drafts.acquire()
    committer = services.committer()
    assert committer.is_frozen(draft)
    return committer.run(draft, Progress())


def at(step, action):
    return lambda name: action() if name == step else None


@AWAY
@pytest.mark.parametrize("step", ["frozen", "hashed", "reserved", "bound", "adopted", "stored"])
def test_a_commit_that_loses_the_server_is_resumed_by_the_next_program(open_services, postgres_server, step):
    with open_services() as services:
        draft = make(services, FILES)
        with pytest.raises(UnreachableError):
            commit(services, draft, "best", on_step=at(step, postgres_server.kill))
        assert services.committer().is_frozen(draft)
    with open_services() as services, pytest.raises(UnreachableError):
        resume(services)
    postgres_server.start()
    with open_services() as services:
        result = resume(services)
        assert (result.created, content(services, result.version)) == (True, FILES)
        (version,) = services.registry.versions(COLLECTION)
        assert (version.index, version.aliases) == (0, ("best", "latest"))
        assert services.drafts.owned() == services.drafts.acquire() == []


@AWAY
@pytest.mark.parametrize("step", ["reserve", "publish"])
@pytest.mark.parametrize("end", ["drop_connections", "kill"])
def test_a_commit_whose_transaction_is_cut_off_goes_on_where_it_was(
    open_services, monkeypatch, postgres_server, postgres_url, step, end
):
    cut = postgres_server.kill if end == "kill" else lambda: postgres_server.drop_connections(postgres_url)
    done = getattr(commits, step)

    def interrupted(*arguments):
        result = done(*arguments)
        cut()
        return result

    with open_services() as services:
        first = commit(services, make(services, FILES), "best").version
        draft = make(services, {}, base=base_of(first))
        write(draft, {"new": b"new"})
        with monkeypatch.context() as patch:
            patch.setattr(commits, step, interrupted)
            with pytest.raises(UnreachableError):
                commit(services, draft, "best")
        assert services.committer().is_frozen(draft)
        if not postgres_server.running:
            postgres_server.start()
        result = services.committer().run(draft, Progress())
        assert (result.created, result.version.index) == (True, 1)
        assert content(services, result.version) == FILES | {"new": b"new"}
        assert [version.aliases for version in services.registry.versions(COLLECTION)] == [(), ("best", "latest")]


@AWAY
def test_a_commit_whose_publication_was_not_confirmed_is_not_made_again(open_services, monkeypatch, postgres_server):
    with open_services() as services:
        draft = make(services, FILES)
        dialect = services.registry._reach(reading=False)._database._engine.dialect
        end = dialect.do_commit

        def commit_and_lose(connection):
            end(connection)
            postgres_server.kill()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        with monkeypatch.context() as patch:
            arm = at("stored", lambda: patch.setattr(dialect, "do_commit", commit_and_lose))
            with pytest.raises(UnreachableError):
                commit(services, draft, "best", on_step=arm)
    postgres_server.start()
    with open_services() as services:
        result = resume(services)
        assert (result.created, result.version.index, result.version.aliases) == (True, 0, ("best", "latest"))
        assert [version.id for version in services.registry.versions(COLLECTION)] == [result.version.id]
        assert content(services, result.version) == FILES
        assert services.drafts.owned() == services.drafts.acquire() == []


def test_a_commit_whose_description_cannot_be_recorded_ends_and_the_draft_says_why(open_services):
    with open_services() as services:
        draft = make(services, FILES)
        draft.description = "a\0b"
        with pytest.raises(InvalidInputError, match="NUL"):
            commit(services, draft)
        assert not services.committer().is_frozen(draft)
        assert "NUL" in draft.error
        draft.description = "ab"
        assert commit(services, draft).version.index == 0
