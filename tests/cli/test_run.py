"""`artfs run` without a mount: what is recorded, exit codes, signals, what the child gets, `put` and `get` inside."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from artfs.api.liveness import is_running
from artfs.app.runs import current_run, describe_process, new_run_id
from artfs.model.names import CollectionRef, RunRef
from artfs.model.run import RunState
from artfs.registry.sql.registry import open_registry
from tests.harness import wait_for

PYTHON = sys.executable
ARTFS = [sys.executable, "-m", "artfs.cli"]
LINE = re.compile(r"artfs: run (me/\S+/([a-z0-9]{8}))\n")


@contextlib.contextmanager
def registry_of(artfs, data="data"):
    registry = open_registry(f"sqlite:///{artfs.root}/{data}/registry.sqlite", "me")
    try:
        yield registry
    finally:
        registry.close()


def runs(artfs, project="uncategorized", **where):
    with registry_of(artfs, **where) as registry:
        return registry.runs("me", project)


def only_run(artfs, **where):
    (found,) = runs(artfs, **where)
    return found


def version(artfs, name, **where):
    with registry_of(artfs, **where) as registry:
        return registry.version(CollectionRef("me", "demo", name).at("latest"))


def lineage(artfs, name):
    """Return the run that logged the latest version of a collection, and those that used it, by their ids."""
    found = version(artfs, name)
    with registry_of(artfs) as registry:
        logged_by = registry.logged_by(found.id)
        return None if logged_by is None else logged_by.id, [run.id for run in registry.used_by(found.id)]


# What is recorded -------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_with_what_is_known_of_it(cli):
    done = cli.run(
        "run", "--project", "demo", "--name", "a name", "--job-type", "train", "--config", '{"lr": 0.1}',
        "--", "sh", "-c", "echo out; echo err >&2", "x", "--flag",
    )  # fmt: skip
    assert done.stdout == "out\n"
    match = LINE.match(done.stderr)
    assert done.stderr == f"{match[0]}err\n"
    run = only_run(cli, project="demo")
    assert (run.path, run.id) == (match[1], match[2])
    assert (run.name, run.job_type, run.config) == ("a name", "train", {"lr": 0.1})
    assert (run.state, run.exit_code) == (RunState.FINISHED, 0)
    assert run.created_at < run.finished_at
    assert run.metadata["command"] == ["sh", "-c", "echo out; echo err >&2", "x", "--flag"]
    assert (run.metadata["cwd"], run.metadata["host"]) == ("/", socket.gethostname())
    assert "git" not in run.metadata


def test_it_is_known_whether_the_process_of_a_run_is_there(cli):
    process = cli.start("run", "--", "sh", "-c", "echo ready; exec sleep 600")
    try:
        assert process.stdout.readline() == "ready\n"
        run = only_run(cli)
        assert run.state == RunState.RUNNING
        assert is_running(run.metadata["process"])
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        process.kill()
        process.wait()
    os.kill(int(child), signal.SIGKILL)
    process.communicate(timeout=120)
    assert only_run(cli).state == RunState.RUNNING
    assert is_running(run.metadata["process"]) is False


def test_what_is_not_said_has_a_default(cli):
    cli.run("run", "true")
    run = only_run(cli)
    assert (run.name, run.job_type, run.config) == (run.id, "", {})
    cli.environment["ARTFS_PROJECT"] = "other"
    cli.run("run", "true")
    assert only_run(cli, project="other").state == RunState.FINISHED


def test_options_of_the_command_are_its_own(cli):
    done = cli.run("run", PYTHON, "-c", "import sys; print(sys.argv[1:])", "--name", "x", "--", "-h")
    assert done.stdout == "['--name', 'x', '--', '-h']\n"


def test_an_id_that_exists_goes_on_and_keeps_what_is_not_said_anew(cli):
    cli.run("run", "--id", "abc", "--name", "n", "--config", '{"a": 1}', "--job-type", "train", "--", "false", code=1)
    first = only_run(cli)
    assert (first.id, first.state, first.exit_code) == ("abc", RunState.FAILED, 1)
    cli.run("run", "--id", "abc", "--", "true")
    second = only_run(cli)
    assert (second.name, second.config, second.job_type) == ("n", {"a": 1}, "train")
    assert (second.created_at, second.state, second.exit_code) == (first.created_at, RunState.FINISHED, 0)
    assert second.metadata["command"] == ["true"]
    assert second.finished_at > first.finished_at


def test_config_can_be_a_file(cli, tmp_path):
    (tmp_path / "c.json").write_text('{"layers": [1, 2]}')
    cli.run("run", "--config", f"@{tmp_path}/c.json", "true")
    assert only_run(cli).config == {"layers": [1, 2]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--project", "a/b"], ["--id", "a/b"], ["--id", ""], ["--config", "{"], ["--config", "[1]"], ["--config", "@/nowhere"], [],
    ],
)  # fmt: skip
def test_what_cannot_be_recorded_is_refused_before_anything_runs(cli, tmp_path, arguments):
    command = ["touch", tmp_path / "ran"] if arguments else []
    done = cli.run("run", *arguments, *command, code=2)
    assert not (tmp_path / "ran").exists()
    assert "Traceback" not in done.stderr


def test_arguments_that_are_not_text_are_recorded_as_far_as_they_can_be(cli):
    done = cli.run("run", "true", "\udcff")
    assert only_run(cli).metadata["command"] == ["true", "\N{REPLACEMENT CHARACTER}"]
    assert LINE.match(done.stderr)


def git(directory, *arguments):
    subprocess.run(
        ["git", "-C", directory, "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_git_is_described_without_credentials(tmp_path, monkeypatch):
    work = tmp_path / "work/below"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    assert "git" not in describe_process(["x"])
    git(work.parent, "init", "-q")
    assert describe_process(["x"])["git"] == {"commit": None, "remote": None, "dirty": False}
    (work / "f").write_text("1")
    git(work, "add", "f")
    git(work, "commit", "-qm", "first")
    git(work, "remote", "add", "upstream", "https://example.org/upstream.git")
    found = describe_process(["x"], python="3.11")
    assert re.fullmatch("[0-9a-f]{40}", found["git"]["commit"])
    assert (found["git"]["remote"], found["git"]["dirty"]) == ("https://example.org/upstream.git", False)
    assert found["python"] == "3.11"
    git(work, "remote", "add", "origin", "https://me:secret@example.org/origin.git")
    (work / "f").write_text("2")
    found = describe_process(["x"])
    assert (found["git"]["remote"], found["git"]["dirty"]) == ("https://example.org/origin.git", True)
    assert "secret" not in json.dumps(found)


def test_without_git_nothing_is_said_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert set(describe_process(["x"])) == {"command", "cwd", "host", "user"}


def test_a_directory_that_is_gone_is_described(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert describe_process(["x"])["cwd"] == ""


def test_ids_are_new_and_like_those_of_wandb():
    found = {new_run_id() for _ in range(1000)}
    assert len(found) == 1000
    assert all(re.fullmatch("[a-z0-9]{8}", one) for one in found)


def test_the_run_of_this_process_is_that_of_its_environment():
    assert current_run({"ARTFS_RUN": "a/b/c"}) == RunRef("a", "b", "c")
    assert current_run({"ARTFS_RUN": "b/c"}) is current_run({"ARTFS_RUN": ""}) is current_run({}) is None


# How it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "state"),
    [
        ("exit 0", 0, RunState.FINISHED),
        ("exit 7", 7, RunState.FAILED),
        ("exit 130", 130, RunState.FAILED),
        ("kill -9 $$", 137, RunState.KILLED),
        ("kill -TERM $$", 143, RunState.KILLED),
    ],
)
def test_the_exit_code_is_that_of_the_command(cli, command, code, state):
    cli.run("run", "sh", "-c", command, code=code)
    run = only_run(cli)
    assert (run.state, run.exit_code) == (state, code)
    assert run.finished_at is not None


def test_a_command_that_cannot_be_started_is_a_failed_run(cli, tmp_path):
    (tmp_path / "file").write_text("#!/bin/sh\n")
    for command, code in (("no-such-command", 127), (tmp_path / "file", 126), (tmp_path, 126)):
        done = cli.run("run", "--id", "x", "--", command, code=code)
        assert f"artfs: {command} cannot be run" in done.stderr
        run = only_run(cli)
        assert (run.state, run.exit_code) == (RunState.FAILED, code)


def test_a_registry_that_is_away_at_the_start_is_an_error_before_anything_runs(cli, tmp_path):
    away = "postgresql://127.0.0.1:1/nothing"
    done = cli.run("run", "--registry", away, "--", "touch", tmp_path / "ran", code=8)
    assert not (tmp_path / "ran").exists()
    assert "artfs: " in done.stderr


def test_a_registry_that_is_away_at_the_end_is_a_warning(cli):
    done = cli.run("run", "sh", "-c", f"mv {cli.root}/data {cli.root}/elsewhere; touch {cli.root}/data; exit 5", code=5)
    run = only_run(cli, data="elsewhere")
    assert (run.state, run.exit_code) == (RunState.RUNNING, None)
    assert f"artfs: warning: it is not recorded that run {run.path} has ended" in done.stderr


WAITING = """
import os, signal, sys, time
got = []
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: got.append(number))
print("ready", os.getpid(), flush=True)
while len(got) < int(sys.argv[2]):
    time.sleep(0.01)
