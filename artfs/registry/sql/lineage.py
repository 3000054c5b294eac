"""Runs, and what they logged and used, in SQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from artfs.errors import NotFoundError
from artfs.model.run import RunInfo, RunState, changed_run
from artfs.registry.sql.rows import encode_metadata, ensure_project, find_project, format_time, now, parse_time
from artfs.registry.sql.schema import entities, logged, memberships, projects, runs, used, versions
from artfs.registry.sql.shown import load_versions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select

    from artfs.model.names import RunRef
    from artfs.model.run import RunChange
    from artfs.registry.port import Version


def logged_by(connection: Connection, version_id: str) -> RunInfo | None:
    """Return the run that logged a version."""
    row = connection.execute(_runs_query().join(logged).where(logged.c.version_id == version_id)).first()
    return None if row is None else _run(row)


def used_by(connection: Connection, version_id: str) -> list[RunInfo]:
    """Return the runs that used a version, oldest use first."""
    query = _runs_query().join(used).where(used.c.version_id == version_id).order_by(used.c.used_at, runs.c.id)
    return [_run(row) for row in connection.execute(query)]


def find_run(connection: Connection, ref: RunRef) -> RunInfo:
    """Return a run; NotFoundError."""
    return _run(_find(connection, ref))


def list_runs(connection: Connection, entity: str, project: str) -> list[RunInfo]:
    """Return the runs of a project, oldest first; NotFoundError if there is no such project."""
    project_id = find_project(connection, entity, project)
    query = _runs_query().where(runs.c.project_id == project_id).order_by(runs.c.id)
    # Not sorted by the database: up to schema 2 a time was recorded with the offset from UTC that its run gave.
    return sorted((_run(row) for row in connection.execute(query)), key=lambda run: run.created_at)


def versions_logged(connection: Connection, ref: RunRef) -> list[Version]:
    """Return the COMMITTED versions that a run logged, oldest first."""
    return load_versions(
        connection,
        memberships.c.is_source == 1,
        memberships.c.version_id == logged.c.version_id,
        logged.c.run == _find(connection, ref).id,
        order=(versions.c.created_at, memberships.c.id),
    )


def versions_used(connection: Connection, ref: RunRef) -> list[Version]:
    """Return the COMMITTED versions that a run used, first use first."""
    return load_versions(
        connection,
        memberships.c.is_source == 1,
        memberships.c.version_id == used.c.version_id,
        used.c.run == _find(connection, ref).id,
        order=(used.c.used_at, memberships.c.id),
    )


def record_run(connection: Connection, run: RunInfo) -> int:
    """Return the id of a run, recording it where it is not."""
    project = ensure_project(connection, run.entity, run.project)
    query = select(runs.c.id).where(runs.c.project_id == project, runs.c.run_id == run.id)
    if connection.scalar(query) is None:
        row = {"project_id": project, "run_id": run.id, "created_at": format_time(run.created_at), **_values(run)}
        connection.execute(insert(runs).values(row))
    return int(connection.execute(query).scalar_one())


def change_run(connection: Connection, ref: RunRef, change: RunChange) -> RunInfo:
    """Change a run, and return it. Its caller's transaction is alone in writing, as `artfs.registry.sql.changes` says. See the port."""
    row = _find(connection, ref)
    found = _run(row)
    values = _values(changed_run(found, change))
    if values != _values(found):
        connection.execute(update(runs).where(runs.c.id == row.id).values(values))
    return find_run(connection, ref)


def record_use(connection: Connection, run: RunInfo, version_id: str) -> None:
    """Record that a run used a version."""
    _require(connection, version_id)
    run_id = record_run(connection, run)
    query = select(used.c.run).where(used.c.version_id == version_id, used.c.run == run_id)
    if connection.scalar(query) is None:
        connection.execute(insert(used).values(version_id=version_id, run=run_id, used_at=now()))


def record_logged(connection: Connection, run: RunInfo, version_id: str) -> None:
    """Record that a run logged a version; the first one that says so stays."""
    _require(connection, version_id)
    run_id = record_run(connection, run)
    if connection.scalar(select(logged.c.run).where(logged.c.version_id == version_id)) is None:
        connection.execute(insert(logged).values(version_id=version_id, run=run_id))


def _require(connection: Connection, version_id: str) -> None:
    if connection.scalar(select(versions.c.id).where(versions.c.id == version_id)) is None:
        raise NotFoundError(f"there is no version with the id {version_id!r}")


def _find(connection: Connection, ref: RunRef) -> Row[Any]:
    query = _runs_query().where(entities.c.name == ref.entity, projects.c.name == ref.project, runs.c.run_id == ref.id)
    found = connection.execute(query).first()
    if found is None:
        raise NotFoundError(f"there is no run {ref}")
    return found


def _runs_query() -> Select[Any]:
    return (
        select(runs, projects.c.name.label("project_name"), entities.c.name.label("entity_name"))
        .select_from(runs)
        .join(projects, runs.c.project_id == projects.c.id)
        .join(entities, projects.c.entity_id == entities.c.id)
    )


def _values(run: RunInfo) -> dict[str, object]:
    """Return what can change of a run, as it is recorded."""
    return {
        "name": run.name,
        "job_type": run.job_type,
        "state": run.state.value,
        "config": encode_metadata(run.config),
        "metadata": encode_metadata(run.metadata),
        "exit_code": run.exit_code,
        "finished_at": None if run.finished_at is None else format_time(run.finished_at),
    }


def _run(row: Row[Any]) -> RunInfo:
    return RunInfo(
        id=row.run_id,
        entity=row.entity_name,
        project=row.project_name,
        name=row.name,
        job_type=row.job_type,
        created_at=parse_time(row.created_at),
        state=RunState(row.state),
        config=json.loads(row.config),
        metadata=json.loads(row.metadata),
        exit_code=row.exit_code,
        finished_at=None if row.finished_at is None else parse_time(row.finished_at),
    )
