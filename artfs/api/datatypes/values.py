"""What data types are made of: the objects inside of one, and what the SDK changes in them while it writes them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from wandb.data_types import Media, PartitionedTable, Table, WBValue
from wandb.sdk.data_types import _dtypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NOT_INSIDE = {"_artifact_source", "_artifact_target", "_run", "_run_target_for_increments", "_loaded_part_entries"}
_OF_INCREMENTS = ("_increment_num", "_previous_increments_paths")

type_map = WBValue.type_mapping()
"""The classes by the type that a JSON file names. Made at import, under its lock: the SDK makes it when it is first used, and two threads
that do so at once see a part of it."""


def inside(obj: WBValue) -> Iterator[WBValue | _dtypes.Type]:
    """Yield an object and everything that its JSON is made of: media in the cells of a table, masks of an image, types of columns."""
    waiting: list[Any] = [obj]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, (list, tuple)):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, (WBValue, _dtypes.Type)) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting.extend(value for key, value in vars(one).items() if key not in _NOT_INSIDE)


def origin(value: object) -> tuple[str, Any, str] | None:
    """Return the local path of a media file, the artifact that it was downloaded from, and its path in that; None for any other value."""
    if not isinstance(value, Media) or value._artifact_source is None or not value._path:
        return None
    if Media.path_is_reference(value._path):
        return None
    artifact = value._artifact_source.artifact
    name = artifact._local_path_to_name(value._path)
    return None if name is None else (value._path, artifact, name)


def parts(obj: object) -> list[Any]:
    """Return the parts of a table that was loaded from an artifact where it has several: each has an ``entry``, and `get_part`."""
    return list(obj._loaded_part_entries.values()) if isinstance(obj, PartitionedTable) else []


@contextlib.contextmanager
def unchanged(values: Iterable[object]) -> Iterator[None]:
    """Give tables back what the SDK changes in them when it writes them: the types of columns of arrays, the count of increments.

    Without that, a table that was added once refuses rows which it accepted before.
    """
    tables: list[tuple[Table, dict[str, Any], dict[Any, Any]]] = []
    arrays: list[tuple[_dtypes.NDArrayType, dict[str, str] | None]] = []
    for value in values:
        if isinstance(value, Table):
            kept = {name: getattr(value, name) for name in _OF_INCREMENTS if hasattr(value, name)}
            tables.append((value, kept, dict(value._column_types.params["type_map"])))
        elif isinstance(value, _dtypes.NDArrayType):
            arrays.append((value, value._serialization_path))
    try:
        yield
    finally:
        for table, kept, types in tables:
            vars(table).update(kept)
            table._column_types.params["type_map"].update(types)
        for array, path in arrays:
            array._serialization_path = path
