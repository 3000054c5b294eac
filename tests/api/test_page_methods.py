"""One test, at least, for each method of the page that defines the ``Artifact`` class. ``docs/api.md`` lists them."""

import contextlib
import hashlib
import json
import os
import pathlib

import pytest

import artfs
from artfs.api import placing
from artfs.errors import (
    ArtifactFinalizedError,
    ArtifactNotLoggedError,
    BusyError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    WaitTimeoutError,
)
from artfs.model.digest import Digest
from tests.harness import tree_of


def md5(data):
    return Digest.of(data).base64


@pytest.fixture
def new(fresh, place):
    return artfs.Artifact("data", "dataset")


# Construction -----------------------------------------------------------------------------------------------------


def test_constructor_of_a_logged_artifact(api, log):
    log(aliases=["best"])
    found = artfs.Artifact(api.client, "me", "demo", "data:best")
    assert (found.qualified_name, found.type) == ("me/demo/data:v0", "dataset")
    assert artfs.Artifact(client=api.client, entity="me", project="demo", name="data:v0").id == found.id


def test_constructor_of_a_logged_artifact_takes_what_was_read_already(api, log):
    log()
    version = api.client.registry.version_by_id(api.artifact("demo/data").id)
    assert artfs.Artifact(api.client, "me", "demo", "data:v0", version).digest == version.digest


def test_constructor_names_what_is_not_there(api):
    with pytest.raises(NotFoundError, match="me/demo"):
        artfs.Artifact(api.client, "me", "demo", "data:best")


@pytest.mark.parametrize(
    ("name", "kind"), [("a/b", "dataset"), ("", "dataset"), ("a b", "dataset"), ("ok", "job"), ("ok", "wandb-x")]
)
def test_constructor_refuses_names_and_types_that_cannot_be(fresh, name, kind):
    with pytest.raises(ValueError, match=r"name|type|use letters"):
        artfs.Artifact(name, kind)


# Adding -----------------------------------------------------------------------------------------------------------


def test_add_file(new, place):
    (place / "model.bin").write_bytes(b"weights")
    entry = new.add_file("model.bin")
    assert (entry.path, entry.size) == ("model.bin", 7)
    assert entry.digest == md5(b"weights")
    assert new.add_file(place / "model.bin", name="deep/er/m").path == "deep/er/m"


def test_add_file_keeps_the_content_of_that_moment(api, new, place):
    (place / "f").write_bytes(b"then")
    new.add_file("f")
    (place / "f").write_bytes(b"now, which is another size")
    new.add_file("f", name="now")
    (place / "f").unlink()
    with artfs.init(project="demo") as run:
        run.log_artifact(new)
    assert tree_of(api.artifact("demo/data").download()) == {"f": b"then", "now": b"now, which is another size"}


def test_add_file_is_tmp(new, place):
    (place / "x.tar.gz").write_bytes(b"weights")
    digest = hashlib.md5(b"weights").hexdigest()[:20]
    assert new.add_file("x.tar.gz", is_tmp=True).path == f"{digest}.tar.gz"
    assert new.add_file("x.tar.gz", name="d/y.gz", is_tmp=True).path == f"d/{digest}.gz"


@pytest.mark.parametrize("path", ["missing", "."])
def test_add_file_refuses_what_is_no_file(new, path):
    with pytest.raises(ValueError, match="Path is not a file"):
        new.add_file(path)


@pytest.mark.parametrize("name", ["/abs", "../up", "a/../b", ".", "a\0b", "n" * 256])
def test_add_file_refuses_paths_that_no_artifact_can_have(new, place, name):
    (place / "f").touch()
    with pytest.raises(ValueError, match="path"):
        new.add_file("f", name=name)


def test_add_file_twice(new, place):
    (place / "f").write_bytes(b"one")
    first = new.add_file("f")
    assert new.add_file("f") == first
    (place / "f").write_bytes(b"two")
    with pytest.raises(ValueError, match="Cannot add the same path twice"):
        new.add_file("f")
    assert new.add_file("f", overwrite=True).digest != first.digest
    assert len(new.manifest.entries) == 1


def test_add_file_refuses_a_file_where_a_directory_is(new, place):
    (place / "f").touch()
    new.add_file("f", name="a/b")
    with pytest.raises(ValueError, match="directory"):
        new.add_file("f", name="a")
    with pytest.raises(ValueError, match="is a file"):
        new.add_file("f", name="a/b/c")


