"""Runs: begun, joined, finished, and what they log and use."""

import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import artfs
from artfs.errors import ConflictError, InvalidInputError, NotFoundError, VersionDeletedError
from artfs.model.run import RunChange, RunProgress, RunState


def test_a_run_says_what_it_is(api, fresh):
    with artfs.init(project="demo", job_type="train", name="first try", config={"lr": 0.1, "sizes": (1, 2)}) as run:
        assert artfs.run is run
        found = api.run(f"me/demo/{run.id}")
        assert (found.name, found.entity, found.project, found.job_type) == ("first try", "me", "demo", "train")
        assert dict(found.config) == {"lr": 0.1, "sizes": [1, 2]}
        assert (found.state, found.exit_code, found.finished_at) == ("running", None, None)
        assert found.metadata["command"][0] == sys.executable
        assert found.path == f"me/demo/{run.id}"
    found = api.run(f"demo/{run.id}")
    assert (found.state, found.exit_code) == ("finished", 0)
    assert found.created_at < found.finished_at
    assert artfs.run is None


def test_config_is_recorded_as_it_is_set(api, fresh):
    with artfs.init(project="demo", config={"a": 1}) as run:
        run.config["b"] = 2
        run.config.update({"c": 3}, d=4)
        del run.config["a"]
        assert run.config.b == 2
        with pytest.raises(AttributeError):
            _ = run.config.a
        assert dict(api.run(f"demo/{run.id}").config) == {"b": 2, "c": 3, "d": 4}


def test_what_another_process_records_of_a_run_stays(api, fresh):
    """As a worker of the run does, a process that has joined it, or a user who gives it a name."""
    with artfs.init(project="demo", id="r", config={"a": 1, "old": 0}) as run:
        other = api.run("demo/r")
        other.config["b"] = 2
        other.name = "renamed"
        run.config["c"] = 3
        assert dict(run.config) == {"a": 1, "old": 0, "b": 2, "c": 3}
        del other.config["old"]
        with pytest.raises(KeyError, match="nothing"):
            del run.config["nothing"]
        other.config.update(d=4)
    found = api.run("demo/r")
    assert (found.name, found.state) == ("renamed", "finished")
    assert dict(found.config) == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_a_value_that_somebody_else_has_changed_is_a_conflict_that_can_be_looked_at(api, fresh):
    with artfs.init(project="demo", id="r", config={"n": 1, "own": 0}) as run:
        other = api.run("demo/r")
        other.config["n"] += 1
        with pytest.raises(ConflictError, match="config 'n'"):
            run.config.update(n=run.config["n"] + 5, own=1)
        assert dict(run.config) == {"n": 2, "own": 0}
        run.config["n"] += 1
        with pytest.raises(ConflictError, match="config 'n'"):
            del other.config["n"]
        other.name = "theirs"
        with pytest.raises(ConflictError, match="name"):
            run.name = "mine"
    assert api.run("demo/r").config == {"n": 3, "own": 0}


def test_no_value_is_lost_when_several_set_theirs_at_once(api, fresh):
    with artfs.init(project="demo", id="r") as run:
        others = [artfs.Api(project="demo").run("r") for _ in range(3)]

        def fill(number):
            for step in range(8):
                others[number].config[f"{number}.{step}"] = step

        threads = [threading.Thread(target=fill, args=[number]) for number in range(3)]
        for thread in threads:
            thread.start()
        run.name = "renamed"
        for thread in threads:
            thread.join()
        for other in others:
            other.client.close()
    found = api.run("demo/r")
    assert dict(found.config) == {f"{number}.{step}": step for number in range(3) for step in range(8)}
    assert (found.name, found.state) == ("renamed", "finished")


def test_an_artifact_that_was_deleted_since_it_was_looked_up_is_not_used(api, log):
    artifact = log()
    api.artifact("demo/data").delete(delete_aliases=True)
    with artfs.init(project="demo") as run:
        with pytest.raises(VersionDeletedError, match="me/demo/data"):
            run.use_artifact(artifact)
        assert list(run.used_artifacts()) == []


