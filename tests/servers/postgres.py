"""PostgreSQL of the distribution, on a loopback port, with a password; it can be stopped, killed and started again."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.servers.process import HOST, STOP_DEADLINE, Server, ServerError, has_ended

USER = "artfs"
PASSWORD = "postgres-secret-for-tests"


class Postgres(Server):
    """A database server. ``database`` makes a fresh database and returns its URL."""

    stop_signal = signal.SIGINT  # "fast": clients are cut off
    death_signal = signal.SIGQUIT  # "immediate"

    user = USER
    password = PASSWORD

    def __init__(self, directory) -> None:
        super().__init__(directory)
        self._names = itertools.count(1)
        self._programs = _find_programs()
        self._data = self.directory / "data"

    def prefix(self):
        return [*_as_postgres(), f"--pdeathsig={self.death_signal.name.removeprefix('SIG')}", "--"]

    def command(self):
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        (port,) = self.ports
        settings = {
            "listen_addresses": HOST, "port": port, "unix_socket_directories": "", "max_connections": 200,
            "fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "autovacuum": "off", "jit": "off",
        }  # fmt: skip
        return [
            str(self._programs / "postgres"),
            "-D",
            "data",
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _initialize(self):
        """Make the data directory, which belongs to the user that the server runs as."""
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        secret = self._data.with_name("password")
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            for path in (self._data, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        done = subprocess.run(
            [*_as_postgres(), "--", str(self._programs / "initdb"), "-D", "data", "-U", USER, "--pwfile=password",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
            cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        secret.unlink()
        if done.returncode:
            raise ServerError(f"initdb failed with code {done.returncode}\n{done.stdout}{done.stderr}")

    def answers(self):
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self):
        """End every process of the server, as when the machine loses power; wait until they have."""
        if self.running:
            family = [self.pid, *_children(self.pid)]
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            super().kill()
            deadline = time.monotonic() + STOP_DEADLINE
            while not all(has_ended(pid) for pid in family):
                if time.monotonic() > deadline:
                    raise ServerError(f"processes of {self} do not end")
                time.sleep(0.01)
        super().kill()

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@{HOST}:{self.ports[0]}/{database}"

    def connect(self, database="postgres"):
        """Return a psycopg connection in autocommit mode. The caller closes it."""
        import psycopg

        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=60)

    def database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"test_{next(self._names)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def drop_connections(self, url: str) -> int:
        """Cut every connection to a database, and return how many there were."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [url.rpartition("/")[2]]
            )
            return len(rows.fetchall())


def _find_programs() -> Path:
    """Return the directory of the newest version: Debian does not put the server's programs on PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("postgres")
    if not on_path:
        raise ServerError("postgres is not installed: apt-get install postgresql")
    return Path(on_path).parent


def _as_postgres() -> list[str]:
    """Return the start of a command for a user who is not root, which PostgreSQL insists on.

    That user may search directories, as temporary ones belong to root alone.
    """
    if os.geteuid() != 0:
        return ["setpriv"]
    return [
        "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    ]  # fmt: skip


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found
