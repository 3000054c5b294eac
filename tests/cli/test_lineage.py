"""`artfs lineage` on a real registry: what it prints, what it writes, and what it refuses."""

import contextlib
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from artfs.api.lineage import trace
from artfs.cli.main import exit_code
from artfs.model.names import parse_artifact_ref
from artfs.model.run import RunInfo, RunState
from artfs.registry.sql.registry import open_registry
from tests.cli.test_start import SLOW, imported
from tests.harness import Artfs
from tests.registry.making import become

STARTED = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVIL = "evil \x1b[2J\u202e\x7f\x9b <b>"
ESCAPED = "evil \\x1b[2J\\u202e\\x7f\\x9b <b>"


@contextlib.contextmanager
def registry_of(artfs):
    registry = open_registry(f"sqlite:///{artfs.root}/data/registry.sqlite", "me")
    try:
        yield registry
    finally:
        registry.close()


def record(artfs, run_id, used, logged, name="", state=RunState.FINISHED):
    run = RunInfo(run_id, "me", "demo", name, "train", STARTED, state)
    with registry_of(artfs) as registry:
        registry.record_run(run)
        for ref in used:
            registry.record_use(run, registry.version(parse_artifact_ref(ref, "me")).id)
        for ref in logged:
            registry.record_logged(run, registry.version(parse_artifact_ref(ref, "me")).id)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Raw is split into left and right, which are joined to a model, which is evaluated."""
    found = Artfs(tmp_path_factory.mktemp("traced"))
    source = found.root / "file"
    for name, kind in (
        ("raw", "dataset"),
        ("left", "dataset"),
        ("right", "dataset"),
        ("model", "model"),
        ("report", "report"),
    ):
        source.write_text(name * 500)
        found.here("put", source, f"demo/{name}", "--type", kind)
    found.run("alias", "demo/model:v0", "best")
    record(found, "split", ["demo/raw"], ["demo/left", "demo/right"], "split it")
    record(found, "join", ["demo/left", "demo/right"], ["demo/model"], state=RunState.FAILED)
    record(found, "eval", ["demo/model"], ["demo/report"], EVIL)
    return found


TREE_UP = """\
me/demo/model:v0 (best, latest)  model  2.5 kB

logged by:
└─ run me/demo/join train failed
   ├─ me/demo/left:v0 (latest)  dataset  2.0 kB
   │  └─ run me/demo/split "split it" train finished
   │     └─ me/demo/raw:v0 (latest)  dataset  1.5 kB
   └─ me/demo/right:v0 (latest)  dataset  2.5 kB
      └─ run me/demo/split (shown above)
"""
DOWN = f"""
used by:
└─ run me/demo/eval "{ESCAPED}" train finished
   └─ me/demo/report:v0 (latest)  report  3.0 kB
"""


def test_the_tree(traced):
    assert traced.run("lineage", "demo/model").stdout == TREE_UP + DOWN
    assert traced.run("lineage", "demo/model:best", "--up", "--down").stdout == TREE_UP + DOWN
    assert traced.run("lineage", "me/demo/model:v0", "--up").stdout == TREE_UP
    assert traced.run("lineage", "demo/model", "--down").stdout == TREE_UP.splitlines()[0] + "\n" + DOWN


def test_the_tree_of_a_run(traced):
    assert (
        traced.run("lineage", "me/demo/runs/join", "--depth", "1").stdout
        == """\
run me/demo/join train failed

used:
├─ me/demo/left:v0 (latest)  dataset  2.0 kB
│  └─ … 1 more (--depth)
└─ me/demo/right:v0 (latest)  dataset  2.5 kB
   └─ … 1 more (--depth)

logged:
└─ me/demo/model:v0 (best, latest)  model  2.5 kB
   └─ … 1 more (--depth)
