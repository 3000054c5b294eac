"""Which run a process belongs to, and what is noted and written down of the versions that its processes open."""

import os
import threading
import time
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from artfs.errors import UnreachableError
from artfs.model.names import RunRef
from artfs.model.run import RunInfo
from artfs.vfs import processes
from artfs.vfs.lineage import UNKNOWN_FOR
from artfs.vfs.processes import BELIEVED, Processes
from tests.vfs.fakes import PATIENCE
from tests.vfs.world import DATA, ME, STRANGER

pytestmark = pytest.mark.trio

TRAIN, EVAL = RunRef("me", "demo", "train"), RunRef("me", "demo", "eval")


class Proc:
    """A /proc directory, and a clock."""

    def __init__(self, path):
        self.path = path
        self.now = 1000.0

    def __call__(self):
        return self.now

    def add(self, pid, value=None, *, started=100, environment_at=5000, name="cat", environ=None):
        """Make, or replace, a process whose environment has a value of ARTFS_RUN."""
        directory = self.path / str(pid)
        directory.mkdir(parents=True, exist_ok=True)
        fields = ["0"] * 49
        fields[0], fields[19] = "S", str(started)
        fields[47], fields[48] = str(environment_at), str(environment_at + 100)
        (directory / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        if environ is None:
            environ = (
                b"HOME=/\0" + (b"" if value is None else b"ARTFS_RUN=" + os.fsencode(str(value)) + b"\0") + b"A=b\0"
            )
        if isinstance(environ, bytes):
            (directory / "environ").write_bytes(environ)

    def end(self, pid):
        for name in ("stat", "environ"):
            (self.path / str(pid) / name).unlink()


@pytest.fixture
def proc(memory_path):
    return Proc(memory_path / "proc")


@pytest.fixture
def found(proc):
    return Processes(proc.path, proc)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let the environment of a process be read, however long this machine takes for it."""
    monkeypatch.setattr(processes, "PATIENCE", PATIENCE)


# Processes --------------------------------------------------------------------------------------------------------


async def test_the_run_of_a_process_is_that_of_its_environment(proc, found):
    proc.add(1, TRAIN)
    proc.add(2, EVAL, name="a) R (b) 1 2")
    proc.add(3)
    assert [await found.run_of(pid) for pid in (1, 2, 3)] == [TRAIN, EVAL, None]


async def test_the_process_of_this_test_is_found_with_its_threads():
    found = Processes()
    assert await found.run_of(os.getpid()) is None
    assert len(found) == 1
    assert await found.run_of(await trio.to_thread.run_sync(threading.get_native_id)) is None
    assert len(found) == 2


@pytest.mark.parametrize(
    "environ",
    [
        *(
            b"ARTFS_RUN=" + value + b"\0"
            for value in (
                b"", b"x", b"a/b", b"a/b/c/d", b"/a/b/c", b"a/b/c/", b"a//c", b"//", b"a/b/..", b"a/../c", b".a/b/c",
                b"a/b/c:latest", b"a/b/\xff", b"a/b/c\n", b"a/b/" + b"c" * 200, b"a/runs/b/c",
            )
        ),
        b"XARTFS_RUN=a/b/c\0",
        b"ARTFS_RUN_X=a/b/c\0",
        b"ARTFS_RUN\0",
        b"A=ARTFS_RUN=a/b/c\0",
        b"",
    ],
)  # fmt: skip
async def test_what_is_not_exactly_the_name_of_a_run_is_none(proc, found, environ):
    proc.add(1, environ=environ)
    assert await found.run_of(1) is None
    assert len(found) == 1


async def test_the_first_of_two_values_counts_as_for_getenv(proc, found):
    proc.add(1, environ=b"ARTFS_RUN=me/demo/train\0ARTFS_RUN=me/demo/eval\0")
    assert await found.run_of(1) == TRAIN


async def test_the_environment_of_a_process_is_read_once(proc, found):
    proc.add(1, TRAIN)
    assert await found.run_of(1) == TRAIN
    (proc.path / "1/environ").write_bytes(b"")
    for _ in range(3):
        proc.now += BELIEVED
        assert await found.run_of(1) == TRAIN


async def test_a_known_process_is_answered_for_without_looking_until_the_time_is_over(proc, found):
    proc.add(1, TRAIN)
    assert await found.run_of(1) == TRAIN
    proc.end(1)
    proc.now += BELIEVED * 0.99
    assert await found.run_of(1) == TRAIN
    proc.now += BELIEVED * 0.01
    assert await found.run_of(1) is None
    assert len(found) == 0


async def test_a_number_that_is_used_again_is_another_process(proc, found):
    proc.add(1, TRAIN)
    assert await found.run_of(1) == TRAIN
    proc.add(1, EVAL, started=101)
    proc.now += BELIEVED
    assert await found.run_of(1) == EVAL
    proc.add(1, started=102)
    proc.now += BELIEVED
    assert await found.run_of(1) is None


async def test_an_exec_gives_a_process_another_environment(proc, found):
    proc.add(1)
    assert await found.run_of(1) is None
    proc.add(1, TRAIN, environment_at=6000)
    proc.now += BELIEVED
    assert await found.run_of(1) == TRAIN


async def test_an_environment_that_cannot_be_read_is_no_run_and_is_not_read_again(proc, found):
    proc.add(1, environ="nothing")
    (proc.path / "1/environ").mkdir()  # which not even root can read
    assert await found.run_of(1) is None
    (proc.path / "1/environ").rmdir()
    proc.add(1, TRAIN)
    proc.now += BELIEVED
    assert await found.run_of(1) is None


async def test_a_process_that_has_ended_is_no_run_and_is_not_kept(found):
    assert await found.run_of(12) is None
    assert await found.run_of(0) is None
    assert len(found) == 0


async def test_only_the_latest_processes_are_kept(proc, found, monkeypatch):
    monkeypatch.setattr(processes, "MAX_PROCESSES", 3)
    for pid in range(1, 6):
        proc.add(pid, TRAIN)
        assert await found.run_of(pid) == TRAIN
        proc.now += BELIEVED
        assert await found.run_of(1) == TRAIN  # which is in use all the time
    assert len(found) == 3
    for pid in (1, 4, 5):
        proc.add(pid, EVAL)  # seen only by who reads again
        assert await found.run_of(pid) == TRAIN


async def test_a_reader_does_not_wait_for_ever_for_an_environment(proc, found, autojump_clock):
    proc.add(1, environ="nothing")
    os.mkfifo(proc.path / "1/environ")
    start = trio.current_time()
    assert await found.run_of(1) is None
    assert trio.current_time() - start == pytest.approx(processes.PATIENCE)
    assert len(found) == 0
    os.close(os.open(proc.path / "1/environ", os.O_RDWR | os.O_NONBLOCK))  # lets the thread go


# Uses -------------------------------------------------------------------------------------------------------------


def run_info(ref):
    return RunInfo(ref.id, ref.entity, ref.project, ref.id, "", datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture
def train(world):
    """A mount whose caller is a process of a run that the registry knows."""
    world.registry.inner.record_run(run_info(TRAIN))
    Proc(world.processes).add(ME.pid, TRAIN)
    world.nursery.start_soon(world.lineage.record)
    return world


def used_by(world, version):
    return [run.ref for run in world.registry.inner.used_by(version.id)]


async def test_reading_a_file_of_a_version_is_a_use_that_is_written_down_once(train):
    first, second = train.publish({"a": b"1", "d/b": b"2"}), train.publish({"a": b"3"})
    for _ in range(2):
        assert await train.read(f"{DATA}/v0/a") == b"1"
        assert await train.read(f"{DATA}/v0/d/b") == b"2"
        assert await train.lineage.flush(PATIENCE) == 0
    assert used_by(train, first) == [TRAIN]
    assert used_by(train, second) == []
    assert len(train.registry.questions("record_use")) == 1


async def test_what_is_written_down_shows_at_once(train):
    train.publish({"a": b"1"})
    ino = await train.ino(f"{DATA}/v0")
    assert "used_by" not in await train.fs.xattrs(ino) or (await train.fs.xattrs(ino))["used_by"] == b"[]"
    await train.read(f"{DATA}/v0/a")
    await train.lineage.flush(PATIENCE)
    assert b"me/demo/train" in (await train.fs.xattrs(ino))["used_by"]


async def test_looking_is_not_using(train):
    version = train.publish({"a": b"1"})
    assert await train.names(f"{DATA}/v0") == ["a"]
    await train.at(f"{DATA}/v0/a")
    await train.read(f"{DATA}/v0/.artfs/manifest.json")
    await train.read(f"{DATA}/v0/.artfs/artifact.json")
    assert await train.lineage.flush(PATIENCE) == 0
    assert used_by(train, version) == []


async def test_the_base_of_a_draft_is_not_used_by_reading_the_draft(train):
    version = train.publish({"a": b"1"})
    draft = await train.stage(base=version)
    assert await train.read("a", draft) == b"1"
    assert await train.lineage.flush(PATIENCE) == 0
    assert used_by(train, version) == []


async def test_a_reader_does_not_wait_for_the_registry_to_take_a_use(train):
    version = train.publish({"a": b"1"})
    await train.at(f"{DATA}/v0/a")
    with train.registry.held():
        with trio.fail_after(PATIENCE):
            assert await train.read(f"{DATA}/v0/a") == b"1"
        assert used_by(train, version) == []
        assert await train.lineage.flush(0.01) == 1
    assert await train.lineage.flush(PATIENCE) == 0
    assert used_by(train, version) == [TRAIN]


async def test_a_run_that_the_registry_does_not_know_is_ignored(world):
    version = world.publish({"a": b"1"})
    Proc(world.processes).add(ME.pid, EVAL)
    world.nursery.start_soon(world.lineage.record)
    await world.read(f"{DATA}/v0/a")
    assert await world.lineage.flush(PATIENCE) == 0
    assert used_by(world, version) == []
    assert world.registry.questions("record_use") == []


async def test_a_version_that_was_deleted_meanwhile_is_no_reason_to_worry(train):
    version = train.publish({"a": b"1"})
    await train.at(f"{DATA}/v0/a")
    with train.registry.held():
        await train.read(f"{DATA}/v0/a")
        del train.registry.inner._data.by_id[version.id]
    assert await train.lineage.flush(PATIENCE) == 0
    assert used_by(train, version) == []


async def test_a_run_that_is_recorded_later_is_found_then(world, mock_clock):
    version = world.publish({"a": b"1"})
    Proc(world.processes).add(ME.pid, TRAIN)
    world.nursery.start_soon(world.lineage.record)

    async def read():
        await world.read(f"{DATA}/v0/a")
        assert await world.lineage.flush(PATIENCE) == 0
        return len(world.registry.questions("run"))

    assert (await read(), await read()) == (1, 1)
    world.registry.inner.record_run(run_info(TRAIN))
    mock_clock.jump(UNKNOWN_FOR)
    assert await read() == 2
    assert used_by(world, version) == [TRAIN]


async def test_a_use_is_kept_until_the_registry_answers_again(train, mock_clock):
    first, second = train.publish({"a": b"1"}), train.publish({"a": b"2"})
    await train.at(f"{DATA}/v0/a")
    other = await train.ino(f"{DATA}/v1/a")
    assert await train.fs.open(other, os.O_RDONLY, STRANGER)  # the index is loaded
    train.registry.failure = UnreachableError("the registry is away")
    await train.read(f"{DATA}/v0/a")
    assert await train.lineage.flush(PATIENCE) == 1
    assert train.lineage.away == "the registry is away"

    def tries():
        return len(train.registry.questions("run"))

    async def try_again(seconds):
        before = tries()
        mock_clock.jump(seconds)
        while tries() == before or train.lineage._trying:
            await trio.to_thread.run_sync(time.sleep, 0.001)

    for _ in range(6):
        await try_again(61)
    before = tries()
    mock_clock.jump(50)  # by now it is asked once a minute
    await train.fs.open(other, os.O_RDONLY, ME)
    await trio.testing.wait_all_tasks_blocked()
    assert tries() == before
    train.registry.failure = None
    await try_again(11)
    assert (used_by(train, first), used_by(train, second)) == ([TRAIN], [TRAIN])
    assert train.lineage.away == ""


async def test_a_flush_tries_a_registry_that_was_away_at_once(train):
    version = train.publish({"a": b"1"})
    await train.at(f"{DATA}/v0/a")
    train.registry.failure = UnreachableError("the registry is away")
    await train.read(f"{DATA}/v0/a")
    assert await train.lineage.flush(PATIENCE) == 1
    train.registry.failure = None
    assert await train.lineage.flush(PATIENCE) == 0
    assert used_by(train, version) == [TRAIN]


@pytest.mark.expects_warning("which was not recorded")
async def test_a_mistake_of_the_program_does_not_end_the_task(train):
    first, second = train.publish({"a": b"1"}), train.publish({"a": b"2"})
    await train.at(f"{DATA}/v0/a")
    await train.at(f"{DATA}/v1/a")
    train.registry.failure = KeyError("a mistake")
    await train.read(f"{DATA}/v0/a")
    assert await train.lineage.flush(PATIENCE) == 0
    train.registry.failure = None
    await train.read(f"{DATA}/v1/a")
    assert await train.lineage.flush(PATIENCE) == 0
    assert (used_by(train, first), used_by(train, second)) == ([], [TRAIN])


async def test_another_user_has_no_lineage(new_world):
    world = new_world(shared=True)
    world.registry.inner.record_run(run_info(TRAIN))
    for caller in (ME, STRANGER):
        Proc(world.processes).add(caller.pid, TRAIN)
    version = world.publish({"a": b"1"})
    ino = await world.ino(f"{DATA}/v0/a")
    world.nursery.start_soon(world.lineage.record)
    await world.fs.open(ino, os.O_RDONLY, STRANGER)
    assert await world.lineage.flush(PATIENCE) == 0
    assert used_by(world, version) == []
    await world.fs.open(ino, os.O_RDONLY, ME)
    assert await world.lineage.flush(PATIENCE) == 0
    assert used_by(world, version) == [TRAIN]


# Commits ----------------------------------------------------------------------------------------------------------


async def commit_by_rename(world, name="draft"):
    draft = await world.stage(name)
    await world.write(draft, "f", b"content")
    staging, commit = [await world.ino(f"{DATA}/{place}") for place in (".staging", ".commit")]
    await world.fs.rename(
        staging, os.fsencode(name), commit, os.fsencode(name), ME, replace=False, exchange=False
    )  # fmt: skip
    await world.commits.finish()
    world.catalog.forget()
    return world.registry.inner.version(DATA.at("latest"))


async def test_a_commit_by_rename_is_logged_by_the_run_of_the_process(train):
    version = await commit_by_rename(train)
    assert train.registry.inner.logged_by(version.id).ref == TRAIN
    assert "logged" in train.steps


async def test_the_first_run_that_has_logged_a_content_stays(train):
    await commit_by_rename(train)
    train.registry.inner.record_run(run_info(EVAL))
    again = train.remount()
    Proc(again.processes).add(ME.pid, EVAL, started=101)
    version = await commit_by_rename(again, "other")
    assert version.index == 0
    assert [question[1].ref for question in train.registry.questions("record_logged")] == [TRAIN, EVAL]
    assert train.registry.inner.logged_by(version.id).ref == TRAIN


async def test_a_commit_of_an_unknown_run_is_made(world):
    Proc(world.processes).add(ME.pid, EVAL)
    version = await commit_by_rename(world)
    assert version.index == 0
    assert world.registry.inner.logged_by(version.id) is None
