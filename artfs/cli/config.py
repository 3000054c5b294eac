"""`artfs config`: the settings in effect and where each is from, and changes of config.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_setting
from artfs.cli.options import json_option, print_json, warn, with_flags

if TYPE_CHECKING:
    from artfs.config.sources import Sources


@click.group(invoke_without_command=True)
@json_option
@with_flags
def command(flags: dict[str, object], as_json: bool) -> int:
    """Show the settings in effect and where each is from, or change config.toml.

    Without a command, `list`. The options below are of that; those of a command go after its name.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        return int(context.invoke(show_all, **flags, as_json=as_json) or 0)
    if as_json or any(value is not None for value in flags.values()):
        raise click.UsageError(f"put the options after '{context.invoked_subcommand}'")
    return 0


@command.command("list")
@json_option
@with_flags
def show_all(flags: dict[str, object], as_json: bool) -> int:
    """Show every setting: its name, its value, and the flag, variable or file that gives it. Passwords in URLs are left out.

    The exit code is 2 if something is wrong with one of them.
    """
    from artfs.config.sources import read_sources

    sources = read_sources(flags)
    rows = _rows(sources)
    if as_json:
        print_json({row.pop("name"): row for row in rows})
    else:
        cells = [(row["name"], _text(row["name"], row["value"]), row["where"] or row["source"]) for row in rows]
        names, values = (max(len(cell[column]) for cell in cells) for column in (0, 1))
        for name, value, where in cells:
            click.echo(f"{name:<{names}}  {value:<{values}}  {where}")
    warn(str(error) for error in sources.errors)
    return 2 if sources.errors else 0


@command.command("get")
@click.argument("name", shell_complete=complete_setting)
@json_option
@with_flags
def show_one(flags: dict[str, object], name: str, as_json: bool) -> None:
    """Print the value of the setting NAME; with --json also where it is from."""
    from artfs.config.editing import parse_name
    from artfs.config.sources import read_sources

    name = parse_name(name)
    sources = read_sources(flags)
    if sources.errors:
        raise sources.errors[0]
    (row,) = (row for row in _rows(sources) if row["name"] == name)
    if as_json:
        print_json(row)
    else:
        click.echo(_text(name, row["value"]))


@command.command("set")
@click.argument("name", shell_complete=complete_setting)
@click.argument("value")
def change(name: str, value: str) -> None:
    """Write the setting NAME into config.toml. Everything else in the file stays as it is, comments too."""
    from artfs.config.editing import parse_name, set_value
    from artfs.config.sources import config_path

    set_value(config_path(), name, value)
    _warn_if_hidden(parse_name(name))


@command.command("unset")
@click.argument("name", shell_complete=complete_setting)
def remove(name: str) -> None:
    """Take the setting NAME out of config.toml."""
    from artfs.config.editing import unset_value
    from artfs.config.sources import config_path

    unset_value(config_path(), name)


@command.command("path")
@json_option
def path(as_json: bool) -> None:
    """Print where config.toml is, or would be."""
    from artfs.config.sources import config_path

    if as_json:
        print_json({"path": str(config_path())})
    else:
        click.echo(config_path())


def _rows(sources: Sources) -> list[dict[str, Any]]:
    from artfs.config import config_of, config_to_json
    from artfs.model.reference import redact

    rows = []
    for name, value in config_to_json(config_of(sources)).items():
        given = sources.values.get(name)
        rows.append({
            "name": name,
            "value": redact(str(value)) if name in {"registry", "store"} else value,
            "source": given.source if given else "default",
            "where": given.where if given else "",
        })  # fmt: skip
    return rows


def _text(name: str, value: object) -> str:
    if name in {"cache_size", "cache_free"} and isinstance(value, int) and value and value % (1 << 30) == 0:
        return f"{value >> 30}G"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ":".join(str(part) for part in value)
    return str(value)


def _warn_if_hidden(name: str) -> None:
    from artfs.config.sources import read_sources

    given = read_sources().values.get(name)
    if given is not None and given.source == "variable":
        warn([f"{given.where} is set, and goes before the file"])
