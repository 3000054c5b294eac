"""Write the help texts of the commands into docs/cli.md: ``python docs/generate.py [--check]``.

Each text stands between two markers, ``<!-- help: artfs mount -->`` and ``<!-- end of help -->``; what is between them is replaced. A
command without a place is an error, and so is a place without a command.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from artfs.cli.main import COMMANDS, main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 78  # of text in a terminal of 80 columns

_BLOCK = re.compile(r"(<!-- help: (artfs[ a-z]*) -->\n).*?(<!-- end of help -->\n)", re.DOTALL)


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


def run(arguments: list[str]) -> int:
    """Rewrite the page, or with ``--check`` say whether it is out of date."""
    before = PAGE.read_text()
    after = generated(before)
    if before == after:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{PAGE.name} is out of date: run python docs/generate.py\n")
        return 1
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
