"""Metadata: what a user says of a version, as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from artfs.model.entry import JsonValue

MAX_KEYS = 100


def parse_metadata(value: object) -> dict[str, JsonValue]:
    """Check metadata: a JSON object of at most 100 top-level keys. NaN becomes null, infinities are refused, as W&B does."""
    if not isinstance(value, dict):
        raise InvalidInputError(f"metadata is a JSON object, not {type(value).__name__}")
    if len(value) > MAX_KEYS:
        raise InvalidInputError(f"metadata has {len(value)} keys: at most {MAX_KEYS} are allowed at the top")
    try:
        return {_key(key): _parse(item, str(key)) for key, item in value.items()}
    except RecursionError as error:
        raise InvalidInputError("metadata is nested too deeply") from error
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can escape and nothing can write
        raise InvalidInputError(f"metadata has {error.object!r}, which is not valid Unicode") from error


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidInputError(f"metadata key {key!r} is not a string")
    key.encode()
    return key


def _parse(value: object, where: str) -> JsonValue:
    match value:
        case None | bool() | int():
            return value
        case str():
            value.encode()
            return value
        case float():
            if math.isinf(value):
                raise InvalidInputError(f"metadata {where!r} is infinite, which JSON cannot hold")
            return None if math.isnan(value) else value
        case dict():
            return {_key(key): _parse(item, where) for key, item in value.items()}
        case list() | tuple():
            return [_parse(item, where) for item in value]
        case _:
            raise InvalidInputError(f"metadata {where!r} is a {type(value).__name__}, which JSON cannot hold")
