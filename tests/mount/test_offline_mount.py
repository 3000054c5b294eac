"""`mount --offline`: what is here is listed and read at once, what is not is an error at once, and no connection is ever made."""

import contextlib
import errno
import json
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.here import run_here
from tests.harness import wait_for
from tests.mount.conftest import within
from tests.mount.test_offline import stopped
from tests.servers.fault_proxy import FaultProxy
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

BLOCK = 1 << 20
AT_ONCE = 15.0  # seconds, on a slow machine: what is tried again until the time is over takes longer


@contextlib.contextmanager
def black_hole(*urls):
    """Listen at the addresses of URLs and answer nobody; what the block gets says how many connections were made."""
    with contextlib.ExitStack() as stack:
        listeners = []
        for url in urls:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((urlsplit(url).hostname, urlsplit(url).port))
            listener.listen(16)
            listener.setblocking(False)
            listeners.append(listener)

        def connections():
            count = 0
            for listener in listeners:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        stack.enter_context(listener.accept()[0])
                        count += 1
            return count

        yield connections


def other_sockets(pid):
    """Return the sockets that a process has open, but for those of this machine alone."""
    local = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            links.append(os.readlink(path))
    return [link for link in links if link.startswith("socket:") and link[8:-1] not in local]


def fails_at_once(call, *arguments):
    began = time.monotonic()
    with pytest.raises(OSError) as caught:
        within(call, *arguments)
    assert caught.value.errno == errno.ENETUNREACH, caught.value
    assert time.monotonic() - began < AT_ONCE


def put_all(mount, collections):
    """Log a version in each of some collections, in one process."""
    lines = []
    for collection, files in collections.items():
        for name, data in files.items():
            path = mount.root / "sources" / collection / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        lines.append(["put", mount.root / "sources" / collection, f"demo/{collection}"])
    assert [code for code, *_ in run_here(mount.maker, lines)] == [0] * len(lines)


def test_a_pinned_version_is_read_after_a_restart_without_registry_store_and_network(
    remote, s3_server, postgres_server
):
    files = {"small/data": os.urandom(1000), "big": os.urandom(9 * BLOCK + 17), "empty": b""}
    partly = {"here": b"here", "away": os.urandom(3 * BLOCK)}
    with FaultProxy(s3_server.url) as proxy:
        mount = remote(proxy.url, postgres_server.database())
        put_all(mount, {"data": files, "partly": partly, "other": {"f": b"never looked at"}})
        lines = [["pin", "demo/data:latest"], ["warm", "demo/partly:v0/here"], ["ready", "demo/data:latest"]]
        done = run_here(mount, lines)
        assert [code for code, *_ in done] == [0, 0, 0], done
        assert "(me/demo/data:latest names it now; the pin stays with this version)" in done[0][1]
    with stopped(postgres_server), black_hole(proxy.url, mount.environment["ARTFS_REGISTRY"]) as connections:
        mount.mount("--offline")
        began = time.monotonic()
        assert sorted(within(os.listdir, mount.mountpoint / "me/demo")) == ["data", "other", "partly"]
        assert sorted(within(os.listdir, mount.collection())) == [".commit", ".staging", "latest", "v0"]
        for name, data in files.items():
            assert within((mount.collection() / "latest" / name).read_bytes) == data, name
            assert within(os.getxattr, mount.collection() / "v0" / name, "user.artfs.cached") == b"yes"
        version = mount.collection("partly") / "v0"
        assert within((version / "here").read_bytes) == b"here"
        assert within((version / "away").stat).st_size == 3 * BLOCK
        assert time.monotonic() - began < 2 * AT_ONCE
        with (version / "away").open("rb") as away:
            fails_at_once(os.pread, away.fileno(), 10, 2 * BLOCK)
        fails_at_once(os.listdir, mount.collection("other"))
        fails_at_once(os.mkdir, mount.mountpoint / "me/new")
        fails_at_once(os.symlink, "v0", mount.collection() / "good")
        lines = [["status"], ["ready"], ["ready", "demo/partly:v0", "--json"], ["ready", "demo/other:v0"]]
        status, ready, missing, unknown = run_here(mount, lines)
        assert status[0] == 0
        assert ", offline" in status[1]
        assert "not asked, offline: showing what was seen last" in status[1]
        assert (ready[0], ready[1].partition(":")[0], ready[1].split()[1]) == (0, "me/demo/data", "ready:")
        assert missing[0] == 1
        assert [row["path"] for row in json.loads(missing[1])[0]["missing"]] == ["me/demo/partly:v0/away"]
        assert unknown[0] == 8
        assert "was not seen of the registry" in unknown[2]
        assert other_sockets(mount.pid()) == []
        assert connections() == 0
        assert "the registry is away" not in mount.log()


