"""What the fsspec file system shows: paths, listings, errors, and the libraries that read through it."""

import errno
import io
import os
import pickle

import fsspec
import fsspec.core
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

import artfs
from artfs.api.filesystem import ArtfsFileSystem
from artfs.errors import UnreachableError

FILES = {
    "a.txt": b"one\ntwo\n",
    "d/b.bin": b"\0\1\2",
    "d/e/c.csv": b"x,y\n1,2\n3,4\n",
    "odd/a b#c?.txt": b"odd",
    "odd/\u00e4\u65e5[1].txt": b"unicode",
    "empty": b"",
}


@pytest.fixture
def fs(fresh):
    ArtfsFileSystem.clear_instance_cache()
    yield fsspec.filesystem("artfs")
    ArtfsFileSystem.clear_instance_cache()


@pytest.fixture
def data(fs, log):
    return log("data", FILES, aliases=["best"])


def test_fsspec_knows_the_protocol_by_its_entry_point(data):
    fs, path = fsspec.core.url_to_fs("artfs://me/demo/data:best/d/b.bin")
    assert type(fs) is ArtfsFileSystem
    assert path == "me/demo/data:best/d/b.bin"
    with fsspec.open("artfs://me/demo/data:v0/a.txt", "rb") as file:
        assert file.read() == b"one\ntwo\n"
    with fsspec.open("artfs://me/demo/data/latest/a.txt", "r") as file:
        assert list(file) == ["one\n", "two\n"]


def test_every_listed_path_can_be_listed_or_opened(fs, data):
    assert "me" in fs.ls("artfs://", detail=False)
    assert fs.ls("me", detail=False) == ["me/demo"]
    assert fs.ls("me/demo/", detail=False) == ["me/demo/data"]
    names = ["me/demo/data:best", "me/demo/data:latest", "me/demo/data:v0"]
    assert fs.ls("artfs://me/demo/data", detail=False) == names
    for name in names:
        found = fs.find(name)
        assert [path.removeprefix(name + "/") for path in found] == sorted(FILES)
        assert {path.removeprefix(name + "/"): fs.cat_file(path) for path in found} == FILES
        assert {path.removeprefix(name + "/"): fs.open(path).read() for path in found} == FILES
    seen = set()
    for directory, directories, files in fs.walk("artfs://"):
        assert fs.isdir(directory) or directory == ""
        seen |= {f"{directory}/{name}" for name in files}
        assert all(fs.isfile(f"{directory}/{name}") for name in files)
        assert all("/" not in name for name in directories)
    assert seen == {f"{name}/{path}" for name in names for path in FILES}


def test_a_file_has_its_size_digest_and_time_and_a_directory_its_version(fs, data):
    info = fs.info("me/demo/data:best/d/e/c.csv")
    entry = data.manifest.entries["d/e/c.csv"]
    assert (info["name"], info["type"], info["size"]) == ("me/demo/data:best/d/e/c.csv", "file", 12)
    assert (info["digest"], info["ref"], info["version"]) == (entry.digest, None, "v0")
    assert info["created"].isoformat().startswith(data.created_at[:19])
    assert fs.created("me/demo/data:best/d") == fs.modified("me/demo/data:v0/a.txt") == info["created"]
    assert fs.info("me/demo/data/v0/d")["type"] == fs.info("me/demo")["type"] == "directory"
    assert fs.info("me/demo/data:latest") in fs.ls("me/demo/data")
    assert fs.info("me/demo/data:latest/d") in fs.ls("me/demo/data:latest")
    assert fs.info("me/demo/data:latest/a.txt") in fs.ls("me/demo/data:latest")
    assert fs.ls("me/demo/data:v0/a.txt") == [fs.info("me/demo/data:v0/a.txt")]
    assert fs.ukey("me/demo/data:v0/a.txt") == fs.ukey("me/demo/data:best/a.txt") != fs.ukey("me/demo/data:v0/empty")
    assert fs.checksum("me/demo/data:v0/a.txt") != fs.checksum("me/demo/data:v0/empty")
    assert fs.du("me/demo/data:v0") == sum(map(len, FILES.values()))
    assert fs.sizes(["me/demo/data:v0/a.txt", "me/demo/data:v0/empty"]) == [8, 0]
    with pytest.raises(NotImplementedError):
        fs.sign("me/demo/data:v0/a.txt")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("me/demo/data:v0/*.txt", ["me/demo/data:v0/a.txt"]),
        ("me/demo/data:v0/*", [f"me/demo/data:v0/{name}" for name in ("a.txt", "d", "empty", "odd")]),
        ("artfs://me/demo/data:v0/*/", ["me/demo/data:v0/d", "me/demo/data:v0/odd"]),
        ("me/demo/data:v0/**/*.csv", ["me/demo/data:v0/d/e/c.csv"]),
        ("me/demo/data/v0/d/?.bin", ["me/demo/data:v0/d/b.bin"]),
        ("me/demo/data:*", ["me/demo/data:best", "me/demo/data:latest", "me/demo/data:v0"]),
        ("me/demo/*", ["me/demo/data"]),
        ("m*/d*/d*:v*/d/*.bin", ["me/demo/data:v0/d/b.bin"]),
        ("me/demo/data/[bv]*/**/c.csv", ["me/demo/data:best/d/e/c.csv", "me/demo/data:v0/d/e/c.csv"]),
        ("me/*/data/v0/*/", ["me/demo/data:v0/d", "me/demo/data:v0/odd"]),
        ("me/**/c.csv", [f"me/demo/data:{name}/d/e/c.csv" for name in ("best", "latest", "v0")]),
        ("me/*/nothing:v0/*", []),
        ("nobody/*", []),
    ],
)
def test_patterns_match_files_and_versions(fs, data, pattern, expected):
    found = fs.glob(pattern)
    assert [path.rstrip("/") for path in found] == expected
    assert list(fs.glob(pattern, detail=True)) == found


