"""What a user is told when something is wrong: one line that says what to try, and an exit code for each kind of error."""

import os
import re
import sqlite3

from tests.cli.conftest import run_all
from tests.harness import Artfs, fill, small_disk


def refused(artfs, code, *arguments, says):
    """Run a command that must fail: nothing on stdout, one line on stderr that says what it must."""
    done = artfs.run(*arguments, code=code)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("artfs: ")
    for words in says if isinstance(says, tuple) else (says,):
        assert words in line, line
    return line


def all_refused(artfs, code, table):
    """The same for many command lines, and what each must say."""
    for (arguments, says), (found, out, err) in zip(table, run_all(artfs, [row[0] for row in table]), strict=True):
        assert (found, out) == (code, ""), (arguments, err)
        assert re.fullmatch("artfs: .+\n", err), (arguments, err)
        for words in says if isinstance(says, tuple) else (says,):
            assert words in err, (arguments, err)


def test_what_cannot_be_accepted_is_2(listed):
    source = listed.source
    all_refused(listed, 2, [
        (("put", source, "demo/a b"), "use letters, digits"),
        (("put", source, "demo/data:v3"), "'v3': version indexes are given by the registry"),
        (("put", source, "demo/x", "-a", ".hidden"), "cannot begin with a dot"),
        (("put", source, "demo/x", "--metadata", "rows"), """(as --metadata '{"accuracy": 0.9}')"""),
        (("put", source, "demo/x", "--metadata", "[1]"), "metadata is a JSON object, not"),
        (("put", source, "demo/x", "--metadata", "@nowhere"), "nowhere"),
        (("put", source, "demo/x", "--type", "wandb-history"), "(choose another type, such as 'dataset' or 'model')"),
        (("put", source, "demo/data", "--type", "other"), ("'model', not 'other'", "(leave the type out,")),
        (("put", "/dev/zero", "demo/x"), "is a device, a socket or a fifo"),
        (("show", "a/b/c/d"), "(write entity/project/name)"),
        (("show", "demo/data:"), "(write name:alias or name:v3)"),
        (("commit", "/etc"), "(log a plain directory with: artfs put DIR REF)"),
        (("ls", "--registry", "mysql://host/x"), ("(write sqlite:////", "a W&B server")),
        (("ls", "--store", "nothing", "me/demo/data:v0"), ("'nothing' is not a store", "s3://bucket/prefix")),
        (("ls", "--store", "s3://", "me/demo/data:v0"), "'s3://' is not a store (write s3://bucket/prefix)"),
        (("ls", "--store", "gs://bucket/../x", "me/demo/data:v0"), "'gs://bucket/../x' is not a store (write gs://bucket"),
        (("ls", "--store", "S3://bucket", "me/demo/data:v0"), "'S3://bucket' is not a store (write s3://bucket"),
        (("put", "--reference", "S3://bucket/a", "demo/x"), "'S3://bucket/a' is no s3:// URI (write s3://bucket/key)"),
        (("ls", "--entity", ".x"), "cannot begin with a dot"),
    ])  # fmt: skip


def test_what_does_not_exist_is_3(listed, fuse):
    all_refused(listed, 3, [
        (("show", "demo/nothing"), "(artfs ls me/demo lists them)"),
        (("show", "demo/data:v9"), "(me/demo/data has v0 to v1)"),
        (("get", "demo/data:bst", "/tmp/never"), "no version me/demo/data:bst"),
        (("alias", "demo/data:v9", "x"), "no version me/demo/data:v9"),
        (("alias", "demo/data", "x", "--remove"), "no alias 'x'"),
        (("rm", "demo/nothing:v0"), "no collection me/demo/nothing"),
        (("ls", "you"), "no entity 'you'"),
        (("ls", "me/else"), "no project me/else"),
        (("ls", "demo/data"), "(a place begins with its entity: artfs ls me/demo/data)"),
        (("ls", "demo"), "(a place begins with its entity: artfs ls me/demo)"),
        (("ls", "me/demo/data:v0/sub/none"), "has no 'sub/none'"),
        (("put", listed.root / "none", "demo/x"), f"{listed.root}/none does not exist"),
        (("umount", "/etc"), "(findmnt -t fuse.artfs lists the mounts)"),
        (("mount", "/etc/nowhere/mnt"), "(mkdir -p /etc/nowhere)"),
    ])  # fmt: skip


def test_a_deleted_version_is_3(cli, small):
    cli.run("put", small, "demo/data")
    cli.run("rm", "demo/data:v0", "--delete-aliases")
    refused(cli, 3, "show", "demo/data:v0", says="me/demo/data:v0 was deleted")
    refused(cli, 3, "show", "demo/data", says="no version me/demo/data:latest")