def test_add_file_finalized(log, place):
    artifact = log()
    (place / "f").touch()
    with pytest.raises(ArtifactFinalizedError, match="add_file"):
        artifact.add_file("f")


def test_what_is_finalized_says_so_and_can_be_logged(api, new, place):
    (place / "f").touch()
    new.finalize()
    with pytest.raises(ArtifactFinalizedError, match="'data' is finalized"):
        new.add_file("f")
    with artfs.init(project="demo") as run:
        assert run.log_artifact(new).wait().version == "v0"
    with pytest.raises(ArtifactFinalizedError, match="was logged already"):
        new.add_file("f")


def make_tree(root):
    (root / "sub/deep").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a")
    (root / ".hidden").write_bytes(b"h")
    (root / "sub/b.txt").write_bytes(b"b")
    (root / "sub/deep/c").write_bytes(b"")
    (root / "empty").mkdir()
    (root / "link").symlink_to("sub")
    (root / "file-link").symlink_to("a.txt")


def test_add_dir(new, place):
    make_tree(place / "my_dir")
    assert new.add_dir("my_dir/") is None
    assert sorted(new.manifest.entries) == [
        ".hidden",
        "a.txt",
        "file-link",
        "link/b.txt",
        "link/deep/c",
        "sub/b.txt",
        "sub/deep/c",
    ]


def test_add_dir_with_a_name(new, place):
    make_tree(place / "my_dir")
    new.add_dir("my_dir", name="destination")
    assert "destination/sub/deep/c" in new.manifest.entries
    assert all(path.startswith("destination/") for path in new.manifest.entries)


def test_add_dir_refuses_what_is_no_directory(new, place):
    (place / "f").touch()
    for path in ("f", "missing"):
        with pytest.raises(ValueError, match="not a directory"):
            new.add_dir(path)


def test_add_dir_with_a_cycle_of_symlinks_is_refused(new, place):
    (place / "d/e").mkdir(parents=True)
    (place / "d/e/up").symlink_to("..")
    with pytest.raises(ValueError, match="leads back"):
        new.add_dir("d")


def test_add_dir_merge(new, place):
    (place / "d").mkdir()
    (place / "d/f").write_bytes(b"one")
    new.add_dir("d")
    (place / "d/f").write_bytes(b"two")
    with pytest.raises(ValueError, match="same path twice"):
        new.add_dir("d")
    new.add_dir("d", merge=True)
    assert new.manifest.entries["f"].digest == md5(b"two")


def test_add_dir_finalized(log, place):
    with pytest.raises(ArtifactFinalizedError):
        log().add_dir(place)


def test_add_reference(new, place):
    (place / "raw").mkdir()
    (place / "raw/x").write_bytes(b"xx")
    (entry,) = new.add_reference((place / "raw").as_uri())
    assert (entry.path, entry.size, entry.ref) == ("x", 2, (place / "raw/x").as_uri())
    assert entry.ref_target() == entry.ref
    (named,) = new.add_reference((place / "raw/x").as_uri(), name="other/place")
    assert named.path == "other/place"


def test_add_reference_without_a_checksum(new, place):
    (place / "x").write_bytes(b"xx")
    (entry,) = new.add_reference((place / "x").as_uri(), checksum=False)
    (checked,) = new.add_reference((place / "x").as_uri(), name="checked")
    assert entry.digest != checked.digest


def test_add_reference_max_objects(new, place):
    make_tree(place / "d")
    with pytest.raises(ValueError, match="more than 2"):
        new.add_reference((place / "d").as_uri(), max_objects=2)
    assert not new.manifest.entries


def test_add_reference_of_an_unknown_scheme(new):
    (entry,) = new.add_reference("ftp://host/file", name="f")
    assert (entry.digest, entry.size, entry.ref) == ("ftp://host/file", 0, "ftp://host/file")


@pytest.mark.parametrize("uri", ["no uri", "/a/path", ""])
def test_add_reference_refuses_what_is_no_uri(new, uri):
    with pytest.raises(ValueError, match="URI"):
        new.add_reference(uri)


def test_add_reference_to_an_entry_of_another_artifact(api, log, new):
    log(name="other", files={"big.bin": b"bytes"})
    (entry,) = new.add_reference(api.artifact("demo/other").get_path("big.bin"), name="mine.bin")
    assert entry.path == "mine.bin"
    assert entry.ref.startswith("wandb-artifact://")
    with artfs.init(project="demo") as run:
        run.log_artifact(new)
    assert tree_of(api.artifact("demo/data").download()) == {"mine.bin": b"bytes"}


