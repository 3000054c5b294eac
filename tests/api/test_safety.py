"""The API where programs are hard on it: killed, forked, with threads, in an event loop, without its registry."""

import asyncio
import concurrent.futures
import faulthandler
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

import artfs
from artfs.app import waiting
from artfs.errors import BusyError, UnreachableError
from tests.harness import tree_of, wait_for


def run_python(code, place):
    """Run a program to its end, and return its exit code."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=place, stdout=subprocess.DEVNULL, timeout=60, check=False).returncode


LOGS_AND_IS_KILLED = """
    import os, artfs
    from artfs.staging.commit import Committer
    from artfs.staging.target import StoreTarget
    def die(*_, **__):
        os.kill(os.getpid(), 9)
    {patch}
    run = artfs.init(project="demo", id="r")
    artifact = artfs.Artifact("data", "dataset", metadata={{"k": 1}}, description="d")
    with artifact.new_file("d/f") as f: f.write("content")
    artifact.add_reference("ftp://host/x", name="ref")
    run.log_artifact(artifact, aliases=["best"], tags=["t"])
    artifact.wait()
"""
KILLS = {
    "before the commit begins": "Committer.run = die",
    "when it is hashed": "StoreTarget.store_files = die",
    "when the files are stored": "StoreTarget.store_manifest = die",
    "when it is published": "Committer._record_run = die",
    "when the run is recorded": "Committer._mark = die",
}


@pytest.mark.parametrize("when", KILLS)
def test_a_process_that_is_killed_after_log_artifact_loses_nothing(api, place, when):
    code = run_python(LOGS_AND_IS_KILLED.format(patch=KILLS[when]), place)
    assert code == -signal.SIGKILL
    # The next process that logs something finishes it.
    with artfs.init(project="demo") as run:
        run.log_artifact(artfs.Artifact("other", "dataset"))
    artfs.Api().client.commits.finish()
    found = api.artifact("demo/data:best")
    assert (found.version, found.metadata, found.description, found.tags) == ("v0", {"k": 1}, "d", ["t"])
    assert found.logged_by().id == "r"
    assert sorted(found.manifest.entries) == ["d/f", "ref"]
    assert pathlib.Path(found.get_path("d/f").download()).read_text() == "content"


def test_a_process_that_is_killed_before_log_artifact_leaves_no_rubbish(api, place, tmp_path):
    run_python(
        """
        import os, artfs
        artifact = artfs.Artifact("data", "dataset")
        with artifact.new_file("f") as f: f.write("content")
        os.kill(os.getpid(), 9)
        """,
        place,
    )
    (drafts,) = (tmp_path / "data/drafts").iterdir()
    assert len(list(drafts.iterdir())) == 1
    with artfs.init(project="demo") as run:
        run.log_artifact(artfs.Artifact("other", "dataset"))
    assert list(drafts.iterdir()) == []


def test_what_could_not_be_logged_stays_as_a_draft_when_the_process_ends(api, log, place, tmp_path):
    log(kind="model")
    run_python(
        """
        import artfs
        artifact = artfs.Artifact("data", "dataset")
        with artifact.new_file("weights") as f: f.write("hours of work")
        artfs.init(project="demo").log_artifact(artifact)
        """,
        place,
    )
    (tree,) = (tmp_path / "data/drafts").glob("*/*/tree")
    assert tree_of(tree) == {"weights": b"hours of work"}
    with artfs.init(project="demo") as run:
        run.log_artifact(artfs.Artifact("other", "dataset"))
    assert tree_of(tree) == {"weights": b"hours of work"}


def test_a_failed_artifact_may_be_logged_again(api, log, fresh):
    log(kind="model")
    artifact = artfs.Artifact("data", "dataset")
    with artifact.new_file("f") as file:
        file.write("x")
    run = artfs.init(project="demo")
    run.log_artifact(artifact)
    with pytest.raises(ValueError, match="type"):
        artifact.wait()
    with artifact.new_file("more") as file:
        file.write("y")
    artifact._type = "model"
    run.log_artifact(artifact)
    assert artifact.wait().version == "v1"
    assert sorted(artifact.manifest.entries) == ["f", "more"]


@pytest.mark.expects_warning("does not answer, and is asked again for up to 4 s: ")
def test_a_reference_to_a_server_that_is_away_says_why_it_takes_long(fresh, place, monkeypatch, caplog):
    monkeypatch.setenv("ARTFS_RETRY_SECONDS", "4")
    monkeypatch.setattr(waiting, "PATIENCE", 0.5)
    with pytest.raises(UnreachableError, match="gave up after"):
        artfs.Artifact("data", "dataset").add_reference("http://127.0.0.1:1/x")
    said = [record.getMessage() for record in caplog.records if record.name == waiting.__name__]
    assert len(said) == 1
    assert said[0].startswith("http://127.0.0.1:1 does not answer")
    assert "Connection refused" in said[0]


# Forks ------------------------------------------------------------------------------------------------------------


def read_in_child(name, path, results):
    artifact = artfs.Api().artifact(name)
    results.put((os.getpid(), pathlib.Path(artifact.get_path(path).download(f"child-{os.getpid()}")).read_bytes()))


def in_forked_children(target, arguments, count=3):
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def tell_if_stuck():
        faulthandler.dump_traceback_later(150, exit=True, file=sys.__stderr__)
        target(*arguments, results)
        faulthandler.cancel_dump_traceback_later()

    children = [context.Process(target=tell_if_stuck) for _ in range(count)]
    for child in children:
        child.start()
    found = [results.get(timeout=180) for _ in children]
    for child in children:
        child.join(180)
        assert child.exitcode == 0
    return found


@pytest.mark.parametrize("store", ["files", "s3", "gcs"])
def test_forked_workers_read_as_their_parent_does(place, monkeypatch, request, store):
    """As a DataLoader's workers: the parent has read already, so that every thread and connection is there, and not in the child."""
    if store != "files":
        server = request.getfixturevalue(f"{store}_server")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ARTFS_STORE", f"{'s3' if store == 's3' else 'gs'}://{server.bucket()}/store")
    request.getfixturevalue("fresh")
    artifact = artfs.Artifact("data", "dataset")
    big = os.urandom(3_000_000)
    for path, data in (("first", b"1"), ("big", big)):
        with artifact.new_file(path, "wb") as file:
            file.write(data)
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact)
    reader = artfs.Api(cache_dir=str(place / "cache"))
    reader.artifact("demo/data").get_path("first").download("parent")
    monkeypatch.setenv("ARTFS_CACHE_DIR", str(place / "cache"))
    found = in_forked_children(lambda results: read_big(reader, results), ())
    assert {data for _, data in found} == {big}
    assert reader.artifact("demo/data").get_path("big").download("parent")
    reader.client.close()


