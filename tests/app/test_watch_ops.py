"""The operations for who watches a mount: reports in time, their arguments checked, the end."""

from types import SimpleNamespace

import pytest
import trio

from artfs.app.watch_ops import WatchOperations
from artfs.errors import InvalidInputError

pytestmark = pytest.mark.trio


class Counting:
    """Counters that say at what time of the clock they were read."""

    def __init__(self) -> None:
        self.began = trio.current_time()

    def value(self):
        return {"at": round(trio.current_time() - self.began, 3)}


@pytest.fixture
async def operations():
    ended = []
    made = WatchOperations(Counting(), None, SimpleNamespace(), ended.append)
    return SimpleNamespace(table=made.table, ended=ended)


async def test_reports_come_at_their_interval_the_first_at_once(operations, autojump_clock):
    request = {"op": "stats", "interval": 2.5, "count": 3}
    found = [message async for message in operations.table["stats"](request)]
    assert found == [{"progress": {"at": at}} for at in (0, 2.5, 5, 7.5)] + [{"result": {}}]


async def test_who_is_slow_gets_fewer_reports_and_no_heap_of_late_ones(operations, autojump_clock):
    times = []
    async for message in operations.table["stats"]({"op": "stats", "interval": 1, "count": 3}):
        if "progress" in message:
            times.append(message["progress"]["at"])
            await trio.sleep(5.5 if len(times) == 1 else 0)
    assert times == [0, 5.5, 6.5, 7.5]


async def test_reports_without_a_count_go_on(operations, autojump_clock):
    reports = operations.table["stats"]({"op": "stats", "interval": 1, "count": None})
    for at in range(1000):
        assert await anext(reports) == {"progress": {"at": at}}
    await reports.aclose()


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval": 0},
        {"interval": -1},
        {"interval": "1"},
        {"interval": 1e9},
        {"count": -1},
        {"count": "3"},
        {"count": 1.5},
    ],
)
async def test_what_is_no_interval_and_no_count_is_refused(operations, wrong):
    with pytest.raises(InvalidInputError):
        async for _ in operations.table["stats"]({"op": "stats", "interval": 1, "count": 1, **wrong}):
            pass


@pytest.mark.parametrize("haste", [True, False])
async def test_a_shutdown_ends_the_mount_and_the_end_of_the_connection_is_the_answer(operations, haste):
    with trio.move_on_after(0.05) as waiting:
        async for message in operations.table["shutdown"]({"op": "shutdown", "haste": haste}):
            assert message == {"progress": {"ending": True}}
    assert waiting.cancelled_caught
    assert operations.ended == [haste]
