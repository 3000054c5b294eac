"""A W&B server that refuses, limits, breaks off, lies, or is gone, seen through a mount. No secret gets into a log or a message."""

import base64
import contextlib
import errno
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from artfs.app.client import find_mount, request
from tests.harness import DEADLINE, Artfs, tree_of, wait_for
from tests.mount.conftest import within
from tests.servers.faults import Delay, Fault, FlippedBit, Reset, ShortBody, Status
from tests.wandb_server.blobs import Memory
from tests.wandb_server.faults import ExpiredURLs, GraphQLError, RateLimited
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

FILES = {f"{number:02}.bin": bytes([number]) * 5000 for number in range(20)}
HOSTILE = (
    "a/b", "..", ".", "", "nul\0byte", "x" * 300, "ü" * 200, "/etc/passwd", ".staging", "lone\ud800surrogate", "new\nline", "bell\x07",
    "back\\slash", "-rf", "a" * 255, "sp ace", "v9" * 2,
)  # fmt: skip


@pytest.fixture
def server(wandb_server):  # noqa: F811
    return wandb_server


@pytest.fixture
def fresh(tmp_path, server):
    """An artfs whose key is in netrc. After the test no secret is in its log, nor an unexpected warning."""
    found = Artfs(tmp_path)
    found.expected = []
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(tmp_path / "home", key=False)
    found.environment["NETRC"] = str(tmp_path / "netrc")
    found.environment["ARTFS_REGISTRY"] = server.url
    found.keys = []
    write_key(found, server)
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)
    check_secrets(found, found.log())


@pytest.fixture
def hasty(fresh):
    """Have `mounted` give up sooner than after a minute."""
    fresh.environment["ARTFS_RETRY_SECONDS"] = "4"


@pytest.fixture
def mounted(fresh, server):
    server.log_artifact("me", "demo", "data", files=FILES)
    fresh.mount()
    assert sorted(os.listdir(fresh.collection() / "v0")) == sorted(FILES)
    server.forget()
    return fresh


def write_key(found, server):
    found.keys.append(server.key)
    netrc = found.root / "netrc"
    netrc.write_text(f"machine {server.url.removeprefix('http://')} login user password {server.key}\n")
    netrc.chmod(0o600)


def check_secrets(found, text):
    """Check that a text has no key, in no form, and no signature."""
    for key in found.keys:
        assert key not in text
        assert key.partition("-")[2] not in text
        assert base64.b64encode(f"api:{key}".encode()).decode() not in text
    assert "signature=" not in text.lower()
    assert "authorization" not in text.lower()


def failure(call, *arguments, seconds=90):
    """Return the number of the error of a call, which must fail."""
    with pytest.raises(OSError) as raised:
        within(call, *arguments, seconds=seconds)
    return raised.value.errno


# Credentials --------------------------------------------------------------------------------------------------------


def test_a_new_key_is_read_when_the_old_one_is_refused(mounted, server):
    server.key = "local-" + "1" * 40
    write_key(mounted, server)
    assert (mounted.collection() / "v0/00.bin").read_bytes() == FILES["00.bin"]
    refused = [one for one in server.requests() if one.status == [401]]
    assert len(refused) == 1


def test_a_refused_key_is_no_permission_and_one_line_in_the_log_until_it_works_again(mounted, server):
    mounted.expected.append("does not accept the credentials")
    key, server.key = server.key, "local-" + "2" * 40
    for name in ("00.bin", "01.bin", "02.bin"):
        assert failure((mounted.collection() / "v0" / name).read_bytes) == errno.EACCES
    assert failure(os.listdir, mounted.mountpoint / "me/other") == errno.EACCES
    assert len([line for line in mounted.log().splitlines() if " WARNING " in line]) == 1
    done = mounted.run("ls", "me/demo", code=6)
    check_secrets(mounted, done.stdout + done.stderr)
    server.key = key
    wait_for(lambda: readable(mounted.collection() / "v0/00.bin") == FILES["00.bin"])


