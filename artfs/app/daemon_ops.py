"""What a mount process does when its control socket is asked: status, refresh, stage, commit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from artfs.app.places import make_collection
from artfs.errors import ArtfsError, ExistsError, InvalidInputError
from artfs.model.metadata import parse_metadata
from artfs.model.names import (
    parse_alias,
    parse_artifact_ref,
    parse_collection_ref,
    parse_draft,
    parse_type,
    version_name,
)
from artfs.staging.drafts import Base
from artfs.vfs.namespace import COMMIT_NAME, STAGING_NAME, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from artfs.app.control import Message, Operation
    from artfs.app.services import Services
    from artfs.fuse.session import Kernel
    from artfs.model.entry import JsonValue
    from artfs.model.names import CollectionRef
    from artfs.staging.drafts import Draft
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.commits import Commits, Job

_PROGRESS_INTERVAL = 0.1  # seconds between reports of a commit to the one who waits for it


class DaemonOperations:
    """The operations of one mount process."""

    def __init__(
        self,
        services: Services,
        mountpoint: Path,
        commits: Commits,
        settle: Callable[[Draft], Awaitable[None]],
        catalog: Catalog,
        kernel: Kernel,
    ) -> None:
        self._services = services
        self._mountpoint = mountpoint
        self._commits = commits
        self._settle = settle
        self._catalog = catalog
        self._kernel = kernel

    @property
    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {"status": self.status, "refresh": self.refresh, "stage": self.stage, "commit": self.commit}

    async def status(self, _: Message) -> AsyncIterator[Message]:
        """Say who serves the mount, and which commits are under way."""
        commits: list[JsonValue] = [
            {"collection": str(job.draft.collection), "draft": job.draft_name, "progress": job.progress.snapshot()}
            for job in self._commits.jobs
        ]
        registry = self._services.config.registry
        about: Message = {"pid": os.getpid(), "mountpoint": str(self._mountpoint), "registry": registry}
        yield {"result": {**about, "commits": commits}}

    async def refresh(self, _: Message) -> AsyncIterator[Message]:
        """Forget what the registry said."""
        self._catalog.forget()
        yield {"result": {}}

    async def stage(self, request: Message) -> AsyncIterator[Message]:
        """Make a draft, from a version (``ref``) or empty (``collection``)."""
        registry = self._services.registry
        base = None
        if request.get("ref") is not None:
            ref = parse_artifact_ref(str(request["ref"]), registry.default_entity)
            version = await self._catalog.call(registry.version, ref)
            base = Base(
                version.id, version.collection.at(version_name(version.index)), version.manifest, version.created_at
            )
            await trio.to_thread.run_sync(self._services.open_index, version)
            collection = version.collection
        else:
            collection = parse_collection_ref(str(request.get("collection")), registry.default_entity)
            await trio.to_thread.run_sync(make_collection, registry, collection)
            self._catalog.forget()
        name = request.get("name")
        draft = await self._create(collection, None if name is None else parse_draft(str(name)), base)
        path = self._mountpoint.joinpath(*str(collection).split("/"), STAGING_NAME, draft.name)
        yield {"result": {"path": str(path), "name": draft.name}}

    async def _create(self, collection: CollectionRef, name: str | None, base: Base | None) -> Draft:
        """Make a draft under the name, or under the first free one like ``from-v3`` and ``from-v3-2``."""
        if name is not None:
            return await self._commits.create(collection, name, base)
        stem = "draft" if base is None else f"from-{base.ref.alias}"
        for number in range(1, 10_000):
            try:
                return await self._commits.create(collection, stem if number == 1 else f"{stem}-{number}", base)
            except ExistsError:
                continue
        raise ExistsError(f"{collection} has too many drafts", hint="give the draft a name: --name NAME")

    async def commit(self, request: Message) -> AsyncIterator[Message]:
        """Commit a draft; unless ``wait`` is false, report progress until it is published or has failed."""
        collection = parse_collection_ref(str(request.get("collection")), self._services.registry.default_entity)
        draft = self._commits.find(collection, str(request.get("draft")))
        aliases = request.get("aliases") or []
        if not isinstance(aliases, list):
            raise InvalidInputError("'aliases' is not a list")
        self._describe(draft, request)
        await self._settle(draft)
        job = self._commits.start(draft, draft.name, [parse_alias(str(alias)) for alias in aliases])
        self._kernel.forget_name(self._commits.place(Kind.STAGING, collection), os.fsencode(draft.name))
        if request.get("wait", True):
            async for message in self._watch(job):
                yield message
        else:
            path = self._mountpoint.joinpath(*str(collection).split("/"), COMMIT_NAME, job.name)
            yield {"result": {"committing": str(path)}}

    @staticmethod
    def _describe(draft: Draft, request: Message) -> None:
        if request.get("type") is not None:
            draft.type = parse_type(str(request["type"]), draft.collection.collection)
        if request.get("description") is not None:
            draft.description = str(request["description"])
        if request.get("metadata") is not None:
            draft.metadata = parse_metadata(request["metadata"])

    @staticmethod
    async def _watch(job: Job) -> AsyncIterator[Message]:
        while not job.done.is_set():
            yield {"progress": job.progress.snapshot()}
            with trio.move_on_after(_PROGRESS_INTERVAL):
                await job.done.wait()
        if job.error is not None:
            raise job.error
        if job.result is None:
            raise ArtfsError(
                "the mount is ending: the commit goes on with the next mount", hint="or: artfs commit --resume"
            )
        version = job.result.version
        reference = str(version.collection.at(version_name(version.index)))
        warnings: list[JsonValue] = list(job.result.warnings)
        yield {"result": {"version": reference, "created": job.result.created, "warnings": warnings,
                          "hashed_files": job.result.hashed_files}}  # fmt: skip
