"""Objects come back as they were added, and only their own files are fetched."""

import threading
from pathlib import Path

import numpy as np
import pytest
import wandb
import wandb.data_types

import artfs
from artfs.errors import ArtifactNotLoggedError, IntegrityError
from artfs.model.digest import Digest
from tests.api import datatypes as samples


@pytest.fixture
def logged(fresh, place):
    """Log an artifact made of objects (name: object) and files (path: bytes), and return it as it is looked up."""

    def logged(objects, files=None, name="data"):
        artifact = artfs.Artifact(name, "dataset")
        for path, data in (files or {}).items():
            with artifact.new_file(path, "wb") as file:
                file.write(data)
        for key, obj in objects.items():
            artifact[key] = obj
        with artfs.init(project="demo") as run:
            run.log_artifact(artifact)
        artifact.wait()
        return artfs.Api().artifact(f"demo/{name}:{artifact.version}")

    return logged


def downloaded(place):
    """Return the paths of the files that were downloaded of the one artifact."""
    (root,) = (place / "artifacts").iterdir()
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def same(one, other):
    """Return whether two media files have the same bytes."""
    return type(one) is type(other) and Path(one._path).read_bytes() == Path(other._path).read_bytes()


MEDIA = [
    "Audio", "Audio from data", "Bokeh", "Html", "Html from a file", "Image", "Image from a file", "ImageMask", "Molecule", "Object3D", "Video",
]  # fmt: skip


@pytest.mark.parametrize("kind", MEDIA)
def test_media_come_back(kind, logged, place):
    obj = samples.DETERMINISTIC[kind](place)
    artifact = logged({"things/one": obj}, {"other": b"1"})
    found = artifact.get("things/one")
    assert same(found, obj)
    assert getattr(found, "_caption", None) == (None if kind == "Video" else obj._caption)
    assert len(downloaded(place)) == 2  # its JSON and its file
    assert same(artifact["things/one"], obj)


def test_classes_come_back(logged):
    assert logged({"c": samples.classes()}).get("c") == samples.classes()


def test_bounding_boxes_come_back(logged):
    boxes = wandb.data_types.BoundingBoxes2D(samples.boxes(), "guess")
    assert logged({"b": boxes}).get("b")._val == samples.boxes()["box_data"]


def test_an_image_comes_back_with_masks_boxes_and_classes(logged, place):
    obj = samples.annotated()
    found = logged({"i": obj}, {"other": b"1"}).get("i")
    assert np.array_equal(np.asarray(found.image), np.asarray(obj.image))
    assert found._caption == "a scene"
    assert same(found._masks["truth"], obj._masks["truth"])
    assert found._boxes["guess"]._val == obj._boxes["guess"]._val
    assert {one["name"] for one in found._classes._class_set} == {"sky", "tree"}
    assert "other" not in downloaded(place)


@pytest.mark.parametrize(
    "kind", [kind for kind in samples.DETERMINISTIC if kind.startswith("Table") and "increases" not in kind]
)
def test_tables_come_back(kind, logged, place):
    table = samples.DETERMINISTIC[kind](place)
    found = logged({"t": table}).get("t")
    assert found.columns == table.columns
    with samples.quiet_pillow():
        for row, expected in zip(found.data, table.data, strict=True):
            for cell, one in zip(row, expected, strict=True):
                if isinstance(one, wandb.Image):  # the SDK loads classes in another order, where boxes use some
                    assert np.array_equal(np.asarray(cell.image), np.asarray(one.image))
                elif isinstance(one, np.ndarray):
                    assert np.array_equal(cell, one)
                else:
                    assert cell == one
    if kind == "Table of keys":
        assert found._column_types.params["type_map"]["who"].params["table"].get_column("age") == [30, 40]


def test_a_table_that_increases_comes_back(logged):
    table = wandb.Table(["a"], [[1], [2]], log_mode="INCREMENTAL")
    assert logged({"0-1.t": table}).get("0-1.t").data == [[1], [2]]


def test_a_joined_table_comes_back(logged, place):
    join = samples.joined(place)
    artifact = logged({"join": join}, {"other": b"1"})
    with samples.quiet_pillow():
        assert artifact.get("join") == join
        assert artifact.get("join.joined-table.json") == join  # whose name ends like that of a table
    assert "other" not in downloaded(place)


def test_a_partitioned_table_comes_back_part_by_part(logged, place):
    parts = {f"parts/{n}": wandb.Table(["n", "i"], [[n, wandb.Image(samples.pixels(n))]]) for n in range(3)}
    artifact = logged(parts | {"all": wandb.data_types.PartitionedTable("parts")}, {"partsmore": b"1"})
    found = artifact["all"]
    assert downloaded(place) == {"all.partitioned-table.json"}
    rows = [row for _, row in found.iterrows()]
    assert [row[0] for row in rows] == [0, 1, 2]
    assert np.array_equal(np.asarray(rows[2][1].image), samples.pixels(2))


def test_only_the_files_of_the_object_are_fetched(logged, place):
    others = {f"d{n % 5}/file-{n}": b"%d" % n for n in range(50)}
    artifact = logged({"t": samples.table_of_images(place), "u": samples.annotated(9)}, others)
    images = [row[1] for row in artifact.get("t").data]
    needed = {"t.table.json", *(image._path.partition("data:v0/")[2] for image in images)}
    assert len(needed) == 4
    assert downloaded(place) == needed
    for seed, image in enumerate(images):
        assert np.array_equal(np.asarray(image.image), samples.pixels(seed))
    assert downloaded(place) == needed


def test_a_file_that_was_damaged_on_the_disk_is_mended(logged, place):
    artifact = logged({"i": wandb.Image(samples.pixels())})
    file = Path(artifact.get("i")._path)
    file.write_bytes(b"damaged")
    assert np.array_equal(np.asarray(artifact.get("i").image), samples.pixels())