@pytest.mark.parametrize("how", ["none", "bad", "refused"])
def test_what_is_here_is_read_without_credentials_after_a_restart(mounted, server, how):
    collection = mounted.collection()
    assert (collection / "latest/00.bin").read_bytes() == FILES["00.bin"]
    mounted.umount()
    netrc = mounted.root / "netrc"
    if how == "none":
        netrc.unlink()
    elif how == "bad":
        netrc.write_text(f"machine {server.url.removeprefix('http://')} login user password short\n")
    else:
        server.key = "local-" + "3" * 40
        mounted.expected.append("does not accept the credentials")
    mounted.mount()
    for version in ("v0", "latest"):
        assert (collection / version / "00.bin").read_bytes() == FILES["00.bin"]
        assert sorted(os.listdir(collection / version)) == sorted(FILES)
    for call, path in ((Path.read_bytes, collection / "v0/01.bin"), (os.listdir, mounted.mountpoint)):
        assert failure(call, path) == errno.EACCES


def readable(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


# Limits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Status(429, retry_after=3), RateLimited(0, 3, refuse=True), RateLimited(0, 3)],
    ids=["retry-after", "429", "remaining"],
)
def test_nothing_is_asked_until_the_server_wants_it(mounted, server, fault):
    server.inject(fault, operation="FileUrls")
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        names = ["00.bin", "05.bin", "10.bin", "15.bin"]
        assert list(pool.map(lambda name: (mounted.collection() / "v0" / name).read_bytes(), names)) == [
            FILES[name] for name in names
        ]
    (mounted.collection() / "v0/19.bin").read_bytes()
    times = [one.at for one in server.requests(path="/graphql") if one.at >= began]
    first = server.requests(operation="FileUrls")[0].at
    # What was asked at the same time had not been told yet.
    assert len([at for at in times if first + 1.2 < at < first + 2.9]) == 0
    assert len([at for at in times if at >= first + 2.9]) >= 1


# Gone ---------------------------------------------------------------------------------------------------------------


def test_a_server_that_is_gone_costs_only_what_is_not_here(mounted, server):
    mounted.expected += ["the registry is away", "cannot be reached", "no answer", "refused"]
    version = mounted.collection() / "v0"
    assert (version / "00.bin").read_bytes() == FILES["00.bin"]
    server.stop()
    began = time.monotonic()
    assert failure((version / "01.bin").read_bytes) == errno.EIO
    assert time.monotonic() - began < 85
    within(os.listdir, version)  # who asks first finds out
    for _ in range(5):
        began = time.monotonic()
        assert sorted(os.listdir(version)) == sorted(FILES)
        assert "v0" in os.listdir(mounted.collection())
        assert (version / "00.bin").read_bytes() == FILES["00.bin"]
        assert time.monotonic() - began < 5  # to ask a server that is gone takes longer
    server.start()
    wait_for(lambda: readable(version / "01.bin") == FILES["01.bin"])
    assert tree_of(version) == FILES


def test_readers_are_freed_when_the_server_goes_while_they_read(hasty, mounted, server):
    mounted.expected += ["the registry is away", "cannot be reached", "no answer", "refused", "did not come within"]
    version = mounted.collection() / "v0"
    server.inject(Delay(20), None, "GET", "/wandb_artifacts/")
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(failure, (version / name).read_bytes) for name in list(FILES)[:8]]
        wait_for(lambda: server.count("GET"))
        server.stop()
        assert {read.result(90) for read in reads} == {errno.EIO}
    server.clear()
    server.start()
    wait_for(lambda: readable(version / "07.bin") == FILES["07.bin"])