time.sleep(0.2)  # for a signal that comes twice
print(*sorted(signal.Signals(number).name for number in got), flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(("code", "state"), [(0, RunState.FINISHED), (3, RunState.KILLED)])
def test_a_signal_is_passed_on_and_the_run_is_recorded(cli, number, code, state):
    process = cli.start("run", "--", PYTHON, "-c", WAITING, str(code), "2")
    assert process.stdout.readline().startswith("ready")
    process.send_signal(signal.SIGUSR1)
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert out.split() == sorted(["SIGUSR1", number.name])
    assert process.returncode == code
    run = only_run(cli)
    assert (run.state, run.exit_code) == (state, code)


def test_a_signal_that_the_command_does_not_catch_ends_it_and_the_run_is_killed(cli):
    process = cli.start("run", "--", "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert (only_run(cli).state, only_run(cli).exit_code) == (RunState.KILLED, 143)


def test_ctrl_c_reaches_the_command_once_from_the_terminal(cli):
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.execvpe(ARTFS[0], [*ARTFS, "run", "--", PYTHON, "-c", WAITING, "4", "1"], cli.environment)
        finally:
            os._exit(99)
    said = b""
    try:
        while b"ready" not in said:
            said += os.read(master, 1024)
        os.write(master, b"\x03")
        with contextlib.suppress(OSError):  # EIO: the last writer has gone
            while piece := os.read(master, 1024):
                said += piece
    finally:
        os.close(master)
        status = os.waitpid(pid, 0)[1]
    assert said.count(b"SIGINT") == 1
    assert os.waitstatus_to_exitcode(status) == 4
    assert only_run(cli).state == RunState.KILLED


def test_the_command_finds_its_signals_and_its_umask_as_artfs_found_them(cli):
    script = "grep -E '^(SigBlk|SigIgn)' /proc/self/status; umask"
    plain = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, umask=0o027)
    assert cli.run("run", "sh", "-c", script, umask=0o027).stdout == plain.stdout


# What the command gets --------------------------------------------------------------------------------------------


def test_the_command_knows_its_run_and_the_settings_that_flags_gave(cli, tmp_path):
    script = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('ARTFS_')}))"
    before = {name: value for name, value in cli.environment.items() if name.startswith("ARTFS_")}
    done = cli.run("run", "--project", "demo", "--", PYTHON, "-c", script)
    assert json.loads(done.stdout) == before | {"ARTFS_RUN": LINE.match(done.stderr)[1]}
    done = cli.run(
        "run", "--data-dir", tmp_path / "other", "--entity", "we", "--cache-size", "5G", "--", PYTHON, "-c", script
    )
    found = json.loads(done.stdout)
    assert found["ARTFS_DATA_DIR"] == str(tmp_path / "other")
    assert (found["ARTFS_ENTITY"], int(found["ARTFS_CACHE_SIZE"])) == ("we", 5 << 30)
    assert found["ARTFS_RUN"].startswith("we/uncategorized/")