@pytest.mark.expects_warning("is damaged or missing")
def test_damaged_bytes_in_the_store_are_never_an_object(logged, place, tmp_path):
    artifact = logged({"t": samples.table(place)})
    digest = Digest.from_base64(artifact.get_entry("t.table.json").digest).hex
    blob = tmp_path / "data/store/md5" / digest[:2] / digest[2:]
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes().replace(b"one", b"two"))
    with pytest.raises(IntegrityError):
        artifact.get("t")


def test_a_name_that_is_not_there_is_none(logged, place):
    artifact = logged({"t": samples.table(place)}, {"a.txt": b"1", "u.json": b"{}"})
    assert [artifact.get(name) for name in ("nothing", "a.txt", "u", "T", "", "t/x", "/t")] == [None] * 7
    assert artifact["nothing"] is None


def test_the_name_may_come_with_its_suffix(logged, place):
    artifact = logged({"d/t": samples.table(place)})
    assert artifact.get("d/t.table.json") == artifact.get("d/t") == samples.table(place)


def test_before_logging_there_is_nothing_to_get(fresh, place):
    artifact = artfs.Artifact("data", "dataset")
    artifact["t"] = samples.table(place)
    with pytest.raises(ArtifactNotLoggedError):
        artifact.get("t")
    with pytest.raises(ArtifactNotLoggedError):
        artifact["t"]


def test_threads_get_at_once(logged, place):
    artifact = logged({"t": samples.table_of_media(place)})
    found, start = [], threading.Barrier(6)

    def get():
        start.wait()
        found.append(artifact.get("t"))

    threads = [threading.Thread(target=get) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(same(table.data[1][1], found[0].data[1][1]) for table in found)


# Again into an artifact ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in samples.DETERMINISTIC if kind != "PartitionedTable"])
def test_what_came_from_an_artifact_can_be_added_to_another(kind, logged, place):
    name = "0-1.t" if "increases" in kind else "t"
    first = logged({name: samples.DETERMINISTIC[kind](place)})
    copy = logged({name: first.get(name)}, name="copy")
    kept = {path: entry.digest for path, entry in copy.manifest.entries.items()}
    if kind not in {
        "Image with masks, boxes and classes",
        "Table of media",
    }:  # their classes come back in another order
        assert copy.digest == first.digest
    media = {path: entry.digest for path, entry in first.manifest.entries.items() if not path.endswith(".json")}
    assert media.items() <= kept.items()
    assert not any(entry.ref for entry in copy.manifest.entries.values())


def test_parts_of_a_table_come_along(logged, place):
    parts = {f"parts/{n}": wandb.Table(["n", "i"], [[n, wandb.Image(samples.pixels(n))]]) for n in range(3)}
    first = logged(parts | {"all": wandb.data_types.PartitionedTable("parts")})
    copy = logged({"all": first.get("all")}, name="copy")
    assert copy.digest == first.digest
    assert [row[0] for _, row in copy.get("all").iterrows()] == [0, 1, 2]


def test_a_join_comes_along(logged, place):
    join = samples.joined(place)
    first = logged({"left": join._table1, "right": join._table2, "join": join})
    copy = logged({"join": first.get("join")}, name="copy")
    with samples.quiet_pillow():
        assert copy.get("join") == join
    assert copy.digest == first.digest


def test_a_downloaded_file_that_is_gone_is_downloaded_again(logged, place):
    first = logged({"t": samples.table_of_images(place)})
    table = first.get("t")
    for row in table.data:
        Path(row[1]._path).unlink()
    copy = logged({"t": table}, name="copy")
    assert copy.digest == first.digest


def test_rows_of_several_artifacts_make_one_table(logged, place):
    other = wandb.Table(["id", "image"], [[9, wandb.Image(samples.pixels(9))]])
    artifacts = logged({"t": samples.table_of_images(place)}), logged({"t": other}, name="more")
    rows = [row for artifact in artifacts for row in artifact.get("t").data]
    merged = logged({"t": wandb.Table(["id", "image"], rows)}, name="merged").get("t")
    assert [row[0] for row in merged.data] == [0, 1, 2, 9]
    assert np.array_equal(np.asarray(merged.data[3][1].image), samples.pixels(9))


def test_a_file_of_the_same_name_and_other_content_is_kept_apart(logged, place):
    one = logged({"i": wandb.Image(samples.pixels(1))})
    image = one.get("i")
    name = one._local_path_to_name(image._path)
    copy = logged({"i": image}, {name: b"taken"}, name="copy")
    assert np.array_equal(np.asarray(copy.get("i").image), samples.pixels(1))


def test_an_object_by_reference_is_read_where_it_is(logged, place):
    first = logged({"t": samples.table_of_images(place)})
    second = artfs.Artifact("second", "dataset")
    second.add_reference(first.get_entry("t.table.json"), "mine.table.json")
    with artfs.init(project="demo") as run:
        run.log_artifact(second)
    second.wait()
    found = second.get("mine")
    assert np.array_equal(np.asarray(found.data[2][1].image), samples.pixels(2))


def test_an_image_that_lies_elsewhere_is_fetched_from_there(fresh, place):
    file = samples.image_file(place)
    artifact = artfs.Artifact("refs", "dataset")
    artifact.add_reference(f"file://{file}", "media/images/photo.png")
    with artifact.new_file("i.image-file.json") as out:
        out.write('{"_type": "image-file", "path": "media/images/photo.png"}')
    with artfs.init(project="demo") as run:
        run.log_artifact(artifact)
    artifact.wait()
    assert np.array_equal(np.asarray(artifact.get("i").image), samples.pixels(7))
