"""Where the credentials for a W&B server are, in the order of its SDK: the environment, then netrc.

Of netrc only the entry of the very server is taken: what stands under ``default`` is meant for others. No text made here has a key in it.
"""

from __future__ import annotations

import netrc
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.wandb.base_url import BaseUrl

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_PREFIX = re.compile(r"[!-,.-~]*", re.ASCII)
_SECRET = re.compile(r"[\w-]+", re.ASCII)
_LENGTH = 40


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the right form. ``source`` says where it was found."""

    secret: str = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        if problem := _problem(self.secret):
            raise CredentialsError(
                f"the API key of {self.source} {problem}", hint="copy it anew from the settings page"
            )


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A file with a token that is exchanged for an access token, and the file where those are kept."""

    path: Path
    credentials_file: Path
    source: str

    def read(self) -> str:
        """Return the token; CredentialsError."""
        try:
            text = self.path.read_text("ascii").strip()
        except OSError as error:
            raise CredentialsError(
                f"{self.source} names {self.path}, which cannot be read: {error.strerror}"
            ) from error
        except UnicodeError:
            text = ""
        if not _JWT.fullmatch(text):
            raise CredentialsError(f"{self.source} names {self.path}, in which is no identity token (JWT)")
        return text


def find_source(base: BaseUrl, environ: Mapping[str, str]) -> ApiKey | IdentityToken:
    """Return what there is for a server; CredentialsError if there is nothing, or if it is of no use."""
    key, token = environ.get("WANDB_API_KEY"), environ.get("WANDB_IDENTITY_TOKEN_FILE")
    if key and token:
        raise CredentialsError("both WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are set", hint="unset one of them")
    if key:
        return ApiKey(key, "WANDB_API_KEY")
    if token:
        kept = environ.get("WANDB_CREDENTIALS_FILE") or "~/.config/wandb/credentials.json"
        return IdentityToken(_path(token), _path(kept), "WANDB_IDENTITY_TOKEN_FILE")
    file = netrc_file(environ)
    if file is not None and (found := _netrc_password(file, base.netloc)):
        return ApiKey(found, f"machine {base.netloc} in {file}")
    raise CredentialsError(
        f"there are no credentials for {base}",
        hint=f"set WANDB_API_KEY, or WANDB_IDENTITY_TOKEN_FILE, or run: artfs login {base}, or wandb login --host {base}",
    )


def netrc_file(environ: Mapping[str, str]) -> Path | None:
    """Return the netrc file that is used, which need not be there; None if nothing names one and there is none."""
    if named := environ.get("NETRC"):
        return _path(named)
    return next((path for name in ("~/.netrc", "~/_netrc") if os.path.lexists(path := _path(name))), None)


def _netrc_password(file: Path, machine: str) -> str | None:
    try:
        entry = netrc.netrc(file).hosts.get(machine)
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:  # its text may be a word of the file, such as a password
        raise CredentialsError(f"{file} cannot be read: an error on line {error.lineno}") from None
    except OSError as error:
        raise CredentialsError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeError:
        raise CredentialsError(f"{file} cannot be read: it is not text") from None
    return entry[2] if entry else None


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # nobody's home directory
        return Path(text).absolute()


def _problem(key: str) -> str:
    """Return what is wrong with a key, empty if nothing is. A prefix ends at the first dash, as in the SDK."""
    if _JWT.fullmatch(key):
        return ""
    prefix, dash, rest = key.partition("-")
    secret = rest if dash else key
    if (dash and not _PREFIX.fullmatch(prefix)) or not _SECRET.fullmatch(secret):
        return "has characters other than letters, digits, _ and -"
    if len(secret) < _LENGTH:
        return f"has {len(secret)} characters, and not {_LENGTH} or more"
    return ""
