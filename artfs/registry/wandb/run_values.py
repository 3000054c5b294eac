"""A run as a W&B server keeps it, and back.

The server has fields for a run's name, job type, state, git commit and configuration, and dates it itself. What else artfs knows of a run
(when it was created and ended, its exit code, where it ran) is in the configuration at ``_wandb.value.artfs``, beside what the SDK keeps
there for itself: web pages and ``run.config`` do not show it. What others write there is untrusted: what cannot be is left out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from artfs.errors import InvalidInputError
from artfs.model.metadata import is_same
from artfs.model.names import parse_project
from artfs.model.run import RunInfo, RunState
from artfs.registry.wandb import parse, recordable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.model.entry import JsonValue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = {"running": RunState.RUNNING, "pending": RunState.RUNNING, "finished": RunState.FINISHED,
           "failed": RunState.FAILED, "killed": RunState.KILLED, "crashed": RunState.CRASHED}  # fmt: skip
_HIDDEN, _OWN = "_wandb", "artfs"
_NOT_SHOWN = {_HIDDEN, "wandb_version"}


def recorded(run: RunInfo, before: parse.Node | None) -> dict[str, object]:
    """Return what the server is asked to record; ``before`` is the run as it has it. InvalidInputError for what cannot be recorded.

    When a run was created stays, and so does what the SDK keeps in its configuration.
    """
    recordable.check("the name", run.entity, run.project, run.id, run.name)
    recordable.check("the job type", run.job_type)
    recordable.check("the exit code", run.exit_code)
    host, commit = run.metadata.get("host"), _commit(run.metadata)
    state: str | None = run.state.value
    if before is None and run.state is RunState.RUNNING:
        state = None  # as a new one is
    wanted = {
        "entityName": run.entity,
        "modelName": run.project,
        "name": run.id,
        "displayName": run.name,
        "jobType": run.job_type if before is not None else run.job_type or None,
        "config": _encoded(run, before),
        "commit": commit,
        "host": host if isinstance(host, str) else None,
        "state": state,
        **_said(run.metadata),
    }
    recordable.check("the host or commit", commit, host if isinstance(host, str) else None)
    return {key: value for key, value in wanted.items() if value is not None}


def differing(run: RunInfo, found: RunInfo, before: parse.Node) -> dict[str, object]:
    """Return what the server is asked to record of a change, without what stays as it was ``found``: that others may change meanwhile."""
    differ = {
        "displayName": run.name != found.name,
        "jobType": run.job_type != found.job_type,
        "state": run.state is not found.state,
        "config": (run.exit_code, run.finished_at) != (found.exit_code, found.finished_at)
        or not is_same((run.config, run.metadata), (found.config, found.metadata)),
    }
    if not any(differ.values()):
        return {}
    wanted = recorded(run, before)
    left = {name for name, differs in differ.items() if not differs}
    if not differ["config"]:
        left |= {"commit", "host", "notes", "groupName", "tags"}
    return {key: value for key, value in wanted.items() if key not in left}


def _commit(metadata: Mapping[str, JsonValue]) -> str | None:
    git = metadata.get("git")
    found = git.get("commit") if isinstance(git, dict) else None
    return found if isinstance(found, str) else None


def _said(metadata: Mapping[str, JsonValue]) -> dict[str, object]:
    """Return what the user of a run says of it, for which the server has fields of its own, too."""
    notes, group, tags = metadata.get("notes"), metadata.get("group"), metadata.get("tags")
    return {
        "notes": notes if isinstance(notes, str) else None,
        "groupName": group if isinstance(group, str) else None,
        "tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else None,
    }


def _encoded(run: RunInfo, before: parse.Node | None) -> str:
    hidden = {} if before is None else _hidden(_object(before.get("config")))
    created_at = run.created_at if before is None else parsed(before).created_at
    own: dict[str, Any] = {
        "created_at": created_at.isoformat(),
        "finished_at": None if run.finished_at is None else run.finished_at.isoformat(),
        "exit_code": run.exit_code,
        "metadata": dict(run.metadata),
    }
    if taken := _NOT_SHOWN.intersection(run.config):
        raise InvalidInputError(f"the configuration of run {run.path} has {min(taken)!r}, which W&B keeps for itself")
    whole: dict[str, Any] = {key: {"value": value} for key, value in run.config.items()}
    whole[_HIDDEN] = {"value": {**hidden, _OWN: own}}
    return recordable.encode(f"run {run.path}", whole)


def parsed(node: parse.Node) -> RunInfo:
    """Return a run; IntegrityError."""
    project = parse.field(node, "project", dict)
    made = node.get("createdAt")
    state = _STATES.get(str(node.get("state") or "finished"), RunState.RUNNING)
    ended = node.get("heartbeatAt") if state is not RunState.RUNNING else None
    commit = node.get("commit")
    config = _object(node.get("config"))
    own = _hidden(config).get(_OWN)
    own = own if isinstance(own, dict) else {}
    exit_code, metadata = own.get("exit_code"), own.get("metadata")
    return RunInfo(
        id=parse.field(node, "name", str),
        entity=parse.field(parse.field(project, "entity", dict), "name", str),
        project=parse_project(parse.field(project, "name", str)),
        name=str(node.get("displayName") or node["name"]),
        job_type=str(node.get("jobType") or ""),
        created_at=_time(own.get("created_at")) or (parse.time(made) if made else _EPOCH),
        state=state,
        config={key: _shown(value) for key, value in config.items() if key not in _NOT_SHOWN},
        metadata=metadata if isinstance(metadata, dict) else {"git": {"commit": commit}} if commit else {},
        exit_code=exit_code if isinstance(exit_code, int) and not isinstance(exit_code, bool) else None,
        finished_at=_time(own.get("finished_at")) or (parse.time(ended) if ended else None),
    )


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _hidden(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration has that nobody is shown."""
    found = config.get(_HIDDEN)
    value = found.get("value") if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}


def _object(text: object) -> dict[str, Any]:
    try:
        found = json.loads(str(text or "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _shown(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a value of a configuration, which the server wraps as ``{"value": ...}``."""
    return value["value"] if isinstance(value, dict) and "value" in value else value
