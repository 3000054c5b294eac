"""`artfs put` and `artfs get`: what goes in comes out, nothing is written elsewhere, modes are the user's."""

import base64
import hashlib
import json
import os
import signal
import socket
import sqlite3
import stat
from datetime import datetime

import pytest

from tests.cli.conftest import run_all
from tests.harness import tree_of, wait_for


def modes_of(path):
    return {item.relative_to(path).as_posix(): stat.S_IMODE(item.lstat().st_mode) for item in path.rglob("*")}


def test_what_was_put_comes_out_again(cli, tmp_path):
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/big").write_bytes(os.urandom(3 << 20))
    (source / "a/empty").touch()
    (source / "üñï ço∂é \n'\"$x").write_text("x")
    (source / "-rf").write_text("y")
    before = tree_of(source)
    cli.run("put", source, "demo/data")
    assert tree_of(source) == before
    cli.run("get", "demo/data", tmp_path / "out")
    assert tree_of(tmp_path / "out") == before


def test_put_follows_symlinks(cli, tmp_path):
    outside, source = tmp_path / "outside", tmp_path / "source"
    (outside / "d").mkdir(parents=True)
    (outside / "d/f").write_text("1")
    source.mkdir()
    (source / "dir").symlink_to(outside)
    (source / "file").symlink_to(outside / "d/f")
    (source / "relative").symlink_to("file")
    (tmp_path / "link").symlink_to(source)
    cli.run("put", tmp_path / "link", "demo/data")
    cli.run("get", "demo/data", tmp_path / "out")
    assert tree_of(tmp_path / "out") == {"dir": None, "dir/d": None, "dir/d/f": b"1", "file": b"1", "relative": b"1"}


def test_put_of_one_file_keeps_its_name(cli, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"weights")
    (tmp_path / "link.bin").symlink_to("model.bin")
    cli.run("put", tmp_path / "model.bin", "demo/model")
    assert cli.out("ls", "me/demo/model:v0") == "model.bin"
    cli.run("put", tmp_path / "link.bin", "demo/model")
    assert cli.out("ls", "me/demo/model:v1") == "link.bin"
    cli.run("get", "demo/model", tmp_path / "out")
    assert tree_of(tmp_path / "out") == {"link.bin": b"weights"}


def test_put_refuses_what_has_no_bytes_and_makes_nothing(cli, tmp_path):
    sources = {name: tmp_path / name for name in ("pipe", "socket", "nowhere", "loop", "empty")}
    for source in sources.values():
        (source / "d").mkdir(parents=True)
        (source / "d/f").write_text("x")
    os.mkfifo(sources["pipe"] / "pipe")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.fspath(sources["socket"] / "s"))
    (sources["nowhere"] / "link").symlink_to("missing")
    (sources["loop"] / "link").symlink_to(".")
    (sources["empty"] / "d/f").unlink()
    os.mkfifo(tmp_path / "fifo")
    table = [
        (sources["pipe"], "pipe/pipe is a device, a socket or a fifo"),
        (sources["socket"], "socket/s is a device, a socket or a fifo"),
        (sources["nowhere"], "nowhere/link is a symlink to nowhere"),
        (sources["loop"], "loop/link leads back to a directory above it"),
        (sources["empty"], "empty"),
        (tmp_path / "fifo", "fifo is a device, a socket or a fifo"),
    ]
    found = run_all(cli, [["put", source, "demo/data"] for source, _ in table])
    for (source, says), (code, out, err) in zip(table, found, strict=True):
        assert (code, out) == (2, ""), source
        assert says in err
    assert cli.out("ls", "me") == ""
    assert not list((cli.root / "data/drafts").glob("*/*"))


