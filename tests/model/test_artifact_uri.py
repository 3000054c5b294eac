"""``wandb-artifact://`` URIs: what they are for an id and a path, and which are refused."""

import uuid
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.reference import artifact_uri, parse_artifact_uri
from tests.model.strategies import entry_paths, examples


def test_the_id_is_written_as_wandb_writes_it():
    assert b64encode(b"Artifact:16").decode() == "QXJ0aWZhY3Q6MTY="
    uri = artifact_uri("QXJ0aWZhY3Q6MTY=", "dir/file.txt")
    assert uri == "wandb-artifact://41727469666163743a3136/dir/file.txt"
    assert parse_artifact_uri(uri) == ("QXJ0aWZhY3Q6MTY=", "dir/file.txt")


@given(st.uuids().map(lambda found: found.hex) | st.binary(min_size=1, max_size=128).map(lambda raw: b64encode(raw).decode()),
       entry_paths | st.just(""))  # fmt: skip
@examples(300)
def test_every_id_and_path_comes_back_as_it_was(version_id, path):
    assert parse_artifact_uri(artifact_uri(version_id, path)) == (version_id, path)


@pytest.mark.parametrize("path", ["100%", "a%20b", "a?b#c", "ü ñ", "a;b", "a\nb", "a:b"])
def test_the_path_is_written_without_escapes(path):
    uri = artifact_uri(uuid.uuid4().hex, path)
    assert uri.endswith(f"/{path}")
    assert parse_artifact_uri(uri)[1] == path


def test_a_whole_version_and_a_directory_may_end_in_a_slash():
    for uri, path in (("6172", ""), ("6172/", ""), ("6172/d", "d"), ("6172/d/", "d")):
        assert parse_artifact_uri(f"WANDB-Artifact://{uri}") == ("YXI=", path)


@pytest.mark.parametrize(
    "uri",
    [
        "wandb-artifact://",
        "wandb-artifact:///a",
        "wandb-artifact://617/a",  # half a byte
        "wandb-artifact://61AB/a",
        "wandb-artifact://xy/a",
        "wandb-artifact://61 72/a",
        "wandb-artifact://user@6172/a",
        "wandb-artifact://6172:80/a",
        "wandb-artifact://6172?a",
        f"wandb-artifact://{'61' * 129}/a",
        "wandb-artifact://6172\n/a",
        "wandb-artifact://6172/../a",
        "wandb-artifact://6172/a/../b",
        "wandb-artifact://6172/./a",
        "wandb-artifact://6172/a//b",
        "wandb-artifact://6172//a",
        "wandb-artifact://6172/a//",
        "wandb-artifact://6172/a\0b",
        "wandb-artifact://6172/C:/x",
        "wandb-artifact://6172/\udcff",
        f"wandb-artifact://6172/{'n' * 256}",
        "wandb-client-artifact://6172/a",
        "s3://6172/a",
        "6172/a",
    ],
)
def test_anything_else_is_refused(uri):
    with pytest.raises(InvalidInputError):
        parse_artifact_uri(uri)


@pytest.mark.parametrize("version_id", ["", "abc", "ab c", "YXI", "YXI=\n", "YXJ=", "ü"])
def test_an_id_that_would_not_come_back_is_refused(version_id):
    with pytest.raises(InvalidInputError, match="no URI can name it"):
        artifact_uri(version_id, "a")
