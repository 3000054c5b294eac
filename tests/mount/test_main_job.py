"""The main job: mount, stage, commit, read, alias, stage again."""

import json
import os
import stat
import subprocess

import pytest

from tests.harness import tree_of, wait_for


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("source")
    (root / "sub/deeper").mkdir(parents=True)
    (root / "a.txt").write_text("hello\n")
    (root / "empty").touch()
    (root / "sub/big.bin").write_bytes(os.urandom(3 << 20))
    (root / "sub/deeper/üñï ço∂é").write_text("x")
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    return root


@pytest.fixture(scope="module")
def version(artfs, source):
    draft = artfs.draft("first")
    subprocess.run(["cp", "-r", f"{source}/.", draft], check=True)
    os.rename(draft, artfs.collection() / ".commit/best")
    wait_for(lambda: (artfs.collection() / "best").exists())
    wait_for(lambda: os.listdir(artfs.collection() / ".commit") == [], "the end of the commit")
    return artfs.collection() / "v0"


def test_a_draft_moved_into_commit_becomes_a_version_with_its_alias(artfs, version, source):
    assert tree_of(version) == tree_of(source)
    assert sorted(os.listdir(artfs.collection())) == [".commit", ".staging", "best", "latest", "v0"]
    assert os.readlink(artfs.collection() / "best") == os.readlink(artfs.collection() / "latest") == "v0"
    assert os.listdir(artfs.collection() / ".staging") == os.listdir(artfs.collection() / ".commit") == []


def test_files_and_directories_show_what_never_changes(version, source):
    created = int(os.getxattr(version, "user.artfs.created_at")[:4])
    assert created >= 2024
    for directory, names, files in os.walk(version):
        for name in files:
            found = os.lstat(os.path.join(directory, name))
            assert stat.S_IMODE(found.st_mode) == (0o555 if name == "run.sh" else 0o444)
            assert found.st_nlink == 1
            assert found.st_blocks == (found.st_size + 511) // 512
            assert found.st_mtime_ns == found.st_ctime_ns == found.st_atime_ns == version.stat().st_mtime_ns
        for name in names:
            found = os.lstat(os.path.join(directory, name))
            assert stat.S_IMODE(found.st_mode) == 0o555
    assert (version / "sub").stat().st_nlink == 3


def test_an_executable_of_a_version_runs(version):
    assert subprocess.run([version / "run.sh"], capture_output=True, text=True, check=True).stdout == "ran\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda v: (v / "new").touch(),
        lambda v: os.close(os.open(v / "a.txt", os.O_WRONLY | os.O_TRUNC)),
        lambda v: os.close(os.open(v / "a.txt", os.O_RDWR)),
        lambda v: os.truncate(v / "a.txt", 0),
        lambda v: (v / "a.txt").unlink(),
        lambda v: (v / "a.txt").chmod(0o644),
        lambda v: os.utime(v / "a.txt"),
        lambda v: (v / "sub").rename(v / "other"),
        lambda v: (v / "dir").mkdir(),
        lambda v: os.symlink("a.txt", v / "link"),
        lambda v: os.link(v / "a.txt", v / "link"),
        lambda v: os.setxattr(v, "user.artfs.digest", b"x"),
        lambda v: os.rmdir(v),
        lambda v: v.rename(v.parent / "v9"),
    ],
)
def test_every_change_of_a_version_is_refused_as_read_only(version, change):
    with pytest.raises(OSError) as caught:
        change(version)
    assert caught.value.errno == 30, caught.value  # EROFS, which libraries handle
    assert not os.access(version / "a.txt", os.W_OK)


def test_provenance_is_in_extended_attributes(version):
    names = {name.removeprefix("user.artfs.") for name in os.listxattr(version)}
    assert names >= {
        "id",
        "type",
        "digest",
        "state",
        "size",
        "file_count",
        "metadata",
        "aliases",
        "version",
        "source_version",
        "commit_hash",
        "created_at",
        "updated_at",
        "used_by",
        "tags",
    }
    assert os.getxattr(version, "user.artfs.state") == b"COMMITTED"
    assert json.loads(os.getxattr(version, "user.artfs.aliases")) == ["best", "latest"]
    assert set(os.listxattr(version / "a.txt")) == {
        f"user.artfs.{name}" for name in ("digest", "size", "cached", "verified")
    }
    assert os.getxattr(version / "a.txt", "user.artfs.digest") == b"sZRqySSS0jR8YjW00mERhA=="
    assert os.getxattr(version / "a.txt", "user.artfs.verified") == b"proven"
    assert os.listxattr(version / "sub") == []


def test_description_and_metadata_can_be_set_by_setfattr(artfs, version):
    os.setxattr(version, "user.artfs.description", "größer".encode())
    os.setxattr(version, "user.artfs.metadata", b'{"rows": 150}')
    shown = artfs.json("show", "me/demo/data:v0")
    assert (shown["description"], shown["metadata"]) == ("größer", {"rows": 150})
    assert json.loads((version / ".artfs/artifact.json").read_text())["metadata"] == {"rows": 150}
    with pytest.raises(OSError, match="Invalid argument"):
        os.setxattr(version, "user.artfs.metadata", b"no json")
    os.removexattr(version, "user.artfs.description")
    assert "user.artfs.description" not in os.listxattr(version)


