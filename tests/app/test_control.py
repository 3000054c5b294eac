"""The control socket: who is answered, what is understood, what a client hears when something goes wrong."""

import json
import os
import socket
import stat

import pytest
import trio

from artfs.app import control
from artfs.app.client import request
from artfs.app.control import MAX_REQUEST, answer_all, listen
from artfs.errors import BusyError, InvalidInputError, UnreachableError

NOBODY = 65534


async def echo(message):
    yield {"result": message}


async def count(message):
    for number in range(message["to"]):
        yield {"progress": number}
    yield {"result": "done"}


async def refuse(_):
    yield {"progress": 1}
    raise BusyError("the draft is in use", hint="wait")


async def break_down(_):
    yield {"progress": 1}
    raise ZeroDivisionError("a bug")


OPERATIONS = {"echo": echo, "count": count, "refuse": refuse, "break_down": break_down}


async def ask(path, message):
    return await trio.to_thread.run_sync(lambda: list(request(path, message)))


async def talk(path, *pieces, end=True):
    """Send bytes as they are, and return every byte of the answer."""
    with trio.socket.socket(trio.socket.AF_UNIX) as client:
        await client.connect(str(path))
        stream = trio.SocketStream(client)
        for piece in pieces:
            await stream.send_all(piece)
        if end:
            await stream.send_eof()
        return b"".join([chunk async for chunk in stream])


# Answers --------------------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_request_is_answered_with_its_result(tmp_path, serve):
    serve(tmp_path / "s", OPERATIONS)
    message = {"op": "echo", "text": "ü\n\u2028", "list": [1, None, {"a": True}]}
    assert await ask(tmp_path / "s", message) == [{"result": message}]


@pytest.mark.trio
async def test_progress_comes_before_the_result(tmp_path, serve):
    serve(tmp_path / "s", OPERATIONS)
    answers = await ask(tmp_path / "s", {"op": "count", "to": 3})
    assert answers == [{"progress": 0}, {"progress": 1}, {"progress": 2}, {"result": "done"}]


@pytest.mark.trio
async def test_progress_is_heard_while_the_operation_runs(tmp_path, serve):
    heard = trio.Event()

    async def wait(_):
        yield {"progress": "waiting"}
        await heard.wait()
        yield {"result": "heard"}

    serve(tmp_path / "s", {"wait": wait})

    def client():
        answers = request(tmp_path / "s", {"op": "wait"})
        first = next(answers)
        trio.from_thread.run_sync(heard.set)
        return [first, *answers]

    assert await trio.to_thread.run_sync(client) == [{"progress": "waiting"}, {"result": "heard"}]


@pytest.mark.trio
async def test_clients_are_answered_at_the_same_time(tmp_path, serve):
    inside, everyone = [], trio.Event()

    async def meet(_):
        inside.append(1)
        if len(inside) == 5:
            everyone.set()
        await everyone.wait()
        yield {"result": len(inside)}

    serve(tmp_path / "s", {"meet": meet})
    async with trio.open_nursery() as clients:
        for _ in range(5):
            clients.start_soon(ask, tmp_path / "s", {"op": "meet"})
    assert len(inside) == 5


@pytest.mark.trio
async def test_an_error_of_artfs_reaches_the_client_as_it_was_raised(tmp_path, serve):
    serve(tmp_path / "s", OPERATIONS)
    with pytest.raises(BusyError) as caught:
        await ask(tmp_path / "s", {"op": "refuse"})
    assert (caught.value.message, caught.value.hint) == ("the draft is in use", "wait")
    assert await ask(tmp_path / "s", {"op": "echo"}) == [{"result": {"op": "echo"}}]


@pytest.mark.trio
@pytest.mark.expects_warning("the control socket failed")
async def test_a_bug_in_an_operation_ends_its_answer_and_nothing_else(tmp_path, serve, caplog):
    serve(tmp_path / "s", OPERATIONS)
    with pytest.raises(UnreachableError, match="ended before it had answered"):
        await ask(tmp_path / "s", {"op": "break_down"})
    assert "ZeroDivisionError: a bug" in caplog.text
    assert await ask(tmp_path / "s", {"op": "echo"}) == [{"result": {"op": "echo"}}]


# Requests that mean nothing -------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize("name", ["fly", "", None, ["echo"], {"echo": 1}, 5])
async def test_an_unknown_operation_is_named(tmp_path, serve, name):
    serve(tmp_path / "s", OPERATIONS)
    with pytest.raises(InvalidInputError) as caught:
        await ask(tmp_path / "s", {"op": name})
    assert f"knows no operation {name!r}" in caught.value.message


@pytest.mark.trio
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "not JSON"),
        (b"{'op': 'echo'}\n", "not JSON"),
        (b'{"op": "echo"\n', "not JSON"),
        (b'{"op": "echo"} {}\n', "not JSON"),
        (b'{"op": "\xff"}\n', "not JSON"),
        (b'["echo"]\n', "not an object"),
        (b'"echo"\n', "not an object"),
        (b"null\n", "not an object"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"{}\n", "no operation None"),
        (b"", "has no end"),
        (b'{"op": "echo"}', "has no end"),
    ],
)
async def test_what_is_no_request_is_refused_with_the_reason(tmp_path, serve, line, reason):
    serve(tmp_path / "s", OPERATIONS)
    (answer,) = (await talk(tmp_path / "s", line)).splitlines()
    error = json.loads(answer)["error"]
    assert (error["type"], error["hint"]) == ("InvalidInputError", "")
    assert reason in error["message"]
    assert await ask(tmp_path / "s", {"op": "echo"}) == [{"result": {"op": "echo"}}]


