"""Bring the files of a draft into a store that is elsewhere: only what it lacks, many at once.

A store shows a blob when it is whole, so an upload that broke off is begun again, and what had come whole is skipped. The files stay where
they are: until the version is published they are all there is on this machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import BusyError
from artfs.staging.hashing import unchanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.staging.drafts import Draft
    from artfs.staging.hashing import Hashed
    from artfs.staging.progress import Progress
    from artfs.storage.port import BlobStore

UPLOADS = 16
"""Files on their way at once."""


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

    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="artfs-upload") as pool:
        tasks = [pool.submit(store.write, name, [blocks]) for name, blocks in lists.items() if name in missing]
        tasks += [pool.submit(send, one) for one in wanted]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
