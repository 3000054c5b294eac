"""`ArtfsFileSystem`: artifacts for programs that read through fsspec, such as pandas, pyarrow, datasets and torch, without a mount.

fsspec finds it by the entry point ``artfs``. What paths mean is in `artfs.api.filesystem.tree`, how bytes are read in
`artfs.api.filesystem.blocks`. Errors are OSErrors (`artfs.api.filesystem.os_errors`). An instance holds settings and values only: it
may be used from threads, after a fork, and be pickled.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem, has_magic
from fsspec.utils import isfilelike, stringify_path, tokenize

from artfs.api.client import brought, carried, shared_client
from artfs.api.filesystem import blocks as blocks
from artfs.api.filesystem import glob as globbing
from artfs.api.filesystem import tree as tree
from artfs.api.filesystem.files import ArtfsFile
from artfs.api.filesystem.os_errors import os_errors
from artfs.api.filesystem.slices import read_slices
from artfs.api.session import default_client
from artfs.config import load_config
from artfs.content.export import export
from artfs.model.paths import EntryPath
from artfs.staging.calls import process_umask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from artfs.api.client import Client
    from artfs.api.filesystem.blocks import Content
    from artfs.api.filesystem.tree import Info, Located
    from artfs.model.entry import Entry

_SETTINGS = ("registry", "store", "entity", "data_dir", "cache_dir", "state_dir")
_OF_FSSPEC = {"use_listings_cache", "listings_expiry_time", "max_paths", "asynchronous", "loop", "skip_instance_cache"}


class ArtfsFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec is untyped
    """Artifacts, read-only: ``artfs://entity/project/name:alias/path``.

    ``settings`` are those of `artfs.Api`: ``registry``, ``store``, ``entity``, ``data_dir``, ``cache_dir``, ``state_dir``, ...; without any
    it is the registry of the present run, or of the environment. Every byte that is read is proven, as in a mount. A reader of several
    files that belong together names a version (``name:v3``): an alias may move between one file and the next.
    """

    protocol = "artfs"
    root_marker = ""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        named = {name: value for name, value in settings.items() if name not in _OF_FSSPEC and value is not None}
        self._own = shared_client(None, named) if named else None  # fsspec makes an instance for each thread
        self._tree = tree.Tree(lambda: self.client)
        self._fetchers = blocks.Fetchers()

    @property
    def client(self) -> Client:
        """The connection to the registry and the store."""
        return self._own or default_client()

    @property
    def fsid(self) -> str:
        """A name of the registry that is the same everywhere."""
        with os_errors(""):
            return f"artfs-{self.client.registry.id}"

    def __reduce__(self) -> tuple[Any, ...]:
        settings = dict(self.storage_options)
        if self._own is None and self.client.config != load_config():  # `artfs.init` was told what no environment says
            settings |= {name: str(getattr(self.client.config, name)) for name in _SETTINGS}
        return _make, (type(self), carried(settings))

    # Paths ------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = stringify_path(path)
        for prefix in ("artfs://", "artfs::"):
            text = text.removeprefix(prefix)
        return tree.normal(text)

    @classmethod
    def _parent(cls, path: str) -> str:
        return tree.parent(cls._strip_protocol(path))

    def _locate(self, path: str) -> Located:
        with os_errors(path):
            return self._tree.locate(path)

    def _file(self, path: str) -> Located:
        if not tree.is_above_versions(path):
            found = self._locate(path)
            if not found.node.is_dir:
                return found
        else:
            self.info(path)
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)

    # What is there ----------------------------------------------------------------------------------------------

    def info(self, path: str, **_: Any) -> Info:
        """Describe a path; FileNotFoundError.

        Files have ``size`` (bytes; None for a reference that does not say it), ``digest``, ``ref``; all in a version have ``created`` and
        ``version``.
        """
        path = self._strip_protocol(path)
        with os_errors(path):
            return self._tree.info(path) if tree.is_above_versions(path) else self._tree.locate(path).info()

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a directory, or describe the one file that a path names; FileNotFoundError."""
        path = self._strip_protocol(path)
        with os_errors(path):
            if tree.is_above_versions(path):
                infos = self._tree.list(path)
            else:
                found = self._tree.locate(path)
                infos = [info for _, info in found.children()] if found.node.is_dir else [found.info()]
        infos.sort(key=lambda info: info["name"])
        return infos if detail else [info["name"] for info in infos]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """List all files below a path; nothing if there is no such path."""
        path = self._strip_protocol(path)
        if tree.is_above_versions(path):
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        try:
            with os_errors(path):
                found = self._tree.locate(path)
                infos = list(found.below(maxdepth, directories=withdirs)) if found.node.is_dir else [found.info()]
        except FileNotFoundError:
            infos = []
        else:
            if withdirs and found.node.is_dir:
                infos.append(found.info())
        infos.sort(key=lambda info: info["name"])
        return {info["name"]: info for info in infos} if detail else [info["name"] for info in infos]

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """List what matches a pattern, which may match versions and aliases, too: ``me/demo/data:v*/*.csv``."""
        upper, inner = tree.split(self._strip_protocol(path))
        if not has_magic(upper) or "**" in upper:
            return super().glob(path, maxdepth, **kwargs)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        found = globbing.matching(self, upper, inner, maxdepth)
        if stringify_path(path).endswith("/"):
            found = {name: info for name, info in found.items() if info["type"] == "directory"}
        return found if kwargs.get("detail") else list(found)

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a path; OSError where that cannot be told."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: str) -> bool:
        """Whether a path is a directory; OSError where that cannot be told."""
        return self._is(path, "directory")

    def isfile(self, path: str) -> bool:
        """Whether a path is a file; OSError where that cannot be told."""
        return self._is(path, "file")

    def _is(self, path: str, kind: str) -> bool:
        try:
            return bool(self.info(path)["type"] == kind)
        except FileNotFoundError:
            return False

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the sizes of the files below a path, or their sum (bytes)."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes = {name: info["size"] or 0 for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    def created(self, path: str) -> datetime:
        """Return when the version or the collection was made."""
        info = self.info(path)
        if "created" not in info:
            raise NotImplementedError(f"of {path!r} no time is recorded")
        return info["created"]  # type: ignore[no-any-return]

    def modified(self, path: str) -> datetime:
        """Return when a path has changed last: files of a version never do."""
        self.created(path)
        return self.info(path)["mtime"]  # type: ignore[no-any-return]

    def ukey(self, path: str) -> str:
        """Return what names the content: the digest of a file, and of the version for a directory in it."""
        path = self._strip_protocol(path)
        if tree.is_above_versions(path):
            return str(super().ukey(path))
        found = self._locate(path)
        return f"{found.version.digest}/{found.inner}" if found.node.is_dir else found.entry.digest

    def checksum(self, path: str) -> int:
        """Return a number that is the same as long as the content is."""
        return int(tokenize(self.ukey(path)), 16)

    # Bytes ------------------------------------------------------------------------------------------------------

    def _open(self, path: str, mode: str = "rb", **_: Any) -> ArtfsFile:
        path = self._strip_protocol(path)
        if mode != "rb":
            _refuse(path)
        found = self._file(path)
        content = self._content_of(found)
        return ArtfsFile(self, content, found.info(), found.pinned)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file, or of a slice of it."""
        content = self._content(path)
        with os_errors(path):
            return blocks.read(content, *blocks.bounds(content, start, end))

    def _content(self, path: str) -> Content:
        return self._content_of(self._file(self._strip_protocol(path)))

    def _content_of(self, found: Located) -> Content:
        with os_errors(found.info()["name"]):
            client = self.client
            return blocks.content_of(client, self._fetchers, client.services.targets.of(found.entry))

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """Return slices of files, several at a time; those that lie close together come in one request."""
        if not isinstance(paths, list):
            raise TypeError("paths is a list")
        del max_gap
        starts, ends = (one if isinstance(one, list) else [one] * len(paths) for one in (starts, ends))
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("there is one start and one end for each path")
        asked: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            asked.setdefault(self._strip_protocol(path), []).append(number)
        results: list[Any] = [None] * len(paths)
        for numbers, answer in read_slices(self._fetchers.current(), self._content, asked, starts, ends):
            if isinstance(answer, OSError) and on_error != "return":
                raise answer
            for place, number in enumerate(numbers):
                results[number] = answer if isinstance(answer, OSError) else answer[place]
        return results

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """Return the bytes of a file, or of several by their paths, several at a time."""
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and not isinstance(path, list) and paths[0] == self._strip_protocol(path):
            return self.cat_file(paths[0], **kwargs)
        if recursive:
            paths = [one for one in paths if not self.isdir(one)]
        found: dict[str, Any] = {}
        threads = self._fetchers.current()
        for one, answer in zip(paths, threads.each(lambda one: self.cat_file(one, **kwargs), paths), strict=True):
            if not isinstance(answer, OSError) or on_error == "return":
                found[one] = answer
            elif on_error == "raise":
                raise answer
        return found

    # To local files ---------------------------------------------------------------------------------------------

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """Write a file to a local path, proven and whole or not at all, or to an open file."""
        if outfile is not None or isfilelike(lpath):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **kwargs)
            return
        rpath, target = self._strip_protocol(rpath), os.path.realpath(lpath)
        if self.isdir(rpath):
            Path(target).mkdir(parents=True, exist_ok=True)
            return
        if Path(target).is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a directory", target)
        found = self._file(rpath)
        callback.set_size(found.entry.size or None)
        directory, name = os.path.split(target)
        entry = dataclasses.replace(found.entry, path=EntryPath(name))
        self._export(found, [entry], directory, lambda _, size: callback.relative_update(size))

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Write files to local ones; a directory of a version comes in one piece, with several files at a time."""
        text = None if isinstance(rpath, list) else stringify_path(rpath)
        path = self._strip_protocol(rpath)
        plain = text is not None and recursive and maxdepth is None and isinstance(lpath, str | os.PathLike)
        if not plain or has_magic(path) or tree.is_above_versions(path) or not self.isdir(path):
            super().get(rpath, lpath, recursive=recursive, callback=callback, maxdepth=maxdepth, **kwargs)
            return
        found, target = self._locate(path), os.fspath(lpath)
        if (target.endswith("/") or Path(target).is_dir()) and not (text or "").endswith("/"):
            target = str(Path(target) / path.rpartition("/")[2])
        length = len(found.inner) + 1 if found.inner else 0
        entries = found.index.entries(found.node.number)
        self._export(
            found,
            (dataclasses.replace(entry, path=EntryPath(entry.path[length:])) for entry in entries),
            target,
            lambda files, _: callback.relative_update(files),
        )

    def _export(
        self, found: Located, entries: Iterable[Entry], directory: str, done: Callable[[int, int], object]
    ) -> None:
        client = self.client
        with os_errors(directory):
            services = client.services
            export(
                entries, services.reader, Path(directory), found.version.created_at, client.config.threads,
                replace=True, umask=process_umask(), done=done, target=services.targets.of,
            )  # fmt: skip

    # Read-only --------------------------------------------------------------------------------------------------

    def _refused(self, path: Any = "", *_: Any, **__: Any) -> NoReturn:
        """Refuse: a version never changes. OSError with EROFS."""
        _refuse(path)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = cp_file = copy = mv = touch = _refused
    pipe = pipe_file = put = put_file = write_bytes = write_text = _refused


def _refuse(path: Any) -> NoReturn:
    raise OSError(errno.EROFS, "artifacts are read-only here: log a new version with artfs.Artifact", str(path))


def _make(cls: type[ArtfsFileSystem], settings: dict[str, Any]) -> ArtfsFileSystem:
    return cls(**brought(settings))
