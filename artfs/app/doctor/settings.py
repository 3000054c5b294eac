"""Checks of the settings and of where credentials are. None of them says a secret."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.config.sources import config_path, unknown_variables
from artfs.errors import ArtfsError
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.config import Config
    from artfs.config.sources import Sources

_AWS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip


def check_settings(sources: Sources) -> list[Finding]:
    """Say what the sources of settings got wrong."""
    if sources.errors:
        return [
            problem("settings", error.message, error.hint or "artfs config list shows all") for error in sources.errors
        ]
    path = config_path()
    return [ok("settings", f"{path}" if path.exists() else f"no file ({path})")]


def check_variables(environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Look for ``ARTFS_*`` variables that mean nothing."""
    unknown = unknown_variables(os.environ if environ is None else environ)
    found = [
        warning("variables", f"{name} means nothing to artfs", f"did you mean {meant}?" if meant else "unset it")
        for name, meant in unknown.items()
    ]
    return found or [ok("variables", "every ARTFS_* variable is a setting")]


def check_wandb(config: Config, environ: Mapping[str, str] | None = None) -> Finding:
    """Say where the credentials for a W&B server are, if that is the registry."""
    name = "W&B credentials"
    if uri_scheme(config.registry) not in {"http", "https"}:
        return ok(name, "not needed: the registry is no W&B server")
    from artfs.wandb.base_url import parse_base_url
    from artfs.wandb.sources import find_source

    try:
        base = parse_base_url(config.registry)
        source = find_source(base, os.environ if environ is None else environ)
    except ArtfsError as error:
        return problem(name, error.message, error.hint)
    return ok(name, f"for {base}: {source.source}")


def check_credentials(
    config: Config, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> list[Finding]:
    """Say which sources of credentials there are for the services that the settings name, and what is wrong with their files."""
    environ = os.environ if environ is None else environ
    home = Path("~").expanduser() if home is None else home
    found = [_netrc(Path(environ.get("NETRC") or home / ".netrc"))]
    if uri_scheme(config.store) == "s3":
        found.append(_aws(environ, home))
    if uri_scheme(config.store) == "gs":
        found.append(_google(environ, home))
    if uri_scheme(config.registry) in {"postgresql", "postgres"}:
        found.append(_postgres(environ, home))
    return [one for one in found if one is not None] or [ok("credentials", "none needed")]


def _netrc(path: Path) -> Finding | None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if mode & 0o077:
        return warning("credentials", f"others may read {path}: its mode is {mode:04o}", f"chmod 0600 {path}")
    return ok("credentials", f"{path}")


def _aws(environ: Mapping[str, str], home: Path) -> Finding:
    files = [
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials"),
        Path(environ.get("AWS_CONFIG_FILE") or home / ".aws/config"),
    ]
    found = [*(name for name in _AWS if environ.get(name)), *(str(path) for path in files if path.exists())]
    if environ.get("AWS_ACCESS_KEY_ID") and not environ.get("AWS_SECRET_ACCESS_KEY"):
        return problem("credentials", "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not", "set both, or none")
    return ok("credentials", f"AWS: {', '.join(found) or 'none but those of the machine, if it has a role'}")


def _google(environ: Mapping[str, str], home: Path) -> Finding:
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named and not Path(named).exists():
        return problem(
            "credentials", f"GOOGLE_APPLICATION_CREDENTIALS names {named}, which does not exist", "mend or unset it"
        )
    default = home / ".config/gcloud/application_default_credentials.json"
    found = named or (
        str(default) if default.exists() else "none but those of the machine, if it has a service account"
    )
    return ok("credentials", f"Google: {found}")


def _postgres(environ: Mapping[str, str], home: Path) -> Finding:
    path = Path(environ.get("PGPASSFILE") or home / ".pgpass")
    if environ.get("PGPASSWORD"):
        return ok("credentials", "PostgreSQL: PGPASSWORD")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ok("credentials", "PostgreSQL: those of the URL, if it has any")
    if mode & 0o077:
        return warning("credentials", f"PostgreSQL does not use {path}: its mode is {mode:04o}", f"chmod 0600 {path}")
    return ok("credentials", f"PostgreSQL: {path}")
