"""HTTP/1.1: the listeners, the connections, and how a reply with its faults goes out.

A connection has a thread. A request is read whole, written down, and then answered by ``server.answer``. Kept lean, as the
double's own time counts in measurements: headers are a dict with lower-case names.
"""

import contextlib
import http.client
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.servers.faults import CutError, IgnoredRange, Pause, Reply, ResetError
from tests.servers.process import HOST
from tests.wandb_server.blobs import PIECE, Content
from tests.wandb_server.faults import Logged, reply_of

LONGEST_LINE = 1 << 16
BODILESS = (204, 304)
CLOSE_DEADLINE = 120.0  # seconds until the connections of a closed server must have ended


@dataclass
class Incoming:
    """A request with its body: bytes of a POST, ``Content`` of a PUT."""

    listener: str  # "api" or "storage"
    method: str
    target: str  # as it was sent: quoted, with the query
    headers: dict[str, str]
    body: bytes = b""
    content: Content | None = None
    extra: dict = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Listener(socketserver.ThreadingTCPServer):
    """A port, whose requests ``server`` answers."""

    allow_reuse_address = True
    request_queue_size = 512
    daemon_threads = True

    def __init__(self, name: str, server, port: int = 0) -> None:
        self.name = name
        self.double = server
        self.connections: set[socket.socket] = set()
        self.changed = threading.Condition()
        super().__init__((HOST, port), Connection)
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), name=f"wandb-{name}", daemon=True)
        self.thread.start()

    def shutdown_request(self, request):
        self.close_request(request)  # without FIN, so that a reset is one

    def handle_error(self, request, client_address):
        self.double.failed(sys.exception())

    def drop_connections(self) -> None:
        """End all connections, also those that clients keep open."""
        with self.changed:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Refuse connections from now on, and wait until those there are have ended."""
        self.shutdown()
        self.thread.join()
        self.server_close()
        self.drop_connections()
        with self.changed:
            assert self.changed.wait_for(lambda: not self.connections, CLOSE_DEADLINE), "connections do not end"


class Connection(socketserver.StreamRequestHandler):
    """One connection of a client."""

    rbufsize = 1 << 16
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.changed:
            self.server.connections.add(self.connection)

    def finish(self):
        with contextlib.suppress(OSError):
            super().finish()
        with self.server.changed:
            self.server.connections.discard(self.connection)
            self.server.changed.notify_all()

    def handle(self):
        with contextlib.suppress(ConnectionError, TimeoutError):  # the client went away
            try:
                while self._serve():
                    pass
            except ResetError:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except CutError:
                pass

    def _serve(self) -> bool:
        """Answer one request; return whether there may be another."""
        line = self.rfile.readline(LONGEST_LINE)
        if not line.strip():
            return False
        method, target, version = line.decode("latin-1").split()
        headers = {}
        while (line := self.rfile.readline(LONGEST_LINE)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if "chunked" in headers.get("transfer-encoding", "") or (
            method in ("PUT", "POST") and "content-length" not in headers
        ):
            self._send(method, reply_of(411, b"a Content-Length is needed"))
            return False
        if headers.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = Incoming(self.server.name, method, target, headers)
        length = int(headers.get("content-length", 0))
        if method == "PUT":
            request.content = self.server.double.state.bucket.receive(self._body(length), length)
        elif length:
            request.body = b"".join(self._body(length))  # not one that a killed client has sent a part of
        self._answer(request, length)
        return version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"

    def _body(self, length):
        while length:
            piece = self.rfile.read(min(PIECE, length))
            if not piece:
                raise ConnectionResetError("the client broke off")
            length -= len(piece)
            yield piece

    def _answer(self, request: Incoming, length: int) -> None:
        double = self.server.double
        double.in_flight(1)
        try:
            self._reply(double, request, length)
        finally:
            double.in_flight(-1)

    def _reply(self, double, request: Incoming, length: int) -> None:
        operation = double.operation_of(request)
        logged = Logged(
            request.method, request.target, request.headers.get("range"), request.headers,
            operation.name if operation else "", operation.variables if operation else {}, length,
        )  # fmt: skip
        faults = double.arrived(logged)
        reply = next(filter(None, (fault.answer(logged) for fault in faults)), None)
        if reply is None:
            if any(isinstance(fault, IgnoredRange) for fault in faults):
                request.headers.pop("range", None)
            try:
                reply = double.answer(request, operation, faults)
            except Exception as error:  # noqa: BLE001 - the test shall see it, and the client must not wait
                double.failed(error)
                reply = reply_of(400, b"the double went wrong")  # which the SDK does not repeat
        for fault in faults:
            fault.change(reply)
        logged.status.append(reply.status)
        self._send(request.method, reply, logged.sent.append)

    def _send(self, method: str, reply: Reply, count: Callable[[int], None] = lambda _: None) -> None:
        if reply.pause:
            self._pause(reply.pause)
        reason = reply.reason or http.client.responses.get(reply.status, "")
        lines = [f"HTTP/1.1 {reply.status} {reason}", *(f"{name}: {value}" for name, value in reply.headers)]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        for piece in reply.body if method != "HEAD" and reply.status not in BODILESS else ():
            if isinstance(piece, Pause):
                if head:
                    self.connection.sendall(head)
                    head = b""
                self._pause(piece)
                continue
            count(len(piece))
            if head:
                piece, head = head + piece, b""
            self.connection.sendall(piece)
        if head:
            self.connection.sendall(head)

    def _pause(self, pause: Pause) -> None:
        """Wait; end the connection if the client does, or if the server is closed meanwhile."""
        self.connection.settimeout(pause.seconds)
        with contextlib.suppress(TimeoutError):
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise CutError
        self.connection.settimeout(None)
