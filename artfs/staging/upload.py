"""Bring the files of a draft into a store that is elsewhere: only what it lacks, many at once, small ones in packs.

A store shows a blob when it is whole, so an upload that broke off is begun again, and what had come whole is skipped. The files stay where
they are: until the version is published they are all there is on this machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import BusyError
from artfs.staging.hashing import unchanged
from artfs.staging.packing import groups, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artfs.model.digest import Digest
    from artfs.model.entry import Packed
    from artfs.staging.drafts import Draft
    from artfs.staging.hashing import Hashed
    from artfs.staging.packing import Lying
    from artfs.staging.progress import Progress
    from artfs.storage.port import BlobStore

UPLOADS = 16
"""Files on their way at once."""

_PACKS = 4  # at once: each is in memory


def upload(draft: Draft, hashed: Sequence[Hashed], store: BlobStore, progress: Progress) -> None:
    """Upload the blobs and block lists that the store lacks. BusyError names a file that has changed since it was hashed."""
    blobs = {one.entry.blob: one for one in hashed}
    lists = {name: one.blocks for one in hashed if (name := one.entry.block_list) is not None}
    progress.begin("comparing", len(blobs))
    missing = store.missing([*blobs, *lists])
    wanted = [one for blob, one in blobs.items() if blob in missing]
    progress.begin("uploading", len(wanted), sum(one.item.size for one in wanted))

    def send(one: Hashed) -> None:
        progress.check()
        path = Path(draft.tree.local_path(one.item.path))
        if not unchanged(draft, one.item):
            raise BusyError(f"{one.item.path} has changed while it was being committed", hint="try again")
        store.adopt(one.entry.blob, path)
        progress.advance(1, one.item.size)

    _run(
        [
            *(partial(store.write, name, [blocks]) for name, blocks in lists.items() if name in missing),
            *(partial(send, one) for one in wanted),
        ],
        UPLOADS,
    )


def upload_packs(
    draft: Draft,
    hashed: Sequence[Hashed],
    store: BlobStore,
    progress: Progress,
    keep: Callable[[Packed, bytes], None] | None = None,
) -> dict[Digest, Lying]:
    """Upload small files in packs, and return where each lies; one that would be alone in its pack is left out. BusyError as `upload`.

    ``keep`` is given each pack: one of its places, and its bytes.
    """
    places: dict[Digest, Lying] = {}
    together = [files for files in groups(hashed) if len(files) > 1]
    progress.begin("uploading", sum(map(len, together)), sum(one.item.size for files in together for one in files))

    def send(files: list[Hashed]) -> None:
        progress.check()
        data, lying = pack(draft, files)
        packed = next(iter(lying.values())).packed
        store.write(packed.pack, [data])
        if keep is not None:
            keep(packed, data)
        places.update(lying)
        progress.advance(len(files), len(data))

    _run([partial(send, files) for files in together], _PACKS)
    return places


def _run(jobs: Sequence[Callable[[], None]], threads: int) -> None:
    """Do jobs side by side; if one fails, those that are not begun are not done."""
    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-upload") as pool:
        tasks = [pool.submit(job) for job in jobs]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