def test_find_goes_down_to_a_depth_with_directories_where_wanted(fs, data):
    root = "me/demo/data:v0"
    assert fs.find(root, maxdepth=1) == [f"{root}/a.txt", f"{root}/empty"]
    assert fs.find(root, maxdepth=2, withdirs=True) == sorted(
        [root, *(f"{root}/{p}" for p in ("a.txt", "empty", "d", "odd", "d/b.bin", "d/e")), *fs.find(f"{root}/odd")]
    )
    everything = fs.find(root, withdirs=True, detail=True)
    assert everything == fs.find(root, maxdepth=9, withdirs=True, detail=True)
    assert [path for path, info in everything.items() if info["type"] == "directory"] == [
        root, f"{root}/d", f"{root}/d/e", f"{root}/odd",
    ]  # fmt: skip
    assert fs.find(f"{root}/d/e", withdirs=True) == [f"{root}/d/e", f"{root}/d/e/c.csv"]
    assert fs.find(f"{root}/a.txt") == [f"{root}/a.txt"]
    assert fs.find("me/demo/data:v7") == fs.find("me/nothing") == []
    with pytest.raises(ValueError):
        fs.find(root, maxdepth=0)


def test_thousands_of_files_are_found_and_listed(fs, log, monkeypatch):
    names = [f"shard-{number % 10}/{number:05}.txt" for number in range(5000)]
    log("many", dict.fromkeys(names, b"x"))
    with monkeypatch.context() as patch:
        patch.setattr(ArtfsFileSystem, "ls", None)  # one pass over the index, no listing of each directory
        found = fs.find("me/demo/many:v0", detail=True)
    assert list(found) == sorted(f"me/demo/many:v0/{name}" for name in names)
    assert {info["size"] for info in found.values()} == {1}
    assert len(fs.ls("me/demo/many:v0/shard-3")) == 500
    assert len(fs.glob("me/demo/many:v0/shard-3/*.txt")) == 500


MISSING = [
    "nobody", "me/nothing", "me/demo/nothing", "me/demo/data:v7", "me/demo/data:nothing", "me/demo/data/v0/nothing", "nobody/demo/data:v0",
    "me/demo/data:v0/a.txt/below", "me/demo/data:v0/..", "me/demo/data:", "me/demo/da\0ta:v0", ".x/y", "me/.z", "me/demo/data:v0/\udc80",
]  # fmt: skip


@pytest.mark.parametrize("path", MISSING)
def test_what_is_missing_is_a_file_not_found_error(fs, data, path):
    for look in (fs.info, fs.ls, fs.cat_file, fs.open, fs.created, fs.ukey):
        with pytest.raises(FileNotFoundError):
            look(path)
    assert not fs.exists(path)
    assert not fs.isdir(path)
    assert not fs.isfile(path)
    assert isinstance(fs.cat_ranges([path], 0, 1)[0], FileNotFoundError)


