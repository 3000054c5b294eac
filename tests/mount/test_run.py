"""`artfs run` and a mount: what its processes read is used by the run, what they commit is logged by it."""

import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from artfs.app.client import find_mount, mount_points, request
from artfs.errors import InvalidInputError
from artfs.model.names import CollectionRef
from artfs.model.run import RunState
from artfs.registry.sql.registry import open_registry
from tests.harness import DEADLINE, Artfs, wait_for
from tests.mount.conftest import NOBODY, Call

ARTFS = [sys.executable, "-m", "artfs.cli"]
CLI = shlex.join(ARTFS)


class Runs(Artfs):
    """A mounted artfs with data to read, and what its registry says of runs."""

    def prepare(self, *options):
        self.expected = []
        for name in ("first", "second"):
            (self.root / name).write_text(name)
            self.here("put", self.root / name, "demo/data")
        (self.root / "other").write_text("other")
        self.here("put", self.root / "other", "demo/other:best")
        self.mount(*options)
        return self

    def run_as(self, run, script, code=0, **kwargs):
        """Run a shell script as a run with the id."""
        return self.run("run", "--project", "demo", "--id", run, "--", "sh", "-ec", script, code=code, **kwargs)

    def ask(self, question):
        registry = open_registry(f"sqlite:///{self.root}/data/registry.sqlite", "me")
        try:
            return question(registry)
        finally:
            registry.close()

    def version(self, name, alias="latest"):
        return self.ask(lambda registry: registry.version(CollectionRef("me", "demo", name).at(alias)))

    def used_by(self, name, alias="latest"):
        found = self.version(name, alias)
        return [run.id for run in self.ask(lambda registry: registry.used_by(found.id))]

    def logged_by(self, name, alias="latest"):
        found = self.version(name, alias)
        run = self.ask(lambda registry: registry.logged_by(found.id))
        return None if run is None else run.id

    def all_runs(self):
        return self.ask(lambda registry: {run.id: run for run in registry.runs("me", "demo")})


@pytest.fixture(scope="module")
def artfs(tmp_path_factory):
    found = Runs(tmp_path_factory.mktemp("runs")).prepare()
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture
def fresh(tmp_path):
    found = Runs(tmp_path).prepare()
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


def dying_put(artfs, step, source, name, run):
    """Return the command of a `put` that is killed at a step of its commit."""
    script = f"""
import os, signal
from artfs.app.services import Services
from artfs.cli.main import exit_code
plain = Services.committer
def on_step(name):
    if name == {step!r}:
        os.kill(os.getpid(), signal.SIGKILL)
Services.committer = lambda self, **options: plain(self, on_step, **options)
exit_code(["put", {str(source)!r}, {name!r}])
"""
    environment = artfs.environment | {"ARTFS_RUN": f"me/demo/{run}"}
    return subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True, text=True)


# Reading ----------------------------------------------------------------------------------------------------------


def test_what_a_command_reads_is_used_by_its_run(artfs):
    done = artfs.run_as("cat", f"cat {artfs.collection()}/v0/first")
    assert done.stdout == "first"
    assert artfs.used_by("data", "v0") == ["cat"]
    assert "cat" not in artfs.used_by("data", "v1")
    run = artfs.all_runs()["cat"]
    assert (run.state, run.exit_code) == (RunState.FINISHED, 0)


def test_an_alias_stands_for_its_version(artfs):
    artfs.run_as("alias", f"cat {artfs.collection('other')}/best/other")
    assert "alias" in artfs.used_by("other", "v0")


def test_the_whole_tree_of_processes_counts(artfs):
    read = f"import subprocess; subprocess.run(['cat', '{artfs.collection()}/v1/second'], check=True)"
    script = f"(cat {artfs.collection()}/v0/* | tr f F | cat) & wait; {sys.executable} -c {shlex.quote(read)}"
    done = artfs.run_as("tree", script)
    assert done.stdout == "Firstsecond"
    assert "tree" in artfs.used_by("data", "v0")
    assert "tree" in artfs.used_by("data", "v1")
    assert "tree" not in artfs.used_by("other")


def test_a_thread_and_a_forked_worker_count(artfs):
    script = f"""
import os, threading
thread = threading.Thread(target=lambda: open('{artfs.collection()}/v0/first').read())
thread.start(); thread.join()
if os.fork() == 0:
    open('{artfs.collection("other")}/v0/other').read()
    os._exit(0)
os.wait()
"""
    artfs.run_as("thread", f"exec {sys.executable} -c {shlex.quote(script)}")
    assert "thread" in artfs.used_by("data", "v0")
    assert "thread" in artfs.used_by("other")


