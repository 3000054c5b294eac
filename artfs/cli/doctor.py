"""`artfs doctor`."""

from __future__ import annotations

import click

from artfs.cli.options import json_option, print_json, with_flags


@click.command()
@click.option("--fix", is_flag=True, help="Repair what is safe to repair, as long as nothing uses it.")
@json_option
@with_flags
def command(flags: dict[str, object], fix: bool, as_json: bool) -> int:
    """Look for what is wrong with this machine, the settings, registry and store, and the mounts of this user.

    One line for each check: ok, warning or problem, and in brackets what to do. Nothing is changed without --fix, which takes away dead
    mounts of this user and sockets that nobody listens at, and gives directories of artfs their mode. The exit code is 1 if there is a
    problem.
    """
    from artfs.app.doctor import Level, checks, diagnose, repair
    from artfs.config.sources import read_sources

    rows = []
    worst_is_problem = False
    for found in diagnose(checks(read_sources(flags))):
        finding = repair(found) if fix else found
        worst_is_problem |= finding.level is Level.PROBLEM
        if as_json:
            rows.append(finding.json())
        else:
            hint = f" ({finding.hint})" if finding.hint else ""
            click.echo(f"{finding.level.value:<7}  {finding.check:<17}  {' '.join(finding.message.split())}{hint}")
    if as_json:
        print_json(rows)
    return 1 if worst_is_problem else 0
