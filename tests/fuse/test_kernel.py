"""Invalidation: in order, from one thread, never from the caller's, and whatever the kernel says to it."""

import threading

import pyfuse3
import pytest

from artfs.fuse.session import Kernel


@pytest.fixture
def told(monkeypatch):
    """What pyfuse3 was told: (what, inode, name, name of the thread)."""
    told = []

    def note(what, *arguments):
        told.append((what, *arguments, threading.current_thread().name))

    monkeypatch.setattr(pyfuse3, "invalidate_entry", lambda inode, name: note("entry", inode, name))
    monkeypatch.setattr(pyfuse3, "invalidate_inode", lambda inode, attr_only=False: note("inode", inode, attr_only))
    return told


@pytest.fixture
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.stop()


def finish(kernel):
    kernel.stop()
    kernel._thread.join(30)
    assert not kernel._thread.is_alive()


def test_what_is_to_be_forgotten_is_told_in_order_by_one_thread(kernel, told):
    kernel.start()
    for number in range(20):
        kernel.forget_name(number, b"name%d" % number)
        kernel.forget_attr(number)
    finish(kernel)
    expected = []
    for number in range(20):
        expected += [("entry", number, b"name%d" % number), ("inode", number, True)]
    assert [found[:-1] for found in told] == expected
    assert {found[-1] for found in told} == {"artfs-invalidate"}


def test_nothing_is_told_before_there_is_a_session(kernel, told):
    kernel.forget_name(1, b"x")
    kernel.forget_attr(1)
    kernel.start()
    finish(kernel)
    assert told == []


def test_a_caller_never_waits_for_the_kernel(kernel, monkeypatch):
    """The kernel may wait for an answer of the very handler that calls."""
    go, arrived = threading.Event(), threading.Event()
    monkeypatch.setattr(pyfuse3, "invalidate_entry", lambda *_: (arrived.set(), go.wait(30)))
    kernel.start()
    for _ in range(3):
        kernel.forget_name(1, b"x")
    assert arrived.wait(30)
    go.set()
    finish(kernel)


def test_names_that_the_kernel_does_not_know_are_no_failure(kernel, told, monkeypatch):
    def unknown(*_):
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(pyfuse3, "invalidate_entry", unknown)
        kernel.start()
        kernel.forget_name(1, b"x")
        kernel.forget_attr(2)
        finish(kernel)
    assert [found[:-1] for found in told] == [("inode", 2, True)]
