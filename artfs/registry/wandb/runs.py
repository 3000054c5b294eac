"""Runs on a W&B server, and what they logged and used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artfs.errors import NotFoundError
from artfs.registry.port import RunInfo, RunState, State
from artfs.registry.wandb import operations, parse
from artfs.registry.wandb.reading import Reading
from artfs.wandb.paging import pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.model.names import RunRef
    from artfs.registry.port import Version
    from artfs.wandb.operation import Operation

_PAGE = 200


class Runs(Reading):
    """What a registry knows of runs. Part of `WandbRegistry`."""

    def logged_by(self, version_id: str) -> RunInfo | None:
        """Return the run that logged a version; None if a user did."""
        artifact = self._session.ask(operations.LOGGED_BY, {"id": version_id}).get("artifact")
        made = (artifact or {}).get("createdBy")
        return parse.run(made) if isinstance(made, dict) and made.get("__typename") == "Run" else None

    def used_by(self, version_id: str) -> Sequence[RunInfo]:
        """Return the runs that used a version."""
        nodes = pages(self._session, operations.USED_BY, {"id": version_id}, ("artifact", "usedBy"), page_size=_PAGE)
        return [parse.run(node) for node in nodes]

    def run(self, ref: RunRef) -> RunInfo:
        """Return a run."""
        answer = self._session.ask(operations.RUN, {"entity": ref.entity, "project": ref.project, "run": ref.id})
        found = (answer.get("project") or {}).get("run")
        if not isinstance(found, dict):
            raise NotFoundError(f"there is no run {ref}")
        return parse.run(found)

    def runs(self, entity: str, project: str) -> Sequence[RunInfo]:
        """Return the runs of a project, oldest first."""
        variables = {"entity": entity, "project": project}
        found = [
            parse.run(node)
            for node in pages(self._session, operations.RUNS, variables, ("project", "runs"), page_size=_PAGE)
        ]
        if not found and not self.project_exists(entity, project):
            raise NotFoundError(f"there is no project {entity}/{project}")
        return sorted(found, key=lambda run: run.created_at)

    def logged(self, ref: RunRef) -> Sequence[Version]:
        """Return the COMMITTED versions that a run logged."""
        return self._of_run(operations.OUTPUTS, ref, "outputArtifacts")

    def used(self, ref: RunRef) -> Sequence[Version]:
        """Return the COMMITTED versions that a run used."""
        return self._of_run(operations.INPUTS, ref, "inputArtifacts")

    def _of_run(self, operation: Operation, ref: RunRef, name: str) -> list[Version]:
        self.run(ref)
        variables = {"entity": ref.entity, "project": ref.project, "run": ref.id}
        nodes = list(pages(self._session, operation, variables, ("project", "run", name), page_size=_PAGE))
        committed = [node for node in nodes if node.get("state") == State.COMMITTED.value]
        found = []
        for node in committed:
            try:
                found.append(self.version_by_id(str(parse.field(node, "id", str))))
            except NotFoundError:
                continue  # deleted since, or not for this user
        return found

    # Recording --------------------------------------------------------------------------------------------------

    def record_run(self, run: RunInfo) -> None:
        """Record a run; nothing if it is recorded already."""
        try:
            self.run(run.ref)
        except NotFoundError:
            self._upsert(run)

    def change_run(self, run: RunInfo) -> None:
        """Replace what is recorded of a run."""
        self.run(run.ref)
        self._upsert(run)

    def _upsert(self, run: RunInfo) -> None:
        git, host = run.metadata.get("git"), run.metadata.get("host")
        commit = git.get("commit") if isinstance(git, dict) else None
        wanted = {
            "entityName": run.entity,
            "modelName": run.project,
            "name": run.id,
            "displayName": run.name,
            "jobType": run.job_type or None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "commit": commit if isinstance(commit, str) else None,
            "host": host if isinstance(host, str) else None,
            "state": run.state.value if run.state is not RunState.RUNNING else None,
        }
        self._session.ask(
            operations.UPSERT_RUN, {"input": {key: value for key, value in wanted.items() if value is not None}}
        )

    def record_logged(self, run: RunInfo, version_id: str) -> None:
        """Nothing: the server records who logs a version when it is made (`artfs.registry.wandb.commits`). NotFoundError."""
        self.version_by_id(version_id)

    def record_use(self, run: RunInfo, version_id: str) -> None:
        """Record that a run used a version."""
        found = self.version_by_id(version_id)
        self.record_run(run)
        wanted = {
            "entityName": run.entity,
            "projectName": run.project,
            "runName": run.id,
            "artifactID": version_id,
            "artifactEntityName": found.source.entity,
            "artifactProjectName": found.source.project,
        }
        self._session.ask(operations.USE, {"input": wanted})
