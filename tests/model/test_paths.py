"""Entry paths: what a manifest may call a file."""

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model import paths
from artfs.model.paths import join, parse_entry_path, split
from tests.model.strategies import ODD_NAMES, entry_paths, examples, texts

HOSTILE = [
    ("", "names no file"),
    (".", "names no file"),
    ("./", "names no file"),
    ("././.", "names no file"),
    ("/", "is absolute"),
    ("//", "is absolute"),
    ("/etc/passwd", "is absolute"),
    ("//etc/passwd", "is absolute"),
    ("C:", "is absolute"),
    ("C:/x", "is absolute"),
    ("c:/", "is absolute"),
    ("z:/../x", "is absolute"),
    ("./C:/x", "is absolute"),
    (".//./C:", "is absolute"),
    ("..", "contains '..'"),
    ("../x", "contains '..'"),
    ("a/..", "contains '..'"),
    ("a/../b", "contains '..'"),
    ("a/b/../../../x", "contains '..'"),
    ("./..", "contains '..'"),
    ("a//../b", "contains '..'"),
    ("\0", "NUL"),
    ("a\0b", "NUL"),
    ("a/b\0", "NUL"),
    ("\ud800", "not valid Unicode"),
    ("a/\udcff", "not valid Unicode"),
    ("\ude00\ud83d", "not valid Unicode"),
]


@pytest.mark.parametrize(("text", "reason"), HOSTILE)
def test_a_path_that_is_no_file_below_its_version_is_refused_with_the_reason(text, reason):
    with pytest.raises(InvalidInputError, match=re.escape(reason)) as caught:
        parse_entry_path(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a//b", "a/b"),
        ("./x", "x"),
        ("a/./b", "a/b"),
        ("a/", "a"),
        ("a/.", "a"),
        (".//./a///b/./", "a/b"),
        ("a/C:/b", "a/C:/b"),
    ],
)
def test_a_path_is_written_the_shortest_way(text, path):
    assert parse_entry_path(text) == path


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, "..a", "a..", "....", "a:b", "CC:", "1:", "nul", "aux.txt", " ", "\ufeff"]
)
def test_any_other_name_is_a_file_anywhere(name):
    for path in (name, f"dir/{name}", f"{name}/file", f"a/{name}/b"):
        assert parse_entry_path(path) == path


@pytest.mark.parametrize("char", ["a", ".", " ", "é", "日", "🦊"])
def test_a_name_has_at_most_255_bytes(char):
    size = len(char.encode())
    fits = char * (255 // size) + "b" * (255 % size)
    assert len(fits.encode()) == 255
    for where in ("{}", "dir/{}", "{}/file", "a/{}/b"):
        assert parse_entry_path(where.format(fits)) == where.format(fits)
        with pytest.raises(InvalidInputError, match="longer than 255 bytes"):
            parse_entry_path(where.format(fits + "b"))


@pytest.mark.parametrize("char", ["a", "é"])
def test_a_path_has_at_most_4095_bytes(char):
    size = len(char.encode())
    fits = "/".join([char * (254 // size)] * 16) + "/" + "b" * 15
    assert len(fits.encode()) == 4095
    assert parse_entry_path(fits) == fits
    with pytest.raises(InvalidInputError, match="longer than 4095 bytes"):
        parse_entry_path(fits + "b")


def test_only_what_is_left_of_a_path_counts_for_its_length():
    assert parse_entry_path("./" * 5000 + "a" + "/" * 5000) == "a"


def test_a_refused_path_does_not_fill_the_message():
    with pytest.raises(InvalidInputError) as caught:
        parse_entry_path("a" * 1_000_000)
    assert len(caught.value.message) < 200


@given(texts(max_size=30) | st.lists(st.sampled_from(["", ".", "..", "C:", "a", "a:b", "\0", "\ud800"])).map("/".join))
@examples(500)
def test_a_path_that_is_taken_is_a_file_below_its_version_and_is_taken_again(text):
    try:
        path = parse_entry_path(text)
    except InvalidInputError:
        return
    assert parse_entry_path(path) == path
    assert posixpath.normpath(f"/version/{text}") == f"/version/{path}"
    assert not {"", ".", ".."} & set(path.split("/"))
    assert b"\0" not in path.encode()


def outcome(text):
    try:
        return parse_entry_path(text)
    except InvalidInputError as error:
        return error.message


_long = st.integers(98, 102).map(lambda length: "a" * length)


@given(
    st.lists(st.sampled_from(["a", "A9_-.", ".", "..", "", ".a", "-", "C:", "é"]) | _long, max_size=12).map("/".join)
)
@examples(500)
def test_the_short_way_for_plain_paths_gives_what_the_long_way_gives(text):
    with pytest.MonkeyPatch.context() as patch:
        short = outcome(text)
        patch.setattr(paths, "_PLAIN", re.compile(r"(?!)"))
        assert short == outcome(text)


@given(entry_paths)
@examples(100)
def test_a_path_is_joined_again_from_its_directory_and_its_name(path):
    directory, name = split(path)
    assert join(directory, name) == path
    assert "/" not in name
    assert (directory, name) == posixpath.split(path)


def test_the_top_level_has_an_empty_directory():
    assert split("a") == ("", "a")
    assert split("a/b/c") == ("a/b", "c")
    assert join("", "a") == "a"
    assert join("a", "") == "a"
    assert join("", "") == ""
    assert join("a/b", "c") == "a/b/c"
