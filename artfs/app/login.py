"""Say who this user is for a W&B server: store the key where its SDK looks for it, too, and ask the server whom it belongs to."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.errors import CredentialsError, InvalidInputError, PermissionDeniedError, UnreachableError
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.config import Config
    from artfs.wandb.base_url import BaseUrl

_USER = "user"  # what the SDK calls everybody in netrc


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is on a server. ``user`` is empty if the server has not been reached, and ``trouble`` says why then."""

    server: str
    user: str
    entity: str
    source: str
    trouble: str = ""


def server_of(config: Config, url: str | None, environ: Mapping[str, str] | None = None) -> BaseUrl:
    """Return the server that is meant: the one given, else the registry, else ``WANDB_BASE_URL``, else the public one."""
    from artfs.wandb.base_url import DEFAULT, parse_base_url

    environ = os.environ if environ is None else environ
    registry = config.registry if uri_scheme(config.registry) in {"http", "https"} else ""
    return parse_base_url(url or registry or environ.get("WANDB_BASE_URL") or DEFAULT)


def missing_credentials(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return why the registry will let nobody in, as far as that is known without asking it; nothing if it may let this user in."""
    from artfs.wandb.sources import IdentityToken, find_source

    if config.offline or uri_scheme(config.registry) not in {"http", "https"}:
        return []
    environ = os.environ if environ is None else environ
    try:
        source = find_source(server_of(config, None, environ), environ)
        if isinstance(source, IdentityToken):
            source.read()
    except CredentialsError as error:
        return [f"{error}: only what is on this machine can be read"]
    return []


def check_key(key: str) -> str:
    """Return a key without blanks around it; InvalidInputError if it has not the form of one."""
    from artfs.wandb.sources import ApiKey

    try:
        return ApiKey(key.strip(), "the input").secret
    except CredentialsError as error:
        raise InvalidInputError(error.message, hint=error.hint) from None


def log_in(base: BaseUrl, key: str, environ: Mapping[str, str] | None = None) -> Identity:
    """Store a key in netrc, unless the server answers that it does not accept it (PermissionDeniedError)."""
    from artfs.app.netrc_file import write_entry
    from artfs.wandb.sources import netrc_file

    environ = os.environ if environ is None else environ
    key = check_key(key)
    try:
        user, entity = ask_who(base, {"WANDB_API_KEY": key})
        trouble = ""
    except UnreachableError as error:
        user, entity, trouble = "", "", str(error)
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"{base} does not accept this key", hint="nothing was stored; copy the key anew from the settings page"
        ) from error
    path = netrc_file(environ) or Path("~/.netrc").expanduser()
    write_entry(path, base.netloc, _USER, key)
    return Identity(str(base), user, entity, f"machine {base.netloc} in {path}", trouble)


def who_am_i(base: BaseUrl, environ: Mapping[str, str] | None = None) -> Identity:
    """Return who the credentials that are there stand for; PermissionDeniedError if there are none, or they are refused."""
    from artfs.wandb.sources import find_source

    environ = os.environ if environ is None else environ
    source = find_source(base, environ).source
    try:
        user, entity = ask_who(base, environ)
    except UnreachableError as error:
        return Identity(str(base), "", "", source, str(error))
    return Identity(str(base), user, entity, source)


def ask_who(base: BaseUrl, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of a user, and the entity of references that name none, as the server says them."""
    from artfs.registry.wandb.operations import VIEWER
    from artfs.wandb.session import WandbSession

    with contextlib.closing(WandbSession(str(base), environ=environ)) as session:
        viewer: dict[str, Any] | None = session.ask(VIEWER, {}).get("viewer")
    if not viewer:
        raise PermissionDeniedError(f"{base} does not know whose credentials these are")
    return str(viewer.get("username") or ""), str(viewer.get("entity") or "")
