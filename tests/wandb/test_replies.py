"""What a server says is wrong, as errors of artfs."""

import json

import pytest

from artfs.errors import (
    ArtfsError,
    ConflictError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.wandb.replies import MOST_TEXT, RefusedError
from tests.wandb.conftest import KEY, VIEWER, basic
from tests.wandb.stub import Reply, errors

SAID = [
    ("Artifact abc not found", NotFoundError),
    ("could not find project x in entity y", NotFoundError),
    ("artifact type does not exist", NotFoundError),
    ("permission denied", PermissionDeniedError),
    ("You do not have permission to access the requested resource", PermissionDeniedError),
    ("user is not authorized", PermissionDeniedError),
    ("invalid artifact collection name: 'x/y'", InvalidInputError),
    ("alias must be shorter than 128", InvalidInputError),
    ("a registry with this name already exists", ExistsError),
    ("conflict: the artifact is being changed", ConflictError),
    ("Cannot query field 'x' on type 'Artifact'.", NotSupportedError),
    ("rate limit exceeded", UnreachableError),
    ("internal server error", UnreachableError),
    ("the moon is full", RefusedError),
]


def ask(session):
    return session.ask(VIEWER, {})


def error_of(session):
    with pytest.raises(ArtfsError) as caught:
        ask(session)
    return caught.value


@pytest.mark.parametrize(("message", "cls"), SAID)
@pytest.mark.parametrize("status", [200, 400])
def test_an_error_is_told_by_its_words(session, server, message, cls, status):
    server.script += [errors(message, status=status)]
    error = error_of(session)
    assert type(error) is cls
    assert error.message == f"{server.url}: Viewer: {message}"


@pytest.mark.parametrize(
    ("code", "cls"),
    [("PERMISSION_ERROR", PermissionDeniedError), ("NOT_FOUND", NotFoundError), ("CONFLICT", ConflictError),
     ("BAD_USER_INPUT", InvalidInputError), (403, PermissionDeniedError), ("404", NotFoundError), ("WEIRD", RefusedError), (["x"], RefusedError)],
)  # fmt: skip
def test_an_error_is_told_by_its_code_first(session, server, code, cls):
    server.script += [errors("the moon is full", extensions={"code": code})]
    assert type(error_of(session)) is cls


@pytest.mark.parametrize(
    ("status", "cls"),
    [(403, PermissionDeniedError), (404, NotFoundError), (409, ConflictError), (410, NotFoundError), (413, InvalidInputError),
     (422, InvalidInputError), (501, NotSupportedError), (400, RefusedError), (200, RefusedError)],
)  # fmt: skip
def test_an_error_is_told_by_the_status_at_last(session, server, status, cls):
    server.script += [errors("the moon is full", status=status)]
    assert type(error_of(session)) is cls


@pytest.mark.parametrize(
    ("status", "cls"), [(403, PermissionDeniedError), (409, ConflictError), (413, InvalidInputError)]
)
def test_a_refusal_without_json_is_told_by_the_status(session, server, status, cls):
    server.script += [Reply(status, b"<html>")]
    assert type(error_of(session)) is cls


@pytest.mark.parametrize(
    ("body", "text"),
    [({"error": "no moon"}, "no moon"), ({"error": {"message": "no moon"}}, "no moon"),
     ({"errors": ["no sun", {"message": "no moon"}]}, "no sun; no moon"), ({"errors": [7], "data": {"x": 1}}, "an error without a message"),
     ({"errors": ["e"] * 10}, "e; e; e (and 7 more)")],
)  # fmt: skip
def test_errors_come_in_several_forms(session, server, body, text):
    server.script += [Reply(200, json.dumps(body).encode())]
    assert error_of(session).message == f"{server.url}: Viewer: {text}"


def test_a_part_of_the_data_beside_an_error_is_no_answer(session, server):
    server.script += [Reply(200, b'{"data": {"viewer": {"id": "1"}}, "errors": [{"message": "the moon is full"}]}')]
    assert isinstance(error_of(session), RefusedError)


def test_what_a_server_says_is_one_short_line(session, server):
    server.script += [errors("a\nb\r\x1b[31m\x00c\u202ed" + "x" * 100_000)]
    message = error_of(session).message
    assert message.isprintable()
    assert message.startswith(f"{server.url}: Viewer: a b [31m c dxxx")
    assert len(message) < len(server.url) + MOST_TEXT + 20


def test_what_a_server_says_has_no_secrets_in_it(session, server):
    echo = f"the key {KEY} as {basic(KEY)} for https://bucket/x?X-Amz-Signature=sig123&b=c is odd"
    server.script += [errors(echo), errors(echo, status=400)]
    for _ in range(2):
        message = error_of(session).message
        assert "the key *** as Basic *** for https://bucket/x?... is odd" in message