# Broken replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [ShortBody(100), ShortBody(0), Reset(50), Reset(None), Status(502)], ids=repr)
@pytest.mark.parametrize("place", ["/wandb_artifacts/", "/graphql"])
def test_a_reply_that_breaks_off_is_asked_for_again(mounted, server, fault, place):
    with server.injected(fault, 1, path=place) as injection:
        assert (mounted.collection() / "v0/03.bin").read_bytes() == FILES["03.bin"]
    assert injection.hits == 1


def test_a_file_that_is_shorter_than_the_manifest_says_is_an_error_and_right_later(mounted, server):
    mounted.expected += ["04.bin", "shorter than the manifest says"]
    began = time.monotonic()
    version = mounted.collection() / "v0"
    artifact = server.artifact("me/demo/data:v0")
    server.replace_bytes(artifact, "04.bin", FILES["04.bin"][:-1])
    assert failure((version / "04.bin").read_bytes) in {errno.EIO, errno.ESTALE}
    assert time.monotonic() - began < 30  # it is not tried until the time is over
    assert (version / "05.bin").read_bytes() == FILES["05.bin"]
    server.replace_bytes(artifact, "04.bin", FILES["04.bin"])
    wait_for(lambda: readable(version / "04.bin") == FILES["04.bin"])


def test_many_readers_of_one_file_are_one_question_and_one_request(mounted, server):
    server.inject(Delay(0.3), None, operation="FileUrls")
    path = mounted.collection() / "v0/06.bin"
    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(lambda _: path.read_bytes(), range(64))) == {FILES["06.bin"]}
    assert server.count(operation="FileUrls") == 1
    assert server.count("GET") == 1


@dataclass(frozen=True)
class Held(Fault):
    """The reply comes when the test says so."""

    until: threading.Event

    def change(self, reply):
        self.until.wait(DEADLINE)


def reading(live):
    """Return how many requests of the kernel a mount has not answered."""
    counters, _ = request(live.socket, {"op": "stats"})
    return counters["progress"]["kernel"]["in_flight"]


def test_many_readers_of_files_are_few_questions(mounted, server):
    server.inject(Delay(0.3), None, operation="FileUrls")
    answered = threading.Event()
    server.inject(Held(answered), operation="FileUrls")
    live = find_mount(str(mounted.mountpoint))
    with ThreadPoolExecutor(20) as pool:
        reads = pool.map(lambda name: (mounted.collection() / "v0" / name).read_bytes(), FILES)
        try:
            wait_for(lambda: reading(live) == len(FILES), "all readers")
        finally:
            answered.set()
        assert list(reads) == list(FILES.values())
    assert server.count(operation="FileUrls") <= 4
    assert server.count("GET") == 20


# What is not what it should be ----------------------------------------------------------------------------------------


def test_a_manifest_with_another_digest_is_an_error_of_its_version_only(fresh, server):
    fresh.expected += ["manifest"]
    bad = server.log_artifact("me", "demo", "data", files={"a": b"1"})
    server.log_artifact("me", "demo", "data", files={"a": b"2"})
    stored = server.state.bucket.objects[bad.current_manifest.key].content
    text = stored.read(0, stored.size)
    server.state.bucket.put(bad.current_manifest.key, Memory(text.replace(b'"size":1', b'"size":2')))
    fresh.mount()
    assert sorted(os.listdir(fresh.collection())) == [".commit", ".staging", "latest", "v0", "v1"]
    assert failure(os.listdir, fresh.collection() / "v0") == errno.EIO
    assert (fresh.collection() / "v1/a").read_bytes() == b"2"
    server.state.bucket.put(bad.current_manifest.key, Memory(text))
    wait_for(lambda: readable(fresh.collection() / "v0/a") == b"1")


def test_a_file_that_the_server_has_lost_is_an_error_of_its_own(mounted, server):
    mounted.expected += ["08.bin", "is missing in the store"]
    server.lose_bytes(server.artifact("me/demo/data:v0"), "08.bin")
    assert failure((mounted.collection() / "v0/08.bin").read_bytes) in {errno.EIO, errno.ENOENT}
    for name in ("07.bin", "09.bin"):
        assert (mounted.collection() / "v0" / name).read_bytes() == FILES[name]