"""
    )


def test_a_terminal_without_unicode_gets_a_tree_of_ascii(traced):
    ascii_only = Artfs(traced.root)
    ascii_only.environment["PYTHONIOENCODING"] = "ascii"
    lines = ascii_only.out("lineage", "demo/model", "--up", "--depth", "1").splitlines()
    assert lines[-2:] == ["`- run me/demo/join train failed", "   `- ... 2 more (--depth)"]
    assert "</svg>" in ascii_only.out("lineage", "demo/model", "--svg", "-", "--depth", "1")


def test_json(traced):
    found = traced.json("lineage", "demo/model")
    assert [node.get("name") for node in found["nodes"] if node["kind"] == "version"] == [
        "me/demo/model:v0", "me/demo/left:v0", "me/demo/right:v0", "me/demo/report:v0", "me/demo/raw:v0",
    ]  # fmt: skip
    assert len(found["edges"]) == 8
    assert found["cut"] == []
    (name,) = [node["name"] for node in found["nodes"] if node["id"] == "eval"]
    assert name == EVIL
    assert re.search("[^\n -~]", traced.out("lineage", "demo/model", "--json")) is None


def test_drawings_go_to_stdout_or_to_a_file_with_the_umask_of_the_user(traced, tmp_path):
    for option, start in (("--svg", "<svg "), ("--html", "<!DOCTYPE html>")):
        file = tmp_path / option
        before = os.umask(0o027)
        try:
            assert traced.run("lineage", "demo/model", option, file).stdout == ""
        finally:
            os.umask(before)
        assert file.stat().st_mode & 0o777 == 0o640
        assert file.read_text().startswith(start)
        assert traced.run("lineage", "demo/model", option, "-").stdout == file.read_text()
    root = ET.parse(tmp_path / "--svg").getroot()
    assert len(root.findall(".//{http://www.w3.org/2000/svg}ellipse")) == 3
    assert "evil \\x1b[2J\\u20…x9b <b>" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert traced.out("lineage", "demo/model", "--dot").startswith("digraph lineage {\n")


def test_a_deleted_version_is_left_out(traced, tmp_path):
    other = Artfs(tmp_path)
    source = tmp_path / "file"
    for name in ("raw", "base", "model"):
        source.write_text(name)
        other.here("put", source, f"demo/{name}")
    record(other, "train", ["demo/raw", "demo/base"], ["demo/model"])
    other.run("rm", "demo/base:v0", "--delete-aliases")
    assert other.out("lineage", "demo/model", "--up").splitlines()[-1] == "   └─ me/demo/raw:v0 (latest)  dataset  3 B"
    assert "base" not in other.out("lineage", "me/demo/runs/train")


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (3, ["demo/nothing"], "there is no collection me/demo/nothing"),
        (3, ["demo/model:v7"], "v7"),
        (3, ["me/demo/runs/nobody"], "there is no run me/demo/nobody"),
        (3, ["me/demo/join"], "a run is written me/demo/runs/join"),
        (2, ["a/b/c/d"], "is not a collection"),
        (2, ["demo/model", "--dot", "--svg", "x"], "give only one of --dot, --svg, --html and --json"),
        (2, ["demo/model", "--depth", "-1"], "--depth"),
        (2, ["demo/model", "--svg", "/nowhere/file"], "/nowhere/file: No such file or directory"),
        (2, [], "REF"),
    ],
)
def test_what_cannot_be_done_is_said(traced, code, arguments, says):
    done = traced.run("lineage", *arguments, code=code)
    assert says in done.stderr
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_no_error(traced):
    done = subprocess.run(
        f"{' '.join(traced.command)} lineage demo/model --html - | head -c 10",
        shell=True, env=traced.environment, capture_output=True, text=True, cwd="/", timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("<!DOCTYPE ", "")


def test_nothing_slow_is_imported(traced):
    assert not SLOW & imported(traced, ["lineage", "--help"])
    assert not {"trio", "pyfuse3", "rich"} & imported(traced, ["lineage", "demo/model"])


def test_a_graph_that_is_too_big_is_cut_with_a_warning(traced, monkeypatch, capsys):
    for name, value in traced.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("artfs.api.lineage.trace", partial(trace, max_nodes=3))
    assert exit_code(["lineage", "demo/model"]) == 0
    done = capsys.readouterr()
    assert "   └─ … 2 more (the graph is too big)\n" in done.out
    assert done.err == (
        "artfs: warning: the graph is cut at 3 versions and runs: look at less of it with --depth, --up or --down\n"
    )


def test_a_run_that_goes_on_is_shown_as_running(traced, tmp_path):
    other = Artfs(tmp_path)
    (tmp_path / "file").write_text("x")
    other.here("put", tmp_path / "file", "demo/model")
    record(other, "r1", [], ["demo/model"], state=RunState.RUNNING)
    assert other.out("lineage", "demo/model", "--up").endswith("run me/demo/r1 train running")
    with registry_of(other) as registry:
        (run,) = registry.runs("me", "demo")
        become(registry, replace(run, state=RunState.KILLED))
    (found,) = [node for node in other.json("lineage", "demo/model")["nodes"] if node["kind"] == "run"]
    assert found["state"] == "killed"
    assert json.loads(other.out("lineage", "demo/model", "--json", "--down"))["edges"] == []
