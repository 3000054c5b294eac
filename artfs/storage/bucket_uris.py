"""``s3://bucket/key`` and ``gs://bucket/key``: which object a URI names, and how messages name it.

A key stands in the URI as it is: nothing is unquoted, and neither ``?`` nor ``#`` ends it. What says the version of an object is taken
off before (`artfs.storage.resolver`).
"""

from __future__ import annotations

import re

from artfs.errors import InvalidInputError
from artfs.model.reference import redact, uri_scheme

_BUCKET = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._\-]*[A-Za-z0-9])?"
)  # nothing that could be a user, a port or a step up in a path


def split_prefix(uri: str, scheme: str) -> tuple[str, str]:
    """Return bucket and key of ``scheme://bucket/key``, the key may be empty; InvalidInputError."""
    rest = uri.removeprefix(f"{scheme}://")
    bucket, _, key = rest.partition("/")
    if rest == uri or not _BUCKET.fullmatch(bucket):
        raise InvalidInputError(f"{shown(uri)!r} is no {scheme}:// URI", hint=f"write {scheme}://bucket/key")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{shown(uri)!r} has a key that is not Unicode text") from error
    return bucket, key


def split_object(uri: str, scheme: str) -> tuple[str, str]:
    """Return bucket and key of ``scheme://bucket/key``; InvalidInputError, also where it names a bucket only."""
    bucket, key = split_prefix(uri, scheme)
    if not key:
        raise InvalidInputError(f"{uri!r} names a bucket, and no object", hint=f"write {scheme}://bucket/key")
    return bucket, key


def check_root(uri: str) -> None:
    """Refuse what cannot be the root of a store, such as one without a bucket; InvalidInputError."""
    scheme = uri_scheme(uri) or ""
    wrong = InvalidInputError(f"{shown(uri)!r} is not a store", hint=f"write {scheme}://bucket/prefix")
    try:
        _, prefix = split_prefix(uri, scheme)
    except InvalidInputError as error:
        raise wrong from error
    if not {".", ".."}.isdisjoint(prefix.split("/")):  # no client sends these as they are
        raise wrong


def shown(uri: str) -> str:
    """Return a URI for messages. In buckets a key is shown whole, as all of it is the name; elsewhere a query may be a signature."""
    text = uri if uri_scheme(uri) in {"s3", "gs"} and "@" not in uri.split("/")[2] else redact(uri)
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
