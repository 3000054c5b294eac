"""`Run`: a process that uses and logs artifacts. Made by `artfs.init`, found by `artfs.Api`."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.api.artifact import Artifact
from artfs.api.attributes import recordable_config
from artfs.api.listing import Listing
from artfs.api.liveness import state_of
from artfs.errors import ArtfsError, ConflictError, InvalidInputError
from artfs.model.names import parse_artifact_ref
from artfs.model.reference import uri_scheme
from artfs.model.run import RunChange, RunProgress, RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from artfs.api.client import Client
    from artfs.model.run import RunInfo

_ENDED = {RunState.FINISHED, RunState.FAILED, RunState.CRASHED, RunState.KILLED}


class RunConfig(MutableMapping[str, Any]):
    """The configuration of a run: values by name, which are recorded as they are set.

    ConflictError for a value that somebody else has changed since this object has seen it; it has seen that then.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getitem__(self, key: str) -> Any:
        return self._run.info.config[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._run.change_config({}, gone=key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.info.config)

    def __len__(self) -> int:
        return len(self._run.info.config)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError as error:
            raise AttributeError(key) from error

    def update(self, *values: Any, **named: Any) -> None:
        """Set several values at once."""
        changed = dict(*values, **named)
        self._run.change_config(recordable_config(changed))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy is of the values, and records nothing


class Run:
    """A run of a project. As a context manager it finishes at the end: failed, if the block raises.

    Usable from threads. A forked child may use it, too; what it logs it has to make itself. A deep copy of it is itself, as in the W&B SDK;
    only one that is not active can be pickled.
    """

    def __init__(self, client: Client, info: RunInfo, *, own: bool = False) -> None:
        self._client = client
        self._info = info
        self._own = own
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._logging: list[tuple[int, Artifact]] = []  # with the process that waits for them
        self._used: list[Artifact] = []

    # What it is -------------------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """What the registry knows of it, as it was last seen."""
        return self._info

    @property
    def client(self) -> Client:
        """The connection to the registry that it is recorded in."""
        return self._client

    @property
    def id(self) -> str:
        """The ID, unique in the project."""
        return self._info.id

    @property
    def name(self) -> str:
        """The name for people."""
        return self._info.name

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise InvalidInputError(f"the name of a run is text, not {value!r}")
        with self._lock:
            self.change(RunChange(name=(self._info.name, value)))

    @property
    def entity(self) -> str:
        """The entity of its project."""
        return self._info.entity

    @property
    def project(self) -> str:
        """Its project."""
        return self._info.project

    @property
    def path(self) -> str:
        """``entity/project/id``."""
        return self._info.path

    @property
    def job_type(self) -> str:
        """What kind of work it does, such as ``train``."""
        return self._info.job_type

    @property
    def config(self) -> RunConfig:
        """Its configuration. Values that are set are recorded at once."""
        return RunConfig(self)

    @property
    def metadata(self) -> dict[str, Any]:
        """Where it runs: command, host, user, directory, git commit, as far as they are known."""
        return dict(self._info.metadata)

    @property
    def notes(self) -> str | None:
        """What its user says of it; None for nothing."""
        found = self._info.metadata.get("notes")
        return found if isinstance(found, str) else None

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        found = self._info.metadata.get("tags")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    @property
    def group(self) -> str:
        """The group of runs that it belongs to; empty if there is none."""
        found = self._info.metadata.get("group")
        return found if isinstance(found, str) else ""

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``failed``, ``crashed`` or ``killed``.

        A run of this machine whose process is no more, without having said so, is ``crashed``.
        """
        return state_of(self._info).value

    @property
    def exit_code(self) -> int | None:
        """The exit code of its process; None while it runs, or if it is not known."""
        return self._info.exit_code

    @property
    def created_at(self) -> str:
        """When it was begun: ISO 8601, in UTC."""
        return self._info.created_at.isoformat()

    @property
    def finished_at(self) -> str | None:
        """When it ended."""
        ended = self._info.finished_at
        return None if ended is None else ended.isoformat()

    def change(self, change: RunChange) -> None:
        """Record a change of the run; what another process has recorded meanwhile stays as it is.

        ConflictError if it has changed the same thing: the run shows that from then on, and may be changed again.
        """
        with self._lock:
            try:
                self._info = self._client.registry.change_run(self._info.ref, change)
            except ConflictError:
                with contextlib.suppress(ArtfsError):
                    self._info = self._client.registry.run(self._info.ref)
                raise

    def change_config(self, values: Mapping[str, Any], gone: str | None = None) -> None:
        """Record some values of the configuration, and take one away; see `change`."""
        with self._lock:
            seen = {key: value for key, value in self._info.config.items() if key in values or key == gone}
            self.change(RunChange(config=(seen, values)))

    # Artifacts --------------------------------------------------------------------------------------------------

    def use_artifact(
        self,
        artifact_or_name: Artifact | str,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        use_as: str | None = None,
    ) -> Artifact:
        """Record that the run uses an artifact, and return it: ``name:alias``, ``project/name:alias`` or ``entity/project/name:alias``.

        One that is not logged yet is logged first, with ``aliases``; nothing is recorded of one that was deleted. InvalidInputError (a
        ValueError) if its type is another than ``type``; NotFoundError, VersionDeletedError, UnreachableError.
        """
        if isinstance(artifact_or_name, Artifact):
            artifact = artifact_or_name
            if artifact.is_draft():
                self.log_artifact(artifact, aliases=aliases)
                artifact.wait()
            self._client.registry.version_by_id(str(artifact.id))  # it may be long ago that it was looked up
        else:
            if not isinstance(artifact_or_name, str):
                raise InvalidInputError(f"use_artifact takes an artifact or its name, not {artifact_or_name!r}")
            ref = parse_artifact_ref(artifact_or_name, self.entity, self.project)
            artifact = Artifact.of_version(self._client, self._client.registry.version(ref))
        if type is not None and artifact.type != type:
            raise InvalidInputError(f"{artifact.qualified_name} is of type {artifact.type!r}, not {type!r}")
        self._client.registry.record_use(self._info, str(artifact.id))
        with self._lock:
            self._used.append(artifact)
        return artifact

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike[str],
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Log an artifact as an output of the run, and return it at once: its `wait` waits until it is there.

        From here on it cannot be lost, whatever happens to this process. A path of a file or directory, or a URI, is made an artifact:
        ``name`` is ``run-ID-BASENAME`` unless given, ``type`` is ``unspecified``. ``latest`` always moves to it, and each of ``aliases``.
        """
        artifact = artifact_or_path
        if not isinstance(artifact, Artifact):
            artifact = self._artifact_of(artifact, name, type)
        artifact.log(self, _listed(aliases), _listed(tags))
        with self._lock:
            self._logging.append((os.getpid(), artifact))
        return artifact

    def _artifact_of(self, path: str | os.PathLike[str], name: str | None, kind: str | None) -> Artifact:
        text = os.fspath(path)
        base = Path(text.rstrip("/")).name or "files"
        artifact = Artifact(name or f"run-{self.id}-{base}", kind or "unspecified")
        if uri_scheme(text) is not None:
            artifact.add_reference(text)
        elif Path(text).is_dir():
            artifact.add_dir(text)
        elif Path(text).is_file():
            artifact.add_file(text)
        else:
            raise InvalidInputError(f"{text!r} is no file, directory or URI to log")
        return artifact

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: Sequence[str] | None = None) -> Artifact:
        """Link an artifact to a portfolio; see `Artifact.link`. One that is not logged yet is logged as an output of the run."""
        if artifact.is_draft():
            self.log_artifact(artifact).wait()
        return artifact.link(target_path, _listed(aliases))

    def logged_artifacts(self, per_page: int = 100) -> Listing[Artifact]:
        """Return the artifacts that the run has logged, the oldest first."""
        del per_page
        found = self._client.registry.logged(self._info.ref)
        return Listing([Artifact.of_version(self._client, version) for version in found])

    def used_artifacts(self, per_page: int = 100) -> Listing[Artifact]:
        """Return the artifacts that the run has used, the first use first."""
        del per_page
        found = self._client.registry.used(self._info.ref)
        return Listing([Artifact.of_version(self._client, version) for version in found])

    def get(self, name: str) -> Any:
        """Return the object with a name out of the artifacts that this run object has used, the last one first; None if none has it."""
        for artifact in reversed(self._used):
            found = artifact.get(name)
            if found is not None:
                return found
        return None

    # The end ----------------------------------------------------------------------------------------------------

    def finish(self, exit_code: int | None = None) -> None:
        """Wait for everything that was logged, and end the run: with 0 or None it has finished, with another code it has failed.

        Raises the first error of what was logged, after the rest is there and the run has ended. A forked child waits for what it has
        logged itself, and leaves the rest, and ending the run, to its parent.
        """
        from artfs.api.session import leave

        errors: list[ArtfsError] = []
        for artifact in [artifact for pid, artifact in self._logging if pid == os.getpid()]:
            try:
                artifact.wait()
            except ArtfsError as error:
                errors.append(error)
        self._logging.clear()
        try:
            if self._own and self._pid == os.getpid() and self._info.state not in _ENDED:
                code = (1 if errors else 0) if exit_code is None else exit_code
                state = RunState.FAILED if code else RunState.FINISHED
                self.change(RunChange(progress=RunProgress(state, code, datetime.now(UTC))))
        finally:
            leave(self)
        if errors:
            raise errors[0]

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        try:
            self.finish(exit_code=_code_of(error))
        except ArtfsError as other:
            if error is not None:
                error.add_note(f"artfs: what the run has logged failed, too: {other}")

    def __reduce__(self) -> tuple[Any, ...]:
        if self._own and self._info.state not in _ENDED:
            raise TypeError(
                f"run {self.path} is active in this process: it cannot be pickled. Pass on its path, {self.path!r}, and look it up with"
                " artfs.Api().run(path)"
            )
        return Run, (self._client, self._info)

    def __deepcopy__(self, memo: object) -> Run:
        return self

    def __repr__(self) -> str:
        return f"<Run {self.path} ({self.state})>"


def _code_of(error: BaseException | None) -> int:
    return exit_code_of(error.code) if isinstance(error, SystemExit) else 1


def exit_code_of(code: object) -> int:
    """Return the exit code of a process that calls ``sys.exit(code)``."""
    return code if isinstance(code, int) else int(code is not None)


def _listed(names: Sequence[str] | None) -> list[str]:
    """Return names as a list; one alone may be given as it is, as the W&B SDK allows. InvalidInputError for what is no name."""
    listed = [names] if isinstance(names, str) else list(names or ())
    if not all(isinstance(name, str) for name in listed):
        raise InvalidInputError(f"aliases and tags are lists of names, not {listed!r}")
    return listed


def config_of(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a configuration as it is recorded; InvalidInputError."""
    return recordable_config({} if values is None else values)
