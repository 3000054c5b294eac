"""Extended attributes: what a version, a file, a draft and a commit say of themselves under ``user.artfs.``.

Text is given as it is, everything else as JSON; what is not known is not there. ``description`` and ``metadata`` of a
version may be set, which changes them in the registry; ``type``, ``description`` and ``metadata`` of a draft are what
its commit will record.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError, NotSupportedError, ReadOnlyError
from artfs.model.metadata import parse_metadata
from artfs.model.names import parse_type
from artfs.model.secrets import redact_text
from artfs.registry.summary import version_summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.content.pipeline import Pipeline
    from artfs.model.entry import Entry, JsonValue
    from artfs.model.names import ArtifactRef
    from artfs.registry.port import Registry
    from artfs.staging.drafts import Draft
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.commits import Commits

PREFIX = b"user.artfs."

_OF_VERSION = (
    "id", "uri", "type", "digest", "state", "size", "file_count", "description", "metadata", "aliases", "version", "source_version",
    "commit_hash", "created_at", "updated_at", "logged_by", "used_by", "tags",
)  # fmt: skip
_SETTABLE_OF_VERSION = {"description", "metadata"}
_SETTABLE_OF_DRAFT = {"type", "description", "metadata"}


def attribute_name(name: bytes) -> str:
    """Return the name after the prefix; NotSupportedError for every other attribute, which makes tools stop asking."""
    if not name.startswith(PREFIX):
        raise NotSupportedError(f"extended attribute {name!r} is not kept here")
    return name[len(PREFIX) :].decode(errors="replace")


def encode_names(values: Mapping[str, bytes]) -> list[bytes]:
    """Return the full names of attributes."""
    return [PREFIX + name.encode() for name in values]


async def of_version(ref: ArtifactRef, catalog: Catalog) -> dict[str, bytes]:
    """Return the attributes of a version."""
    version = await catalog.version(ref)
    summary = version_summary(version, *await catalog.lineage(version.id))
    return _encode({name: summary[name] for name in _OF_VERSION})


async def of_entry(entry: Entry, pipeline: Pipeline) -> dict[str, bytes]:
    """Return the attributes of a file of a version: what the manifest says, how much is on this machine, and how far it is proven."""
    cached, verified = await pipeline.state(entry)
    return _encode(
        {
            "digest": entry.digest,
            "size": entry.size,
            "ref": None if entry.ref is None else redact_text(entry.ref),  # a query may be a signature
            "cached": cached,
            "verified": verified,
        }
    )


def of_draft(draft: Draft, commits: Commits) -> dict[str, bytes]:
    """Return the attributes of a draft, and of its commit if one is under way."""
    values: dict[str, JsonValue] = {
        "type": draft.type,
        "description": draft.description,
        "metadata": dict(draft.metadata) or None,
        "error": draft.error,
    }
    job = commits.job(draft)
    if job is not None:
        values["state"] = "PENDING"
        values["progress"] = job.progress.snapshot() | {"waiting_for": job.waiting_for or None}
    return _encode(values)


async def set_of_version(
    ref: ArtifactRef, name: str, value: bytes | None, registry: Registry, catalog: Catalog
) -> None:
    """Change an attribute of a version in the registry; None removes it. ReadOnlyError for those that never change."""
    if name not in _SETTABLE_OF_VERSION:
        raise ReadOnlyError(f"user.artfs.{name} of a version never changes")
    try:
        if name == "description":
            await catalog.call(registry.set_description, ref, None if value is None else _text(name, value))
        else:
            await catalog.call(registry.set_metadata, ref, {} if value is None else _metadata(value))
    finally:
        catalog.forget()


def set_of_draft(draft: Draft, name: str, value: bytes | None) -> None:
    """Change what the commit of a draft will record; None removes it. NotSupportedError for any other attribute."""
    if name not in _SETTABLE_OF_DRAFT:
        raise NotSupportedError(f"user.artfs.{name} of a draft cannot be set")
    if name == "metadata":
        draft.metadata = {} if value is None else _metadata(value)
    elif name == "description":
        draft.description = None if value is None else _text(name, value)
    else:
        draft.type = None if value is None else parse_type(_text(name, value), draft.collection.collection)


def _encode(values: Mapping[str, JsonValue]) -> dict[str, bytes]:
    return {
        name: (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
        for name, value in values.items()
        if value is not None
    }


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"user.artfs.{name} is not valid UTF-8") from error


def _metadata(value: bytes) -> dict[str, JsonValue]:
    text = _text("metadata", value)
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"user.artfs.metadata is not JSON: {error}") from error
    return parse_metadata(parsed)
