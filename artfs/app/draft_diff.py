"""What a mount process answers when it is asked what a draft differs in: only it can look at a draft that is being written to.

A thread compares and hashes, and hands changes over in batches; it stops at its next step when the one who asked has gone away.
"""

from __future__ import annotations

import contextlib
import threading
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import trio

from artfs.errors import ArtfsError, NotFoundError
from artfs.model.digest import Algorithm
from artfs.model.names import LATEST, parse_artifact_ref, parse_collection_ref, version_name
from artfs.staging.differences import Differences
from artfs.staging.progress import CommitInterrupted, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from artfs.app.control import Message
    from artfs.app.services import Services
    from artfs.cache.index import ManifestIndex
    from artfs.model.diff import Line
    from artfs.model.entry import JsonValue
    from artfs.staging.drafts import Draft
    from artfs.vfs.commits import Commits

Piece: TypeAlias = "list[JsonValue] | Message | ArtfsError"

_BATCH = 1000  # changes in one message
_INTERVAL = 0.1  # seconds between reports of progress
_MOST_PROBLEMS = 100


async def diff(services: Services, commits: Commits, request: Message) -> AsyncGenerator[Message, None]:
    """Say what a ``draft`` of a ``collection`` differs in from ``ref``, else from its base, else from ``latest``, else from nothing.

    Answers are ``{"changes": [[kind, before, after], ...]}`` in any order, where before and after are path, digest and size or null, and at
    last a result that says what it was compared with (``against``), and what could not be committed (``problems``).
    """
    collection = parse_collection_ref(str(request.get("collection")), services.registry.default_entity)
    draft = commits.find(collection, str(request.get("draft")))
    ref = request.get("ref")
    progress = Progress()
    send, receive = trio.open_memory_channel[Piece](2)
    token = trio.lowlevel.current_trio_token()

    def hand_over(piece: Piece) -> None:
        trio.from_thread.run(send.send, piece, trio_token=token)

    def work() -> None:
        with contextlib.suppress(CommitInterrupted, trio.Cancelled, trio.RunFinishedError, trio.BrokenResourceError):
            try:
                for piece in _compare(services, draft, None if ref is None else str(ref), progress):
                    hand_over(piece)
            except CommitInterrupted:
                raise
            except ArtfsError as error:
                hand_over(error)
            except OSError as error:
                hand_over(ArtfsError(f"draft {draft.name!r} cannot be looked at: {error.strerror}", hint="try again"))

    threading.Thread(target=work, name="artfs-diff", daemon=True).start()
    try:
        while True:
            piece: Piece | None = None
            with trio.move_on_after(_INTERVAL):
                piece = await receive.receive()
            if piece is None:
                yield {"progress": progress.snapshot()}
            elif isinstance(piece, ArtfsError):
                raise piece
            elif isinstance(piece, list):
                yield {"changes": piece}
            else:
                yield {"result": piece}
                return
    finally:
        progress.cancelled.set()
        receive.close()


def _compare(
    services: Services, draft: Draft, ref: str | None, progress: Progress
) -> Iterator[list[JsonValue] | Message]:
    """Yield batches of changes, and the result."""
    against, other, is_base = _other(services, draft, ref)
    config = services.config
    found = Differences(
        draft, other, services.links(), config.threads, Algorithm[config.algorithm], progress, is_base=is_base
    )
    changes = iter(found)
    while batch := list(islice(changes, _BATCH)):
        yield [[change.kind.value, _sent(change.before), _sent(change.after)] for change in batch]
    problems: list[JsonValue] = [*found.problems[:_MOST_PROBLEMS]]
    if len(found.problems) > _MOST_PROBLEMS:
        problems.append(f"and {len(found.problems) - _MOST_PROBLEMS} more")
    yield {"against": against, "problems": problems}


def _sent(line: Line | None) -> list[JsonValue] | None:
    return None if line is None else [*line]


def _other(services: Services, draft: Draft, ref: str | None) -> tuple[str | None, ManifestIndex | None, bool]:
    """Return what a draft is compared with: its name, its index, and whether it is the draft's base."""
    if ref is None and draft.base is not None:
        return str(draft.base.ref), services.open_base(draft.base), True
    registry = services.registry
    wanted = draft.collection.at(LATEST) if ref is None else parse_artifact_ref(ref, registry.default_entity)
    try:
        version = registry.version(wanted)
    except NotFoundError:
        if ref is not None:
            raise
        return None, None, False
    is_base = draft.base is not None and draft.base.manifest.digest == version.manifest.digest
    return f"{version.collection}:{version_name(version.index)}", services.open_index(version), is_base