def test_two_runs_at_once_are_kept_apart(artfs):
    start = [
        artfs.start("run", "--project", "demo", "--id", run, "--", "sh", "-c", f"cat {artfs.collection()}/{version}/*")
        for run, version in (("left", "v0"), ("right", "v1"))
    ]
    for process in start:
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
    assert {"left", "right"} & set(artfs.used_by("data", "v0")) == {"left"}
    assert {"left", "right"} & set(artfs.used_by("data", "v1")) == {"right"}


def test_looking_around_is_not_using(artfs):
    script = f"find {artfs.mountpoint} -ls; stat {artfs.collection()}/v0/first; cat {artfs.collection()}/v0/.artfs/*"
    artfs.run_as("look", f"{{ {script}; }} > /dev/null")
    assert not [name for name in ("data", "other") if "look" in artfs.used_by(name, "v0")]


def test_reading_without_a_run_or_with_what_is_no_run_is_nothing(artfs):
    before = artfs.used_by("data", "v0")
    for value in (None, "", "x", "me/demo", "me/demo/unknown", "me/demo/unknown/x", "\x01/b/c"):
        environment = os.environ | ({} if value is None else {"ARTFS_RUN": value})
        command = ["cat", artfs.collection() / "v0/first"]
        assert subprocess.run(command, env=environment, check=True, capture_output=True).stdout == b"first"
    artfs.run_as("after", "true")  # the mount has written down what it has seen
    assert artfs.used_by("data", "v0") == before


def test_a_use_is_written_down_while_the_run_goes_on(artfs):
    process = artfs.start("run", "--project", "demo", "--id", "long", "--", "sh", "-c",
                          f"cat {artfs.collection()}/v1/second; echo; read x")  # fmt: skip
    assert process.stdout.readline() == "second\n"
    wait_for(lambda: "long" in artfs.used_by("data", "v1"))
    process.communicate(timeout=DEADLINE)
    wait_for(lambda: b"me/demo/long" in os.getxattr(artfs.collection() / "v1", "user.artfs.used_by"))


def test_a_program_that_lies_in_a_mount_is_used_by_the_run_that_starts_it(artfs):
    shutil.copy(shutil.which("true"), artfs.root / "tool")
    artfs.here("put", artfs.root / "tool", "demo/tool")
    artfs.run("run", "--project", "demo", "--id", "tool", "--", artfs.collection("tool") / "latest/tool")
    assert artfs.used_by("tool") == ["tool"]
    artfs.run_as("path", f"PATH={artfs.collection('tool')}/v0; tool")
    assert artfs.used_by("tool") == ["tool", "path"]


def test_a_read_only_mount_has_lineage_too(tmp_path):
    found = Runs(tmp_path).prepare("-o", "ro")
    try:
        found.run_as("ro", f"cat {found.collection()}/v0/first")
        assert found.used_by("data", "v0") == ["ro"]
    finally:
        found.close()


def test_another_user_has_no_lineage(as_root, open_path):
    root = open_path / "artfs"
    root.mkdir()
    found = Runs(root).prepare("-o", "allow_other")
    try:
        found.run_as("mine", "true")
        command = [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "cat",
            found.collection() / "v0/first",
        ]
        done = subprocess.run(command, env=os.environ | {"ARTFS_RUN": "me/demo/mine"}, check=True, capture_output=True)
        assert done.stdout == b"first"
        found.run_as("other", f"cat {found.collection()}/v1/second")
        assert (found.used_by("data", "v0"), found.used_by("data", "v1")) == ([], ["other"])
    finally:
        found.close()


def test_uses_that_the_registry_has_not_taken_are_kept_and_told_of(fresh):
    fresh.run_as("held", "true")
    command = ["cat", fresh.collection() / "v0/first"]
    with fresh.held_registry():
        subprocess.run(command, env=os.environ | {"ARTFS_RUN": "me/demo/held"}, check=True, capture_output=True)
        assert fresh.used_by("data", "v0") == []
    wait_for(lambda: fresh.used_by("data", "v0") == ["held"])


def test_a_mount_that_is_asked_to_record_answers_when_the_registry_has_the_uses(fresh):
    fresh.run_as("held", "true")
    command = ["cat", fresh.collection() / "v0/first"]
    live = find_mount(str(fresh.mountpoint))
    with fresh.held_registry():
        subprocess.run(command, env=os.environ | {"ARTFS_RUN": "me/demo/held"}, check=True, capture_output=True)
        call = Call(lambda: list(request(live.socket, {"op": "record"})))
        with pytest.raises(TimeoutError):
            call.result(0.5)
    assert call.result() == [{"result": {"waiting": 0, "reason": None}}]
    assert fresh.used_by("data", "v0") == ["held"]


