"""What a manifest may make this machine read: nothing of the metadata services of clouds, by address, by name or by redirect.

Every spelling of an address is tested in tests/storage/test_http_session.py; ``file://`` under the roots in tests/mount/test_shared.py.
"""

import errno
import http.server
import os
import threading

import pytest

from tests.harness import Artfs
from tests.safety.conftest import manifest_of, plant

SECRET = "/latest/meta-data/iam/security-credentials/role"


class Redirecting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", f"http://169.254.169.254{SECRET}")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def redirecting():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def led_astray(tmp_path_factory, redirecting):
    """A mount of a version whose references lead to where nothing is to be read."""
    found = Artfs(tmp_path_factory.mktemp("astray"))
    (found.root / "f").write_bytes(b"one\n")
    found.here("put", found.root / "f", "demo/data")
    refs = {
        "address": f"http://169.254.169.254{SECRET}",
        "number": f"http://2852039166{SECRET}",
        "mapped": f"http://[::ffff:169.254.169.254]{SECRET}",
        "name": "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
        "redirect": f"http://127.0.0.1:{redirecting.server_port}/innocent",
    }
    plant(
        found,
        "data",
        manifest_of((name, {"digest": "tag", "ref": ref, "size": 20}) for name, ref in sorted(refs.items())),
    )
    found.refs = refs
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log("may not be read", "is damaged or missing")


def test_a_mount_refuses_to_read_what_leads_to_a_metadata_service(led_astray, redirecting):
    version = led_astray.collection() / "v0"
    assert sorted(os.listdir(version)) == sorted(led_astray.refs)
    for name in led_astray.refs:
        with pytest.raises(OSError) as caught:
            (version / name).read_bytes()
        assert caught.value.errno == errno.EACCES, name
    assert redirecting.asked
    assert "may not be read" in led_astray.log()


def test_get_refuses_it_too(led_astray, tmp_path):
    done = led_astray.run("get", "demo/data", tmp_path / "out", code=6)
    assert "may not be read" in done.stderr
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("kind", ["address", "name", "redirect"])
def test_such_a_reference_cannot_be_added(led_astray, kind):
    done = led_astray.run("put", "--reference", led_astray.refs[kind], f"demo/new-{kind}", code=6)
    assert "may not be read" in done.stderr
    assert "metadata_addresses" in done.stderr
