"""A web server that gives the replies a test wrote down, one after the other, and keeps what it was sent; and a time that tests make pass."""

import collections
import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes
    connection: int

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def authorization(self):
        return self.headers.get("authorization")


@dataclass
class Reply:
    """``cut``: bytes of the body after which the connection ends. ``length`` False: none is said, the end of the connection ends the body."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    cut: int | None = None
    length: bool = True
    hang_up: bool = False  # instead of a reply
    pause_between: float = 0.0  # seconds between the bytes


def data(**values):
    return Reply(200, json.dumps({"data": values}).encode(), {"Content-Type": "application/json"})


def errors(*messages, status=200, **more):
    body = {"data": None, "errors": [{"message": one, **more} if isinstance(one, str) else one for one in messages]}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


class Stub:
    """Answers with the script, then with ``default``; a reply may be a function of the request."""

    def __init__(self, *script, default=None):
        self.script = collections.deque(script)
        self.default = default
        self.requests = []
        self.before_body = lambda: None  # called before the body of a request is read
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do(self):
                stub.before_body()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body, self.client_address[1])
                with stub._lock:
                    stub.requests.append(request)
                    reply = stub.script.popleft() if stub.script else stub.default
                stub.answer(self, reply(request) if callable(reply) else reply)

            do_GET = do_POST = do_PUT = do  # noqa: N815 - the names of http.server

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.netloc = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.netloc}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, handler, reply):
        assert reply is not None, "the script is at its end"
        if reply.hang_up:
            handler.close_connection = True
            return
        handler.send_response_only(reply.status)
        for key, value in reply.headers.items():
            handler.send_header(key, value)
        if reply.length and "Transfer-Encoding" not in reply.headers:
            handler.send_header("Content-Length", str(len(reply.body)))
        else:
            handler.close_connection = True
        with contextlib.suppress(ConnectionError):
            handler.end_headers()
            body = reply.body if reply.cut is None else reply.body[: reply.cut]
            if reply.pause_between:
                for at in range(len(body)):
                    handler.wfile.write(body[at : at + 1])
                    handler.wfile.flush()
                    time.sleep(reply.pause_between)
            else:
                handler.wfile.write(body)
                handler.wfile.flush()
        if reply.cut is not None:
            handler.close_connection = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FakeTime:
    """A clock that only sleeping moves, or a test."""

    def __init__(self):
        self.at = 1000.0
        self.slept = []
        self._lock = threading.Lock()

    def clock(self):
        return self.at

    def now(self):
        return 1_700_000_000.0 + self.at

    def sleep(self, seconds):
        assert seconds >= 0
        with self._lock:
            self.slept.append(seconds)
            self.at += seconds
