"""A version in words: what ``show --json``, the extended attributes and ``.artfs/artifact.json`` say."""

import json

from artfs.model.reference import artifact_uri
from artfs.registry.summary import version_summary
from tests.registry.fake import FakeRegistry
from tests.registry.making import DATA, OTHER, commit, make_portfolio, manifest, run


def test_the_summary_says_everything_that_a_registry_knows_as_json():
    registry = FakeRegistry()
    commit(registry, "c0")
    version = commit(registry, "c1", "best", kind="dataset", description="text", metadata={"a": [1]})
    summary = version_summary(version, run("r1"), [run("r2"), run("r3")])
    assert json.loads(json.dumps(summary)) == {
        "id": version.id,
        "uri": artifact_uri(version.id),
        "entity": "me",
        "project": "demo",
        "name": "data:v1",
        "version": "v1",
        "source_version": "v1",
        "type": "dataset",
        "state": "COMMITTED",
        "digest": "c1",
        "commit_hash": version.commit_hash,
        "size": 3,
        "file_count": 1,
        "description": "text",
        "metadata": {"a": [1]},
        "aliases": ["best", "latest"],
        "tags": [],
        "ttl": None,
        "created_at": version.created_at.isoformat(),
        "updated_at": version.updated_at.isoformat(),
        "logged_by": "me/demo/r1",
        "used_by": ["me/demo/r2", "me/demo/r3"],
        "manifest": {"digest": manifest("c1").digest.base64, "size": manifest("c1").size},
    }


def test_the_summary_of_a_linked_version_says_where_it_was_logged():
    registry = FakeRegistry()
    commit(registry, "c0")
    version = commit(registry, "c1")
    make_portfolio(registry, OTHER, [version])
    summary = version_summary(registry.version(OTHER.at("v0")), None, [])
    assert (summary["name"], summary["version"], summary["source_version"]) == ("other:v0", "v0", "v1")
    assert (summary["logged_by"], summary["used_by"]) == (None, [])
    assert summary["created_at"] == registry.version(DATA.at("v1")).created_at.isoformat()