def test_a_block_that_raises_makes_the_run_failed(api, fresh):
    with pytest.raises(RuntimeError), artfs.init(project="demo") as run:
        raise RuntimeError
    assert api.run(f"demo/{run.id}").state == "failed"
    assert api.run(f"demo/{run.id}").exit_code == 1


@pytest.mark.parametrize(
    ("code", "recorded", "state"), [(0, 0, "finished"), (3, 3, "failed"), (None, 0, "finished"), ("words", 1, "failed")]
)
def test_a_block_that_exits_has_its_code(api, fresh, code, recorded, state):
    with pytest.raises(SystemExit), artfs.init(project="demo") as run:
        raise SystemExit(code)
    assert (api.run(f"demo/{run.id}").exit_code, api.run(f"demo/{run.id}").state) == (recorded, state)


def test_init_while_a_run_goes_on_returns_that_run(fresh):
    run = artfs.init(project="demo")
    assert artfs.init(project="other") is run


def test_an_id_that_exists_goes_on_with_that_run(api, fresh):
    with artfs.init(project="demo", id="mine", config={"a": 1}) as run:
        first = run.created_at
    with artfs.init(project="demo", id="mine", config={"b": 2}) as run:
        assert (run.created_at, run.state, dict(run.config)) == (first, "running", {"a": 1, "b": 2})
    assert [one.id for one in api.runs("demo")] == ["mine"]


def test_the_run_of_the_environment_is_joined_and_left_to_who_has_begun_it(api, fresh, monkeypatch, log):
    with artfs.init(project="demo", id="outer"):
        pass
    monkeypatch.setenv("ARTFS_RUN", "me/demo/outer")
    with artfs.init() as run:
        assert run.path == "me/demo/outer"
        run.change(RunChange(progress=RunProgress(RunState.RUNNING)))
    assert api.run("demo/outer").state == "running"
    with artfs.init(project="else") as other:
        assert other.project == "else"


def test_a_run_of_the_environment_that_is_not_there_is_an_error(fresh, monkeypatch):
    monkeypatch.setenv("ARTFS_RUN", "me/demo/nothing")
    with pytest.raises(InvalidInputError, match="me/demo/nothing"):
        artfs.init()


def test_the_project_of_the_environment(fresh, monkeypatch, place):
    monkeypatch.setenv("ARTFS_PROJECT", "chosen")
    with artfs.init() as run:
        assert run.project == "chosen"


def test_the_project_of_one_run_is_not_that_of_the_next(fresh):
    with artfs.init(project="demo") as run:
        assert run.project == "demo"
    with artfs.init() as run:
        assert run.project == "uncategorized"
    assert artfs.Api().client.default_project == "uncategorized"


def test_use_and_log_need_a_run(fresh):
    for call in (lambda: artfs.use_artifact("data"), lambda: artfs.log_artifact(artfs.Artifact("data", "dataset"))):
        with pytest.raises(ValueError, match=r"artfs\.init\(\)"):
            call()


def test_use_artifact_by_every_kind_of_name(api, log, monkeypatch):
    log()
    with artfs.init(project="demo") as run:
        for name in ("data", "data:v0", "data:latest", "demo/data:v0", "me/demo/data"):
            assert run.use_artifact(name, type="dataset").qualified_name == "me/demo/data:v0"
        assert [one.name for one in run.used_artifacts()] == ["data:v0"]
        with pytest.raises(ValueError, match="of type 'dataset', not 'model'"):
            run.use_artifact("data", type="model")
        with pytest.raises(NotFoundError):
            run.use_artifact("nothing")


def test_use_artifact_of_a_new_one_logs_it(api, fresh, place):
    artifact = artfs.Artifact("data", "dataset")
    with artfs.init(project="demo") as run:
        assert run.use_artifact(artifact, aliases=["prod"]).version == "v0"
        assert artifact.aliases == ["latest", "prod"]
        assert [one.name for one in run.logged_artifacts()] == [one.name for one in run.used_artifacts()] == ["data:v0"]


