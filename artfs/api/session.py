"""What a process has one of: the present run, and the client that new artifacts use.

`artfs.init` begins a run; the end of the process ends it, if nothing has before.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from artfs.api import liveness, sdk_arguments
from artfs.api.client import Client
from artfs.api.runs import Run, config_of, exit_code_of
from artfs.app.runs import current_run as run_of_environment
from artfs.app.runs import describe_process, go_on, new_run_id
from artfs.errors import ArtfsError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.names import RunRef, parse_entity, parse_project, parse_run_id
from artfs.model.run import RunChange, RunInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from artfs.api.artifact import Artifact

log = logging.getLogger(__name__)


class _Session:
    """The one of this process. A forked child goes on with the run of its parent, and leaves ending it to the parent."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.client: Client | None = None
        self.run: Run | None = None
        self.pid = os.getpid()
        self.ends = False
        self.exit_code: int | None = None  # what sys.exit() was told


_session = _Session()


def default_client() -> Client:
    """Return the client of the present run, or one with the settings of the environment."""
    with _session.lock:
        if _session.client is None:
            _session.client = Client()
            _end_well()
        return _session.client


def current_run() -> Run | None:
    """Return the run that `init` has begun and nothing has finished."""
    return _session.run


def init(
    entity: str | None = None,
    project: str | None = None,
    *,
    job_type: str | None = None,
    name: str | None = None,
    id: str | None = None,
    config: Mapping[str, Any] | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    **settings: Any,
) -> Run:
    """Begin a run, and return it; while one goes on, return that one.

    ``project`` is that of ``ARTFS_PROJECT``, or ``uncategorized``; ``entity`` the configured one. ``id`` of a run that exists goes on with
    that run. Inside of ``artfs run`` the run is the one of that command, unless an id or another place is given. ``notes``, ``tags`` and
    ``group`` are recorded in the metadata of the run. ``settings`` are those of ``config.toml``: ``registry``, ``store``, ...; the other
    arguments of ``wandb.init`` mean what `artfs.api.sdk_arguments` says, and a warning names those that have no effect.
    InvalidInputError (a ValueError), NotSupportedError, UnreachableError.
    """
    sdk = {name: settings.pop(name) for name in sdk_arguments.OF_INIT & set(settings)}
    with _session.lock:
        if _session.run is not None and sdk_arguments.finishes_previous(sdk):
            _session.run.finish()
        if _session.run is not None:
            return _session.run
        client = Client(None, **settings) if settings or _session.client is None else _session.client
        sdk_arguments.check_init(sdk, client.config.registry)
        sdk_arguments.ignore_of_init(sdk)
        said = sdk_arguments.described(notes, tags, group)
        chosen = sdk_arguments.chosen(config_of(config), sdk)
        surrounding = run_of_environment(os.environ)
        if surrounding is not None and id is None and entity is None and project is None:
            run = _join(client, surrounding)
            if said:
                run.change(RunChange(metadata={**run.metadata, **said}))
        else:
            place = parse_entity(entity or client.default_entity), parse_project(project or client.default_project)
            ref = RunRef(*place, parse_run_id(id or new_run_id()))
            if sdk.get("resume"):
                sdk_arguments.check_resumed(sdk, str(ref), exists=_exists(client, ref))
            run = _begin(client, ref, name, job_type, chosen, said)
        _session.client, _session.run, _session.pid = client, run, os.getpid()
        _end_well()
        return run


def _join(client: Client, ref: RunRef) -> Run:
    try:
        return Run(client, client.registry.run(ref))
    except NotFoundError as error:
        raise InvalidInputError(f"ARTFS_RUN names {ref}, which the registry does not know") from error


def _exists(client: Client, ref: RunRef) -> bool:
    try:
        client.registry.run(ref)
    except NotFoundError:
        return False
    return True


def _begin(
    client: Client, ref: RunRef, name: str | None, job_type: str | None, config: dict[str, Any], said: dict[str, Any]
) -> Run:
    about = describe_process([sys.executable, *sys.argv], python=sys.version.split()[0]) | said
    about["process"] = liveness.describe(os.getpid())
    info = RunInfo(
        id=ref.id,
        entity=ref.entity,
        project=ref.project,
        name=name or ref.id,
        job_type=job_type or "",
        created_at=datetime.now(UTC),
        config=config,
        metadata=about,
    )
    client.registry.record_run(info)
    found = client.registry.run(ref)
    if found.created_at != info.created_at:
        found = go_on(client.registry, info, renamed=bool(name), config=info.config)
    return Run(client, found, own=True)


def leave(run: Run) -> None:
    """Have no present run any more, if it is this one."""
    with _session.lock:
        if _session.run is run:
            _session.run = None


def log_artifact(
    artifact_or_path: Artifact | str | os.PathLike[str],
    name: str | None = None,
    type: str | None = None,
    aliases: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
) -> Artifact:
    """Log an artifact as an output of the present run; see `Run.log_artifact`. InvalidInputError without a run."""
    return _present("log_artifact").log_artifact(artifact_or_path, name, type, aliases, tags)


def use_artifact(
    artifact_or_name: Artifact | str,
    type: str | None = None,
    aliases: Sequence[str] | None = None,
    use_as: str | None = None,
) -> Artifact:
    """Record that the present run uses an artifact, and return it; see `Run.use_artifact`. InvalidInputError without a run."""
    return _present("use_artifact").use_artifact(artifact_or_name, type, aliases, use_as)


def finish(exit_code: int | None = None) -> None:
    """Finish the present run, if there is one; see `Run.finish`."""
    run = _session.run
    if run is not None:
        run.finish(exit_code)


def _present(what: str) -> Run:
    run = _session.run
    if run is None:
        raise InvalidInputError(f"artfs.{what}() needs a run", hint="call artfs.init() first")
    return run


def _end_well() -> None:
    if not _session.ends:
        _session.ends = True
        atexit.register(_end)
        _watch_exit()


def _watch_exit() -> None:
    """Note what ``sys.exit`` is told, as the W&B SDK does: at the end of the process nothing else knows the exit code."""
    leave_process = sys.exit

    def leave_with(code: object = None, /) -> NoReturn:
        if threading.current_thread() is threading.main_thread():  # any other one ends only itself
            _session.exit_code = exit_code_of(code)
        leave_process(code)  # type: ignore[arg-type]  # what cannot be a code is for it to say

    sys.exit = leave_with


def _end() -> None:
    """At the end of the process: finish the run, failed after an error that nobody caught, and give the client back."""
    if _session.pid != os.getpid():
        return
    try:
        if _session.run is not None:
            # At a prompt and in a notebook the program goes on after an error, and its end is an end like any other.
            failed = getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")
            _session.run.finish(1 if failed else _session.exit_code)
    except ArtfsError as error:
        kept = (
            "" if isinstance(error, UnreachableError) else "; the files are kept: the next mount has them in .staging/"
        )
        print(f"artfs: {error}{kept}", file=sys.stderr)  # noqa: T201 - nobody is left to raise it to
    if _session.client is not None:
        _session.client.close()
