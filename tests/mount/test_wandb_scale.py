"""Large places on a W&B server, through a mount: an `ls` is one walk of pages, a name is a question about it, memory is bounded."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.harness import Artfs
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

MANY = 10_000


@pytest.fixture
def server(wandb_server):  # noqa: F811
    return wandb_server


@pytest.fixture
def fresh(tmp_path, server):
    found = Artfs(tmp_path)
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(tmp_path / "home")
    found.environment |= {"ARTFS_REGISTRY": server.url, "ARTFS_METADATA_TTL": "3600"}
    yield found
    found.close()
    assert not found.unexpected_log()


def resident(artfs):
    """Return the resident memory of the daemon and its peak, in MB."""
    status = Path(f"/proc/{artfs.pid()}/status").read_text()
    return [int(status.partition(f"{name}:")[2].split()[0]) // 1000 for name in ("VmRSS", "VmHWM")]


def ls(path, *options):
    done = subprocess.run(
        ["ls", "--color=always", *options, path], capture_output=True, text=True, timeout=600, check=True
    )
    return done.stdout.splitlines()


def test_a_version_of_100_000_files_is_listed_and_some_are_read(fresh, server):
    files = {f"d{number % 100:02}/{number:06}.txt": b"%d" % number for number in range(100_000)}
    server.log_artifact("me", "demo", "data", files=files)
    fresh.mount()
    version = fresh.collection() / "latest"
    server.forget()
    assert (version / "d07/000007.txt").read_bytes() == b"7"
    assert server.count(operation="FileUrls") == 1
    assert server.count("GET") == 2  # the manifest and the file
    before = resident(fresh)
    found = sum(len(names) for _, _, names in os.walk(version))
    assert found == 100_000
    for number in range(0, 100_000, 1000):
        assert (version / f"d{number % 100:02}/{number:06}.txt").read_bytes() == b"%d" % number
    after = resident(fresh)
    print(f"resident and peak before the walk {before} MB, after it {after} MB")
    assert after[1] < 300
    assert server.count(operation="ManifestUrl") == 1
    assert server.count(operation="FileUrls") <= 101


@pytest.mark.parametrize("options", [(), ("-l",)], ids=["ls", "ls -l"])
def test_a_project_of_many_collections_is_one_walk_of_pages(fresh, server, options):
    for number in range(MANY):
        server.log_artifact("me", "demo", f"c{number:05}", files={"a": b"1"})
    fresh.mount()
    os.listdir(fresh.mountpoint / "me")
    server.forget()
    assert len(ls(fresh.mountpoint / "me/demo", *options)) == MANY + bool(options)
    asked = server.operations()
    assert asked.count("Collections") == MANY / 500
    assert set(asked) <= {"Collections", "Project"}
    assert len(asked) <= MANY / 500 + 1
    server.forget()
    assert (fresh.mountpoint / "me/demo/c04321/latest/a").read_bytes() == b"1"
    assert "Collections" not in server.operations()
    assert len(server.operations()) <= 6, server.operations()
    print(f"resident and peak {resident(fresh)} MB")
    assert resident(fresh)[1] < 300


@pytest.mark.parametrize("options", [(), ("-l",)], ids=["ls", "ls -l"])
def test_a_collection_of_many_versions_is_one_walk_of_pages(fresh, server, options):
    for number in range(MANY):
        server.log_artifact(
            "me",
            "demo",
            "data",
            files={"a": b"%d" % number},
            aliases=["latest", *([f"at-{number}"] if number % 100 == 0 else ())],
        )
    fresh.mount()
    os.listdir(fresh.mountpoint / "me/demo")
    server.forget()
    shown = ls(fresh.collection(), *options)
    assert len(shown) == MANY + 1 + 100 + bool(options)  # versions, latest, aliases, and the line of the total
    asked = server.operations()
    assert asked.count("Listing") == MANY / 500
    assert len(asked) <= MANY / 500 + 2, asked
    print(f"resident and peak {resident(fresh)} MB")
    assert resident(fresh)[1] < 300


def test_one_name_among_many_is_a_question_about_that_name(fresh, server):
    for number in range(1500):
        server.log_artifact("me", "demo", "data", files={"a": b"%d" % number})
        server.log_artifact("me", "demo", f"c{number:05}", files={"a": b"1"})
    fresh.mount()
    server.forget()
    assert (fresh.collection() / "v1234/a").read_bytes() == b"1234"
    assert sorted(server.operations()) == [
        "Collection",
        "FileUrls",
        "Find",
        "ManifestUrl",
        "Project",
        "Version",
        "Viewer",
    ]
    assert not os.path.exists(fresh.collection() / "v1500")
    assert not os.path.exists(fresh.collection("nothing"))
    assert not {"Collections", "Listing", "Versions", "Projects"} & set(server.operations())
