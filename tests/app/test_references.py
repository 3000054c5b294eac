"""What references go on with, on a registry with a few of everything, on one that hangs, and on one that is away."""

import threading
import time

import pytest

from artfs.app import references
from artfs.app.backends import Backends
from artfs.app.references import continuations
from artfs.app.services import open_services
from artfs.config import load_config
from artfs.model.names import CollectionRef


@pytest.fixture
def config(tmp_path):
    flags = {f"{name}_dir": str(tmp_path / name) for name in ("data", "cache", "state", "runtime")}
    return load_config({**flags, "entity": "me"})


@pytest.fixture
def filled(config):
    with open_services(config) as services:
        registry = services.registry
        for entity in ("me", "other"):
            registry.create_entity(entity)
        for entity, project, names in (
            ("me", "demo", ["data", "dump"]),
            ("me", "uncategorized", ["loose"]),
            ("other", "p", ["x"]),
        ):
            registry.create_project(entity, project)
            for name in names:
                registry.create_collection(CollectionRef(entity, project, name))
    return config


@pytest.mark.parametrize(
    ("text", "full", "found"),
    [
        ("", False, ["me/", "other/", "demo/", "uncategorized/", "loose"]),
        ("", True, ["me/", "other/"]),
        ("d", False, ["demo/"]),
        ("demo/", False, ["demo/data", "demo/dump"]),
        ("demo/", True, []),
        ("me/", False, ["me/demo/", "me/uncategorized/"]),
        ("me/demo/da", True, ["me/demo/data"]),
        ("other/p/", False, ["other/p/x"]),
        ("nobody/", False, []),
        ("nobody/p/", False, []),
        ("me/demo/data:", False, []),
        ("a/b/c/d", False, []),
        (":", False, []),
    ],
)
def test_references_go_on_part_by_part(filled, text, full, found):
    assert continuations(filled, text, 20, full=full) == found


def test_aliases_and_versions_come_after_the_colon(filled, monkeypatch):
    class Listing:
        aliases = [type("A", (), {"name": name})() for name in ("latest", "best")]  # noqa: RUF012
        versions = [type("V", (), {"index": index})() for index in (0, 1)]  # noqa: RUF012

    class Registry:
        default_entity = "me"

        def listing(self, collection):
            assert str(collection) == "me/demo/data"
            return Listing()

        def close(self):
            pass

    monkeypatch.setattr(Backends, "registry", lambda _: Registry())
    assert continuations(filled, "demo/data:", 20) == [f"demo/data:{name}" for name in ("best", "latest", "v1", "v0")]
    assert continuations(filled, "demo/data:l", 20) == ["demo/data:latest"]


def test_nothing_is_made_to_complete(config):
    assert continuations(config, "", 20) == []
    assert not config.data_dir.exists()


def test_a_registry_that_hangs_costs_the_time_there_is_and_no_more(filled, monkeypatch):
    forever = threading.Event()
    monkeypatch.setattr(references, "_with_registry", lambda *_, **__: forever.wait())
    started = time.monotonic()
    assert continuations(filled, "d", 0.2) == []
    assert time.monotonic() - started < 30
    forever.set()


def test_a_registry_that_fails_offers_nothing_and_says_nothing(filled, monkeypatch, capfd):
    def fails(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(references, "_with_registry", fails)
    assert continuations(filled, "d", 20) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.expects_warning("the registry is away")
def test_a_registry_that_is_away_is_completed_from_what_was_seen_of_it(config, monkeypatch):
    import dataclasses

    from artfs.model.digest import Digest
    from artfs.registry.memory import Memory
    from artfs.registry.remembered import RememberedRegistry

    with open_services(config) as services:
        services.registry.create_entity("me")
        services.registry.create_project("me", "demo")
        away = dataclasses.replace(config, registry="postgresql://user@127.0.0.1:9/x")
        path = config.cache_dir / "seen" / f"{Digest.of(away.registry.encode()).hex[:16]}.sqlite"
        registry = RememberedRegistry(lambda: services.registry, Memory(path), "me")
        registry.entities()
        registry.projects("me")
        registry.close()
    assert continuations(away, "me/", 20) == ["me/demo/"]
    forever = threading.Event()
    monkeypatch.setattr(references, "_with_registry", lambda *_, **__: forever.wait())
    assert continuations(away, "me/", 2) == ["me/demo/"]
    forever.set()
