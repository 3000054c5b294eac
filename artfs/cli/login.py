"""`artfs login`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from artfs.cli.options import json_option, print_json, warn, with_config
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from artfs.app.login import Identity
    from artfs.config import Config
    from artfs.wandb.base_url import BaseUrl

_MOST = 16384  # characters of a line with a key


@click.command()
@click.argument("url", required=False)
@click.option("--status", is_flag=True, help="Say who you are there and where the key is from; store nothing.")
@json_option
@with_config
def command(config: Config, url: str | None, status: bool, as_json: bool) -> int:
    """Store the API key of the W&B server at URL in netrc, where `wandb` looks for it too.

    The key is asked for, without showing it, or is read from stdin: the first line. A key that the server refuses is not stored. Without
    URL it is the server that is the registry, else WANDB_BASE_URL, else https://api.wandb.ai.
    """
    from artfs.app.login import log_in, server_of, who_am_i

    base = server_of(config, url)
    if status:
        found = who_am_i(base)
        _show(found, as_json=as_json)
        return 8 if found.trouble else 0
    found = log_in(base, _read_key(base))
    _show(found, as_json=as_json)
    _warn_of_variables(found)
    return 0


def _read_key(base: BaseUrl) -> str:
    if sys.stdin.isatty():
        page = "https://wandb.ai/authorize" if base.netloc == "api.wandb.ai" else f"{base}/authorize"
        return str(click.prompt(f"API key of {base} (from {page})", hide_input=True, err=True))
    line = sys.stdin.readline(_MOST)
    if not line.strip():
        raise InvalidInputError("there is no key on stdin", hint="run it in a terminal, or: artfs login < FILE")
    return line


def _show(found: Identity, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    who = found.user + (f" (entity {found.entity})" if found.entity else "")
    click.echo(f"{found.server}: {who or 'not known'}, by the key of {found.source}")
    if found.trouble:
        warn([f"the key was not checked: {found.trouble}"])


def _warn_of_variables(found: Identity) -> None:
    import os

    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            warn([f"{name} is set, and goes before {found.source}"])
