"""What the commands share: the options that every one has, and how results are printed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

from artfs.config import load_config
from artfs.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artfs.app.services import Services
    from artfs.config import Config

F = TypeVar("F", bound="Callable[..., Any]")

_UNUSUAL = re.compile(r"[^\n -~]")

_SETTINGS = (
    (
        "--registry",
        "URL of the registry: sqlite:////path/registry.sqlite, postgresql://user@host/database, https://api.wandb.ai.",
    ),
    ("--store", "URL of the store: file:///path, s3://bucket/prefix, gs://bucket/prefix."),
    ("--entity", "The entity of references that name none."),
    ("--data-dir", "Directory of the embedded registry, its store, and drafts."),
    ("--cache-dir", "Directory of what can be made again."),
    ("--state-dir", "Directory of logs."),
    ("--cache-size", "The most that the block cache may hold, as 50G."),
    ("--cache-free", "What the block cache leaves free on its disk, as 2G."),
    ("--verify", "lazy, or strict: serve no byte before the whole file is proven."),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_config(command: F) -> F:
    """Give a command the common options, and a ``config`` made of them as its first argument."""

    def wrapped(flags: dict[str, object], **arguments: object) -> object:
        config = load_config(flags)
        try:
            return command(config, **arguments)
        except NotFoundError as error:
            if flags["registry"] is None:
                from artfs.app.named import hint_of_mounts

                error.hint = "; ".join(filter(None, (hint_of_mounts(config, arguments.values()), error.hint)))
            raise

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    return with_flags(wrapped)  # type: ignore[return-value]


def with_flags(command: F) -> F:
    """Give a command the common options, as a dictionary that is its first argument: None for what was not given."""

    def wrapped(**arguments: object) -> object:
        flags = {name: arguments.pop(name) for name in (flag.lstrip("-").replace("-", "_") for flag, _ in _SETTINGS)}
        return command(flags, **arguments)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for name, text in reversed(_SETTINGS):
        wrapped = click.option(name, help=text, metavar="PATH" if name.endswith("dir") else "VALUE")(wrapped)
    return wrapped  # type: ignore[return-value]


def default_entity(config: Config) -> str:
    """Return the entity of references that name none. A W&B server is asked for it, where the settings do not say."""
    from artfs.cli.services import open_services

    if config.entity:
        return config.entity
    with open_services(config) as services:
        return services.registry.default_entity


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that is read well and does nothing to a terminal: what cannot be seen (bidi, C1, ...) is an escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json_text(value, indent=2))


def warn(lines: Iterable[str]) -> None:
    """Print warnings on stderr."""
    for line in lines:
        click.echo(f"artfs: warning: {line}", err=True)


def warn_if_away(services: Services) -> None:
    """Say that what a command prints is what was seen last, if the registry did not answer."""
    if services.health().away_since is not None:
        warn(["the registry is away: this is what was seen last"])


def given_settings(config: Config) -> dict[str, str]:
    """Return the settings that the flags of this command give, as variables, so that a child process has them too."""
    given = click.get_current_context().params
    names = (flag.lstrip("-").replace("-", "_") for flag, _ in _SETTINGS)
    return {f"ARTFS_{name.upper()}": str(getattr(config, name)) for name in names if given.get(name) is not None}


def load_json_option(text: str, flag: str) -> object:
    """Return the value of an option that is JSON, or @FILE with JSON in it."""
    from pathlib import Path

    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except OSError as error:
        raise InvalidInputError(f"{flag} {text}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInputError(f"{flag} is not JSON: {error}", hint=f"""as {flag} '{{"accuracy": 0.9}}'""") from error


def parse_metadata_option(text: str | None) -> dict[str, Any] | None:
    """Parse ``--metadata``: JSON, or @FILE with JSON in it."""
    from artfs.model.metadata import parse_metadata

    return None if text is None else parse_metadata(load_json_option(text, "--metadata"))


def _parse_ttl(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    from artfs.model.durations import parse_duration

    if text is None:
        return None
    seconds = int(parse_duration(text))
    if seconds < 1:
        raise InvalidInputError("a time to live is at least a second", hint="write it as 12h, 30d or 1d12h")
    return seconds


def content_options(command: F) -> F:
    """Give a command the options that say what a new version is recorded with."""
    command = click.option(
        "--ttl",
        metavar="DURATION",
        callback=_parse_ttl,
        help="After how long the version may be deleted, as 30d or 12h. For ever where nothing else is set.",
    )(command)
    command = click.option(
        "--tag", "tags", multiple=True, metavar="TAG", help="A tag for the version; may be repeated."
    )(command)
    command = click.option("--metadata", metavar="JSON", help="Metadata as a JSON object, or @FILE.")(command)
    command = click.option("--description", metavar="TEXT", help="Description of the version.")(command)
    command = click.option("--type", "type_", metavar="TYPE", help="Type of the artifact: dataset, model, ...")(command)
    return click.option(
        "--alias", "-a", "aliases", multiple=True, metavar="NAME", help="An alias for the version; may be repeated."
    )(command)
