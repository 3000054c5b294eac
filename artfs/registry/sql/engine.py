"""Connections to the database of a registry, and the one place where its failures become errors of artfs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from artfs.errors import ArtfsError, InvalidInputError, UnreachableError
from artfs.model.reference import redact, uri_scheme
from artfs.registry.sql.postgres import postgres_engine, postgres_error
from artfs.registry.sql.sqlite import sqlite_engine, sqlite_error
from artfs.sqlite import no_fork, rest_for_forks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


class Database:
    """A database by URL. Thread-safe; several processes and machines may use it at once."""

    def __init__(self, url: str) -> None:
        self.name = redact(url)
        self._dialect = check_url(url)
        self._engine = sqlite_engine(url) if self._dialect == "sqlite" else postgres_engine(url)
        if self._dialect == "sqlite":
            rest_for_forks(self)

    def close(self) -> None:
        """Give back all connections."""
        with self._quiet():
            self.rest()

    def rest(self) -> None:
        """Close the connections; the next transaction opens new ones."""
        self._engine.dispose()

    def _quiet(self) -> contextlib.AbstractContextManager[None]:
        return no_fork() if self._dialect == "sqlite" else contextlib.nullcontext()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and changes nothing."""
        with self._converted(), self._quiet(), self._engine.connect() as connection:
            if self._dialect != "sqlite":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is alone in changing the database; it is undone if an error leaves it."""
        with self._converted(), self._quiet(), self._engine.connect() as connection:
            connection = connection.execution_options(artfs_writing=True)  # noqa: PLW2901 - the same connection
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._error_of(error) from error
        except SQLAlchemyError as error:
            raise UnreachableError(f"the registry {self.name} failed: {error}") from error
        except (UnicodeEncodeError, OverflowError) as error:  # raised by the driver before it asks the database
            raise InvalidInputError(f"the registry {self.name} cannot record this: {error}") from error

    def _error_of(self, error: DBAPIError) -> ArtfsError:
        reason = str(error.orig).partition("\n")[0]
        convert = sqlite_error if self._dialect == "sqlite" else postgres_error
        return convert(self.name, error.orig, reason)


def check_url(url: str) -> str:
    """Return which database a URL means, ``sqlite`` or ``postgresql``; InvalidInputError for any other."""
    scheme = uri_scheme(url)
    if scheme == "postgres":
        scheme = "postgresql"
    if scheme not in {"sqlite", "postgresql"}:
        raise InvalidInputError(
            f"registry {redact(url)!r} is not supported",
            hint="write sqlite:////absolute/path/registry.sqlite, postgresql://user@host/database, or that of a W&B server: https://api.wandb.ai",
        )
    return scheme
