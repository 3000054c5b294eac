"""Changes of what is on a W&B server: aliases, description, metadata, tags, ttl, links, deletion.

The server merges nothing and compares nothing: a change that depends on what was seen is looked at first, and refused if somebody else was
faster; only what happens between that look and the change can be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.errors import BusyError, ConflictError, InvalidInputError, NotFoundError, VersionDeletedError
from artfs.model.metadata import merge_metadata
from artfs.model.names import LATEST, version_index, version_name
from artfs.registry.port import State
from artfs.registry.wandb import operations, parse, recordable
from artfs.registry.wandb.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef, CollectionRef
    from artfs.registry.port import Version, VersionChange

_DISABLED = -2  # how the server writes that there is no ttl


class Changes(Places):
    """What a registry changes. Part of `WandbRegistry`."""

    def add_aliases(self, ref: ArtifactRef, aliases: Sequence[str]) -> Version:
        """Move aliases to a version."""
        found = self.version(ref)
        self._add_aliases(found, aliases)
        return self.version(ref.collection.at(version_name(found.index)))

    def rename_alias(self, collection: CollectionRef, old: str, new: str) -> None:
        """Give an alias another name: the version has both for a moment."""
        recordable.check("the alias", new)
        found = self._aliased(collection, old)
        if old != new:
            self._add_aliases(found, [new])
            self._delete_aliases(found, [old])

    def remove_alias(self, collection: CollectionRef, alias: str) -> None:
        """Remove an alias."""
        self._delete_aliases(self._aliased(collection, alias), [alias])

    def _aliased(self, collection: CollectionRef, alias: str) -> Version:
        """Return the version that has an alias."""
        if version_index(alias) is None:
            try:
                return self.version(collection.at(alias))
            except VersionDeletedError:
                raise
            except NotFoundError as error:
                raise NotFoundError(f"{collection} has no alias {alias!r}") from error
        raise NotFoundError(f"{collection} has no alias {alias!r}: that is the index of a version")

    def set_description(self, ref: ArtifactRef, description: str | None) -> None:
        """Replace the description of a version."""
        recordable.check("the description", description)
        self._update(self.version(ref), description=description or "")

    def set_metadata(self, ref: ArtifactRef, metadata: Mapping[str, JsonValue]) -> None:
        """Replace the metadata of a version."""
        encoded = recordable.encode("metadata", metadata)
        self._update(self.version(ref), metadata=encoded)

    def change_version(self, ref: ArtifactRef, change: VersionChange) -> Version:
        """Change several things of a version, in one request but for its aliases."""
        _check(change)
        found = self.version(ref)
        values: dict[str, object] = {}
        if change.description is not None and not _is_done(change.description, found.description, "description"):
            values["description"] = change.description[1] or ""
        if change.metadata is not None:
            merged = merge_metadata(*change.metadata, found.metadata)
            if merged != found.metadata:
                values["metadata"] = recordable.encode("metadata", merged)
        if change.ttl_seconds is not None and not _is_done(change.ttl_seconds, found.ttl_seconds, "time to live"):
            wanted = change.ttl_seconds[1]
            values["ttlDurationSeconds"] = _DISABLED if wanted is None else wanted
        added = [tag for tag in change.add_tags if tag not in found.tags]
        removed = [tag for tag in change.remove_tags if tag in found.tags and tag not in change.add_tags]
        if added:
            values["tagsToAdd"] = [{"tagName": tag} for tag in added]
        if removed:
            values["tagsToDelete"] = [{"tagName": tag} for tag in removed]
        if values:
            self._update(found, **values)
        self._add_aliases(found, [name for name in change.add_aliases if name not in found.aliases])
        self._delete_aliases(
            found, [name for name in change.remove_aliases if name in found.aliases and name not in change.add_aliases]
        )
        return self.version(ref.collection.at(version_name(found.index)))

    def set_collection_description(self, collection: CollectionRef, description: str | None) -> None:
        """Replace the description of a collection, also of one that the server will make with its first version."""
        recordable.check("the description", description)
        node = self._collection(operations.COLLECTION, collection)
        if node is None or node.get("state") == State.DELETED.value:
            if not self._describe_made(collection, description):
                raise NotFoundError(f"there is no collection {collection}")
            return
        values = {"name": collection.collection, "description": description or ""}
        if node.get("__typename") == parse.PORTFOLIO:
            self._session.ask(operations.UPDATE_PORTFOLIO, {"input": {"artifactPortfolioID": node["id"], **values}})
        else:
            self._session.ask(operations.UPDATE_SEQUENCE, {"input": {"artifactSequenceID": node["id"], **values}})

    def delete_version(self, ref: ArtifactRef, *, delete_aliases: bool = False) -> Version:
        """Make a version DELETED."""
        found = self.version(ref)
        names = set(found.aliases).union(*(link.aliases for link in self.links(found.id)))
        if names and not delete_aliases:
            raise BusyError(
                f"{found.collection}:v{found.index} has the aliases {', '.join(sorted(names))}",
                hint="remove them first, or use --delete-aliases",
            )
        self._session.ask(operations.DELETE, {"input": {"artifactID": found.id, "deleteAliases": bool(names)}})
        return found

    def link(self, version_id: str, portfolio: CollectionRef, aliases: Sequence[str]) -> Version:
        """Link a version in a portfolio."""
        recordable.check_collection(portfolio)
        recordable.check("the alias", *aliases)
        portfolio = self._home(portfolio)
        version = self.version_by_id(version_id)
        node = self._collection(operations.COLLECTION, portfolio)
        if node is not None:
            _check_portfolio(node, portfolio, version)
        if node is None and not self.project_exists(portfolio.entity, portfolio.project):
            self._ensure_project(portfolio.entity, portfolio.project)
        names = [{"alias": name, "artifactCollectionName": portfolio.collection} for name in (*aliases, LATEST)]
        wanted = {
            "artifactID": version_id,
            "artifactPortfolioName": portfolio.collection,
            "entityName": portfolio.entity,
            "projectName": portfolio.project,
            "aliases": names,
        }
        self._session.ask(operations.LINK, {"input": wanted})
        self._settle(portfolio)
        for found in self.links(version_id):
            if found.collection == portfolio:
                return found
        raise NotFoundError(f"{portfolio} does not show the version that was linked there")

    def unlink(self, ref: ArtifactRef) -> Version:
        """Remove a link from its portfolio."""
        found = self.version(ref)
        node = self._collection(operations.COLLECTION, ref.collection) or {}
        if node.get("__typename") != parse.PORTFOLIO:
            raise InvalidInputError(f"{ref} is where the version was logged: it cannot be unlinked", hint="artfs rm")
        self._session.ask(operations.UNLINK, {"input": {"artifactID": found.id, "artifactPortfolioID": node["id"]}})
        return found

    def _settle(self, collection: CollectionRef) -> None:
        """Tell the server what was said here of a collection before it had it."""
        made = self._remembered(collection)
        if made is None:
            return
        if made.description is not None:
            self.set_collection_description(collection, made.description)
        self._forget(collection)

    # Requests ---------------------------------------------------------------------------------------------------

    def _update(self, found: Version, **values: object) -> None:
        self._session.ask(operations.UPDATE, {"input": {"artifactID": found.id, **values}})

    def _add_aliases(self, found: Version, names: Iterable[str]) -> None:
        wanted = _of(found, names)
        if wanted:
            self._session.ask(operations.ADD_ALIASES, {"input": {"artifactID": found.id, "aliases": wanted}})

    def _delete_aliases(self, found: Version, names: Iterable[str]) -> None:
        wanted = _of(found, names)
        if wanted:
            self._session.ask(operations.DELETE_ALIASES, {"input": {"artifactID": found.id, "aliases": wanted}})


def _of(found: Version, names: Iterable[str]) -> list[dict[str, str]]:
    place = {
        "entityName": found.collection.entity,
        "projectName": found.collection.project,
        "artifactCollectionName": found.collection.collection,
    }
    return [{**place, "alias": name} for name in dict.fromkeys(names)]


def _check(change: VersionChange) -> None:
    """Refuse what cannot be recorded, before any part of a change is asked for."""
    recordable.check("the alias", *change.add_aliases)
    recordable.check("the tag", *change.add_tags)
    if change.description is not None:
        recordable.check("the description", change.description[1])
    if change.ttl_seconds is not None:
        recordable.check_ttl(change.ttl_seconds[1])


def _check_portfolio(node: parse.Node, portfolio: CollectionRef, version: Version) -> None:
    """Refuse a collection in which a version cannot be linked."""
    if node.get("__typename") != parse.PORTFOLIO:
        raise InvalidInputError(f"{portfolio} is not a portfolio: versions are logged there, not linked")
    kind = parse.collection_info(node, portfolio).type
    if kind != version.type:
        raise InvalidInputError(f"{portfolio} links artifacts of type {kind!r}, not {version.type!r}")


def _is_done(pair: tuple[object, object], found: object, what: str) -> bool:
    """Whether something is as it shall be already. ConflictError if it is neither that nor what the caller has seen."""
    seen, wanted = pair
    if found == wanted:
        return True
    if found != seen:
        raise ConflictError(f"the {what} was changed by somebody else meanwhile", hint="look at the version again")
    return False
