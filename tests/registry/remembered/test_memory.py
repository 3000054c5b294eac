"""The memory on disk: for this user alone, and believed in nothing that it cannot be."""

import sqlite3
import stat

import pytest

from artfs.errors import UnreachableError
from tests.registry.making import DATA
from tests.registry.remembered.link import AWAY, all_of, fill


def test_the_memory_is_for_this_user_alone(opened, path):
    fill(opened())
    opened().entities()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.expects_warning("cannot be remembered")
@AWAY
def test_a_memory_that_is_damaged_costs_the_memory_only(link, opened, path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 300)
    registry = opened()
    fill(registry)
    assert all_of(registry)[1] == registry.id
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.entities()


@AWAY
@pytest.mark.parametrize("answer", ["", "[", "null", "{}", "[[]]", '{"id": 3}', "\x00"])
def test_an_answer_of_another_program_is_not_believed(link, opened, path, answer):
    registry = opened()
    fill(registry)
    all_of(registry)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE seen SET answer = ?", [answer])
    database.close()
    link.cut = True
    for ask in (lambda: registry.version(DATA.at("v0")), lambda: registry.listing(DATA), lambda: registry.id):
        with pytest.raises(UnreachableError):
            ask()


@AWAY
def test_a_memory_of_another_format_is_forgotten(link, opened, path):
    first = opened()
    first.entities()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    link.cut = True
    with pytest.raises(UnreachableError):
        opened().entities()


@AWAY
def test_a_name_that_cannot_be_remembered_is_no_failure_of_the_memory(link, opened):
    registry = opened()
    registry.entities()
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.projects("half a pair: \ud800")
    assert registry.entities() == ["me"]