def test_the_hidden_directory_is_found_but_not_listed(artfs, version):
    assert ".artfs" not in os.listdir(version)
    assert sorted(os.listdir(version / ".artfs")) == ["artifact.json", "manifest.json"]
    manifest = json.loads((version / ".artfs/manifest.json").read_text())
    assert manifest["version"] == 1
    assert set(manifest["contents"]) == {str(path) for path in tree_of(version) if tree_of(version)[path] is not None}
    shown = json.loads((version / ".artfs/artifact.json").read_text())
    assert shown == artfs.json("show", "me/demo/data:v0")
    assert len((version / ".artfs/artifact.json").read_bytes()) == (version / ".artfs/artifact.json").stat().st_size


def test_a_draft_from_a_version_costs_no_bytes_and_copies_up_what_is_written(artfs, version, source):
    draft = artfs.mountpoint / artfs.out("stage", "me/demo/data:v0", "--name", "second")
    assert tree_of(draft) == tree_of(source)
    (local,) = (artfs.root / "data/drafts").glob("*/*/tree")
    assert list(local.rglob("*")) == []
    with (draft / "a.txt").open("a") as file:
        file.write("more\n")
    (draft / "sub/deeper/üñï ço∂é").unlink()
    (draft / "sub/big.bin").rename(draft / "moved.bin")
    assert [path.name for path in local.rglob("*") if path.is_file()] == ["a.txt"]
    new = artfs.commit(draft, "--alias", "tuned")
    want = tree_of(source)
    want["a.txt"] = b"hello\nmore\n"
    want["moved.bin"] = want.pop("sub/big.bin")
    del want["sub/deeper/üñï ço∂é"], want["sub/deeper"], want["sub"]
    assert tree_of(new) == want
    assert os.readlink(artfs.collection() / "tuned") == new.name
    assert tree_of(version) == tree_of(source)


def test_an_unchanged_draft_makes_no_new_version(artfs, version):
    before = sorted(os.listdir(artfs.collection()))
    draft = artfs.out("stage", "me/demo/data:latest")
    done = artfs.run("commit", draft)
    assert done.stdout.strip() == f"me/demo/data:{os.readlink(artfs.collection() / 'latest')}"
    assert "nothing new" in done.stderr
    assert sorted(os.listdir(artfs.collection())) == before


def test_aliases_are_symlinks_that_plain_tools_move(artfs, version):
    collection = artfs.collection()
    subprocess.run(["ln", "-s", "v0", "one"], cwd=collection, check=True)
    subprocess.run(["ln", "-sfn", "v1", "one"], cwd=collection, check=True)
    assert os.readlink(collection / "one") == "v1"
    subprocess.run(["ln", "-sfn", "best", "one"], cwd=collection, check=True)
    assert os.readlink(collection / "one") == "v0"
    subprocess.run(["mv", "one", "two"], cwd=collection, check=True)
    assert not os.path.lexists(collection / "one")
    assert artfs.json("show", "me/demo/data:two")["version"] == "v0"
    subprocess.run(["rm", "two"], cwd=collection, check=True)
    assert not os.path.lexists(collection / "two")
    for name, target, number in (
        ("v7", "v0", 22),
        ("x", "v99", 2),
        ("x", "/etc", 22),
        ("a:b", "v0", 22),
        ("best", "v0", 17),
    ):
        with pytest.raises(OSError) as caught:
            os.symlink(target, collection / name)
        assert caught.value.errno == number, (name, target)


def test_numbers_and_times_survive_a_restart_and_a_lost_cache(artfs, version):
    def numbers():
        return {
            os.path.join(directory, name): (lambda s: (s.st_ino, s.st_mtime_ns, s.st_size, s.st_mode))(
                os.lstat(os.path.join(directory, name))
            )
            for directory, names, files in os.walk(version)
            for name in names + files
        } | {"root": version.stat().st_ino}

    before = numbers()
    artfs.umount()
    subprocess.run(["rm", "-rf", artfs.root / "cache"], check=True)
    artfs.mount()
    assert numbers() == before


def test_df_answers(artfs):
    found = os.statvfs(artfs.mountpoint)
    assert found.f_blocks > 0


def test_places_are_made_and_removed_by_mkdir_and_rmdir(artfs):
    (artfs.mountpoint / "you/lab/things").mkdir(parents=True)
    assert sorted(os.listdir(artfs.mountpoint)) == ["me", "you"]
    with pytest.raises(OSError, match="not empty"):
        (artfs.mountpoint / "you").rmdir()
    for name in ("you/lab/things", "you/lab", "you"):
        (artfs.mountpoint / name).rmdir()
    assert os.listdir(artfs.mountpoint) == ["me"]
    for name in ("a:b", "x?y", ".hidden"):
        with pytest.raises(OSError):
            (artfs.mountpoint / name).mkdir()
