"""The mount process: put the parts together, serve until told to end, and end well.

Started by `artfs.app.launch` as ``python -m artfs.app.daemon MOUNTPOINT``; the settings come in on stdin as JSON, and
readiness or the error goes out as `artfs.app.launcher` says. Order of the end: stop taking requests, let running commits
stop at their next step (or finish, when the mount was unmounted and nobody asked for haste), then give back drafts and
registry.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from artfs.app import control
from artfs.app.client import socket_name
from artfs.app.daemon_ops import DaemonOperations
from artfs.app.launcher import Command, Launcher, Terminal
from artfs.app.logs import MountLog, open_log
from artfs.app.pins import restore_pins
from artfs.app.places import make_collection
from artfs.app.services import Services, open_services
from artfs.app.systemd import Systemd
from artfs.app.unmount import detach_passed
from artfs.app.warm import Warmer
from artfs.app.watch_ops import watched
from artfs.config import Config, config_from_json
from artfs.content.following_pipeline import FollowingPipeline
from artfs.content.pipeline import deadline_after
from artfs.errors import ArtfsError, UnreachableError
from artfs.fuse.device import check_device
from artfs.fuse.measures import Measures
from artfs.fuse.options import MountOptions, parse_options
from artfs.fuse.session import Kernel, mounted, serve, stop_serving
from artfs.model.digest import Digest
from artfs.model.reference import redact
from artfs.model.secrets import secrets_of
from artfs.vfs.catalog import Catalog
from artfs.vfs.commits import Commits
from artfs.vfs.drafts import DraftTree
from artfs.vfs.filesystem import FileSystem
from artfs.vfs.inodes import Slots
from artfs.vfs.lineage import Lineage
from artfs.vfs.namespace import Kind, Namespace
from artfs.vfs.processes import Processes
from artfs.vfs.types import Inode, Owner
from artfs.vfs.versions import Versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.model.names import CollectionRef
    from artfs.staging.drafts import Draft, Drafts

log = logging.getLogger("artfs")

_STATVFS_AGE = 5.0  # seconds
_ORPHANS_INTERVAL = 10.0  # seconds between looks for commits whose process has died
_LAST_USES_WAIT = 15.0  # seconds that the end of a mount waits for the registry to take the uses of versions
_AWAY_WAIT = 3.0  # the same while the registry is away


class _DiskSpace:
    """What `df` shows: the disk of the drafts, looked at by a thread now and then, answered from memory."""

    def __init__(self, path: Path, nursery: trio.Nursery) -> None:
        self._path = path
        self._nursery = nursery
        self._latest = os.statvfs(path)
        self._asked = trio.current_time()

    def __call__(self) -> os.statvfs_result:
        if trio.current_time() - self._asked > _STATVFS_AGE:
            self._asked = trio.current_time()
            self._nursery.start_soon(self._look)
        return self._latest

    async def _look(self) -> None:
        try:
            self._latest = await trio.to_thread.run_sync(os.statvfs, self._path, abandon_on_cancel=True)
        except OSError as error:
            log.warning("the disk of %s cannot be looked at: %s", self._path, error)


def build(
    services: Services,
    options: MountOptions,
    kernel: Kernel,
    nursery: trio.Nursery,
    socket: Path,
    pipeline: FollowingPipeline,
) -> tuple[FileSystem, Commits, DraftTree, Catalog, Lineage]:
    """Put the file system of one mount together."""
    config, registry = services.config, services.registry
    owner = Owner(options.uid, options.gid, options.umask)
    catalog = Catalog(registry, config.metadata_ttl)
    slots = Slots(config.data_dir / "inodes.sqlite", registry.id)
    versions = Versions(catalog, services.indexes, slots, pipeline, services.open_index, owner)

    def place(kind: Kind, collection: CollectionRef) -> Inode:
        return namespace.place(kind, collection)

    def parent_of(draft: Draft) -> Inode:
        return place(Kind.COMMIT if commits.is_frozen(draft) else Kind.STAGING, draft.collection)

    def has_drafts(collection: CollectionRef) -> bool:
        return bool(commits.staged(collection) or commits.committing(collection))

    commits = Commits(services.drafts, services.committer(patience=0), catalog, kernel, place, nursery)
    drafts = DraftTree(pipeline, services.reader, commits.is_frozen, parent_of, owner)
    commits.gone = drafts.gone
    namespace = Namespace(catalog, registry, versions, kernel, has_drafts, owner, read_only=options.read_only)
    lineage = Lineage(Processes(), registry, catalog)
    about = {
        "control": os.fsencode(socket),
        "pid": str(os.getpid()).encode(),
        "registry": redact(config.registry).encode(),
    }
    filesystem = FileSystem(
        namespace,
        versions,
        drafts,
        commits,
        catalog,
        registry,
        pipeline,
        lineage,
        _DiskSpace(config.data_dir, nursery),
        owner,
        about,
        read_only=options.read_only,
        shared=options.allow_other,
    )
    return filesystem, commits, drafts, catalog, lineage


def _adopt_drafts(services: Services) -> None:
    """Take over the drafts that no process owns, and make sure that their collections have a directory to show them in."""
    for draft in services.drafts.acquire():
        if services.config.offline:  # what was not seen cannot be made
            continue
        try:
            make_collection(services.registry, draft.collection)
        except UnreachableError as error:
            log.warning("draft %r of %s may not show: %s", draft.name, draft.collection, error)


async def run(
    config: Config,
    mountpoint: Path,
    options: MountOptions,
    mount_log: MountLog,
    announce: Callable[[], None],
    systemd: Systemd,
    *,
    owner: int | None = None,
    passed: int | None = None,
) -> None:
    """Mount, serve and end, at the latest when the process ``owner`` does. ``announce`` is called when the mount answers.

    ``passed`` is the descriptor of a ``/dev/fuse`` that somebody else has mounted.
    """
    if passed is None:
        check_device()
    device = mountpoint if passed is None else Path(f"/dev/fd/{passed}")
    seen = mountpoint if passed is None or device != mountpoint else None
    # Two processes with the same descriptor and one runtime directory must not take each other's socket.
    socket = config.runtime_dir / f"{socket_name(seen or Path(f'{device}#{os.getpid()}'))}.sock"
    kernel, measures = Kernel(), Measures()
    with open_services(config, shared=options.allow_other, mountpoints=[str(mountpoint)]) as services:
        if not options.read_only:
            await trio.to_thread.run_sync(_adopt_drafts, services)
        async with trio.open_nursery() as background:
            pipeline = FollowingPipeline(
                services.reader, background, services.targets, deadline_after(config.retry_seconds)
            )
            filesystem, commits, drafts, catalog, lineage = build(
                services, options, kernel, background, socket, pipeline
            )
            listener = control.listen(socket)
            try:
                async with (
                    watched(
                        services,
                        commits,
                        measures,
                        mount_log,
                        mountpoint,
                        partial(_end, commits),
                        background,
                        read_only=options.read_only,
                    ) as watching,
                    mounted(filesystem, device, options, measures) as greeted,
                ):
                    kernel.start()
                    background.start_soon(_obey_signals, commits, catalog, services)
                    if owner is not None:
                        background.start_soon(_end_with, owner, commits)
                    operations = DaemonOperations(
                        services,
                        mountpoint,
                        commits,
                        drafts.handles.settle,
                        catalog,
                        lineage,
                        kernel,
                        read_only=options.read_only,
                    )
                    warmer = Warmer(services, pipeline, background)
                    table = {**operations.table, **watching, "warm": warmer.warm}
                    background.start_soon(control.answer_all, listener, table)
                    background.start_soon(restore_pins, services)
                    background.start_soon(_warm_up, services)
                    background.start_soon(lineage.record)
                    commits.resume()
                    if not options.read_only:
                        background.start_soon(_finish_orphans, services.drafts, commits)
                    background.start_soon(systemd.keep_alive, seen)
                    await serve(seen, greeted, announce)
                    systemd.tell("STOPPING=1")
                if passed is not None:
                    await trio.to_thread.run_sync(detach_passed, seen)
                log.info("unmounted %s", mountpoint)
                kernel.stop()
                await commits.end()
                lost = await lineage.flush(_AWAY_WAIT if lineage.away else _LAST_USES_WAIT)
                if lost:
                    log.warning(
                        "%d uses of versions by runs are not recorded: %s", lost, lineage.away or "no time left"
                    )
            finally:
                socket.unlink(missing_ok=True)
            background.cancel_scope.cancel()


async def _finish_orphans(drafts: Drafts, commits: Commits) -> None:
    """Look now and then for commits that a process has begun and can no longer finish, and go on with them."""
    told = ""
    while True:
        await trio.sleep(_ORPHANS_INTERVAL)
        try:
            commits.resume(await trio.to_thread.run_sync(drafts.orphaned_commits))
        except (ArtfsError, OSError) as error:
            if str(error) != told:
                log.warning("commits that nobody finishes cannot be looked for: %s", error)
            told = str(error)
        except Exception:  # a mistake of the program must not end the mount
            log.exception("commits that nobody finishes are not looked for any more")
            return


async def _warm_up(services: Services) -> None:
    """Make the clients of a store elsewhere before the first read needs them: it takes them half a second."""

    def ask() -> None:
        services.cache()
        services.store.has(Digest.of(b""))

    if not services.store.local and not services.config.offline:
        try:
            await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
        except ArtfsError as error:
            log.warning("the store %s cannot be used now: %s", redact(services.config.store), error)


async def _obey_signals(commits: Commits, catalog: Catalog, services: Services) -> None:
    """End on SIGTERM and SIGINT; on SIGHUP, which would otherwise leave a dead mount point, read credentials and ask the registry anew."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number == signal.SIGHUP:
                await _begin_anew(catalog, services)
                continue
            log.info("ending on %s", signal.Signals(number).name)
            _end(commits, haste=True)


