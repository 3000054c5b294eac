"""The log of a mount: each cause once and then how often, no secrets, priorities for the journal, a level that can be changed."""

import io
import logging
import os
import subprocess
import sys

import pytest

from artfs.app import causes
from artfs.app.causes import BURST, INTERVALS, Causes, cause_of
from artfs.app.logs import MountLog, is_journal
from artfs.errors import InvalidInputError
from artfs.model.secrets import redact_text, secrets_of


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def said():
    return Kept()


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def mount_log(said, clock):
    return MountLog(said, Causes(clock))


def say(mount_log, message, level=logging.WARNING, name="artfs.fuse.errnos", error=None):
    info = None if error is None else (type(error), error, None)
    mount_log.handle(logging.LogRecord(name, level, "", 0, "%s", (message,), info))


# Causes -------------------------------------------------------------------------------------------------------------


def test_the_same_cause_is_one_line_and_then_how_often_at_growing_intervals(mount_log, said, clock):
    for second in range(7200):  # two hours of a program that reads a damaged file again and again
        for _ in range(5):
            say(mount_log, "read: blob a is damaged")
        clock.now = 1000.0 + second
        mount_log.say_due()
    first, *more = said.lines
    assert first == "WARNING read: blob a is damaged"
    assert 3 <= len(more) <= 6
    assert all("repeated" in line and line.endswith("last: read: blob a is damaged") for line in more)
    assert more[0].startswith("WARNING repeated 5")  # 10 s of five a second
    counted = sum(int(line.split("repeated ")[1].split()[0]) for line in more)
    mount_log.say_due(at_once=True)
    counted += sum(int(line.split("repeated ")[1].split()[0]) for line in said.lines[1 + len(more) :])
    assert counted + 1 == 7200 * 5  # nothing is lost


def test_a_thousand_files_that_fail_for_one_cause_do_not_fill_the_log(mount_log, said, clock):
    for number in range(1000):
        say(
            mount_log, f"read: blob md5:{number:032x} is damaged in block {number}: its bytes do not match the manifest"
        )
    assert len(said.lines) == BURST
    clock.now += INTERVALS[0] + 1
    mount_log.say_due()
    assert f"repeated {1000 - BURST} times" in said.lines[-1]
    (error,) = mount_log.errors()
    assert (error["count"], error["level"]) == (1000, "warning")
    assert f"{999:032x}" in error["message"]


def test_a_cause_of_which_nothing_was_heard_for_a_while_is_said_at_once(mount_log, said, clock):
    say(mount_log, "the store is away")
    clock.now += INTERVALS[0] + 1
    mount_log.say_due()
    say(mount_log, "the store is away")
    assert said.lines == ["WARNING the store is away"] * 2


def test_different_causes_do_not_hide_each_other(mount_log, said):
    for text in (
        "s3://one/a cannot be reached: 503 Service Unavailable",
        "s3://two/a cannot be reached: 503 Service Unavailable",
        "s3://two/a cannot be reached: 403 Forbidden",
        "gs://two/a cannot be reached: 503 Service Unavailable",
    ):
        say(mount_log, text)
    assert len(said.lines) == len(mount_log.errors()) == 4


def test_details_do_not_make_a_cause():
    for one, other in (
        ("blob md5:0123456789abcdef is damaged in block 3", "blob md5:fedcba9876543210 is damaged in block 17"),
        ("the draft 'a' of me/demo/data waits", "the draft 'b c' of me/demo/data waits"),
        ("/tmp/x/y cannot be read", "/home/z cannot be read"),
        ("s3://bucket/k/1 was refused", "s3://bucket/other was refused"),
        ("gave up after 30.5 s", "gave up after 31.25 s"),
    ):
        assert cause_of(one) == cause_of(other)
    assert cause_of("refused with status 503") != cause_of("refused with status 403")


def test_what_informs_is_only_held_back_if_it_is_the_same_and_debugging_never_is(mount_log, said):
    for number in range(30):
        say(mount_log, f"run {number} begins", logging.INFO)
    say(mount_log, "run 0 begins", logging.INFO)
    for _ in range(5):
        say(mount_log, "asked", logging.DEBUG)
    assert len(said.lines) == 35
    assert mount_log.errors() == []


def test_an_unexpected_error_is_a_cause_with_its_reason(mount_log, said):
    for _ in range(3):
        say(mount_log, "unexpected error in read(1, 2)", logging.ERROR, error=KeyError("a mistake"))
    say(mount_log, "unexpected error in read(1, 2)", logging.ERROR, error=ValueError("another"))
    assert len(said.lines) == 2
    newest, oldest = mount_log.errors()
    assert oldest["count"] == 3
    assert "KeyError('a mistake')" in oldest["message"]
    assert "another" in newest["message"]
    assert mount_log.counts() == {"warning": 0, "error": 4}


def test_only_so_many_causes_are_remembered_the_last_ones(mount_log, monkeypatch):
    monkeypatch.setattr(causes, "MOST", 10)
    for number in range(26):
        say(mount_log, f"{chr(97 + number)} is bad")
    assert [error["message"] for error in mount_log.errors()][:2] == ["z is bad", "y is bad"]
    assert len(mount_log.errors()) == 10


