"""The answers of a registry as text: what comes back is what went in, also from an earlier program's text."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from artfs.model.run import RunState
from artfs.registry import codec
from tests.registry.fake import FakeRegistry
from tests.registry.making import DATA, OTHER, commit, make_portfolio, run

RUN = run(
    "r1",
    state=RunState.KILLED,
    config={"a": [1, {"state": "x"}]},
    metadata={"half": "\ud800"},
    exit_code=-9,
    finished_at=datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
)


@pytest.fixture
def registry():
    """A registry with a version that is linked too, and a description."""
    registry = FakeRegistry()
    make_portfolio(registry, OTHER, [commit(registry, "c1", "best", description="text", metadata={"a": 1})])
    registry.set_collection_description(DATA, "Größe")
    return registry


@pytest.mark.parametrize("found", [RUN, run("r2"), replace(RUN, exit_code=None)])
def test_a_run_comes_back(found):
    again = codec.decode_run(codec.encode(found))
    assert again == found
    assert (again.config, again.metadata) == (found.config, found.metadata)
    assert codec.decode_run_or_none(codec.encode(found)) == found
    assert codec.decode_runs(codec.encode([found, found])) == [found, found]


def test_no_run_comes_back():
    assert codec.decode_run_or_none(codec.encode(None)) is None


def test_collections_come_back(registry):
    registry.create_collection(type(DATA)("me", "demo", "empty"))
    infos = registry.collection_infos("me", "demo")
    assert codec.decode_collection_infos(codec.encode(infos)) == infos


def test_a_version_comes_back(registry):
    for version in (registry.version(OTHER.at("v0")), replace(registry.version(DATA.at("v0")), ttl_seconds=60)):
        assert codec.decode_version(codec.encode(version)) == version


def test_the_text_is_json_in_ascii(registry):
    text = codec.encode([*registry.collection_infos("me", "demo"), *registry.versions(OTHER), RUN])
    assert text.isascii()
    assert len(json.loads(text)) == 4


def test_a_run_that_an_earlier_program_remembered_is_finished():
    text = (
        '{"id":"r1","entity":"me","project":"demo","name":"run r1","job_type":"train",'
        '"created_at":"2024-01-01T00:00:00+00:00"}'
    )
    assert codec.decode_run(text) == codec.decode_run_or_none(text) == run("r1", state=RunState.FINISHED)
    assert codec.decode_runs(f"[{text}]") == [run("r1", state=RunState.FINISHED)]


def test_a_version_that_an_earlier_program_remembered_has_no_end(registry):
    version = registry.version(DATA.at("v0"))
    found = json.loads(codec.encode(version))
    del found["ttl_seconds"]
    assert codec.decode_version(json.dumps(found)) == version