def test_add_reference_finalized(log):
    with pytest.raises(ArtifactFinalizedError):
        log().add_reference("s3://bucket/prefix")


def test_new_file(api, new):
    with new.new_file("hello.txt") as file:
        file.write("hello é")
    with new.new_file("bytes", mode="wb") as file:
        file.write(b"\0\1")
    with new.new_file("latin", encoding="latin-1") as file:
        file.write("é")
    with artfs.init(project="demo") as run:
        run.log_artifact(new)
    assert tree_of(api.artifact("demo/data").download()) == {
        "hello.txt": "hello é".encode(),
        "bytes": b"\0\1",
        "latin": b"\xe9",
    }


def test_new_file_that_is_there(new):
    with new.new_file("f") as file:
        file.write("one")
    with pytest.raises(ValueError, match="already exists"), new.new_file("f"):
        pass
    with new.new_file("f", "w") as file:
        file.write("two")
    assert new.manifest.entries["f"].digest == md5(b"two")


def test_new_file_whose_block_raises_is_not_added(new):
    with pytest.raises(RuntimeError), new.new_file("f") as file:
        raise RuntimeError(file.write("half"))
    assert not new.manifest.entries


def test_new_file_finalized(log):
    with pytest.raises(ArtifactFinalizedError), log().new_file("f"):
        pass


def test_remove(new, place):
    make_tree(place / "d")
    new.add_dir("d")
    new.add_reference("ftp://host/file", name="ref")
    new.remove("a.txt")
    new.remove(new.manifest.entries["ref"])
    new.remove("sub")
    assert sorted(new.manifest.entries) == [".hidden", "file-link", "link/b.txt", "link/deep/c"]
    with pytest.raises(FileNotFoundError, match="No such path"):
        new.remove("sub")


# Reading ----------------------------------------------------------------------------------------------------------


def test_download(api, log, place):
    log(files={"a": b"1", "d/e/b": b"2" * 3_000_000, "empty": b""})
    artifact = api.artifact("demo/data")
    assert artifact.download() == str(place / "artifacts/data:v0")
    assert tree_of(place / "artifacts/data:v0") == {
        "a": b"1",
        "d": None,
        "d/e": None,
        "d/e/b": b"2" * 3_000_000,
        "empty": b"",
    }


def test_download_to_a_root_leaves_other_files(api, log, place):
    log(files={"a": b"1"})
    (place / "here").mkdir()
    (place / "here/mine").write_bytes(b"mine")
    (place / "here/a").write_bytes(b"changed")
    assert api.artifact("demo/data").download("here") == "here"
    assert tree_of(place / "here") == {"a": b"1", "mine": b"mine"}


