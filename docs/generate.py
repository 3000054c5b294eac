"""Write what the program says of itself into the documents: ``python docs/generate.py [--check]``.

The help texts of the commands go into docs/cli.md, each between two markers, ``<!-- help: artfs mount -->`` and
``<!-- end of help -->``; what is between them is replaced. A command without a place is an error, and so is a place without a command.
The table of the settings goes into docs/configuration.md, between ``<!-- settings -->`` and ``<!-- end of settings -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from artfs.cli.config import _text as text_of_value
from artfs.cli.main import COMMANDS, main
from artfs.cli.options import _SETTINGS as COMMON_OPTIONS
from artfs.config import config_of, config_to_json
from artfs.config.described import DESCRIPTIONS
from artfs.config.sources import Sources

PAGE = Path(__file__).with_name("cli.md")
SETTINGS_PAGE = Path(__file__).with_name("configuration.md")
WIDTH = 78  # of text in a terminal of 80 columns

_BLOCK = re.compile(r"(<!-- help: (artfs[ a-z-]*) -->\n).*?(<!-- end of help -->\n)", re.DOTALL)
_SETTINGS = re.compile(r"(<!-- settings -->\n).*?(<!-- end of settings -->\n)", re.DOTALL)


def help_texts() -> dict[str, str]:
    """Return what ``--help`` prints for `artfs`, for each of its commands, and for the commands of those that have some."""
    root = click.Context(main, info_name="artfs", terminal_width=WIDTH, **main.context_settings)
    texts = {"artfs": main.get_help(root)}
    for name in COMMANDS:
        command = main.get_command(root, name)
        if command is None:
            raise SystemExit(f"artfs has no command {name!r}")
        context = click.Context(command, parent=root, info_name=name)
        texts[f"artfs {name}"] = command.get_help(context)
        if isinstance(command, click.Group):
            for below, inner in command.commands.items():
                texts[f"artfs {name} {below}"] = inner.get_help(click.Context(inner, parent=context, info_name=below))
    return texts


def generated(page: str) -> str:
    """Return the page with every help text as it is now."""
    texts = help_texts()
    places = [match[2] for match in _BLOCK.finditer(page)]
    if sorted(places) != sorted(texts):
        raise SystemExit(f"{PAGE.name} has places for {', '.join(places)}; there is help for {', '.join(texts)}")
    return _BLOCK.sub(lambda match: f"{match[1]}```text\n{texts[match[2]].rstrip()}\n```\n{match[3]}", page)


def settings_table() -> str:
    """Return the table of the settings: name, variable, option, default, meaning."""
    mount = main.get_command(click.Context(main), "mount")
    if mount is None:
        raise SystemExit("artfs has no command 'mount'")
    of_mount = {option for parameter in mount.params for option in parameter.opts}
    common = {option for option, _ in COMMON_OPTIONS}
    rows = ["| name | variable | option | default | meaning |", "|---|---|---|---|---|"]
    for name, value in config_to_json(config_of(Sources())).items():
        if name not in DESCRIPTIONS:
            raise SystemExit(f"{name} has no description: write one into artfs/config/described.py")
        option = f"--{name.replace('_', '-')}"
        shown = f"`{option}`" if option in common else f"`{option}` of `mount`" if option in of_mount else ""
        description = DESCRIPTIONS[name]
        default = description.default or f"`{text_of_value(name, value)}`"
        rows.append(f"| `{name}` | `ARTFS_{name.upper()}` | {shown} | {default} | {description.meaning} |")
    return "\n".join(rows) + "\n"


def with_settings(page: str) -> str:
    """Return the page with the table of the settings as it is now."""
    if _SETTINGS.search(page) is None:
        raise SystemExit(f"{SETTINGS_PAGE.name} has no place for the settings")
    return _SETTINGS.sub(lambda match: match[1] + settings_table() + match[2], page)


def run(arguments: list[str]) -> int:
    """Rewrite the pages, or with ``--check`` say which are out of date."""
    code = 0
    for path, make in ((SETTINGS_PAGE, with_settings), (PAGE, generated)):
        before = path.read_text()
        after = make(before)
        if before != after and "--check" in arguments:
            sys.stderr.write(f"{path.name} is out of date: run python docs/generate.py\n")
            code = 1
        elif before != after:
            path.write_text(after)
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