def test_a_commit_waits_for_a_mount_that_is_not_offline(remote, s3_server):
    mount = remote(s3_server.url)
    mount.expected += [" waits: "]
    data = os.urandom(BLOCK + 1)
    seen = mount.put({"f": b"seen"})
    mount.run("pin", "demo/data")
    mount.mount("--offline")
    assert within((seen / "f").read_bytes) == b"seen"
    draft = mount.draft()
    (draft / "g").write_bytes(data)
    committing = mount.collection() / ".commit/good"
    within(os.rename, draft, committing)
    waits = wait_for(
        lambda: json.loads(within(os.getxattr, committing, "user.artfs.progress"))["waiting_for"], "the commit to wait"
    )
    assert waits == "artfs is offline: a commit waits for a mount that is not"
    assert "artfs warm" not in mount.log()
    assert other_sockets(mount.pid()) == []
    mount.umount()
    mount.mount()
    wait_for(lambda: within(os.path.exists, mount.collection() / "good"), "the version")
    assert within((mount.collection() / "v1/g").read_bytes) == data


def test_a_pinned_version_of_a_wandb_server_is_read_without_it(fresh, wandb_server):  # noqa: F811
    files = {"a.txt": b"one", "d/big": os.urandom(9 * BLOCK + 5), "empty": b""}
    wandb_server.log_artifact("me", "demo", "data", files=files, aliases=["best", "latest"])
    wandb_server.log_artifact("me", "demo", "other", files={"f": b"not fetched"})
    del fresh.environment["ARTFS_ENTITY"]
    fresh.environment |= {**wandb_server.environment(fresh.root / "home"), "ARTFS_REGISTRY": wandb_server.url}
    done = run_here(fresh, [["pin", "demo/data:best"], ["warm", "--evict", "demo/other"]])
    assert [code for code, *_ in done] == [0, 0], done
    wandb_server.stop()
    with black_hole(wandb_server.url) as connections:
        fresh.mount("--offline")
        for name, data in files.items():
            assert within((fresh.collection() / "best" / name).read_bytes) == data, name
        fails_at_once((fresh.collection("other") / "v0").stat)
        assert run_here(fresh, [["ready"]])[0][0] == 0
        assert other_sockets(fresh.pid()) == []
        assert connections() == 0


def test_what_is_all_on_this_machine_works_offline_as_ever(fresh, tmp_path):
    (tmp_path / "f").write_text("here\n")
    fresh.here("put", tmp_path / "f", "demo/data")
    fresh.expected.append("no pin is looked at")
    (fresh.root / "data/pins").mkdir()
    (fresh.root / "data/pins/x.json").write_text("damaged")  # which is no reason to be without a mount
    fresh.mount("--offline")
    assert (fresh.collection() / "v0/f").read_text() == "here\n"
    draft = fresh.draft()
    (draft / "g").write_text("new\n")
    assert (fresh.commit(draft) / "g").read_text() == "new\n"
    ready, missing, pins = run_here(fresh, [["ready", "demo/data:v1"], ["ready", "demo/data:v1/x"], ["pin"]])
    assert ready[0] == 0
    assert (missing[0], missing[1]) == (1, "me/demo/data:v1: not ready: me/demo/data:v1 has no 'x'\n")
    assert (pins[0], "pins/x.json cannot be read" in pins[2]) == (2, True)
    wait_for(lambda: "no pin is looked at" in fresh.log(), "the mount to say it")
