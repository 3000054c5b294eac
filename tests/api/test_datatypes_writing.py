"""Objects are written as the SDK writes them: the same files, and nothing else anywhere."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import wandb
import wandb.data_types

import artfs
from artfs.errors import ArtifactFinalizedError, InvalidInputError
from tests.api import datatypes as samples


@pytest.fixture
def sdk(tmp_path, monkeypatch):
    """Return makers of artifacts of the SDK, whose staging is thrown away."""
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "sdk"))
    return lambda: wandb.Artifact("data", "dataset")


@pytest.fixture
def new(fresh):
    return lambda: artfs.Artifact("data", "dataset")


@pytest.fixture
def served(place):
    """Serve an image and a sound from the address that is returned."""
    samples.image_file(place)
    samples.audio(place)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=place)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def contents(artifact):
    return {path: entry.digest for path, entry in artifact.manifest.entries.items()}


def json_of(artifact, path):
    return json.loads(Path(artifact.manifest.entries[path].local_path).read_bytes())


@pytest.mark.parametrize("kind", samples.DETERMINISTIC)
def test_an_object_is_the_files_that_the_sdk_makes_of_it(kind, new, sdk, place):
    ours, theirs = new(), sdk()
    obj = samples.DETERMINISTIC[kind](place)
    entry = ours.add(obj, "things/one")
    expected = theirs.add(obj, "things/one")
    assert contents(ours) == contents(theirs)
    assert ours.digest == theirs.digest
    assert (entry.path, entry.digest, entry.size) == (expected.path, expected.digest, expected.size)


def test_setting_an_item_adds_it(new, sdk, place):
    ours, theirs = new(), sdk()
    ours["t"] = theirs["t"] = samples.table_of_images(place)
    assert contents(ours) == contents(theirs)


def test_a_file_that_was_added_is_not_added_again_as_media(new, sdk, place):
    one, two = samples.image_file(place, "one.png"), samples.image_file(place, "images/two.png", seed=8)
    ours, theirs = new(), sdk()
    for artifact in (ours, theirs):
        artifact.add_file(str(one), "first.png")
        artifact.add_dir(str(two.parent), "all")
        artifact.add(wandb.Table(["image"], [[wandb.Image(str(one))], [wandb.Image(str(two))]]), "t")
    assert set(contents(ours)) == {"first.png", "all/two.png", "t.table.json"}
    assert contents(ours) == contents(theirs)


def test_a_file_that_changed_after_it_was_added_is_added_as_it_is_now(new, place):
    file = samples.image_file(place, "one.png")
    artifact = new()
    artifact.add_file(str(file), "first.png")
    samples.image_file(place, "one.png", seed=9)
    artifact.add(wandb.Image(str(file)), "i")
    path = json_of(artifact, "i.image-file.json")["path"]
    assert path.startswith("media/images/")
    assert Path(artifact.manifest.entries[path].local_path).read_bytes() == file.read_bytes()


def test_tables_that_were_added_are_those_of_a_join(new, sdk, place):
    join = samples.joined(place)
    ours, theirs = new(), sdk()
    for artifact in (ours, theirs):
        artifact.add(join._table1, "left")
        artifact.add(join._table2, "right")
        artifact.add(join, "join")
    assert json_of(ours, "join.joined-table.json")["table1"] == "left.table.json"
    assert contents(ours) == contents(theirs)


def test_a_join_brings_its_tables(new, sdk, place):
    join = samples.joined(place)
    ours, theirs = new(), sdk()
    ours.add(join, "join")
    theirs.add(join, "join")
    assert contents(ours) == contents(theirs)  # the names are made of id(join)


def test_a_join_may_name_a_file_of_another_artifact(new, log, place):
    first = new()
    first.add(samples.table(place), "numbers")
    with artfs.init(project="demo") as run:
        run.log_artifact(first)
    first.wait()
    second = artfs.Artifact("join", "dataset")
    entry = first.get_entry("numbers.table.json")
    second.add(wandb.JoinedTable(entry, samples.table(place), "word"), "join")
    table1 = json_of(second, "join.joined-table.json")["table1"]
    assert second.manifest.entries[table1].ref == entry.ref_url()


def test_media_by_a_url_is_a_reference(new, sdk, place, served):
    ours, theirs = new(), sdk()
    for artifact in (ours, theirs):
        artifact.add(wandb.Image(f"{served}/photo.png"), "i")
        artifact.add(wandb.Audio(f"{served}/beep.wav"), "a")
    assert contents(ours) == contents(theirs)
    refs = {entry.ref for entry in ours.manifest.entries.values() if entry.ref}
    assert refs == {f"{served}/photo.png", f"{served}/beep.wav"}


def test_digests_of_another_algorithm_are_those_of_the_sdk(new, sdk, place, monkeypatch):
    monkeypatch.setenv("ARTFS_ALGORITHM", "XXH128")
    ours, theirs = new(), wandb.Artifact("data", "dataset", digest_algorithm="XXH128")
    table = samples.table_of_arrays(place)
    ours.add(table, "t")
    theirs.add(table, "t")
    assert contents(ours) == contents(theirs)
    assert ours.digest == theirs.digest


def test_names_with_several_parts_are_normalised(new, sdk, place):
    ours, theirs = new(), sdk()
    for artifact in (ours, theirs):
        artifact.add(samples.table(place), "a//b/./c")
    assert contents(ours) == contents(theirs)


# The same object again -----------------------------------------------------------------------------------------------


def test_an_object_is_added_once(new, sdk, place):
    table = samples.table_of_arrays(place)
    ours, theirs = new(), sdk()
    for artifact in (ours, theirs):
        first = artifact.add(table, "t")
        again, other = artifact.add(table, "t"), artifact.add(table, "another")
        assert first.path == again.path == other.path == "t.table.json"
    assert contents(ours) == contents(theirs)


def test_an_object_that_has_changed_is_another_one(new, place):
    table = samples.table(place)
    artifact = new()
    artifact.add(table, "t")
    table.add_data(3, 1.5, "three", None)
    with pytest.raises(ValueError, match="same path twice"):
        artifact.add(table, "t")
    artifact.add(table, "more")
    assert json_of(artifact, "more.table.json")["nrows"] == 3
    artifact.add(table, "t", overwrite=True)
    assert json_of(artifact, "t.table.json")["nrows"] == 3


def test_an_equal_object_under_the_same_name_changes_nothing(new, place):
    artifact = new()
    assert artifact.add(samples.table(place), "t") == artifact.add(samples.table(place), "t")


def test_a_name_that_is_taken_is_refused_and_nothing_is_added(new, place):
    artifact = new()
    artifact.add(samples.table(place), "t")
    before = contents(artifact)
    with pytest.raises(InvalidInputError, match="Cannot add the same path twice"):
        artifact.add(samples.table_of_images(place), "t")
    assert contents(artifact) == before
    artifact.add(samples.table_of_images(place), "t", overwrite=True)
    assert json_of(artifact, "t.table.json")["columns"] == ["id", "image"]


def test_an_object_that_was_removed_can_be_added_again(new, place):
    artifact, table = new(), samples.table(place)
    artifact.add(table, "t")
    artifact.remove("t.table.json")
    artifact.add(table, "u")
    assert set(contents(artifact)) == {"u.table.json"}


def test_an_object_goes_to_several_artifacts_and_is_as_before(new, sdk, place):
    for table in (samples.table_of_arrays(place), samples.table_of_keys(place), samples.table_of_media(place)):
        before, types = dict(vars(table)), dict(table._column_types.params["type_map"])
        one, two = new(), new()
        one.add(table, "t")
        two.add(table, "t")
        assert contents(one) == contents(two)
        assert {key: id(value) for key, value in vars(table).items()} == {
            key: id(value) for key, value in before.items()
        }
        assert table._column_types.params["type_map"] == types
        assert not table.has_been_logged()


def test_a_table_of_arrays_takes_more_rows_after_it_was_added(new, place):
    table, artifact = samples.table_of_arrays(place), new()
    artifact.add(table, "t")
    table.add_data(np.zeros(4), np.zeros((2, 3)))
    artifact.add(table, "t", overwrite=True)
    assert json_of(artifact, "t.table.json")["nrows"] == 4


def test_two_columns_with_different_classes_keep_them(new, place):
    table = wandb.Table(["one", "two"])
    table.cast("one", wandb.Classes([{"id": 1, "name": "cat"}]).get_type())
    table.cast("two", wandb.Classes([{"id": 1, "name": "tree"}]).get_type())
    table.add_data(1, 1)
    artifact = new()
    artifact.add(table, "t")
    types = json_of(artifact, "t.table.json")["column_types"]["params"]["type_map"]
    names = []
    for column in ("one", "two"):
        path = types[column]["params"]["classes_obj"]["path"]
        names.append(json_of(artifact, path)["class_set"][0]["name"])
    assert names == ["cat", "tree"]


def test_threads_add_the_same_table_to_their_artifacts(new, place):
    table = samples.table_of_media(place)
    artifacts = [new() for _ in range(4)]
    threads = [threading.Thread(target=artifact.add, args=(table, "t")) for artifact in artifacts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [contents(artifact) for artifact in artifacts[1:]] == [contents(artifacts[0])] * 3
    assert "t.table.json" in contents(artifacts[0])


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", ["text", {"a": 1}, None, wandb.Histogram([1, 2]), wandb.Table])
def test_what_is_no_data_type_is_a_type_error_as_in_the_sdk(obj, new, sdk):
    for artifact in (new(), sdk()):
        with pytest.raises(TypeError, match="expected one of"):
            artifact.add(obj, "x")


def test_what_the_sdk_refuses_is_refused_and_leaves_nothing(new, place):
    artifact = new()
    mask = wandb.data_types.ImageMask({"path": str(samples.image_file(place))}, "truth")
    with pytest.raises(ValueError, match="classes must be passed"):
        artifact.add(wandb.Image(samples.pixels(), masks={"truth": mask}), "x")
    model = place / "shape.obj"
    model.write_bytes(b"v 0 0 0")
    with pytest.raises(ValueError, match="not yet supported"):
        artifact.add(wandb.Object3D(str(model)), "x")
    assert contents(artifact) == {}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_a_name_that_is_no_path_is_refused(name, new, place):
    artifact = new()
    with pytest.raises(ValueError):
        artifact.add(samples.table(place), name)
    assert contents(artifact) == {}


def test_a_finalized_artifact_takes_no_object(new, place):
    artifact = new()
    artifact.finalize()
    with pytest.raises(ArtifactFinalizedError):
        artifact.add(samples.table(place), "t")
    with pytest.raises(ArtifactFinalizedError):
        artifact["t"] = samples.table(place)


# Nothing besides -----------------------------------------------------------------------------------------------------

PROGRAM = """
import os, tempfile
import numpy as np, artfs
table = artfs.Table(columns=["image", "array"])
for n in range(3):
    table.add_data(artfs.Image(np.full((4, 4, 3), n, np.uint8)), np.full((2, 2), n))
artifact = artfs.Artifact("data", "dataset")
artifact.add(table, "t")
with artfs.init(project="demo") as run:
    run.log_artifact(artifact)
artifact.wait()
artifact.get("t")
children = open(f"/proc/self/task/{os.getpid()}/children").read()
assert not children, children
"""


def test_nothing_is_left_and_nothing_is_started(place, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "XDG_"))}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], env=environment, cwd=place, check=True, timeout=120)
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert list(temporary.iterdir()) == []
    assert {path.relative_to(place).parts[0] for path in place.rglob("*")} == {"artifacts"}


def test_files_of_arrays_do_not_pile_up(new, place):
    from wandb.sdk.data_types._private import MEDIA_TMP

    before = set(Path(MEDIA_TMP.name).glob("*.npz"))
    new().add(samples.table_of_arrays(place), "t")
    assert set(Path(MEDIA_TMP.name).glob("*.npz")) == before
