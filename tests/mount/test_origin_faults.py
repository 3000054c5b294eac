"""What a store or an origin that fails, lies or hangs does to a mount: the right bytes after a while, or an error that says what it is.

All tests share a mount whose store is reached through a proxy that makes faults. Each reads files that nobody has read before, from
directories of their own, so that nothing is in a cache and nothing was fetched ahead.
"""

import contextlib
import errno
import itertools
import os
import re
from dataclasses import dataclass

import pytest

from tests.harness import ALONE, wait_for
from tests.mount.conftest import Call, Remote, within
from tests.servers.faults import (
    ChangedETag,
    Fault,
    FlippedBit,
    LongBody,
    Reset,
    ShortBody,
    Stall,
    Status,
    WrongRange,
)

BLOCK = 1 << 20
SMALL, BIG = ALONE, 2 * BLOCK + 17
WAITING = 64
GIVES_UP = 90.0  # seconds in which a read whose source is away has failed

pytestmark = pytest.mark.usefixtures("forsaken")  # which takes its time while the first tests run


def xml(code):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made by a test</Message></Error>".encode()


@dataclass(frozen=True)
class Shifted(Fault):
    """The body has the bytes of another place, though the head says that it has those that were asked for."""

    by: int

    def change(self, reply):
        data = b"".join(reply.body)
        reply.body = [data[self.by :] + data[: self.by]]


@dataclass(frozen=True)
class Unranged(Fault):
    """The status is 200, and nothing says which bytes the body has."""

    def change(self, reply):
        reply.status, reply.reason = 200, "OK"
        reply.headers = [(key, value) for key, value in reply.headers if key.lower() != "content-range"]


@dataclass(frozen=True)
class Expired(Fault):
    """What was signed with an access key is refused."""

    key: str
    refusal: Status

    def answer(self, request):
        signed = " ".join(value for name, value in request.headers.items() if name.lower() == "authorization")
        return self.refusal.answer(request) if self.key in signed else None


@pytest.fixture(scope="module")
def mount(tmp_path_factory, s3_server, proxy):
    found = Remote(tmp_path_factory.mktemp("mount"), s3_server, proxy.url)
    sizes = [SMALL] * 200 + [BIG] * 36
    found.files = {f"{number:03}/data": os.urandom(size) for number, size in enumerate(sizes)}
    found.known = {"known/data": b"in the cache\n"}
    found.version = found.put(found.known | found.files)
    found.unread = {
        size: iter([name for name, data in found.files.items() if len(data) == size]) for size in (SMALL, BIG)
    }
    found.mount()
    assert (found.version / "known/data").read_bytes() == found.known["known/data"]
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@dataclass
class File:
    """A file of the mount that nobody has read, and what it must hold."""

    path: object
    data: bytes
    key: str

    def read(self):
        return self.path.read_bytes()

    def is_right(self):
        assert within(self.read) == self.data

    def fails(self, number, seconds=45):
        with pytest.raises(OSError) as caught:
            within(self.read, seconds=seconds)
        assert caught.value.errno == number, caught.value


def take(mount, size=SMALL):
    name = next(mount.unread[size])
    return File(mount.version / name, mount.files[name], mount.key(mount.files[name]))


@pytest.fixture
def small(mount):
    return take(mount)


@pytest.fixture
def big(mount):
    return take(mount, BIG)


@pytest.fixture(autouse=True)
def lives(mount):
    """Whatever a test does, the mount answers afterwards, and reads what it has never read."""
    yield
    assert len(within(os.listdir, mount.version)) == len(mount.files) + 1
    assert within((mount.version / "known/data").read_bytes) == mount.known["known/data"]
    take(mount).is_right()


@pytest.fixture(scope="module", autouse=True)
def stalled(mount, proxy):
    """A read that takes as long as the product may take, begun before all other tests and looked at by the last one."""
    file = take(mount, BIG)
    with proxy.injected(Stall(after=1000), 1, "GET", file.key) as stall:
        read = Call(file.read)
        wait_for(lambda: stall.hits, "the read")
        yield file, read


