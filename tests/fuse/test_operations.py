"""The adapter: each request reaches the vfs with its arguments, each answer is encoded as the kernel wants it."""

import contextlib
import errno
import inspect
import os
from types import SimpleNamespace

import pyfuse3
import pytest

from artfs.fuse.operations import Operations
from artfs.vfs.types import FOREVER, Change, DirEntry, Negative, Opened
from tests.fuse.fakes import CALLER, CTX, FakeFileSystem, attr

pytestmark = pytest.mark.trio


def fields_of(entry):
    """Return what an encoded entry says."""
    return {name: getattr(entry, name) for name in dir(entry) if name.startswith("st_") or name.endswith("_timeout")}


EXPECTED_FIELDS = {
    "st_ino": 7, "st_mode": 0o100644, "st_nlink": 2, "st_size": 1234, "st_blocks": 3, "st_uid": 10, "st_gid": 11, "st_atime_ns": 10**18 + 1,
    "st_mtime_ns": 10**18 + 2, "st_ctime_ns": 10**18 + 3, "st_rdev": 0, "st_blksize": 1 << 20, "entry_timeout": FOREVER, "attr_timeout": 2.5,
}  # fmt: skip

PASSED_ON = {
    "lookup": (lambda ops: ops.lookup(1, b"x", CTX), "lookup", (1, b"x", CALLER), {}),
    "getattr": (lambda ops: ops.getattr(7, CTX), "getattr", (7,), {}),
    "readlink": (lambda ops: ops.readlink(7, CTX), "readlink", (7,), {}),
    "access": (lambda ops: ops.access(7, os.W_OK, CTX), "access", (7, os.W_OK, CALLER), {}),
    "opendir": (lambda ops: ops.opendir(7, CTX), "opendir", (7, CALLER), {}),
    "releasedir": (lambda ops: ops.releasedir(9), "releasedir", (9,), {}),
    "fsyncdir": (lambda ops: ops.fsyncdir(9, True), "fsync", (9,), {"data_only": True}),
    "mkdir": (lambda ops: ops.mkdir(1, b"d", 0o755, CTX), "mkdir", (1, b"d", 0o755, CALLER), {}),
    "rmdir": (lambda ops: ops.rmdir(1, b"d", CTX), "rmdir", (1, b"d", CALLER), {}),
    "unlink": (lambda ops: ops.unlink(1, b"f", CTX), "unlink", (1, b"f", CALLER), {}),
    "symlink": (lambda ops: ops.symlink(1, b"l", b"to", CTX), "symlink", (1, b"l", b"to", CALLER), {}),
    "link": (lambda ops: ops.link(7, 1, b"l", CTX), "link", (7, 1, b"l", CALLER), {}),
    "mknod": (lambda ops: ops.mknod(1, b"n", 0o10600, 0, CTX), "mknod", (1, b"n", 0o10600, CALLER), {}),
    "rename": (lambda ops: ops.rename(1, b"a", 2, b"b", 0, CTX), "rename", (1, b"a", 2, b"b", CALLER),
               {"replace": True, "exchange": False}),
    "rename without replacing": (lambda ops: ops.rename(1, b"a", 2, b"b", pyfuse3.RENAME_NOREPLACE, CTX), "rename",
                                 (1, b"a", 2, b"b", CALLER), {"replace": False, "exchange": False}),
    "rename to exchange": (lambda ops: ops.rename(1, b"a", 2, b"b", pyfuse3.RENAME_EXCHANGE, CTX), "rename",
                           (1, b"a", 2, b"b", CALLER), {"replace": True, "exchange": True}),
    "open": (lambda ops: ops.open(7, os.O_RDWR, CTX), "open", (7, os.O_RDWR, CALLER), {}),
    "create": (lambda ops: ops.create(1, b"f", 0o644, os.O_RDWR, CTX), "create", (1, b"f", os.O_RDWR, 0o644, CALLER), {}),
    "read": (lambda ops: ops.read(9, 4096, 100), "read", (9, 4096, 100), {}),
    "write": (lambda ops: ops.write(9, 4096, b"data"), "write", (9, 4096, b"data"), {}),
    "fsync": (lambda ops: ops.fsync(9, False), "fsync", (9,), {"data_only": False}),
    "release": (lambda ops: ops.release(9), "release", (9,), {}),
    "listxattr": (lambda ops: ops.listxattr(7, CTX), "xattrs", (7,), {}),
    "setxattr": (lambda ops: ops.setxattr(7, b"user.artfs.type", b"v", CTX), "set_xattr",
                 (7, b"user.artfs.type", b"v", CALLER), {}),
}  # fmt: skip

ANSWERS = {
    "lookup": attr(), "getattr": attr(), "mkdir": attr(), "symlink": attr(), "link": attr(), "mknod": attr(), "readlink": "v3", "opendir": 9,
    "open": Opened(9, keep_cache=True), "create": (Opened(9, keep_cache=True), attr()), "read": b"bytes", "write": 4, "xattrs": {},
}  # fmt: skip


