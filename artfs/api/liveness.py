"""Whether the process of a run is still there, as far as this machine can tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from artfs.model.run import RunState

if TYPE_CHECKING:
    from artfs.model.entry import JsonValue
    from artfs.model.run import RunInfo

_STARTED = 19  # of the fields of /proc/PID/stat after the name of the program: clock ticks since the boot
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def describe(pid: int) -> dict[str, JsonValue]:
    """Return what tells a process from every other one: its number, its start, and the boot and namespace that these belong to."""
    return {
        "pid": pid,
        "started": _started(pid),
        "boot": _BOOT.read_text().strip(),
        "namespace": str(Path("/proc/self/ns/pid").readlink()),
    }


def is_running(process: JsonValue) -> bool | None:
    """Whether a process that was described is running; None if it is, or was, not of this machine's present boot and namespace."""
    if not isinstance(process, dict) or not isinstance(process.get("pid"), int):
        return None
    here = describe(int(str(process["pid"])))
    if any(process.get(name) != here[name] for name in ("boot", "namespace")):
        return None
    return here["started"] is not None and here["started"] == process.get("started")


def state_of(run: RunInfo) -> RunState:
    """Return how a run is doing. One of this machine whose process is no more, without having said so, has CRASHED."""
    if run.state is RunState.RUNNING and is_running(run.metadata.get("process")) is False:
        return RunState.CRASHED
    return run.state


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[_STARTED])
