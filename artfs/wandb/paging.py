"""Relay connections, page by page: a page is asked for when the one before it is used up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artfs.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from artfs.wandb.operation import Operation
    from artfs.wandb.session import WandbSession

PAGE = 100
MOST_PAGES = 20_000


def edges(
    session: WandbSession,
    operation: Operation,
    variables: Mapping[str, Any],
    path: Sequence[str],
    *,
    page_size: int = PAGE,
    most_pages: int = MOST_PAGES,
) -> Iterator[dict[str, Any]]:
    """Yield the edges of the connection at ``path`` in the answers; those that are null are left out.

    The operation takes ``$cursor`` and ``$perPage``, and asks for ``pageInfo{endCursor hasNextPage}``. NotFoundError if something on the
    path is null; InvalidInputError if a reply has no such connection, gives a cursor twice, or goes on after ``most_pages``.
    """
    name = f"{session.base}: {operation.name}"
    cursor, seen = None, set[str]()
    for _ in range(most_pages):
        data = session.ask(operation, {**variables, "cursor": cursor, "perPage": page_size})
        connection = _at(data, path, name)
        match connection:
            case {"edges": list(found), "pageInfo": {"hasNextPage": bool(goes_on), **rest}}:
                for edge in found:
                    if isinstance(edge, dict):
                        yield edge
            case _:
                raise InvalidInputError(f"{name}: the reply has no list at {'.'.join(path)}")
        if not goes_on:
            return
        cursor = rest.get("endCursor")
        if not isinstance(cursor, str) or not cursor or cursor in seen:
            raise InvalidInputError(f"{name}: the list at {'.'.join(path)} goes on with a cursor that leads nowhere")
        seen.add(cursor)
    raise InvalidInputError(f"{name}: the list at {'.'.join(path)} has more than {most_pages} pages")


def pages(
    session: WandbSession,
    operation: Operation,
    variables: Mapping[str, Any],
    path: Sequence[str],
    *,
    page_size: int = PAGE,
    most_pages: int = MOST_PAGES,
) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a connection. See `edges`."""
    for edge in edges(session, operation, variables, path, page_size=page_size, most_pages=most_pages):
        if isinstance(node := edge.get("node"), dict):
            yield node


def _at(data: dict[str, Any], path: Sequence[str], name: str) -> dict[str, Any]:
    found: Any = data
    for number, step in enumerate(path):
        if not isinstance(found, dict) or step not in found:
            raise InvalidInputError(f"{name}: the reply has no {'.'.join(path[: number + 1])}")
        found = found[step]
        if found is None:
            raise NotFoundError(f"{name}: {'.'.join(path[: number + 1])} is not there")
    return found if isinstance(found, dict) else {}