@pytest.mark.parametrize("request_name", PASSED_ON)
async def test_a_request_reaches_the_vfs_with_its_arguments(request_name):
    call, *expected = PASSED_ON[request_name]
    fs = FakeFileSystem(**ANSWERS)
    await call(Operations(fs))
    assert [list(found) for found in fs.calls] == [expected]


@pytest.mark.parametrize("request_name", ["lookup", "getattr", "mkdir", "symlink", "link", "mknod"])
async def test_attributes_are_encoded_field_by_field(request_name):
    entry = await PASSED_ON[request_name][0](Operations(FakeFileSystem(**ANSWERS)))
    assert fields_of(entry) == fields_of(entry) | EXPECTED_FIELDS


async def test_a_new_file_is_answered_with_its_handle_and_its_attributes():
    info, entry = await Operations(FakeFileSystem(**ANSWERS)).create(1, b"f", 0o644, os.O_RDWR, CTX)
    assert (info.fh, info.keep_cache, info.direct_io) == (9, True, False)
    assert fields_of(entry) == fields_of(entry) | EXPECTED_FIELDS


async def test_a_name_that_is_not_there_is_told_with_how_long_that_is_true():
    entry = await Operations(FakeFileSystem(lookup=Negative(12.5))).lookup(1, b"x", CTX)
    assert (entry.st_ino, entry.entry_timeout) == (0, 12.5)


async def test_ten_years_are_not_too_long_for_the_encoding():
    entry = await Operations(FakeFileSystem(lookup=Negative(FOREVER))).lookup(1, b"x", CTX)
    assert entry.entry_timeout == FOREVER == 315360000.0


@pytest.mark.parametrize(("keep", "direct"), [(True, False), (False, False), (True, True), (False, True)])
async def test_pages_are_kept_unless_the_file_is_read_directly(keep, direct):
    info = await Operations(FakeFileSystem(open=Opened(9, keep_cache=keep, direct=direct))).open(7, os.O_RDONLY, CTX)
    assert (info.fh, info.keep_cache, info.direct_io) == (9, keep and not direct, direct)


async def test_handles_of_drafts_go_there_and_back():
    handle = 1 << 62 | 12345
    fs = FakeFileSystem(opendir=handle, open=Opened(handle, keep_cache=True), read=b"")
    ops = Operations(fs)
    assert await ops.opendir(7, CTX) == handle
    assert (await ops.open(7, 0, CTX)).fh == handle
    await ops.read(handle, 0, 1)
    assert fs.calls[-1] == ("read", (handle, 0, 1), {})


async def test_simple_answers_are_given_as_they_are():
    ops = Operations(FakeFileSystem(**ANSWERS))
    assert await ops.readlink(7, CTX) == b"v3"
    assert await ops.access(7, os.R_OK, CTX) is True
    assert await ops.read(9, 0, 10) == b"bytes"
    assert await ops.write(9, 0, b"data") == 4


async def test_a_target_that_is_no_text_is_answered_byte_by_byte():
    assert await Operations(FakeFileSystem(readlink="\udcff\udcfe")).readlink(7, CTX) == b"\xff\xfe"


async def test_what_was_read_may_be_a_view_of_memory():
    view = memoryview(b"0123456789")[2:5]
    assert await Operations(FakeFileSystem(read=view)).read(9, 0, 3) is view


# setattr ----------------------------------------------------------------------------------------------------------

WANTED = {
    "st_mode": 0o100600,
    "st_uid": 5,
    "st_gid": 6,
    "st_size": 77,
    "st_atime_ns": 10**18,
    "st_mtime_ns": 10**18 + 9,
}
FLAGS = {"update_mode": "mode", "update_uid": "uid", "update_gid": "gid", "update_size": "size", "update_atime": "atime_ns",
         "update_mtime": "mtime_ns"}  # fmt: skip


def wanted_change(*flags):
    entry = pyfuse3.EntryAttributes()
    for name, value in WANTED.items():
        setattr(entry, name, value)
    fields = SimpleNamespace(**dict.fromkeys(FLAGS, False), update_ctime=False)
    for flag in flags:
        setattr(fields, flag, True)
    return entry, fields


@pytest.mark.parametrize("flag", FLAGS)
async def test_each_attribute_is_changed_alone_when_it_alone_is_asked_for(flag):
    fs = FakeFileSystem(setattr=attr())
    entry, fields = wanted_change(flag)
    await Operations(fs).setattr(7, entry, fields, None, CTX)
    change = Change(**{FLAGS[flag]: WANTED[f"st_{FLAGS[flag]}"]})
    assert fs.calls == [("setattr", (7, change, None, CALLER), {})]


async def test_all_attributes_are_changed_at_once_by_handle():
    fs = FakeFileSystem(setattr=attr())
    entry, fields = wanted_change(*FLAGS)
    answer = await Operations(fs).setattr(7, entry, fields, 9, CTX)
    change = Change(mode=0o100600, uid=5, gid=6, size=77, atime_ns=10**18, mtime_ns=10**18 + 9)
    assert fs.calls == [("setattr", (7, change, 9, CALLER), {})]
    assert fields_of(answer) == fields_of(answer) | EXPECTED_FIELDS


