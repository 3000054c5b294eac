"""A server that is a process: its ports, its log, how it is waited for, and how it ends.

A server ends with whoever started it, even if that one is killed: the kernel signals it (PR_SET_PDEATHSIG, by
``setpriv``). What counts is the *thread* that called ``start``: start servers in one that lives as long as they must.
"""

import contextlib
import ipaddress
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

HOST = "127.0.0.1"
START_DEADLINE = 60.0  # seconds until a server must answer, on a slow machine
STOP_DEADLINE = 60.0  # seconds after which a server that was asked to end is killed
STARTS = 3  # how often to try with other ports, when another program has taken one in between
LOG_TAIL = 6000  # characters of the log that an error shows


class ServerError(Exception):
    """A server that did not start, or ended by itself; the message has the end of its log."""


class Server:
    """The base of the servers that are processes. A subclass says what to run and how to see that it answers."""

    ports_needed = 1
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGTERM  # what the process gets when its parent ends
    keep_host = True  # whether a FaultProxy before it leaves the Host header as it came

    def __init__(self, directory) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = self.directory / "log"
        self.ports: list[int] = []
        self.start_seconds = 0.0
        self._process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        """Return what to run; called before each start, when the ports are known. It may write configuration files."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether the server can be used."""
        raise NotImplementedError

    def prefix(self) -> list[str]:
        """Return what stands before the command: by default, that it ends with this process."""
        return ["setpriv", f"--pdeathsig={self.death_signal.name.removeprefix('SIG')}", "--"]

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self):
        """Start the server, and wait until it answers. After ``stop`` or ``kill``: again, on the same ports and data."""
        assert not self.running, "the server runs already"
        began = time.monotonic()
        keep_ports = bool(self.ports)
        for attempt in range(1, STARTS + 1):
            if not keep_ports:
                self.ports = free_ports(self.ports_needed)
            try:
                self._launch()
            except ServerError as error:
                self.kill()
                if keep_ports or attempt == STARTS or "address already in use" not in str(error).lower():
                    raise
            except BaseException:
                self.kill()
                raise
            else:
                break
        self.start_seconds = time.monotonic() - began
        return self

    def _launch(self):
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix(), *self.command()],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_DEADLINE
        while not (self._listens() and self.answers()):
            if self._process.poll() is not None:
                raise ServerError(f"{self} ended with code {self._process.returncode}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self} did not answer within {START_DEADLINE:.0f} s\n{self.log_tail()}")
            time.sleep(0.01)

    def _listens(self) -> bool:
        """Return whether it is this process that one would talk to, and not another that has taken its port."""
        return any(local in self.ports and not remote for (_, local), (_, remote) in tcp_sockets(self.pid))

    def stop(self):
        """Ask the server to end, and wait until it has."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_DEADLINE)
        self.kill()

    def kill(self):
        """End the server without warning, as by ``kill -9``, and wait until it has."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-LOG_TAIL:] if self.log.exists() else ""

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def __str__(self) -> str:
        return f"{type(self).__name__} in {self.directory}"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on.

    They lie below those that the kernel gives to outgoing connections, so that no connection takes one before the server.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(10_000, lowest) if lowest > 11_000 else range(20_000, 60_000)
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.choice(candidates)
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind((HOST, port))
            except OSError:
                continue
            found.append(port)
        return found


def tcp_sockets(pid) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Return the TCP sockets of a process: (local host, port), (remote host, port); the remote port is 0 if it listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, *fields = line.split()
            if fields[6] in inodes:
                found.append((_address(local), _address(remote)))
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)


def has_ended(pid) -> bool:
    """Return whether a process has ended with all its threads, which keep its ports until then, though nobody may have collected its status."""
    try:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except OSError:  # of a thread, or of all
        return not Path(f"/proc/{pid}").exists()
    return all(state in "ZX" for state in states)


def http_status(url: str) -> int:
    """Return the status that a URL answers with; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def find_program(name: str, *directories, hint: str) -> str:
    """Return the path of a program in these directories or on PATH; an error says how to install it."""
    for directory in directories:
        path = Path(directory) / name
        if path.exists():
            return str(path)
    found = shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
    if not found:
        raise ServerError(f"{name} is not installed: {hint}")
    return found
