"""Programs that were written for the W&B SDK: the arguments that they give, and what becomes of them here."""

import argparse
import inspect
import logging

import pytest
import wandb

import artfs
from artfs.errors import InvalidInputError, NotFoundError, NotSupportedError


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_argument_of_the_sdks_init_is_known(api, fresh, caplog):
    for name, parameter in inspect.signature(wandb.init).parameters.items():
        default = None if name == "anonymous" else parameter.default
        artfs.init(**{"project": "demo", "mode": "online", name: default}).finish()
    assert warnings_of(caplog) == []


def test_entity_and_project_come_first_as_in_the_sdk_and_the_others_by_name(fresh):
    assert [*inspect.signature(wandb.init).parameters][:2] == ["entity", "project"]
    with artfs.init("us", "demo") as run:
        assert (run.entity, run.project) == ("us", "demo")
    with pytest.raises(TypeError, match="positional"):
        artfs.init("us", "demo", "train")


def test_notes_tags_and_group_are_recorded_and_stay_when_the_run_goes_on(api, fresh):
    with artfs.init(project="demo", id="r", notes="first", tags=["a", "b"], group="g") as run:
        assert (run.notes, run.tags, run.group) == ("first", ("a", "b"), "g")
    with artfs.init(project="demo", id="r", tags=["c"]):
        pass
    found = api.run("demo/r")
    assert (found.notes, found.tags, found.group) == ("first", ("c",), "g")
    assert found.metadata["command"]
    with artfs.init(project="demo") as run:
        assert (run.notes, run.tags, run.group) == (None, (), "")
    for bad in ({"tags": [1]}, {"notes": 1}, {"group": 1}):
        with pytest.raises(InvalidInputError):
            artfs.init(project="demo", **bad)


def test_they_are_recorded_of_the_run_of_the_environment(api, fresh, monkeypatch):
    with artfs.init(project="demo", id="outer"):
        pass
    monkeypatch.setenv("ARTFS_RUN", "me/demo/outer")
    with artfs.init(notes="inner") as run:
        assert run.path == "me/demo/outer"
    assert api.run("demo/outer").notes == "inner"
    assert api.run("demo/outer").metadata["command"]


@pytest.mark.expects_warning("have no effect here")
def test_what_has_no_effect_is_named_in_one_warning(fresh, caplog):
    with artfs.init(project="demo", dir="here", save_code=True, tensorboard=False, monitor_gym=None):
        pass
    (warning,) = warnings_of(caplog)
    assert warning.startswith("artfs.init(): dir, save_code: ")
    artfs.Artifact("a", "t", storage_region="x", incremental=False)
    artfs.Api(timeout=30)
    assert [text.partition(": arguments")[0] for text in warnings_of(caplog)[1:]] == [
        "artifact 'a': storage_region",
        "artfs.Api(): timeout",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "disabled"},
        {"mode": "offline", "registry": "postgresql://127.0.0.1:1/x"},
        {"reinit": "create_new"},
        {"fork_from": "r?_step=1"},
        {"resume_from": "r?_step=1"},
    ],
    ids=str,
)
def test_what_would_do_something_else_is_refused(api, fresh, wrong):
    with pytest.raises(NotSupportedError, match=next(iter(wrong))):
        artfs.init(project="demo", **wrong)
    assert artfs.run is None
    with pytest.raises(NotFoundError):
        api.runs("demo")


@pytest.mark.parametrize("wrong", [{"mode": "x"}, {"reinit": "x"}, {"resume": "x"}, {"bogus": "x"}], ids=str)
def test_what_is_no_value_is_refused(fresh, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        artfs.init(**{"project": "demo", **wrong})


def test_offline_is_how_a_registry_on_this_machine_works(fresh):
    with artfs.init(project="demo", mode="offline") as run:
        assert run.state == "running"


def test_a_run_that_is_resumed_is_there_or_not_as_it_is_asked_for(api, fresh):
    with pytest.raises(InvalidInputError, match="me/demo/r"):
        artfs.init(project="demo", id="r", resume="must")
    with artfs.init(project="demo", id="r", resume="never"):
        pass
    with pytest.raises(InvalidInputError, match="me/demo/r"):
        artfs.init(project="demo", id="r", resume="never")
    for resume in ("must", "allow", "auto", True, None):
        with artfs.init(project="demo", id="r", resume=resume):
            pass
    assert len(api.runs("demo")) == 1


def test_reinit_finishes_the_run_that_goes_on(api, fresh):
    first = artfs.init(project="demo", id="a")
    assert artfs.init(project="demo", id="b", reinit="return_previous") is first
    second = artfs.init(project="demo", id="b", reinit=True)
    assert (second.id, api.run("demo/a").state) == ("b", "finished")


def test_some_keys_of_a_configuration_are_chosen(fresh):
    config = {"a": 1, "b": 2, "c": 3}
    with artfs.init(project="demo", config=config, config_exclude_keys=["b"]) as run:
        assert run.config == {"a": 1, "c": 3}
    with artfs.init(project="demo", config=config, config_include_keys=["b"]) as run:
        assert run.config == {"b": 2}


class Odd:
    pass


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"a": Odd()}, "config 'a' is of type 'Odd', which JSON cannot hold"),
        ({"a": {"b": [float("inf")]}}, "config 'a' is infinite"),
        ({1: 2}, "config: the key 1 is not a string"),
        ("config.yaml", "the config of a run is a mapping, not 'config.yaml'"),
        ([1], "the config of a run is a mapping"),
    ],
)
def test_a_bad_configuration_is_called_one(fresh, config, said):
    with pytest.raises(InvalidInputError, match=said):
        artfs.init(project="demo", config=config)


def test_a_configuration_has_any_number_of_keys_and_may_be_parsed_arguments(api, fresh):
    config = {f"k{number}": number for number in range(500)}
    with artfs.init(project="demo", config=argparse.Namespace(**config)) as run:
        run.config.update({f"more{number}": number for number in range(200)})
    assert len(api.run(f"demo/{run.id}").config) == 700


def test_what_is_no_artifact_and_no_name_is_called_so(fresh):
    with pytest.raises(InvalidInputError, match="name of an artifact is text, not 3"):
        artfs.Artifact(3, "t")
    with pytest.raises(InvalidInputError, match="type of an artifact is text, not None"):
        artfs.Artifact("a", None)
    with artfs.init(project="demo") as run, pytest.raises(InvalidInputError, match="or its name, not None"):
        run.use_artifact(None)


def test_an_artifact_of_the_sdk_that_artfs_does_not_make_is_refused(fresh):
    with pytest.raises(NotSupportedError, match="incremental") as error:
        artfs.Artifact("a", "t", incremental=True)
    assert "new_draft()" in error.value.hint
    with pytest.raises(InvalidInputError, match="'XXH128', and the setting 'algorithm' is 'MD5'"):
        artfs.Artifact("a", "t", digest_algorithm="XXH128")
    assert artfs.Artifact("a", "t", digest_algorithm="MD5").state == "PENDING"
    with pytest.raises(TypeError, match="'bogus'"):
        artfs.Artifact("a", "t", bogus=1)