def test_what_is_there_already_is_4(listed, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    refused(listed, 4, "get", "demo/data:v0", tmp_path, says=(f"{tmp_path}/a.txt", "use --force"))
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_what_is_in_use_is_5(listed):
    refused(listed, 5, "rm", "demo/data:best", says=("best, latest", "--delete-aliases"))
    assert [row["name"] for row in listed.json("ls", "me/demo/data")] == ["v0", "v1"]


def test_what_is_not_permitted_is_6(as_root, open_path):
    (open_path / "home").mkdir()
    os.chown(open_path / "home", 65534, 65534)
    user = Artfs(open_path / "home", uid=65534)
    (open_path / "file").write_text("x")
    user.run("put", open_path / "file", "demo/x")
    refused(user, 6, "get", "demo/x", open_path / "out", says=(f"{open_path}/out", "Permission denied"))
    assert sorted(os.listdir(open_path)) == [".lock", "file", "home"]


def test_damaged_bytes_are_7(cli, small, tmp_path):
    cli.run("put", small, "demo/data")
    blob = cli.blob(b"one\n")
    blob.chmod(0o600)
    blob.write_bytes(b"two\n")
    refused(
        cli,
        7,
        "get",
        "demo/data",
        tmp_path / "out",
        says=(f"blob md5:{blob.parent.name}{blob.name}", "do not match the manifest"),
    )
    assert not (tmp_path / "out/f").exists()
    blob.unlink()
    refused(cli, 7, "get", "demo/data", tmp_path / "out", says="is missing in the store")


def test_a_mount_or_a_registry_that_does_not_answer_is_8(cli, tmp_path):
    refused(cli, 8, "stage", "demo/data", says="(artfs mount DIRECTORY)")
    (tmp_path / "file").touch()
    refused(cli, 8, "ls", "--registry", f"sqlite:///{tmp_path}/file/r.sqlite", says="cannot be opened")


def test_a_commit_that_waits_for_a_service_that_is_away_is_said_to_go_on(cli):
    cli.environment["ARTFS_RETRY_SECONDS"] = "1"
    says = "cannot be reached", "not given up: a mount finishes the commit, or: artfs commit --resume"
    done = cli.run("put", "--reference", "http://127.0.0.1:1/x", "demo/x", code=8)
    assert [text for text in says if text not in done.stderr] == []
    assert "('put-reference') was begun and is not finished" in cli.run("doctor").stdout


def test_a_full_disk_is_9_and_leaves_nothing_behind(cli, small, as_root):
    (small / "big").write_bytes(os.urandom(300_000))
    with small_disk(cli.root / "data", 8 << 20):
        cli.run("ls")
        fill(cli.root / "data/filler", 100_000)
        refused(cli, 9, "put", small, "demo/data", says="no space left")
        (cli.root / "data/filler").unlink()
        assert cli.out("ls", "me") == ""
        assert cli.out("put", small, "demo/data") == "me/demo/data:v0"
        assert not list((cli.root / "data/drafts").glob("*/*"))


def test_a_registry_of_a_newer_program_is_10_for_every_command(cli, fuse, small, tmp_path):
    cli.run("put", small, "demo/data")
    with sqlite3.connect(cli.root / "data/registry.sqlite") as database:
        database.execute("UPDATE about SET schema_version = 99")
    database.close()
    before = (cli.root / "data/registry.sqlite").read_bytes()
    lines = [
        ("ls",), ("show", "demo/data"), ("put", small, "demo/data"), ("get", "demo/data", tmp_path / "out"),
        ("alias", "demo/data", "x"), ("rm", "demo/data:v0"), ("commit", "--resume"), ("mount", cli.mountpoint),
    ]  # fmt: skip
    says = "has schema 99", "a newer artfs wrote it", "(upgrade artfs, or use another --registry)"
    all_refused(cli, 10, [(line, says) for line in lines])
    assert (cli.root / "data/registry.sqlite").read_bytes() == before
    assert not (tmp_path / "out").exists()
    assert not os.path.ismount(cli.mountpoint)


def test_a_wrong_command_line_is_2_and_names_the_help(listed):
    lines = [
        ("show",),
        ("commit",),
        ("bogus",),
        ("put", "x"),
        ("ls", "--bogus"),
        ("mount", "m", "--metadata-ttl", "-1"),
    ]
    for code, out, err in run_all(listed, lines):
        assert (code, out) == (2, "")
        assert re.search("^Try 'artfs.* --help' for help", err, re.MULTILINE), err


def test_a_bad_setting_says_where_it_is(listed, tmp_path):
    for name, value, says in (("ARTFS_THREADS", "many", "ARTFS_THREADS: 'many' is not a number"),
                              ("ARTFS_LOG_LEVEL", "loud", "ARTFS_LOG_LEVEL: 'loud'"),
                              ("ARTFS_CONFIG", str(tmp_path / "none"), "ARTFS_CONFIG names")):  # fmt: skip
        other = Artfs(listed.root)
        other.environment[name] = value
        refused(other, 2, "ls", says=says)


def test_where_an_error_comes_from_is_shown_on_demand(listed):
    listed_debug = Artfs(listed.root)
    listed_debug.environment["ARTFS_DEBUG"] = "1"
    done = listed_debug.run("show", "demo/nothing", code=3)
    assert "Traceback" in done.stderr
    assert "artfs: there is no collection me/demo/nothing" in done.stderr
