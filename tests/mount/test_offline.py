"""Without registry and store: what is here is listed and read, what is not is an error at once, and nothing is lost until they are back."""

import contextlib
import errno
import json
import os

import pytest

from artfs.app.client import mount_points
from tests.harness import DEADLINE, wait_for
from tests.mount.conftest import Call, within
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Reset

BLOCK = 1 << 20
AWAY = ("the registry is away", "cannot be used now", "may not show", "cannot be reached", "cannot be used", " waits: ")


@contextlib.contextmanager
def stopped(*servers):
    """Stop servers, and start them again whatever happens."""
    for server in servers:
        server.stop()
    try:
        yield
    finally:
        for server in servers:
            if not server.running:
                server.start()


@pytest.fixture
def both(remote, postgres_server):
    """An artfs with registry and store elsewhere, not mounted yet."""
    found = remote(registry=postgres_server.database())
    found.expected += AWAY
    return found


def fails(call, *arguments, number=errno.EIO):
    with pytest.raises(OSError) as caught:
        within(call, *arguments)
    assert caught.value.errno == number, caught.value


def status(mount):
    """Return the exit code of `artfs status`, and what it says."""
    running = mount.start("status")
    said, _ = running.communicate(timeout=DEADLINE)
    return running.returncode, said


def is_away(mount):
    """Wait until the mount has found out that the registry is away, and check that `artfs status` says so."""

    def found_out():
        within(os.listdir, mount.collection())
        code, said = status(mount)
        return said if code == 8 else None

    said = wait_for(found_out, "the mount to notice")
    assert str(mount.mountpoint) in said
    assert "away since" in said
    assert "cannot be used" in said
    assert "postgres-secret" not in said


def is_back(mount):
    """Wait until the mount has found out that the registry answers: it asks when it is asked."""

    def found_out():
        within(os.listdir, mount.collection())
        return status(mount)[0] == 0

    wait_for(found_out, "the mount to notice that the registry is back")


def test_a_cached_version_needs_neither_registry_nor_store(both, s3_server, postgres_server):
    files = {"small/data": os.urandom(1000), "big/data": os.urandom(3 * BLOCK + 17), "empty/data": b""}
    cold = {"cold/data": os.urandom(1000)}
    version = both.put(files | cold)
    both.maker.here("alias", "demo/data:v0", "best")
    both.put({"f": b"never looked at"}, "other")
    both.mount()

    def is_here():
        assert within(os.listdir, both.mountpoint) == ["me"]
        assert within(os.listdir, both.mountpoint / "me") == ["demo"]
        assert sorted(within(os.listdir, both.mountpoint / "me/demo")) == ["data", "other"]
        assert sorted(within(os.listdir, both.collection())) == [".commit", ".staging", "best", "latest", "v0"]
        assert sorted(within(os.listdir, version)) == ["big", "cold", "empty", "small"]
        assert within(os.readlink, both.collection() / "best") == "v0"
        assert within(os.getxattr, version, "user.artfs.state") == b"COMMITTED"
        for name, data in files.items():
            assert within((both.collection() / "best" / name).read_bytes) == data, name
            assert within(os.stat, version / name).st_size == len(data)
            assert within(os.getxattr, version / name, "user.artfs.cached") == b"yes"

    is_here()
    assert both.out("ls", "me/demo/data") == "v0"
    with stopped(s3_server, postgres_server):
        is_away(both)
        is_here()
        both.umount()
        both.mount()  # a new process, which has nothing in memory
        is_here()
        is_away(both)
        listed = both.run("ls", "me/demo/data")
        assert (listed.stdout, listed.stderr) == (
            "v0\n",
            "artfs: warning: the registry is away: this is what was seen last\n",
        )
        fails(os.listdir, both.collection("other"))
        fails(os.mkdir, both.mountpoint / "me/new")
        fails(os.symlink, "v0", both.collection() / "good")
        fails(os.unlink, both.collection() / "best")
        is_here()
        reading = Call((version / "cold/data").read_bytes)
    assert reading.result() == cold["cold/data"]  # it was tried until the store was back
    is_back(both)
    both.put({"new/data": b"new"})
    wait_for(lambda: within(os.path.exists, both.collection() / "v1"), "the new version")
    assert within((both.collection() / "v1/new/data").read_bytes) == b"new"
    assert within((both.collection("other") / "v0/f").read_bytes) == b"never looked at"