def test_a_directory_cannot_be_opened(fs, data):
    for path in ("", "me", "me/demo/data", "me/demo/data:v0", "me/demo/data:v0/d"):
        with pytest.raises(IsADirectoryError):
            fs.open(path)


def test_a_registry_that_does_not_answer_is_an_os_error_and_no_absence(fs, data, monkeypatch):
    def refuse(*_):
        raise UnreachableError("the registry does not answer", hint="try later")

    monkeypatch.setattr(fs.client.registry, "version", refuse)
    for look in (fs.exists, fs.isdir, fs.isfile, fs.open):
        with pytest.raises(OSError, match=r"does not answer.*try later") as caught:
            look("me/demo/data:latest/a.txt")
        assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(
    "change",
    [
        lambda fs, path: fs.open(path, "wb"),
        lambda fs, path: fs.open(path, "r+b"),
        lambda fs, path: fs.open(path, "a"),
        lambda fs, path: fs.pipe(path, b""),
        lambda fs, path: fs.pipe({path: b""}),
        lambda fs, path: fs.write_text(path, ""),
        lambda fs, path: fs.put(__file__, path),
        lambda fs, path: fs.rm(path),
        lambda fs, path: fs.rm("me/demo/data", recursive=True),
        lambda fs, path: fs.mv(path, path + "2"),
        lambda fs, path: fs.cp(path, path + "2"),
        lambda fs, path: fs.touch(path),
        lambda fs, path: fs.mkdir("me/demo/data:v0/new"),
        lambda fs, path: fs.makedirs("me/demo/data:v0/d", exist_ok=True),
        lambda fs, path: fs.rmdir("me/demo/data:v0/d"),
    ],
)
def test_nothing_can_be_changed(fs, data, change):
    with pytest.raises(OSError) as caught:
        change(fs, "me/demo/data:v0/a.txt")
    assert caught.value.errno == errno.EROFS


def test_an_alias_that_moved_is_followed_and_an_open_file_stays(fs, log):
    log("data", {"a": b"old"})
    assert fs.cat_file("me/demo/data:latest/a") == b"old"
    file = fs.open("me/demo/data:latest/a")
    log("data", {"a": b"new, and longer", "b": b""})
    assert fs.cat_file("me/demo/data:latest/a") == b"new, and longer"
    assert len(fs.ls("me/demo/data:latest")) == 2
    assert "me/demo/data:v1" in fs.ls("me/demo/data", detail=False)
    assert pickle.loads(pickle.dumps(file)).read() == file.read() == b"old"


def test_a_deleted_version_is_not_there(fs, log, monkeypatch):
    monkeypatch.setenv("ARTFS_METADATA_TTL", "0")
    artifact = log("data", {"a": b"old"})
    assert fs.exists("me/demo/data:v0/a")
    artifact.delete(delete_aliases=True)
    with pytest.raises(FileNotFoundError):
        fs.open("me/demo/data:v0/a")


# To local files -----------------------------------------------------------------------------------------------------


def test_files_are_written_whole_with_the_time_of_the_version(fs, data, place):
    (place / "here").write_text("in the way")
    fs.get_file("me/demo/data:v0/a.txt", str(place / "here"))
    fs.get("me/demo/data:v0/d/b.bin", str(place / "new" / "deep" / "b"))
    fs.get("me/demo/data:v0/odd/a b#c?.txt", str(place) + "/")
    assert (place / "here").read_bytes() == FILES["a.txt"]
    assert (place / "new" / "deep" / "b").read_bytes() == FILES["d/b.bin"]
    assert (place / "a b#c?.txt").read_bytes() == b"odd"
    assert (place / "here").stat().st_mtime == fs.created("me/demo/data:v0").timestamp()
    target = io.BytesIO()
    fs.get_file("me/demo/data:v0/a.txt", target)
    assert target.getvalue() == FILES["a.txt"]
    with pytest.raises(FileNotFoundError):
        fs.get_file("me/demo/data:v0/nothing", str(place / "x"))
    with pytest.raises(IsADirectoryError):
        fs.get_file("me/demo/data:v0/a.txt", str(place))
    assert sorted(os.listdir(place)) == ["a b#c?.txt", "here", "new"]


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_directories_are_written_where_fsspec_puts_them(fs, data, place):
    fs.get("artfs://me/demo/data:v0", str(place / "whole"), recursive=True)
    assert contents(place / "whole") == FILES
    fs.get("me/demo/data/v0/d/", str(place / "d1"), recursive=True)
    assert contents(place / "d1") == {"b.bin": FILES["d/b.bin"], "e/c.csv": FILES["d/e/c.csv"]}
    (place / "there").mkdir()
    fs.get("me/demo/data:v0/d", str(place / "there"), recursive=True)
    assert contents(place / "there") == {"d/b.bin": FILES["d/b.bin"], "d/e/c.csv": FILES["d/e/c.csv"]}
    fs.get("me/demo/data:v0/**/*.csv", str(place / "some") + "/")
    assert contents(place / "some") == {"c.csv": FILES["d/e/c.csv"]}
    fs.get(["me/demo/data:v0/a.txt", "me/demo/data:v0/empty"], [str(place / "l" / "1"), str(place / "l" / "2")])
    assert contents(place / "l") == {"1": FILES["a.txt"], "2": b""}


