"""Names of entities, projects, collections, versions, aliases, tags and types, and references made of them.

The rules are those of W&B (``docs/formats.md``), with what a directory name forbids added. ``parse_*`` functions return
their argument or raise `InvalidInputError` saying what is wrong; nothing else in the program checks a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from artfs.errors import InvalidInputError

DEFAULT_PROJECT = "uncategorized"
LATEST = "latest"
MAX_LENGTH = 128

_COLLECTION = re.compile(r"[a-zA-Z0-9_\-.]+")
_VERSION = re.compile(r"v(0|[1-9][0-9]*)")  # not \d: int() reads the digits of every script
_VERSION_LIKE = re.compile(r"v\d+")
_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_TYPE = re.compile(r"[-\w]([-.\w ]*[-.\w])?")  # W&B's [-\w]+([ ]*[-.\w]+)* takes exponential time to refuse
_PROJECT_FORBIDDEN = re.compile(r"[/\\#?%:\r\n]")


def _parse_component(kind: str, text: str) -> str:
    """Check what every directory name of the upper levels must be."""
    if not text:
        raise InvalidInputError(f"the {kind} name is empty")
    if text in {".", ".."} or text.startswith("."):
        raise InvalidInputError(f"{kind} {text!r}: a name cannot begin with a dot")
    if "/" in text or "\0" in text or any(ord(char) < 32 for char in text):
        raise InvalidInputError(f"{kind} {text!r}: a name cannot contain '/' or control characters")
    if len(text) > MAX_LENGTH:
        raise InvalidInputError(f"{kind} {text[:40]!r}...: a name has at most {MAX_LENGTH} characters")
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{kind} {text!r}: a name is valid Unicode") from error
    if length > 255:
        raise InvalidInputError(f"{kind} {text[:40]!r}...: a name has at most 255 bytes")
    return text


def parse_entity(text: str) -> str:
    """Check the name of an entity."""
    if _PROJECT_FORBIDDEN.search(text):
        raise InvalidInputError(f"entity {text!r}: a name cannot contain any of / \\ # ? % :")
    return _parse_component("entity", text)


def parse_project(text: str) -> str:
    """Check the name of a project."""
    if _PROJECT_FORBIDDEN.search(text):
        raise InvalidInputError(f"project {text!r}: a name cannot contain any of / \\ # ? % :")
    return _parse_component("project", text)


def parse_collection(text: str) -> str:
    """Check the name of a collection that is about to be made."""
    _parse_component("collection", text)
    if not _COLLECTION.fullmatch(text):
        raise InvalidInputError(f"collection {text!r}: use letters, digits, '_', '-' and '.' only")
    return text


def parse_alias(text: str) -> str:
    """Check the name of an alias; a version index such as ``v3`` is not one."""
    _parse_component("alias", text)
    if ":" in text:
        raise InvalidInputError(f"alias {text!r}: an alias cannot contain ':'")
    if _VERSION_LIKE.fullmatch(text):
        raise InvalidInputError(f"alias {text!r}: version indexes are given by the registry and cannot be aliases")
    return text


def parse_draft(text: str) -> str:
    """Check the name of a draft."""
    return _parse_component("draft", text)


def parse_tag(text: str) -> str:
    """Check a tag."""
    if len(text) > MAX_LENGTH or not _TAG.fullmatch(text):
        raise InvalidInputError(
            f"tag {text!r}: use words of letters, digits, '_' and '-', at most {MAX_LENGTH} characters"
        )
    return text


def parse_type(text: str, collection: str) -> str:
    """Check the type of an artifact; some are reserved by W&B, two of them for some collection names only."""
    if len(text) > MAX_LENGTH or not _TYPE.fullmatch(text):
        raise InvalidInputError(
            f"type {text!r}: use words of letters, digits, '_', '-' and '.', at most {MAX_LENGTH} characters"
        )
    reserved = (
        text == "job"
        or text.startswith("wandb-")
        or (text == "run_table" and collection.startswith("run-"))
        or (text == "code" and collection.startswith("source-"))
    )
    if reserved:
        raise InvalidInputError(f"type {text!r} is reserved", hint="choose another type, such as 'dataset' or 'model'")
    return text


def version_index(text: str) -> int | None:
    """Return 3 for ``v3`` and None for anything that is not a version index."""
    return int(text[1:]) if _VERSION.fullmatch(text) and len(text) < 19 else None


def version_name(index: int) -> str:
    """Return ``v3`` for 3."""
    return f"v{index}"


@dataclass(frozen=True, slots=True)
class CollectionRef:
    """A collection by its full name."""

    entity: str
    project: str
    collection: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.collection}"

    def at(self, alias: str) -> ArtifactRef:
        """Return the reference of one of its versions."""
        return ArtifactRef(self, alias)


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A version by its collection and an alias or a version index."""

    collection: CollectionRef
    alias: str

    def __str__(self) -> str:
        return f"{self.collection}:{self.alias}"


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run by its full name. ``id`` is unique in the project."""

    entity: str
    project: str
    id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"


def parse_run_id(text: str) -> str:
    """Check the id of a run."""
    if _PROJECT_FORBIDDEN.search(text):
        raise InvalidInputError(f"run {text!r}: an id cannot contain any of / \\ # ? % :")
    return _parse_component("run", text)


def parse_run_ref(text: str, default_entity: str) -> RunRef:
    """Parse ``[[entity/]project/]id``; also ``entity/project/runs/id``, as in the address of a page."""
    parts = text.strip("/").split("/")
    if len(parts) == 4 and parts[2] == "runs":
        del parts[2]
    if len(parts) > 3 or not all(parts):
        raise InvalidInputError(f"{text!r} is not a run", hint="write entity/project/id")
    project = parts[-2] if len(parts) > 1 else DEFAULT_PROJECT
    entity = parts[0] if len(parts) > 2 else default_entity
    return RunRef(parse_entity(entity), parse_project(project), parse_run_id(parts[-1]))


def parse_artifact_ref(text: str, default_entity: str, default_project: str = DEFAULT_PROJECT) -> ArtifactRef:
    """Parse ``[[entity/]project/]name[:alias]``; an alias that is left out is `LATEST`."""
    path, colon, alias = text.partition(":")
    if colon and not alias:
        raise InvalidInputError(f"{text!r}: nothing after the ':'", hint="write name:alias or name:v3")
    return ArtifactRef(
        parse_collection_ref(path, default_entity, default_project), _parse_alias_or_version(alias or LATEST)
    )


def parse_collection_ref(text: str, default_entity: str, default_project: str = DEFAULT_PROJECT) -> CollectionRef:
    """Parse ``[[entity/]project/]name``."""
    parts = text.split("/")
    if len(parts) > 3 or not all(parts):
        raise InvalidInputError(f"{text!r} is not a collection", hint="write entity/project/name")
    name = parts[-1]
    project = parts[-2] if len(parts) > 1 else default_project
    entity = parts[0] if len(parts) > 2 else default_entity
    # Collections made elsewhere may have names that artfs would not make: only what a directory forbids is refused.
    return CollectionRef(parse_entity(entity), parse_project(project), _parse_component("collection", name))


def _parse_alias_or_version(text: str) -> str:
    return text if version_index(text) is not None else parse_alias(text)
