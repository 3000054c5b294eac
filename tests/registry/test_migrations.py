"""Registries that an earlier program wrote are brought to the present schema with all they hold."""

import sqlite3

import pytest
from sqlalchemy import inspect

from artfs.model.names import CollectionRef, RunRef
from artfs.model.run import RunState
from artfs.registry.port import CollectionKind, VersionChange
from artfs.registry.sql import migrations
from artfs.registry.sql.registry import open_registry
from tests.registry.making import DATA, OTHER, aliases, become, commit, everything, make_portfolio, run

SCHEMA_2 = """
CREATE TABLE about (
    "only" INTEGER NOT NULL, registry_id TEXT NOT NULL, schema_version INTEGER NOT NULL, PRIMARY KEY ("only"));
CREATE TABLE entities (
    id INTEGER NOT NULL, name TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (name));
CREATE TABLE manifests (
    id INTEGER NOT NULL, digest TEXT NOT NULL, size BIGINT NOT NULL, PRIMARY KEY (id), UNIQUE (digest));
CREATE TABLE projects (
    id INTEGER NOT NULL, entity_id INTEGER NOT NULL, name TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (id), UNIQUE (entity_id, name), FOREIGN KEY(entity_id) REFERENCES entities (id));
CREATE TABLE versions (
    id TEXT NOT NULL, client_id TEXT NOT NULL, state TEXT NOT NULL, digest TEXT NOT NULL, algorithm TEXT NOT NULL,
    manifest_id INTEGER, commit_hash TEXT NOT NULL, size BIGINT NOT NULL, file_count BIGINT NOT NULL,
    description TEXT, metadata TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (id), UNIQUE (client_id), FOREIGN KEY(manifest_id) REFERENCES manifests (id));
CREATE INDEX versions_by_digest ON versions (digest);
CREATE TABLE collections (
    id INTEGER NOT NULL, project_id INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, type TEXT,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (id), UNIQUE (project_id, name), FOREIGN KEY(project_id) REFERENCES projects (id));
CREATE TABLE tags (
    version_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (version_id, name),
    FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE);
CREATE TABLE runs (
    id INTEGER NOT NULL, project_id INTEGER NOT NULL, run_id TEXT NOT NULL, name TEXT NOT NULL, job_type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id), UNIQUE (project_id, run_id), FOREIGN KEY(project_id) REFERENCES projects (id));
CREATE TABLE memberships (
    id INTEGER NOT NULL, collection_id INTEGER NOT NULL, version_id TEXT NOT NULL, version_index INTEGER NOT NULL,
    is_source INTEGER NOT NULL,
    PRIMARY KEY (id), UNIQUE (collection_id, version_index), UNIQUE (collection_id, version_id),
    FOREIGN KEY(collection_id) REFERENCES collections (id),
    FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE);
CREATE INDEX ix_memberships_version_id ON memberships (version_id);
CREATE TABLE logged (
    version_id TEXT NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (version_id),
    FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE, FOREIGN KEY(run) REFERENCES runs (id));
CREATE INDEX ix_logged_run ON logged (run);
CREATE TABLE used (
    version_id TEXT NOT NULL, run INTEGER NOT NULL, used_at TEXT NOT NULL, PRIMARY KEY (version_id, run),
    FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE, FOREIGN KEY(run) REFERENCES runs (id));
CREATE INDEX ix_used_run ON used (run);
CREATE TABLE repeats (
    client_id TEXT NOT NULL, membership_id INTEGER NOT NULL, PRIMARY KEY (client_id),
    FOREIGN KEY(membership_id) REFERENCES memberships (id));
CREATE TABLE aliases (
    id INTEGER NOT NULL, collection_id INTEGER NOT NULL, name TEXT NOT NULL, membership_id INTEGER NOT NULL,
    updated_at TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (collection_id, name),
    FOREIGN KEY(collection_id) REFERENCES collections (id),
    FOREIGN KEY(membership_id) REFERENCES memberships (id) ON DELETE CASCADE);
CREATE INDEX ix_aliases_membership_id ON aliases (membership_id);
"""
"""What the program made that knew two steps."""

TIME = "2024-01-01T00:00:00.000000+00:00"
ABROAD = "2024-01-01T08:00:00.000000+09:00"
"""An hour before `TIME`: it was recorded as the run gave it."""

CONTENT_2 = f"""
INSERT INTO about VALUES (1, 'an-id', 2);
INSERT INTO entities VALUES (1, 'me', '{TIME}');
INSERT INTO projects VALUES (1, 1, 'demo', '{TIME}');
INSERT INTO collections VALUES (1, 1, 'data', 'sequence', 'model', '{TIME}', '{TIME}');
INSERT INTO collections VALUES (2, 1, 'other', 'portfolio', 'model', '{TIME}', '{TIME}');
INSERT INTO manifests VALUES (1, 'mzbjIGBPN+7Ks9f8HgfIzA==', 3);
INSERT INTO versions VALUES ('v-one', 'c1', 'COMMITTED', 'd1', 'MD5', 1, 'h', 3, 1, 'text', '{{"a": 1}}', '{TIME}', '{TIME}');
INSERT INTO versions VALUES ('v-two', 'c2', 'COMMITTED', 'd2', 'MD5', 1, 'h', 3, 1, NULL, '{{}}', '{TIME}', '{TIME}');
INSERT INTO memberships VALUES (1, 1, 'v-one', 0, 1), (2, 1, 'v-two', 1, 1), (3, 2, 'v-two', 4, 0);
INSERT INTO aliases VALUES (1, 1, 'latest', 2, '{TIME}'), (2, 1, 'best', 1, '{TIME}');
INSERT INTO tags VALUES ('v-one', 'tag');
INSERT INTO runs VALUES (1, 1, 'r1', 'run r1', 'train', '{TIME}'), (2, 1, 'r0', 'run r0', 'train', '{ABROAD}');
INSERT INTO logged VALUES ('v-one', 1);
INSERT INTO used VALUES ('v-two', 1, '{TIME}');
"""

