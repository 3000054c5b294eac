"""Where a mount shows another registry than the settings name: what is not found says so, and a path in the mount is asked there."""

import pytest


@pytest.fixture
def other(mounted, small):
    """A mount of a registry that other commands are not told of."""
    mounted.here("put", small, "demo/data:best")
    mounted.environment["ARTFS_DATA_DIR"] = str(mounted.root / "elsewhere")
    return mounted


def test_what_is_not_found_names_the_registry_of_the_mount(other):
    done = other.run("ls", "demo", code=3)
    assert (
        f"{other.mountpoint} shows another registry: --registry sqlite:///{other.root}/data/registry.sqlite"
        in done.stderr
    )
    assert "ARTFS_REGISTRY" in done.stderr
    assert "shows another" in other.run("show", "demo/data", code=3).stderr
    registry = f"sqlite:///{other.root}/data/registry.sqlite"
    assert other.out("ls", "me/demo", "--registry", registry) == "data"
    assert "another registry" not in other.run("show", "demo/none", "--registry", registry, code=3).stderr


def test_where_the_registry_is_that_of_the_mount_nothing_is_said_of_it(mounted):
    assert "another registry" not in mounted.run("show", "demo/none", code=3).stderr


def test_a_path_in_a_mount_is_looked_up_in_its_registry(other):
    root = other.mountpoint
    assert other.out("ls", root) == "me"
    assert other.out("ls", root / "me") == "demo"
    assert other.out("ls", root / "me/demo/") == "data"
    assert other.out("ls", root / "me/demo/data") == "v0"
    assert other.out("ls", root / "me/demo/data/best").splitlines() == ["d/", "f"]
    assert other.out("ls", root / "me/demo/data/v0/d") == "g"
    assert other.out("ls", root / "me/demo/data/v0/f") == "f"
    for path in ("v0", "best", "latest", "best/d/g"):
        assert other.json("show", root / "me/demo/data" / path)["name"] == "data:v0"


def test_a_path_that_is_no_version_is_refused(other):
    draft = other.draft()
    assert "is neither a place nor a version" in other.run("ls", draft, code=2).stderr
    assert "does not exist" in other.run("ls", other.mountpoint / "me/none", code=3).stderr
    assert "is not a version" in other.run("show", other.mountpoint / "me/demo", code=2).stderr
    assert "another registry" not in other.run("show", other.mountpoint / "me/demo/data/v7", code=3).stderr
    assert (
        other.json("show", other.mountpoint / "me/demo/data")["name"] == "data:v0"
    )  # the latest one, as in references


def test_a_reference_stays_one(mounted, small):
    mounted.here("put", small, "demo/data")
    assert mounted.out("ls", "me/demo") == "data"
    assert mounted.json("show", "demo/data:v0")["name"] == "data:v0"