async def _begin_anew(catalog: Catalog, services: Services) -> None:
    """Forget credentials, and what the registry said."""
    try:
        await trio.to_thread.run_sync(services.backends.renew)
    except Exception:  # a session that cannot be closed must not end the mount
        log.exception("credentials may not be read again")
    catalog.forget()
    log.info("on SIGHUP, credentials are read again, and the registry is asked anew")


def _end(commits: Commits, haste: bool) -> None:
    """End the mount. In ``haste``, commits under way stop at their next step, and the next mount resumes them."""
    if haste:
        commits.stop()
    stop_serving()


async def _end_with(owner: int, commits: Commits) -> None:
    """End when another process does."""
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        pass
    else:
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
    log.info("ending with process %d", owner)
    _end(commits, haste=True)


def main() -> int:
    """Run the mount process: the arguments are those that `artfs.app.launch` gives."""
    mountpoint, settings = Path(sys.argv[1]), json.load(sys.stdin)
    config = config_from_json(settings["config"])
    report, foreground = settings["report"], bool(settings["foreground"])
    launcher: Launcher = Terminal(settings["lock"]) if report is None else Command(report)
    systemd = Systemd.of(os.environ)
    path = config.state_dir / "log" / f"{socket_name(mountpoint)}.log"
    secrets = secrets_of(os.environ, [config.registry, config.store])
    mount_log = open_log(None if foreground else path, config.log_level, secrets)
    # Every file of a draft that anybody has open is open here too.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def announce() -> None:
        log.info("mounted %s: registry %s, pid %d", mountpoint, redact(config.registry), os.getpid())
        if settings["automount"]:
            os.setsid()
        launcher.ready(str(path))
        systemd.tell(f"READY=1\nSTATUS=serving {mountpoint}")

    gc.freeze()  # the modules: nothing of them is garbage, and looking takes time from readers
    owner, options = settings["owner"], parse_options(settings["options"])
    how = {"owner": owner, "passed": settings["passed"]}
    serve_all = partial(run, config, mountpoint, options, mount_log, announce, systemd, **how)
    code = 0
    try:
        trio.run(serve_all)
    except* ArtfsError as group:
        error = first_error(group)
        if not foreground:
            log.error("the mount failed: %s", error)  # noqa: TRY400 - the message says it all
        launcher.failed(error)
        code = error.exit_code
    except* Exception as group:
        log.exception("the mount failed")
        hint = "see above" if foreground else f"see {path}"
        launcher.failed(ArtfsError(f"the mount process failed: {group.exceptions[0]!r}", hint=hint))
        code = 1
    mount_log.say_due(at_once=True)
    if owner is not None:
        with contextlib.suppress(OSError):  # the owner has done so
            mountpoint.rmdir()
        if code == 0:
            path.unlink(missing_ok=True)  # the next mount of a program is at another place, and has another log
    return code


def first_error(group: BaseExceptionGroup[ArtfsError]) -> ArtfsError:
    """Return the first error of a group of groups."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, ArtfsError) else ArtfsError(str(found))


if __name__ == "__main__":
    sys.exit(main())
