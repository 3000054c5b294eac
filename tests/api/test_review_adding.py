"""What a hostile review of adding files and logging them has found: nothing hangs, nothing is left out, nothing is left behind."""

import concurrent.futures
import datetime
import errno
import gc
import multiprocessing
import os
import socket
import threading

import pytest

import artfs
from artfs.api import building
from artfs.errors import (
    ArtifactFinalizedError,
    BusyError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    VersionDeletedError,
)
from artfs.staging import snapshot
from artfs.staging.commit import Committer
from tests.harness import tree_of


def drafts(tmp_path):
    return list((tmp_path / "data/drafts").glob("*/*"))


def put(artifact, path, text="x"):
    with artifact.new_file(path) as file:
        file.write(text)


# add_dir ------------------------------------------------------------------------------------------------------------


def test_add_dir_refuses_a_fifo_at_once(fresh, place):
    (place / "d").mkdir()
    os.mkfifo(place / "d/fifo")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        adding = pool.submit(artfs.Artifact("data", "dataset").add_dir, place / "d")
        try:
            with pytest.raises(InvalidInputError, match="d/fifo is a device, a socket or a fifo"):
                adding.result(timeout=60)
        finally:
            if not adding.done():  # let the thread go that waits for a writer
                os.close(os.open(place / "d/fifo", os.O_RDWR))


def test_add_dir_says_what_it_cannot_add(fresh, place):
    (place / "sockets").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place / "sockets/s"))
        with pytest.raises(InvalidInputError, match="sockets/s is a device, a socket or a fifo"):
            artfs.Artifact("data", "dataset").add_dir(place / "sockets")
    (place / "links").mkdir()
    (place / "links/l").symlink_to("nowhere")
    with pytest.raises(InvalidInputError, match="links/l is a symlink to nowhere"):
        artfs.Artifact("data", "dataset").add_dir(place / "links")


def test_add_dir_does_not_leave_out_what_it_may_not_list(fresh, place, monkeypatch):
    (place / "d/secret").mkdir(parents=True)
    (place / "d/a").touch()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("/secret"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionDeniedError, match="d/secret cannot be listed"):
        artfs.Artifact("data", "dataset").add_dir(place / "d")


def test_a_file_that_vanishes_while_it_is_added_is_not_found(fresh, place, monkeypatch):
    (place / "a").touch()

    def clone(source, *_):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(source))

    monkeypatch.setattr(snapshot, "clone", clone)
    with pytest.raises(NotFoundError, match="a is not there any more"):
        artfs.Artifact("data", "dataset").add_file(place / "a")


def test_when_one_file_fails_the_others_stop_at_their_next_piece(fresh, place, monkeypatch):
    (place / "d").mkdir()
    for name in "ab":
        (place / "d" / name).touch()
    stopped = threading.Event()

    def copy(source, target, check):
        if source.name == "a":
            raise NotFoundError("a")
        while not stopped.wait(0.01):
            try:
                check()
            except BaseException:
                stopped.set()
                raise

    monkeypatch.setattr(building, "copy_file", copy)
    threading.Timer(10, stopped.set).start()
    with pytest.raises(NotFoundError):
        artfs.Artifact("data", "dataset").add_dir(place / "d")
    assert stopped.is_set()


def test_a_file_whose_adding_is_interrupted_is_not_in_the_version(fresh, monkeypatch):
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "a")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(building, "hash_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(artifact, "b")
    artfs.init(project="demo").log_artifact(artifact).wait()
    assert list(artifact.manifest.entries) == ["a"]


def test_a_file_may_be_added_where_a_directory_was_removed(fresh):
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "p/q/r")
    put(artifact, "s/t")
    artifact.remove("p")
    put(artifact, "p")
    with pytest.raises(ValueError, match="'s' is a directory"):
        put(artifact, "s")
    assert list(artfs.init(project="demo").log_artifact(artifact).wait().manifest.entries) == ["p", "s/t"]


# What is left behind --------------------------------------------------------------------------------------------------


def test_artifacts_that_are_let_go_of_leave_neither_files_nor_descriptors(fresh, tmp_path):
    for number in range(20):
        put(artfs.Artifact(f"data-{number}", "dataset"), "f")
        gc.collect()
    assert len(drafts(tmp_path)) <= 2


def test_what_is_not_logged_is_removed_at_the_end_of_the_program(fresh, tmp_path):
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "f")
    assert len(drafts(tmp_path)) == 1
    fresh.client.close()
    assert drafts(tmp_path) == []


@pytest.mark.usefixtures("place")
def test_a_failed_artifact_that_is_let_go_of_stays_as_a_draft(log, fresh, tmp_path):
    log(kind="model")
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "weights", "hours of work")
    with pytest.raises(ValueError, match="type"):
        artfs.init(project="demo").log_artifact(artifact).wait()
    fresh.run._logging.clear()
    del artifact
    gc.collect()
    put(artfs.Artifact("other", "dataset"), "f")
    (tree,) = (draft / "tree" for draft in drafts(tmp_path) if (draft / "tree/weights").exists())
    assert tree_of(tree) == {"weights": b"hours of work"}


# Logging -------------------------------------------------------------------------------------------------------------


def test_only_one_of_many_threads_logs_an_artifact(fresh):
    run = artfs.init(project="demo")
    for number in range(5):
        artifact = artfs.Artifact(f"data-{number}", "dataset")
        put(artifact, "f")
        barrier = threading.Barrier(4)

        def log(artifact=artifact, barrier=barrier):
            barrier.wait()
            try:
                run.log_artifact(artifact)
            except ArtifactFinalizedError:
                return 0
            return 1

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = [pool.submit(log) for _ in range(4)]
        assert [one.result() for one in done].count(1) >= 1
        assert artifact.wait().version == "v0"