# Faults that pass --------------------------------------------------------------------------------------------------

PASSING = [
    ShortBody(1000), ShortBody(0), ShortBody(1000, honest=True), LongBody(1000), LongBody(1000, honest=False),
    WrongRange(1), WrongRange(BLOCK), Unranged(), Shifted(1), Shifted(4096), FlippedBit(), FlippedBit(39_999),
    Status(429), Status(429, retry_after=1), Status(500), Status(503, retry_after=1), Status(503, body=xml("SlowDown")),
    Reset(None), Reset(0), Reset(1000), Reset(before_reply=True), ChangedETag(),
]  # fmt: skip


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_a_reply_that_is_not_what_was_asked_for_is_asked_for_again(mount, proxy, small, big, fault):
    for file in (small, big):
        injection = proxy.inject(fault, 1, "GET", file.key)
        file.is_right()
        assert injection.hits == 1
        assert proxy.count("GET", file.key) >= 2 or isinstance(fault, LongBody | ChangedETag)


def test_a_service_that_fails_in_a_different_way_each_time_is_asked_until_it_answers(proxy, big):
    for fault in (Status(503), Reset(1000), ShortBody(7), WrongRange(), Status(500), FlippedBit(BLOCK // 2)):
        proxy.inject(fault, 1, "GET", big.key)
    big.is_right()


@pytest.mark.parametrize("fault", [ShortBody(5), Status(503), Reset(5), LongBody(100), FlippedBit(5)], ids=repr)
def test_a_manifest_that_comes_damaged_never_lists_what_is_not_there(mount, proxy, fault):
    files = {"a/data": os.urandom(100), "b": os.urandom(100)}
    version = mount.put(files, f"listed-{type(fault).__name__.lower()}")
    mount.expected += ["manifest", "listdir", "lookup"]
    proxy.inject(fault, 1, "GET", "/store/md5/")
    assert sorted(within(os.listdir, version)) == ["a", "b"]
    mount.lives(version, files)


# Faults that stay --------------------------------------------------------------------------------------------------


def test_access_that_is_refused_is_said_to_be_and_to_that_file_alone(mount, proxy, small, big):
    for file, refusal in ((small, Status(403, body=xml("AccessDenied"))), (big, Status(401))):
        with proxy.injected(refusal, method="GET", path=file.key):
            for _ in range(2):
                file.fails(errno.EACCES)
            take(mount).is_right()
        assert f"{mount.bucket}/{file.key} was refused" in mount.log()
        file.is_right()


def test_bits_that_flip_on_every_way_are_an_error_and_not_bytes(mount, proxy, small, big):
    mount.expected += ["is damaged", "do not match the manifest"]
    for file in (small, big):
        with proxy.injected(FlippedBit(4097), method="GET", path=file.key):
            file.fails(errno.EIO)
        file.is_right()


@pytest.mark.parametrize("how", ["other bytes", "shorter", "empty"])
@pytest.mark.parametrize("size", [SMALL, BIG], ids=["small", "big"])
def test_a_blob_that_was_changed_in_the_store_is_an_error_until_it_is_mended(mount, s3_server, size, how):
    mount.expected += ["is damaged", "do not match the manifest", "is shorter than"]
    file = take(mount, size)
    changed = {"other bytes": os.urandom(size), "shorter": file.data[:-1], "empty": b""}[how]
    with contextlib.closing(s3_server.client()) as client:
        client.put_object(Bucket=mount.bucket, Key=file.key, Body=changed)
        file.fails(errno.EIO)
        client.put_object(Bucket=mount.bucket, Key=file.key, Body=file.data)
    file.is_right()


def test_a_blob_that_grew_in_the_store_is_read_as_it_was(mount, s3_server, small, big):
    with contextlib.closing(s3_server.client()) as client:
        for file in (small, big):
            client.put_object(Bucket=mount.bucket, Key=file.key, Body=file.data + b"more")
            file.is_right()


# References --------------------------------------------------------------------------------------------------------


@pytest.fixture
def refer(mount, s3_server):
    """Return a function that puts objects into a bucket and refers to them; it returns bucket and directory of the version."""
    count = itertools.count()
    with contextlib.closing(s3_server.client()) as client:

        def make(objects, *, versioned=False):
            bucket = s3_server.bucket(versioned=versioned)
            for key, data in objects.items():
                client.put_object(Bucket=bucket, Key=f"raw/{key}", Body=data)
            name = f"refs-{bucket}-{next(count)}"
            mount.maker.here("put", "--reference", f"s3://{bucket}/raw/", f"demo/{name}")
            return client, bucket, mount.collection(name) / "v0"

        yield make


def file_of(version, bucket, key, data):
    return File(version / key, data, f"{bucket}/raw/{key}")


def test_a_reference_to_an_object_that_changed_is_an_error_that_names_it(mount, refer):
    mount.expected += ["has changed since it was recorded", "is damaged or missing"]
    data, other = os.urandom(BIG), os.urandom(BIG)
    client, bucket, version = refer({"a/data": data, "b/data": b"fine", "c/data": b"longer"})
    client.put_object(Bucket=bucket, Key="raw/a/data", Body=other)
    client.put_object(Bucket=bucket, Key="raw/c/data", Body=b"longer now")
    for key, now in (("a/data", data), ("c/data", b"longer")):
        file = file_of(version, bucket, key, now)
        file.fails(errno.EIO)
        assert f"s3://{bucket}/raw/{key} has changed since it was recorded" in mount.log()
        client.put_object(Bucket=bucket, Key=f"raw/{key}", Body=now)
        file.is_right()
    file_of(version, bucket, "b/data", b"fine").is_right()


def test_an_object_that_changes_while_it_is_read_never_gives_bytes_of_both(mount, proxy, refer):
    mount.expected += ["has changed since it was recorded", "is damaged or missing"]
    data = os.urandom(24 * BLOCK)
    client, bucket, version = refer({"data": data})
    with (version / "data").open("rb", buffering=0) as reader:
        assert within(os.pread, reader.fileno(), 4096, 0) == data[:4096]
        client.put_object(Bucket=bucket, Key="raw/data", Body=os.urandom(len(data)))
        with pytest.raises(OSError) as caught:
            within(os.pread, reader.fileno(), 4096, 20 * BLOCK)
        assert caught.value.errno == errno.EIO
        assert within(os.pread, reader.fileno(), 100, 4096) == data[4096:4196]  # what came before the change stays


def test_a_reference_to_an_object_that_is_gone_says_so_and_an_old_version_of_it_is_still_read(mount, refer):
    mount.expected += ["does not exist", "is damaged or missing"]
    data = os.urandom(SMALL)
    client, bucket, version = refer({"data": data})
    client.delete_object(Bucket=bucket, Key="raw/data")
    file_of(version, bucket, "data", data).fails(errno.ENOENT)
    client, bucket, version = refer({"a/data": data, "b/data": data[:-1], "c/data": data[:-2]}, versioned=True)
    client.delete_object(Bucket=bucket, Key="raw/a/data")
    client.put_object(Bucket=bucket, Key="raw/b/data", Body=b"another")
    for key, now in (("a/data", data), ("b/data", data[:-1]), ("c/data", data[:-2])):
        file_of(version, bucket, key, now).is_right()


TELLING = [fault for fault in PASSING if not isinstance(fault, FlippedBit | Shifted | ChangedETag)]


@pytest.mark.parametrize("fault", TELLING, ids=repr)
def test_a_reply_to_a_reference_that_is_not_what_was_asked_for_is_asked_for_again(mount, proxy, refer_many, fault):
    file = next(refer_many)
    injection = proxy.inject(fault, 1, "GET", file.key)
    file.is_right()
    assert injection.hits == 1


@pytest.fixture(scope="module")
def refer_many(mount, s3_server):
    """Files that are references, which nobody has read."""
    bucket = s3_server.bucket()
    files = {f"{number:03}/data": os.urandom(SMALL) for number in range(len(PASSING))}
    with contextlib.closing(s3_server.client()) as client:
        for key, data in files.items():
            client.put_object(Bucket=bucket, Key=f"raw/{key}", Body=data)
    mount.maker.here("put", "--reference", f"s3://{bucket}/raw/", "demo/many")
    return (file_of(mount.collection("many") / "v0", bucket, key, data) for key, data in files.items())


# Credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [Status(400, body=xml("ExpiredToken")), Status(403, body=xml("InvalidAccessKeyId"))],
    ids=["expired", "revoked"],
)
def test_credentials_that_ended_are_read_again_and_without_new_ones_that_is_said(s3_server, proxy, remote, refusal):
    own = remote(proxy.url)
    credentials = own.root / "credentials"

    def write(identity):
        credentials.write_text(
            f"[default]\naws_access_key_id = {identity.access_key}\naws_secret_access_key = {identity.secret_key}\n"
        )

    files = {f"{number}/data": os.urandom(SMALL) for number in range(4)}
    version = own.put(files)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del own.environment[name]
    own.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(credentials)
    write(s3_server.owner)
    own.mount()
    assert (version / "0/data").read_bytes() == files["0/data"]
    write(s3_server.reader)
    with proxy.injected(Expired(s3_server.owner.access_key, refusal), path=f"/{own.bucket}/") as first:
        assert within((version / "1/data").read_bytes) == files["1/data"]
        assert first.hits >= 2
        with proxy.injected(Expired(s3_server.reader.access_key, refusal), path=f"/{own.bucket}/"):
            with pytest.raises(PermissionError):
                within((version / "2/data").read_bytes)
            own.lives(version, {name: files[name] for name in files})
        assert within((version / "2/data").read_bytes) == files["2/data"]
    secrets = (s3_server.owner.secret_key, s3_server.reader.secret_key)
    assert not re.search("|".join(secrets), own.log())
    assert "was refused" in own.log()


# Waiting -----------------------------------------------------------------------------------------------------------


def test_while_reads_hang_listings_and_reads_of_what_is_here_are_answered(mount, proxy):
    waiting = [take(mount) for _ in range(WAITING)]
    fresh = mount.put({"new/data": b"new"}, "fresh")
    with contextlib.ExitStack() as stalls:
        hits = [stalls.enter_context(proxy.injected(Stall(0), None, "GET", file.key)) for file in waiting]
        reads = [Call(file.read) for file in waiting]
        wait_for(lambda: sum(hit.hits for hit in hits) >= 16, "reads that hang at the store")
        assert sorted(within(os.listdir, mount.collection())) == [".commit", ".staging", "latest", "v0"]
        assert len(within(os.listdir, mount.version)) == len(mount.files) + 1
        assert within((mount.version / "known/data").read_bytes) == mount.known["known/data"]
        assert within(os.readlink, mount.collection() / "latest") == "v0"
        assert within(os.stat, waiting[0].path).st_size == SMALL
        assert within(os.getxattr, waiting[0].path, "user.artfs.size") == str(SMALL).encode()
        assert within(os.listdir, fresh) == ["new"]  # a version that was never listed: its manifest is fetched
        draft = mount.draft("meanwhile", "drafts")
        within((draft / "f").write_bytes, b"written")
        assert not any(read.done for read in reads)
    proxy.drop_connections()
    for file, read in zip(waiting, reads, strict=True):
        assert read.result() == file.data


# As long as it takes -----------------------------------------------------------------------------------------------


def test_an_answer_that_stalls_is_given_up_and_asked_for_again(stalled):
    file, read = stalled
    assert read.result(GIVES_UP) == file.data


def test_what_stays_away_is_an_error_when_its_time_is_over_and_not_before_and_not_never(forsaken):
    for what, (key, read) in forsaken.reads.items():
        with pytest.raises(OSError) as caught:
            read.result(GIVES_UP)
        assert caught.value.errno == errno.EIO, what
        assert f"{key} cannot be reached: gave up after" in forsaken.log(), what
    forsaken.lives(forsaken.version, forsaken.known)