# Directories ------------------------------------------------------------------------------------------------------


@pytest.fixture
def reply(monkeypatch):
    """What an answer to readdir holds; ``room`` is for how many entries."""
    found = SimpleNamespace(entries=[], room=100)

    def readdir_reply(token, name, entry, next_id):
        assert token == "token"
        if len(found.entries) == found.room:
            return False
        found.entries.append((name, fields_of(entry), next_id))
        return True

    monkeypatch.setattr(pyfuse3, "readdir_reply", readdir_reply)
    return found


LISTING = [
    DirEntry(b".", attr(1), 1),
    DirEntry(b"..", attr(2), 2),
    *(DirEntry(b"f%d" % n, attr(10 + n), 5 * n) for n in range(1, 4)),
]


async def test_a_listing_is_answered_with_names_attributes_and_offsets(reply):
    fs = FakeFileSystem(readdir=LISTING)
    await Operations(fs).readdir(9, 3, "token")
    assert fs.calls == [("readdir", (9, 3), {})]
    assert [(name, fields["st_ino"], offset) for name, fields, offset in reply.entries] == [
        (b".", 1, 1), (b"..", 2, 2), (b"f1", 11, 5), (b"f2", 12, 10), (b"f3", 13, 15),
    ]  # fmt: skip
    assert reply.entries[0][1] == reply.entries[0][1] | EXPECTED_FIELDS | {"st_ino": 1}


async def test_a_listing_takes_no_more_entries_than_have_room(reply):
    taken = []

    def entries():
        for entry in LISTING:
            taken.append(entry.name)
            yield entry

    reply.room = 3
    await Operations(FakeFileSystem(readdir=entries())).readdir(9, 0, "token")
    assert [name for name, *_ in reply.entries] == [b".", b"..", b"f1"]
    assert taken == [b".", b"..", b"f1", b"f2"]


# Extended attributes, and the rest --------------------------------------------------------------------------------

XATTRS = {"digest": b"abc", "size": b"6"}


async def test_extended_attributes_are_given_by_their_full_names():
    ops = Operations(FakeFileSystem(xattrs=XATTRS))
    assert await ops.listxattr(7, CTX) == [b"user.artfs.digest", b"user.artfs.size"]
    assert await ops.getxattr(7, b"user.artfs.size", CTX) == b"6"


async def test_removing_an_extended_attribute_sets_it_to_nothing():
    fs = FakeFileSystem(xattrs=XATTRS)
    await Operations(fs).removexattr(7, b"user.artfs.size", CTX)
    assert fs.calls[-1] == ("set_xattr", (7, b"user.artfs.size", None, CALLER), {})


@pytest.mark.parametrize("call", [
    lambda ops: ops.getxattr(7, b"user.artfs.nothing", CTX),
    lambda ops: ops.removexattr(7, b"user.artfs.nothing", CTX),
])  # fmt: skip
async def test_an_extended_attribute_that_is_not_there_is_no_attribute(call):
    fs = FakeFileSystem(xattrs=XATTRS)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await call(Operations(fs))
    assert caught.value.errno == errno.ENODATA
    assert [name for name, *_ in fs.calls] == ["xattrs"]


@pytest.mark.parametrize("name", [b"security.capability", b"system.posix_acl_access", b"user.other"])
async def test_other_extended_attributes_are_not_supported_and_the_vfs_is_not_asked(name):
    fs = FakeFileSystem(xattrs=XATTRS)
    for call in (Operations(fs).getxattr(7, name, CTX), Operations(fs).removexattr(7, name, CTX)):
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await call
        assert caught.value.errno == errno.EOPNOTSUPP
    assert fs.calls == []


async def test_the_disk_is_described_as_the_vfs_says():
    found = os.statvfs("/")
    answer = await Operations(FakeFileSystem(statvfs=found)).statfs(CTX)
    names = ["f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_namemax"]
    assert {name: getattr(answer, name) for name in names} == {name: getattr(found, name) for name in names}


async def test_the_kernel_is_told_what_it_must_not_do():
    assert (Operations.enable_writeback_cache, Operations.supports_dot_lookup, Operations.enable_acl) == (
        False,
        False,
        False,
    )


async def test_a_close_is_answered_once_for_the_whole_mount():
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Operations(FakeFileSystem()).flush(9)
    assert caught.value.errno == errno.ENOSYS


async def test_no_other_request_that_pyfuse3_knows_is_left_to_its_answer_of_enosys():
    """But for poll, where it is meant: the kernel says from then on by itself that a file is always ready."""
    left = set()
    for name, handler in inspect.getmembers(pyfuse3.Operations, inspect.iscoroutinefunction):
        if name not in vars(Operations):
            arguments = [None] * (len(inspect.signature(handler).parameters) - 1)
            with contextlib.suppress(pyfuse3.FUSEError):
                await handler(pyfuse3.Operations(), *arguments)
                continue
            left.add(name)
    assert left == {"poll"}
