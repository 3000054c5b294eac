"""What a shell is offered for an argument, and how bash is answered.

Commands give ``complete_ref`` to arguments that are references. Bash takes ``:`` for the end of a word, which would tear `name:alias`
apart; so artfs has a script of its own for it, which also leaves out the blank after a reference that goes on. zsh and fish have those of
click.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from artfs.cli.main import COMPLETE_VARIABLE

if TYPE_CHECKING:
    import click

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                case $value in */ | *:) compopt -o nospace ;; esac ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Bash, with words that may hold a colon."""

    source_template = _BASH

    def source(self) -> str:
        """Return the script, without asking which bash there is: one that is too old says so itself."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor and the one at it, put together again where bash cut them at a colon."""
        words = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
        joined: list[str] = []
        glued = False
        for word in words:
            if joined and len(joined) > 1 and (glued or word == ":") and joined[-1]:
                joined[-1] += word
            else:
                joined.append(word)
            glued = word == ":"
        *before, last = joined
        self._cut = last.rpartition(":")[0] + ":" if ":" in last else ""
        whole = split_arg_string("\n".join(before[1:]))
        return whole, next(iter(split_arg_string(last)), "")

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return a line of the answer: of the value, what bash has to put after the last colon."""
        return f"{item.type},{item.value.removeprefix(self._cut)}"


def register() -> None:
    """Let click answer bash in this way."""
    add_completion_class(_Bash)


def script(shell: str, program: click.Command) -> str:
    """Return what makes a shell complete the arguments of artfs."""
    from click.shell_completion import get_completion_class

    kind = _Bash if shell == "bash" else get_completion_class(shell)
    if kind is None:
        raise ValueError(shell)
    return kind(program, {}, "artfs", COMPLETE_VARIABLE).source()


def complete_ref(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer references: `[[ENTITY/]PROJECT/]NAME[:ALIAS]`."""
    return _references(context, incomplete, full=False)


def complete_place(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer places: ENTITY, ENTITY/PROJECT, ENTITY/PROJECT/NAME, and versions."""
    return _references(context, incomplete, full=True)


def complete_setting(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer the names of settings, each with what it is for."""
    from artfs.config.described import DESCRIPTIONS

    return [
        CompletionItem(name, help=description.meaning)
        for name, description in DESCRIPTIONS.items()
        if name.startswith(incomplete)
    ]


def complete_mount(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer the mount points of artfs, out of the mount table."""
    from artfs.app.client import mount_points

    found = [CompletionItem(str(path)) for path, _ in mount_points() if str(path).startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


def _references(context: click.Context, incomplete: str, *, full: bool) -> list[CompletionItem[str]]:
    from artfs.app.references import continuations
    from artfs.config import config_of
    from artfs.config.sources import read_sources
    from artfs.config.values import SETTINGS

    flags = {name: value for name, value in context.params.items() if name in SETTINGS}
    config = config_of(read_sources(flags))
    return [CompletionItem(text) for text in continuations(config, incomplete, full=full)]