def test_put_that_is_interrupted_ends_and_publishes_nothing(cli, tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(20 << 30)  # no machine is through with this before the signal
    process = cli.start("put", tmp_path / "huge", "demo/data")
    wait_for(lambda: list((cli.root / "data/drafts").glob("*/*/tree/huge")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out == ""
    assert cli.out("ls", "me") == ""
    left = list((cli.root / "data/drafts").glob("*/*"))
    assert bool(left) == (
        "artfs commit --resume" in err
    )  # where files are copied without their bytes, it was committing already


def test_get_gives_the_modes_that_the_umask_leaves(cli, small, tmp_path):
    (small / "run").write_text("#!/bin/sh\n")
    (small / "run").chmod(0o755)
    (small / "f").chmod(0o600)
    cli.run("put", small, "demo/data", umask=0o077)
    for mask in (0o022, 0o027, 0o000):
        out = tmp_path / f"out{mask:o}"
        cli.run("get", "demo/data", out, umask=mask)
        assert modes_of(out) == {"f": 0o666 & ~mask, "run": 0o777 & ~mask, "d": 0o777 & ~mask, "d/g": 0o666 & ~mask}
        assert stat.S_IMODE(out.stat().st_mode) == 0o777 & ~mask
    created = cli.json("show", "demo/data")["created_at"]
    assert (out / "f").stat().st_mtime == pytest.approx(datetime.fromisoformat(created).timestamp(), abs=1e-3)


def test_what_artfs_keeps_is_private_whatever_the_umask(cli, small, tmp_path):
    cli.run("put", small, "demo/data", umask=0)
    cli.run("get", "demo/data", tmp_path / "out", umask=0)
    for place in ("data", "cache"):
        kept = modes_of(cli.root / place)
        assert kept
        assert {path: oct(mode) for path, mode in kept.items() if mode & 0o077} == {}


def test_get_leaves_what_is_right_and_what_is_not_its_own(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    out = tmp_path / "out"
    cli.run("get", "demo/data", out)
    (out / "mine").write_text("mine")
    numbers = {path: path.stat().st_ino for path in out.rglob("*")}
    cli.run("get", "demo/data", out)
    assert {path: path.stat().st_ino for path in out.rglob("*")} == numbers
    (out / "f").write_text("changed")
    assert "use --force" in cli.run("get", "demo/data", out, code=4).stderr
    assert (out / "f").read_text() == "changed"
    cli.run("get", "demo/data", out, "--force")
    assert tree_of(out) == {"d": None, "d/g": b"two\n", "f": b"one\n", "mine": b"mine"}


def test_get_refuses_symlinks_in_the_way_even_by_force(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    outside, outs = tmp_path / "outside", [tmp_path / name for name in ("out1", "out2", "out3")]
    outside.mkdir()
    (outside / "f").write_text("not yours")
    for out in outs:
        out.mkdir()
    (outs[0] / "d").symlink_to(outside)
    (outs[1] / "f").symlink_to(outside / "f")
    (outs[2] / "f").symlink_to(outside / "new")
    for force in ([], ["--force"]):
        found = run_all(cli, [["get", "demo/data", out, *force] for out in outs])
        for (code, printed, err), way in zip(found, ("out1/d", "out2/f", "out3/f"), strict=True):
            assert (code, printed) == (2, "")
            assert f"{way} is in the way" in err
    assert tree_of(outside) == {"f": b"not yours"}
    (tmp_path / "link").symlink_to(outside)  # the directory itself may be a link: the user named it
    cli.run("get", "demo/data", tmp_path / "link", "--force")
    assert tree_of(outside) == {"f": b"one\n", "d": None, "d/g": b"two\n"}


def test_get_refuses_files_and_directories_in_the_way(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    out = tmp_path / "out"
    out.mkdir()
    (out / "d").write_text("a file")
    assert "out/d is in the way" in cli.run("get", "demo/data", out, "--force", code=2).stderr
    (out / "d").unlink()
    (out / "f").unlink(missing_ok=True)
    (out / "f").mkdir()
    assert "out/f is in the way" in cli.run("get", "demo/data", out, "--force", code=2).stderr
    assert "small/f" in cli.run("get", "demo/data", small / "f", code=2).stderr


def test_a_manifest_that_leads_out_of_its_directory_is_refused(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    digest = base64.b64encode(hashlib.md5(b"one\n", usedforsecurity=False).digest()).decode()
    for path in ("../evil", "/tmp/artfs-evil", "d/../../evil", "d/\0evil", ""):
        manifest = json.dumps({
            "version": 1, "storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {},
            "contents": {path: {"digest": digest, "size": 4}},
        }).encode()  # fmt: skip
        forged = cli.blob(manifest)
        forged.parent.mkdir(exist_ok=True)
        forged.write_bytes(manifest)
        name = base64.b64encode(hashlib.md5(manifest, usedforsecurity=False).digest()).decode()
        database = sqlite3.connect(cli.root / "data/registry.sqlite")
        with database:
            database.execute("UPDATE manifests SET digest = ?, size = ?", (name, len(manifest)))
        database.close()
        done = cli.run("get", "demo/data", tmp_path / "out", code=2)
        assert repr(path) in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("**/evil"))
    assert not os.path.exists("/tmp/artfs-evil")


def test_a_directory_that_has_those_of_artfs_in_it_is_refused(cli, tmp_path):
    (tmp_path / "mine").write_bytes(b"x")
    said = cli.run("put", tmp_path, "demo/home", code=2).stderr
    assert "is where artfs keeps its own files" in said
    cli.run("show", "demo/home", code=3)


def test_a_command_says_which_service_it_waits_for(cli):
    cli.environment["ARTFS_RETRY_SECONDS"] = "20"
    result = cli.run("put", "--reference", "http://127.0.0.1:1/x", "demo/raw", code=8)
    told = [line for line in result.stderr.splitlines() if "does not answer, and is asked again for up to 20 s" in line]
    assert len(told) == 1
    assert told[0].startswith("artfs: warning: http://127.0.0.1:1 does")
    assert "Connection refused" in told[0]
