"""References: what a URI means."""

import hashlib
import re
from base64 import b64encode
from pathlib import PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.reference import file_uri_path, redact, unchecked_file_digest, uri_scheme
from tests.model.strategies import entry_paths, examples, texts


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("s3://bucket/key", "s3"),
        ("FILE:///x", "file"),
        ("wandb-artifact://6172/x", "wandb-artifact"),
        ("a+b.c-1://x", "a+b.c-1"),
        ("x://", "x"),
    ],
)
def test_a_uri_has_its_scheme_in_lower_case(text, scheme):
    assert uri_scheme(text) == scheme


@pytest.mark.parametrize(
    "text",
    ["", "a", "/a/b", "../a", "a:b", "C:/x", "s3:/x", "//host/x", "://x", "1s://x", "a b://x", " s3://x", "-a://"],
)
def test_anything_else_is_a_plain_path(text):
    assert uri_scheme(text) is None


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/a.bin", "/data/a.bin"),
        ("file://localhost/data/a.bin", "/data/a.bin"),
        ("FILE:///data/a.bin", "/data/a.bin"),
        ("file:///", "/"),
        ("file:///data/a%20b", "/data/a b"),
        ("file:///data/a%25b", "/data/a%b"),
        ("file:///data/%C3%A9", "/data/é"),
        ("file:///data/a b é", "/data/a b é"),
        ("file:///data/a+b", "/data/a+b"),
        ("file:///data/100%", "/data/100%"),
        ("file:///data/a#b?c=d", "/data/a#b?c=d"),
        ("file:///data//a/./b", "/data/a/b"),
        ("file:///data/...", "/data/..."),
        ("file:///data/a..b", "/data/a..b"),
        ("file:///data/\n", "/data/\n"),
        ("file:///data/%FF%C3", "/data/\udcff\udcc3"),
    ],
)
def test_a_file_uri_names_a_local_path(uri, path):
    assert file_uri_path(uri) == PurePosixPath(path)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "not a file:// URI"),
        ("/data/a", "not a file:// URI"),
        ("file:/data/a", "not a file:// URI"),
        ("s3://bucket/key", "not a file:// URI"),
        ("file://", "no absolute local path"),
        ("file://data", "no absolute local path"),
        ("file://data/a", "no absolute local path"),
        ("file://localhost", "no absolute local path"),
        ("file://LOCALHOST.evil/x", "no absolute local path"),
        ("file://./a", "no absolute local path"),
        ("file://../a", "no absolute local path"),
        ("file:///..", "contains '..'"),
        ("file:///data/../etc/passwd", "contains '..'"),
        ("file:///data/..", "contains '..'"),
        ("file:///data/%2e%2e/etc/passwd", "contains '..'"),
        ("file:///data/.%2E/etc/passwd", "contains '..'"),
        ("file:///data%2F..%2Fetc/passwd", "contains '..'"),
        ("file:///data/a\0b", "NUL"),
        ("file:///data/a%00b", "NUL"),
    ],
)
def test_a_uri_that_names_no_local_path_is_refused(uri, reason):
    with pytest.raises(InvalidInputError, match=re.escape(reason)):
        file_uri_path(uri)


def test_a_refused_uri_shows_no_password():
    with pytest.raises(InvalidInputError, match="https://host/x") as caught:
        file_uri_path("https://user:secret@host/x?token=secret")
    assert "secret" not in caught.value.message


@given(entry_paths)
@examples(100)
def test_every_path_is_found_again_from_its_escaped_uri(path):
    assert file_uri_path(f"file://{quote(f'/data/{path}')}") == PurePosixPath(f"/data/{path}")
    assert file_uri_path(PurePosixPath(f"/data/{path}").as_uri()) == PurePosixPath(f"/data/{path}")


@given(entry_paths.filter(lambda path: "%" not in path))
@examples(100)
def test_a_path_without_a_percent_sign_needs_no_escapes(path):
    assert file_uri_path(f"file:///data/{path}") == PurePosixPath(f"/data/{path}")


@given(texts(max_size=30) | st.lists(st.sampled_from(["..", "%2e", ".", "/", "%2F", "a", "%00", "%"])).map("".join))
@examples(300)
def test_a_path_from_a_uri_is_absolute_and_never_leads_up(text):
    try:
        path = file_uri_path(f"file:///{text}")
    except InvalidInputError:
        return
    assert path.is_absolute()
    assert ".." not in path.parts
    assert "\0" not in str(path)


def test_a_file_that_is_not_checked_has_the_digest_of_its_uri():
    uri = "file:///data/a%20b"
    assert unchecked_file_digest(uri) == b64encode(hashlib.md5(uri.encode()).digest()).decode()
    assert unchecked_file_digest("file:///é") == "bN48kW0WZjJP3iBjjrnWCQ=="


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@host/a/b", "https://host/a/b"),
        ("https://secret@host/a", "https://host/a"),
        ("https://host/a?X-Amz-Signature=secret&b=secret", "https://host/a"),
        ("https://host/a#secret", "https://host/a"),
        ("https://host/a?secret#secret", "https://host/a"),
        ("postgresql://user:secret@host:5432/artfs?password=secret", "postgresql://host:5432/artfs"),
        ("postgresql+psycopg://user:secret@host/artfs", "postgresql+psycopg://host/artfs"),
        ("https://user:secr@et@host/a", "https://host/a"),
        ("https://user:secret@[::1]:80/a", "https://[::1]:80/a"),
        ("https://user:secret@host:port/a", "https://..."),
        ("https://user:secret@host:99999/a", "https://..."),
        ("https://user:se/cret@host/a", "https://..."),
        ("https://user:secret@[::1/a?secret", "https://..."),
        ("s3://bucket/key?versionId=1", "s3://bucket/key"),
        ("sqlite:////data/registry.sqlite", "sqlite:////data/registry.sqlite"),
        ("file:///data/a b", "file:///data/a b"),
    ],
)
def test_what_is_shown_of_a_uri_holds_no_secret(uri, shown):
    assert redact(uri) == shown
    assert "cret" not in redact(uri)


@pytest.mark.parametrize("text", ["", "/data/a?b#c", "../v1/a", "a@b:c"])
def test_a_plain_path_is_shown_as_it_is(text):
    assert redact(text) == text


@given(texts(max_size=30) | st.text("[]:@/?#%1a", max_size=12))
@examples(300)
def test_every_uri_can_be_shown(text):
    assert redact(f"s3://{text}").startswith("s3://")
    assert isinstance(redact(text), str)
