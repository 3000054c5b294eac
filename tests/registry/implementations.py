"""The implementations of the port that the contract suite runs on: one entry of `IMPLEMENTATIONS` for each."""

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from artfs.registry.memory import Memory
from artfs.registry.port import Registry
from artfs.registry.remembered import RememberedRegistry
from artfs.registry.sql.registry import open_registry
from artfs.registry.sql.schema import about, metadata
from tests.registry.fake import FakeRegistry
from tests.registry.fake_data import FakeData
from tests.servers.postgres import Postgres


class Databases:
    """Registries in databases of a PostgreSQL server, each as good as new: making one takes longer than most tests."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._free: list[str] = []

    def take(self) -> str:
        """Return the URL of a registry that nobody has used."""
        if self._free:
            return self._free.pop()
        url = self._server.database()
        open_registry(url, "me").close()
        return url

    def give_back(self, url: str) -> None:
        """Empty a registry that nobody uses any more; the next one there has an id of its own."""
        with self._server.connect(url.rpartition("/")[2]) as connection, connection.transaction():
            for table in reversed(metadata.sorted_tables):
                if table is not about:
                    connection.execute(f"DELETE FROM {table.name}")
            connection.execute("UPDATE about SET registry_id = %s", [uuid.uuid4().hex])
        self._free.append(url)


FindDatabases = Callable[[], Databases]
"""Returns the databases of PostgreSQL, whose server starts when they are first asked for."""


@dataclass(frozen=True)
class Implementation:
    """What the suite needs of one.

    ``open`` takes the name of some data, which are made when they are named first, and the default entity. Opening the same
    name twice gives two clients of one registry.
    """

    open: Callable[[str, str], Registry]


def workspace():
    """Return a temporary directory as a context, in memory where there is one: the contract does not ask for a disk."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="artfs-registry-", dir=memory if memory.is_dir() else None)


@contextlib.contextmanager
def fake(_: FindDatabases) -> Iterator[Implementation]:
    data: dict[str, FakeData] = {}
    yield Implementation(lambda name, entity: FakeRegistry(entity, data.setdefault(name, FakeData())))


@contextlib.contextmanager
def sqlite(_: FindDatabases) -> Iterator[Implementation]:
    with workspace() as directory:
        yield Implementation(lambda name, entity: open_registry(f"sqlite:///{directory}/{name}.sqlite", entity))


@contextlib.contextmanager
def postgresql(find_databases: FindDatabases) -> Iterator[Implementation]:
    databases = find_databases()
    urls: dict[str, str] = {}

    def open_one(name, entity):
        if name not in urls:
            urls[name] = databases.take()
        return open_registry(urls[name], entity)

    yield Implementation(open_one)
    for url in urls.values():
        databases.give_back(url)


@contextlib.contextmanager
def remembered(_: FindDatabases) -> Iterator[Implementation]:
    """A registry that may be away, over SQLite. The clients of one registry share their memory, as those of one machine do."""
    with workspace() as directory:

        def open_one(name, entity):
            memory = Memory(Path(directory) / "seen" / f"{name}.sqlite")
            return RememberedRegistry(
                lambda: open_registry(f"sqlite:///{directory}/{name}.sqlite", entity), memory, entity
            )

        yield Implementation(open_one)


IMPLEMENTATIONS: dict[str, Callable[[FindDatabases], AbstractContextManager[Implementation]]] = {
    "fake": fake,
    "sqlite": sqlite,
    "postgresql": postgresql,
    "remembered": remembered,
}
