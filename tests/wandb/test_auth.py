"""Credentials: when they are read, and what is kept of access tokens."""

import concurrent.futures
import contextlib
import fcntl
import json
import multiprocessing
import os
import re
from urllib.parse import parse_qs

import pytest

from artfs.errors import CredentialsError, PermissionDeniedError, UnreachableError
from artfs.wandb.session import WandbSession
from tests.wandb.conftest import KEY, OTHER_KEY, VIEWER, basic, viewer
from tests.wandb.stub import Reply, Stub

JWT = "header.payload.signature"


def token(text="access-1", seconds=3600):
    return Reply(200, json.dumps({"access_token": text, "expires_in": seconds}).encode())


@pytest.fixture
def environ(home):
    (home / "jwt").write_text(JWT)
    return {
        "WANDB_IDENTITY_TOKEN_FILE": str(home / "jwt"),
        "WANDB_CREDENTIALS_FILE": str(home / "kept" / "credentials.json"),
    }


@pytest.fixture
def kept(home):
    path = home / "kept" / "credentials.json"
    path.parent.mkdir()
    return path


def paths(server):
    return [request.path for request in server.requests]


def ask(session):
    return session.ask(VIEWER, {})


def test_a_key_is_sent_as_basic_and_read_when_it_is_needed(connect, server, home):
    environ = {}
    session = connect(server.url, environ=environ)
    environ["WANDB_API_KEY"] = KEY
    server.default = viewer()
    ask(session)
    environ["WANDB_API_KEY"] = OTHER_KEY
    ask(session)
    assert [request.authorization for request in server.requests] == [basic(KEY)] * 2


def test_a_key_that_is_accepted_is_read_again_once_it_was_forgotten_and_stays_hidden(connect, server, home):
    environ = {"WANDB_API_KEY": KEY}
    session = connect(server.url, environ=environ)
    server.default = viewer()
    ask(session)
    environ["WANDB_API_KEY"] = OTHER_KEY
    session.forget_credentials()
    ask(session)
    assert [request.authorization for request in server.requests] == [basic(KEY), basic(OTHER_KEY)]
    assert session._credentials.hide(f"{KEY} {OTHER_KEY}") == "*** ***"


def test_a_jwt_as_key_is_sent_as_basic(connect, server, home):
    server.default = viewer()
    ask(connect(server.url, environ={"WANDB_API_KEY": JWT}))
    assert server.requests[0].authorization == basic(JWT)


def test_without_credentials_nothing_is_asked(connect, server, home):
    with pytest.raises(PermissionDeniedError, match="no credentials"):
        ask(connect(server.url, environ={}))
    assert server.requests == []


def test_netrc_of_the_machine_and_port_is_taken(connect, server, home):
    (home / ".netrc").write_text(f"machine {server.netloc} login user password {KEY}\n")
    server.default = viewer()
    ask(connect(server.url, environ={}))
    assert server.requests[0].authorization == basic(KEY)


def test_an_identity_token_is_exchanged_once(session, server):
    server.script += [token(), viewer(), viewer()]
    ask(session), ask(session)
    assert paths(server) == ["/oidc/token", "/graphql", "/graphql"]
    exchange = server.requests[0]
    assert exchange.method == "POST"
    assert exchange.headers["content-type"] == "application/x-www-form-urlencoded"
    assert exchange.authorization is None
    assert parse_qs(exchange.body.decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "assertion": [JWT],
    }
    assert server.requests[1].authorization == "Bearer access-1"


def test_a_token_is_replaced_five_minutes_before_its_end(session, server, fake_time):
    server.script += [token("access-1", 3600), viewer(), viewer(), token("access-2"), viewer()]
    ask(session)
    fake_time.at += 3600 - 301
    ask(session)
    fake_time.at += 2
    ask(session)
    assert [request.authorization for request in server.requests] == [
        None, "Bearer access-1", "Bearer access-1", None, "Bearer access-2",
    ]  # fmt: skip


