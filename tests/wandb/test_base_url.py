import pytest

from artfs.errors import InvalidInputError
from artfs.wandb.base_url import parse_base_url, shown_url
from artfs.wandb.session import WandbSession


@pytest.mark.parametrize(
    ("text", "base", "netloc"),
    [
        ("https://api.wandb.ai", "https://api.wandb.ai", "api.wandb.ai"),
        ("https://api.wandb.ai/", "https://api.wandb.ai", "api.wandb.ai"),
        ("https://WANDB.example.org:8443/base//", "https://wandb.example.org:8443/base", "wandb.example.org:8443"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost", "http://localhost", "localhost"),
        ("http://[::1]:80", "http://[::1]:80", "[::1]:80"),
    ],
)
def test_an_address_is_normalised(text, base, netloc):
    parsed = parse_base_url(text)
    assert (parsed.text, parsed.netloc) == (base, netloc)


def test_the_default_is_the_service():
    assert WandbSession().base.text == "https://api.wandb.ai"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.wandb.ai",
        "ftp://api.wandb.ai",
        "file:///etc/passwd",
        "https://",
        "https://host:port",
        "https://host:0",
        "https://ho st",
        "https://host/\n",
        "https://host\\x",
        "https://host/?query",
        "https://host/#fragment",
        "https://wandb.ai/team",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_base_url(text)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(InvalidInputError) as caught:
        parse_base_url("https://user:hunter2@api.wandb.ai")
    assert "hunter2" not in str(caught.value)


def test_a_key_goes_to_another_machine_by_plain_http_only_if_that_is_allowed():
    for host in ("wandb.example.org", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org"):
        with pytest.raises(InvalidInputError, match="others can read"):
            WandbSession(f"http://{host}")
        assert WandbSession(f"http://{host}", allow_plain=True).base.text == f"http://{host}"


def test_a_url_is_of_the_server_if_scheme_host_and_port_are():
    base = parse_base_url("https://api.wandb.ai")
    assert base.owns("https://api.wandb.ai:443/artifacts")
    for url in (
        "http://api.wandb.ai/",
        "https://api.wandb.ai:444/",
        "https://api.wandb.ai.evil.org/",
        "https://x@evil.org",
        "no url",
    ):
        assert not base.owns(url)


def test_urls_are_shown_without_signature_and_control_characters():
    assert shown_url("https://u:p@host/pa\x1bth?X-Amz-Signature=abc#d") == "https://host/pa?th"
    assert len(shown_url("https://host/" + "x" * 5000)) == 200
