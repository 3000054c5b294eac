"""Checks of what is elsewhere: registry, store, and the clocks of their servers. Nothing is written there, and nothing is made."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.errors import NotFoundError, PermissionDeniedError
from artfs.model.digest import Digest
from artfs.model.reference import redact, uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.config import Config
    from artfs.storage.port import Objects

SKEWED, TOO_SKEWED = 30.0, 300.0
"""Seconds that the clock may be off; from 15 minutes on, S3 and Google refuse signatures, and tokens end before their time."""

_ASK_TIMEOUT = 5.0  # seconds


def check_registry(config: Config) -> Finding:
    """Ask the registry something, and look at its schema; a newer one is a SchemaError."""
    scheme, name = uri_scheme(config.registry), redact(config.registry)
    if scheme in {"http", "https"}:
        from artfs.app.login import ask_who, server_of

        user, entity = ask_who(server_of(config, None), os.environ)
        return ok(
            "registry",
            f"{name} answers, to {user or 'somebody without a name'}" + (f" (entity {entity})" if entity else ""),
        )
    from artfs.registry.sql.engine import Database, check_url
    from artfs.registry.sql.migrations import is_current

    if check_url(config.registry) == "sqlite":
        from artfs.registry.sql.sqlite import sqlite_path

        if not sqlite_path(config.registry).exists():
            return ok("registry", f"{name} is made when it is first used")
    with contextlib.closing(Database(config.registry)) as database, database.reading() as connection:
        current = is_current(connection, database.name)
    schema = (
        "its schema is that of this program" if current else "its schema is brought up to date when it is next used"
    )
    return ok("registry", f"{name} answers; {schema}")


def check_store(config: Config, objects: Callable[[str], Objects] | None = None) -> Finding:
    """Look whether the store can be reached, and for a directory, written to. Nothing is written."""
    name, scheme = redact(config.store), uri_scheme(config.store)
    if uri_scheme(config.registry) in {"http", "https"}:
        return ok("store", "that of the W&B server")
    if scheme in {"s3", "gs"}:
        return _check_bucket(config, name, objects)
    from artfs.app.doctor.directories import check_directory
    from artfs.storage.files import store_path

    (first, *_) = check_directory("store", store_path(config.store))
    hint = first.hint.replace("ARTFS_STORE_DIR", "ARTFS_STORE")
    return Finding("store", first.level, first.message, hint, first.repair)


def _check_bucket(config: Config, name: str, objects: Callable[[str], Objects] | None) -> Finding:
    from artfs.app.backends import Backends
    from artfs.storage.blobs import ObjectBlobStore
    from artfs.storage.bucket_uris import check_root

    check_root(config.store)
    with contextlib.ExitStack() as stack:
        if objects is None:
            objects = stack.enter_context(contextlib.closing(Backends(config))).objects
        bucket = objects(str(uri_scheme(config.store)))
        try:
            next(iter(bucket.list(config.store.rstrip("/") + "/")), None)
        except NotFoundError as error:
            return problem("store", f"{name}: {error.message}", "make the bucket, or mend the setting store")
        except PermissionDeniedError:
            ObjectBlobStore(bucket, config.store).has(Digest.of(b""))
            return ok("store", f"{name} answers; it may be read, and not listed")
    return ok("store", f"{name} answers (whether it may be written to shows at the first commit)")


def check_clock(
    config: Config, ask: Callable[[str], float] | None = None, now: Callable[[], float] = time.time
) -> Finding:
    """Compare the clock with that of the first server that the settings name."""
    ask = ask or server_time
    hint = "set the clock, and keep it right: timedatectl set-ntp true"
    for url in _servers(config):
        before = now()
        try:
            theirs = ask(url)
        except (OSError, ValueError) as error:
            return warning("clock", f"it cannot be compared: {redact(url)}: {error}")
        after = now()
        off = (before + after) / 2 - theirs
        off = 0.0 if abs(off) <= 1 + (after - before) / 2 else off  # a Date header has whole seconds
        text = f"this machine is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} {redact(url)}"
        if abs(off) > TOO_SKEWED:
            return problem("clock", f"{text}: signatures and tokens are refused", hint)
        if abs(off) > SKEWED:
            return warning("clock", text, hint)
        return ok("clock", f"that of {redact(url)}" if not off else text)
    return ok("clock", "there is no server to compare it with")


def _servers(config: Config) -> Iterator[str]:
    """Yield the addresses of the HTTP servers that registry and store are on."""
    if uri_scheme(config.registry) in {"http", "https"}:
        yield config.registry
    elif uri_scheme(config.store) == "s3":
        from artfs.storage.s3_session import S3Session

        yield str(S3Session().client.meta.endpoint_url)
    elif uri_scheme(config.store) == "gs":
        yield os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - as it is above
        return None


def server_time(url: str) -> float:
    """Return the unix time that a server says, in whatever answer it gives. OSError, ValueError."""
    if uri_scheme(url) not in {"http", "https"}:
        raise ValueError(f"{redact(url)} is no HTTP server")
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - checked above
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=_ASK_TIMEOUT) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        with error:
            date = error.headers.get("Date")
    if not date:
        raise ValueError(f"{redact(url)} does not say what time it is")
    return parsedate_to_datetime(date).timestamp()
