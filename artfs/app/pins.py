"""Pins: versions whose contents are never evicted from the block cache, until they are unpinned.

What the user wants is written to ``<data>/pins/<version>.json``, one file for each pinned version, named by the digest of registry and
version: it outlives the cache. The cache itself is told the names of the contents (`BlockCache.pin`), which is what keeps them; when its
record was lost, `restore` tells it again. Files are written whole and renamed, so commands may run at the same time.

A pin is of a version, not of an alias: ``name:latest`` pins the version that it names now.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import trio

from artfs.app.selecting import Selected, Selection
from artfs.app.warm import contents_of
from artfs.config.writing import replace_file
from artfs.content.warm import Content, Failure, missing_bytes
from artfs.errors import ArtfsError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.digest import Digest
from artfs.model.names import parse_artifact_ref, version_index
from artfs.model.reference import redact
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from artfs.app.services import Services
    from artfs.registry.port import Registry

log = logging.getLogger(__name__)

_FORMAT = 1
_NAMES = 10_000  # that the cache is told at once


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned version. ``selection`` says what of it is pinned, and by which name it was asked for; ``pinned_at`` is when it began."""

    selection: Selection
    version_id: str
    pinned_at: datetime


@dataclass(frozen=True, slots=True)
class PinState:
    """A pin and its bytes: all, and those on this machine. ``problem`` says why they cannot be told; they are 0 then."""

    pin: Pin
    files: int = 0
    size: int = 0
    here: int = 0
    problem: str = ""


class Pins:
    """The pins of one data directory that are of the registry of the settings. Blocks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._directory = services.config.data_dir / "pins"

    def all(self) -> list[Pin]:
        """Return the pins, by name. InvalidInputError names a file that cannot be understood."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                record = json.loads(path.read_text())
                if record["registry"] == redact(self._services.config.registry):
                    found.append(_parse(record))
            except FileNotFoundError:  # unpinned just now
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InvalidInputError(
                    f"the pin {path} cannot be read: {error}", hint="remove the file, and pin the version again"
                ) from error
        return sorted(
            found, key=lambda pin: (str(pin.selection.ref.collection), version_index(pin.selection.ref.alias))
        )

    def find(self, version_id: str) -> Pin | None:
        """Return the pin of a version."""
        return next((pin for pin in self.all() if pin.version_id == version_id), None)

    def add(self, selected: Selected) -> Pin:
        """Pin what was selected of a version, beside what is pinned of it already. UnreachableError if the cache cannot record it."""
        selection, version = selected.selection, selected.version
        before = self.find(version.id)
        places, since = dict.fromkeys(selection.places), datetime.now(UTC)
        if before is not None:
            places, since = dict.fromkeys([*before.selection.places, *selection.places]), before.pinned_at
        selection = dataclasses.replace(selection, places=("",) if "" in places else tuple(places))
        pin = Pin(selection, version.id, since)
        self._hold(pin, dataclasses.replace(selected, selection=selection))
        make_private(self._directory)
        replace_file(self._path(version.id), json.dumps(self._record(pin), indent=2) + "\n", keep_mode=False)
        return pin

    def _hold(self, pin: Pin, selected: Selected) -> None:
        """Tell the cache which contents are not to be evicted. What lies on this machine elsewhere needs no cache."""
        names: list[str] = []
        for content in contents_of(self._services, [selected]):
            if isinstance(content, Failure):
                raise content.error
            if content.file is not None:
                names.append(content.file.name)
            if len(names) == _NAMES:
                self._tell(pin, names)
                names = []
        if names:
            self._tell(pin, names)

    def _tell(self, pin: Pin, names: list[str]) -> None:
        if not self._services.cache().pin(self._owner(pin.version_id), names):
            reason = self._services.cache().statistics().trouble
            raise UnreachableError(f"the pin cannot be recorded in the block cache: {reason}", hint="artfs doctor")

    def remove(self, pin: Pin) -> None:
        """Let the contents of a version be evicted again, but for those that other pins hold."""
        if not self._services.cache().unpin(self._owner(pin.version_id)):
            reason = self._services.cache().statistics().trouble
            raise UnreachableError(f"the block cache does not forget the pin: {reason}", hint="artfs doctor")
        self._path(pin.version_id).unlink(missing_ok=True)

    def named(self, selection: Selection) -> Pin:
        """Return the pin of what was selected; NotFoundError if there is none."""
        for pin in self.all():
            if pin.selection.ref == selection.ref:
                return pin
        raise NotFoundError(f"{selection.ref} is not pinned", hint="artfs pin --list")

    def state(self, pin: Pin) -> PinState:
        """Return how much of a pin is on this machine, by what is recorded. Uses no network but for a registry that is asked."""
        try:
            selected = self.selected(pin)
            contents = list(contents_of(self._services, [selected]))
        except ArtfsError as error:
            return PinState(pin, problem=error.message)
        problem = next((content.error.message for content in contents if isinstance(content, Failure)), "")
        found = [content for content in contents if isinstance(content, Content)]
        size = sum(content.entry.size for content in found)
        return PinState(pin, len(found), size, size - sum(map(missing_bytes, found)), problem)

    def selected(self, pin: Pin) -> Selected:
        """Return what a pin holds, out of the list of files on this machine; UnreachableError if that is not here."""
        version = self._services.registry.version(pin.selection.ref)
        return Selected(pin.selection, version, self._services.open_cached_index(version))

    def restore(self) -> None:
        """Tell the cache what is pinned where its record of that was lost."""
        for pin in self._some():
            try:
                if not self._services.store.local and not self._services.cache().pinned(self._owner(pin.version_id)):
                    self._hold(pin, self.selected(pin))
            except ArtfsError as error:
                log.info("the pin of %s cannot be looked at: %s", pin.selection.ref, error)

    def _some(self) -> list[Pin]:
        try:
            return self.all()
        except InvalidInputError as error:
            log.warning("no pin is looked at: %s", error)
            return []

    # On disk ----------------------------------------------------------------------------------------------------

    def _owner(self, version_id: str) -> str:
        """Return how the cache knows a pin: others that share it have data directories of their own."""
        return f"{self._services.config.data_dir} {self._key(version_id)}"

    def _key(self, version_id: str) -> str:
        return Digest.of(f"{self._services.config.registry}\n{version_id}".encode()).hex

    def _path(self, version_id: str) -> Path:
        return self._directory / f"{self._key(version_id)}.json"

    def _record(self, pin: Pin) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "registry": redact(self._services.config.registry),
            "version": str(pin.selection.ref),
            "version_id": pin.version_id,
            "named": str(pin.selection.named),
            "paths": list(pin.selection.places),
            "pinned_at": pin.pinned_at.isoformat(),
        }


