import pytest

from artfs.errors import CredentialsError
from artfs.wandb.base_url import parse_base_url
from artfs.wandb.sources import ApiKey, find_source
from tests.wandb.conftest import KEY, OTHER_KEY

BASE = parse_base_url("http://127.0.0.1:8080")
JWT = "aaa.bbb-_b.ccc"


def netrc(path, key=OTHER_KEY, machine="127.0.0.1:8080"):
    path.write_text(f"machine {machine}\n  login user\n  password {key}\n")
    return path


def test_the_environment_comes_before_netrc(home):
    netrc(home / ".netrc")
    assert find_source(BASE, {"WANDB_API_KEY": KEY}) == ApiKey(KEY, "WANDB_API_KEY")
    found = find_source(BASE, {"WANDB_IDENTITY_TOKEN_FILE": "~/token"})
    assert found.path == home / "token"
    assert found.credentials_file == home / ".config/wandb/credentials.json"


def test_a_key_and_an_identity_token_at_once_are_refused(home):
    with pytest.raises(CredentialsError, match="both"):
        find_source(BASE, {"WANDB_API_KEY": KEY, "WANDB_IDENTITY_TOKEN_FILE": "x"})


def test_netrc_is_where_the_variable_says_else_in_the_home_directory(home, tmp_path):
    elsewhere = netrc(tmp_path / "netrc", KEY)
    netrc(home / "_netrc")
    assert find_source(BASE, {}).secret == OTHER_KEY
    netrc(home / ".netrc", KEY[:-1] + "3")
    assert find_source(BASE, {}).secret == KEY[:-1] + "3"
    assert find_source(BASE, {"NETRC": str(elsewhere)}).secret == KEY
    with pytest.raises(CredentialsError):
        find_source(BASE, {"NETRC": str(tmp_path / "absent")})


def test_empty_variables_are_not_set(home):
    netrc(home / ".netrc")
    assert find_source(BASE, {"WANDB_API_KEY": "", "WANDB_IDENTITY_TOKEN_FILE": "", "NETRC": ""}).secret == OTHER_KEY


@pytest.mark.parametrize("machine", ["127.0.0.1", "127.0.0.1:8081", "other"])
def test_the_key_of_another_machine_is_not_taken(home, machine):
    netrc(home / ".netrc", machine=machine)
    with pytest.raises(CredentialsError, match="no credentials"):
        find_source(BASE, {})


def test_the_default_entry_of_netrc_is_for_others(home):
    (home / ".netrc").write_text(f"default login user password {KEY}\n")
    with pytest.raises(CredentialsError):
        find_source(BASE, {})


def test_without_credentials_the_hint_says_how_to_log_in(home):
    with pytest.raises(CredentialsError) as caught:
        find_source(BASE, {})
    assert "WANDB_API_KEY" in caught.value.hint
    assert "wandb login --host http://127.0.0.1:8080" in caught.value.hint


def test_a_netrc_that_cannot_be_read_does_not_show_its_words(home):
    (home / ".netrc").write_text(f"machine x\n {KEY}\n")
    with pytest.raises(CredentialsError, match=r"on line \d") as caught:
        find_source(BASE, {})
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    (home / ".netrc").write_bytes(b"\xff\xfe")
    with pytest.raises(CredentialsError, match="cannot be read"):
        find_source(BASE, {})


@pytest.mark.parametrize(
    "key", ["x" * 40, "a" * 86, "local-" + "x" * 40, "local-" + "-" * 40, JWT, "wandb_v1-" + "_" * 50]
)
def test_keys_of_the_right_form_are_taken(key):
    assert ApiKey(key, "here").secret == key


@pytest.mark.parametrize(
    "key", ["x" * 39, "local-" + "x" * 39, "x" * 40 + "\n", "x" * 39 + "é", "x y" * 20, "a..b", "\n-" + "x" * 40]
)
def test_keys_of_another_form_are_refused_and_not_shown(key):
    with pytest.raises(CredentialsError, match="the API key of here") as caught:
        ApiKey(key, "here")
    assert key not in str(caught.value)


def test_an_identity_token_is_one_in_a_file(home):
    source = find_source(BASE, {"WANDB_IDENTITY_TOKEN_FILE": str(home / "token")})
    with pytest.raises(CredentialsError, match="cannot be read"):
        source.read()
    for content in ("", "no token", "a.b", "é.b.c"):
        (home / "token").write_text(content)
        with pytest.raises(CredentialsError, match="no identity token"):
            source.read()
    (home / "token").write_text(f" {JWT}\n")
    assert source.read() == JWT