def test_put_and_get_inside_are_lineage(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    assert lineage(cli, "data") == (None, [])
    script = (
        f"{PYTHON} -m artfs.cli get demo/data {tmp_path}/out && {PYTHON} -m artfs.cli put {tmp_path}/out/f demo/made"
    )
    done = cli.run("run", "sh", "-c", script)
    run = LINE.match(done.stderr)[2]
    assert done.stdout == f"{tmp_path}/out\nme/demo/made:v0\n"
    assert lineage(cli, "data") == (None, [run])
    assert lineage(cli, "made") == (run, [])
    cli.run("run", *ARTFS, "put", small / "f", "demo/made")  # nothing new: the first stays
    assert lineage(cli, "made") == (run, [])
    cli.run("run", *ARTFS, "put", small, "demo/data")  # nothing new, but nobody had said so yet
    assert lineage(cli, "data")[0] is not None


def test_put_inside_uses_the_registry_that_a_flag_gave_to_the_run(cli, small, tmp_path):
    cli.run("run", "--data-dir", tmp_path / "other", "--", *ARTFS, "put", small, "demo/data")
    run = only_run(cli, data="other")
    found = version(cli, "data", data="other")
    with registry_of(cli, data="other") as registry:
        assert registry.logged_by(found.id).id == run.id
    assert not (cli.root / "data/registry.sqlite").exists()


def test_a_run_in_a_run_is_another_run(cli, small):
    cli.run("run", "--id", "outer", "--", *ARTFS, "run", "--id", "inner", "--", *ARTFS, "put", small, "demo/data")
    assert sorted(run.id for run in runs(cli)) == ["inner", "outer"]
    assert lineage(cli, "data") == ("inner", [])


def test_put_and_get_of_a_run_that_does_not_exist_warn_and_go_on(cli, small, tmp_path):
    cli.environment["ARTFS_RUN"] = "me/demo/unknown"
    done = cli.run("put", small, "demo/data")
    assert "artfs: warning: it is not recorded that run me/demo/unknown logged the version" in done.stderr
    done = cli.run("get", "demo/data", tmp_path / "out")
    assert "artfs: warning: it is not recorded that run me/demo/unknown used the version" in done.stderr
    assert (tmp_path / "out/f").read_text() == "one\n"
    assert lineage(cli, "data") == (None, [])


def test_a_value_that_is_not_the_name_of_a_run_is_ignored(cli, small, tmp_path):
    cli.environment["ARTFS_RUN"] = "not a run"
    assert cli.run("put", small, "demo/data").stderr == ""
    assert cli.run("get", "demo/data", tmp_path / "out").stderr == ""


def test_help_says_that_the_command_line_is_recorded(cli):
    assert "do not put secrets there" in " ".join(cli.out("run", "--help").split())


def test_no_draft_is_left_by_a_run(cli, small):
    cli.run("run", *ARTFS, "put", small, "demo/data")
    assert wait_for(lambda: not list((cli.root / "data/drafts").glob("*/*")))
