"""The counters of a mount as OpenMetrics: the names, types and labels of the metrics, and how they are served over HTTP.

prometheus-client brings the format; it is an extra (``metrics``), and imported when metrics are asked for. They are served on the loopback
interface only: who may read the network of this machine sees them, and they name no files, no users and no credentials.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any

import trio

from artfs.errors import BusyError, InvalidInputError, PermissionDeniedError, UnreachableError
from artfs.model.timings import BOUNDS
from artfs.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    Family = Any  # of prometheus_client, which may not be installed
    Value = Mapping[str, Any]

LOOPBACK = "127.0.0.1"


def text_of(value: Value) -> str:
    """Return `Counters.value` in the OpenMetrics text format. InvalidInputError if prometheus-client is not installed."""
    _require()
    from prometheus_client.openmetrics.exposition import generate_latest

    data: bytes = generate_latest(_registry(lambda: value))  # type: ignore[no-untyped-call]
    return data.decode()


@contextlib.asynccontextmanager
async def serving(port: int, read: Callable[[], Value]) -> AsyncIterator[int | None]:
    """Serve metrics while the body runs, and give the port; with ``port`` 0, nothing. Raises what `Server` raises."""
    if not port:
        yield None
        return
    server = Server(port, read)
    try:
        yield server.port
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.close)


class Server:
    """Metrics over HTTP on a loopback port, from a thread of its own, until it is closed.

    ``port`` 0 is any free one. BusyError, PermissionDeniedError, UnreachableError if the port cannot be had; InvalidInputError if
    prometheus-client is not installed.
    """

    def __init__(self, port: int, read: Callable[[], Value]) -> None:
        _require()
        from prometheus_client import start_http_server

        try:
            self._server, self._thread = start_http_server(port, LOOPBACK, _registry(read))
        except OSError as error:
            raise _unusable(port, error) from error
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop serving. Returns when nobody is answered any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _unusable(port: int, error: OSError) -> BusyError | PermissionDeniedError | UnreachableError:
    what = f"metrics cannot be served on {LOOPBACK}:{port}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return BusyError(what, hint="each mount needs a port of its own: --metrics-port N")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PermissionDeniedError(what, hint="choose a port from 1024 on")
    return UnreachableError(what)


def _require() -> None:
    try:
        import prometheus_client  # noqa: F401 - whether it is there
    except ImportError as error:
        raise InvalidInputError(
            "the Python package prometheus-client is not installed", hint="pip install 'artfs[metrics]'"
        ) from error


def _registry(read: Callable[[], Value]) -> Any:  # noqa: ANN401
    from prometheus_client import CollectorRegistry

    class Collector:
        def collect(self) -> Iterable[Family]:
            return families(read())

        def describe(self) -> Iterable[Family]:
            return ()  # else the registry would collect to find the names out

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return registry


def families(value: Value) -> Iterator[Family]:
    """Yield the metrics of `Counters.value`."""
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    yield InfoMetricFamily("artfs_build", "The program.", {"version": __version__})
    yield GaugeMetricFamily("artfs_uptime_seconds", "Since the mount began to serve.", value["seconds"])
    yield from _kernel(value["kernel"])
    if value["cache"] is not None:
        yield from _cache(value["cache"])
    yield from _services(value["services"])
    yield from _commits(value["commits"])
    yield _counter(
        "artfs_verification_failures", "Reads of bytes that were not what the manifest names.", value["damaged"]
    )
    yield _by(
        "artfs_log_messages", "Warnings and errors, those that were not said again, too.", "level", value["messages"]
    )
    reachable = int(value["registry_reachable"])
    yield GaugeMetricFamily("artfs_registry_reachable", "1 if the registry answered when it was last asked.", reachable)
    yield GaugeMetricFamily("artfs_drafts", "Drafts of this mount.", value["drafts"])
    yield GaugeMetricFamily("artfs_process_resident_memory_bytes", "Memory of the mount process.", value["memory"])
    yield _counter("artfs_process_cpu_seconds", "Processor time of the mount process.", value["cpu"])


def _kernel(kernel: Value) -> Iterator[Family]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    durations = HistogramMetricFamily(
        "artfs_request_duration_seconds", "Requests of the kernel, until they were answered.", labels=["operation"]
    )
    errors = CounterMetricFamily(
        "artfs_request_errors", "Requests that were answered with an errno.", labels=["operation", "errno"]
    )
    for name, operation in sorted(kernel["operations"].items()):
        durations.add_metric([name], *_histogram(operation))
        for number, count in sorted(operation["errors"].items()):
            errors.add_metric([name, errno.errorcode.get(int(number), number)], count)
    yield durations
    yield errors
    yield GaugeMetricFamily(
        "artfs_requests_in_flight", "Requests of the kernel that are not answered yet.", kernel["in_flight"]
    )
    yield _counter(
        "artfs_read_bytes",
        "Bytes that the kernel was given; what it keeps itself is not asked for.",
        kernel["read_bytes"],
    )
    yield _counter("artfs_written_bytes", "Bytes that were written into drafts.", kernel["written_bytes"])


def _cache(cache: Value) -> Iterator[Family]:
    from prometheus_client.core import GaugeMetricFamily

    yield _counter("artfs_cache_hits", "Blocks that were read from the block cache.", cache["hits"])
    yield _counter("artfs_cache_misses", "Blocks that were not in the block cache.", cache["misses"])
    yield _counter(
        "artfs_cache_damaged",
        "Blocks of the block cache whose checksum was wrong: they are fetched again.",
        cache["damaged"],
    )
    yield _counter("artfs_cache_evicted", "Blocks that this mount has evicted from the block cache.", cache["evicted"])
    yield GaugeMetricFamily("artfs_cache_size_bytes", "Disk space of the block cache.", cache["bytes"])
    yield GaugeMetricFamily("artfs_cache_limit_bytes", "The most that the block cache may hold.", cache["max_bytes"])
    yield GaugeMetricFamily(
        "artfs_cache_usable", "0 while the block cache is off, and reads pass it by.", int(cache["trouble"] is None)
    )


def _services(services: Value) -> Iterator[Family]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = ["service", "operation"]
    durations = HistogramMetricFamily(
        "artfs_service_request_duration_seconds", "Requests to a service, with all tries.", labels=labels
    )
    failures = CounterMetricFamily(
        "artfs_service_request_failures", "Requests that a service did not answer, or refused.", labels=labels
    )
    size = CounterMetricFamily(
        "artfs_service_bytes", "Bytes that came from a service or were sent there.", labels=labels
    )
    busy = GaugeMetricFamily(
        "artfs_service_requests_in_flight", "Requests to a service that are not answered yet.", labels=labels[:1]
    )
    busy_size = GaugeMetricFamily(
        "artfs_service_in_flight_bytes", "Bytes that these requests ask for or send.", labels=labels[:1]
    )
    for service, found in sorted(services.items()):
        busy.add_metric([service], found["in_flight"])
        busy_size.add_metric([service], found["in_flight_bytes"])
        for name, operation in sorted(found["operations"].items()):
            durations.add_metric([service, name], *_histogram(operation))
            failures.add_metric([service, name], operation["failures"])
            size.add_metric([service, name], operation["bytes"])
    yield from (durations, failures, size, busy, busy_size)


def _commits(commits: Value) -> Iterator[Family]:
    from prometheus_client.core import GaugeMetricFamily

    results = {name: commits[name] for name in ("published", "unchanged", "failed")}
    yield _by("artfs_commits", "Commits that ended: a new version, nothing new, or an error.", "result", results)
    yield _counter("artfs_committed_bytes", "Bytes of the versions that commits have made.", commits["size"])
    yield GaugeMetricFamily("artfs_commits_in_progress", "Commits that have not ended.", commits["running"])


def _counter(name: str, text: str, value: float) -> Family:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, text, value)


def _by(name: str, text: str, label: str, values: Mapping[str, int]) -> Family:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(operation: Value) -> tuple[list[tuple[str, float]], float]:
    """Return the buckets, and the sum, as prometheus_client wants them. The last bucket is all."""
    buckets = [(f"{bound:g}", count) for bound, count in zip(BOUNDS, operation["buckets"], strict=True)]
    return [*buckets, ("+Inf", operation["requests"])], operation["seconds"]
