"""Which implementation a URL means: of a registry, of a store, of the objects of a scheme. Each is imported when it is first used."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, cast

from artfs.errors import InvalidInputError
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from artfs.cache.index import ManifestIndex
    from artfs.config import Config
    from artfs.model.entry import Entry, Packed
    from artfs.registry.port import ManifestFile, NewVersion, Registry, Reservation, Version
    from artfs.registry.sql.sweeping import SqlSweepBook
    from artfs.staging.drafts import Draft
    from artfs.staging.packing import EarlierVersions
    from artfs.staging.target import OpenTarget, StoreTarget
    from artfs.storage.files import FileSource
    from artfs.storage.holdings import Holdings
    from artfs.storage.metrics import Metered, OperationCount
    from artfs.storage.port import BlobStore, Objects, Source
    from artfs.storage.troubles import Trouble, Troubles
    from artfs.storage.wandb_store import WandbStore
    from artfs.storage.wandb_urls import Upcoming
    from artfs.wandb.session import WandbSession
    from artfs.wandb.upload import Uploads

READ_LIMIT = 256 << 20
"""Bytes that this process reads from all services at once."""


class Backends:
    """The services that the settings name.

    The objects of a scheme are made once, with second requests, limits, retry and counts around them.
    """

    def __init__(self, config: Config) -> None:
        from artfs.storage.limits import ByteLimit

        self._config = config
        self._lock = threading.Lock()
        self._limit = ByteLimit(READ_LIMIT)
        self._objects: dict[str, Metered] = {}
        self._made: list[Objects] = []
        self._troubles: list[Troubles] = []
        self._session: WandbSession | None = None
        self._claimed: set[str] = set()

    def schemes(self) -> Mapping[str, Callable[[], Objects]]:
        """Return what makes the objects of each scheme that references may have, but for ``file``."""
        return {scheme: partial(self.objects, scheme) for scheme in ("s3", "gs", "http", "https")}

    def objects(self, scheme: str) -> Objects:
        """Return the objects of a scheme."""
        from artfs.storage.hedge import Hedged
        from artfs.storage.limits import Limited
        from artfs.storage.metrics import Metered
        from artfs.storage.retry import Retrying

        name = "http" if scheme == "https" else scheme
        with self._lock:
            found = self._objects.get(name)
            if found is None and self._config.offline:
                from artfs.storage.offline import OfflineObjects

                found = self._objects[name] = Metered(OfflineObjects())
            if found is None:
                made = self._make(name)
                self._made.append(made)
                hedged = Hedged(made)
                tried = Retrying(Limited(hedged, self._limit), self._config.retry_seconds)
                self._troubles.append(tried.troubles)
                found = self._objects[name] = Metered(tried, {"hedge": hedged.second})
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

    @property
    def address(self) -> str:
        """Where the store is. That of a W&B server has the address of the server."""
        return self._config.registry if self._on_wandb else self._config.store

    def store(self) -> BlobStore:
        """Open the store. The bytes of versions on a W&B server are there, too."""
        if self._asks_wandb:
            from artfs.storage.wandb_store import WandbStore

            return WandbStore(self._wandb(), self.objects("http"))
        url = self._config.store
        scheme = uri_scheme(url)
        if scheme in {"s3", "gs"} or self._on_wandb:
            from artfs.storage.blobs import ObjectBlobStore
            from artfs.storage.bucket_uris import check_root

            if not self._on_wandb:
                check_root(url)
            return ObjectBlobStore(self.objects("http" if self._on_wandb else str(scheme)), url)
        from artfs.storage.files import open_store

        return open_store(url)

    def open_file(self, store: BlobStore, upcoming: Upcoming) -> Callable[[Entry], Source] | None:
        """Return what opens the files of versions, where blobs are not found by their digests alone."""
        return partial(cast("WandbStore", store).open_entry, upcoming=upcoming) if self._asks_wandb else None

    @property
    def open_kept(self) -> Callable[[Entry], FileSource | None] | None:
        """What opens the bytes that another program may have of an entry on this machine, not proven; None if there is no such program."""
        if not self._on_wandb:
            return None
        from artfs.storage.wandb_elsewhere import in_sdk_cache

        return in_sdk_cache

    def read_manifest(self, store: BlobStore, manifest: ManifestFile, version_id: str) -> Iterable[bytes]:
        """Yield the bytes of the manifest of a version, not proven yet. NotFoundError."""
        if self._asks_wandb:
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
        keep: Callable[[Packed, bytes], None],
    ) -> OpenTarget:
        """Return what says where the files and the manifest of a new version go. ``keep`` is given what small files were packed into."""
        if not self._asks_wandb:
            from artfs.staging.packing import EarlierVersions

            return partial(self._store_target, registry, store, on_step, EarlierVersions(registry, open_index), keep)
        from artfs.staging.wandb_target import OtherVersions, WandbTarget

        session = self._wandb()

        def open_one(draft: Draft, new: NewVersion, reservation: Reservation) -> WandbTarget:
            return WandbTarget(session, draft, new, reservation, OtherVersions(registry, open_index), on_step)

        return open_one

    def _store_target(
        self,
        registry: Registry,
        store: BlobStore,
        on_step: Callable[[str], None],
        earlier: EarlierVersions,
        keep: Callable[[Packed, bytes], None],
        draft: Draft,
        *_: object,
    ) -> StoreTarget:
        from artfs.staging.target import StoreTarget
        from artfs.storage.files_holdings import FileHoldings

        holdings = self.holdings()
        if registry.id not in self._claimed:
            holdings.claim(registry.id)
            self._claimed.add(registry.id)
        hold = holdings.holds.of_draft(draft.directory) if isinstance(holdings, FileHoldings) else None
        return StoreTarget(store, on_step, hold, earlier, keep)

    def holdings(self) -> Holdings:
        """Return what is in the store, to be looked through and removed. InvalidInputError for a W&B server."""
        if self._on_wandb:
            raise InvalidInputError(
                "what the store of a W&B server holds is the server's own affair", hint="it collects garbage itself"
            )
        from artfs.storage.holdings import ObjectHoldings

        url = self._config.store
        scheme = uri_scheme(url)
        if scheme in {"s3", "gs"}:
            from artfs.storage.blobs import ObjectBlobStore
            from artfs.storage.bucket_uris import check_root

            check_root(url)
            objects = self.objects(scheme)
            return ObjectHoldings(objects, ObjectBlobStore(objects, url), url)
        from artfs.storage.files import FilesStore, store_path
        from artfs.storage.files_holdings import FileHoldings

        return FileHoldings(FilesStore(store_path(url)), store_path(url))

    def sweep_book(self) -> SqlSweepBook:
        """Open what the registry knows of removals from the store. InvalidInputError for a W&B server."""
        if self._on_wandb:
            raise InvalidInputError(
                "the registry is a W&B server, which collects garbage itself",
                hint="delete versions with artfs rm; the server removes what nobody needs",
            )
        if self._config.offline:
            raise InvalidInputError("the registry is not asked offline", hint="leave --offline out")
        from artfs.registry.sql.sweeping import SqlSweepBook

        return SqlSweepBook(self._config.registry)

    @property
    def _on_wandb(self) -> bool:
        return uri_scheme(self._config.registry) in {"http", "https"}

    @property
    def _asks_wandb(self) -> bool:
        """Whether a W&B server is asked for everything; offline, nobody is, and what is not here is refused as that of any store."""
        return self._on_wandb and not self._config.offline

    def _wandb(self) -> WandbSession:
        """Return the session of the W&B server, which registry and store share."""
        _require("http", "requests", "urllib3")
        from artfs.wandb.session import WandbSession

        with self._lock:
            if self._session is None:
                self._session = WandbSession(self._config.registry, retry_seconds=self._config.retry_seconds)
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
        if self._config.offline:
            from artfs.registry.offline import OfflineRegistry

            return OfflineRegistry(memory, entity)
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

    def troubles(self) -> Sequence[Trouble]:
        """Return the services that do not answer now."""
        with self._lock:
            return [trouble for troubles in self._troubles for trouble in troubles.now()]

    def metered(self) -> Mapping[str, Metered]:
        """Return the objects of each scheme that was used, which say what they were asked and are being asked."""
        with self._lock:
            return dict(self._objects)

    @property
    def uploads(self) -> Uploads | None:
        """What was sent to a W&B server; None if there is none."""
        with self._lock:
            return None if self._session is None else self._session.uploads

    def renew(self) -> None:
        """Forget the credentials of every service: they are read again by the next request. Requests under way end as they would."""
        with self._lock:
            made, session = list(self._made), self._session
        for objects in made:
            objects.close()  # the session of the service: it is opened again when it is used again
        if session is not None:
            session.forget_credentials()

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            for objects in self._objects.values():
                objects.close()
            self._objects.clear()
            self._made.clear()
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
