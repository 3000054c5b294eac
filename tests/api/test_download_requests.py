"""What a download asks of a store elsewhere: what is not there yet, and nothing twice."""

import pathlib

import pytest

import artfs
from tests.harness import ALONE, tree_of


@pytest.fixture
def remote(place, s3_server, fault_proxy, monkeypatch, request):
    """A store in a bucket, and the counter of the requests to it; nothing of it is in the cache."""
    proxy = fault_proxy(s3_server)
    for name, value in s3_server.environment(url=proxy.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARTFS_STORE", f"s3://{s3_server.bucket()}/store")
    log = request.getfixturevalue("log")
    artifact = log(files={"a": b"1" * ALONE, "d/b": b"2" * 3_000_000, "d/c": b"3"})
    monkeypatch.setenv("ARTFS_CACHE_DIR", str(place / "empty-cache"))
    api = artfs.Api(cache_dir=str(place / "empty-cache"))
    yield api.artifact("demo/data"), proxy
    api.client.close()
    del artifact


def fetched(proxy, artifact):
    """Return which files were asked for, by their paths, since this was last called."""
    paths = {entry.entry.blob.hex[2:]: path for path, entry in artifact.manifest.entries.items()}
    seen = [request.path for request in proxy.requests() if request.method == "GET"]
    proxy.forget()
    return sorted(paths[name] for name in {one.partition("?")[0].rpartition("/")[2] for one in seen} if name in paths)


def test_a_download_asks_for_each_file_once_and_for_none_again(remote, place):
    artifact, proxy = remote
    root = pathlib.Path(artifact.download())
    assert fetched(proxy, artifact) == ["a", "d/b", "d/c"]
    artifact.download()
    assert fetched(proxy, artifact) == []
    artifact.download("elsewhere")  # out of the cache
    assert fetched(proxy, artifact) == []
    assert tree_of(root) == tree_of(place / "elsewhere")


def test_what_is_there_already_is_not_asked_for(remote, place):
    artifact, proxy = remote
    (place / "x/d").mkdir(parents=True)
    (place / "x/d/b").write_bytes(b"2" * 3_000_000)
    (place / "x/a").write_bytes(b"other")
    artifact.download("x")
    assert fetched(proxy, artifact) == ["a", "d/c"]


def test_one_file_asks_for_that_file_only(remote):
    artifact, proxy = remote
    artifact.get_path("d/c").download()
    assert fetched(proxy, artifact) == ["d/c"]
    artifact.download("y", path_prefix="d")
    assert fetched(proxy, artifact) == ["d/b"]


def test_verify_and_listing_ask_for_no_file(remote):
    artifact, proxy = remote
    root = artifact.download()
    proxy.forget()
    artifact.verify(root)
    assert [file.size for file in artifact.files()]
    assert artifact.size
    assert fetched(proxy, artifact) == []
