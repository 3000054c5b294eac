"""References through a real mount: by symlink and by `artfs put --reference`, to every scheme, read as files and pinned to what was recorded."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from tests.mount.conftest import read_once, within

BLOCK = 1 << 20


@pytest.fixture
def elsewhere(remote, postgres_server):
    """An artfs with its registry in PostgreSQL and its store in S3, mounted."""
    found = remote(registry=postgres_server.database())
    found.mount()
    return found


@pytest.fixture
def objects(s3_server):
    """Return a function that puts objects into a new bucket and returns its name."""
    with contextlib.closing(s3_server.client()) as client:

        def make(contents, *, versioned=False):
            bucket = s3_server.bucket(versioned=versioned)
            for key, data in contents.items():
                client.put_object(Bucket=bucket, Key=key, Body=data)
            return bucket

        make.client = client
        yield make


def test_a_prefix_that_is_linked_into_a_draft_is_read_from_the_bucket_when_it_is_read(elsewhere, objects):
    parts = {f"raw/2024/part-{number:04}.parquet": os.urandom(3 * BLOCK + number) for number in range(3)}
    bucket = objects({**parts, "raw/2023/other": b"not this one"})
    draft = elsewhere.collection("raw") / ".staging/x"
    draft.mkdir(parents=True)
    (draft / "own.txt").write_bytes(b"beside them")
    (draft / "2024").symlink_to(f"s3://{bucket}/raw/2024/")
    assert elsewhere.out("commit", draft) == "me/demo/raw:v0"
    latest = elsewhere.collection("raw") / "latest"
    assert sorted(os.listdir(latest)) == ["2024", "own.txt"]
    assert sorted(os.listdir(latest / "2024")) == [key.rpartition("/")[2] for key in parts]
    for key, data in parts.items():
        path = latest / "2024" / key.rpartition("/")[2]
        assert path.stat().st_size == len(data)
        assert os.getxattr(path, "user.artfs.cached") == b"no"
        assert within(path.read_bytes) == data
        assert os.getxattr(path, "user.artfs.cached") == b"yes"
        assert os.getxattr(path, "user.artfs.ref") == f"s3://{bucket}/{key}".encode()
    assert (latest / "own.txt").read_bytes() == b"beside them"
    elsewhere.umount()
    for key in parts:
        objects.client.delete_object(Bucket=bucket, Key=key)
    elsewhere.mount()
    for key, data in parts.items():  # out of the cache
        assert within((latest / "2024" / key.rpartition("/")[2]).read_bytes) == data


def test_one_object_and_one_version_of_it_can_be_referred_to(elsewhere, objects):
    bucket = objects({"model.bin": b"first"}, versioned=True)
    first = objects.client.head_object(Bucket=bucket, Key="model.bin")["VersionId"]
    objects.client.put_object(Bucket=bucket, Key="model.bin", Body=b"second")
    draft = elsewhere.collection("models") / ".staging/x"
    draft.mkdir(parents=True)
    (draft / "now").symlink_to(f"s3://{bucket}/model.bin")
    (draft / "then").symlink_to(f"s3://{bucket}/model.bin?versionId={first}")
    elsewhere.out("commit", draft)
    objects.client.put_object(Bucket=bucket, Key="model.bin", Body=b"third")
    version = elsewhere.collection("models") / "v0"
    assert (version / "now").read_bytes() == b"second"
    assert (version / "then").read_bytes() == b"first"


def test_a_bucket_of_google_can_be_referred_to(remote, gcs_server):
    own = remote()
    own.environment |= gcs_server.environment()
    bucket = gcs_server.bucket()
    data = os.urandom(2 * BLOCK + 7)
    with contextlib.closing(gcs_server.client()) as client:
        for key in ("set/a", "set/deep/b"):
            client.bucket(bucket).blob(key).upload_from_string(data)
    own.run("put", "--reference", f"gs://{bucket}/set/", "demo/google")
    own.mount()
    version = own.collection("google") / "v0"
    assert within((version / "a").read_bytes) == data
    assert within((version / "deep/b").read_bytes) == data
    assert os.getxattr(version / "a", "user.artfs.ref").decode().startswith(f"gs://{bucket}/set/a")


def test_a_url_can_be_referred_to_and_one_that_changed_is_an_error_that_names_it(remote, http_server):
    own = remote()
    own.expected += ["has changed since it was recorded", "is damaged or missing"]
    data = os.urandom(2 * BLOCK + 9)
    url = http_server.put("sets/one.bin", data)
    own.run("put", "--reference", url, "demo/web", "--name", "one.bin")
    own.mount()
    file = own.collection("web") / "v0/one.bin"
    with file.open("rb", buffering=0) as reader:
        assert within(os.pread, reader.fileno(), 100, BLOCK) == data[BLOCK : BLOCK + 100]
    http_server.put("sets/one.bin", os.urandom(len(data)))
    own.umount()
    own.run("put", "--reference", url, "demo/web", "--name", "one.bin")
    own.mount()
    other = own.collection("web") / "v1/one.bin"
    assert within(other.read_bytes) != data
    with pytest.raises(OSError) as caught:
        within(file.read_bytes)
    assert caught.value.errno == errno.EIO
    assert f"{url} has changed since it was recorded" in own.log()


def test_files_of_a_web_server_that_gives_them_one_etag_are_told_apart(remote, http_server):
    own = remote()
    files = {name: os.urandom(2 * BLOCK) for name in ("a.bin", "b.bin")}
    own.mount()
    draft = own.collection("web") / ".staging/x"
    draft.mkdir(parents=True)
    for name, data in files.items():
        (draft / name).symlink_to(http_server.put(f"same/{name}", data))
        os.utime(http_server.files / "same" / name, (1_700_000_000, 1_700_000_000))  # nginx: the ETag is time and size
    own.out("commit", draft)
    version = own.collection("web") / "v0"
    assert len({os.getxattr(version / name, "user.artfs.digest") for name in files}) == 1
    for read in (lambda path: read_once(path, 8192), Path.read_bytes):
        for name, data in files.items():
            found = within(read, version / name)
            assert found == data[: len(found)], name


def test_without_checksums_nothing_is_asked_and_everything_comes(remote, objects):
    own = remote()
    data = os.urandom(BLOCK + 5)
    bucket = objects({"big": data})
    own.run("put", "--reference", "--no-checksum", f"s3://{bucket}/big", "demo/unchecked", "--name", "big")
    own.mount()
    file = own.collection("unchecked") / "v0/big"
    assert within(file.read_bytes) == data
    assert os.getxattr(file, "user.artfs.verified") == b"provisional"


def test_more_objects_than_allowed_are_refused_and_nothing_is_made(remote, objects):
    own = remote()
    bucket = objects({f"many/{number}": b"x" for number in range(5)})
    refused = own.run("put", "--reference", "--max-objects", "4", f"s3://{bucket}/many/", "demo/many", code=2)
    assert refused.returncode != 0
    assert "stands for more than 4 objects" in refused.stderr
    own.run("put", "--reference", "--max-objects", "5", f"s3://{bucket}/many/", "demo/many")
    own.mount()
    assert [name for name in os.listdir(own.collection("many")) if name.startswith("v")] == ["v0"]


def test_status_tells_of_store_cache_and_requests(elsewhere):
    data = os.urandom(2 * BLOCK)
    version = elsewhere.put({"f": data})
    assert within((version / "f").read_bytes) == data
    (status,) = elsewhere.json("status")
    assert status["mountpoint"] == str(elsewhere.mountpoint)
    assert status["registry_away_since"] is None
    assert status["store"] == f"s3://{elsewhere.bucket}/store"
    assert status["services"]["s3"]["read"]["size"] >= len(data)
    assert status["services"]["s3"]["read"]["failures"] == 0
    assert os.getxattr(version / "f", "user.artfs.cached") == b"yes"  # it is in the cache when this has answered
    assert elsewhere.json("status")[0]["cache"]["max_bytes"] == 50 << 30
    said = elsewhere.out("status")
    assert f"store     s3://{elsewhere.bucket}/store" in said
    assert "answers" in said
    secret = elsewhere.server.environment()["AWS_SECRET_ACCESS_KEY"]
    assert secret not in said
    assert secret not in elsewhere.log()
