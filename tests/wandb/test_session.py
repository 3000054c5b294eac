"""A question: how it is sent, what is tried again, and when the credentials are read again."""

import concurrent.futures
import gzip
import json
import subprocess
import sys

import pytest

from artfs.errors import InvalidInputError, PermissionDeniedError, UnreachableError
from artfs.version import __version__
from artfs.wandb import connections
from artfs.wandb import session as session_module
from tests.wandb.conftest import KEY, OTHER_KEY, VIEWER, basic, viewer
from tests.wandb.stub import Reply, Stub, data, errors

FINAL = [400, 401, 403, 404, 409, 410, 413, 422, 501]
REFUSED = "does not accept the credentials"


def ask(session, **variables):
    return session.ask(VIEWER, variables)


def test_a_question_is_one_post_of_json_that_names_artfs(session, server):
    server.script += [viewer()]
    assert ask(session, x=1) == {"viewer": {"id": "1"}}
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/graphql")
    assert request.json == {"query": VIEWER.text, "variables": {"x": 1}, "operationName": "Viewer"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"artfs/{__version__}"
    assert "cookie" not in request.headers


def test_the_path_of_the_base_is_kept(connect, server):
    server.script += [viewer()]
    ask(connect(f"{server.url}/api/wandb/"))
    assert server.requests[0].path == "/api/wandb/graphql"


def test_a_variable_that_is_no_json_is_refused(session, server):
    for value in (object(), float("nan")):
        with pytest.raises(InvalidInputError, match="not JSON"):
            ask(session, x=value)
    assert server.requests == []


def test_connections_are_kept(session, server):
    server.default = viewer()
    for _ in range(5):
        ask(session)
    assert len({request.connection for request in server.requests}) == 1


def test_64_threads_have_64_connections_and_keep_them(session, server, caplog):
    server.default = viewer()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda _: ask(session), range(640)))
    assert len({request.connection for request in server.requests}) <= 64
    assert "pool is full" not in caplog.text
    from artfs.wandb.wire import CONNECTIONS

    adapter = session._connections._session.get_adapter(server.url)
    assert (CONNECTIONS, adapter._pool_maxsize) == (64, 64)


def test_cookies_are_not_sent_back(session, server):
    server.script += [Reply(200, viewer().body, {"Set-Cookie": "a=b; Path=/"}), viewer()]
    ask(session), ask(session)
    assert "cookie" not in server.requests[1].headers


def test_netrc_adds_nothing(connect, server, home, environ):
    (home / ".netrc").write_text(
        f"machine 127.0.0.1 login eve password secret\nmachine {server.netloc} login eve password secret\n"
    )
    server.script += [viewer(), Reply(200, b"x"), Reply(200)]
    session = connect(server.url)
    ask(session)
    list(session.get(f"{server.url}/file"))
    session.put(f"{server.url}/file", [], b"x")
    assert [request.authorization for request in server.requests] == [basic(KEY), None, None]


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(connect, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    server.default = viewer()
    ask(connect("http://wandb.example.org", allow_plain=True))
    assert server.requests[0].path == "http://wandb.example.org/graphql"
    with Stub() as other:
        other.default = viewer()
        ask(connect(other.url))
        assert len(other.requests) == 1
    assert len(server.requests) == 1


# -- trying again


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408, 425])
def test_a_status_that_may_pass_is_tried_again(session, server, fake_time, status):
    server.script += [Reply(status), Reply(status), viewer()]
    assert ask(session) == {"viewer": {"id": "1"}}
    assert len(fake_time.slept) == 2
    assert 0.5 <= fake_time.slept[0] <= 0.625
    assert 1.0 <= fake_time.slept[1] <= 1.25


@pytest.mark.parametrize("status", FINAL)
@pytest.mark.expects_warning(REFUSED)
def test_a_status_that_stays_is_not_tried_again(session, server, fake_time, status):
    server.default = errors("made by a test", status=status)
    with pytest.raises(Exception, match="made by a test"):
        ask(session)
    assert len(server.requests) == 1
    assert fake_time.slept == []


def test_a_connection_that_breaks_is_tried_again(session, server):
    server.script += [Reply(hang_up=True), Reply(200, viewer().body, cut=5), viewer()]
    assert ask(session) == {"viewer": {"id": "1"}}


def test_the_jitter_differs(session, server, fake_time):
    server.script += [Reply(503), viewer()] * 8
    for _ in range(8):
        ask(session)
    assert len(set(fake_time.slept)) > 1


def test_a_question_is_given_up_after_its_deadline(session, server, fake_time):
    server.default = errors("out of order", status=503)
    with pytest.raises(UnreachableError, match=r"out of order \(gave up after \d+ tries in \d\d s\)"):
        ask(session)
    assert 30 < sum(fake_time.slept) <= 60


def test_nobody_listens(connect, fake_time):
    with Stub() as server:
        url = server.url
    with pytest.raises(UnreachableError, match="Connection refused"):
        ask(connect(url))
    assert len(fake_time.slept) > 3


def test_a_server_that_does_not_answer_is_left_after_the_read_timeout(session, server, monkeypatch):
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.05)
    monkeypatch.setattr(session_module, "QUESTION", 1.0)
    server.default = Reply(200, viewer().body, pause_between=5)
    with pytest.raises(UnreachableError, match="did not answer in time"):
        ask(session)


