"""The stores that the contract suite runs on: one entry of `STORES` for each. Each opens the same blobs every time."""

from artfs.storage.files import FilesStore
from tests.storage.fake import FakeStore


def fake(_):
    blobs = {}
    return lambda: FakeStore(blobs)


def files(directory):
    return lambda: FilesStore(directory / "store")


STORES = {"fake": fake, "files": files}
OBJECT_STORES = ["s3", "gcs"]  # `ObjectBlobStore` on the place of that kind