@pytest.mark.trio
async def test_a_request_may_come_in_pieces(tmp_path, serve):
    serve(tmp_path / "s", OPERATIONS)
    line = b'{"op": "echo", "text": "\xc3\xbc"}\n'
    answer = await talk(tmp_path / "s", *(line[at : at + 1] for at in range(len(line))), end=False)
    assert json.loads(answer) == {"result": {"op": "echo", "text": "ü"}}


@pytest.mark.trio
async def test_the_longest_request_is_answered_and_a_longer_one_is_refused(tmp_path, serve):
    serve(tmp_path / "s", {"size": lambda message: size(message)})

    async def size(message):
        yield {"result": len(message["text"])}

    frame = len(b'{"op": "size", "text": ""}\n')
    fits = b'{"op": "size", "text": "' + b"x" * (MAX_REQUEST - frame) + b'"}\n'
    assert len(fits) == MAX_REQUEST
    assert json.loads(await talk(tmp_path / "s", fits, end=False)) == {"result": MAX_REQUEST - frame}
    for long in (b"x" + fits, b"x" * (MAX_REQUEST + 1)):
        error = json.loads(await talk(tmp_path / "s", long, end=False))["error"]
        assert (error["type"], error["message"]) == ("InvalidInputError", "the request has no end")


@pytest.mark.trio
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # it is ended by the garbage collector
async def test_a_client_that_goes_away_does_not_disturb_the_others(tmp_path, serve):
    gone = trio.Event()

    async def endless(_):
        try:
            while True:
                yield {"progress": "x" * 100_000}
        finally:
            gone.set()

    serve(tmp_path / "s", {**OPERATIONS, "endless": endless})

    def leave():
        answers = request(tmp_path / "s", {"op": "endless"})
        next(answers)
        answers.close()

    await trio.to_thread.run_sync(leave)
    await gone.wait()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    assert await ask(tmp_path / "s", {"op": "echo"}) == [{"result": {"op": "echo"}}]


# Who is answered ------------------------------------------------------------------------------------------------

CLIENT = """
from pathlib import Path
from artfs.app.client import request
from artfs.errors import ArtfsError
try:
    print(list(request(Path({path!r}), {{"op": "echo"}})))
except ArtfsError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def open_socket(public, serve):
    """A socket that the file system lets everybody connect to."""
    serve(public / "s", OPERATIONS)
    (public / "s").chmod(0o666)
    return public / "s"


@pytest.mark.trio
@pytest.mark.expects_warning("uid 65534 was refused at the control socket")
async def test_another_user_is_refused_without_an_answer(open_socket, python_as, caplog):
    answer = await python_as(NOBODY, CLIENT.format(path=str(open_socket)))
    assert answer.startswith("UnreachableError the mount process")
    assert "uid 65534 was refused" in caplog.text
    assert await ask(open_socket, {"op": "echo"}) == [{"result": {"op": "echo"}}]


@pytest.mark.trio
async def test_another_user_cannot_even_connect(public, serve, python_as):
    serve(public / "s", OPERATIONS)
    answer = await python_as(NOBODY, CLIENT.format(path=str(public / "s")))
    assert answer.startswith("UnreachableError")
    assert "Permission denied" in answer


@pytest.mark.trio
async def test_the_user_of_the_daemon_is_answered_and_so_is_root(open_socket, python_as, monkeypatch):
    monkeypatch.setattr(control.os, "geteuid", lambda: NOBODY)
    assert await python_as(NOBODY, CLIENT.format(path=str(open_socket))) == "[{'result': {'op': 'echo'}}]\n"
    assert await python_as(0, CLIENT.format(path=str(open_socket))) == "[{'result': {'op': 'echo'}}]\n"


# The socket itself ----------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_the_socket_and_its_directory_are_for_this_user_alone(tmp_path):
    old = os.umask(0)
    try:
        listener = listen(tmp_path / "run" / "s.sock")
        assert os.umask(0) == 0  # it was put back
    finally:
        os.umask(old)
    status = (tmp_path / "run" / "s.sock").stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    await listener.aclose()


@pytest.mark.trio
async def test_a_path_longer_than_an_address_works_for_daemon_and_client(tmp_path, serve):
    path = tmp_path / ("x" * 120) / ("y" * 120) / "s.sock"
    serve(path, OPERATIONS)
    assert await ask(path, {"op": "echo"}) == [{"result": {"op": "echo"}}]


@pytest.mark.trio
async def test_what_a_dead_process_left_is_replaced(tmp_path, serve):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    with pytest.raises(UnreachableError, match="nobody listens"):
        await ask(path, {"op": "echo"})
    serve(path, OPERATIONS)
    assert await ask(path, {"op": "echo"}) == [{"result": {"op": "echo"}}]


@pytest.mark.trio
async def test_answering_ends_when_it_is_cancelled_even_with_clients(tmp_path):
    async def forever(_):
        yield {"progress": 0}
        await trio.sleep_forever()
        yield {"result": None}

    listener = listen(tmp_path / "s")
    async with trio.open_nursery() as daemon:
        daemon.start_soon(answer_all, listener, {"forever": forever})
        client = trio.SocketStream(await connected(tmp_path / "s"))
        await client.send_all(b'{"op": "forever"}\n')
        assert json.loads(await client.receive_some()) == {"progress": 0}
        daemon.cancel_scope.cancel()
    assert await client.receive_some() == b""
    await client.aclose()


async def connected(path):
    client = trio.socket.socket(trio.socket.AF_UNIX)
    await client.connect(str(path))
    return client
