"""`artfs put` and `artfs commit` with --tag and --ttl: what the API records of a version, on the command line."""

import pytest

from tests.harness import Artfs
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

DAY = 86400


def marks(artfs, ref):
    found = artfs.json("show", ref)
    return found["tags"], found["ttl"]


def test_put_gives_tags_and_a_time_to_live(cli, small):
    cli.run("put", small, "demo/data", "--tag", "gold", "--tag", "two words", "--ttl", "1d12h")
    assert marks(cli, "demo/data:v0") == (["gold", "two words"], 1.5 * DAY)


def test_what_is_there_already_gets_the_tags_and_keeps_its_time_to_live(cli, small):
    cli.run("put", small, "demo/data", "--ttl", "7d")
    done = cli.run("put", small, "demo/data", "--tag", "gold", "--ttl", "1d")
    assert "its time to live was not recorded" in done.stderr
    assert marks(cli, "demo/data:v0") == (["gold"], 7 * DAY)


def test_commit_gives_tags_and_a_time_to_live(mounted):
    draft = mounted.draft()
    (draft / "f").write_text("x")
    mounted.commit(draft, "--tag", "gold", "--ttl", "2w")
    assert marks(mounted, "demo/data:v0") == (["gold"], 14 * DAY)


@pytest.mark.parametrize("command", ["put", "commit"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tag", "a/b"), "use words of letters"),
        (("--ttl", "30"), "is not a duration"),
        (("--ttl", "0"), "at least a second"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_made(mounted, small, command, options, said):
    draft = mounted.draft()
    (draft / "f").write_text("x")
    words = ("put", small, "demo/other") if command == "put" else ("commit", draft)
    assert said in mounted.run(*words, *options, code=2).stderr
    assert (draft / "f").read_text() == "x"
    assert mounted.run("ls", "me/demo/other", code=3)


def test_a_wandb_server_records_them_too(wandb_server, small, tmp_path):  # noqa: F811
    artfs = Artfs(tmp_path / "artfs")
    artfs.root.mkdir()
    artfs.environment |= wandb_server.environment(tmp_path / "home") | {"ARTFS_REGISTRY": wandb_server.url}
    artfs.run("put", small, "demo/data", "--tag", "gold", "--ttl", "1d")
    found = wandb_server.artifact("me/demo/data:v0")
    assert (list(found.tags), found.ttl) == (["gold"], DAY)
