"""The files and the manifest of a new version go to a W&B server: by signed URLs, only what it lacks, many at once.

The server is asked about the files in batches; it says of each where its bytes go, or that it has them already, and in which version they
were born, which the manifest has to name. URLs expire: what is refused is asked for again. A file that is sent in parts
(`artfs.storage.wandb_parts`) goes on where it broke off; the others are begun again, and those that came whole are there.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from artfs.errors import ArtfsError, IntegrityError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.storage.wandb_parts import Parts
from artfs.wandb.operation import Operation
from artfs.wandb.upload import FileSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.wandb_parts import Memory, PartedFile
    from artfs.wandb.session import WandbSession

UPLOADS = 32
"""Requests with bytes under way at once."""

BATCH = 500
"""Files that the server is asked about at once."""

_MOST_URLS = 12_000  # of parts, in one answer: about 10 MB
_TRIES = 3  # times in a row that nothing may come of an answer

CREATE_MANIFEST = Operation(
    "CreateArtifactManifest",
    "mutation CreateArtifactManifest($input: CreateArtifactManifestInput!, $includeUpload: Boolean!) {"
    " createArtifactManifest(input: $input) { artifactManifest {"
    " id file @include(if: $includeUpload) { id uploadUrl uploadHeaders } } } }",
)
CREATE_FILES = Operation(
    "CreateArtifactFiles",
    "mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {"
    " files { edges { node { id uploadUrl uploadHeaders storagePath artifact { id }"
    " uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }",
)
COMPLETE = Operation(
    "CompleteMultipartUploadArtifact",
    "mutation CompleteMultipartUploadArtifact($input: CompleteMultipartUploadArtifactInput!) {"
    " completeMultipartUploadArtifact(input: $input) { digest } }",
)


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """The artifact that is made. ``run`` is empty where none makes it, ``base`` the id of the version it is made from."""

    id: str
    entity: str
    project: str
    run: str = ""
    base: str | None = None


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to send, under the name of one of its entries. ``check`` raises if it is not what was hashed."""

    name: str
    path: Path
    size: int
    digest: Digest
    check: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some files, those of them that go in parts by digest, and where each goes."""

    files: list[LocalFile]
    parted: dict[str, PartedFile]
    nodes: list[dict[str, Any]]


class WandbUpload:
    """Sends what one artifact is made of. Used by one thread. ``births``: by digest, where the bytes were born that were sent."""

    def __init__(self, session: WandbSession, artifact: NewArtifact, memory: Memory) -> None:
        self.births: dict[str, str] = {}
        self._session = session
        self._artifact = artifact
        self._memory = memory
        if memory.get("artifact") != artifact.id:  # what is remembered is of an earlier commit
            memory.clear()
            memory.set("artifact", artifact.id)
        self._parts = Parts(memory)

    # Files ------------------------------------------------------------------------------------------------------

    def send(self, files: Iterable[LocalFile], done: Callable[[int, int], None]) -> None:
        """Send what the server lacks of files with different digests. ``done`` is told the files and bytes that are there.

        UnreachableError if it has to be tried again; PermissionDeniedError; what ``check`` of a file and ``done`` raise.
        """
        with (
            ThreadPoolExecutor(UPLOADS, thread_name_prefix="artfs-upload") as pool,
            ThreadPoolExecutor(1, thread_name_prefix="artfs-upload-ask") as asking,
        ):
            batches = self._batches(files)
            ahead: Future[_Batch] | None = None
            while True:
                batch = next(batches, None)
                later = None if batch is None else asking.submit(self._prepare, pool, batch)
                if ahead is not None:
                    self._send_batch(pool, ahead.result(), done)
                if later is None:
                    return
                ahead = later

    def _prepare(self, pool: ThreadPoolExecutor, files: list[LocalFile]) -> _Batch:
        """Hash the parts of large files, and ask where files go, while those before them are sent."""
        parted = {file.digest.base64: self._parts.file(pool, file) for file in files if self._parts.count(file.size)}
        return _Batch(files, parted, self._nodes(files, parted))

    def _batches(self, files: Iterable[LocalFile]) -> Iterator[list[LocalFile]]:
        batch: list[LocalFile] = []
        urls = 0
        for file in files:
            count = self._parts.count(file.size)
            if batch and (len(batch) >= BATCH or urls + count > _MOST_URLS):
                yield batch
                batch, urls = [], 0
            batch.append(file)
            urls += count
        if batch:
            yield batch

    def _send_batch(self, pool: ThreadPoolExecutor, batch: _Batch, done: Callable[[int, int], None]) -> None:
        """Send some files. Those that are refused are asked about again, as long as something comes and is not lost again."""
        files, nodes, fruitless = batch.files, batch.nodes, 0
        while True:
            round_ = _Round(self, pool, batch.parted, done)
            for file, node in zip(files, nodes, strict=True):
                round_.begin(file, node)
            refused, error = round_.finish()
            if error is None:
                return
            fruitless = 0 if round_.has_brought and not round_.has_lost else fruitless + 1
            if fruitless >= _TRIES:
                raise error
            files, nodes = refused, self._ask(refused, batch.parted)

    def _nodes(self, files: list[LocalFile], parted: dict[str, PartedFile]) -> list[dict[str, Any]]:
        """Return where files go: as it is remembered of the uploads in parts that have begun, as the server says of the others."""
        known = {digest: node for digest, one in parted.items() if (node := one.begun) is not None}
        asked = [file for file in files if file.digest.base64 not in known]
        answers = iter(self._ask(asked, parted) if asked else ())
        return [known.get(file.digest.base64) or next(answers) for file in files]

    def _ask(self, files: list[LocalFile], parted: dict[str, PartedFile]) -> list[dict[str, Any]]:
        """Ask where files go; return an answer for each, in their order."""
        manifest = self._memory.get("manifest")
        if not isinstance(manifest, str):
            manifest = self._create_manifest("", include_upload=False)["id"]
            self._memory.set("manifest", manifest)
        specs = []
        for file in files:
            digest = file.digest.base64
            spec: dict[str, Any] = {
                "artifactID": self._artifact.id,
                "artifactManifestID": manifest,
                "name": file.name,
                "md5": digest,
            }
            if digest in parted:
                spec["uploadPartsInput"] = parted[digest].announced
            specs.append(spec)
        answer = self._session.ask(CREATE_FILES, {"input": {"artifactFiles": specs, "storageLayout": "V2"}})
        match answer:
            case {"createArtifactFiles": {"files": {"edges": list(edges)}}} if len(edges) == len(specs):
                nodes = [edge.get("node") if isinstance(edge, dict) else None for edge in edges]
                return [_checked(node) for node in nodes]
        raise IntegrityError("the W&B server has not answered about each of the files that it was asked about")

    def arrived(self, file: LocalFile, node: dict[str, Any]) -> None:
        """Note that the server has the bytes of a file."""
        self.births[file.digest.base64] = node["artifact"]["id"]

    def put(self, file: LocalFile, url: str, headers: list[str], start: int, end: int) -> str:
        """Send bytes of a file, and return the ETag of them. Any thread."""
        file.check()
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            file.check()
            raise UnreachableError(f"{file.path} cannot be read: {error.strerror}") from error
        try:
            etag = self._session.put(url, headers, FileSpan(descriptor, start, end))
        except IntegrityError:
            file.check()  # it may have been written to meanwhile
            raise
        finally:
            os.close(descriptor)
        file.check()
        return etag

    def complete(self, parted: PartedFile, node: dict[str, Any]) -> None:
        """Make one object of the parts of a file."""
        wanted = {
            "completeMultipartAction": "Complete",
            "completedParts": parted.completed,
            "artifactID": node["artifact"]["id"],
            "storagePath": node["storagePath"],
            "uploadID": parted.upload_id,
        }
        self._session.ask(COMPLETE, {"input": wanted})

    # The manifest -----------------------------------------------------------------------------------------------

    def send_manifest(self, path: Path, size: int, digest: Digest) -> None:
        """Send the manifest, which lies in a local file. UnreachableError, PermissionDeniedError."""
        for left in reversed(range(_TRIES)):
            found = self._create_manifest(digest.base64, include_upload=True).get("file")
            match found:
                case {"uploadUrl": str(url), "uploadHeaders": list(headers)}:
                    pass
                case _:
                    raise IntegrityError("the W&B server does not say where the manifest goes")
            with path.open("rb") as file:
                try:
                    self._session.put(url, [str(header) for header in headers], FileSpan(file.fileno(), 0, size))
                except PermissionDeniedError:
                    if not left:
                        raise
                else:
                    return

    def _create_manifest(self, digest: str, *, include_upload: bool) -> dict[str, Any]:
        artifact = self._artifact
        wanted = {
            "artifactID": artifact.id,
            "baseArtifactID": artifact.base,
            "name": "wandb_manifest.json",
            "digest": digest,
            "entityName": artifact.entity,
            "projectName": artifact.project,
            "runName": artifact.run,
            "type": "FULL",
        }
        answer = self._session.ask(CREATE_MANIFEST, {"input": wanted, "includeUpload": include_upload})
        match answer:
            case {"createArtifactManifest": {"artifactManifest": {"id": str()} as made}}:
                return cast("dict[str, Any]", made)
        raise IntegrityError("the W&B server has made a manifest without an id")


class _Round:
    """One attempt to send a batch, with the URLs of one answer."""

    def __init__(
        self,
        upload: WandbUpload,
        pool: ThreadPoolExecutor,
        parted: dict[str, PartedFile],
        done: Callable[[int, int], None],
    ) -> None:
        self._upload = upload
        self._pool = pool
        self._parted = parted
        self._done = done
        self._running: dict[Future[str], tuple[LocalFile, dict[str, Any], int]] = {}  # 0: not a part
        self._refused: dict[str, LocalFile] = {}
        self._error: ArtfsError | None = None
        self.has_brought = False
        self.has_lost = False  # parts that had come

    def begin(self, file: LocalFile, node: dict[str, Any]) -> None:
        """Begin to send a file to where the server says that it goes."""
        url, headers = node["uploadUrl"], node["uploadHeaders"]
        if url is None and not node.get("uploadMultipartUrls"):
            self._upload.arrived(file, node)
            self._done(1, file.size)
            return
        parted = self._parted.get(file.digest.base64)
        if parted is None:
            self._submit(file, node, 0, url, headers, (0, file.size))
            return
        before = parted.finished_bytes
        parted.begin(node)
        self.has_lost |= parted.finished_bytes < before
        self._done(0, parted.finished_bytes - before)
        for number, part_url in parted.missing(node):
            self._submit(file, node, number, part_url, parted.headers(number, headers), parted.span(number))
        if parted.is_whole:
            self._complete(file, node, parted)

    def _submit(
        self, file: LocalFile, node: dict[str, Any], number: int, url: str, headers: list[str], span: tuple[int, int]
    ) -> None:
        future = self._pool.submit(self._upload.put, file, url, headers, *span)
        self._running[future] = (file, node, number)

    def finish(self) -> tuple[list[LocalFile], ArtfsError | None]:
        """Wait for what was begun; return the files that were refused, and why one of them was."""
        try:
            while self._running:
                for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                    file, node, number = self._running.pop(future)
                    self._take(future, file, node, number)
        except BaseException:
            for future in self._running:
                future.cancel()
            raise
        return list(self._refused.values()), self._error

    def _take(self, future: Future[str], file: LocalFile, node: dict[str, Any], number: int) -> None:
        parted = self._parted.get(file.digest.base64) if number else None
        try:
            etag = future.result()
        except PermissionDeniedError as error:  # the URL has expired
            if parted is not None:
                parted.forget_urls()
            self._refuse(file, error)
            return
        except NotFoundError as error:  # the upload of which this is a part is not known any more
            if parted is None:
                raise
            self._lose(file, parted, error)
            return
        self.has_brought = True
        if parted is None:
            self._upload.arrived(file, node)
            self._done(1, file.size)
            return
        start, end = parted.span(number)
        parted.finish(number, etag)
        self._done(0, end - start)
        if parted.is_whole:
            self._complete(file, node, parted)

    def _complete(self, file: LocalFile, node: dict[str, Any], parted: PartedFile) -> None:
        try:
            self._upload.complete(parted, node)
        except UnreachableError:
            raise
        except (
            ArtfsError
        ) as error:  # the server has made one object of them earlier, or has dropped them: it says so when it is asked
            self._lose(file, parted, error)
            return
        self._upload.arrived(file, node)
        parted.forget()
        self._done(1, 0)

    def _lose(self, file: LocalFile, parted: PartedFile, error: ArtfsError) -> None:
        parted.forget()
        self.has_lost = True
        self._refuse(file, error)

    def _refuse(self, file: LocalFile, error: ArtfsError) -> None:
        self._refused[file.digest.base64] = file
        self._error = error


def _checked(node: object) -> dict[str, Any]:
    """Return an answer about one file, if it has what is needed of it."""
    match node:
        case {
            "uploadUrl": str() | None,
            "uploadHeaders": list(),
            "artifact": {"id": str()},
            "storagePath": str() | None,
        }:
            return cast("dict[str, Any]", node)
    raise IntegrityError("the W&B server does not say where a file goes")
