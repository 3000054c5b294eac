"""Places on a W&B server: what can be made and removed there is a project, and a collection that the server does not know yet.

Entities are accounts and teams. A collection is made by its first version there; until then it is remembered here, with its description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.errors import ExistsError, NotEmptyError, NotFoundError, PermissionDeniedError
from artfs.registry.wandb import operations, recordable
from artfs.registry.wandb.reading import Reading

if TYPE_CHECKING:
    from artfs.model.names import CollectionRef

_PAGES = "it is removed on the web pages of the W&B server"


class Places(Reading):
    """What is made and removed. Part of `WandbRegistry`."""

    def create_entity(self, entity: str) -> None:
        """Refuse: entities are accounts and teams."""
        if self.entity_exists(entity):
            raise ExistsError(f"the entity {entity!r} exists already")
        raise PermissionDeniedError("entities of a W&B server are made on its web pages: they are accounts and teams")

    def create_project(self, entity: str, project: str) -> None:
        """Make a project."""
        recordable.check("the name", entity, project)
        if self.project_exists(entity, project):
            raise ExistsError(f"the project {entity}/{project} exists already")
        self._ensure_project(entity, project)

    def _ensure_project(self, entity: str, project: str) -> None:
        """Make a project; nothing if somebody else was faster."""
        recordable.check_new_project(entity, project)
        try:
            self._session.ask(operations.CREATE_PROJECT, {"input": {"entityName": entity, "name": project}})
        except NotFoundError as error:
            raise NotFoundError(f"there is no entity {entity!r}: {error.message}") from error

    def create_collection(self, collection: CollectionRef) -> None:
        """Remember a sequence, which the server will make with its first version."""
        recordable.check_collection(collection)
        try:
            self.collection_info(collection)
        except NotFoundError:
            if self._home(collection) != collection:
                recordable.check_new_project(collection.entity, collection.project)
            if not self.project_exists(collection.entity, collection.project):
                raise NotFoundError(f"there is no project {collection.entity}/{collection.project}") from None
            self._make(collection)
            return
        raise ExistsError(f"the collection {collection} exists already")

    def remove_entity(self, entity: str) -> None:
        """Refuse: entities are accounts and teams."""
        if self.projects(entity):
            raise NotEmptyError(f"the entity {entity!r} has projects", hint=_PAGES)
        raise PermissionDeniedError(f"the entity {entity!r} of a W&B server is removed on its web pages")

    def remove_project(self, entity: str, project: str) -> None:
        """Refuse: a project has more than artifacts and runs, of which nothing is known here."""
        if self.collections(entity, project) or self._has_runs(entity, project):
            raise NotEmptyError(f"the project {entity}/{project} has collections or runs", hint=_PAGES)
        raise PermissionDeniedError(f"the project {entity}/{project} of a W&B server is removed on its web pages")

    def _has_runs(self, entity: str, project: str) -> bool:
        runs = self._walk(operations.RUNS, {"entity": entity, "project": project}, ("project", "runs"), 1)
        return next(runs, None) is not None

    def remove_collection(self, collection: CollectionRef) -> None:
        """Forget a collection that the server does not know yet. One that it knows has, or had, versions."""
        info = self.collection_info(collection)
        if info.type is not None or not self._forget(collection):
            raise NotEmptyError(f"the collection {collection} has, or had, versions", hint=_PAGES)
