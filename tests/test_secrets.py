"""The search for secrets finds them: without it, that none is found would prove nothing."""

import base64

import pytest

from tests.harness import Artfs
from tests.secrets import leaks
from tests.servers import postgres, seaweed

KEY = "local-" + "0123456789" * 4


@pytest.mark.parametrize(
    "text",
    [
        f"x {seaweed.OWNER.secret_key} y",
        f"postgresql://u:{postgres.PASSWORD}@h/d",
        "http://h/k?X-Amz-Signature=0123456789abcdef&x=1",
        "http://h/k?Expires=1&Signature=abcDEF0123%2B",
        "headers: {'Authorization': 'Bearer abcdefghijkl'}",
        f"the key is {KEY}",
        base64.b64encode(f"api:{KEY}".encode()).decode(),
    ],
)
def test_a_secret_in_a_text_is_found(text):
    assert leaks(text, {"WANDB_API_KEY": KEY})


def test_what_is_hidden_or_no_secret_is_not_found(tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine h login user password {KEY}\n")
    assert not leaks("http://h/k?X-Amz-Signature=*** and Authorization: Bearer *** and the signature=5")
    assert not leaks(KEY)
    assert leaks(KEY, {"NETRC": str(netrc)})


def test_a_secret_in_the_log_of_a_mount_fails_the_test_that_made_it(tmp_path):
    found = Artfs(tmp_path)
    (tmp_path / "state/log").mkdir(parents=True)
    (tmp_path / "state/log/x.log").write_text(f"2026 INFO artfs: {seaweed.READER.secret_key}\n")
    with pytest.raises(AssertionError, match="a secret is in the log"):
        found.close()


def test_a_command_that_prints_a_secret_fails_the_test_that_ran_it(tmp_path):
    found = Artfs(tmp_path)
    found.command = ["echo"]
    with pytest.raises(AssertionError, match="prints a secret"):
        found.run(seaweed.OWNER.secret_key)
