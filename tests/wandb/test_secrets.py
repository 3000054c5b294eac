"""Keys, tokens and signatures are in no log and no error, whatever goes wrong."""

import json
import logging
import traceback

import pytest

from artfs.errors import ArtfsError
from tests.wandb.conftest import KEY, VIEWER, basic, viewer
from tests.wandb.stub import Reply, Stub, errors

JWT = "secretheader.secretpayload.secretsignature"
ACCESS = "secret-access-token"
SIGNATURE = "sig123secret"
SECRETS = [KEY, basic(KEY).removeprefix("Basic "), JWT, ACCESS, SIGNATURE]
QUERY = f"?X-Amz-Signature={SIGNATURE}&a=b"


def attempts(session, server, own):
    url = f"{server.url}/bucket/key{QUERY}"
    away = {"Location": f"/more{QUERY}"}
    weird = Reply(200, b"x" * 10, {"Content-Length": "x"}, length=False)
    echo = errors(f"no {' '.join(own)} {url}", status=400)
    put = ["Authorization:" + SIGNATURE, f"x-token:{SIGNATURE}"]
    for reply in (
        viewer(),
        echo,
        Reply(302, b"", away),
        Reply(503),
        Reply(hang_up=True),
        Reply(401),
        Reply(404),
        weird,
    ):
        server.default = reply
        yield lambda: session.ask(VIEWER, {})
        yield lambda: list(session.get(url))
        yield lambda: list(session.get(url, authorised=True))
        yield lambda: session.put(url, put, b"x" * 1000)
    yield lambda: session.put(url, [f"{SIGNATURE}\n:x"], b"")
    yield lambda: list(session.get(url.replace("http:", "ftp:")))
    yield lambda: list(session.get(f"http://127.0.0.1:1/x{QUERY}"))
    yield lambda: list(session.get(f"http://user:{SIGNATURE}@127.0.0.1:1/x{QUERY}"))
    yield lambda: list(session.get(f"http://127.0.0.1:999999/x{QUERY}"))
    yield lambda: session.put(f"http://[x/{QUERY}", [], b"")


@pytest.mark.parametrize("kind", ["key", "token"])
@pytest.mark.expects_warning("does not accept the credentials")
def test_no_log_and_no_error_has_a_secret_in_it(connect, server, home, everything_logged, kind):
    environ, own = {"WANDB_API_KEY": KEY}, [KEY, basic(KEY)]
    if kind == "token":
        (home / "jwt").write_text(JWT)
        kept = home / "credentials.json"
        environ = {"WANDB_IDENTITY_TOKEN_FILE": str(home / "jwt"), "WANDB_CREDENTIALS_FILE": str(kept)}
        own = [JWT, ACCESS]
        server.script += [Reply(200, json.dumps({"access_token": ACCESS, "expires_in": 10**6}).encode()), viewer()]
        connect(server.url, environ=environ).ask(VIEWER, {})
        assert ACCESS in kept.read_text()
    session = connect(server.url, environ=environ)
    shown, failed = [], 0
    for attempt in attempts(session, server, own):
        try:
            attempt()
        except ArtfsError as error:
            failed += 1
            logging.getLogger("artfs.test").info("failed", exc_info=True)
            shown += [str(error), repr(error), error.hint, *traceback.format_exception(error)]
    assert failed > 20
    text = everything_logged()
    assert "urllib3" in text or "HTTP/1.1" in text  # it does log what it does
    assert "/bucket/key" in text
    for secret in SECRETS:
        assert secret not in text
        assert secret not in "\n".join(shown)


def test_what_is_sent_has_them(connect, server):
    """The test above would pass if nothing was sent."""
    with Stub(default=viewer()) as other:
        session = connect(other.url)
        session.ask(VIEWER, {})
        list(session.get(f"{other.url}/bucket/key{QUERY}"))
        assert other.requests[0].authorization == basic(KEY)
        assert SIGNATURE in other.requests[1].path