def read_big(reader, results):
    path = reader.artifact("demo/data").get_path("big").download(f"child-{os.getpid()}")
    results.put((os.getpid(), pathlib.Path(path).read_bytes()))


def test_a_forked_child_uses_the_run_of_its_parent(api, log):
    log()
    with artfs.init(project="demo") as run:
        in_forked_children(lambda results: results.put(run.use_artifact("data").name), (), count=2)
        assert [one.name for one in run.used_artifacts()] == ["data:v0"]
        assert api.run(f"demo/{run.id}").state == "running"


def test_a_forked_child_cannot_add_to_its_parents_artifact(fresh):
    artifact = artfs.Artifact("data", "dataset")
    with artifact.new_file("f") as file:
        file.write("x")

    def add(results):
        try:
            with artifact.new_file("g") as file:
                file.write("y")
        except BusyError as error:
            results.put(str(error))

    (message,) = in_forked_children(add, (), count=1)
    assert "belongs to the process" in message
    assert list(artifact.manifest.entries) == ["f"]


# Threads, and event loops -----------------------------------------------------------------------------------------


def test_threads_add_to_one_artifact(api, fresh, place):
    artifact = artfs.Artifact("data", "dataset")

    def add(number):
        (place / f"{number}").write_bytes(b"%d" % (number % 7))
        artifact.add_file(place / f"{number}", name=f"d{number % 5}/{number}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(200)))
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact)
    found = tree_of(artifact.download())
    assert {path: data for path, data in found.items() if data is not None} == {
        f"d{number % 5}/{number}": b"%d" % (number % 7) for number in range(200)
    }