def test_download_root_of_the_environment(api, log, tmp_path, monkeypatch):
    log(files={"a": b"1"})
    monkeypatch.setenv("ARTFS_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    assert api.artifact("demo/data").download() == str(tmp_path / "elsewhere/data:v0")


def test_download_path_prefix(api, log, place):
    log(files={"a": b"1", "d/b": b"2", "d/e/c": b"3", "dd": b"4"})
    api.artifact("demo/data").download("x", path_prefix="d/")
    assert tree_of(place / "x") == {"d": None, "d/b": b"2", "d/e": None, "d/e/c": b"3"}
    with pytest.raises(NotFoundError, match="nothing"):
        api.artifact("demo/data").download("y", path_prefix="nothing")


@pytest.mark.parametrize("method", ["download", "checkout"])
def test_download_shows_progress(api, log, place, monkeypatch, method):
    log(files={"a": b"1", "d/b": b"22"})
    seen = []

    @contextlib.contextmanager
    def showing(snapshot, after):
        yield
        seen.append((after, snapshot()))

    monkeypatch.setattr(placing, "showing", showing)
    getattr(api.artifact("demo/data"), method)("x")
    ((after, counters),) = seen
    assert after == 0.5  # s: what is there at once shows nothing
    assert (counters["phase"], counters["files_done"], counters["files_total"]) == ("download", 2, 2)
    assert (counters["bytes_done"], counters["bytes_total"]) == (3, 3)


def test_download_recursive(api, log, new, place):
    log(name="other", files={"x": b"x"})
    new.add_reference(api.artifact("demo/other").get_path("x"))
    with artfs.init(project="demo") as run:
        run.log_artifact(new)
    api.artifact("demo/data").download(recursive=True)
    assert tree_of(place / "artifacts") == {"data:v0": None, "data:v0/x": b"x", "other:v0": None, "other:v0/x": b"x"}


def test_download_allow_missing_references(api, new, place):
    (place / "gone").write_bytes(b"1")
    new.add_reference((place / "gone").as_uri())
    with new.new_file("kept") as file:
        file.write("2")
    with artfs.init(project="demo") as run:
        run.log_artifact(new)
    (place / "gone").unlink()
    with pytest.raises(NotFoundError, match="gone"):
        api.artifact("demo/data").download("x")
    api.artifact("demo/data").download("y", allow_missing_references=True)
    assert tree_of(place / "y") == {"kept": b"2"}


@pytest.mark.expects_warning("is damaged or missing")
def test_download_of_a_damaged_store_is_an_error_and_leaves_no_file(api, log, tmp_path, place):
    artifact = log(files={"a": b"good"})
    (blob,) = (tmp_path / "data/store/md5").glob(f"*/{hashlib.md5(b'good').hexdigest()[2:]}")
    blob.chmod(0o600)
    blob.write_bytes(b"evil")
    with pytest.raises(IntegrityError):
        artifact.download("x")
    assert tree_of(place / "x") == {}


def test_download_not_logged(new):
    with pytest.raises(ArtifactNotLoggedError):
        new.download()


def test_checkout(api, log, place, tmp_path):
    log(files={"a": b"1", "d/b": b"2", "file": b"3"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"p")
    root = place / "root"
    (root / "old/deep").mkdir(parents=True)
    (root / "old/deep/x").touch()
    (root / "file").mkdir()
    (root / "file/was-a-directory").touch()
    (root / "d").symlink_to(outside)
    (root / "link").symlink_to(outside / "precious")
    (root / "a").symlink_to(outside / "precious")
    assert api.artifact("demo/data").checkout("root") == "root"
    assert tree_of(root) == {"a": b"1", "d": None, "d/b": b"2", "file": b"3"}
    assert not (root / "d").is_symlink()
    assert tree_of(outside) == {"precious": b"p"}


@pytest.mark.expects_warning("is damaged or missing")
def test_checkout_that_fails_has_not_deleted_the_rest(api, log, place, tmp_path):
    log(files={"a": b"good"})
    (blob,) = (tmp_path / "data/store/md5").glob(f"*/{hashlib.md5(b'good').hexdigest()[2:]}")
    blob.unlink()
    (place / "root").mkdir()
    (place / "root/mine").write_bytes(b"mine")
    with pytest.raises(IntegrityError):
        api.artifact("demo/data").checkout("root")
    assert tree_of(place / "root") == {"mine": b"mine"}


def test_checkout_default_root(api, log, place):
    log(files={"a": b"1"})
    assert api.artifact("demo/data").checkout() == str(place / "artifacts/data")


def test_checkout_refuses_home_and_the_root(api, log, monkeypatch, tmp_path):
    log(files={"a": b"1"})
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").touch()
    monkeypatch.setenv("HOME", str(home))
    for root in (home, "/"):
        with pytest.raises(InvalidInputError, match="cannot be replaced"):
            api.artifact("demo/data").checkout(root)
    assert (home / "mine").exists()


def test_verify(api, log, place):
    log(files={"a": b"1", "d/b": b"2"})
    artifact = api.artifact("demo/data")
    root = pathlib.Path(artifact.download())
    assert artifact.verify() is None
    (root / "extra").touch()
    with pytest.raises(ValueError, match=r"Found file .*extra which is not a member"):
        artifact.verify()
    (root / "extra").unlink()
    (root / "d/b").write_bytes(b"3")
    with pytest.raises(ValueError, match="Digest mismatch for file: d/b"):
        artifact.verify(root)
    (root / "d/b").unlink()
    with pytest.raises(ValueError, match="missing: d/b"):
        artifact.verify(root)


def test_verify_downloads_to_the_default_root(api, log, place):
    log(files={"a": b"1"})
    api.artifact("demo/data").verify()
    assert tree_of(place / "artifacts") == {"data:v0": None, "data:v0/a": b"1"}


def test_verify_leaves_references_out(api, new, place):
    (place / "x").write_bytes(b"1")
    new.add_reference((place / "x").as_uri())
    with artfs.init(project="demo") as run:
        run.log_artifact(new)
    root = pathlib.Path(new.download())
    (root / "x").write_bytes(b"2")
    new.verify(root)


def test_file(api, log, place):
    log(files={"d/only": b"1"})
    assert api.artifact("demo/data").file() == str(place / "artifacts/data:v0/d/only")
    assert pathlib.Path(api.artifact("demo/data").file("x")).read_bytes() == b"1"


def test_file_of_several_is_an_error(log):
    with pytest.raises(ValueError, match="contains 2 files"):
        log().file()


def test_files(api, log, place):
    log(files={"a": b"1", "d/b": b"22"})
    files = api.artifact("demo/data").files()
    assert [(file.name, file.size) for file in files] == [("a", 1), ("d/b", 2)]
    assert len(files) == 2
    assert files[1].digest == files[1].md5 == md5(b"22")
    assert files[0].download("x", exist_ok=True).read_bytes() == b"1"
    with pytest.raises(artfs.ArtfsError, match="exists already"):
        files[0].download("x")


def test_files_names(api, log):
    log(files={"a": b"1", "d/b": b"22"})
    assert [file.name for file in api.artifact("demo/data").files(names=["d/b", "nothing"], per_page=1)] == ["d/b"]


def test_files_not_logged(new):
    with pytest.raises(ArtifactNotLoggedError):
        new.files()


@pytest.mark.parametrize("method", ["get_path", "get_entry"])
def test_get_path(api, log, place, method):
    log(files={"path/to/file.txt": b"1", "other": b"2"})
    path = getattr(api.artifact("demo/data"), method)("path/to/file.txt")
    assert pathlib.Path(path.download()).read_bytes() == b"1"
    assert tree_of(place / "artifacts/data:v0") == {"path": None, "path/to": None, "path/to/file.txt": b"1"}
    assert path.download(root="y") == str(place / "y/path/to/file.txt")
    with pytest.raises(KeyError, match="nothing"):
        getattr(api.artifact("demo/data"), method)("nothing")


def test_get_path_not_logged(new):
    with pytest.raises(ArtifactNotLoggedError):
        new.get_path("x")


def test_get_not_logged(new):
    with pytest.raises(ArtifactNotLoggedError):
        new.get("x")
    with pytest.raises(ArtifactNotLoggedError):
        new["x"]


# What the registry knows ------------------------------------------------------------------------------------------


def test_from_id(api, log):
    artifact = log()
    assert artfs.Artifact.from_id(artifact.id, api.client).qualified_name == "me/demo/data:v0"
    assert artfs.Artifact.from_id("nothing", api.client) is None


def test_expected_type(api, log):
    log(kind="model")
    assert artfs.Artifact.expected_type(api.client, "data", "me", "demo") == "model"
    assert artfs.Artifact.expected_type(api.client, "data:v7", entity_name="me", project_name="demo") == "model"
    assert artfs.Artifact.expected_type(api.client, "nothing", "me", "demo") is None
    assert artfs.Artifact.expected_type(api.client, "data", "me", "nothing") is None


def test_delete(api, log):
    log()
    log(files={"x": b"y"}, aliases=["best"])
    api.artifact("demo/data:v0").delete()
    with pytest.raises(NotFoundError):
        api.artifact("demo/data:v0")
    with pytest.raises(BusyError, match=r"best, latest.*delete\(delete_aliases=True\)"):
        api.artifact("demo/data:v1").delete()
    api.artifact("demo/data:v1").delete(delete_aliases=True)
    assert not api.artifact_exists("demo/data:v1")


def test_delete_of_a_link_takes_the_link_only(api, log):
    log()
    linked = api.artifact("demo/data").link("me/portfolio/models", aliases=["prod"])
    linked.delete()
    assert not api.artifact_exists("portfolio/models:v0")
    assert api.artifact_exists("demo/data:v0")


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("models", "me/demo/models:v0"),
        ("portfolio/models", "me/portfolio/models:v0"),
        ("you/p/models", "you/p/models:v0"),
    ],
)
def test_link(api, log, path, where):
    artifact = log()
    linked = artifact.link(path, aliases=["prod"])
    assert (linked.qualified_name, linked.is_link, linked.id) == (where, True, artifact.id)
    assert linked.aliases == ["latest", "prod"]
    assert api.artifact("demo/data").aliases == ["latest"]
    assert [one.qualified_name for one in artifact.linked_artifacts] == [where]
    assert linked.source_qualified_name == "me/demo/data:v0"


