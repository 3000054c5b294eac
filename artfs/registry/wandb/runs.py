"""Runs on a W&B server, and what they logged and used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.errors import NotFoundError, NotSupportedError, VersionDeletedError
from artfs.model.run import changed_run
from artfs.registry.port import State
from artfs.registry.wandb import operations, parse, run_values
from artfs.registry.wandb.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.model.names import RunRef
    from artfs.model.run import RunChange, RunInfo
    from artfs.registry.port import Version
    from artfs.wandb.operation import Operation

_PAGE = 200  # runs have their configurations with them


class Runs(Reading):
    """What a registry knows of runs. Part of `WandbRegistry`."""

    def logged_by(self, version_id: str) -> RunInfo | None:
        """Return the run that logged a version; None if a user did."""
        artifact = self._session.ask(operations.LOGGED_BY, {"id": version_id}).get("artifact")
        made = (artifact or {}).get("createdBy")
        return run_values.parsed(made) if isinstance(made, dict) and made.get("__typename") == "Run" else None

    def used_by(self, version_id: str) -> Sequence[RunInfo]:
        """Return the runs that used a version."""
        return [
            run_values.parsed(node)
            for node in self._walk(operations.USED_BY, {"id": version_id}, ("artifact", "usedBy"), _PAGE)
        ]

    def run(self, ref: RunRef) -> RunInfo:
        """Return a run."""
        return run_values.parsed(self._run_node(ref))

    def _run_node(self, ref: RunRef) -> parse.Node:
        answer = self._session.ask(operations.RUN, {"entity": ref.entity, "project": ref.project, "run": ref.id})
        found = (answer.get("project") or {}).get("run")
        if not isinstance(found, dict):
            raise NotFoundError(f"there is no run {ref}")
        return found

    def runs(self, entity: str, project: str) -> Sequence[RunInfo]:
        """Return the runs of a project, oldest first."""
        variables = {"entity": entity, "project": project}
        found = [run_values.parsed(node) for node in self._walk(operations.RUNS, variables, ("project", "runs"), _PAGE)]
        if not found and not self.project_exists(entity, project):
            raise NotFoundError(f"there is no project {entity}/{project}")
        return sorted(found, key=lambda run: run.created_at)

    def logged(self, ref: RunRef) -> Sequence[Version]:
        """Return the COMMITTED versions that a run logged."""
        return sorted(self._of_run(operations.OUTPUTS, ref, "outputArtifacts"), key=lambda found: found.created_at)

    def used(self, ref: RunRef) -> Sequence[Version]:
        """Return the COMMITTED versions that a run used."""
        return self._of_run(operations.INPUTS, ref, "inputArtifacts")

    def _of_run(self, operation: Operation, ref: RunRef, name: str) -> list[Version]:
        self.run(ref)
        variables = {"entity": ref.entity, "project": ref.project, "run": ref.id}
        nodes = self._walk(operation, variables, ("project", "run", name), _PAGE)
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
        wanted = run_values.recorded(run, None)
        try:
            self._run_node(run.ref)
        except NotFoundError:
            self._session.ask(operations.UPSERT_RUN, {"input": wanted})

    def change_run(self, ref: RunRef, change: RunChange) -> RunInfo:
        """Change a run.

        The server compares nothing, and takes a configuration as a whole: it is looked at first, as in `artfs.registry.wandb.changes`.
        What another client changes between that look and the request can be lost: the same value, or, as a configuration, metadata and
        the end of a run are recorded as one, another one of these. What does not change is not sent.
        """
        before = self._run_node(ref)
        found = run_values.parsed(before)
        wanted = run_values.differing(changed_run(found, change), found, before)
        if wanted:
            self._session.ask(operations.UPSERT_RUN, {"input": wanted})
        return self.run(ref)

    def record_logged(self, run: RunInfo, version_id: str) -> None:
        """Record the run. Who logs a version, the server records when its commit begins (`artfs.registry.wandb.commits`).

        NotFoundError; NotSupportedError if nobody was recorded then.
        """
        artifact = self._artifact(version_id)
        if (artifact.get("createdBy") or {}).get("__typename") != "Run":
            raise NotSupportedError(
                "a W&B server records only when a commit begins which run logs its version, and only a run of the same project"
            )
        self.record_run(run)

    def record_use(self, run: RunInfo, version_id: str) -> None:
        """Record that a run used a version."""
        source = parse.place(parse.field(self._artifact(version_id), "artifactSequence", dict))
        self.record_run(run)
        wanted = {
            "entityName": run.entity,
            "projectName": run.project,
            "runName": run.id,
            "artifactID": version_id,
            "artifactEntityName": source.entity,
            "artifactProjectName": source.project,
        }
        self._session.ask(operations.USE, {"input": wanted})

    def _artifact(self, version_id: str) -> parse.Node:
        """Return where a version is or will be logged, and by whom."""
        found = self._session.ask(operations.PLACE, {"id": version_id}).get("artifact")
        if not isinstance(found, dict):
            raise NotFoundError(f"there is no version with the id {version_id!r}")
        if found.get("state") == State.DELETED.value:
            raise VersionDeletedError(f"the version with the id {version_id!r} was deleted")
        return found
