"""The control socket of a mount process: one JSON object a line, answered by one or more.

A request is ``{"op": ...}``; answers are ``{"progress": ...}`` while it runs, and at last ``{"result": ...}`` or
``{"error": {"type", "message", "hint"}}``. Only the user of the daemon and root are answered; the kernel says who is at
the other end.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from artfs.errors import ArtfsError, InvalidInputError
from artfs.model.secrets import redact_text
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from artfs.model.entry import JsonValue

    Message = dict[str, JsonValue]
    Operation = Callable[[Message], AsyncGenerator[Message, None]]

log = logging.getLogger(__name__)

MAX_REQUEST = 16 << 20  # bytes: a warm-up names a hundred thousand files


def listen(path: Path) -> trio.SocketListener:
    """Make the socket, replacing one that a dead process left. Mode 0600, in a directory of mode 0700."""
    make_private(path.parent)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    mask = os.umask(0o177)
    try:
        # The address of a Unix socket has at most 107 bytes: this one is short whatever the path is.
        server.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.umask(mask)
        os.close(directory)
    server.listen(16)
    return trio.SocketListener(trio.socket.from_stdlib_socket(server))


async def answer_all(listener: trio.SocketListener, operations: Mapping[str, Operation]) -> None:
    """Answer clients until cancelled."""

    async def handler(stream: trio.SocketStream) -> None:
        try:
            await _answer(stream, operations)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away; what it asked for goes on
        except Exception:
            log.exception("the control socket failed")

    await trio.serve_listeners(handler, [listener])


async def _answer(stream: trio.SocketStream, operations: Mapping[str, Operation]) -> None:
    async with stream:
        credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in {0, os.geteuid()}:
            log.warning("uid %d was refused at the control socket", uid)
            return
        try:
            request = await _receive(stream)
            operation = operations.get(str(request.get("op")))
            if operation is None:
                raise InvalidInputError(f"the mount knows no operation {request.get('op')!r}")
            async with aclosing(operation(request)) as messages:
                async for message in messages:
                    await _send(stream, message)
        except ArtfsError as error:
            text, hint = redact_text(error.message), redact_text(error.hint)
            details: Message = {"type": type(error).__name__, "message": text, "hint": hint}
            await _send(stream, {"error": details})


async def _receive(stream: trio.SocketStream) -> Message:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = await stream.receive_some(65536)
        data += chunk
        if not chunk or len(data) > MAX_REQUEST:
            raise InvalidInputError("the request has no end")
    try:
        request = json.loads(data)
    except ValueError as error:
        raise InvalidInputError(f"the request is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidInputError("the request is nested too deeply") from error
    if not isinstance(request, dict):
        raise InvalidInputError("the request is not an object")
    return request


async def _send(stream: trio.SocketStream, message: Message) -> None:
    await stream.send_all(json.dumps(message).encode() + b"\n")
