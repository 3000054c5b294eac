"""What a mount process does when its control socket is asked: refresh, stage, commit, record, diff; see `artfs.app.watch_ops`, too."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import trio

from artfs.app.draft_diff import diff
from artfs.app.places import make_collection
from artfs.errors import ArtfsError, ExistsError, InvalidInputError, ReadOnlyError
from artfs.model.metadata import parse_metadata
from artfs.model.names import (
    parse_alias,
    parse_artifact_ref,
    parse_collection,
    parse_collection_ref,
    parse_draft,
    parse_tag,
    parse_type,
    version_name,
)
from artfs.model.runs import parse_full_run
from artfs.staging.base import Base
from artfs.staging.journal import Journal
from artfs.vfs.namespace import COMMIT_NAME, STAGING_NAME, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from artfs.app.control import Message, Operation
    from artfs.app.services import Services
    from artfs.fuse.session import Kernel
    from artfs.model.entry import JsonValue
    from artfs.model.names import CollectionRef
    from artfs.staging.drafts import Draft
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.commits import Commits, Job
    from artfs.vfs.lineage import Lineage

_RECORD_WAIT = 10.0  # seconds that a client waits for the registry to take the uses of versions
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
        lineage: Lineage,
        kernel: Kernel,
        *,
        read_only: bool,
    ) -> None:
        self._services = services
        self._mountpoint = mountpoint
        self._commits = commits
        self._settle = settle
        self._catalog = catalog
        self._lineage = lineage
        self._kernel = kernel
        self._read_only = read_only

    @property
    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "refresh": self.refresh,
            "stage": self.stage,
            "commit": self.commit,
            "record": self.record,
            "diff": partial(diff, self._services, self._commits),
        }

    async def refresh(self, request: Message) -> AsyncGenerator[Message, None]:
        """Forget what the registry said, and what the kernel was told of ``names`` in a ``collection``."""
        self._catalog.forget()
        names = request.get("names")
        if request.get("collection") is not None and isinstance(names, list):
            ref = parse_collection_ref(str(request["collection"]), self._services.registry.default_entity)
            place = self._commits.place(Kind.COLLECTION, ref)
            for name in names:
                self._kernel.forget_name(place, os.fsencode(str(name)))
            self._kernel.forget_attr(place)
        yield {"result": {}}

    async def record(self, _: Message) -> AsyncGenerator[Message, None]:
        """Write down which runs have used which versions so far, and say how many of those uses the registry has not taken."""
        waiting = await self._lineage.flush(_RECORD_WAIT)
        yield {"result": {"waiting": waiting, "reason": self._lineage.away or None}}

    async def stage(self, request: Message) -> AsyncGenerator[Message, None]:
        """Make a draft, from a version (``ref``) or empty (``collection``)."""
        if self._read_only:
            raise ReadOnlyError(f"{self._mountpoint} is mounted read-only", hint="mount it without -o ro")
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
            parse_collection(collection.collection)
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

    async def commit(self, request: Message) -> AsyncGenerator[Message, None]:
        """Commit a draft; unless ``wait`` is false, report progress until it is published or has failed."""
        collection = parse_collection_ref(str(request.get("collection")), self._services.registry.default_entity)
        draft = self._commits.find(collection, str(request.get("draft")))
        journal = self._journal(draft, request)
        await self._settle(draft)
        job = self._commits.start(draft, draft.name, journal)
        self._kernel.forget_name(self._commits.place(Kind.STAGING, collection), os.fsencode(draft.name))
        if request.get("wait", True):
            async for message in self._watch(job):
                yield message
        else:
            path = self._mountpoint.joinpath(*str(collection).split("/"), COMMIT_NAME, job.name)
            yield {"result": {"committing": str(path)}}

    @staticmethod
    def _journal(draft: Draft, request: Message) -> Journal:
        """Return what the request asks for. The draft itself is as it was if the commit fails."""
        kind, text, metadata, run = (request.get(name) for name in ("type", "description", "metadata", "run"))
        ttl = request.get("ttl_seconds")
        if ttl is not None and (not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 1):
            raise InvalidInputError("'ttl_seconds' is not a whole number of seconds, at least one")
        return Journal(
            aliases=tuple(map(parse_alias, _texts(request, "aliases"))),
            tags=tuple(map(parse_tag, _texts(request, "tags"))),
            ttl_seconds=ttl,
            type=None if kind is None else parse_type(str(kind), draft.collection.collection),
            description=None if text is None else str(text),
            metadata=None if metadata is None else parse_metadata(metadata),
            run=None if run is None else str(parse_full_run(str(run))),
        )

    @staticmethod
    async def _watch(job: Job) -> AsyncGenerator[Message, None]:
        while not job.done.is_set():
            yield {"progress": job.progress.snapshot(), "waiting_for": job.waiting_for or None}
            with trio.move_on_after(_PROGRESS_INTERVAL):
                await job.done.wait()
        if job.error is not None:
            raise job.error
        if job.result is None and job.waiting_for:
            raise ArtfsError(f"the commit waits for {job.waiting_for}", hint="see the log of the mount")
        if job.result is None:
            raise ArtfsError(
                "the mount is ending: the commit goes on with the next mount", hint="or: artfs commit --resume"
            )
        version = job.result.version
        reference = str(version.collection.at(version_name(version.index)))
        warnings: list[JsonValue] = list(job.result.warnings)
        yield {"result": {"version": reference, "created": job.result.created, "warnings": warnings,
                          "hashed_files": job.result.hashed_files}}  # fmt: skip


def _texts(request: Message, name: str) -> list[str]:
    found = request.get(name) or []
    if not isinstance(found, list):
        raise InvalidInputError(f"{name!r} is not a list")
    return [str(one) for one in found]
