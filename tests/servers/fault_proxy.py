"""A proxy before a server, which makes faults: the n-th request fails, stalls, is cut off, or tells lies.

It runs in threads of the test's own process, so a test sets faults and reads requests by plain calls. Requests go on as
they came, with their Host header, so that signatures stay valid. A request is written down before it is answered.

    with FaultProxy(s3.url) as proxy:
        proxy.inject(Status(503), times=2, method="GET")
        ...
        assert proxy.count("GET") == 3
"""

import contextlib
import http.client
import http.server
import socket
import socketserver
import struct
import sys
import threading
import urllib.parse
from collections.abc import Iterator

from tests.servers.faults import CutError, Fault, IgnoredRange, Pause, Reply, Request, ResetError, Status
from tests.servers.process import HOST, free_ports

PIECE = 256 * 1024
CLOSE_DEADLINE = 120.0  # seconds until the connections of a closed proxy must have ended
BODILESS = (204, 304)


class Injection:
    """A fault that is in force: which requests it meets, and how many it has met (``hits``)."""

    def __init__(self, fault, times, method, path) -> None:
        self.fault = fault
        self.left = times
        self.method = method
        self.path = path
        self.hits = 0

    def takes(self, request: Request) -> bool:
        """Count the request, if the fault is to be made for it."""
        if self.left == 0 or self.method not in (None, request.method) or self.path not in request.path:
            return False
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return True


