"""`artfs run`."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.options import default_entity, given_settings, load_json_option, warn, with_config
from artfs.cli.umask import USER_UMASK
from artfs.errors import ArtfsError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.app.supervise import Ended
    from artfs.config import Config
    from artfs.model.names import RunRef
    from artfs.model.run import RunInfo
    from artfs.registry.port import Registry

_MOUNT_PATIENCE = 15.0  # seconds that a mount may take to write down what it has seen


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command_line", metavar="COMMAND [ARGUMENT]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--project", metavar="NAME", help="The project of the run; else ARTFS_PROJECT, else 'uncategorized'.")
@click.option("--name", metavar="TEXT", help="A name for people; the default is the id.")
@click.option("--job-type", metavar="TEXT", default="", help="What kind of work it is: train, eval, ...")
@click.option("--config", "settings", metavar="JSON", help="What the run was told, as a JSON object, or @FILE.")
@click.option(
    "--id", "run_id", metavar="ID", help="The id of the run; one that exists goes on. The default is a new one."
)
@with_config
def command(
    config: Config,
    command_line: tuple[str, ...],
    project: str | None,
    name: str | None,
    job_type: str,
    settings: str | None,
    run_id: str | None,
) -> int:
    """Run a command as a run: what it reads through a mount is recorded as used by the run, what it commits as logged by it.

    That holds for every process that the command starts, without a change to any of them. Recorded, too: the command line as it is (so do
    not put secrets there), directory, host, user, git commit, and how it ended. The exit code is that of the command.
    """
    from artfs.app.runs import RUN_VARIABLE
    from artfs.app.supervise import Ended, NotStartedError, run_child, signals_held
    from artfs.cli.services import open_services

    info = _describe(config, command_line, project, name, job_type, settings, run_id)
    with open_services(config) as services:
        _begin(services.registry, info, renamed=name is not None, configured=settings is not None)
    click.echo(f"artfs: run {info.path}", err=True)
    environment = os.environ | given_settings(config) | {RUN_VARIABLE: info.path}
    with signals_held() as mask:
        try:
            ended = run_child(_startable(command_line, environment), environment, USER_UMASK, mask)
        except NotStartedError as error:
            click.echo(f"artfs: {command_line[0]} cannot be run: {error}", err=True)
            ended = Ended(error.code, killed=False)
        _end(config, info.ref, ended)
    return ended.code


def _describe(
    config: Config,
    command_line: tuple[str, ...],
    project: str | None,
    name: str | None,
    job_type: str,
    settings: str | None,
    run_id: str | None,
) -> RunInfo:
    from artfs.api import liveness
    from artfs.app.runs import default_project, describe_process, new_run_id
    from artfs.model.names import parse_entity, parse_project, parse_run_id
    from artfs.model.run import RunInfo

    identifier = new_run_id() if run_id is None else parse_run_id(run_id)
    return RunInfo(
        id=identifier,
        entity=parse_entity(default_entity(config)),
        project=default_project(os.environ) if project is None else parse_project(project),
        name=name or identifier,
        job_type=job_type,
        created_at=datetime.now(UTC),
        config=_parse_config(settings),
        metadata=describe_process(command_line) | {"process": liveness.describe(os.getpid())},  # whether it goes on
    )


def _parse_config(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    found = load_json_option(text, "--config")
    if not isinstance(found, dict):
        raise InvalidInputError("--config is a JSON object", hint="""as --config '{"lr": 0.1}'""")
    return found


def _begin(registry: Registry, info: RunInfo, *, renamed: bool, configured: bool) -> None:
    """Record the run. One that exists already goes on, and keeps what is not said anew."""
    from artfs.app.runs import go_on

    try:
        registry.run(info.ref)
    except NotFoundError:
        registry.record_run(info)
        return
    go_on(registry, info, renamed=renamed, config=info.config if configured else None, whole=True)


def _startable(command_line: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    """Return the command to start. A program that lies in a mount is opened by a process of the run, so that it counts as used."""
    from artfs.app.client import mount_of

    program = shutil.which(command_line[0], path=environment.get("PATH"))
    if program is not None and mount_of(Path(os.path.realpath(program))) is not None:
        return ["/bin/sh", "-c", 'exec "$0" "$@"', program, *command_line[1:]]
    return list(command_line)


def _end(config: Config, ref: RunRef, ended: Ended) -> None:
    """Record what the run has used until now, and how it ended. What cannot be recorded is a warning."""
    from artfs.cli.services import open_services
    from artfs.model.run import RunChange, RunProgress, RunState

    _record_uses(config)
    state = RunState.KILLED if ended.killed else RunState.FAILED if ended.code else RunState.FINISHED
    try:
        with open_services(config) as services:
            progress = RunProgress(state, ended.code, datetime.now(UTC))
            services.registry.change_run(ref, RunChange(progress=progress))
    except (ArtfsError, OSError) as error:
        warn([f"it is not recorded that run {ref} has ended: {error}"])


def _record_uses(config: Config) -> None:
    """Let each mount of the registry write down the uses that it has seen."""
    from artfs.app.client import request, statuses
    from artfs.model.reference import redact

    for status in statuses(config):
        if status["registry"] != redact(config.registry):
            continue
        try:
            for answer in request(Path(status["control"]), {"op": "record"}, timeout=_MOUNT_PATIENCE):
                result: Any = answer["result"]
                if result["waiting"]:
                    reason = result["reason"] or "no answer yet"
                    warn(
                        [f"{result['waiting']} uses of versions are not recorded yet, the mount tries again: {reason}"]
                    )
        except ArtfsError as error:
            warn([f"uses of versions may not be recorded: {error.message}"])
