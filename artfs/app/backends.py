"""Which implementation a URL means: of a registry, of a store, of the objects of a scheme. Each is imported when it is first used."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artfs.config import Config
    from artfs.registry.port import Registry
    from artfs.storage.metrics import Metered, OperationCount
    from artfs.storage.port import BlobStore, Objects

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
        """Open the store."""
        url = self._config.store
        scheme = uri_scheme(url)
        if scheme in {"s3", "gs"}:
            from artfs.storage.blobs import ObjectBlobStore

            return ObjectBlobStore(self.objects(scheme), url)
        from artfs.storage.files import open_store

        return open_store(url)

    def registry(self) -> Registry:
        """Open the registry. One that is elsewhere is reached when it is first asked, and remembered for when it is away."""
        from artfs.registry.sql.registry import open_registry

        url, entity = self._config.registry, self._config.entity
        if uri_scheme(url) == "sqlite":
            return open_registry(url, entity)
        from artfs.model.digest import Digest
        from artfs.registry.remembered import Memory, RememberedRegistry
        from artfs.registry.sql.engine import check_url

        check_url(url)
        path = self._config.cache_dir / "seen" / f"{Digest.of(url.encode()).hex[:16]}.sqlite"
        return RememberedRegistry(lambda: open_registry(url, entity), Memory(path), entity)

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