class FaultProxy:
    """Listens at ``url``, and passes requests on to ``upstream``, the URL of a server without a path.

    ``keep_host=False`` sends the upstream's own name as Host, and makes its redirects lead to the proxy.
    """

    def __init__(self, upstream: str, keep_host: bool = True) -> None:
        self.upstream = upstream.rstrip("/")
        self.keep_host = keep_host
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._connections: set[socket.socket] = set()
        self._stalled: set[socket.socket] = set()
        self._closing = False
        self._requests: list[Request] = []
        self._injections: list[Injection] = []
        self._errors: list[BaseException] = []
        self._server = _Listener((HOST, *free_ports(1)), self)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fault-proxy", daemon=True
        )
        self._thread.start()

    def inject(self, fault: Fault, times: int | None = 1, method: str | None = None, path: str = "") -> Injection:
        """Make a fault for the next ``times`` requests (None: for all) of this method whose path contains this text."""
        injection = Injection(fault, times, method, path)
        with self._lock:
            self._injections.append(injection)
        return injection

    @contextlib.contextmanager
    def injected(self, fault: Fault, times: int | None = None, method: str | None = None, path: str = ""):
        """Make a fault for the requests inside the ``with`` block."""
        injection = self.inject(fault, times, method, path)
        try:
            yield injection
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._injections.remove(injection)

    def clear(self) -> None:
        """Take all faults back, and end the connections that stall."""
        with self._lock:
            self._injections.clear()
            _shut_down(self._stalled)

    def drop_connections(self) -> None:
        """End all connections, also those that clients keep open for their next request."""
        with self._lock:
            _shut_down(self._connections)

    def requests(self) -> list[Request]:
        """Return what was asked for, in order, since the start or the last ``forget``."""
        with self._lock:
            return list(self._requests)

    def count(self, method: str | None = None, path: str = "") -> int:
        """Return how many requests there were of this method, whose path contains this text."""
        return sum(method in (None, request.method) and path in request.path for request in self.requests())

    def forget(self) -> None:
        """Forget the requests that were made so far."""
        with self._lock:
            self._requests.clear()

    def close(self) -> None:
        """End the proxy: connections to its port are refused from now on. Raises what went wrong inside of it."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._closing = True
        self.clear()
        self.drop_connections()
        with self._lock:
            assert self._changed.wait_for(lambda: not self._connections, CLOSE_DEADLINE), "connections do not end"
        if self._errors:
            raise self._errors[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def arrived(self, request: Request) -> list[Injection]:
        """Write a request down, and return the faults to be made for it."""
        with self._lock:
            self._requests.append(request)
            return [injection for injection in self._injections if injection.takes(request)]

    def opened(self, connection: socket.socket) -> None:
        """Note that a client has connected."""
        with self._lock:
            self._connections.add(connection)
            if self._closing:
                connection.shutdown(socket.SHUT_RDWR)

    def ended(self, connection: socket.socket) -> None:
        """Note that a connection is over."""
        with self._lock:
            self._connections.discard(connection)
            self._changed.notify_all()

    @contextlib.contextmanager
    def stalling(self, connection: socket.socket):
        """Note that a connection waits inside the block, so that ``clear`` can end it."""
        with self._lock:
            self._stalled.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._stalled.discard(connection)

    def failed(self, error: BaseException) -> None:
        """Remember an error of the proxy itself."""
        self._errors.append(error)


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address, proxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Connection)

    def shutdown_request(self, request):
        self.close_request(request)  # without FIN, so that a reset is one

    def handle_error(self, request, client_address):
        self.proxy.failed(sys.exception())


class _Connection(http.server.BaseHTTPRequestHandler):
    """One connection of a client, with one to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 0

    def setup(self):
        super().setup()
        self.proxy = self.server.proxy
        self._behind = None
        self._response = None
        self.proxy.opened(self.connection)

    def finish(self):
        self._drop_behind()
        with contextlib.suppress(OSError):
            super().finish()
        self.proxy.ended(self.connection)

    def _drop_behind(self):
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._behind is not None:
            self._behind.close()
            self._behind = None

    def handle(self):
        with contextlib.suppress(ConnectionError, TimeoutError):  # the client went away
            super().handle()

    def log_message(self, *_):
        pass

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self):
        path = self.requestline.split(" ")[1]  # self.path is not what was sent: it has no double slash at its start
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.close_connection = True
            return self.send_error(411)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, path, self.headers.get("Range"), dict(self.headers.items()))
        faults = [injection.fault for injection in self.proxy.arrived(request)]
        try:
            reply = next(filter(None, (fault.answer(request) for fault in faults)), None)
            if reply is None:
                reply = self._ask(request, body, drop_range=any(isinstance(fault, IgnoredRange) for fault in faults))
            for fault in faults:
                fault.change(reply)
            self._send(reply)
        except ResetError:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        except CutError:
            self.close_connection = True
        finally:
            if self._response is not None and not self._response.isclosed():  # not all of it was wanted
                self._drop_behind()
        return None

    def _ask(self, request, body, drop_range) -> Reply:
        """Pass the request on, and return the reply when its headers have come."""
        headers = [
            (key, value)
            for key, value in self.headers.items()
            if key.lower() not in ("connection", "keep-alive", "expect")
            and not (drop_range and key.lower() == "range")
            and not (key.lower() == "host" and not self.proxy.keep_host)
        ]
        upstream = urllib.parse.urlsplit(self.proxy.upstream)
        for again in (True, False):
            kept = self._behind is not None
            if not kept:
                self._behind = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=120)
            try:
                self._behind.putrequest(
                    request.method, request.path, skip_host=self.proxy.keep_host, skip_accept_encoding=True
                )
                for key, value in headers:
                    self._behind.putheader(key, value)
                self._behind.endheaders(body or None)
                self._response = response = self._behind.getresponse()
                break
            except (OSError, http.client.HTTPException) as error:
                self._drop_behind()
                if not (kept and again):  # else the server has ended a connection that was kept open
                    return Status(502, body=repr(error).encode()).answer(request)
        found = [
            (key, value)
            for key, value in response.getheaders()
            if key.lower() not in ("connection", "keep-alive", "transfer-encoding")
        ]
        reply = Reply(response.status, response.reason, found, self._pieces(response))
        location = reply.header("Location")
        if location and not self.proxy.keep_host:
            reply.set_header("Location", location.replace(self.proxy.upstream, self.proxy.url))
        return reply

    def _pieces(self, response) -> Iterator[bytes]:
        try:
            while piece := response.read(PIECE):
                yield piece
        except http.client.IncompleteRead:
            raise CutError from None
        if response.length:
            raise CutError  # the server broke off

    def _send(self, reply) -> None:
        if reply.pause:
            self._pause(reply.pause)
        has_body = self.command != "HEAD" and reply.status not in BODILESS
        chunked = has_body and reply.header("Content-Length") is None
        if chunked:
            reply.set_header("Transfer-Encoding", "chunked")
        lines = [f"HTTP/1.1 {reply.status} {reply.reason}", *(f"{key}: {value}" for key, value in reply.headers)]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        for piece in reply.body if has_body else ():
            if isinstance(piece, Pause):
                self._pause(piece)
            elif not piece:
                continue  # an empty chunk would be the last one
            elif chunked:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                self.wfile.write(piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _pause(self, pause) -> None:
        """Wait; end the connection if the client does, or if the proxy ended it meanwhile."""
        self.connection.settimeout(pause.seconds)
        with self.proxy.stalling(self.connection), contextlib.suppress(TimeoutError):
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise CutError
        self.connection.settimeout(None)


def _shut_down(connections):
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