@dataclass(frozen=True)
class Renamed(Fault):
    """Names in answers are others, as if the server had them."""

    names: dict[str, str] = field(hash=False)

    def change(self, reply):
        body = b"".join(reply.body)
        changed = body
        for old, new in self.names.items():
            changed = changed.replace(json.dumps(old).encode(), json.dumps(new).encode())
        reply.add_to_length(len(changed) - len(body))
        reply.body = [changed]


@pytest.mark.parametrize("what", ["projects", "collections", "aliases", "teams"])
def test_names_that_cannot_be_never_break_a_listing(fresh, server, what):
    names = {f"hostile-{number}": name for number, name in enumerate(HOSTILE)}
    for name in names:
        if what == "projects":
            server.log_artifact("me", name, "data", files=FILES)
        elif what == "collections":
            server.log_artifact("me", "demo", name, files=FILES)
        elif what == "teams":
            server.team(name)
    server.log_artifact(
        "me", "demo", "data", files={"a": b"1"}, aliases=["latest", *(names if what == "aliases" else ())]
    )
    server.inject(Renamed(names), None, path="/graphql")
    fresh.mount()
    place = {
        "projects": fresh.mountpoint / "me", "collections": fresh.mountpoint / "me/demo", "aliases": fresh.collection(),
        "teams": fresh.mountpoint,
    }[what]  # fmt: skip
    found = within(os.listdir, place)
    assert {"projects": "demo", "collections": "data", "aliases": "v0", "teams": "me"}[what] in found
    assert {"sp ace", "-rf", "back\\slash"} <= set(found)
    assert len(found) == len(set(found))
    for name in found:  # what is listed can be looked at
        os.lstat(place / name)
    fresh.run("ls", os.path.relpath(place, fresh.mountpoint)) if what != "teams" else fresh.run("ls")
    assert (fresh.collection() / "v0/a").read_bytes() == b"1"


# Secrets ------------------------------------------------------------------------------------------------------------


def test_no_secret_is_in_a_log_or_an_error(hasty, mounted, server, tmp_path):
    mounted.expected += [""]
    version = mounted.collection() / "v0"
    faults = (
        Status(400), Status(403), Status(404), Status(416), Status(301, headers={"Location": f"{server.storage_url}/x?X-Amz-Signature=1"}),
        FlippedBit(3), ShortBody(5), ShortBody(5, honest=True), GraphQLError(message=f"the key {server.key} is unknown"), ExpiredURLs(),
    )  # fmt: skip
    for fault, name in zip(faults, FILES, strict=False):
        for path in ("/wandb_artifacts/", "/graphql"):
            with server.injected(fault, 2, path=path), contextlib.suppress(OSError):
                within((version / name).read_bytes, seconds=90)
    said = ""
    for number, fault in enumerate(
        (Status(403), GraphQLError(message=f"the key {server.key} is unknown"), Status(404))
    ):
        mounted.environment["ARTFS_CACHE_DIR"] = str(tmp_path / f"cache-{number}")
        with server.injected(fault, None):
            done = mounted.start("get", "me/demo/data:v0", tmp_path / f"out-{number}", "--json")
            said += "".join(done.communicate(timeout=300))
        with server.injected(fault, None, path="/wandb_artifacts/"):
            done = mounted.start("get", "me/demo/data:v0", tmp_path / f"out2-{number}")
            said += "".join(done.communicate(timeout=300))
    assert said
    check_secrets(mounted, said)
    for path in (mounted.root / "state").rglob("*"):
        if path.is_file():
            check_secrets(mounted, path.read_text(errors="replace"))
    check_secrets(mounted, Path(f"/proc/{mounted.pid()}/cmdline").read_text())