def test_a_token_that_lives_shortly_is_used_more_than_once(session, server):
    server.script += [token("access-1", 60), viewer(), viewer()]
    ask(session), ask(session)


def test_a_token_is_kept_in_the_file_of_the_sdk_for_other_processes(connect, server, kept, fake_time):
    other = {
        "credentials": {"https://other": {"access_token": "x", "expires_at": "2099-01-01 00:00:00", "new": 1}},
        "k": 2,
    }
    other["credentials"][server.url] = {"refresh_token": "stays"}
    kept.write_text(json.dumps(other))
    kept.chmod(0o644)
    server.script += [token("access-1", 3600), viewer(), viewer()]
    ask(connect(server.url))
    content = json.loads(kept.read_text())
    mine = content["credentials"].pop(server.url)
    assert content == {"credentials": {"https://other": other["credentials"]["https://other"]}, "k": 2}
    assert mine.pop("refresh_token") == "stays"
    assert mine.pop("access_token") == "access-1"
    assert mine == {"expires_at": "2023-11-14 23:30:00"}  # 1_700_001_000 + 3600, in UTC
    assert kept.stat().st_mode & 0o777 == 0o600
    ask(connect(server.url))  # takes what is in the file
    assert paths(server) == ["/oidc/token", "/graphql", "/graphql"]
    assert sorted(os.listdir(kept.parent)) == ["credentials.json", "credentials.json.lock"]


def test_a_kept_token_near_its_end_is_not_used(connect, server, kept):
    kept.write_text(
        json.dumps({"credentials": {server.url: {"access_token": "old", "expires_at": "2023-11-14 22:34:00"}}})
    )
    server.script += [token(), viewer()]  # now is 22:30:00
    ask(connect(server.url))
    assert server.requests[1].authorization == "Bearer access-1"


@pytest.mark.parametrize(
    "content",
    ["", "[", "[]", "{}", '{"credentials": []}', '{"credentials": {"URL": 1}}',
     '{"credentials": {"URL": {"access_token": "a b", "expires_at": "2099-01-01 00:00:00"}}}',
     '{"credentials": {"URL": {"access_token": "ab", "expires_at": "soon"}}}', "[" * 100_000],
)  # fmt: skip
def test_a_file_that_holds_something_else_is_replaced(connect, server, kept, content):
    kept.write_text(content.replace("URL", server.url))
    server.script += [token(), viewer()]
    ask(connect(server.url))
    assert json.loads(kept.read_text())["credentials"][server.url]["access_token"] == "access-1"


def test_a_file_that_cannot_be_written_is_no_obstacle(connect, server, home, environ):
    (home / "kept").write_text("a file")
    server.script += [token(), viewer()]
    assert ask(connect(server.url)) == {"viewer": {"id": "1"}}


def test_of_several_processes_one_asks_for_a_token(server, environ):
    server.default = lambda request: token() if request.path == "/oidc/token" else viewer()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=context) as pool:
        assert list(pool.map(_ask_alone, [server.url] * 4, [environ] * 4)) == [{"viewer": {"id": "1"}}] * 4
    assert paths(server).count("/oidc/token") == 1


def _ask_alone(url, environ):
    with contextlib.closing(WandbSession(url, environ=environ)) as session:
        return ask(session)


