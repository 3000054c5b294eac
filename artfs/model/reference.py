"""References: entries whose bytes lie outside of the store, or are those of another version's entry, named by a URI.

Here is what a URI means; `artfs.storage.references` reads the bytes, `artfs.content.targets` finds the entries of other versions.
"""

from __future__ import annotations

import base64
import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from artfs.errors import InvalidInputError
from artfs.model.digest import Digest
from artfs.model.paths import parse_entry_path

FILE_SCHEME = "file"
ARTIFACT_SCHEME = "wandb-artifact"
CLIENT_SCHEME = "wandb-client-artifact"
"""Of references to a version by the id of the commit that made it: the SDK writes them while the version has no other one."""


_URI = re.compile(r"([a-z][a-z0-9+.\-]*)://", re.IGNORECASE)
_ARTIFACT_HOST = re.compile(r"(?:[0-9a-f]{2}){1,128}")
_CLIENT_HOST = re.compile(r"[0-9A-Za-z_\-]{1,256}(?::latest)?")


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


def artifact_uri(version_id: str, path: str = "") -> str:
    """Return the URI of an entry of a version, or of a whole version.

    The id is written as W&B writes it: read as base64, and its bytes in hex. A uuid of 32 hex digits is base64 text, too (of 24
    bytes), so one rule serves every registry, and an id comes back as it was. The path is written as it is, without escapes.
    """
    try:
        raw = base64.b64decode(version_id, validate=True)
    except ValueError:
        raw = b""
    if not raw or base64.b64encode(raw).decode() != version_id:
        raise InvalidInputError(f"the version id {version_id!r} is no base64: no URI can name it")
    return f"{ARTIFACT_SCHEME}://{raw.hex()}" + (f"/{path}" if path else "")


def parse_artifact_uri(uri: str) -> tuple[str, str]:
    """Return the id of the version and the path in it that an untrusted URI names; the empty path is the whole version.

    InvalidInputError for anything that `artifact_uri` would not write, but for the case of the scheme and one slash at the end.
    """
    host, path = _parts(uri, ARTIFACT_SCHEME, _ARTIFACT_HOST)
    return base64.b64encode(bytes.fromhex(host)).decode(), path


def parse_client_uri(uri: str) -> tuple[str, str]:
    """Return the id of the commit, and the path in its version, that an untrusted ``wandb-client-artifact`` URI names.

    ``:latest`` after the id is a part of it: then it is the id of a collection. InvalidInputError as in `parse_artifact_uri`.
    """
    return _parts(uri, CLIENT_SCHEME, _CLIENT_HOST)


def names_version(uri: str) -> bool:
    """Whether a URI names a version, or what is in one."""
    return uri_scheme(uri) in {ARTIFACT_SCHEME, CLIENT_SCHEME}


def _parts(uri: str, scheme: str, hosts: re.Pattern[str]) -> tuple[str, str]:
    host, _, path = uri[len(scheme) + 3 :].partition("/")
    if uri_scheme(uri) != scheme or not hosts.fullmatch(host):
        raise InvalidInputError(f"{uri!r} names no version", hint=f"write {ARTIFACT_SCHEME}://ID-IN-HEX/PATH")
    path = path.removesuffix("/")
    if path and parse_entry_path(path) != path:
        raise InvalidInputError(f"{uri!r} is not written plainly: its path has empty or '.' parts")
    return host, path


def redact(uri: str) -> str:
    """Return the URI without user, password, query and fragment, for messages and logs."""
    if uri_scheme(uri) is None:
        return uri
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:  # no valid host or port: nobody can tell where a password ends
        return f"{uri_scheme(uri)}://..."
    host = f"[{host}]" if ":" in host else host  # of IPv6
    return f"{parts.scheme}://{host}{port}{parts.path}"