def test_a_mount_whose_registry_was_never_seen_is_refused_and_comes_up_when_it_is_there(both, postgres_server):
    with stopped(postgres_server):
        assert "cannot be used" in both.run("mount", both.mountpoint, code=8).stderr
        assert both.mountpoint not in {path for path, _ in mount_points()}
    version = both.put({"f": b"here"})
    both.mount()
    assert within((version / "f").read_bytes) == b"here"


def test_what_was_never_seen_is_not_made_up_while_the_registry_is_away_and_shows_when_it_is_back(both, postgres_server):
    version = both.put({"f": b"here"})
    both.put({"f": b"listed"}, "listed")
    both.mount()
    assert (version / "f").read_bytes() == b"here"
    os.listdir(both.mountpoint / "me/demo")
    both.put({"f": b"new"})
    both.put({"f": b"other"}, "other")
    with stopped(postgres_server):
        is_away(both)
        for path in (both.collection("listed"), both.collection("listed") / "v0/f"):
            fails(os.listdir, path)  # known by name alone
        for path in (both.collection() / "v1", both.collection("other"), both.mountpoint / "someone"):
            fails(os.stat, path, number=errno.ENOENT)  # as the listing has it that was seen last
        assert within((version / "f").read_bytes) == b"here"
    is_back(both)
    for collection, name, data in (("data", "v1", b"new"), ("other", "v0", b"other"), ("listed", "v0", b"listed")):
        file = both.collection(collection) / name / "f"
        wait_for(lambda: within(os.path.exists, file), "what is new")
        assert within(file.read_bytes) == data


def waits_for(mount, name):
    """Return what a commit waits for; empty if it does not wait yet."""
    progress = json.loads(within(os.getxattr, mount.collection() / ".commit" / name, "user.artfs.progress"))
    return progress["waiting_for"] or ""


@pytest.mark.parametrize("again", ["the same mount", "another mount"])
def test_a_commit_waits_for_the_registry_and_is_finished_when_it_is_back(both, postgres_server, again):
    seen = both.put({"seen/data": b"seen"})
    files = {"small": os.urandom(1000), "big": os.urandom(2 * BLOCK + 17)}
    both.mount()
    assert (seen / "seen/data").read_bytes() == b"seen"
    draft = both.draft()
    for name, data in files.items():
        (draft / name).write_bytes(data)
    with stopped(postgres_server):
        within(os.rename, draft, both.collection() / ".commit/good")
        assert "cannot be used" in wait_for(lambda: waits_for(both, "good"), "the commit to wait")
        assert within((seen / "seen/data").read_bytes) == b"seen"
        if again == "another mount":
            both.kill()
            both.mount()
            assert wait_for(lambda: waits_for(both, "good"), "the commit to wait again")
        assert within(os.listdir, both.collection() / ".staging") == []
        assert not within(os.path.lexists, both.collection() / "v1")
    wait_for(lambda: within(os.path.exists, both.collection() / "good"), "the version")
    for name, data in files.items():
        assert within((both.collection() / "v1" / name).read_bytes) == data
    wait_for(lambda: within(os.listdir, both.collection() / ".commit") == [], "the end of the commit")


def test_a_commit_waits_for_the_store_and_is_finished_when_it_is_back(remote, s3_server):
    files = {f"{number}/data": os.urandom(1000) for number in range(20)}
    with FaultProxy(s3_server.url) as proxy:
        mount = remote(proxy.url)
        mount.expected += AWAY
        seen = mount.put({"seen/data": b"seen"})
        mount.mount()
        assert (seen / "seen/data").read_bytes() == b"seen"
        draft = mount.draft()
        for name, data in files.items():
            (draft / name).parent.mkdir()
            (draft / name).write_bytes(data)
        with proxy.injected(Reset(None), method="PUT") as refused:
            within(os.rename, draft, mount.collection() / ".commit/good")
            wait_for(lambda: refused.hits >= 3, "uploads that fail")
            assert within((seen / "seen/data").read_bytes) == b"seen"
            assert not within(os.path.lexists, mount.collection() / "v1")
            mount.kill()
            mount.mount()
            proxy.inject(Reset(before_reply=True), 5, "PUT")  # written, though nobody hears of it
        wait_for(lambda: within(os.path.exists, mount.collection() / "good"), "the version")
        for name, data in files.items():
            assert within((mount.collection() / "v1" / name).read_bytes) == data
