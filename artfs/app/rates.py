"""What a mount did between two values of its counters (`artfs.app.counters`): a line of `artfs stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    Value = Mapping[str, Any]

NOTHING: Value = {
    "seconds": 0.0,
    "kernel": {"operations": {}, "read_bytes": 0, "written_bytes": 0},
    "cache": None,
    "services": {},
    "damaged": 0,
    "commits": {"published": 0, "failed": 0},
    "messages": {"warning": 0, "error": 0},
    "cpu": 0.0,
}
"""The counters when the mount began."""

_FETCHING, _SENDING = ("read",), ("write",)


def rates(before: Value, now: Value) -> dict[str, Any]:
    """Return the changes by second, and what is under way now. Sizes are bytes, ``cpu_share`` is of one core."""
    seconds = max(now["seconds"] - before["seconds"], 1e-6)
    kernel, kernel_before = now["kernel"], before["kernel"]
    asked = _requests(kernel) - _requests(kernel_before)
    opened = _requests(kernel, "open", "create") - _requests(kernel_before, "open", "create")
    hits, misses = _cache(now, "hits") - _cache(before, "hits"), _cache(now, "misses") - _cache(before, "misses")
    services = {name: _service(before["services"].get(name), one, seconds) for name, one in now["services"].items()}
    return {
        "seconds": round(seconds, 3),
        "requests_per_second": round(asked / seconds, 1),
        "opens_per_second": round(opened / seconds, 1),
        "read_bytes_per_second": round((kernel["read_bytes"] - kernel_before["read_bytes"]) / seconds),
        "written_bytes_per_second": round((kernel["written_bytes"] - kernel_before["written_bytes"]) / seconds),
        "cache_hit_ratio": round(hits / (hits + misses), 4) if hits + misses else None,
        "hits_per_second": round(hits / seconds, 1),
        "misses_per_second": round(misses / seconds, 1),
        "fetched_bytes_per_second": sum(one["fetched_bytes_per_second"] for one in services.values()),
        "sent_bytes_per_second": sum(one["sent_bytes_per_second"] for one in services.values()),
        "services": services,
        "in_flight": kernel["in_flight"],
        "damaged": now["damaged"] - before["damaged"],
        "warnings": now["messages"]["warning"] - before["messages"]["warning"],
        "errors": now["messages"]["error"] - before["messages"]["error"],
        "commits_published": now["commits"]["published"] - before["commits"]["published"],
        "commits_failed": now["commits"]["failed"] - before["commits"]["failed"],
        "commits_running": now["commits"]["running"],
        "drafts": now["drafts"],
        "memory": now["memory"],
        "cpu_share": round(max(now["cpu"] - before["cpu"], 0.0) / seconds, 4),
    }


def _requests(kernel: Value, *names: str) -> int:
    operations = kernel["operations"]
    return sum(operation["requests"] for name, operation in operations.items() if not names or name in names)


def _cache(value: Value, name: str) -> int:
    return 0 if value["cache"] is None else int(value["cache"][name])


def _service(before: Value | None, now: Value, seconds: float) -> dict[str, Any]:
    def change(what: str, *names: str) -> int:
        then = {} if before is None else before["operations"]
        return sum(
            operation[what] - then.get(name, {what: 0})[what]
            for name, operation in now["operations"].items()
            if not names or name in names
        )

    return {
        "requests_per_second": round(change("requests") / seconds, 1),
        "failures_per_second": round(change("failures") / seconds, 1),
        "fetched_bytes_per_second": round(change("bytes", *_FETCHING) / seconds),
        "sent_bytes_per_second": round(change("bytes", *_SENDING) / seconds),
        "in_flight": now["in_flight"],
        "in_flight_bytes": now["in_flight_bytes"],
    }
