"""A link of a version whose own project the user may not see: what the link shows is read, as the SDK reads it."""

import pytest

from tests.harness import Artfs
from tests.wandb_server.faults import GraphQLError
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture
from tests.wandb_server.programs import run

FILES = {"a.txt": b"one", "d/b.txt": b"two"}


@pytest.fixture(params=["V1", "V2"])
def server(wandb_server, request):  # noqa: F811
    made = wandb_server.log_artifact("theirs", "secret", "data", files=FILES, layout=request.param)
    wandb_server.link(made, "me", "demo", "shelf", ["prod"])
    wandb_server.project("theirs", "secret").hidden = True
    return wandb_server


@pytest.fixture
def fresh(tmp_path, server):
    found = Artfs(tmp_path)
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(tmp_path / "home") | {"ARTFS_REGISTRY": server.url}
    yield found
    found.close()
    assert not found.unexpected_log()


def test_a_link_is_read_by_signed_urls(fresh, server):
    fresh.mount()
    assert {name: (fresh.collection("shelf") / "prod" / name).read_bytes() for name in FILES} == FILES
    told = fresh.json("show", "demo/shelf:prod")
    assert (told["name"], told["type"]) == ("shelf:v0", "dataset")
    assert fresh.run("ls", "theirs/secret", code=3)


def test_a_link_is_read_by_addresses_of_the_collection_that_has_it(fresh, server):
    server.inject(GraphQLError(message="files not found"), None, operation="FileUrls")
    fresh.mount()
    assert {name: (fresh.collection("shelf") / "prod" / name).read_bytes() for name in FILES} == FILES


def test_the_sdk_reads_it_too(server):
    pytest.importorskip("wandb")
    seen = run(server, "entry", "me/demo/shelf:prod", "a.txt")
    assert seen["text"] == "one"