def test_a_reply_that_drips_does_not_hold_a_question_for_ever(connect, server, monkeypatch):
    monkeypatch.setattr(
        connections, "_PIECE", 1
    )  # which it is read in, though more may have come while this machine was slow
    ticks = iter(range(0, 10**6, 7))
    slow = connect(server.url, clock=lambda: float(next(ticks)))
    server.default = Reply(200, viewer().body, pause_between=0.001)
    with pytest.raises(UnreachableError, match=r"too slowly|no time left"):
        ask(slow)
    assert len(server.requests) < 4


def test_the_time_to_connect_and_to_read_is_bounded():
    assert (connections.CONNECT_TIMEOUT, connections.READ_TIMEOUT, session_module.QUESTION) == (5, 30, 60)


# -- credentials


def test_refused_credentials_are_read_again_once(session, server, environ):
    def refuse(_):
        environ["WANDB_API_KEY"] = OTHER_KEY
        return Reply(401)

    server.script += [refuse, viewer()]
    assert ask(session) == {"viewer": {"id": "1"}}
    assert [request.authorization for request in server.requests] == [basic(KEY), basic(OTHER_KEY)]


@pytest.mark.expects_warning(REFUSED)
def test_credentials_that_stay_refused_are_one_line_in_the_log(session, server, environ, caplog, fake_time):
    server.default = Reply(401)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(ask, session) for _ in range(8)]:
            with pytest.raises(PermissionDeniedError, match="does not accept") as caught:
                future.result()
            assert caught.value.hint == "check WANDB_API_KEY"
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    server.script += [viewer()]
    ask(session)
    assert "accepts the credentials again" in caplog.text
    with pytest.raises(PermissionDeniedError):
        ask(session)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


@pytest.mark.expects_warning(REFUSED)
def test_the_same_credentials_are_not_sent_again_in_a_question(session, server):
    server.default = Reply(401)
    with pytest.raises(PermissionDeniedError):
        ask(session)
    assert len(server.requests) == 1


@pytest.mark.expects_warning(REFUSED)
def test_other_credentials_that_are_refused_too_are_the_end(session, server, environ):
    def refuse(_):
        environ["WANDB_API_KEY"] = OTHER_KEY
        return Reply(401)

    server.script += [refuse, Reply(401)]
    with pytest.raises(PermissionDeniedError):
        ask(session)
    assert len(server.requests) == 2


def test_403_does_not_read_the_credentials_again(session, server, environ, caplog):
    environ_before = dict(environ)
    server.script += [errors("permission denied", status=403)]
    with pytest.raises(PermissionDeniedError, match="permission denied"):
        ask(session)
    assert environ == environ_before
    assert "WARNING" not in caplog.text


# -- what is no answer


@pytest.mark.parametrize(
    "reply",
    [Reply(404, b"<html>not here</html>", {"Content-Type": "text/html"}), Reply(200, b"<html>hello", {"Content-Type": "text/html"}),
     Reply(200, b"[]"), Reply(200, b"{}"), Reply(200, b'"x"'), Reply(200, b"[" * 100_000), Reply(404, b"{}"), Reply(200, b"")],
)  # fmt: skip
def test_what_is_no_w_and_b_server_is_said_to_be_none(session, server, reply):
    server.script += [reply]
    with pytest.raises(UnreachableError, match="no W&B server") as caught:
        ask(session)
    assert server.url in caught.value.message
    assert "address" in caught.value.hint
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b'{"data": null}', b'{"data": []}', b'{"data": 1}'])
def test_an_answer_without_data_is_none(session, server, body):
    server.script += [Reply(200, body)]
    with pytest.raises(UnreachableError, match="no data"):
        ask(session)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_question_is_not_sent_on(session, server, status):
    with Stub(default=viewer()) as other:
        server.script += [Reply(status, b"", {"Location": f"{other.url}/graphql?sig=secret"})]
        with pytest.raises(UnreachableError, match=f"redirects to {other.url}/graphql") as caught:
            ask(session)
        assert "secret" not in str(caught.value)
        assert other.requests == []


def test_a_reply_is_bounded_packed_or_not(session, server, monkeypatch):
    monkeypatch.setattr(session_module, "MOST_REPLY", 1 << 20)
    big = json.dumps({"data": {"x": "a" * (1 << 20)}}).encode()
    server.script += [Reply(200, big), Reply(200, gzip.compress(big), {"Content-Encoding": "gzip"})]
    for _ in range(2):
        with pytest.raises(UnreachableError, match="larger than 1 MiB"):
            ask(session)


def test_the_bound_is_64_mib():
    assert session_module.MOST_REPLY == 64 << 20


def test_a_packed_reply_is_unpacked(session, server):
    server.script += [Reply(200, gzip.compress(data(x=1).body), {"Content-Encoding": "gzip"})]
    assert ask(session) == {"x": 1}
    assert server.requests[0].headers["accept-encoding"] == "gzip"


# -- the library


def test_requests_is_imported_with_the_first_request():
    program = (
        "import sys, pkgutil, importlib, artfs.wandb as wandb\n"
        "for module in pkgutil.iter_modules(wandb.__path__):\n"
        "    if module.name != 'wire':\n"
        "        importlib.import_module(f'artfs.wandb.{module.name}')\n"
        "from artfs.wandb.session import WandbSession; WandbSession()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'requests', 'urllib3', 'wandb'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_requests_the_hint_says_what_to_install(session, monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    monkeypatch.delitem(sys.modules, "artfs.wandb.wire", raising=False)
    with pytest.raises(InvalidInputError, match="pip install"):
        ask(session)
