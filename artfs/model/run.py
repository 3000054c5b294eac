"""A run, as a registry knows it: who it is, how it is doing, and where it ran."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from artfs.errors import ConflictError
from artfs.model.metadata import merge_values
from artfs.model.names import RunRef

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from artfs.model.entry import JsonValue


class RunState(enum.Enum):
    """How a run is doing. ``CRASHED``: it ended without saying so. ``KILLED``: it was ended from outside."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run. ``metadata`` says where it ran: command, host, git commit; ``config`` is the user's own.

    ``exit_code`` and ``finished_at`` are None until it has ended.
    """

    id: str
    entity: str
    project: str
    name: str
    job_type: str
    created_at: datetime
    state: RunState = RunState.RUNNING
    config: Mapping[str, JsonValue] = field(default_factory=dict, hash=False)
    metadata: Mapping[str, JsonValue] = field(default_factory=dict, hash=False)
    exit_code: int | None = None
    finished_at: datetime | None = None

    @property
    def ref(self) -> RunRef:
        """The name of the run in the registry."""
        return RunRef(self.entity, self.project, self.id)

    @property
    def path(self) -> str:
        """``entity/project/id``."""
        return str(self.ref)

    @property
    def title(self) -> str:
        """Its name, if it has one of its own: a run that was given none is named by its id."""
        return "" if self.name == self.id else self.name


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How a run is doing: what is recorded together when it goes on or ends."""

    state: RunState
    exit_code: int | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunChange:
    """What to change of a run; what is left out stays as it is.

    ``name``, ``job_type`` and ``config`` are pairs: what the caller has seen, and what it shall be. ``config`` is merged by its keys.
    ``metadata`` and ``progress`` replace what was recorded: a process says them of itself, and the last one that does so is right.
    """

    name: tuple[str, str] | None = None
    job_type: tuple[str, str] | None = None
    config: tuple[Mapping[str, JsonValue], Mapping[str, JsonValue]] | None = None
    metadata: Mapping[str, JsonValue] | None = None
    progress: RunProgress | None = None


def changed_run(found: RunInfo, change: RunChange) -> RunInfo:
    """Return what a run becomes that is recorded as ``found`` by now.

    ConflictError where somebody else has changed the same thing since the caller has seen it, to something else than the caller wants.
    """
    progress = change.progress or RunProgress(found.state, found.exit_code, found.finished_at)
    return replace(
        found,
        name=_settled("name", found, found.name, change.name),
        job_type=_settled("job type", found, found.job_type, change.job_type),
        config=found.config if change.config is None else merge_values(*change.config, found.config, "config", "run"),
        metadata=found.metadata if change.metadata is None else change.metadata,
        state=progress.state,
        exit_code=progress.exit_code,
        finished_at=progress.finished_at,
    )


def _settled(what: str, run: RunInfo, found: str, pair: tuple[str, str] | None) -> str:
    if pair is None or found == pair[1]:
        return found
    if found != pair[0]:
        raise ConflictError(
            f"the {what} of run {run.path} was changed by somebody else meanwhile",
            hint="look at the run again, then change it",
        )
    return pair[1]