def test_a_file_cannot_slip_in_while_the_artifact_is_logged(fresh, monkeypatch):
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "a")
    frozen = threading.Event()
    freeze, run = Committer.freeze, Committer.run

    def slow(*arguments):
        frozen.set()
        return freeze(*arguments)

    monkeypatch.setattr(Committer, "freeze", slow)
    monkeypatch.setattr(Committer, "run", lambda *arguments: frozen.wait(10) and run(*arguments))
    opened = artifact.new_file("b")
    file = opened.__enter__()
    file.write("late")
    artfs.init(project="demo").log_artifact(artifact)
    with pytest.raises(ArtifactFinalizedError):
        opened.__exit__(None, None, None)
    assert list(artifact.wait().manifest.entries) == ["a"]


def test_one_alias_may_be_given_as_it_is(fresh, log):
    run = artfs.init(project="demo")
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "f")
    artifact = run.log_artifact(artifact, aliases="best", tags="good").wait()
    assert (artifact.aliases, artifact.tags) == (["best", "latest"], ["good"])
    assert artifact.link("shown", aliases="prod").aliases == ["latest", "prod"]


def test_an_artifact_that_was_deleted_says_so(log):
    artifact = log()
    artifact.delete(delete_aliases=True)
    assert artifact.state == "DELETED"
    with pytest.raises(VersionDeletedError, match="data:v0 was deleted"):
        artfs.init(project="demo").log_artifact(artifact)


# Values ----------------------------------------------------------------------------------------------------------------


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"k": value}
    return value


def looped():
    value = {}
    value["k"] = value
    return value


@pytest.mark.parametrize("value", [nested(700), nested(5000), looped(), {"n": 10**5000}])
def test_metadata_that_cannot_be_recorded_is_refused_at_once(fresh, value):
    with pytest.raises(InvalidInputError, match="metadata"):
        artfs.Artifact("data", "dataset", metadata=value)
    with pytest.raises(InvalidInputError, match="config"):
        artfs.init(project="demo", config=value)


@pytest.mark.parametrize("value", [5, "1 day", True])
def test_a_ttl_is_a_time(fresh, value):
    artifact = artfs.Artifact("data", "dataset")
    with pytest.raises(InvalidInputError, match="timedelta"):
        artifact.ttl = value
    artifact.ttl = datetime.timedelta(days=1)


@pytest.mark.parametrize("value", [None, "best", [5]])
def test_aliases_that_are_no_names_are_refused(log, value):
    artifact = log()
    with pytest.raises(InvalidInputError, match="list of names"):
        artifact.aliases = value
    artifact.aliases.append(5)
    with pytest.raises(InvalidInputError, match="list of names"):
        artifact.save()


def test_api_takes_the_project_as_a_setting_too(fresh, log):
    log(project="other")
    assert artfs.Api(project="other").artifact("data").project == "other"


# Runs and forks ----------------------------------------------------------------------------------------------------


def test_a_run_is_not_broken_by_a_value_that_cannot_be_recorded(api, fresh, monkeypatch):
    run = artfs.init(project="demo")
    with pytest.raises(InvalidInputError, match="name of a run"):
        run.name = None

    def full(*_):
        raise NoSpaceError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(run.client.registry, "change_run", full)
        with pytest.raises(NoSpaceError):
            run.config["k"] = 1
        with pytest.raises(NoSpaceError):
            run.finish()
    assert artfs.init(project="demo").id != run.id  # it is over, for this process
    assert "k" not in run.config
    run.finish()
    assert api.run(f"demo/{run.id}").state == "finished"


def in_child(target):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=target, args=(results,))
    child.start()
    try:
        return results.get(timeout=120)
    finally:
        child.kill()
        child.join()


def test_a_forked_child_neither_waits_for_the_commits_of_its_parent_nor_ends_its_run(api, fresh, monkeypatch):
    hold = threading.Event()
    run_commit = Committer.run

    def slow(*arguments):
        hold.wait(300)
        return run_commit(*arguments)

    monkeypatch.setattr(Committer, "run", slow)
    run = artfs.init(project="demo")
    artifact = artfs.Artifact("data", "dataset")
    put(artifact, "f")
    run.log_artifact(artifact)

    def child(results):
        try:
            artifact.wait()
        except BusyError as error:
            run.finish()
            results.put(str(error))

    try:
        assert "wait() in the process that logged it" in in_child(child)
        assert api.run(f"demo/{run.id}").state == "running"
    finally:
        hold.set()
    assert artifact.wait().version == "v0"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("a", "a/b"), "'a' as an object and as a directory, which holds 'a/b'"),
        (("a/b/c", "a"), "'a' as an object and as a directory, which holds 'a/b/c'"),
        (("a//b", "a/b"), "two objects for the path 'a/b'"),
    ],
)
def test_add_reference_refuses_a_prefix_that_no_version_can_hold(
    place, gcs_server, monkeypatch, request, keys, message
):
    for name, value in gcs_server.environment().items():
        monkeypatch.setenv(name, value)
    request.getfixturevalue("fresh")
    bucket = gcs_server.client().bucket(gcs_server.bucket())
    for key in keys:
        bucket.blob(f"prefix/{key}").upload_from_string(key.encode())
    artifact = artfs.Artifact("data", "dataset")
    with pytest.raises(ValueError, match=message):
        artifact.add_reference(f"gs://{bucket.name}/prefix")
    assert not artifact.manifest.entries
