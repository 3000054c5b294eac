"""Connections: pages by relay cursors, filters and order. What can be asked for is what the SDK asks for, and a little more.

A cursor is a position (inferred: the real ones are opaque), so that what comes in between can move an item.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.wandb_server.models import RefusalError
from tests.wandb_server.resolvers import Context, snake


def connection(
    context: Context,
    items: Iterable[Any],
    after: str | None = None,
    first: int | None = None,
    edge: Callable[[Any], dict[str, Any]] = lambda item: {"node": item},
    **more,
) -> dict[str, Any]:
    """Return the page after a cursor; ``first`` is cut down to what the server gives at most."""
    found = items if isinstance(items, list) else list(items)
    start = _position(after)
    if first is not None and first < 0:
        raise RefusalError(f"first must not be negative: {first}")
    wanted = context.default_page_size if first is None else min(first, context.max_page_size)
    end = len(found) if wanted is None else min(len(found), start + wanted)
    edges = []
    for at in range(start, end):
        one = edge(found[at])
        one["cursor"] = _cursor(at + 1)
        edges.append(one)
    page = {
        "endCursor": edges[-1]["cursor"] if edges else None,
        "startCursor": edges[0]["cursor"] if edges else None,
        "hasNextPage": end < len(found),
        "hasPreviousPage": start > 0,
    }
    return {"edges": edges, "pageInfo": page, "totalCount": len(found), **more}


def _cursor(position: int) -> str:
    return base64.b64encode(f"cursor:{position}".encode()).decode()


def _position(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        return int(base64.b64decode(cursor, validate=True).decode().removeprefix("cursor:"))
    except (ValueError, binascii.Error) as error:
        raise RefusalError(f"invalid cursor: {cursor!r}") from error


def select(items: Iterable[Any], filters: str | None, order: str | None, value: Callable[[Any, str], Any]) -> list[Any]:
    """Return the items that a filter (JSON, as MongoDB has it) lets through, in order.

    ``value(item, name)`` returns what an item has in a field, whose name comes in snake case.
    """
    found = list(items)
    if filters:
        wanted = json.loads(filters)
        found = [item for item in found if _matches(item, wanted, value)]
    if order:
        name = snake(order.lstrip("+-"))
        backwards = order.startswith("-")
        if backwards:
            found.reverse()  # of what was made in the same second, the newest comes first
        found.sort(key=lambda item: _key(value(item, name)), reverse=backwards)
    return found


def _key(found):
    return (found is not None, found)


def _matches(item, wanted, value) -> bool:
    for name, condition in wanted.items():
        if name == "$and":
            fits = all(_matches(item, part, value) for part in condition)
        elif name == "$or":
            fits = any(_matches(item, part, value) for part in condition)
        elif name == "$not":
            fits = not _matches(item, condition, value)
        else:
            fits = _compares(value(item, snake(name)), condition)
        if not fits:
            return False
    return True


def _compares(found, condition) -> bool:
    if not isinstance(condition, dict):
        return condition in found if isinstance(found, list | set) else found == condition
    return all(_operator(operator, found, operand) for operator, operand in condition.items())


def _operator(operator, found, operand) -> bool:
    match operator:
        case "$eq":
            return found == operand
        case "$ne":
            return found != operand
        case "$in":
            values = found if isinstance(found, list | set) else [found]
            return any(value in operand for value in values)
        case "$gt":
            return found > operand
        case "$gte":
            return found >= operand
        case "$lt":
            return found < operand
        case "$lte":
            return found <= operand
        case "$regex":
            return re.search(operand, str(found or "")) is not None
        case "$contains":
            return operand in (found or "")
    raise RefusalError(f"unknown filter operator {operator}")