def test_a_lock_that_nobody_gives_back_is_waited_for_and_passed_by(connect, server, kept, fake_time):
    server.script += [token(), viewer()]
    with open(f"{kept}.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        ask(connect(server.url))
    assert 19 < sum(fake_time.slept) < 21


def test_a_token_that_is_refused_is_exchanged_for_another_one(session, server):
    server.script += [token("access-1"), viewer(), Reply(401), token("access-2"), viewer()]
    ask(session), ask(session)
    assert server.requests[-1].authorization == "Bearer access-2"


def test_a_token_that_another_process_has_got_meanwhile_is_used(session, server, kept):
    def refuse(request):
        kept.write_text(
            json.dumps({"credentials": {server.url: {"access_token": "theirs", "expires_at": "2099-01-01 00:00:00"}}})
        )
        return Reply(401)

    server.script += [token(), refuse, viewer()]
    ask(session)
    assert server.requests[-1].authorization == "Bearer theirs"


@pytest.mark.expects_warning("does not accept the credentials of WANDB_IDENTITY_TOKEN_FILE")
def test_an_identity_token_that_is_not_accepted(session, server):
    server.script += [Reply(400, b'{"error": "bad ' + JWT.encode() + b'"}')]
    with pytest.raises(PermissionDeniedError, match="status 400") as caught:
        ask(session)
    assert JWT not in str(caught.value)
    assert "WANDB_IDENTITY_TOKEN_FILE" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"access_token": "a"}', b'{"access_token": "a", "expires_in": "x"}', b'{"access_token": "a\\r\\nb", "expires_in": 9}',
     b'{"access_token": "a", "expires_in": -1}', b'{"access_token": "a", "expires_in": NaN}'],
)  # fmt: skip
def test_a_reply_that_is_no_token(session, server, body):
    server.script += [Reply(200, body)]
    with pytest.raises(UnreachableError, match="no access token"):
        ask(session)


def test_an_exchange_is_tried_again_and_its_failure_holds_for_those_who_wait(session, server, fake_time):
    server.script += [Reply(503), token(), viewer()]
    ask(session)
    server.script += [Reply(401), *[Reply(503)] * 9]
    with pytest.raises(UnreachableError):
        ask(session)
    asked = len(server.requests)
    fake_time.at += 3600
    server.script.clear()
    server.default = Reply(503)
    with pytest.raises(UnreachableError):
        ask(session)
    many = len(server.requests)
    with pytest.raises(UnreachableError):
        ask(session)
    assert many > asked
    assert len(server.requests) == many


def test_a_missing_identity_token_says_which_file(session, home):
    (home / "jwt").unlink()
    with pytest.raises(CredentialsError, match=re.escape(str(home / "jwt"))):
        ask(session)


def test_many_threads_exchange_one_token_and_renew_it_once(session, server):
    def answer(request):
        if request.path == "/oidc/token":
            return token(f"access-{paths(server).count('/oidc/token')}")
        return Reply(401) if request.authorization == "Bearer access-1" else viewer()

    server.default = answer
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(session), range(64)))
    assert answers == [{"viewer": {"id": "1"}}] * 64
    assert paths(server).count("/oidc/token") == 2


def test_no_repr_has_a_secret_in_it(connect, server):
    server.script += [token("secret-access"), viewer()]
    session = connect(server.url)
    ask(session)
    seen = repr(session) + repr(session._credentials) + repr(vars(session._credentials)["_source"])
    seen += repr(session._credentials._token) + repr(session._credentials.authorization(9e9))
    with Stub() as other:
        key = connect(other.url, environ={"WANDB_API_KEY": KEY})
        other.default = viewer()
        ask(key)
        seen += (
            repr(key)
            + repr(key._credentials)
            + repr(key._credentials._source)
            + repr(key._credentials.authorization(9e9))
        )
    assert "WANDB_API_KEY" in seen
    for secret in (KEY, basic(KEY)[6:], "secret-access", JWT):
        assert secret not in seen


@pytest.mark.expects_warning("does not accept the credentials")
def test_credentials_that_stay_refused_are_not_read_again_at_once(session, server, fake_time):
    server.default = lambda request: token(f"access-{len(server.requests)}") if "oidc" in request.path else Reply(401)
    for _ in range(3):
        with pytest.raises(PermissionDeniedError):
            ask(session)
    assert paths(server).count("/oidc/token") == 2
    fake_time.at += 11
    with pytest.raises(PermissionDeniedError):
        ask(session)
    assert paths(server).count("/oidc/token") == 3
