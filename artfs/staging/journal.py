"""The journal of a commit: what a frozen draft is to become, kept in its database from the freeze to the end.

It says which aliases the version gets, under which name ``.commit/`` lists the commit, and what it records in place of what the
draft says. ``run`` is the run that logs the version, as ``entity/project/id``;
``empty`` lets it have no files. ``client_id`` names the commit at the registry;
``failed`` is the name of an earlier commit of the draft that failed, as long as something may still be reserved for it;
``reserved`` is the id of the version that this commit makes, from its reservation on; ``order`` is its place among the commits of the
collection (`artfs.staging.turns`).
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from artfs.staging.turns import JOURNAL_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.model.entry import JsonValue
    from artfs.staging.drafts import Draft

_LAST = "last_commit"


@dataclass(frozen=True, slots=True)
class Journal:
    """What a commit was asked for. None leaves a field to the draft."""

    aliases: tuple[str, ...] = ()
    name: str | None = None
    client_id: str = ""
    failed: str | None = None
    type: str | None = None
    description: str | None = None
    metadata: Mapping[str, JsonValue] | None = None
    tags: tuple[str, ...] = ()
    ttl_seconds: int | None = None
    empty: bool = False
    run: str | None = None
    reserved: str | None = None
    order: int = 0

    @staticmethod
    def load(draft: Draft) -> Journal | None:
        """Return the journal of a frozen draft; None if it is not being committed."""
        found = cast("dict[str, Any] | None", draft.database.get(JOURNAL_KEY))
        if found is None:
            return None
        known = {name: value for name, value in found.items() if name in Journal.__dataclass_fields__}
        return Journal(**known | {name: tuple(known.get(name, ())) for name in ("aliases", "tags")})

    def save(self, draft: Draft) -> None:
        """Write the journal: the draft is frozen."""
        draft.database.set(JOURNAL_KEY, asdict(self) | {"aliases": list(self.aliases), "tags": list(self.tags)})

    def begin(self, draft: Draft) -> None:
        """Write the journal of a new commit, under a name of its own: what an earlier one has published is not this one's."""
        failed = cast("str | None", draft.database.get(_LAST))
        client_id = uuid.uuid4().hex
        draft.database.set(_LAST, client_id)
        replace(self, client_id=client_id, failed=failed, reserved=None).save(draft)

    @staticmethod
    def clear(draft: Draft) -> None:
        """End the commit: the draft is an ordinary one again."""
        draft.database.set(JOURNAL_KEY, None)
