"""Runs, and what they logged and used, in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from artfs.errors import NotFoundError
from artfs.registry.port import RunInfo
from artfs.registry.sql.rows import ensure_project, now, parse_time
from artfs.registry.sql.schema import entities, logged, projects, runs, used, versions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select


def logged_by(connection: Connection, version_id: str) -> RunInfo | None:
    """Return the run that logged a version."""
    row = connection.execute(_runs_query().join(logged).where(logged.c.version_id == version_id)).first()
    return None if row is None else _run(row)


def used_by(connection: Connection, version_id: str) -> list[RunInfo]:
    """Return the runs that used a version, oldest use first."""
    query = _runs_query().join(used).where(used.c.version_id == version_id).order_by(used.c.used_at, runs.c.id)
    return [_run(row) for row in connection.execute(query)]


def record_run(connection: Connection, run: RunInfo) -> int:
    """Return the id of a run, recording it where it is not."""
    project = ensure_project(connection, run.entity, run.project)
    query = select(runs.c.id).where(runs.c.project_id == project, runs.c.run_id == run.id)
    if connection.scalar(query) is None:
        row = {"project_id": project, "run_id": run.id, "name": run.name, "job_type": run.job_type,
               "created_at": run.created_at.isoformat(timespec="microseconds")}  # fmt: skip
        connection.execute(insert(runs).values(row))
    return int(connection.execute(query).scalar_one())


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


def _runs_query() -> Select[Any]:
    return (
        select(runs, projects.c.name.label("project_name"), entities.c.name.label("entity_name"))
        .select_from(runs)
        .join(projects, runs.c.project_id == projects.c.id)
        .join(entities, projects.c.entity_id == entities.c.id)
    )


def _run(row: Row[Any]) -> RunInfo:
    return RunInfo(row.run_id, row.entity_name, row.project_name, row.name, row.job_type, parse_time(row.created_at))
