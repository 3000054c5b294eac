"""The implementations of the port that the contract suite runs on: one entry of `IMPLEMENTATIONS` for each."""

import contextlib
import functools
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from artfs.errors import ConflictError
from artfs.model.digest import Algorithm
from artfs.registry.memory import Memory
from artfs.registry.port import ManifestFile, Registry
from artfs.registry.remembered import RememberedRegistry
from artfs.registry.sql.registry import open_registry
from artfs.registry.sql.schema import about, metadata
from artfs.registry.wandb.registry import WandbRegistry
from artfs.storage.wandb_upload import NewArtifact, WandbUpload
from artfs.wandb.session import WandbSession
from tests.registry.fake import FakeRegistry
from tests.registry.fake_data import FakeData
from tests.registry.making import MANIFESTS
from tests.servers.postgres import Postgres
from tests.wandb_server.models import clock
from tests.wandb_server.server import WandbServer

KEY = "local-" + "5" * 40


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
    name twice gives two clients of one registry. The rest is what the port leaves open: ``entities`` are there before anything
    was made, besides the default one; ``algorithm`` is one of its digests.
    """

    open: Callable[[str, str], Registry]
    entities: tuple[str, ...] = ()
    algorithm: Algorithm = Algorithm.XXH128
    gives_index_at_reservation: bool = True
    counts_versions: bool = True

    def reserved(self, index: int) -> int:
        """Return what a reservation says of the index that its version will have."""
        return index if self.gives_index_at_reservation else -1

    def counted(self, number: int) -> int | None:
        """Return what a list of collections says of a number of versions."""
        return number if self.counts_versions else None


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


@contextlib.contextmanager
def wandb(_: FindDatabases) -> Iterator[Implementation]:
    """Doubles of a W&B server, on which somebody has made the entities of the tests."""
    servers: dict[str, WandbServer] = {}
    with workspace() as directory, contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        def open_one(name, entity):
            if name not in servers:
                server = servers[name] = stack.enter_context(WandbServer(Path(directory) / name))
                server.key = KEY
                server.state.verify_digests = False  # the digests of the tests are names
                server.state.dedup = "latest"  # as the SDK says of the server
                for variable, value in server.environment(directory).items():
                    patch.setenv(variable, value)
                server.team("you")
                stack.callback(server.check)
            return ContractRegistry(WandbSession(servers[name].url), entity)

        patch.setattr(clock, "hurries", True)  # whole seconds are longer than a test
        yield Implementation(open_one, ("you",), Algorithm.MD5, gives_index_at_reservation=False, counts_versions=False)


class ContractRegistry(WandbRegistry):
    """A registry to which the tests commit. The server wants the manifest itself before the version is published."""

    @functools.wraps(WandbRegistry.publish)
    def publish(self, client_id, manifest, *more, **named):
        made = self._of_commit(client_id)
        if made is not None and made["state"] == "PENDING":
            project = self._artifact(made["id"])["artifactSequence"]["project"]
            try:
                send_manifest(
                    self._session, NewArtifact(made["id"], project["entity"]["name"], project["name"]), manifest
                )
            except ConflictError:  # another thread has published this commit
                assert self._of_commit(client_id)["state"] == "COMMITTED"
        return super().publish(client_id, manifest, *more, **named)


class Forgetful:
    """The memory of an upload that is never resumed."""

    def get(self, _):
        return None

    def set(self, _, __):
        pass

    def clear(self):
        pass


def send_manifest(session: WandbSession, artifact: NewArtifact, manifest: ManifestFile) -> None:
    """Send what `making.manifest` has made."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(MANIFESTS[manifest.digest])
        file.flush()
        WandbUpload(session, artifact, Forgetful()).send_manifest(Path(file.name), manifest.size, manifest.digest)


IMPLEMENTATIONS: dict[str, Callable[[FindDatabases], AbstractContextManager[Implementation]]] = {
    "fake": fake,
    "sqlite": sqlite,
    "postgresql": postgresql,
    "remembered": remembered,
    "wandb": wandb,
}
