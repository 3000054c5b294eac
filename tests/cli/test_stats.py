"""`artfs stats`, `artfs status`, `artfs log-level`: what a mount does, how it does, and how much it logs."""

import json
import os
import select
import signal
import subprocess

import pytest

from artfs.app.rates import NOTHING, rates
from tests.harness import Artfs, wait_for


@pytest.fixture(scope="module")
def busy(fuse, tmp_path_factory):
    """A mount with a version, for tests that only look."""
    found = Artfs(tmp_path_factory.mktemp("busy"))
    found.expected = []
    source = found.root / "source"
    source.mkdir()
    (source / "f").write_bytes(b"x" * 300_000)
    found.here("put", source, "demo/data")
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


# stats ------------------------------------------------------------------------------------------------------------


def test_the_first_line_is_since_the_mount_and_the_next_ones_are_of_the_interval(busy):
    assert len((busy.collection() / "v0/f").read_bytes()) == 300_000
    first, second, third = lines(busy.run("stats", busy.mountpoint, "0.1", "3", "--json"))
    rounded = 0.001  # seconds: much of the life of a mount that has just begun
    assert first["read_bytes_per_second"] * (first["seconds"] + rounded) >= 300_000
    assert first["requests_per_second"] > 0
    assert first["opens_per_second"] > 0
    for line in (second, third):
        assert 0 < line["seconds"] < 60  # a line that is late does not make the next one late
        assert line["read_bytes_per_second"] == 0
    assert first["memory"] > 10_000_000
    assert set(first) == set(second)


def test_lines_are_below_a_header_and_once_is_one_line(busy):
    header, *rest = busy.run("stats", "0.05", "2").stdout.splitlines()
    assert header.split()[:3] == ["req/s", "open/s", "read"]
    assert len(rest) == 2
    assert all(len(line.split()) == len(header.split()) for line in rest)
    assert len(busy.run("stats", "--once", busy.mountpoint).stdout.splitlines()) == 2


def test_without_a_count_it_goes_on_until_it_is_interrupted_and_that_is_no_failure(busy):
    running = busy.start("stats", "0.05", "--json")
    for _ in range(4):
        assert json.loads(running.stdout.readline())["memory"]
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, "")


def test_the_header_comes_again_on_each_screen(busy):
    busy.environment["LINES"] = "5"
    try:
        said = busy.run("stats", "0.05", "7").stdout.splitlines()
    finally:
        del busy.environment["LINES"]
    assert [number for number, line in enumerate(said) if "req/s" in line] == [0, 4, 8]


@pytest.mark.parametrize(
    "arguments", [["1", "2", "3"], ["/x", "y"], ["0.001"], ["1", "0"], ["1", "1.5"], ["nan"], ["1", "inf"]]
)
def test_what_is_no_interval_or_count_is_refused(busy, arguments):
    assert "artfs: " in busy.run("stats", *arguments, code=2).stderr


def test_no_mount_and_a_path_in_none_are_said(cli, tmp_path):
    assert "no mount is up" in cli.run("stats", code=3).stderr
    assert f"no artfs is mounted at {tmp_path}" in cli.run("stats", tmp_path, code=3).stderr


def test_of_several_mounts_one_has_to_be_named(busy):
    other = busy.mount(at=busy.root / "other")
    try:
        said = busy.run("stats", "--once", code=2).stderr
        assert str(other) in said
        assert str(busy.mountpoint) in said
        assert lines(busy.run("stats", other, "--once", "--json"))
    finally:
        busy.umount(at=other)


