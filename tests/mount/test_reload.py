"""SIGHUP: a mount reads its credentials again before anybody refuses the old ones, and the registry is asked anew."""

import os
import signal

import pytest

from tests.harness import ALONE, wait_for
from tests.mount.conftest import within
from tests.servers.fault_proxy import FaultProxy

SAID = "credentials are read again"


@pytest.fixture
def rotating(remote, s3_server):
    """An artfs whose S3 credentials are in a file, and a function that writes them there."""
    with FaultProxy(s3_server.url) as proxy:
        found = remote(proxy.url)
        found.proxy = proxy
        path = found.root / "credentials"

        def write(identity):
            path.write_text(
                f"[default]\naws_access_key_id = {identity.access_key}\naws_secret_access_key = {identity.secret_key}\n"
            )

        found.write = write
        yield found
        found.close()


def signed_by(artfs, data):
    """Return the access keys that signed the requests for a blob."""
    requests = [request for request in artfs.proxy.requests() if artfs.key(data) in request.path]
    headers = [
        value for request in requests for name, value in request.headers.items() if name.lower() == "authorization"
    ]
    return {header.partition("Credential=")[2].partition("/")[0] for header in headers}


def test_new_credentials_are_used_after_sighup_before_the_old_ones_are_refused(rotating, s3_server):
    files = {f"{name}/data": os.urandom(ALONE) for name in ("before", "then")}
    version = rotating.put(files)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del rotating.environment[name]
    rotating.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(rotating.root / "credentials")
    rotating.write(s3_server.owner)
    rotating.mount()
    pid = rotating.pid()
    assert within((version / "before/data").read_bytes) == files["before/data"]
    assert signed_by(rotating, files["before/data"]) == {s3_server.owner.access_key}
    rotating.write(s3_server.reader)
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: SAID in rotating.log(), "the mount to obey")
    assert within((version / "then/data").read_bytes) == files["then/data"]
    assert signed_by(rotating, files["then/data"]) == {s3_server.reader.access_key}
    assert rotating.pid() == pid
