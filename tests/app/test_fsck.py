"""Each thing that may be wrong is found, by its name, and repaired where that is safe; nothing is changed that is right."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from artfs.app.fsck import Level, check, repaired
from artfs.app.services import open_services
from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import CollectionRef
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
from artfs.storage.holds import Holds
from tests.app.gc_world import World
from tests.staging.test_commit import make

BIG = bytes(range(256)) * 8193  # more than two blocks


@pytest.fixture
def world(services):
    found = World(services)
    found.versions = [
        found.commit({"a": b"one", "d-x": b"x", "d/big": BIG, "empty": b""}),
        found.commit({"a": b"two", "d/big": BIG}),
    ]
    return found


@pytest.fixture
def bad(services):
    """Return what is wrong."""

    def look(deep=False):
        return [found for found in check(services.config, Progress(), deep=deep) if found.level is not Level.OK]

    return look


@pytest.fixture
def fix(services):
    """Repair what can be repaired, and return what was."""

    def run(deep=False):
        found = [repaired(one) for one in check(services.config, Progress(), deep=deep)]
        return [one for one in found if one.repaired]

    return run


def stored(world, data, algorithm=None):
    digest = data if isinstance(data, Digest) else Digest.of(data)
    path = world.services.store.path(digest)
    path.chmod(0o600)
    return path


def block_list(world):
    index = world.services.open_index(world.versions[0])
    return index.entry(index.find("d/big").number).block_list


def registry_file(services):
    return sqlite3.connect(services.config.data_dir / "registry.sqlite", isolation_level=None)


def tree(directory):
    return {
        path: path.stat().st_mtime_ns
        for path in Path(directory).rglob("*")
        if path.is_file() and "sqlite-" not in path.name
    }


def test_nothing_is_wrong_with_what_artfs_made_and_nothing_is_changed(world, bad, services):
    make(services, {"f": b"draft"}, base=world.base(world.versions[0]))
    before = tree(services.config.data_dir)
    assert bad(deep=True) == []
    assert tree(services.config.data_dir) == before


def test_a_place_where_nothing_was_done_yet_has_no_problem_and_stays_as_it_is(config, tmp_path):
    found = list(check(config, Progress(), deep=True))
    assert not [one for one in found if one.level is Level.PROBLEM]
    assert not (tmp_path / "data").exists()


def test_a_registry_that_is_gone_while_its_drafts_are_there_is_a_problem(world, bad, services):
    make(services, {"f": b"draft"})
    services.registry.close()
    (services.config.data_dir / "registry.sqlite").unlink()
    found = bad()
    assert "is missing, and there are drafts" in found[0].message
    assert not (services.config.data_dir / "registry.sqlite").exists()


def test_a_registry_whose_file_is_damaged_is_a_problem(world, bad, services):
    services.registry.close()
    path = services.config.data_dir / "registry.sqlite"
    with registry_file(services) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096 - 1, 3):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    found = bad()
    assert found[0].check == "registry"
    assert found[0].level is Level.PROBLEM
    assert "backup" in found[0].hint


def test_a_registry_of_an_earlier_schema_is_not_touched(world, bad, services):
    with registry_file(services) as database:
        database.execute("UPDATE about SET schema_version = schema_version - 1")
    (found, skipped) = bad()
    assert "schema of an earlier artfs" in found.message
    assert "not checked" in skipped.message
    with registry_file(services) as database:
        database.execute("UPDATE about SET schema_version = schema_version + 9")
    assert "newer artfs" in bad()[0].message


def test_what_the_registry_says_is_compared_with_itself(world, bad, fix, services):
    other = CollectionRef("me", "demo", "portfolio")
    services.registry.link(world.versions[0].id, other, ["best"])
    statements = {
        "the alias latest of me/demo/data is of a version that does not exist": "UPDATE versions SET state = 'DELETED' WHERE id = :two",
        "cannot be read": "UPDATE versions SET metadata = '[1]' WHERE id = :two",
        "has no list of files": "UPDATE versions SET manifest_id = NULL WHERE id = :one",
        "unknown state 'HUH'": "UPDATE versions SET state = 'HUH' WHERE id = :one",
        "has 0 places where it was logged": "UPDATE memberships SET is_source = 0 WHERE version_id = :two",
        "me/demo/data:v1 is not what a sequence holds": "UPDATE memberships SET is_source = 0 WHERE version_id = :two",
        "counts 0 links, and has v0": "UPDATE collections SET links_made = 0 WHERE kind = 'portfolio'",
        "names a row of runs that is not there": "INSERT INTO logged VALUES (:one, 77)",
        "of a version of another collection": "UPDATE aliases SET membership_id = (SELECT id FROM memberships LIMIT 1) WHERE name = 'best'",
    }  # fmt: skip
    one, two = (version.id for version in world.versions)
    path = services.config.data_dir / "registry.sqlite"
    with registry_file(services) as database:
        whole = "\n".join(database.iterdump())
    for message, statement in statements.items():
        copy = sqlite3.connect(":memory:", isolation_level=None)
        copy.executescript("PRAGMA foreign_keys = OFF;" + whole)
        copy.execute(statement, {"one": one, "two": two})
        with sqlite3.connect(path) as target:
            copy.backup(target)
        target.close()
        assert any(message in finding.message and finding.level is not Level.OK for finding in bad()), message
    assert [finding.check for finding in fix()] == ["registry"], "the alias of another collection"
    assert not any("alias" in finding.message for finding in bad())


def test_what_the_registry_says_is_compared_with_the_list_of_files(world, bad, services):
    for column, value, name in (("size", 1, "size"), ("digest", "00", "digest"), ("file_count", 9, "number of files")):
        with registry_file(services) as database:
            old = database.execute(f"SELECT {column} FROM versions WHERE id = ?", [world.versions[0].id]).fetchone()[0]
            database.execute(f"UPDATE versions SET {column} = ? WHERE id = ?", [value, world.versions[0].id])
            (found,) = bad()
            assert found.message.startswith(f"the {name} of me/demo/data:v0 is recorded as {value}")
            database.execute(f"UPDATE versions SET {column} = ? WHERE id = ?", [old, world.versions[0].id])


def test_a_file_that_is_missing_short_or_damaged_is_named_with_its_version(world, bad):
    stored(world, b"one").unlink()
    (found,) = bad()
    assert found.message == f"a of me/demo/data:v0 is missing: {Digest.of(b'one')}"
    stored(world, BIG).write_bytes(BIG[:-1])
    assert any(f"d/big of me/demo/data:v0 has {len(BIG) - 1:,} bytes, not {len(BIG):,}" in one.message for one in bad())
    stored(world, BIG).write_bytes(b"X" + BIG[1:])
    assert len(bad()) == 1, "its size is right"
    assert any("d/big of me/demo/data:v0 is damaged" in one.message for one in bad(deep=True))


def test_a_list_of_blocks_is_made_again_out_of_its_file(world, bad, fix, services):
    path = stored(world, block_list(world))
    data = path.read_bytes()
    for damage in (None, data[:-1], b"X" + data[1:]):
        path.chmod(0o600)
        path.unlink() if damage is None else path.write_bytes(damage)
        assert any("the block list of d/big of me/demo/data:v0" in one.message for one in bad(deep=True))
        assert len(fix(deep=True)) == 1
        assert path.read_bytes() == data
        assert bad(deep=True) == []
    stored(world, BIG).write_bytes(b"X" + BIG[1:])
    path.chmod(0o600)
    path.unlink()
    assert fix(deep=False) == [], "what comes out of a damaged file is not taken"
    assert not path.exists()


def test_a_list_of_files_is_made_again_if_this_machine_knows_it(world, bad, fix, services):
    known, unknown = world.versions
    services.open_index(known)
    for version, count in ((known, 1), (unknown, 0)):
        path = stored(world, version.manifest.digest)
        data = path.read_bytes()
        for damage in (None, data + b" "):
            path.chmod(0o600)
            path.unlink() if damage is None else path.write_bytes(damage)
            (found,) = bad()
            assert (
                f"the list of files of me/demo/data:v{version.index} is {'damaged' if damage else 'missing'}"
                in found.message
            )
            assert len(fix()) == count
            assert (path.exists() and path.read_bytes() == data) == bool(count)
            if not path.exists():
                path.write_bytes(data)
        path.chmod(0o600)
        path.write_bytes(data)


def test_a_draft_that_cannot_be_opened_is_put_aside_with_everything_in_it(world, bad, fix, services):
    draft = make(services, {"f": b"precious"})
    fine = make(services, {"f": b"fine"}, "fine")
    directory = draft.directory
    draft.release()
    (directory / "draft.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    (found,) = bad()
    assert str(directory) in found.message
    assert len(fix()) == 1
    assert not directory.exists()
    (aside,) = (services.config.data_dir / "lost+found").iterdir()
    assert (aside / "tree/f").read_bytes() == b"precious"
    assert fine.directory.exists()
    assert bad() == []


def test_a_draft_that_was_put_aside_keeps_what_it_has_in_the_store(world, fix, services):
    draft = make(services, {"f": b"only in the store"})

    def fail(step):
        if step == "stored":
            raise InvalidInputError("no")

    committer = services.committer(fail)
    committer.freeze(draft, Journal())
    with pytest.raises(InvalidInputError):
        committer.run(draft, Progress())
    draft.release()
    (draft.directory / "draft.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    assert len(fix()) == 1
    world.collect()
    assert services.store.has(Digest.of(b"only in the store"))
    (aside,) = (services.config.data_dir / "lost+found").iterdir()
    aside.rename(services.config.data_dir / "elsewhere")
    world.collect()
    assert not services.store.has(Digest.of(b"only in the store"))


def test_a_draft_that_somebody_owns_is_never_put_aside(world, bad, fix, services):
    draft = make(services, {"f": b"precious"})
    draft.database.set("draft", "damaged")
    (_found,) = bad()
    assert fix() == []
    assert draft.directory.exists()


def test_what_a_draft_needs_is_looked_for(world, bad, services):
    draft = make(services, {"own": b"own"}, base=world.base(world.versions[0]))
    world.delete(world.versions[0])
    stored(world, world.versions[0].manifest.digest).unlink()
    (found,) = bad()
    assert "starts from data:v0, whose list of files is not in the store" in found.message
    draft.database.execute(
        "INSERT INTO marks VALUES (?, 'blob', 0, ?, 420, 0)",
        b"moved",
        '{{"digest":"{}","size":3}}'.format(Digest.of(b"xyz").base64),
    )
    assert any("the bytes of moved in me/demo/data ('draft') are not in the store" in one.message for one in bad())


def test_what_dead_processes_left_is_found_and_removed(world, bad, fix, services):
    drafts = services.config.data_dir / "drafts" / services.registry.id
    for name in (".new-1", ".trash-2"):
        (drafts / name / "tree").mkdir(parents=True)
    root = services.store.path(Digest.of(b"")).parents[2]
    gone = drafts / "gone"
    with Holds(root).of_draft(gone).adding([]):
        pass
    (services.config.data_dir / "drafts" / "another-registry").mkdir()
    assert {one.level for one in bad()} == {Level.WARNING}
    assert len(bad()) == 4
    assert len(fix()) == 3
    assert [one.message.split(":")[-1].strip() for one in bad()] == ["another-registry"]


def test_a_commit_that_nobody_finishes_is_a_warning(world, bad, services):
    draft = make(services, {"f": b"x"})
    services.committer().freeze(draft, Journal())
    assert bad() == [], "somebody owns it"
    draft.release()
    (found,) = bad()
    assert (found.level, "--resume" in found.hint) == (Level.WARNING, True)


@pytest.mark.expects_warning("the cache begins empty")
def test_the_ledger_of_the_cache_is_compared_with_its_files(services, bad, fix):
    assert services.registry.id
    cache = services.cache()
    source = services.config.data_dir / "file"
    for number in range(3):
        source.write_bytes(b"%d" % number * 100)
        data = source.read_bytes()
        name = f"md5/{Digest.of(data).hex}"
        assert cache.adopt(name, source, len(data), [Digest.of(data, Algorithm.BLAKE3).raw])
    cache.flush()
    assert bad() == []
    files = [path for path in services.config.cache_dir.rglob("md5/*/*") if "blocks" in path.parts]
    assert len(files) == 3
    files[0].unlink()
    name = files[1].name
    files[1].with_name("0" * 30 + name[30:]).write_bytes(b"unknown")
    messages = [one.message for one in bad()]
    assert any("1 files that are recorded are not there" in message for message in messages)
    assert any("1 files are there that nobody has recorded" in message for message in messages)
    services.close()
    (ledger,) = services.config.cache_dir.rglob("ledger.sqlite")
    ledger.write_bytes(b"garbage" * 1000)
    (found,) = [one for one in bad() if one.check == "cache"]
    assert "the ledger of the block cache" in found.message
    assert [one.check for one in fix()] == ["cache"]
    assert not [one for one in bad() if one.check == "cache"]


def test_it_is_safe_beside_a_process_that_commits(world, bad, services, tmp_path):
    script = """
from artfs.app.services import open_services
from artfs.errors import InvalidInputError
from artfs.config import load_config
from tests.app.gc_world import World
with open_services(load_config()) as services:
    for number in range(10):
        World(services).commit({"f": b"%d" % number})
"""
    other = subprocess.Popen([sys.executable, "-c", script])
    while other.poll() is None:
        assert [one for one in bad() if one.level is Level.PROBLEM] == []
    assert other.returncode == 0
    with open_services(services.config) as again:
        assert len(again.registry.versions(CollectionRef("me", "demo", "data"))) == 12
