"""Lookups are counted where the kernel counts them: once for each entry that it was told of."""

import logging
import os

import pyfuse3
import pytest

from artfs.errors import NotFoundError
from artfs.fuse.operations import Operations
from artfs.vfs.types import DirEntry, Negative, Opened
from tests.fuse.fakes import CTX, FakeFileSystem, attr

pytestmark = pytest.mark.trio

INO = 1 << 62 | 5

COUNTED = {
    "lookup": (lambda ops: ops.lookup(1, b"x", CTX), attr(INO)),
    "mkdir": (lambda ops: ops.mkdir(1, b"x", 0o755, CTX), attr(INO)),
    "symlink": (lambda ops: ops.symlink(1, b"x", b"to", CTX), attr(INO)),
    "link": (lambda ops: ops.link(7, 1, b"x", CTX), attr(INO)),
    "mknod": (lambda ops: ops.mknod(1, b"x", 0o10600, 0, CTX), attr(INO)),
    "create": (lambda ops: ops.create(1, b"x", 0o644, os.O_RDWR, CTX), (Opened(9, keep_cache=True), attr(INO))),
}

NOT_COUNTED = {
    "getattr": (lambda ops: ops.getattr(INO, CTX), attr(INO)),
    "open": (lambda ops: ops.open(INO, 0, CTX), Opened(9, keep_cache=True)),
    "opendir": (lambda ops: ops.opendir(INO, CTX), 9),
    "unlink": (lambda ops: ops.unlink(INO, b"x", CTX), None),
    "rename": (lambda ops: ops.rename(INO, b"x", INO, b"y", 0, CTX), None),
}


@pytest.mark.parametrize("handler", COUNTED)
async def test_an_answer_with_an_entry_counts_once(handler):
    call, answer = COUNTED[handler]
    fs = FakeFileSystem(**{handler: answer})
    for times in (1, 2):
        await call(Operations(fs))
        assert fs.remembered == [INO] * times


@pytest.mark.parametrize("handler", COUNTED)
async def test_an_error_counts_nothing(handler):
    fs = FakeFileSystem(**{handler: NotFoundError("nothing")})
    with pytest.raises(pyfuse3.FUSEError):
        await COUNTED[handler][0](Operations(fs))
    assert fs.remembered == []


@pytest.mark.parametrize("handler", NOT_COUNTED)
async def test_an_answer_without_an_entry_counts_nothing(handler):
    call, answer = NOT_COUNTED[handler]
    fs = FakeFileSystem(**{handler: answer})
    await call(Operations(fs))
    assert fs.remembered == []


async def test_a_name_that_is_not_there_counts_nothing():
    fs = FakeFileSystem(lookup=Negative(10.0))
    await Operations(fs).lookup(1, b"x", CTX)
    assert fs.remembered == []


@pytest.mark.parametrize(("room", "counted"), [(0, []), (2, []), (3, [11]), (4, [11, 12]), (100, [11, 12, 13])])
async def test_a_listing_counts_the_entries_that_had_room_but_not_its_dots(monkeypatch, room, counted):
    places = iter(range(1000))
    monkeypatch.setattr(pyfuse3, "readdir_reply", lambda *_: next(places) < room)
    listing = [
        DirEntry(b".", attr(1), 1),
        DirEntry(b"..", attr(2), 2),
        *(DirEntry(b"f%d" % n, attr(10 + n), n) for n in range(1, 4)),
    ]
    fs = FakeFileSystem(readdir=listing)
    await Operations(fs).readdir(9, 0, "token")
    assert fs.remembered == counted


async def test_names_that_only_begin_like_dots_are_counted(monkeypatch):
    monkeypatch.setattr(pyfuse3, "readdir_reply", lambda *_: True)
    listing = [DirEntry(name, attr(20 + place), place) for place, name in enumerate((b"...", b".hidden", b"..a"))]
    fs = FakeFileSystem(readdir=listing)
    await Operations(fs).readdir(9, 0, "token")
    assert fs.remembered == [20, 21, 22]


async def test_the_entry_is_counted_after_it_was_taken_and_before_the_next_is_made(monkeypatch):
    order = []
    monkeypatch.setattr(pyfuse3, "readdir_reply", lambda _, name, *__: order.append(name) or True)

    def listing():
        for n in range(2):
            yield DirEntry(b"f%d" % n, attr(10 + n), n)
            order.append("resumed")

    fs = FakeFileSystem(readdir=listing())
    fs.remember = lambda ino: order.append(ino)
    await Operations(fs).readdir(9, 0, "token")
    assert order == [b"f0", 10, "resumed", b"f1", 11, "resumed"]


async def test_what_the_kernel_forgets_is_passed_on():
    fs = FakeFileSystem()
    await Operations(fs).forget([(7, 1), (INO, 12)])
    assert fs.forgotten == [(7, 1), (INO, 12)]


@pytest.mark.expects_warning("unexpected error in forget")
async def test_a_mistake_while_forgetting_does_not_end_the_mount(caplog):
    fs = FakeFileSystem(forget=KeyError("a mistake"))
    await Operations(fs).forget([(7, 1), (8, 1)])
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [bool(record.exc_info) for record in errors] == [True, True]