def value(**change):
    kernel = {
        "operations": {"read": {"requests": 10}, "open": {"requests": 4}},
        "read_bytes": 2_000_000,
        "written_bytes": 0,
        "in_flight": 1,
    }
    s3 = {"in_flight": 2, "in_flight_bytes": 99, "operations": {
        "read": {"requests": 3, "failures": 1, "bytes": 1_000_000}, "write": {"requests": 1, "failures": 0, "bytes": 50}}}  # fmt: skip
    return NOTHING | {
        "seconds": 2.0, "kernel": kernel, "cache": {"hits": 9, "misses": 1}, "services": {"s3": s3}, "drafts": 0, "memory": 1,
        "cpu": 1.0, "commits": {"published": 0, "failed": 0, "running": 0},
    } | change  # fmt: skip


def test_rates_are_changes_by_second():
    line = rates(NOTHING, value())
    assert (line["requests_per_second"], line["opens_per_second"]) == (7.0, 2.0)
    assert (line["read_bytes_per_second"], line["fetched_bytes_per_second"]) == (1_000_000, 500_000)
    assert (line["sent_bytes_per_second"], line["cache_hit_ratio"], line["misses_per_second"]) == (25, 0.9, 0.5)
    assert line["services"]["s3"] == {
        "requests_per_second": 2.0, "failures_per_second": 0.5, "fetched_bytes_per_second": 500_000, "sent_bytes_per_second": 25,
        "in_flight": 2, "in_flight_bytes": 99,
    }  # fmt: skip
    assert line["cpu_share"] == 0.5
    still = rates(value(), value(seconds=3.0))
    assert still["requests_per_second"] == still["fetched_bytes_per_second"] == 0
    assert still["cache_hit_ratio"] is None


# status -----------------------------------------------------------------------------------------------------------


def complete_status(artfs):
    """Return the status of a mount; None if there was no time to look at everything."""
    (status,) = status_here(artfs)
    everything = status["registry_now"]["answers"] and status["drafts"]["complete"] and status["cache_disk_free"]
    return status if everything else None


def status_here(artfs):
    return json.loads(artfs.here("status", "--json"))


def test_status_shows_drafts_commits_with_their_rate_and_the_registry_as_it_is_now(mounted):
    draft = mounted.draft("one")
    (draft / "f").write_bytes(os.urandom(100_000))
    # A registry has two seconds to answer, and a disk has one, which may be too short on a busy machine.
    status = wait_for(lambda: complete_status(mounted), "a status of everything")
    assert status["registry_now"]["seconds"] < 2
    drafts = status["drafts"]
    assert (drafts["count"], drafts["complete"]) == (1, True)
    assert 100_000 <= drafts["bytes"] < 150_000
    assert drafts["oldest"]
    assert status["cache_disk_free"] > 0
    assert (status["commits"], status["errors"], status["log_level"]) == ([], [], "debug")
    assert "drafts    1, " in mounted.out("status")
    wait_for(lambda: "answers in" in mounted.here("status"), "that the registry answers")
    with mounted.held_registry():
        mounted.run("commit", "--no-wait", draft)
        (commit,) = wait_for(lambda: status_here(mounted)[0]["commits"], "the commit")
        assert (commit["collection"], commit["draft"]) == ("me/demo/data", "one")
        assert {"phase", "files_done", "bytes_done", "bytes_total", "seconds", "bytes_per_second"} <= set(
            commit["progress"]
        )
        assert "commit    me/demo/data 'one'" in mounted.here("status")
        assert status_here(mounted)[0]["drafts"]["count"] == 0
    wait_for(lambda: not status_here(mounted)[0]["commits"], "the end of the commit")


def test_what_went_wrong_is_listed_once_for_each_cause_with_how_often(mounted):
    mounted.expected += ["is damaged", "do not match", "cannot be read"]
    source = mounted.root / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(name.encode() * 100)
    mounted.run("put", source, "demo/data")
    for name in ("a", "b"):
        blob = mounted.blob(name.encode() * 100)
        blob.chmod(0o600)
        blob.write_bytes(b"X" * 100)
    for _ in range(3):
        for name in ("a", "b"):
            with pytest.raises(OSError):
                (mounted.collection() / "v0" / name).read_bytes()
    (status,) = mounted.json("status")
    reads = [error for error in status["errors"] if error["message"].startswith("read:")]
    (read,) = reads
    assert read["count"] >= 6
    assert (read["level"], "do not match the manifest" in read["message"]) == ("warning", True)
    assert read["first"] <= read["last"]
    assert f"{read['count']} times, last at {read['last']}" in mounted.out("status")
    said = [
        line
        for line in mounted.log().splitlines()
        if " WARNING artfs.fuse.errnos: read:" in line and "repeated" not in line
    ]
    assert len(said) == 2  # each file once, however often it is read
    mounted.umount()
    assert "repeated" in mounted.log()


