"""Metadata: what a user says of a version, as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from artfs.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.model.entry import JsonValue

MAX_KEYS = 100
_MAX_BITS = 14_000  # of a number: Python refuses to write or read more than 4300 digits


def parse_metadata(value: object) -> dict[str, JsonValue]:
    """Check metadata: a JSON object of at most 100 top-level keys. NaN becomes null, infinities are refused, as W&B does."""
    found = parse_values(value, "metadata")
    if len(found) > MAX_KEYS:
        raise InvalidInputError(f"metadata has {len(found)} keys: at most {MAX_KEYS} are allowed at the top")
    return found


def parse_values(value: object, what: str) -> dict[str, JsonValue]:
    """Check a JSON object of any size, which messages call ``what``. NaN becomes null, infinities are refused."""
    if not isinstance(value, dict):
        raise InvalidInputError(f"{what} is a JSON object, not {type(value).__name__}")
    try:
        return {_key(key, what): _parse(item, f"{what} {str(key)!r}") for key, item in value.items()}
    except RecursionError as error:
        raise InvalidInputError(f"{what} is nested too deeply") from error
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can escape and nothing can write
        raise InvalidInputError(f"{what} has {error.object!r}, which is not valid Unicode") from error


def merge_metadata(
    seen: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue], found: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return what metadata become when somebody who has ``seen`` some wants others, and ``found`` are there by now.

    See `merge_values`. More than `MAX_KEYS` together are InvalidInputError.
    """
    merged = merge_values(seen, wanted, found, "metadata", "version")
    if len(merged) > MAX_KEYS:
        raise InvalidInputError(f"metadata would have {len(merged)} keys: at most {MAX_KEYS} are allowed at the top")
    return merged


def merge_values(
    seen: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue], found: Mapping[str, JsonValue], what: str, of: str
) -> dict[str, JsonValue]:
    """Return what values become when somebody who has ``seen`` some wants others, and ``found`` are there by now.

    Each top-level key that was changed, added or removed is taken over; the other keys stay as found. ConflictError names a key
    that somebody else has changed meanwhile to something else: a key of ``what`` (metadata) ``of`` something (a version).
    """
    merged = dict(found)
    for key in dict.fromkeys((*seen, *wanted)):
        before, after, there = (_member(values, key) for values in (seen, wanted, found))
        if is_same(before, after) or is_same(there, after):
            continue
        if not is_same(there, before):
            raise ConflictError(
                f"{what} {key!r} was changed by somebody else meanwhile",
                hint=f"look at the {of} again, then change it",
            )
        if key in wanted:
            merged[key] = wanted[key]
        else:
            del merged[key]
    return merged


def _member(values: Mapping[str, JsonValue], key: str) -> tuple[JsonValue, ...]:
    """Return a member, as what can also be missing."""
    return (values[key],) if key in values else ()


def is_same(one: object, other: object) -> bool:
    """Whether both are the same JSON: 1 and true are not, though Python calls them equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"{what}: the key {key!r} is not a string")
    key.encode()
    return key


def _parse(value: object, where: str) -> JsonValue:
    match value:
        case None | bool():
            return value
        case int():
            if value.bit_length() > _MAX_BITS:
                raise InvalidInputError(f"{where} has thousands of digits, which nothing can read again")
            return value
        case str():
            value.encode()
            return value
        case float():
            if math.isinf(value):
                raise InvalidInputError(f"{where} is infinite, which JSON cannot hold")
            return None if math.isnan(value) else value
        case dict():
            return {_key(key, where): _parse(item, where) for key, item in value.items()}
        case list() | tuple():
            return [_parse(item, where) for item in value]
        case _:
            raise InvalidInputError(f"{where} is of type {type(value).__name__!r}, which JSON cannot hold")
