"""Runs, and the versions that they logged and used, of the registry in memory."""

from dataclasses import asdict, replace

from artfs.errors import NotFoundError
from artfs.model.metadata import merge_values
from artfs.registry.port import State
from tests.registry.fake_data import recordable, snapshot


class FakeLineage:
    """The part of the port that is about runs. A version is shown as `version_by_id` shows it."""

    def logged_by(self, version_id):
        with self._data.lock:
            ref = self._data.logged.get(version_id)
            return None if ref is None else self.run(ref)

    def used_by(self, version_id):
        with self._data.lock:
            return [self.run(ref) for version, ref in self._data.used if version == version_id]

    def run(self, ref):
        recordable(ref)
        with self._data.lock:
            if ref not in self._data.runs:
                raise NotFoundError(f"there is no run {ref}")
            return snapshot(self._data.runs[ref])

    def runs(self, entity, project):
        with self._data.lock:
            self._require_project(entity, project)
            runs = [snapshot(run) for run in self._data.runs.values() if (run.entity, run.project) == (entity, project)]
            return sorted(runs, key=lambda run: run.created_at)

    def logged(self, ref):
        with self._data.lock:
            self.run(ref)
            versions = self._committed_of(version for version, by in self._data.logged.items() if by == ref)
            return sorted(versions, key=lambda version: version.created_at)

    def used(self, ref):
        with self._data.lock:
            self.run(ref)
            return self._committed_of(version for version, by in self._data.used if by == ref)

    def record_run(self, run):
        with self._data.lock:
            self._record(run)

    def change_run(self, ref, change):
        with self._data.lock:
            found = self.run(ref)
            values = {"config": found.config, "metadata": found.metadata}
            for what, pair in (("name", change.name), ("job_type", change.job_type)):
                values[what] = self._settled(what.replace("_", " "), getattr(found, what), pair)
            if change.config is not None:
                values["config"] = merge_values(*change.config, found.config, "config", "run")
            if change.metadata is not None:
                values["metadata"] = change.metadata
            if change.progress is not None:
                values |= asdict(change.progress)
            self._data.runs[ref] = self._recorded(replace(found, **values))
            return self.run(ref)

    def record_logged(self, run, version_id):
        with self._data.lock:
            self._require_version(version_id)
            self._data.logged.setdefault(version_id, self._record(run))

    def record_use(self, run, version_id):
        with self._data.lock:
            self._require_version(version_id)
            self._data.used.setdefault((version_id, self._record(run)))

    # Within the lock --------------------------------------------------------------------------------------------

    def _committed_of(self, version_ids):
        return [self.version_by_id(each) for each in version_ids if self._data.by_id[each].state == State.COMMITTED]

    def _require_version(self, version_id):
        if version_id not in self._data.by_id:
            raise NotFoundError(f"there is no version with the id {version_id!r}")

    def _record(self, run):
        recorded = self._recorded(run)
        self._make_project(run.entity, run.project)
        self._data.runs.setdefault(run.ref, recorded)
        return run.ref

    @staticmethod
    def _recorded(run):
        recordable(run.ref, run.name, run.job_type, run.exit_code)
        return snapshot(run)