def test_log_artifact_of_paths_and_uris(api, fresh, place):
    (place / "dir").mkdir()
    (place / "dir/f").write_bytes(b"f")
    with artfs.init(project="demo", id="r1") as run:
        one = run.log_artifact("dir/f", name="model", type="model").wait()
        other = run.log_artifact("dir/").wait()
        third = run.log_artifact((place / "dir").as_uri(), name="ref").wait()
        with pytest.raises(ValueError, match="no file, directory or URI"):
            run.log_artifact("nothing")
    assert (one.name, one.type, list(one.manifest.entries)) == ("model:v0", "model", ["f"])
    assert (other.name, other.type, list(other.manifest.entries)) == ("run-r1-dir:v0", "unspecified", ["f"])
    assert third.manifest.entries["f"].ref == (place / "dir/f").as_uri()


def test_log_artifact_with_aliases_and_again(api, log):
    artifact = log(aliases=["a"])
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact, aliases=["b"], tags=["t"])
    assert api.artifact("demo/data:b").aliases == ["a", "b", "latest"]
    assert api.artifact("demo/data:b").tags == ["t"]


@pytest.mark.parametrize("alias", ["v3", "a/b", "a:b", ""])
def test_log_artifact_refuses_aliases_that_cannot_be(fresh, alias):
    artifact = artfs.Artifact("data", "dataset")
    with artfs.init(project="demo") as run, pytest.raises(ValueError, match="alias"):
        run.log_artifact(artifact, aliases=[alias])


@pytest.mark.parametrize("name", [3, None, b"best"])
def test_what_is_no_name_is_refused_as_an_alias_or_a_tag(fresh, name):
    with artfs.init(project="demo") as run:
        for what in ("aliases", "tags"):
            with pytest.raises(ValueError, match="lists of names"):
                run.log_artifact(artfs.Artifact("data", "dataset"), **{what: [name]})


def test_a_draft_from_another_client_of_the_same_registry_is_logged(api, log, place):
    log(files={"a": b"1"})
    draft = artfs.Api(project="demo").artifact("data").new_draft()
    with draft.new_file("b") as file:
        file.write("2")
    with artfs.init(project="demo") as run:
        assert run.log_artifact(draft).wait().version == "v1"
    assert sorted(api.artifact("demo/data:v1").manifest.entries) == ["a", "b"]
    assert draft.logged_by().id == run.id


def test_an_artifact_is_logged_in_the_registry_of_its_run(api, fresh, tmp_path):
    """Made before the run has begun, when no other registry was known: without files it goes along, with files it cannot."""
    empty, full = artfs.Artifact("empty", "dataset", metadata={"k": 1}), artfs.Artifact("full", "dataset")
    with full.new_file("f") as file:
        file.write("x")
    with artfs.init(project="demo", registry=f"sqlite:///{tmp_path}/other.sqlite") as run:
        run.log_artifact(empty).wait()
        with pytest.raises(ValueError, match="another registry"):
            run.log_artifact(full)
    assert empty.logged_by().id == run.id
    assert artfs.Artifact(run.client, "me", "demo", "empty:v0").metadata == {"k": 1}
    assert not api.artifact_exists("demo/empty")
    run.client.close()


def test_link_artifact(api, fresh):
    with artfs.init(project="demo") as run:
        linked = run.link_artifact(artfs.Artifact("data", "dataset"), "portfolio/models", aliases=["prod"])
    assert linked.qualified_name == "me/portfolio/models:v0"
    assert api.artifact("portfolio/models:prod").logged_by().id == run.id


def run_python(code, place, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=place, capture_output=True, text=True, timeout=60, **kwargs
    )


