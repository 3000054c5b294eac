"""The client of the control socket, and how to find the mount that a path lies in.

Used by the CLI; imports neither trio nor a backend. A mount says where its socket is by an extended attribute of its root.
"""

from __future__ import annotations

import json
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs import errors
from artfs.errors import ArtfsError, UnreachableError
from artfs.model.digest import Digest
from artfs.model.reference import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artfs.config import Config
    from artfs.model.entry import JsonValue
    from artfs.model.names import CollectionRef

    Message = dict[str, JsonValue]

FILE_SYSTEM_TYPE = "fuse.artfs"
_ESCAPE = re.compile(rb"\\([0-7]{3})")  # how mountinfo writes blanks and backslashes
CONTROL_XATTR = "user.artfs.control"


@dataclass(frozen=True, slots=True)
class MountInfo:
    """A live mount: where it is, and where it takes requests."""

    mountpoint: Path
    socket: Path


@dataclass(frozen=True, slots=True)
class TableEntry:
    """An artfs in the mount table: ``minor`` of its device, ``uid`` of the user who mounted it, ``options`` of the superblock."""

    mountpoint: Path
    minor: int
    uid: int | None
    options: frozenset[str]


def mount_table(table: bytes | None = None) -> list[TableEntry]:
    """Return the artfs mounts that this process sees, in the order in which they were mounted. ``table`` is mountinfo, or of a test."""
    found = []
    for line in (Path("/proc/self/mountinfo").read_bytes() if table is None else table).split(b"\n"):
        fields = line.split(b" ")
        if len(fields) > 6 and fields[(dash := fields.index(b"-")) + 1] == FILE_SYSTEM_TYPE.encode():
            path = unescape(fields[4])
            options = frozenset(os.fsdecode(fields[dash + 3]).split(","))
            uid = next((int(one[8:]) for one in options if re.fullmatch(r"user_id=\d+", one)), None)
            found.append(TableEntry(Path(os.fsdecode(path)), int(fields[2].partition(b":")[2]), uid, options))
    return found


def unescape(path: bytes) -> bytes:
    """Return a path that mountinfo writes with escapes."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), path)


def mount_points() -> list[tuple[Path, int]]:
    """Return the artfs mounts that this process sees and their device minors, in the order in which they were mounted."""
    return [(entry.mountpoint, entry.minor) for entry in mount_table()]


def mount_of(path: Path) -> Path | None:
    """Return the mount point that a path lies in, without asking the mount."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would ask a mount that may be dead
    candidates = [mountpoint for mountpoint, _ in mount_points() if absolute.is_relative_to(mountpoint)]
    return max(candidates, key=lambda mountpoint: len(mountpoint.parts), default=None)


def find_mount(path: str) -> MountInfo | None:
    """Return the live mount that a path lies in."""
    mountpoint = mount_of(Path(path)) or mount_of(Path(os.path.realpath(path)))
    if mountpoint is None:
        return None
    try:
        control = os.getxattr(mountpoint, CONTROL_XATTR)
    except OSError as error:
        raise UnreachableError(
            f"the mount at {mountpoint} does not answer: {error.strerror}", hint=f"artfs mount {mountpoint}"
        ) from error
    return MountInfo(mountpoint, Path(os.fsdecode(control)))


def socket_name(mountpoint: Path) -> str:
    """Return a file name for a mount point: the same for the same path, short and plain."""
    return Digest.of(os.fsencode(mountpoint)).hex[:16]


def control_directories(config: Config) -> list[Path]:
    """Return where the control sockets of this user's mounts are: of a login session, and of mounts that outlive it (fstab, systemd)."""
    lasting = config.state_dir / "run"
    return [config.runtime_dir, *([lasting] if lasting != config.runtime_dir and lasting.is_dir() else [])]


def control_sockets(config: Config) -> list[Path]:
    """Return the control sockets of the mounts of this user, those of dead ones too."""
    return sorted(path for directory in control_directories(config) for path in directory.glob("*.sock"))


def statuses(config: Config) -> Iterator[dict[str, Any]]:
    """Yield what each live mount of this user says of itself."""
    for control in control_sockets(config):
        try:
            for answer in request(control, {"op": "status"}, timeout=5.0):
                status: Any = answer["result"]
                yield {**status, "control": str(control)}
        except ArtfsError:
            continue  # one that a dead process has left


def mount_of_registry(config: Config) -> MountInfo | None:
    """Return a live mount of this user that shows the registry of the settings and can be written to."""
    for status in statuses(config):
        seen = not status["mountpoint"].startswith("/dev/fd/")
        if seen and status["registry"] == redact(config.registry) and not status.get("read_only"):
            return MountInfo(Path(status["mountpoint"]), Path(status["control"]))
    return None


def request(control: Path, message: Message, timeout: float | None = None) -> Iterator[Message]:
    """Send a request and yield its answers: progress, and the result last. Raises the ArtfsError that the mount answers."""
    try:
        with _connect(control, timeout) as connection, connection.makefile("rwb") as stream:
            stream.write(json.dumps(message).encode() + b"\n")
            stream.flush()
            for line in stream:
                answer: Message = json.loads(line)
                if "error" in answer:
                    raise error_of(answer["error"])
                yield answer
                if "result" in answer:
                    return
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise UnreachableError(
            f"the mount process has died: nobody listens at {control}", hint="artfs mount repairs what it has left"
        ) from error
    except OSError as error:
        raise UnreachableError(f"the mount process does not answer at {control}: {error}") from error
    raise UnreachableError(
        "the mount process ended before it had answered", hint="see its log; a commit is resumed by the next mount"
    )


def refresh_all(config: Config, collection: CollectionRef | None = None, names: Iterable[str] = ()) -> None:
    """Tell the mounts of this user that names of a collection changed, so that it shows at once. Never fails."""
    message: Message = {"op": "refresh"}
    if collection is not None:
        message |= {"collection": str(collection), "names": list(names)}
    for control in control_sockets(config):
        try:
            for _ in request(control, message, timeout=1.0):
                pass
        except ArtfsError:
            continue  # a mount that ended, or is busy: it sees the change when its answers expire


def _connect(control: Path, timeout: float | None) -> socket.socket:
    directory = os.open(control.parent, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(f"/proc/self/fd/{directory}/{control.name}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def error_of(details: JsonValue) -> ArtfsError:
    """Return the error that another process of artfs reported."""
    if not isinstance(details, dict):
        return UnreachableError("the mount answered with an error that says nothing")
    kind = getattr(errors, str(details.get("type")), ArtfsError)
    if not (isinstance(kind, type) and issubclass(kind, ArtfsError)):
        kind = ArtfsError
    return kind(str(details.get("message")), hint=str(details.get("hint") or ""))