R1 = RunRef("me", "demo", "r1")


@pytest.fixture
def url(tmp_path):
    """A SQLite registry of schema 2."""
    database = sqlite3.connect(tmp_path / "old.sqlite")
    database.executescript(SCHEMA_2 + CONTENT_2)
    database.close()
    return f"sqlite:///{tmp_path}/old.sqlite"


def columns(registry):
    with registry._database.reading() as connection:
        inspector = inspect(connection)
        return {
            (table, column["name"]): (str(column["type"]), column["nullable"], column["default"])
            for table in inspector.get_table_names()
            for column in inspector.get_columns(table)
        }


def test_a_registry_of_schema_2_shows_all_that_it_held(url, opened):
    registry = opened(url)
    assert registry.id == "an-id"
    first, second = registry.versions(DATA)
    assert (first.id, first.description, first.metadata, first.tags) == ("v-one", "text", {"a": 1}, ("tag",))
    assert (first.aliases, second.aliases, second.type) == (("best",), ("latest",), "model")
    assert {version.ttl_seconds for version in (first, second)} == {None}
    assert [info.description for info in registry.collection_infos("me", "demo")] == [None, None]
    assert [info.kind for info in registry.collection_infos("me", "demo")] == [
        CollectionKind.SEQUENCE,
        CollectionKind.PORTFOLIO,
    ]


def test_runs_of_schema_2_are_finished(url, opened):
    registry = opened(url)
    assert registry.run(R1) == run("r1", state=RunState.FINISHED)
    assert [version.id for version in registry.logged(R1)] == ["v-one"]
    assert [version.id for version in registry.used(R1)] == ["v-two"]
    assert [found.id for found in registry.runs("me", "demo")] == ["r0", "r1"]


def test_an_index_that_a_portfolio_had_in_schema_2_is_not_used_again(url, opened):
    registry = opened(url)
    registry.unlink(OTHER.at("v4"))
    assert registry.link("v-one", OTHER, []).index == 5


def test_a_registry_of_schema_2_can_do_all_that_a_new_one_can(url, opened):
    registry = opened(url)
    registry.change_version(DATA.at("v0"), VersionChange(ttl_seconds=(None, 5), description=("text", "x")))
    registry.set_collection_description(DATA, "text")
    become(registry, run("r1", state=RunState.FAILED, config={"a": 1}, exit_code=3))
    make_portfolio(registry, CollectionRef("me", "demo", "new"), registry.versions(DATA))
    assert commit(registry, "c3", kind="model").index == 2
    known = everything(registry)
    assert everything(opened(url)) == known


def test_a_registry_of_schema_2_gets_the_columns_of_a_new_one(url, opened, tmp_path):
    assert columns(opened(url)) == columns(opened(f"sqlite:///{tmp_path}/new.sqlite"))


def test_a_program_that_opened_the_registry_before_goes_on(url, opened):
    """It writes the columns that it knows; the others have sensible values."""
    registry = opened(url)
    database = sqlite3.connect(url.removeprefix("sqlite:///"))
    with database:
        database.execute(
            "INSERT INTO runs (project_id, run_id, name, job_type, created_at) VALUES (1, 'r2', 'run r2', 'train', ?)",
            [TIME],
        )
        database.execute(
            "INSERT INTO collections (project_id, name, kind, created_at, updated_at) VALUES (1, 'n', 'sequence', ?, ?)",
            [TIME, TIME],
        )
    database.close()
    assert registry.run(RunRef("me", "demo", "r2")).state is RunState.FINISHED
    assert registry.link("v-one", CollectionRef("me", "demo", "n"), []).index == 0


def test_a_postgresql_registry_of_schema_2_is_brought_to_this_one(postgres_server, postgres_url, opened):
    first = open_registry(postgres_url, "me")
    new_columns = columns(first)
    versions = [commit(first, "c1", "best"), commit(first, "c2")]
    make_portfolio(first, OTHER, versions)
    first.unlink(OTHER.at("v0"))
    first.record_use(run("r1", state=RunState.FINISHED), versions[0].id)
    known = everything(first)
    first.close()
    with postgres_server.connect(postgres_url.rpartition("/")[2]) as connection:
        for table, column, _ in migrations._COLUMNS_OF_3:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("UPDATE about SET schema_version = 2")
    registry = opened(postgres_url)
    assert everything(registry) == known
    assert columns(registry) == new_columns
    assert registry.link(versions[0].id, OTHER, []).index == 2
    assert aliases(registry, OTHER) == {"latest": 2}