def _parse(record: dict[str, Any]) -> Pin:
    if record["format"] != _FORMAT:
        raise InvalidInputError("it is of another version of artfs")
    ref, name = parse_artifact_ref(record["version"], ""), parse_artifact_ref(record["named"], "")
    selection = Selection(ref, name, tuple(str(path) for path in record["paths"]))
    return Pin(selection, str(record["version_id"]), datetime.fromisoformat(record["pinned_at"]))


def remember(registry: Registry, selections: Iterable[Selection]) -> None:
    """Ask a registry what a mount without a network asks of versions, so that it is remembered. Raises what it raises.

    One that is offline tells in this way whether all of it is remembered.
    """
    seen: set[object] = set()
    for selection in selections:
        collection = selection.ref.collection
        registry.version(selection.ref)
        if collection not in seen:
            seen.add(collection)
            registry.collection_info(collection)
            registry.listing(collection)
        place = collection.entity, collection.project
        if place not in seen:
            seen.add(place)
            registry.project_exists(*place)
            registry.collection_infos(*place)
            registry.entity_exists(collection.entity)
            registry.projects(collection.entity)
    if seen:
        registry.id  # noqa: B018 - a question, as the next
        registry.default_entity  # noqa: B018
        registry.entities()


async def restore_pins(services: Services) -> None:
    """Do `Pins.restore` beside everything else that a mount does."""

    def restore() -> None:
        if any((services.config.data_dir / "pins").glob("*.json")):
            Pins(services).restore()

    try:
        await trio.to_thread.run_sync(restore, abandon_on_cancel=True)
    except Exception:  # a mistake of the program must not end the mount
        log.exception("the pins could not be looked at")
