"""`du`, `verify` and `diff` of what lies elsewhere: what they fetch, what they leave as it was, and what they do without a network."""

import json
import os
import time

import pytest

from artfs.app.client import find_mount, request
from artfs.errors import UnreachableError
from tests.harness import DEADLINE

BLOCK = 1 << 20


@pytest.fixture
def found(remote):
    made = remote()
    made.files = {"big": os.urandom(3 * BLOCK + 5), "d/small": b"small", "d/same": b"small", "empty": b""}
    made.version = made.put(made.files)
    return made


def cached(found):
    """Return what `du` says of the bytes that are here."""
    (row,) = json.loads(found.here("du", "demo/data:v0", "--json"))
    return row["here"], row["to_fetch"], row["files_here"]


def test_du_says_what_would_have_to_be_fetched(found):
    size = 3 * BLOCK + 10
    assert cached(found) == (0, size, 1)  # the empty file is here always
    found.mount()
    with (found.version / "big").open("rb", buffering=0) as file:
        file.seek(3 * BLOCK)
        assert file.read(5) == found.files["big"][-5:]
    assert (found.version / "d/small").read_bytes() == b"small"
    found.umount()
    here, rest, whole = cached(found)
    assert here + rest == size
    assert 10 <= here <= size
    assert here % BLOCK in {0, 10}
    assert whole == (4 if here == size else 3)
    rows = json.loads(found.here("du", "demo/data:v0", "-d", "1", "--json"))
    assert [(row["path"], row["size"], row["here"]) for row in rows[1:]] == [("d", 5, 5)]


def test_verify_reads_everything_and_fills_no_cache(found):
    told = json.loads(found.here("verify", "demo/data:v0", "--json"))
    assert (told["proven"], told["bytes"]) == (4, 3 * BLOCK + 10)
    assert cached(found)[0] == 0
    key = found.key(found.files["big"])
    client = found.server.client()
    client.put_object(Bucket=found.bucket, Key=key, Body=found.files["big"][:-1] + b"?")
    client.delete_object(Bucket=found.bucket, Key=found.key(b"small"))
    client.close()
    told = json.loads(found.here("verify", "demo/data:v0", "--json", code=7))
    assert {(row["path"], row["state"]) for row in told["bad"]} == {
        ("big", "damaged"), ("d/small", "missing"), ("d/same", "missing"),
    }  # fmt: skip


def test_verify_finds_damage_that_the_cache_hides(found):
    found.mount()
    assert (found.version / "big").read_bytes() == found.files["big"]
    found.umount()
    client = found.server.client()
    client.put_object(Bucket=found.bucket, Key=found.key(found.files["big"]), Body=bytes(len(found.files["big"])))
    client.close()
    assert json.loads(found.here("verify", "demo/data:v0", "--json", code=7))["damaged"] == 1
    assert json.loads(found.here("verify", "demo/data:v0", "--cached", "--json"))["damaged"] == 0


def test_what_is_here_is_verified_without_a_network(found):
    found.environment["ARTFS_STORE"] = f"s3://{found.bucket}/store"
    found.mount()
    assert (found.version / "big").read_bytes() == found.files["big"]
    found.umount()
    found.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    started = time.monotonic()
    told = json.loads(found.here("verify", "demo/data:v0", "--cached", "--json"))
    assert (told["proven"], told["absent"], told["bad"]) == (2, 2, [])
    assert told["bytes"] == 3 * BLOCK + 5
    assert time.monotonic() - started < 20
    (data,) = [path for path in (found.root / "cache").rglob(f"*-{3 * BLOCK + 5}") if path.is_file()]
    with data.open("r+b") as file:
        file.seek(BLOCK)
        file.write(b"?")
    done = found.run("verify", "demo/data:v0", "--cached", code=7)
    assert done.stdout.startswith("damaged      big: its copy in the cache was damaged")
    assert "1 copies in the block cache were damaged" in done.stderr
    assert json.loads(found.here("verify", "demo/data:v0", "--cached", "--json"))["proven"] == 1  # it was forgotten


def test_a_list_of_files_that_is_not_here_is_not_fetched_for_what_is(found):
    done = found.run("verify", "demo/data:v0", "--cached", code=8)
    assert "the list of files of me/demo/data:v0 is not on this machine" in done.stderr


def test_references_with_etags_are_counted_as_pinned(found):
    client = found.server.client()
    bucket = found.server.bucket()
    client.put_object(Bucket=bucket, Key="p/one", Body=b"one")
    upload = client.create_multipart_upload(Bucket=bucket, Key="p/parts")["UploadId"]
    tag = client.upload_part(Bucket=bucket, Key="p/parts", UploadId=upload, PartNumber=1, Body=b"x" * 100)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    client.complete_multipart_upload(Bucket=bucket, Key="p/parts", UploadId=upload, MultipartUpload=parts)
    found.here("put", "--reference", f"s3://{bucket}/p/", "demo/refs")
    told = json.loads(found.here("verify", "demo/refs", "--json"))
    assert (told["proven"], told["pinned"]) == (1, 1)
    assert "1 pinned, not proven" in found.here("verify", "demo/refs")
    client.put_object(Bucket=bucket, Key="p/parts", Body=b"another object")
    client.put_object(Bucket=bucket, Key="p/one", Body=b"two")
    told = json.loads(found.here("verify", "demo/refs", "--json", code=7))
    assert {(row["path"], row["state"]) for row in told["bad"]} == {("parts", "changed"), ("one", "changed")}
    client.close()


def test_a_draft_is_compared_without_fetching_anything(found):
    found.mount()
    draft = found.collection() / ".staging" / found.out("stage", "demo/data:v0").rpartition("/")[2]
    (draft / "d").rename(draft / "e")
    (draft / "new").write_bytes(b"new")
    assert found.run("diff", draft, "--name-only", code=1).stdout == "new\ne/same\ne/small\n"
    found.umount()
    assert cached(found)[0] == 0


def sparse(path, size, first):
    """Write a file that is a hole but for its first byte."""
    with path.open("wb") as file:
        file.write(first)
        file.truncate(size)


def test_a_mount_that_hashes_for_somebody_answers_others_and_ends_in_time(fresh, tmp_path):
    size = 24 << 30  # a hole: it takes more than half a minute to hash
    sparse(tmp_path / "huge", size, b"1")
    fresh.here("put", "--reference", "--no-checksum", (tmp_path / "huge").as_uri(), "demo/data")
    fresh.mount()
    draft = fresh.draft("second")
    sparse(draft / "huge", size, b"2")
    live = find_mount(str(draft))
    answers = request(live.socket, {"op": "diff", "collection": "me/demo/data", "draft": "second"}, timeout=DEADLINE)
    while not any(answer.get("progress", {}).get("phase") == "hashing" for answer in answers):
        pass
    assert "v0" in os.listdir(fresh.collection())
    assert (fresh.collection() / "v0/huge").stat().st_size == size
    assert next(answers)["progress"]["phase"] == "hashing"  # still
    started = time.monotonic()
    fresh.umount()  # which waits until the process has ended
    assert time.monotonic() - started < 20
    with pytest.raises(UnreachableError):
        list(answers)