def test_link_of_a_new_artifact_logs_it(api, new):
    with artfs.init(project="demo"):
        assert new.link("models").qualified_name == "me/demo/models:v0"
    assert api.artifact_exists("demo/data:v0")


def test_link_refuses_a_sequence(api, log):
    log()
    log(name="other")
    with pytest.raises(ValueError, match="other"):
        api.artifact("demo/data").link("demo/other")


def test_logged_by(api, log, fresh):
    log()
    run = api.artifact("demo/data").logged_by()
    assert (run.entity, run.project, run.state) == ("me", "demo", "finished")
    assert [one.name for one in run.logged_artifacts()] == ["data:v0"]


def test_used_by(api, log):
    artifact = log()
    assert artifact.used_by() == []
    with artfs.init(project="demo", job_type="train") as run:
        run.use_artifact("data:latest")
        run.use_artifact("data:latest")
    (found,) = artifact.used_by()
    assert (found.id, found.job_type) == (run.id, "train")
    assert [one.name for one in found.used_artifacts()] == ["data:v0"]


def test_json_encode(log):
    artifact = log()
    expected = {
        "_type": "artifactVersion",
        "_version": "v0",
        "id": artifact.id,
        "version": "v0",
        "sequenceName": "data",
        "usedAs": None,
    }
    assert json.loads(json.dumps(artifact.json_encode())) == expected


