"""Credentials and signatures never leave a process: not by logs, attributes, errors, process titles or the control socket.

A session that uses every kind of them at once, and fails with each. What W&B keys and errors of single backends do is in
tests/wandb/test_secrets.py, tests/mount/test_wandb_faults.py and tests/storage/test_http_session.py.
"""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import run_all
from tests.harness import ALONE, DEADLINE
from tests.mount.conftest import within
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Status

SIGNATURE = "0123456789abcdef-signature-of-a-url"
PASSWORD = "netrc-password-of-a-host"
WANDB = "local-" + "w" * 40
XML = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"


@pytest.fixture
def session(remote, s3_server, postgres_server, http_server):
    """A mount whose registry has a password, whose store a secret key and one of whose references a signature."""
    with FaultProxy(s3_server.url) as proxy:
        found = remote(proxy.url, registry=postgres_server.database())
        found.proxy = proxy
        netrc = found.root / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
        netrc.chmod(0o600)
        for program in (found, found.maker):
            program.environment |= {"NETRC": str(netrc), "WANDB_API_KEY": WANDB}
        found.secrets = [
            SIGNATURE, PASSWORD, WANDB, s3_server.owner.secret_key, found.environment["AWS_SECRET_ACCESS_KEY"],
            found.environment["ARTFS_REGISTRY"].partition("//")[2].partition("@")[0].partition(":")[2],
        ]  # fmt: skip
        assert all(len(secret) > 5 for secret in found.secrets)
        found.signed = f"{http_server.put('signed', b'signed')}?X-Amz-Signature={SIGNATURE}&X-Amz-Expires=60"
        yield found


def processes_of(uid=None):
    """Yield what the process table shows of every process but the environment, which only its user sees."""
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (directory / "cmdline").read_text(errors="replace") + (directory / "comm").read_text()


@contextlib.contextmanager
def short_name(control):
    """Yield a short name of a socket, as long as it is needed."""
    directory, _, name = os.fsdecode(control).rpartition("/")
    descriptor = os.open(directory, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def ask(control, request):
    """Return all that the control socket answers to a request."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        with short_name(control) as place:  # its name may be longer than an address
            client.connect(place)
        client.sendall(request + b"\n")
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
        return answer.decode()


def test_no_secret_is_anywhere_that_others_or_a_report_may_see(session, tmp_path):
    said = []
    version = session.put({"a": b"one", "b": b"two" * ALONE, "c": b"three"})
    for line in (["--reference", session.signed], ["--reference", session.signed + "/missing"]):
        done = subprocess.run(
            [*session.maker.command, "put", *line, "demo/refs"],
            env=session.maker.environment,
            capture_output=True,
            text=True,
        )
        said += [done.stdout, done.stderr]
    session.mount()
    said += list(processes_of())
    refs = session.collection("refs") / "v0"
    files = [version, version / "a", refs, *(refs / name for name in os.listdir(refs)), session.mountpoint]
    with session.proxy.injected(Status(403, body=XML), method="GET", path=session.key(b"two" * ALONE)):
        with pytest.raises(OSError) as refused:
            within((version / "b").read_bytes)
        said.append(str(refused.value))
    assert within((version / "a").read_bytes) == b"one"
    assert within((refs / "signed").read_bytes) == b"signed"
    for file in files:
        said += [f"{name}={os.getxattr(file, name).decode()}" for name in os.listxattr(file)]
    control = os.getxattr(session.mountpoint, "user.artfs.control")
    for request in (
        b'{"op": "status"}',
        b'{"op": "status", "ask": true}',
        b'{"op": "stats"}',
        b'{"op": "bogus"}',
        b"not json",
    ):
        said.append(ask(control, request))
    wrong = session.environment["ARTFS_REGISTRY"].replace("/test_", "/no_such_")
    lines = [
        ["status"], ["status", "--json"], ["ls", "-l", "demo/data"], ["show", "demo/refs"], ["config", "list"], ["config", "list", "--json"],
        ["ls", "--registry", wrong], ["get", "demo/nothing", tmp_path / "x"], ["get", "demo/refs", tmp_path / "out"], ["doctor"],
        ["verify", "demo/refs"], ["du", "demo/refs"],
    ]  # fmt: skip
    for _, out, err in run_all(session, lines):
        said += [out, err]
    said.append(session.log())
    said += [path.read_text(errors="replace") for path in (session.root / "state").rglob("*") if path.is_file()]
    whole = "\n".join(said)
    assert "127.0.0.1" in whole
    assert "was refused" in whole
    assert f"s3://{session.bucket}" in whole
    found = [(secret, text[:300]) for secret in session.secrets for text in said if secret in text]
    assert found == []
    session.expected += ["was refused", "no_such"]
    assert json.loads(ask(control, b'{"op": "status"}'))["result"]["registry"].startswith("postgresql://")
