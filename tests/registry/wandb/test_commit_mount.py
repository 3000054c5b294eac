"""A commit to a W&B server through a mount: by a rename, as the first thing that a user of W&B tries."""

import os

import pytest

from tests.harness import Artfs, tree_of, wait_for
from tests.mount.conftest import require_fuse


@pytest.fixture
def mounted(server, tmp_path):
    require_fuse()
    found = Artfs(tmp_path / "artfs")
    found.environment |= server.environment() | {"ARTFS_REGISTRY": server.url}
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log()


def test_a_draft_that_is_moved_to_commit_becomes_a_version_on_the_server(server, mounted):
    other = server.log_artifact("me", "demo", "source", files={"x/one": b"1"})
    model = mounted.mountpoint / "me/demo/model"
    draft = model / ".staging/run7"
    draft.mkdir(parents=True)
    (draft / "weights").write_bytes(os.urandom(2 << 20))
    (draft / "d").mkdir()
    (draft / "d/empty").touch()
    (draft / "linked").symlink_to("../../../source/latest/x/one")
    os.setxattr(draft, "user.artfs.type", b"model")
    expected = {path: data for path, data in tree_of(draft).items() if path != "linked"} | {"linked": b"1"}
    draft.rename(model / ".commit/best")
    wait_for(lambda: (model / "best").exists(), "the version")
    assert tree_of(model / "v0") == tree_of(model / "latest") == expected
    artifact = server.artifact("me/demo/model:best")
    assert server.read("me/demo/model:v0", "weights") == expected["weights"]
    assert artifact.entries["linked"].birth == other.id
    assert (artifact.sequence.type.name, artifact.state) == ("model", "COMMITTED")
    assert server.aliases("me/demo/model:v0") == {"best", "latest"}

    mounted.run("stage", "me/demo/model:best", "--name", "next")
    (model / ".staging/next/weights").write_bytes(b"new")
    server.forget()
    assert mounted.out("commit", model / ".staging/next") == "me/demo/model:v1"
    assert len(server.requests("PUT", "/wandb_artifacts/")) == 1
    assert tree_of(model / "v1") == expected | {"weights": b"new"}
