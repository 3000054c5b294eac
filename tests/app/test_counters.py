"""All counters in one value: it is JSON, it needs nobody, and each number of it is in the metrics."""

import json
import time
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from artfs.app.counters import Counters
from artfs.app.openmetrics import text_of
from artfs.cache.blocks import CacheStatistics
from artfs.fuse.measures import Measures
from artfs.registry.fallback import Fallback, Health
from artfs.vfs.commits import Outcomes
from artfs.wandb.upload import Uploads


class Answering:
    def entity_exists(self, entity):
        return False


@pytest.fixture
def counters():
    registry = Fallback(Answering, None)
    registry.check()
    uploads = Uploads()
    with uploads.one(1000):
        pass
    statistics = CacheStatistics(
        bytes=11,
        max_bytes=12,
        blocks=13,
        files=14,
        hits=15,
        misses=16,
        damaged=17,
        evicted=18,
        trouble="the disk is full",
    )
    services = SimpleNamespace(
        cache_if_made=SimpleNamespace(statistics=lambda: statistics),
        backends=SimpleNamespace(metered=dict, uploads=uploads),
        registry=registry,
        health=lambda: Health(1.0, "away"),
        drafts=SimpleNamespace(owned=lambda: [1, 2]),
        reader=SimpleNamespace(damaged=19),
    )
    commits = SimpleNamespace(outcomes=Outcomes(published=21, unchanged=22, failed=23, size=24), jobs=[1])
    measures = Measures()
    for number in (5, 10_000, 10**12):
        measure = measures.of("read")
        measure.begun += 1
        measure.timings.add(number)
    measure.begun += 1
    measures.of("lookup").failed(2)
    measures.read_bytes, measures.written_bytes = 25, 26
    log = SimpleNamespace(counts=lambda: {"warning": 27, "error": 28})
    return Counters(services, commits, measures, log, time.monotonic() - 29)


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_counter_is_in_the_metrics(counters):
    found = samples(text_of(json.loads(json.dumps(counters.value()))))
    assert {
        name: found[name]
        for name in (
            ("artfs_cache_size_bytes",), ("artfs_cache_limit_bytes",), ("artfs_cache_hits_total",), ("artfs_cache_misses_total",),
            ("artfs_cache_damaged_total",), ("artfs_cache_evicted_total",), ("artfs_cache_usable",), ("artfs_registry_reachable",),
            ("artfs_drafts",), ("artfs_verification_failures_total",), ("artfs_commits_total", "published"),
            ("artfs_commits_total", "unchanged"), ("artfs_commits_total", "failed"), ("artfs_committed_bytes_total",),
            ("artfs_commits_in_progress",), ("artfs_read_bytes_total",), ("artfs_written_bytes_total",),
            ("artfs_log_messages_total", "warning"), ("artfs_log_messages_total", "error"), ("artfs_requests_in_flight",),
            ("artfs_request_errors_total", "ENOENT", "lookup"),
        )
    } == {
        ("artfs_cache_size_bytes",): 11, ("artfs_cache_limit_bytes",): 12, ("artfs_cache_hits_total",): 15,
        ("artfs_cache_misses_total",): 16, ("artfs_cache_damaged_total",): 17, ("artfs_cache_evicted_total",): 18,
        ("artfs_cache_usable",): 0, ("artfs_registry_reachable",): 0, ("artfs_drafts",): 2, ("artfs_verification_failures_total",): 19,
        ("artfs_commits_total", "published"): 21, ("artfs_commits_total", "unchanged"): 22, ("artfs_commits_total", "failed"): 23,
        ("artfs_committed_bytes_total",): 24, ("artfs_commits_in_progress",): 1, ("artfs_read_bytes_total",): 25,
        ("artfs_written_bytes_total",): 26, ("artfs_log_messages_total", "warning"): 27, ("artfs_log_messages_total", "error"): 28,
        ("artfs_requests_in_flight",): 1, ("artfs_request_errors_total", "ENOENT", "lookup"): 1,
    }  # fmt: skip
    assert 29 <= found["artfs_uptime_seconds",] <= time.monotonic() - counters.began
    assert found["artfs_process_resident_memory_bytes",] > 1 << 20


def test_what_takes_longer_than_the_last_bucket_is_in_the_histogram_too(counters):
    found = samples(text_of(counters.value()))
    buckets = [
        number
        for (name, *labels), number in found.items()
        if name.endswith("request_duration_seconds_bucket") and "read" in labels
    ]
    assert (min(buckets), max(buckets)) == (1, 3)  # 5 ns are below the first bound, and 1000 s above the last one
    assert found["artfs_request_duration_seconds_count", "read"] == 3
    assert found["artfs_request_duration_seconds_sum", "read"] == pytest.approx(1000)


def test_a_registry_elsewhere_and_uploads_to_a_wandb_server_are_services(counters):
    found = samples(text_of(counters.value()))
    assert found["artfs_service_request_duration_seconds_count", "ask", "registry"] == 1
    assert found["artfs_service_bytes_total", "wandb", "write"] == 1000
    assert found["artfs_service_request_failures_total", "wandb", "write"] == 0
