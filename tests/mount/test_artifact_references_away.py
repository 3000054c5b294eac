"""References to files of other versions where registry, store and what those refer to are elsewhere, and then away."""

import json
import os

import pytest

from artfs.model.reference import artifact_uri
from tests.mount.conftest import within

BLOCK = 1 << 20


@pytest.fixture
def both(remote, postgres_server):
    """An artfs with registry and store elsewhere, not mounted yet."""
    found = remote(registry=postgres_server.database())
    found.expected += ["the registry is away", "cannot be reached", "cannot be used", "may not show"]
    return found


def cached(path):
    return os.getxattr(path, "user.artfs.cached")


def test_what_was_read_by_reference_is_shared_in_the_cache_and_read_again_without_registry_and_store(
    both, s3_server, postgres_server
):
    files = {"small": os.urandom(1000), "d/big": os.urandom(3 * BLOCK + 17), "unread": b"not looked at"}
    outside = os.urandom(2 * BLOCK + 5)
    target = both.put(files, "target")
    s3_server.client().put_object(Bucket=both.bucket, Key="outside/object", Body=outside)
    both.maker.here("put", "--reference", f"s3://{both.bucket}/outside/object", "demo/outside")
    for name in ("target", "outside"):
        uri = artifact_uri(json.loads(both.maker.here("show", f"demo/{name}", "--json"))["id"])
        both.maker.here("put", "--reference", uri, "demo/links-of-" + name)
    both.mount()
    links = both.collection("links-of-target") / "v0"
    pointer = both.collection("links-of-outside") / "v0/object"
    assert cached(links / "small") == b"no"
    for _ in range(2):
        assert within((links / "small").read_bytes) == files["small"]
        assert within((links / "d/big").read_bytes) == files["d/big"]
        assert within(pointer.read_bytes) == outside
    assert pointer.stat().st_size == len(outside)
    assert cached(target / "d/big") == cached(links / "d/big") == cached(pointer) == b"yes"
    assert cached(both.collection("outside") / "v0/object") == b"yes"
    assert os.getxattr(links / "d/big", "user.artfs.verified") == b"proven"
    both.umount()
    s3_server.stop()
    postgres_server.stop()
    try:
        both.mount()
        assert within((links / "small").read_bytes) == files["small"]
        assert within((links / "d/big").read_bytes) == files["d/big"]
        assert within(pointer.read_bytes) == outside
    finally:
        s3_server.start()
        postgres_server.start()