def test_uses_are_written_down_before_the_mount_ends(fresh):
    fresh.run_as("last", "true")
    with fresh.held_registry():
        for version in ("v0/first", "v1/second"):
            command = ["cat", fresh.collection() / version]
            subprocess.run(command, env=os.environ | {"ARTFS_RUN": "me/demo/last"}, check=True, capture_output=True)
        process = fresh.start("umount", fresh.mountpoint)
        wait_for(lambda: fresh.mountpoint not in [path for path, _ in mount_points()])
    process.communicate(timeout=DEADLINE)
    assert (fresh.used_by("data", "v0"), fresh.used_by("data", "v1")) == (["last"], ["last"])


# Commits ----------------------------------------------------------------------------------------------------------


def test_mv_into_the_commit_directory_is_logged_by_the_run(artfs):
    place = artfs.collection("moved")
    script = f"""
mkdir -p {place}/.staging/x
cp {artfs.collection()}/v0/first {place}/.staging/x/
mv {place}/.staging/x {place}/.commit/good
"""
    artfs.run_as("mv", script)
    wait_for(lambda: (place / "good").exists())
    wait_for(lambda: os.listdir(place / ".commit") == [], "the end of the commit")
    assert artfs.logged_by("moved", "good") == "mv"
    assert "mv" in artfs.used_by("data", "v0")
    assert os.getxattr(place / "good", "user.artfs.logged_by") == b"me/demo/mv"


def test_the_commit_command_put_and_get_are_lineage(artfs, tmp_path):
    place = artfs.collection("command")
    script = f"""
mkdir -p {place}/.staging/x
echo text > {place}/.staging/x/f
{CLI} commit {place}/.staging/x
{CLI} get demo/other {tmp_path}/out
{CLI} put {tmp_path}/out demo/again
"""
    done = artfs.run_as("commit", script)
    assert done.stdout.split() == ["me/demo/command:v0", f"{tmp_path}/out", "me/demo/again:v0"]
    assert (artfs.logged_by("command"), artfs.logged_by("again")) == ("commit", "commit")
    assert "commit" in artfs.used_by("other")


def test_a_commit_without_a_run_is_logged_by_none(artfs):
    draft = artfs.draft(collection="plain")
    (draft / "f").write_text("1")
    artfs.commit(draft)
    assert artfs.logged_by("plain") is None


def test_a_commit_of_a_run_that_does_not_exist_warns(artfs):
    draft = artfs.draft(collection="unknown")
    (draft / "f").write_text("1")
    artfs.environment["ARTFS_RUN"] = "me/demo/nobody"
    try:
        done = artfs.run("commit", draft)
    finally:
        del artfs.environment["ARTFS_RUN"]
    assert done.stdout == "me/demo/unknown:v0\n"
    assert "it is not recorded that run me/demo/nobody logged the version" in done.stderr
    assert artfs.logged_by("unknown") is None


@pytest.mark.parametrize("run", ["x", "me/demo", 1, ["a"]])
def test_a_commit_message_with_something_else_than_a_run_is_refused(artfs, run):
    draft = artfs.draft(name=f"refused-{type(run).__name__}-{len(str(run))}", collection="refused")
    (draft / "f").write_text("1")
    live = find_mount(str(artfs.mountpoint))
    message = {"op": "commit", "collection": "me/demo/refused", "draft": draft.name, "run": run}
    with pytest.raises(InvalidInputError):
        list(request(live.socket, message))
    assert (draft / "f").read_text() == "1"


def test_a_run_that_is_killed_by_a_signal_has_its_uses(artfs):
    script = f"cat {artfs.collection()}/v0/first; echo; kill -9 $$"
    artfs.run_as("killed", script, code=128 + signal.SIGKILL)
    assert "killed" in artfs.used_by("data", "v0")
    assert artfs.all_runs()["killed"].state == RunState.KILLED


# Commits whose process has died -----------------------------------------------------------------------------------


def test_the_commit_of_a_killed_process_is_finished_by_a_running_mount(fresh):
    fresh.run_as("dead", "true")
    source = fresh.root / "source"
    source.mkdir()
    (source / "f").write_text("content")
    kept = fresh.draft("kept", collection="orphan")
    (kept / "g").write_text("1")
    assert dying_put(fresh, "stored", source, "demo/orphan", "dead").returncode == -signal.SIGKILL
    wait_for(lambda: (fresh.collection("orphan") / "v0/f").exists())
    wait_for(lambda: os.listdir(fresh.collection("orphan") / ".commit") == [], "the end of the commit")
    assert (fresh.collection("orphan") / "latest/f").read_text() == "content"
    assert fresh.logged_by("orphan") == "dead"
    assert os.listdir(fresh.collection("orphan") / ".staging") == ["kept"]
    assert (kept / "g").read_text() == "1"
