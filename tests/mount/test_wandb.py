"""A mount of a W&B server: its projects simply appear, every byte is proven, and what was read needs no server any more."""

import filecmp
import hashlib
import os
import shutil
import subprocess

import pytest

from tests.harness import Artfs, tree_of, wait_for
from tests.mount.conftest import within
from tests.servers.faults import FlippedBit, Status
from tests.wandb_server.faults import ExpiredURLs, GraphQLError
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

FILES = {"a.txt": b"one", "d/e/b.bin": bytes(range(256)) * 20_000, "empty": b"", "sp ace/ünï.txt": b"odd"}


@pytest.fixture
def server(wandb_server):  # noqa: F811
    return wandb_server


@pytest.fixture
def fresh(tmp_path, server):
    found = Artfs(tmp_path)
    found.expected = []
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(tmp_path / "home")
    found.environment["ARTFS_REGISTRY"] = server.url
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture
def mounted(fresh, server):
    server.log_artifact("me", "demo", "data", files=FILES, aliases=["best", "latest"], metadata={"k": 1})
    fresh.mount()
    server.forget()
    return fresh


def files(tree):
    return {path: data for path, data in tree.items() if data is not None}


def test_projects_simply_appear(mounted, server):
    server.log_artifact("me", "other", "net", "model", files={"w": b"1"})
    server.team("crew")
    wait_for(lambda: "crew" in os.listdir(mounted.mountpoint))
    assert sorted(os.listdir(mounted.mountpoint / "me")) == ["demo", "other"]
    assert os.listdir(mounted.mountpoint / "me/demo") == ["data"]
    assert sorted(os.listdir(mounted.collection())) == [".commit", ".staging", "best", "latest", "v0"]
    assert os.readlink(mounted.collection() / "best") == "v0"
    assert files(tree_of(mounted.collection() / "v0")) == FILES


def test_an_entity_that_is_not_listed_is_there_by_its_name(mounted, server):
    server.entity("others")
    server.log_artifact("others", "open", "data", files={"f": b"theirs"})
    assert (mounted.mountpoint / "others/open/data/latest/f").read_bytes() == b"theirs"
    assert "others" not in os.listdir(mounted.mountpoint)


def test_plain_tools_work(mounted, tmp_path):
    subprocess.run(["cp", "-r", f"{mounted.collection()}/best/.", tmp_path / "copy"], check=True)
    assert files(tree_of(tmp_path / "copy")) == FILES
    assert os.getxattr(mounted.collection() / "v0", "user.artfs.metadata") == b'{"k": 1}'
    assert os.getxattr(mounted.collection() / "v0/a.txt", "user.artfs.verified") == b"proven"
    assert filecmp.cmp(mounted.collection() / "v0/d/e/b.bin", tmp_path / "copy/d/e/b.bin", shallow=False)
    manifest = (mounted.collection() / "v0/.artfs/manifest.json").read_bytes()
    assert hashlib.md5(manifest).digest()


def test_urls_are_asked_for_the_files_that_are_read_and_no_others(fresh, server):
    many = {f"d/{number:04}": b"%d" % number for number in range(2000)}
    server.log_artifact("me", "demo", "data", files=many)
    fresh.mount()
    version = fresh.collection() / "latest"
    assert len(os.listdir(version / "d")) == 2000
    server.forget()
    assert (version / "d/0777").read_bytes() == b"777"
    (asked,) = server.requests(operation="FileUrls")
    assert asked.variables["names"] == ["d/0777"]
    assert server.count("GET") == 1
    server.forget()
    assert files(tree_of(version)) == many
    assert server.count(operation="FileUrls") < 500


def test_what_was_read_needs_no_server_after_a_restart(mounted, server):
    assert files(tree_of(mounted.collection() / "best")) == FILES
    mounted.umount()
    server.stop()
    mounted.expected.append("the registry is away")
    mounted.mount()
    assert files(within(tree_of, mounted.collection() / "v0", seconds=90)) == FILES


