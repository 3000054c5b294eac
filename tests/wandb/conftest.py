import base64
import contextlib
import logging

import pytest

from artfs.wandb.operation import Operation
from artfs.wandb.session import WandbSession
from tests.wandb.stub import FakeTime, Stub, data

KEY = "local-" + "k" * 39 + "1"
OTHER_KEY = "local-" + "j" * 39 + "2"
VIEWER = Operation("Viewer", "query Viewer($x: Int) { viewer { id } }")


def basic(key):
    return "Basic " + base64.b64encode(f"api:{key}".encode()).decode()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory of this test, and an environment without credentials and proxies."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CREDENTIALS_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture
def server():
    with Stub() as running:
        yield running


@pytest.fixture
def fake_time():
    return FakeTime()


@pytest.fixture
def environ(home):
    return {"WANDB_API_KEY": KEY}


@pytest.fixture
def connect(environ, fake_time):
    """Return a function that opens a session of this test, with its time."""
    with contextlib.ExitStack() as stack:

        def opened(url, **settings):
            times = {"clock": fake_time.clock, "now": fake_time.now, "sleep": fake_time.sleep}
            session = WandbSession(url, **{"environ": environ, **times, **settings})
            return stack.enter_context(contextlib.closing(session))

        yield opened


@pytest.fixture
def session(connect, server):
    return connect(server.url)


@pytest.fixture
def everything_logged(caplog):
    """The text of all that any library logs at DEBUG."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    return lambda: "\n".join(caplog.handler.format(record) + repr(record.args) for record in caplog.get_records("call"))


def viewer():
    return data(viewer={"id": "1"})
