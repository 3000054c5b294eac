"""What systemd is told, and when it is told nothing."""

import os
import socket

import pytest
import trio

from artfs.app import systemd
from artfs.app.systemd import Systemd


@pytest.fixture
def heard(tmp_path):
    """Where systemd listens: the address, and a function that returns what it has heard."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)

        def take():
            found = []
            try:
                while True:
                    found.append(listener.recv(4096).decode())
            except BlockingIOError:
                return found

        yield str(tmp_path / "notify"), take


def test_states_are_told_where_the_environment_says_and_no_child_inherits_it(heard):
    address, take = heard
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/h"}
    found = Systemd.of(environment)
    assert environment == {"HOME": "/h"}
    assert found.patience == 3.0
    found.tell("READY=1\nSTATUS=here")
    assert take() == ["READY=1\nSTATUS=here"]


def test_an_abstract_address_is_understood():
    name = f"artfs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        Systemd("@" + name, 0).tell("STOPPING=1")
        listener.settimeout(60)
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("environment", [
    {},
    {"WATCHDOG_USEC": "3000000"},
    {"NOTIFY_SOCKET": "/x"},
    {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"},
    {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
])  # fmt: skip
def test_nobody_waits_for_signs_of_life_who_has_not_asked_this_process(environment):
    assert Systemd.of(dict(environment)).patience == 0


def test_nothing_is_told_where_nobody_listens(tmp_path):
    Systemd("", 0).tell("READY=1")
    Systemd(str(tmp_path / "gone"), 0).tell("READY=1")


def test_nobody_who_does_not_listen_holds_the_mount_up(heard):
    address, take = heard
    for _ in range(1000):  # more than the kernel keeps
        Systemd(address, 0).tell("WATCHDOG=1")
    assert set(take()) == {"WATCHDOG=1"}


def run_for(seconds, call):
    async def main():
        with trio.move_on_after(seconds):
            await call()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_signs_of_life_come_while_the_mount_answers_and_stop_when_it_does_not(heard, monkeypatch, tmp_path):
    address, take = heard
    answers = []

    async def ask(mountpoint):
        assert mountpoint == tmp_path
        answer = answers.pop(0) if answers else None
        if answer is None:
            await trio.sleep_forever()
        return answer

    monkeypatch.setattr(systemd, "_answers", ask)
    answers[:] = [True] * 10
    run_for(8.5, lambda: Systemd(address, 9.0).keep_alive(tmp_path))
    assert take() == ["WATCHDOG=1"] * 3  # three times before systemd loses its patience
    answers[:] = [True, False, None]
    run_for(60, lambda: Systemd(address, 9.0).keep_alive(tmp_path))
    assert take() == ["WATCHDOG=1"]


def test_a_mount_out_of_sight_shows_that_the_event_loop_runs(heard):
    address, take = heard
    run_for(8.5, lambda: Systemd(address, 9.0).keep_alive(None))
    assert take() == ["WATCHDOG=1"] * 3


def test_whoever_asks_is_a_process_of_its_own_and_hears_whether_there_is_an_answer(tmp_path):
    async def main():
        assert await systemd._answers(tmp_path)
        assert not await systemd._answers(tmp_path / "missing")

    trio.run(main)
