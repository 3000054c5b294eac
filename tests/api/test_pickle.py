"""What the API gives, in other processes and as copies: by what it is, with nothing that lets anybody in."""

import copy
import multiprocessing
import pathlib
import pickle

import pytest

import artfs
from artfs.api.client import Client
from artfs.api.filesystem import ArtfsFileSystem
from artfs.model.secrets import without_password

SECRET = "Correct-Horse"


def again(value):
    return pickle.loads(pickle.dumps(value))


def read(artifact):
    """What a worker does with an artifact."""
    entry = artifact.get_entry("d/b.txt")
    return artifact.qualified_name, artifact.metadata, pathlib.Path(entry.download()).read_bytes()


def read_entry(entry):
    return pathlib.Path(entry.download()).read_bytes()


def name_of(api):
    return api.artifact("demo/data").qualified_name


def test_a_logged_artifact_is_read_by_workers_that_are_spawned(log, tmp_path):
    artifact = log(metadata={"k": 1})
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert workers.apply(read, [artifact]) == ("me/demo/data:v0", {"k": 1}, b"two")
        assert workers.apply(read_entry, [artifact.get_path("a.txt")]) == b"one"
        api = artfs.Api(data_dir=str(tmp_path / "data"), entity="me")
        assert workers.apply(name_of, [api]) == "me/demo/data:v0"
        api.client.close()


def test_a_pickled_artifact_has_what_was_not_saved_yet(log):
    artifact = log(aliases=["best"], metadata={"k": [1]})
    artifact.metadata["k"].append(2)
    artifact.aliases.append("next")
    found = again(artifact)
    assert (found.metadata, found.aliases) == ({"k": [1, 2]}, ["best", "latest", "next"])
    found.save()
    assert artfs.Api().artifact("demo/data:next").metadata == {"k": [1, 2]}


def test_in_the_same_process_the_connection_is_the_same(api, log, tmp_path):
    assert again(api).client is api.client
    assert again(log()).client is api.client
    other = artfs.Api(project="other", data_dir=tmp_path / "elsewhere")
    found = again(other)
    assert found.client is again(other).client
    assert (found.client.config, found.client.default_project) == (other.client.config, "other")
    for one in (other, found):
        one.client.close()


def test_the_registry_of_init_is_found_where_the_environment_names_another(fresh, tmp_path):
    with artfs.init(project="demo", registry=f"sqlite:///{tmp_path}/named.sqlite") as run:
        artifact = artfs.Artifact("data", "dataset")
        run.log_artifact(artifact).wait()
        state = pickle.dumps(artifact)
        fresh.client, client = None, fresh.client  # as in a process that knows nothing of it
        try:
            assert [one.id for one in [pickle.loads(state).logged_by()]] == [run.id]
            assert pickle.loads(state).client.config.registry == client.config.registry
            pickle.loads(state).client.close()
        finally:
            fresh.client.close()
            fresh.client = client


# Secrets --------------------------------------------------------------------------------------------------------

URL = f"postgresql://me:{SECRET}@127.0.0.1:1/demo"


@pytest.mark.parametrize("given", ["as a setting", "by the environment"])
def test_a_password_is_not_pickled_and_found_where_the_environment_has_it(place, monkeypatch, given):
    if given == "by the environment":
        monkeypatch.setenv("ARTFS_REGISTRY", URL)
    client = Client(**{"registry": URL} if given == "as a setting" else {})
    states = [pickle.dumps(one) for one in (client, artfs.Api.of_client(client), ArtfsFileSystem(registry=URL))]
    assert not [state for state in states if SECRET.encode() in state]
    monkeypatch.setenv("ARTFS_REGISTRY", URL)
    assert pickle.loads(states[0]).config.registry == pickle.loads(states[2]).client.config.registry == URL
    monkeypatch.setenv("ARTFS_REGISTRY", f"postgresql://you:{SECRET}@127.0.0.1:1/demo")
    assert pickle.loads(states[0]).config.registry == "postgresql://me@127.0.0.1:1/demo"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (URL, "postgresql://me@127.0.0.1:1/demo"),
        ("postgresql://host/demo?sslmode=require&password=x", "postgresql://host/demo?sslmode=require"),
        ("postgresql:///demo?host=/run", "postgresql:///demo?host=/run"),
        ("sqlite:////data/a%3Fpassword=@b.sqlite", "sqlite:////data/a%3Fpassword=@b.sqlite"),
        ("s3://bucket/key?token=1", "s3://bucket/key?token=1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_a_url_without_its_password_names_the_same_place(url, kept):
    assert without_password(url) == without_password(kept) == kept


def test_an_api_key_is_not_pickled(place, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET * 4)
    assert SECRET.encode() not in pickle.dumps(artfs.Api(registry="http://127.0.0.1:1"))


# What is of one process -----------------------------------------------------------------------------------------


def test_a_draft_and_an_active_run_say_what_to_do_instead(api, fresh):
    draft = artfs.Artifact("data", "dataset")
    with pytest.raises(TypeError, match=r"'data' is not logged yet.* wait\(\)"):
        pickle.dumps(draft)
    with pytest.raises(TypeError, match="'data' is not logged yet"):
        copy.deepcopy(draft)
    with artfs.init(project="demo", id="r") as run, pytest.raises(TypeError, match="'me/demo/r', and look it up"):
        pickle.dumps(run)
    assert again(run).state == again(api.run("demo/r")).state == "finished"


def test_the_configuration_of_a_run_is_copied_as_its_values(api, fresh):
    with artfs.init(project="demo", config={"a": [1]}) as run:
        copied, pickled = copy.deepcopy(run.config), again(run.config)
        assert copied == pickled == {"a": [1]}
        copied["a"].append(2)
        assert run.config["a"] == [1]


def test_a_deep_copy_of_an_artifact_is_edited_on_its_own(api, log):
    artifact = log(metadata={"k": [1]})
    for copied in (copy.deepcopy(artifact), copy.deepcopy({"x": [artifact]})["x"][0]):
        copied.metadata["k"].append(2)
        assert artifact.metadata == {"k": [1]}
        assert copied.client is artifact.client
        assert (copied.id, copied.digest) == (artifact.id, artifact.digest)


def test_a_deep_copy_of_a_run_or_an_api_uses_the_same_connection(api, fresh):
    with artfs.init(project="demo") as run:
        assert copy.deepcopy({"run": run})["run"] is run
    assert copy.deepcopy(api).client is api.client