def test_a_mount_that_does_not_answer_is_shown_and_is_a_failure(mounted):
    os.kill(mounted.pid(), signal.SIGSTOP)
    pid = mounted_process(mounted)
    try:
        done = mounted.run("status", mounted.mountpoint, code=8)
        assert f"{mounted.mountpoint}  does not answer" in done.stdout
        assert "artfs umount --force" in done.stdout
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: os.listdir(mounted.mountpoint) is not None)
    assert mounted.run("status").returncode == 0
    mounted.kill()
    (status,) = json.loads(mounted.run("status", "--json", code=8).stdout)
    assert (status["answers"], status["mountpoint"]) == (False, str(mounted.mountpoint))
    assert "has died" in status["reason"]


def mounted_process(artfs):
    """Return the process of a mount that may be stopped: nothing is asked of it."""
    from artfs.app.unmount import daemon_of

    return daemon_of(artfs.mountpoint)


def test_status_of_a_path_in_no_mount_is_not_found(cli, tmp_path):
    assert "no artfs is mounted at" in cli.run("status", tmp_path, code=3).stderr
    assert cli.run("status").stderr == "artfs: no mount is up\n"


# log-level and the end ----------------------------------------------------------------------------------------------


def test_the_level_of_the_log_changes_while_the_mount_runs_and_back(busy):
    def logged(name):
        """Return what a look at a name that is not there makes the mount log."""
        before = busy.log()
        assert not (busy.mountpoint / "me" / name).exists()
        return busy.log().removeprefix(before)

    assert busy.out("log-level", busy.mountpoint) == "debug"
    assert " DEBUG " in logged("nothing")
    assert busy.out("log-level", busy.mountpoint / "me", "info") == "info (the settings say debug)"
    assert " DEBUG " not in logged("nothing-else")
    assert busy.json("status")[0]["log_level"] == "info"
    assert busy.out("log-level", busy.mountpoint, "reset") == "debug"
    assert " DEBUG " in logged("nothing-at-all")
    assert busy.json("log-level", busy.mountpoint) == {"level": "debug", "configured": "debug"}
    busy.run("log-level", busy.mountpoint, "loud", code=2)


def test_a_process_whose_mount_point_is_gone_is_named_and_ended_by_force(fuse, as_root, mounted, monkeypatch):
    monkeypatch.setattr(
        "artfs.app.unmount._FORCED_WAIT", 60.0
    )  # a busy machine needs more than five seconds for its end
    pid, draft = mounted.pid(), mounted.draft()
    descriptor = os.pidfd_open(pid)
    with (draft / "f").open("w") as file:
        file.write("kept")
        file.flush()
        subprocess.run(["umount", "--lazy", mounted.mountpoint], check=True)
        said = mounted.run("umount", mounted.mountpoint, code=5).stderr
        assert "its mount process goes on" in said
        assert "--force" in said
        mounted.here("umount", "--force", mounted.mountpoint)
        assert select.select([descriptor], [], [], 0)[0]  # it has ended
        assert f"unmounted {mounted.mountpoint}" in mounted.log()  # and was not killed
        with pytest.raises(OSError):
            os.fsync(file.fileno())
    os.close(descriptor)
    mounted.run("umount", "--force", mounted.mountpoint, code=3)
    mounted.mount()
    assert (draft / "f").read_text() == "kept"
