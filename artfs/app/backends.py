"""Which implementation a URL means: of a registry, of a store, of the objects of a scheme. Each is imported when it is first used."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, cast

from artfs.errors import InvalidInputError
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from artfs.cache.index import ManifestIndex
    from artfs.config import Config
    from artfs.model.entry import Entry
    from artfs.registry.port import ManifestFile, NewVersion, Registry, Reservation, Version
    from artfs.staging.drafts import Draft
    from artfs.staging.target import OpenTarget
    from artfs.storage.metrics import Metered, OperationCount
    from artfs.storage.port import BlobStore, Objects, Source
    from artfs.storage.wandb_store import WandbStore
    from artfs.storage.wandb_urls import Upcoming
    from artfs.wandb.session import WandbSession

READ_LIMIT = 256 << 20
"""Bytes that this process reads from all services at once."""


class Backends:
    """The services that the settings name. The objects of a scheme are made once, with retry, limits and counts around them."""

    def __init__(self, config: Config) -> None:
        from artfs.storage.limits import ByteLimit

        self._config = config
        self._lock = threading.Lock()
        self._limit = ByteLimit(READ_LIMIT)
        self._objects: dict[str, Metered] = {}
        self._session: WandbSession | None = None

    def schemes(self) -> Mapping[str, Callable[[], Objects]]:
        """Return what makes the objects of each scheme that references may have, but for ``file``."""
        return {scheme: partial(self.objects, scheme) for scheme in ("s3", "gs", "http", "https")}

    def objects(self, scheme: str) -> Objects:
        """Return the objects of a scheme."""
        from artfs.storage.limits import Limited
        from artfs.storage.metrics import Metered
        from artfs.storage.retry import Retrying

        name = "http" if scheme == "https" else scheme
        with self._lock:
            found = self._objects.get(name)
            if found is None:
                found = self._objects[name] = Metered(Retrying(Limited(self._make(name), self._limit)))
            return found

    def _make(self, scheme: str) -> Objects:
        match scheme:
            case "s3":
                _require("s3", "boto3", "obstore")
                from artfs.storage.s3 import S3Objects

                return S3Objects()
            case "gs":
                _require("gcs", "google.cloud.storage", "obstore")
                from artfs.storage.gcs import GcsObjects

                return GcsObjects()
            case "http":
                _require("http", "requests", "urllib3")
                from artfs.storage.http import HttpObjects

                return HttpObjects(allow_metadata=self._config.metadata_addresses)
        raise InvalidInputError(f"{scheme}:// cannot be read")

    def store(self) -> BlobStore:
        """Open the store. The bytes of versions on a W&B server are there, too."""
        if self._on_wandb:
            from artfs.storage.wandb_store import WandbStore

            return WandbStore(self._wandb(), self.objects("http"))
        url = self._config.store
        scheme = uri_scheme(url)
        if scheme in {"s3", "gs"}:
            from artfs.storage.blobs import ObjectBlobStore

            return ObjectBlobStore(self.objects(scheme), url)
        from artfs.storage.files import open_store

        return open_store(url)

    def open_file(self, store: BlobStore, upcoming: Upcoming) -> Callable[[Entry], Source] | None:
        """Return what opens the files of versions, where blobs are not found by their digests alone."""
        return partial(cast("WandbStore", store).open_entry, upcoming=upcoming) if self._on_wandb else None

    def read_manifest(self, store: BlobStore, manifest: ManifestFile, version_id: str) -> Iterable[bytes]:
        """Yield the bytes of the manifest of a version, not proven yet. NotFoundError."""
        if self._on_wandb:
            yield from cast("WandbStore", store).read_manifest(version_id)
            return
        source = store.open(manifest.digest)
        try:
            offset = 0
            while data := source.read(offset, 1 << 20):
                yield bytes(data)
                offset += len(data)
        finally:
            source.close()

    def open_target(
        self,
        registry: Registry,
        store: BlobStore,
        open_index: Callable[[Version], ManifestIndex],
        on_step: Callable[[str], None],
    ) -> OpenTarget:
        """Return what says where the files and the manifest of a new version go."""
        if not self._on_wandb:
            from artfs.staging.target import StoreTarget

            return lambda *_: StoreTarget(store, on_step)
        from artfs.staging.wandb_target import OtherVersions, WandbTarget

        session = self._wandb()

        def open_one(draft: Draft, new: NewVersion, reservation: Reservation) -> WandbTarget:
            return WandbTarget(session, draft, new, reservation, OtherVersions(registry, open_index), on_step)

        return open_one

    @property
    def _on_wandb(self) -> bool:
        return uri_scheme(self._config.registry) in {"http", "https"}

    def _wandb(self) -> WandbSession:
        """Return the session of the W&B server, which registry and store share."""
        _require("http", "requests", "urllib3")
        from artfs.wandb.session import WandbSession

        with self._lock:
            if self._session is None:
                self._session = WandbSession(self._config.registry)
            return self._session

    def registry(self) -> Registry:
        """Open the registry. One that is elsewhere is reached when it is first asked, and remembered for when it is away."""
        from artfs.registry.sql.registry import open_registry

        url, entity = self._config.registry, self._config.entity
        if uri_scheme(url) == "sqlite":
            return open_registry(url, entity)
        from artfs.model.digest import Digest
        from artfs.registry.memory import Memory
        from artfs.registry.remembered import RememberedRegistry

        path = self._config.cache_dir / "seen" / f"{Digest.of(url.encode()).hex[:16]}.sqlite"
        memory = Memory(path)
        if self._on_wandb:
            from artfs.registry.wandb.registry import WandbRegistry

            return RememberedRegistry(lambda: WandbRegistry(self._wandb(), entity or None), memory, entity)
        from artfs.registry.sql.engine import check_url

        check_url(url)
        return RememberedRegistry(lambda: open_registry(url, entity), memory, entity)

    def counts(self) -> Mapping[str, Mapping[str, OperationCount]]:
        """Return what each scheme was asked for."""
        with self._lock:
            return {scheme: objects.counts() for scheme, objects in self._objects.items()}

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            for objects in self._objects.values():
                objects.close()
            self._objects.clear()
            session, self._session = self._session, None
        if session is not None:
            session.close()


def _require(extra: str, *modules: str) -> None:
    """InvalidInputError if a library is missing that an extra of the package brings."""
    import importlib

    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InvalidInputError(
                f"the Python package {name.partition('.')[0]} is not installed", hint=f"pip install 'artfs[{extra}]'"
            ) from error
