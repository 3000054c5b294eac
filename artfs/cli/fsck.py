"""`artfs fsck`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.option("--deep", is_flag=True, help="Read every file of the store, and prove it.")
@click.option("--fix", is_flag=True, help="Repair what is safe to repair.")
@json_option
@with_config
def command(config: Config, deep: bool, fix: bool, as_json: bool) -> int:
    """Look whether registry, store, drafts and block cache are consistent: that nothing is missing, damaged or left over.

    One line for each thing: ok, warning or problem, and in brackets what to do. Nothing is changed without --fix, which makes lists
    of files and of blocks again if they come out the same, removes aliases of nothing and what dead processes have left, and moves drafts
    that cannot be opened to lost+found/ in the data directory. It is safe while mounts run.

    The exit code is 1 if there is a problem that was not repaired.
    """
    from artfs.app.fsck import Level, check, repaired
    from artfs.app.progress import watching
    from artfs.staging.progress import Progress

    progress = Progress()
    with watching(progress):
        found = [repaired(finding) if fix else finding for finding in check(config, progress, deep=deep)]
    if as_json:
        print_json([finding.json() for finding in found])
    else:
        for finding in found:
            hint = f" ({finding.hint})" if finding.hint else ""
            click.echo(f"{finding.level.value:<7}  {finding.check:<8}  {' '.join(finding.message.split())}{hint}")
    return 1 if any(finding.level is Level.PROBLEM for finding in found) else 0
