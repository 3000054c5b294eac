"""`artfs completion`."""

from __future__ import annotations

import click

from artfs.cli.completing import script


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and references.

    bash: put `eval "$(artfs completion bash)"` into ~/.bashrc. zsh: `eval "$(artfs completion zsh)"` into ~/.zshrc, after compinit. fish:
    `artfs completion fish > ~/.config/fish/completions/artfs.fish`. References come from the registry, if it answers within half a
    second.
    """
    click.echo(script(shell, context.find_root().command), nl=False)
