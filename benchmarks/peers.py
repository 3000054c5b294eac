"""The file systems that benchmarks/remote.py compares with: each mounted on the same bucket, with its own cache, ended afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def wait_mounted(mountpoint: Path) -> None:
    deadline = time.monotonic() + 60
    while not os.path.ismount(mountpoint):
        if time.monotonic() > deadline:
            raise SystemExit(f"{mountpoint} did not come up")
        time.sleep(0.02)


class Peers:
    """Mounts of a bucket by others. Each context gives the mount point, or None where the program is not installed."""

    def __init__(self, root: Path, server, bucket: str) -> None:
        self.root = root
        self.server = server
        self.bucket = bucket
        self.counter = 0

    @contextlib.contextmanager
    def rclone(self, url: str | None = None):
        program = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if program is None:
            yield None
            return
        self.counter += 1
        mountpoint, cache = self.root / f"rclone-{self.counter}", self.root / f"rclone-cache-{self.counter}"
        mountpoint.mkdir()
        owner = self.server.owner
        remote = (
            f":s3,provider=Other,access_key_id={owner.access_key},secret_access_key={owner.secret_key},"
            f"endpoint='{url or self.server.url}',region=us-east-1:{self.bucket}"
        )
        process = subprocess.Popen(
            [program, "mount", remote, str(mountpoint), "--read-only", "--vfs-cache-mode", "full", "--cache-dir", str(cache),
             "--dir-cache-time", "1h", "--config", "/dev/null"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_mounted(mountpoint)
            yield mountpoint
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=False)
            process.terminate()
            process.wait()
            shutil.rmtree(cache, ignore_errors=True)

    @contextlib.contextmanager
    def s3fs(self):
        program = shutil.which("s3fs")
        if program is None:
            yield None
            return
        self.counter += 1
        mountpoint, cache = self.root / f"s3fs-{self.counter}", self.root / f"s3fs-cache-{self.counter}"
        mountpoint.mkdir()
        passwd = self.root / "s3fs-passwd"
        passwd.write_text(f"{self.server.owner.access_key}:{self.server.owner.secret_key}\n")
        passwd.chmod(0o600)
        process = subprocess.Popen(
            [program, self.bucket, str(mountpoint), "-f", "-o", f"passwd_file={passwd}", "-o", f"url={self.server.url}", "-o",
             "use_path_request_style", "-o", f"use_cache={cache}", "-o", "ro"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_mounted(mountpoint)
            yield mountpoint
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=False)
            process.terminate()
            process.wait()
            shutil.rmtree(cache, ignore_errors=True)

    @contextlib.contextmanager
    def juicefs(self, files: Path):
        """JuiceFS has a format of its own: the files are copied into a volume first, then read through a new mount."""
        program = shutil.which("juicefs", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if program is None:
            yield None
            return
        self.counter += 1
        mountpoint, cache = self.root / f"juicefs-{self.counter}", self.root / f"juicefs-cache-{self.counter}"
        meta = self.root / "juicefs.db"
        owner = self.server.owner
        volume = [
            "--storage", "s3", "--bucket", f"{self.server.url}/{self.bucket}", "--access-key", owner.access_key,
            "--secret-key", owner.secret_key,
        ]  # fmt: skip

        def mount():
            process = subprocess.Popen(
                [program, "mount", f"sqlite3://{meta}", str(mountpoint), "--cache-dir", str(cache), "--no-usage-report"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            wait_mounted(mountpoint)
            return process

        def umount(process):
            subprocess.run([program, "umount", str(mountpoint)], check=False, capture_output=True)
            process.wait()

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if not meta.exists():
            subprocess.run([program, "format", *volume, f"sqlite3://{meta}", "bench"], check=True, **quiet)
            process = mount()
            shutil.copytree(files, mountpoint / "files")
            umount(process)
        shutil.rmtree(cache, ignore_errors=True)
        process = mount()
        try:
            yield mountpoint
        finally:
            umount(process)
            shutil.rmtree(cache, ignore_errors=True)
