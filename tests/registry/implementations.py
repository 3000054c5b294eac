"""The implementations of the port that the contract suite runs on: one entry of `IMPLEMENTATIONS` for each."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select, update

from artfs.model.names import CollectionRef
from artfs.registry.port import CollectionKind, Registry
from artfs.registry.sql.registry import open_registry
from artfs.registry.sql.schema import collections, memberships
from tests.registry.fake import FakeData, FakeRegistry


@dataclass(frozen=True)
class Implementation:
    """What the suite needs of one.

    ``open`` takes the name of some data, which are made when they are named first, and the default entity. Opening the same
    name twice gives two clients of one registry. ``make_portfolio`` does what the port cannot do yet: make a portfolio of a
    type with links to versions, by id, at v0, v1, ...
    """

    open: Callable[[str, str], Registry]
    make_portfolio: Callable[[Registry, CollectionRef, str, Sequence[str]], None]


def workspace():
    """Return a temporary directory as a context, in memory where there is one: the contract does not ask for a disk."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="artfs-registry-", dir=memory if memory.is_dir() else None)


def fake(_: Path) -> Implementation:
    data: dict[str, FakeData] = {}
    return Implementation(
        lambda name, entity: FakeRegistry(entity, data.setdefault(name, FakeData())), FakeRegistry.make_portfolio
    )


def sqlite(directory: Path) -> Implementation:
    return Implementation(
        lambda name, entity: open_registry(f"sqlite:///{directory}/{name}.sqlite", entity), _make_sql_portfolio
    )


def _make_sql_portfolio(registry, collection, kind, versions):
    registry.create_collection(collection)
    with registry._database.writing() as connection:
        (row,) = connection.scalars(select(collections.c.id).where(collections.c.name == collection.collection))
        values = {"kind": CollectionKind.PORTFOLIO.value, "type": kind}
        connection.execute(update(collections).where(collections.c.id == row).values(values))
        for index, version in enumerate(versions):
            member = {"collection_id": row, "version_id": version, "version_index": index, "is_source": 0}
            connection.execute(insert(memberships).values(member))


IMPLEMENTATIONS = {"fake": fake, "sqlite": sqlite}