def test_digest_and_size_can_be_asked_for_while_another_thread_adds(fresh):
    artifact = artfs.Artifact("data", "dataset")
    with artifact.new_file("f") as file:
        file.write("x")
    entries = artifact._building._entries

    class Watched:
        """An entry during whose look-up another thread has added one."""

        def __getattr__(self, name):
            entries[f"added-{len(entries)}"] = entries["f"]
            return getattr(entries["f"], name)

    entries["watched"] = Watched()
    assert len(artifact.digest) == 32
    assert artifact.size == 2 * len("x") + 1
    assert len(entries) == 4


def test_threads_that_add_the_same_file_add_it_once(api, fresh, place):
    (place / "shared").write_bytes(os.urandom(3_000_000))
    for turn in range(5):
        artifact = artfs.Artifact(f"data-{turn}", "dataset")

        def add(_, artifact=artifact):
            return artifact.add_file("shared", name="d/shared")

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(add, range(8)))) == 1
        with artfs.init(project="demo") as run:
            run.log_artifact(artifact)
        artifact.wait()
        assert tree_of(artifact.download(f"out-{turn}")) == {"d": None, "d/shared": (place / "shared").read_bytes()}


def test_threads_log_and_read_at_once(api, fresh):
    with artfs.init(project="demo") as run:

        def work(number):
            artifact = artfs.Artifact(f"data-{number % 3}", "dataset")
            with artifact.new_file("f") as file:
                file.write(str(number))
            run.log_artifact(artifact).wait()
            return pathlib.Path(artifact.file(f"out-{number}")).read_text()

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(18))) == [str(number) for number in range(18)]
    assert sum(len(api.artifacts("dataset", f"demo/data-{number}")) for number in range(3)) == 18


def test_it_works_inside_of_an_event_loop_as_in_a_notebook(api, log):
    log(files={"a": b"1"})

    async def cell():
        with artfs.init(project="demo") as run:
            artifact = run.use_artifact("data")
            return pathlib.Path(artifact.download()), run.log_artifact(artfs.Artifact("new", "dataset")).wait()

    root, made = asyncio.run(cell())
    assert tree_of(root) == {"a": b"1"}
    assert made.version == "v0"


def test_a_notebook_that_runs_a_cell_again_starts_another_run(api, fresh):
    ids = set()
    for _ in range(2):
        run = artfs.init(project="demo")
        ids.add(run.id)
        artfs.finish()
    assert len(ids) == 2


# Without its registry ---------------------------------------------------------------------------------------------


@pytest.mark.expects_warning("the registry is away")
def test_a_registry_that_is_away_is_one_clear_error(place, monkeypatch, request):
    monkeypatch.setenv("ARTFS_REGISTRY", "postgresql://nobody@127.0.0.1:9/none")
    request.getfixturevalue("fresh")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1"):
        artfs.Api().artifact("demo/data")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1"):
        artfs.init()


def test_a_commit_goes_on_in_a_mount_after_the_process_has_died(api, place, tmp_path):
    """See also tests/mount: a mount that runs looks for such commits now and then; one that begins does so at once."""
    run_python(LOGS_AND_IS_KILLED.format(patch=KILLS["when it is hashed"]), place)
    done = subprocess.run(
        [sys.executable, "-m", "artfs.cli", "commit", "--resume"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "me/demo/data:v0\n")
    wait_for(lambda: api.artifact_exists("demo/data:best"))
