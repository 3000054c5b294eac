"""Changes of config.toml: the one key, and nothing else of the file."""

import os
import tomllib

import pytest

from artfs.config.editing import parse_name, set_value, unset_value
from artfs.config.sources import read_sources
from artfs.errors import InvalidInputError, NotFoundError

FILE = """\
# What I like.

entity = "alice"   # that is me
threads = 4
reference_roots = [
    "/data",   # one
    "/scratch",
]

cache_size = "50G"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    return path


@pytest.mark.parametrize(
    ("name", "value", "before", "after"),
    [
        ("entity", "bob", 'entity = "alice"   # that is me', 'entity = "bob"  # that is me'),
        ("threads", "8", "threads = 4", "threads = 8"),
        ("cache-size", "1.5T", 'cache_size = "50G"', 'cache_size = "1.5T"'),
        (
            "reference_roots",
            "/a:/b c",
            FILE[FILE.index("reference") : FILE.index("]") + 1],
            'reference_roots = ["/a", "/b c"]',
        ),
    ],
)
def test_a_key_is_changed_where_it_is(file, name, value, before, after):
    set_value(file, name, value)
    assert file.read_text() == FILE.replace(before, after)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [name for name in os.listdir(file.parent) if "config" in name] == ["config.toml"]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("metadata_ttl", "2.5", "metadata_ttl = 2.5"),
        ("metadata_addresses", "yes", "metadata_addresses = true"),
        ("verify", "strict", 'verify = "strict"'),
        ("store", 's3://b/"x"\\y', 'store = "s3://b/\\"x\\"\\\\y"'),
        ("data_dir", "/d\x7f\n", 'data_dir = "/d\\u007f\\n"'),
    ],
)
def test_a_key_that_is_not_there_comes_at_the_end(file, name, value, line):
    set_value(file, name, value)
    assert file.read_text() == f"{FILE}{line}\n"
    unset_value(file, name)
    assert file.read_text() == FILE


def test_what_was_written_is_what_is_read(tmp_path, monkeypatch):
    path = tmp_path / "new/deep/config.toml"
    monkeypatch.setenv("ARTFS_CONFIG", str(path))
    values = {
        "registry": "postgresql://u:p%40@h/d#ü",
        "threads": "3",
        "reference_roots": "/a:/b",
        "metadata_addresses": "on",
        "cache_free": "7G",
    }
    for name, value in values.items():
        set_value(path, name, value)
    found = read_sources()
    assert not found.errors
    assert found.values["registry"].value == values["registry"]
    assert found.values["cache_free"].value == 7 << 30
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_without_an_end_of_line_or_with_those_of_windows_stays_so(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("threads = 1")
    set_value(path, "entity", "me")
    assert path.read_text() == 'threads = 1\nentity = "me"\n'
    path.write_bytes(b"# x\r\nthreads = 1\r\n")
    set_value(path, "entity", "me")
    set_value(path, "threads", "2")
    assert path.read_bytes() == b'# x\r\nthreads = 2\r\nentity = "me"\r\n'


def test_a_hash_in_a_value_is_no_comment(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('store = "/a#b" # c # d\n"threads" = 1\n')
    set_value(path, "store", "/x")
    set_value(path, "threads", "2")
    assert path.read_text() == 'store = "/x"  # c # d\nthreads = 2\n'


def test_a_key_that_looks_like_one_inside_of_a_text_is_left_alone(tmp_path):
    path = tmp_path / "config.toml"
    text = 'store = """/a\nthreads = 1\n"""\n'
    path.write_text(text)
    set_value(path, "threads", "2")
    assert path.read_text() == text + "threads = 2\n"


def test_a_symlink_stays_one(tmp_path, file):
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    set_value(link, "threads", "9")
    assert link.is_symlink()
    assert tomllib.loads(file.read_text())["threads"] == 9


def test_what_is_wrong_is_refused_and_changes_nothing(file):
    for name, value in (
        ("thraeds", "1"),
        ("threads", "many"),
        ("verify", "never"),
        ("cache_size", "big"),
        ("store", ""),
    ):
        with pytest.raises(InvalidInputError):
            set_value(file, name, value)
    with pytest.raises(NotFoundError):
        unset_value(file, "verify")
    assert file.read_text() == FILE
    file.write_text("broken =\n")
    with pytest.raises(InvalidInputError):
        set_value(file, "threads", "1")
    assert file.read_text() == "broken =\n"


def test_a_name_that_is_not_known_gets_a_suggestion():
    assert parse_name("Cache-Size") == "cache_size"
    with pytest.raises(InvalidInputError) as caught:
        parse_name("cahce_size")
    assert caught.value.hint == "did you mean cache_size?"
    with pytest.raises(InvalidInputError) as caught:
        parse_name("zzz")
    assert "registry" in caught.value.hint
