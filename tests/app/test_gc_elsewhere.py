"""Garbage collection where registry and store are shared by machines: PostgreSQL, S3 and GCS; and where it is not ours."""

import dataclasses

import pytest

from artfs.app.backends import Backends
from artfs.app.gc import open_collector
from artfs.app.services import Services, open_services
from artfs.errors import InvalidInputError
from artfs.model.digest import Digest
from artfs.staging.progress import Progress
from tests.app.gc_world import World

BIG = bytes(range(256)) * 8193


@pytest.fixture(params=["s3", "gcs"])
def world(request, config, postgres_databases, shared_places):
    place = shared_places(request.param)
    url = postgres_databases.take()
    shared = dataclasses.replace(config, registry=url, store=f"{place.root}/store")
    backends = Backends(shared)
    services = Services(shared, backends.registry(), backends, mountpoints=("/mnt/artfs",))
    yield World(services)
    services.close()
    postgres_databases.give_back(url)


def test_what_nobody_needs_goes_out_of_the_bucket_and_what_a_commit_reuses_comes_back(world):
    old = world.commit({"big": BIG, "shared": b"both", "reused": b"again"})
    new = world.commit({"shared": b"both"})
    world.delete(old)
    assert world.find(grace=3600.0).count == 0
    found = world.find()
    assert {kind: count for kind, (count, _) in found.kinds.items()} == {
        "files": 2,
        "block lists": 1,
        "lists of files": 1,
    }
    collected = []

    def collect(step):
        if step == "stored" and not collected:
            collected.append(world.collect().count)

    again = world.commit({"reused": b"again", "big": BIG, "shared": b"both"}, on_step=collect)
    assert collected[0] >= 4
    assert world.content(again) == {"reused": b"again", "big": BIG, "shared": b"both"}
    world.collect()
    assert world.content(again) == {"reused": b"again", "big": BIG, "shared": b"both"}
    assert world.content(new) == {"shared": b"both"}
    assert str(Digest.of(b"again")) in world.stored()
    assert world.find().count == 0


@pytest.mark.parametrize("registry", ["http://localhost:9", "https://api.wandb.ai"])
def test_a_wandb_server_collects_its_garbage_itself(config, registry):
    with (
        open_services(dataclasses.replace(config, registry=registry)) as services,
        pytest.raises(InvalidInputError, match="collects garbage itself"),
        open_collector(services, 0.0, Progress()),
    ):
        pytest.fail("it was opened")
