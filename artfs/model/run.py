"""A run, as a registry knows it: who it is, how it is doing, and where it ran."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
