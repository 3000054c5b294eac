"""One test for each attribute of the page that defines the ``Artifact`` class. ``docs/api.md`` lists them."""

import datetime
import hashlib
import re

import pytest

import artfs
from artfs.errors import ArtifactNotLoggedError

BEFORE_LOGGING = [
    "aliases", "commit_hash", "created_at", "entity", "project", "source_version", "updated_at", "version", "tags", "file_count",
    "qualified_name",
]  # fmt: skip


@pytest.mark.parametrize("name", BEFORE_LOGGING)
def test_what_only_a_registry_knows_is_an_attribute_error_before_logging(fresh, name):
    artifact = artfs.Artifact("data", "dataset")
    with pytest.raises(ArtifactNotLoggedError, match=name):
        getattr(artifact, name)
    assert not hasattr(artifact, name)


def test_aliases(api, log):
    log(aliases=["best"])
    assert api.artifact("demo/data:best").aliases == ["best", "latest"]
    log(files={"other": b""})
    assert api.artifact("demo/data:v0").aliases == ["best"]


def test_commit_hash(log):
    one, other = log(), log(files={"x": b"y"})
    assert re.fullmatch("[0-9a-f]{40}", one.commit_hash)
    assert one.commit_hash != other.commit_hash


def test_created_at(api, log):
    before = datetime.datetime.now(datetime.UTC)
    artifact = log()
    created = datetime.datetime.fromisoformat(artifact.created_at)
    assert before <= created <= datetime.datetime.now(datetime.UTC)
    artifact.description = "new"
    artifact.save()
    assert api.artifact("demo/data").created_at == created.isoformat()


def test_description(api, log):
    log(description="what it is")
    assert api.artifact("demo/data").description == "what it is"
    assert artfs.Artifact("data", "dataset").description is None


def test_digest(api, log):
    artifact = log(files={"b": b"2", "a": b"1"})
    lines = b"wandb-artifact-manifest-v1\na:xMpCOKC5I4INzFCab3WEmw==\nb:yB5yjZ1ML2NvBn+JzBSGLA==\n"
    assert artifact.digest == api.artifact("demo/data").digest == hashlib.md5(lines).hexdigest()


def test_digest_of_latest_again_makes_log_artifact_a_no_op(api, log):
    first, again = log(), log()
    assert (first.version, again.version) == ("v0", "v0")
    assert len(api.artifacts("dataset", "demo/data")) == 1


def test_entity(log):
    assert log().entity == "me"


def test_id(api, log):
    assert artfs.Artifact("data", "dataset").id is None
    one, other = log(), log(files={"x": b"y"})
    assert one.id != other.id
    assert api.artifact("demo/data:v0").id == one.id


def test_manifest(api, log):
    log(files={"a": b"1", "d/b": b"2"})
    manifest = api.artifact("demo/data").manifest
    assert sorted(manifest.entries) == ["a", "d/b"]
    assert (manifest.entries["a"].digest, manifest.entries["a"].size) == ("xMpCOKC5I4INzFCab3WEmw==", 1)
    assert [entry.path for entry in manifest.get_entries_in_directory("d")] == ["d/b"]
    assert manifest.get_entry_by_path("c") is None
    assert manifest.digest() == api.artifact("demo/data").digest


def test_manifest_of_a_logged_artifact_cannot_be_changed(api, log):
    log()
    artifact = api.artifact("demo/data")
    with pytest.raises(TypeError):
        artifact.manifest.entries["x"] = None
    with pytest.raises(AttributeError):
        artifact.manifest = None


def test_metadata(api, log):
    log(metadata={"accuracy": 0.9, "layers": [1, 2], "nan": float("nan")})
    assert api.artifact("demo/data").metadata == {"accuracy": 0.9, "layers": [1, 2], "nan": None}


def test_metadata_takes_what_training_code_has(api, log):
    numpy = pytest.importorskip("numpy")
    log(
        metadata={"loss": numpy.float32(0.5), "shape": numpy.array([2, 3]), "when": datetime.date(2026, 1, 2), "s": {1}}
    )
    assert api.artifact("demo/data").metadata == {"loss": 0.5, "shape": [2, 3], "when": "2026-01-02", "s": [1]}


def test_name(api, log):
    assert artfs.Artifact("data", "dataset").name == "data"
    assert log().name == api.artifact("demo/data:latest").name == "data:v0"


def test_project(log):
    assert log(project="other").project == "other"


def test_size(api, log):
    assert log(files={"a": b"12345", "b": b"123"}).size == api.artifact("demo/data").size == 8


def test_source_version(api, log):
    log(name="first")
    log(files={"x": b"1"})
    log(files={"x": b"2"})
    linked = api.artifact("demo/data:v1").link("me/portfolio/models")
    assert (linked.version, linked.source_version) == ("v0", "v1")
    assert api.artifact("demo/data:v1").source_version == "v1"


def test_state(api, log):
    assert artfs.Artifact("data", "dataset").state == "PENDING"
    assert log().state == api.artifact("demo/data").state == "COMMITTED"


def test_type(api, log):
    assert log(kind="model").type == api.artifact("demo/data").type == "model"


def test_updated_at(api, log):
    artifact = log()
    before = artifact.updated_at
    assert datetime.datetime.fromisoformat(before) >= datetime.datetime.fromisoformat(artifact.created_at)
    artifact.metadata["k"] = 1
    artifact.save()
    assert api.artifact("demo/data").updated_at > before


def test_version(api, log):
    assert log().version == "v0"
    assert log(files={"x": b"y"}).version == "v1"
    assert api.artifact("demo/data:latest").version == "v1"


def test_tags(api, fresh, place):
    artifact = artfs.Artifact("data", "dataset")
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact, tags=["raw", "2026"])
    found = api.artifact("demo/data")
    assert found.tags == ["2026", "raw"]
    found.tags.remove("raw")
    found.tags.append("clean data")
    found.save()
    assert api.artifact("demo/data").tags == ["2026", "clean data"]


def test_ttl(api, log):
    artifact = log()
    assert artifact.ttl is None
    artifact.ttl = datetime.timedelta(days=3)
    artifact.save()
    assert api.artifact("demo/data").ttl == datetime.timedelta(days=3)
    artifact.ttl = artfs.ArtifactTTL.INHERIT
    artifact.save()
    assert api.artifact("demo/data").ttl is None
    with pytest.raises(ValueError, match="longer than nothing"):
        artifact.ttl = datetime.timedelta(0)


def test_ttl_of_a_new_artifact_is_recorded(api, fresh):
    artifact = artfs.Artifact("data", "dataset")
    artifact.ttl = datetime.timedelta(hours=1)
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact)
    assert api.artifact("demo/data").ttl == datetime.timedelta(hours=1)


def test_qualified_name(api, log):
    log()
    assert api.artifact("demo/data").qualified_name == "me/demo/data:v0"


def test_file_count(api, log):
    log(files={"a": b"", "b/c": b"", "b/d": b""})
    assert api.artifact("demo/data").file_count == 3


def test_query(fresh):
    assert artfs.Artifact.QUERY.startswith("query ")
