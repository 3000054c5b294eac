"""URLs that open one object for a while, as those of S3: the rule who may use one is here and only here.

The signature covers the method, the path, the time of expiry and every other parameter of the query. A URL that was
signed for GET does not serve PUT or HEAD.
"""

import hmac
import secrets
import threading
import time
import urllib.parse

LIFETIME = 3600.0  # seconds; the real server's is not known (inferred from those of S3)


class SignatureError(Exception):
    """A URL that may not be used: ``code`` and the message are those of S3, which answers 403."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Signer:
    """Makes and checks URLs below ``base``, which is set when the server knows its port."""

    def __init__(self) -> None:
        self.base = ""
        self.lifetime = LIFETIME
        self.ahead = 0.0  # seconds by which this clock is before the real one
        self._key = secrets.token_bytes(32)
        self._generation = 0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the time by which URLs expire, in seconds since 1970."""
        return time.time() + self.ahead

    def expire_all(self) -> None:
        """Make every URL that was signed so far an expired one."""
        with self._lock:
            self._generation += 1

    def sign(self, method: str, path: str, lifetime: float | None = None, **query: str) -> str:
        """Return a URL for this method and unquoted path."""
        expires = self.now() + (self.lifetime if lifetime is None else lifetime)
        query |= {"X-Expires": f"{expires:.3f}", "X-Generation": str(self._generation)}
        quoted = urllib.parse.quote(path)
        text = urllib.parse.urlencode(query)
        return f"{self.base}{quoted}?{text}&X-Amz-Signature={self._mac(method, quoted, text)}"

    def check(self, method: str, target: str) -> dict[str, str]:
        """Return the query of a request's target, as it was sent; raise ``SignatureError`` if it opens nothing."""
        quoted, _, query = target.partition("?")
        text, _, signature = query.rpartition("&X-Amz-Signature=")
        if not text:
            raise SignatureError("AccessDenied", "Access Denied")
        if not hmac.compare_digest(signature, self._mac(method, quoted, text)):
            raise SignatureError("SignatureDoesNotMatch", "The request signature does not match")
        values = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        if float(values["X-Expires"]) <= self.now() or int(values["X-Generation"]) != self._generation:
            raise SignatureError("AccessDenied", "Request has expired")
        return values

    def _mac(self, method: str, quoted: str, text: str) -> str:
        return hmac.digest(self._key, f"{method}\n{quoted}\n{text}".encode(), "sha256").hex()
