"""Metrics of a real mount: they parse as OpenMetrics, count what was done, and are served on the loopback interface alone."""

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.harness import ALONE, DEADLINE, wait_for
from tests.mount.conftest import Call, Remote, read_once, within
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Stall, Status
from tests.servers.process import free_ports

BLOCK = 1 << 20
BIG = os.urandom(3 * BLOCK)
OTHER, DENIED = os.urandom(ALONE), os.urandom(ALONE)


def parse(text):
    """Return the samples of OpenMetrics text: by name and labels; the parser refuses what the format does not allow."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def metrics(mount):
    return parse(mount.run("stats", mount.mountpoint, "--openmetrics").stdout)


def value(samples, name, **labels):
    return samples[name, frozenset(labels.items())]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, s3_server):
    """A mount whose store is a bucket behind a proxy, that serves metrics over HTTP."""
    with FaultProxy(s3_server.url) as proxy:
        found = Remote(tmp_path_factory.mktemp("metrics"), s3_server, proxy.url)
        found.proxy = proxy
        found.expected += ["was refused", "damaged", "do not match"]
        found.version = found.put({"big": BIG, "other": OTHER, "denied": DENIED})
        (found.port,) = free_ports(1)
        found.mount("--metrics-port", found.port)
        yield found
        found.close()
        assert not found.unexpected_log(*found.expected)


def test_reads_are_counted_by_the_kernel_by_the_cache_and_by_the_service(elsewhere):
    before = metrics(elsewhere)
    assert within((elsewhere.version / "big").read_bytes) == BIG
    wait_for(lambda: not busy(elsewhere), "the end of what was asked for beside")
    after = metrics(elsewhere)

    def change(name, **labels):
        return value(after, name, **labels) - before.get((name, frozenset(labels.items())), 0)

    assert change("artfs_read_bytes_total") == len(BIG)
    assert change("artfs_request_duration_seconds_count", operation="read") >= 3
    assert change("artfs_request_duration_seconds_bucket", operation="read", le="+Inf") == change(
        "artfs_request_duration_seconds_count", operation="read"
    )
    assert change("artfs_request_duration_seconds_sum", operation="read") > 0
    assert change("artfs_service_bytes_total", service="s3", operation="read") >= len(BIG)
    assert change("artfs_service_request_duration_seconds_count", service="s3", operation="read") >= 1
    assert change("artfs_service_request_duration_seconds_sum", service="s3", operation="read") > 0
    assert change("artfs_cache_misses_total") >= 1
    assert value(after, "artfs_requests_in_flight") == 0
    assert value(after, "artfs_service_requests_in_flight", service="s3") == 0
    assert value(after, "artfs_registry_reachable") == 1
    assert value(after, "artfs_process_resident_memory_bytes") > 10 << 20
    assert value(after, "artfs_process_cpu_seconds_total") > 0
    assert value(after, "artfs_cache_limit_bytes") == 50 << 30
    assert any(name == "artfs_build_info" for name, _ in after)


def test_a_failure_is_counted_with_its_errno_and_by_the_service(elsewhere):
    before = metrics(elsewhere)
    with (
        elsewhere.proxy.injected(Status(403), None, "GET", elsewhere.key(DENIED)),
        pytest.raises(PermissionError),
    ):
        within(read_once, elsewhere.version / "denied", 600)
    after = metrics(elsewhere)
    name, labels = "artfs_request_errors_total", {"operation": "read", "errno": "EACCES"}
    assert value(after, name, **labels) >= 1
    assert (name, frozenset(labels.items())) not in before
    failures = {"service": "s3", "operation": "read"}
    assert value(after, "artfs_service_request_failures_total", **failures) >= 1
    assert value(before, "artfs_service_request_failures_total", **failures) == 0


def test_metrics_are_served_over_http_on_the_loopback_interface_alone(elsewhere):
    request = urllib.request.Request(
        f"http://127.0.0.1:{elsewhere.port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        samples = parse(answer.read().decode())
    assert {name for name, _ in samples} == {name for name, _ in metrics(elsewhere)}
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    listening = [line.split()[1] for table in tables for line in table]
    addresses = [address for address in listening if address.endswith(f":{elsewhere.port:04X}")]
    assert "0100007F" in {address.partition(":")[0] for address in addresses}
    assert {address.partition(":")[0] for address in addresses} <= {"0100007F"}


def test_a_port_in_use_is_an_error_and_there_is_no_mount(elsewhere):
    other = elsewhere.root / "other"
    done = elsewhere.run("mount", other, "--metrics-port", elsewhere.port, code=5)
    assert f"127.0.0.1:{elsewhere.port}" in done.stderr
    assert "--metrics-port" in done.stderr
    assert not os.path.ismount(other)
    elsewhere.expected.append("metrics cannot be served")


def test_requests_under_way_are_in_flight(elsewhere):
    elsewhere.proxy.inject(Stall(after=100), None, "GET", elsewhere.key(OTHER))
    call = Call((elsewhere.version / "other").read_bytes)
    found = wait_for(lambda: busy(elsewhere), "a request under way")
    elsewhere.proxy.clear()
    assert found["bytes"] >= 500
    assert call.result() == OTHER


def busy(mount):
    (status,) = mount.json("status")
    found = status["in_flight"].get("s3")
    return found if found and found["requests"] else None


def test_commits_and_damage_are_counted(fresh):
    fresh.expected += ["is damaged", "do not match", "failed: the draft is empty", "cannot be read"]
    fresh.mount()
    before = metrics(fresh)
    draft = fresh.draft()
    (draft / "f").write_bytes(b"content")
    version = fresh.commit(draft)
    draft = fresh.draft("same")
    (draft / "f").write_bytes(b"content")
    fresh.run("commit", draft)
    fresh.run("commit", fresh.draft("empty"), code=2)
    blob = fresh.blob(b"content")
    blob.chmod(0o600)
    blob.write_bytes(b"CONTENT")
    with pytest.raises(OSError):
        read_once(version / "f", 7)
    after = metrics(fresh)
    for result in ("published", "unchanged", "failed"):
        assert value(after, "artfs_commits_total", result=result) == 1
        assert value(before, "artfs_commits_total", result=result) == 0
    assert value(after, "artfs_committed_bytes_total") == 7
    assert value(after, "artfs_verification_failures_total") >= 1
    assert value(before, "artfs_verification_failures_total") == 0
    assert value(after, "artfs_request_errors_total", operation="read", errno="EIO") >= 1
    assert value(after, "artfs_written_bytes_total") == 14
    assert value(after, "artfs_log_messages_total", level="warning") >= 1
    assert value(after, "artfs_drafts") == 1  # the empty one


PRIVATE = """
import os, artfs
with artfs.mounted("demo/data:v0") as directory:
    print(os.listdir(directory))
"""


def test_a_mount_of_a_program_leaves_the_port_of_the_settings_to_others(fresh, small_source):
    fresh.here("put", small_source, "demo/data")
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {**fresh.environment, "ARTFS_METRICS_PORT": str(taken.getsockname()[1])}
        done = subprocess.run([sys.executable, "-c", PRIVATE], env=environment, capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stdout) == (0, "['f']\n"), done.stderr


@pytest.fixture
def small_source(tmp_path):
    path = tmp_path / "source"
    path.mkdir()
    (path / "f").write_text("x")
    return path


WITHOUT = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
from artfs.app import daemon, openmetrics
from artfs.errors import InvalidInputError
for ask in (lambda: openmetrics.text_of({}), lambda: openmetrics.Server(1, dict)):
    try: ask()
    except InvalidInputError as error: print(error)
"""


def test_without_the_library_metrics_say_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.count("prometheus-client is not installed (pip install 'artfs[metrics]')") == 2