def test_a_program_that_ends_waits_for_what_it_has_logged_and_finishes_its_run(api, fresh, place):
    done = run_python(
        """
        import artfs
        run = artfs.init(project="demo", id="r")
        artifact = artfs.Artifact("data", "dataset")
        with artifact.new_file("f") as f: f.write("x")
        run.log_artifact(artifact)
        """,
        place,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert api.run("demo/r").state == "finished"
    assert api.artifact("demo/data:v0").logged_by().id == "r"


def test_a_program_that_ends_with_an_error_makes_its_run_failed(api, fresh, place):
    done = run_python("import artfs; artfs.init(project='demo', id='r'); 1 / 0", place)
    assert done.returncode == 1
    assert (api.run("demo/r").state, api.run("demo/r").exit_code) == ("failed", 1)


@pytest.mark.parametrize(
    ("ending", "code", "state"),
    [
        ("sys.exit(3)", 3, "failed"),
        ("sys.exit('words')", 1, "failed"),
        ("sys.exit()", 0, "finished"),
        ("threading.Thread(target=sys.exit, args=(3,)).start()", 0, "finished"),
    ],
)
def test_a_program_that_calls_exit_has_its_code(api, fresh, place, ending, code, state):
    done = run_python(f"import artfs, sys, threading; artfs.init(project='demo', id='r'); {ending}", place)
    assert done.returncode == code
    assert (api.run("demo/r").state, api.run("demo/r").exit_code) == (state, code)


def test_an_error_at_a_prompt_does_not_make_the_run_failed(api, fresh, place):
    typed = "import artfs\nrun = artfs.init(project='demo', id='r')\n1 / 0\n"
    done = subprocess.run([sys.executable, "-i"], cwd=place, input=typed, capture_output=True, text=True, timeout=60)
    assert "ZeroDivisionError" in done.stderr
    assert api.run("demo/r").state == "finished"


def test_a_program_whose_logging_fails_says_so_at_its_end(api, log, place):
    log(kind="model")
    done = run_python(
        "import artfs; artfs.init(project='demo', id='r').log_artifact(artfs.Artifact('data', 'dataset'))", place
    )
    assert "type 'model'" in done.stderr
    assert ".staging/" in done.stderr
    assert api.run("demo/r").state == "failed"


def test_a_program_that_is_killed_leaves_a_crashed_run(api, fresh, place):
    done = run_python("import artfs, os; artfs.init(project='demo', id='r'); os.kill(os.getpid(), 9)", place)
    assert done.returncode == -9
    assert api.run("demo/r").state == "crashed"
    assert api.run("demo/r").info.state.value == "running"
    artifact = artfs.Artifact("data", "dataset")
    artifact.log(api.run("demo/r"))
    artifact.wait()
    shown = subprocess.run(
        [sys.executable, "-m", "artfs.cli", "lineage", "demo/data"], capture_output=True, text=True, check=True
    )
    assert "run me/demo/r crashed" in shown.stdout


def test_a_running_program_is_not_crashed(api, fresh):
    with artfs.init(project="demo") as run:
        assert api.run(f"demo/{run.id}").state == "running"


def test_a_run_of_another_boot_or_machine_is_believed(api, fresh):
    with artfs.init(project="demo") as run:
        process = {**run.metadata["process"], "pid": 1, "boot": "another"}
        run.change(RunChange(metadata={**run.metadata, "process": process}))
        assert api.run(f"demo/{run.id}").state == "running"


def test_api_runs(api, fresh):
    for number in range(3):
        with artfs.init(project="demo", id=f"r{number}"):
            pass
    assert [run.id for run in api.runs(path="me/demo")] == ["r0", "r1", "r2"]
    assert [run.id for run in api.runs("demo", order="-created_at", per_page=1)[:2]] == ["r2", "r1"]
    assert len(api.runs("demo")) == 3
    with pytest.raises(NotFoundError):
        api.runs("nothing")
    with pytest.raises(NotFoundError):
        api.run("demo/r9")


def test_what_is_recorded_is_json(api, fresh):
    with artfs.init(project="demo", config={"path": os.curdir}) as run:
        json.dumps(api.run(f"demo/{run.id}").metadata)
