"""torch and datasets, as they are, on artifacts: workers of a DataLoader, ``torch.load`` and ``load_dataset`` of ``artfs://`` paths.

They are too big to be installed for every test: ``make test-frameworks``, or ``pip install torch datasets`` before ``make test-heavy``.
"""

import fsspec
import pandas
import pytest

import artfs

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("default")]  # what they warn of is not ours

HOW = "pip install torch datasets"
COUNT = 12
STARTS = ["fork", "spawn"]


@pytest.fixture
def torch(place):
    return pytest.importorskip("torch", reason=HOW)


@pytest.fixture
def load_dataset(place, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    load = pytest.importorskip("datasets", reason=HOW).load_dataset
    return lambda *names, **named: load(*names, cache_dir=str(place / "hf"), **named)


@pytest.fixture
def tensors(torch, log, place):
    """An artifact of tensors, each in a file of its own."""
    for number in range(COUNT):
        torch.save(torch.tensor([number]), place / f"{number}.pt")
    return log("tensors", {f"{number}.pt": (place / f"{number}.pt").read_bytes() for number in range(COUNT)})


@pytest.fixture
def tables(log, place):
    files = {}
    for number in range(3):
        pandas.DataFrame({"x": range(number * 100, number * 100 + 100)}).to_parquet(place / "part.parquet")
        files[f"parts/{number}.parquet"] = (place / "part.parquet").read_bytes()
    return log("tables", files | {"t.csv": b"a,b\n1,2\n", "j.jsonl": b'{"a": 1}\n{"a": 2}\n'})


class Files:
    """A dataset as programs have it. ``source`` is an artifact, a file system, or None for the URL alone."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return COUNT

    def __getitem__(self, number):
        import torch

        match self.source:
            case None:
                with fsspec.open(f"artfs://me/demo/tensors:v0/{number}.pt", "rb") as file:
                    return torch.load(file)
            case artfs.Artifact():
                return torch.load(self.source.get_entry(f"{number}.pt").download())
            case _:
                with self.source.open(f"me/demo/tensors:latest/{number}.pt", "rb") as file:
                    return torch.load(file)


def all_of(torch, source, start):
    loader = torch.utils.data.DataLoader(Files(source), batch_size=4, num_workers=2, multiprocessing_context=start)
    return sorted(int(number) for batch in loader for number in batch)


@pytest.mark.parametrize("start", STARTS)
def test_workers_read_through_urls(torch, tensors, start):
    assert all_of(torch, None, start) == list(range(COUNT))


@pytest.mark.parametrize("start", STARTS)
def test_workers_read_through_a_file_system_of_their_parent(torch, tensors, start):
    fs = fsspec.filesystem("artfs")
    assert fs.exists("me/demo/tensors:v0/0.pt")
    assert all_of(torch, fs, start) == list(range(COUNT))


@pytest.mark.parametrize(
    "start", [*STARTS, "forkserver"]
)  # a fork server has the environment of the first test that needs it
def test_workers_download_from_an_artifact_of_their_parent(torch, tensors, start):
    assert all_of(torch, tensors, start) == list(range(COUNT))


@pytest.mark.parametrize("url", ["artfs://me/demo/w:v0/w.pt", "simplecache::artfs://me/demo/w/latest/w.pt"])
def test_torch_loads_a_file_of_fsspec(torch, log, place, url):
    weights = torch.randn(500, 500)
    torch.save({"w": weights}, place / "w.pt")
    log("w", {"w.pt": (place / "w.pt").read_bytes()})
    with fsspec.open(url, "rb") as file:
        assert torch.equal(torch.load(file)["w"], weights)


BASE = "artfs://me/demo/tables:v0"


@pytest.mark.parametrize(
    ("kind", "files", "rows"),
    [
        ("parquet", f"{BASE}/parts/0.parquet", 100),
        ("parquet", f"{BASE}/parts/*.parquet", 300),
        ("parquet", "artfs://me/demo/tables:latest/**/*.parquet", 300),
        ("parquet", ["artfs://me/demo/tables/v0/parts/1.parquet", f"{BASE}/parts/2.parquet"], 200),
        ("csv", f"{BASE}/t.csv", 1),
        ("json", f"{BASE}/j.jsonl", 2),
    ],
)
def test_datasets_loads_files_of_a_version(load_dataset, tables, kind, files, rows):
    assert load_dataset(kind, data_files=files, split="train").num_rows == rows
    assert sum(1 for _ in load_dataset(kind, data_files=files, split="train", streaming=True)) == rows


def test_datasets_loads_with_several_processes(load_dataset, tables):
    found = load_dataset("parquet", data_files=f"{BASE}/parts/*.parquet", split="train", num_proc=2)
    assert sorted(found["x"]) == list(range(300))
