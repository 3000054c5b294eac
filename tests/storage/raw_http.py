"""A server that answers with whatever bytes a test makes up, and keeps what it was sent."""

import contextlib
import re
import socket
import threading

from tests.storage.places import CONTENT


class Server:
    """Answers every request with the reply (bytes) that a function makes of its head, and then ends the connection."""

    def __init__(self, answer, host="127.0.0.1") -> None:
        self._answer = answer
        self._listener = socket.create_server((host, 0))
        self.host, self.port = self._listener.getsockname()
        self.url = f"http://{self.host}:{self.port}"
        self.heads = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(ConnectionError):
                head = b""
                while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                    head += piece
                    if not head[:1].isalpha():
                        break  # not HTTP
                if head == b"end":
                    return
                self.heads.append(head.decode("latin-1"))
                if head:
                    connection.sendall(self._answer(head.decode("latin-1")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.create_connection((self.host, self.port)) as connection:
            connection.sendall(b"end")
        self._thread.join()
        self._listener.close()

    def field(self, name, number=-1):
        """Return a header of a request, or None."""
        found = re.search(rf"^{name}: (.*)\r$", self.heads[number], re.IGNORECASE | re.MULTILINE)
        return found and found[1]


def reply(status, body=b"", **headers):
    lines = [
        f"HTTP/1.1 {status} Said",
        "Connection: close",
        *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunked(body, *, whole=True):
    return b"%x\r\n%b\r\n" % (len(body), body) + (b"0\r\n\r\n" if whole else b"")


def span(head, data=CONTENT):
    """Answer as a server that knows ranges."""
    first, last = map(int, re.search(r"bytes=(\d+)-(\d+)", head).groups())
    last = min(last, len(data) - 1)
    body = data[first : last + 1]
    return reply(206, body, Content_Length=len(body), Content_Range=f"bytes {first}-{last}/{len(data)}")
