"""References: entries whose bytes lie outside of the store, named by a URI.

Here is what a URI means; `artfs.storage.references` reads the bytes.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from artfs.errors import InvalidInputError
from artfs.model.digest import Digest

FILE_SCHEME = "file"

_URI = re.compile(r"([a-z][a-z0-9+.\-]*)://", re.IGNORECASE)


def uri_scheme(text: str) -> str | None:
    """Return the scheme of a URI in lower case, and None for a plain path."""
    match = _URI.match(text)
    return match[1].lower() if match else None


def file_uri_path(uri: str) -> PurePosixPath:
    """Return the absolute local path that a ``file://`` URI names.

    W&B writes the path unescaped below a directory reference, so only a URI that holds escapes is unquoted.
    """
    if uri_scheme(uri) != FILE_SCHEME:
        raise InvalidInputError(f"{redact(uri)!r} is not a file:// URI")
    rest = uri[len("file://") :]
    host, slash, _ = rest.partition("/")
    if host not in {"", "localhost"} or not slash:
        raise InvalidInputError(f"{uri!r} names no absolute local path", hint="write file:///absolute/path")
    path = PurePosixPath(unquote(rest[len(host) :], errors="surrogateescape"))  # as os.fsdecode: any bytes are a name
    if "\0" in str(path) or ".." in path.parts:
        raise InvalidInputError(f"{uri!r} contains '..' or a NUL byte")
    return path


def unchecked_file_digest(uri: str) -> str:
    """Return the digest that an entry added with ``checksum=False`` carries: the MD5 of the URI itself."""
    return Digest.of(uri.encode()).base64


def redact(uri: str) -> str:
    """Return the URI without user, password, query and fragment, for messages and logs."""
    if uri_scheme(uri) is None:
        return uri
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:  # no valid host or port: nobody can tell where a password ends
        return f"{uri_scheme(uri)}://..."
    return f"{parts.scheme}://{host}{port}{parts.path}"