def test_save_of_a_new_artifact_logs_it(api, new):
    new.save(project="elsewhere")
    new.wait()
    assert new.qualified_name == "me/elsewhere/data:v0"
    assert new.logged_by().job_type == "auto"


def test_save_of_a_new_artifact_logs_it_as_the_present_run_does(api, new):
    with artfs.init(project="demo") as run:
        new.save()
    assert new.logged_by().id == run.id


def test_wait(api, new, place):
    with new.new_file("f") as file:
        file.write("x")
    run = artfs.init(project="demo")
    run.log_artifact(new)
    assert new.wait() is new
    assert new.wait(timeout=0) is new
    assert new.version == "v0"


def test_wait_of_what_was_never_logged_returns_at_once(new):
    assert new.wait() is new


def test_wait_timeout(api, new, monkeypatch):
    import threading

    from artfs.staging.commit import Committer

    go, run_it = threading.Event(), Committer.run
    monkeypatch.setattr(Committer, "run", lambda *arguments: go.wait() and run_it(*arguments))
    run = artfs.init(project="demo")
    run.log_artifact(new)
    with pytest.raises(WaitTimeoutError, match=r"not done after 0\.01 s"):
        new.wait(timeout=0.01)
    with pytest.raises(ArtifactNotLoggedError, match="is being logged"):
        _ = new.version
    go.set()
    assert new.wait().version == "v0"


def test_wait_raises_what_the_logging_failed_with_and_the_files_are_kept(api, log, new, place):
    log(kind="model")
    with new.new_file("weights") as file:
        file.write("x")
    run = artfs.init(project="demo")
    run.log_artifact(new)
    with pytest.raises(ValueError, match="type 'model'"):
        new.wait()
    assert list(new.manifest.entries) == ["weights"]
    with pytest.raises(ValueError, match="type 'model'"):
        run.finish()
    assert api.run(f"demo/{run.id}").state == "failed"


def test_new_draft(api, log, place):
    log(files={"a": b"1", "d/b": b"2"}, metadata={"k": 1})
    draft = api.artifact("demo/data").new_draft()
    draft.remove("d/b")
    with draft.new_file("c") as file:
        file.write("3")
    assert draft.is_draft()
    with artfs.init(project="demo") as run:
        run.log_artifact(draft)
    assert draft.qualified_name == "me/demo/data:v1"
    assert tree_of(draft.download()) == {"a": b"1", "c": b"3"}
    assert api.artifact("demo/data:v1").metadata == {"k": 1}
    assert tree_of(api.artifact("demo/data:v0").download()) == {"a": b"1", "d": None, "d/b": b"2"}


def test_files_that_the_user_writes_are_as_the_umask_says(log, place):
    before = os.umask(0o027)
    try:
        root = pathlib.Path(log(files={"a": b"1"}).download())
    finally:
        os.umask(before)
    assert oct((root / "a").stat().st_mode & 0o777) == "0o640"