# Libraries ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames(fs, log):
    frame = pd.DataFrame({"n": range(20_000), "word": [f"w{n}" for n in range(20_000)]})
    files = {"table.csv": frame.to_csv(index=False).encode(), "table.csv.gz": b""}
    target = io.BytesIO()
    frame.to_csv(target, index=False, compression="gzip")
    files["table.csv.gz"] = target.getvalue()
    for part in range(4):
        files[f"parts/kind={part % 2}/{part}.parquet"] = frame.iloc[part * 5000 : part * 5000 + 5000].to_parquet()
    log("frames", files)
    return frame


def test_pandas_reads_csv_and_parquet(frames):
    assert pd.read_csv("artfs://me/demo/frames:latest/table.csv").equals(frames)
    assert pd.read_csv("artfs://me/demo/frames:latest/table.csv.gz").equals(frames)
    part = pd.read_parquet("artfs://me/demo/frames:v0/parts/kind=1/1.parquet")
    assert part["n"].tolist() == list(range(5000, 10000))


def test_pandas_reads_from_the_registry_that_is_named(frames, place, monkeypatch):
    settings = {"data_dir": str(place.parent / "data"), "cache_dir": str(place / "c"), "state_dir": str(place / "s")}
    monkeypatch.setenv("ARTFS_DATA_DIR", str(place / "elsewhere"))
    found = pd.read_csv("artfs://me/demo/frames:latest/table.csv", storage_options=settings)
    assert found.equals(frames)


def test_pyarrow_reads_tables_and_data_sets(fs, frames):
    table = pa.parquet.read_table("me/demo/frames:v0/parts/kind=0/0.parquet", filesystem=fs, columns=["n"])
    assert table["n"].to_pylist() == list(range(5000))
    table = pa.parquet.read_table("fsspec+artfs://me/demo/frames:v0/parts/kind=0/0.parquet")
    assert table.num_rows == 5000
    found = pa.dataset.dataset("me/demo/frames:v0/parts", filesystem=fs, partitioning="hive")
    assert found.count_rows() == 20_000
    kind = found.to_table(filter=pa.dataset.field("kind") == 1)
    assert sorted(kind["n"].to_pylist()) == [*range(5000, 10000), *range(15000, 20000)]


def test_two_registries_are_two_file_systems(fs, data, tmp_path):
    other = ArtfsFileSystem(data_dir=str(tmp_path / "other"), cache_dir=str(tmp_path / "other-cache"))
    assert other != fs
    assert not other.exists("me/demo/data:v0")
    assert fs.exists("me/demo/data:v0")
    assert (
        other.client
        is ArtfsFileSystem(data_dir=str(tmp_path / "other"), cache_dir=str(tmp_path / "other-cache"), x=None).client
    )
    other.client.close()


def test_a_pickled_file_system_finds_the_registry_of_init(fresh, tmp_path):
    ArtfsFileSystem.clear_instance_cache()
    with artfs.init(project="demo", data_dir=str(tmp_path / "named")) as run:
        artifact = artfs.Artifact("data", "dataset")
        with artifact.new_file("a") as file:
            file.write("x")
        run.log_artifact(artifact).wait()
        state = pickle.dumps(ArtfsFileSystem())
        fresh.client, client = None, fresh.client  # as in a process that knows nothing of it
        try:
            assert pickle.loads(state).cat_file("me/demo/data:v0/a") == b"x"
            assert not ArtfsFileSystem().exists("me/demo/data:v0/a")
        finally:
            fresh.client.close()
            fresh.client = client
