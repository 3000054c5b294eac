"""The command `artfs`: which commands there are, and how an error reaches the user.

A command's module is imported when the command is run or its help is asked for, so that `artfs --help` is instant: the one-line
helps are in the table here.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback

import click
from click.shell_completion import CompletionItem

from artfs.cli.umask import USER_UMASK
from artfs.errors import ArtfsError
from artfs.version import __version__

COMMANDS = {
    "mount": "Mount the registry as a directory.",
    "umount": "Unmount it.",
    "stage": "Start a draft, empty or from a version.",
    "commit": "Make a draft a new version.",
    "put": "Log a directory or a file as a new version, without a mount.",
    "get": "Write a version out to a directory, without a mount.",
    "run": "Run a command, and record what it reads and commits as its lineage.",
    "status": "Show the mounts, their registry, cache, drafts and commits, and what went wrong.",
    "stats": "Show what a mount does, a line a second.",
    "log-level": "Say or change how much a mount logs.",
    "ls": "List entities, projects, collections, versions or files.",
    "show": "Show what is known of a version.",
    "log": "Show the versions of a collection, newest first.",
    "diff": "Show what changed from one version to another, or in a draft.",
    "du": "Show how many bytes a version has, and how many are on this machine.",
    "verify": "Prove every byte of a version where it lies.",
    "warm": "Fetch files into the block cache before they are read.",
    "pin": "Fetch versions into the block cache and keep them there.",
    "unpin": "Let pinned versions be evicted again.",
    "ready": "Say whether versions can be read without a network.",
    "cache": "Look into the block cache, make it smaller, prove it or empty it.",
    "lineage": "Show what a version was made from, and what was made of it.",
    "alias": "Add, move or remove aliases of a version.",
    "rm": "Delete a version.",
    "fsck": "Check registry, store, drafts and cache, and repair what is safe to repair.",
    "gc": "Delete what no version needs from the store, and versions whose time to live has run out.",
    "config": "Show the settings and where each is from, or change one.",
    "login": "Store the API key of a W&B server, or say who you are there.",
    "completion": "Print the completion script of a shell.",
    "doctor": "Look for what is wrong with this machine, the settings and the mounts.",
}


COMPLETE_VARIABLE = "_ARTFS_COMPLETE"
"""With which a shell asks for completions: the one that click takes for a program of this name."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"artfs.cli.{cmd_name.replace('-', '_')}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=3)
            if not close:
                raise
            raise click.UsageError(f"{error.message} (did you mean {' or '.join(close)}?)", error.ctx) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="artfs")
def main() -> None:
    """Machine-learning artifacts as plain files: every version of every dataset and model is a directory."""


def run() -> None:
    """Run the command line and exit: with the code of the error's class, after one line that says what happened."""
    if COMPLETE_VARIABLE in os.environ:
        importlib.import_module("artfs.cli.completing").register()
    os.umask(USER_UMASK | 0o077)  # whatever artfs keeps is for this user alone
    logging.getLogger("artfs").addHandler(logging.StreamHandler() if _debugging() else logging.NullHandler())
    sys.exit(exit_code())


def _debugging() -> bool:
    return bool(os.environ.get("ARTFS_DEBUG"))


def exit_code(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code; the process stays as it was."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if _is_of_mount(arguments):
        helper = importlib.import_module("artfs.cli.mount_helper")
        return helper.MOUNT_FAILED if _exit_code(helper.command, arguments) else 0
    return _exit_code(main, arguments)


def _is_of_mount(arguments: list[str]) -> bool:
    """Whether mount.fuse3(8) calls: no command, but a source, an absolute mount point, and ``-o``, which it never omits."""
    match arguments:
        case [source, mountpoint, *rest]:
            is_command = source in COMMANDS or source.startswith("-")
            return not is_command and mountpoint.startswith("/") and "-o" in rest
    return False


def _exit_code(command: click.Command, arguments: list[str]) -> int:
    try:
        result = command.main(args=arguments, prog_name="artfs", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", err=True)
        _say(error.format_message())
        return error.exit_code
    except ArtfsError as error:
        if _debugging():
            traceback.print_exc()
        _say(error.message + (f" ({error.hint})" if error.hint else ""))
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: say nothing more at exit
        return 141
    except Exception as error:
        if _debugging():
            raise
        _say(f"unexpected error: {error!r} (ARTFS_DEBUG=1 shows where)")
        return 1
    return result if isinstance(result, int) else 0


def _say(line: str) -> None:
    from artfs.model.secrets import redact_text
    from artfs.model.shown import visible_whole

    text = visible_whole(" ".join(redact_text(line).splitlines()))  # names in it are untrusted
    click.echo(f"artfs: {text}", err=True)
