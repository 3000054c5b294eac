"""`Api`: what it finds, and what it says of what it does not find; collections, types, and changes by two clients at once."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import artfs
from artfs.errors import ConflictError, NotFoundError, VersionDeletedError


def test_artifact_by_every_kind_of_name(api, log):
    log(aliases=["best"])
    for name in ("demo/data", "demo/data:best", "me/demo/data:v0", "demo/data:latest"):
        assert api.artifact(name).qualified_name == "me/demo/data:v0"
    with pytest.raises(ValueError, match="of type 'dataset'"):
        api.artifact("demo/data", type="model")


@pytest.mark.parametrize("name", ["demo/data:v7", "demo/data:nothing", "demo/nothing", "nothing/data", "you/demo/data"])
def test_artifact_that_is_not_there(api, log, name):
    log()
    with pytest.raises(NotFoundError):
        api.artifact(name)
    assert not api.artifact_exists(name)


@pytest.mark.parametrize("name", ["", "a/b/c/d", "demo/data:", "demo//data", "demo/data:a/b"])
def test_artifact_by_a_name_that_cannot_be(api, log, name):
    with pytest.raises(ValueError, match=r".+"):
        api.artifact(name)


def test_artifact_that_was_deleted(api, log):
    log()
    log(files={"x": b"y"})
    api.artifact("demo/data:v0").delete()
    with pytest.raises(VersionDeletedError):
        api.artifact("demo/data:v0")


def test_overrides(api, log):
    log(project="elsewhere")
    assert artfs.Api(overrides={"project": "elsewhere"}).artifact("data").project == "elsewhere"
    with pytest.raises(NotFoundError):
        artfs.Api({"entity": "you", "project": "elsewhere"}).artifact("data")


def test_settings_name_another_registry(api, log, tmp_path):
    log()
    other = artfs.Api(data_dir=str(tmp_path / "other"))
    assert other.projects() == []
    other.client.close()
    assert api.projects() == ["demo"]


def test_a_setting_that_is_none_is_named(fresh):
    with pytest.raises(ValueError, match=r"^nonsense: there is no such setting"):
        artfs.Api(nonsense=1)
    with pytest.raises(ValueError, match=r"^cache_size: "):
        artfs.Api(cache_size="much")


def test_types_and_collections(api, log):
    log(name="one", kind="dataset")
    log(name="two", kind="model")
    log(name="three", kind="model")
    assert [kind.name for kind in api.artifact_types("demo")] == ["dataset", "model"]
    assert [one.name for one in api.artifact_type("model", "me/demo").collections()] == ["three", "two"]
    assert [one.name for one in api.artifact_collections("demo", "dataset")] == ["one"]
    assert api.artifact_collection_exists("demo/two", "model")
    assert not api.artifact_collection_exists("demo/two", "dataset")
    with pytest.raises(NotFoundError):
        api.artifact_type("nothing", "demo")
    with pytest.raises(NotFoundError):
        api.artifact_types("nothing")


def test_versions_of_a_collection(api, log):
    log(aliases=["a"])
    log(files={"x": b"1"})
    log(files={"x": b"2"}, aliases=["b"])
    found = api.artifact_collection("dataset", "demo/data")
    assert [one.version for one in found.artifacts()] == ["v2", "v1", "v0"]
    assert [one.version for one in api.artifacts("dataset", "demo/data")] == ["v2", "v1", "v0"]
    assert sorted(found.aliases) == ["a", "b", "latest"]
    assert (found.is_sequence(), found.type, found.qualified_name, len(found)) == (True, "dataset", "me/demo/data", 3)
    assert api.artifact("demo/data").link("portfolio/p").collection.is_sequence() is False


def test_a_collection_has_a_description(api, log):
    log()
    collection = api.artifact("demo/data").collection
    collection.description = "what it is"
    collection.save()
    assert api.artifact_collection("dataset", "demo/data").description == "what it is"


def test_two_clients_that_change_different_things_lose_nothing(api, log):
    log(metadata={"a": 1, "b": 2}, aliases=["old"])
    one, other = api.artifact("demo/data"), api.artifact("demo/data")
    one.aliases.append("one")
    one.metadata["a"] = 10
    one.description = "by one"
    other.aliases.append("other")
    other.aliases.remove("old")
    other.metadata["b"] = 20
    other.metadata["c"] = 30
    one.save()
    other.save()
    found = api.artifact("demo/data")
    assert found.aliases == ["latest", "one", "other"]
    assert found.metadata == {"a": 10, "b": 20, "c": 30}
    assert found.description == "by one"
    assert other.description == "by one"


@pytest.mark.parametrize("change", ["description", "metadata"])
def test_two_clients_that_change_the_same_thing_get_a_conflict(api, log, change):
    log(metadata={"a": 1}, description="old")
    one, other = api.artifact("demo/data"), api.artifact("demo/data")
    for number, artifact in enumerate((one, other)):
        if change == "description":
            artifact.description = f"by {number}"
        else:
            artifact.metadata["a"] = f"by {number}"
    one.save()
    with pytest.raises(ConflictError, match=change):
        other.save()
    found = api.artifact("demo/data")
    assert "by 0" in (found.description, found.metadata["a"])


def test_an_alias_that_was_moved_meanwhile_is_not_removed(api, log):
    log(aliases=["best"])
    one = api.artifact("demo/data:v0")
    log(files={"x": b"y"}, aliases=["best"])
    one.aliases.remove("best")
    one.save()
    assert api.artifact("demo/data:best").version == "v1"


keys = st.sampled_from("abc")
edits = st.lists(st.tuples(st.integers(0, 1), keys, st.none() | st.integers(0, 2)), max_size=8)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(edits=edits, order=st.permutations([0, 1]))
def test_edits_of_two_clients_are_all_there_or_are_a_conflict(api, log, edits, order):
    """Whoever saves last without a conflict has lost nothing of what the other one has saved."""
    log()
    start = api.artifact("demo/data")
    start.metadata = {"a": 0, "b": 1}
    start.save()
    clients = [api.artifact("demo/data"), api.artifact("demo/data")]
    for who, key, value in edits:
        if value is None:
            clients[who].metadata.pop(key, None)
        else:
            clients[who].metadata[key] = value
    wanted = [dict(client.metadata) for client in clients]
    seen = {"a": 0, "b": 1}
    changed = [{key for key in "abc" if one.get(key) != seen.get(key)} for one in wanted]
    clients[order[0]].save()
    try:
        clients[order[1]].save()
    except ConflictError:
        both = changed[0] & changed[1]
        assert any(wanted[0].get(key) != wanted[1].get(key) for key in both)
        assert api.artifact("demo/data").metadata == wanted[order[0]]
    else:
        found = api.artifact("demo/data").metadata
        for who in (0, 1):
            assert all(found.get(key) == wanted[who].get(key) for key in changed[who])


def test_many_threads_change_one_artifact(api, log):
    log()
    failures = []

    def work(number):
        try:
            for turn in range(5):
                artifact = api.artifact("demo/data")
                artifact.metadata[f"{number}-{turn}"] = turn
                artifact.aliases.append(f"alias-{number}-{turn}")
                artifact.save()
        except Exception as error:  # noqa: BLE001 - the thread that waits raises it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = api.artifact("demo/data")
    assert len(found.metadata) == 40
    assert len(found.aliases) == 41


def test_a_collection_whose_versions_were_all_deleted_says_so(api, log):
    log().delete(delete_aliases=True)
    with pytest.raises(NotFoundError, match="me/demo/data has no versions any more"):
        api.artifact("demo/data")