def test_a_record_that_cannot_be_formatted_is_no_failure_of_who_logs(mount_log, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    mount_log.handle(logging.LogRecord("artfs", logging.WARNING, "", 0, "%d", ("x",), None))
    say(mount_log, "goes on")
    assert [error["message"] for error in mount_log.errors()] == ["goes on"]


# Where it goes, and what is never in it -----------------------------------------------------------------------------

SECRETS = {
    "https://api:local-0123456789abcdef@server/path": "local-0123456789abcdef",
    "https://b.s3.amazonaws.com/k?X-Amz-Signature=0a1b2c3d4e&X-Amz-Date=1": "0a1b2c3d4e",
    "Max retries exceeded with url: /b/k?X-Amz-Credential=AKIAXX&X-Amz-Signature=0a1b2c3d4e (refused)": "0a1b2c3d4e",
    "postgresql://me:pass%40word@host:5432/db could not be opened": "pass%40word",
    "s3://AKIAKEY:topsecret@bucket/key was refused": "topsecret",
    "{'Authorization': 'Basic YXBpOmxvY2FsLTAxMjM='}": "YXBpOmxvY2FsLTAxMjM=",
    "Authorization: Bearer abc.def.ghi-jkl": "abc.def.ghi-jkl",
    "sent with Bearer abcdefghijklmnop.qrst": "abcdefghijklmnop",
    "host=h password=hunter2hunter2 user=u": "hunter2hunter2",
    "https://x/y#access_token=aabbccdd": "aabbccdd",
}


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_hidden(text):
    assert SECRETS[text] not in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8080: connection refused (try again)",
        "see https://docs.example.org/a/b.html.",
        "s3://bucket/what?is#this cannot be read",
        "file:///data/a?b#c@d is gone",
        "sqlite:////home/me/registry.sqlite: locked",
        "the token of a draft, and its signature, are 5 bytes",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact_text(text) == text


def test_the_values_of_telling_variables_and_passwords_of_urls_are_secrets():
    environment = {
        "AWS_SECRET_ACCESS_KEY": "aws-secret-value",
        "WANDB_API_KEY": "wandb-key-value",
        "PGPASSWORD": "pg-password",
        "MY_TOKEN": "short",
        "TOKEN_FILE": "/path/to/a/token",
        "HOME": "/home/somebody",
    }
    found = secrets_of(environment, ["postgresql://u:s%40crets%40crets@h/d", "http://[bad"])
    assert found == {"aws-secret-value", "wandb-key-value", "pg-password", "s%40crets%40crets", "s@crets@crets"}
    assert redact_text("it is wandb-key-value!", found) == "it is ***!"


LOGGED = """
import logging, sys
from pathlib import Path
from artfs.app.logs import open_log
open_log(Path(sys.argv[1]), "info", ["the-known-secret"])
log = logging.getLogger("artfs.test")
log.debug("not said")
log.warning("%s cannot be read", "https://b/k?X-Amz-Signature=0a1b2c3d4e")
try: raise OSError("https://u:pw-in-a-traceback@h/ with the-known-secret")
except OSError: log.exception("it cannot be done")
logging.getLogger("boto3").info("not said")
logging.getLogger("boto3").warning("said with the-known-secret")
"""


def test_a_log_file_is_for_its_user_alone_and_has_no_secret_in_lines_or_tracebacks(tmp_path):
    path = tmp_path / "log" / "m.log"
    subprocess.run([sys.executable, "-c", LOGGED, path], check=True)
    text = path.read_text()
    assert "https://b/k cannot be read" in text
    assert "Traceback" in text
    assert "said with ***" in text
    for secret in ("0a1b2c3d4e", "pw-in-a-traceback", "the-known-secret", "not said"):
        assert secret not in text
    assert text.startswith("2")  # a time
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_journal_is_known_by_device_and_inode_and_nothing_else_is_it(tmp_path):
    with (tmp_path / "f").open("w") as file:
        status = os.fstat(file.fileno())
        assert is_journal(file, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not is_journal(file, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(file, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


JOURNALED = """
import logging, os
from artfs.app.logs import open_log
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
open_log(None, "debug", [])
log = logging.getLogger("artfs.x")
log.debug("d"), log.info("i"), log.warning("w"), log.error("e")
try: 1 / 0
except ZeroDivisionError: log.exception("broke")
"""


def test_in_the_journal_lines_have_priorities_and_no_time():
    done = subprocess.run([sys.executable, "-c", JOURNALED], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[:4] == [
        "<7>DEBUG artfs.x: d",
        "<6>INFO artfs.x: i",
        "<4>WARNING artfs.x: w",
        "<3>ERROR artfs.x: e",
    ]
    assert lines[4] == "<3>ERROR artfs.x: broke"
    assert lines[5] == "<3>Traceback (most recent call last):"
    assert all(line.startswith("<3>") for line in lines[4:])


def test_the_level_can_be_changed_and_set_back(mount_log, monkeypatch):
    monkeypatch.setattr(logging.getLogger("artfs"), "level", logging.INFO)
    mount_log.configure("warning")
    assert (mount_log.level_name, mount_log.configured) == ("warning", "warning")
    mount_log.set_level("debug")
    assert logging.getLogger("artfs.fuse").isEnabledFor(logging.DEBUG)
    mount_log.set_level("reset")
    assert (mount_log.level_name, mount_log.configured) == ("warning", "warning")
    with pytest.raises(InvalidInputError, match="'loud' is no level"):
        mount_log.set_level("loud")