def test_a_url_that_has_expired_is_asked_for_again(mounted, server):
    with server.injected(ExpiredURLs(), times=1, operation="FileUrls"):
        assert (mounted.collection() / "v0/a.txt").read_bytes() == b"one"
    assert server.count(operation="FileUrls") == 2


def test_wrong_bytes_are_an_error_and_right_ones_come_later(mounted, server):
    mounted.expected.append("damaged")
    with (
        server.injected(FlippedBit(1), method="GET", path="/wandb_artifacts/") as fault,
        pytest.raises(OSError, match="Input/output"),
    ):
        (mounted.collection() / "v0/a.txt").read_bytes()
    assert fault.hits
    wait_for(lambda: readable(mounted.collection() / "v0/a.txt"))
    assert (mounted.collection() / "v0/a.txt").read_bytes() == b"one"


def readable(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_server_that_stumbles_is_asked_again(mounted, server):
    with server.injected(Status(503), times=2):
        assert (mounted.collection() / "v0/d/e/b.bin").read_bytes() == FILES["d/e/b.bin"]


@pytest.mark.parametrize(("layout", "region"), [("V1", None), ("V2", None), ("V2", "eu-central-1")])
def test_a_server_without_signed_urls_gives_files_by_their_digests(fresh, server, layout, region):
    server.log_artifact("me", "demo", "data", files=FILES, layout=layout, region=region)
    server.inject(GraphQLError(message="files not found"), None, operation="FileUrls")
    fresh.mount()
    assert files(tree_of(fresh.collection() / "latest")) == FILES
    by_region = [one for one in server.requests("GET", f"/artifactsV2/{region or 'default'}/") if one.status == [302]]
    by_entity = server.requests("GET", "/artifacts/me/")
    assert (bool(by_region), bool(by_entity)) == (layout == "V2", layout == "V1")


def test_a_file_in_the_cache_of_the_sdk_is_used_if_it_is_right(fresh, server, tmp_path):
    server.log_artifact("me", "demo", "data", files={"right": b"right bytes", "wrong": b"wrong bytes"})
    fresh.environment["WANDB_CACHE_DIR"] = str(tmp_path / "sdk")
    for name, data in (("right", b"right bytes"), ("wrong", b"WRONG bytes")):
        digest = hashlib.md5(f"{name} bytes".encode()).hexdigest()
        path = tmp_path / "sdk/artifacts/obj/md5" / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    fresh.mount()
    version = fresh.collection() / "latest"
    assert {name: (version / name).read_bytes() for name in ("right", "wrong")} == {
        "right": b"right bytes", "wrong": b"wrong bytes",
    }  # fmt: skip
    (asked,) = server.requests(operation="FileUrls")
    assert asked.variables["names"] == ["wrong"]
    shutil.rmtree(tmp_path / "sdk")


def test_a_big_file_in_the_cache_of_the_sdk_is_not_fetched_and_is_cached_from_then_on(fresh, server, tmp_path):
    data = os.urandom(20 << 20)
    server.log_artifact("me", "demo", "data", files={"big": data})
    fresh.environment["WANDB_CACHE_DIR"] = str(tmp_path / "sdk")
    digest = hashlib.md5(data).hexdigest()
    path = tmp_path / "sdk/artifacts/obj/md5" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    fresh.run("get", "demo/data", tmp_path / "out")
    assert (tmp_path / "out/big").read_bytes() == data
    shutil.rmtree(tmp_path / "sdk")
    fresh.mount()
    assert (fresh.collection() / "latest/big").read_bytes() == data
    assert os.getxattr(fresh.collection() / "latest/big", "user.artfs.verified") == b"proven"
    assert server.requests(operation="FileUrls") == []


def test_references_are_read_where_they_lead(fresh, server, http_server, tmp_path):
    (http_server.files / "ref.txt").write_bytes(b"from the web")
    (tmp_path / "local").write_bytes(b"from here")
    other = server.log_artifact("me", "demo", "other", files={"x": b"of another"})
    hexed = __import__("base64").b64decode(other.id).hex()
    digest = {"digest": __import__("base64").b64encode(hashlib.md5(b"of another").digest()).decode()}
    local = __import__("base64").b64encode(hashlib.md5(b"from here").digest()).decode()
    references = {
        "other": {"ref": f"wandb-artifact://{hexed}/x", **digest},
        "local": {"ref": (tmp_path / "local").as_uri(), "digest": local, "size": 9},
    }
    server.log_artifact("me", "demo", "data", references=references)
    fresh.mount()
    version = fresh.collection() / "latest"
    assert (version / "other").read_bytes() == b"of another"
    assert (version / "local").read_bytes() == b"from here"


def test_aliases_and_descriptions_change_on_the_server(mounted, server):
    subprocess.run(["ln", "-sfn", "v0", mounted.collection() / "prod"], check=True)
    assert "prod" in server.aliases("me/demo/data:v0")
    os.unlink(mounted.collection() / "best")
    assert "best" not in server.aliases("me/demo/data:v0")
    os.setxattr(mounted.collection() / "v0", "user.artfs.description", b"new")
    assert server.artifact("me/demo/data:v0").description == "new"


def test_the_commands_work_without_a_mount(fresh, server, tmp_path):
    server.log_artifact("me", "demo", "data", files=FILES, aliases=["best"])
    assert fresh.out("ls", "me/demo") == "data"
    assert fresh.json("show", "demo/data:best")["name"] == "data:v0"
    fresh.run("get", "demo/data:best", tmp_path / "out")
    assert files(tree_of(tmp_path / "out")) == FILES
    assert fresh.out("alias", "demo/data:v0", "prod").split() == ["best", "prod"]


def test_no_key_is_one_clear_error(fresh, server, tmp_path):
    fresh.environment |= server.environment(tmp_path / "home", key=False)
    fresh.environment.pop("WANDB_API_KEY", None)
    done = fresh.run("ls", "me/demo", code=6)
    assert "WANDB_API_KEY" in done.stderr


def said_by_mount(artfs):
    done = artfs.run("mount", artfs.mountpoint)
    artfs._mounted.add(artfs.mountpoint)
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WANDB_API_KEY", "", "there are no credentials for"),
        ("WANDB_API_KEY", "short", "has 5 characters"),
        ("WANDB_IDENTITY_TOKEN_FILE", "/nowhere", "both"),
    ],
)
def test_a_mount_without_a_usable_key_says_so_at_once(fresh, server, name, value, expected):
    fresh.environment[name] = value
    said = said_by_mount(fresh)
    assert expected in said
    assert "only what is on this machine can be read" in said
    with pytest.raises(PermissionError):
        os.listdir(fresh.mountpoint)
    assert server.requests() == []


def test_a_mount_with_a_key_says_nothing_and_status_names_no_store(fresh, server):
    assert said_by_mount(fresh) == ""
    shown = fresh.out("status").splitlines()
    assert "  store     on the W&B server" in shown


def test_an_address_without_a_scheme_is_refused_with_one_that_has_it(fresh):
    assert "https://api.wandb.ai" in fresh.run("ls", "--registry", "api.wandb.ai", code=2).stderr


def test_rm_of_a_link_takes_the_link_only(fresh, server):
    made = server.log_artifact("me", "demo", "data", files=FILES, aliases=["latest"])
    server.link(made, "me", "demo", "shelf", ["prod"])
    assert fresh.run("rm", "demo/shelf:prod").stderr == "unlinked me/demo/shelf:v0: me/demo/data:v0 stays\n"
    fresh.run("show", "demo/shelf:v0", code=3)
    assert server.artifact("me/demo/data:latest").state == "COMMITTED"
    server.link(made, "me", "demo", "shelf", ["prod"])
    assert fresh.json("rm", "demo/shelf:latest", "--delete-aliases") == {"unlinked": "me/demo/shelf:v1"}
    assert server.artifact("me/demo/data:latest").state == "COMMITTED"
