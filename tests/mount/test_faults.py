"""What damage and full disks do to a mount: an error for what is damaged, never a wrong byte, and everything else goes on."""

import base64
import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess

import pytest

from tests.harness import DEADLINE, fill, small_disk, tree_of, wait_for

BLOCK = 1 << 20
SMALL, BIG, OTHER = b"small file\n", os.urandom(5 * BLOCK + 17), b"another file\n"


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    for name, data in (("small", SMALL), ("big", BIG), ("other", OTHER)):
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def version(fresh, source):
    """A version that was put before the mount came up, so that nothing of it is in memory."""
    fresh.here("put", source, "demo/data")
    fresh.mount()
    return fresh.collection() / "v0"


def damage(path, offset=0):
    """Change one bit."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def fails(call, number=errno.EIO):
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == number, caught.value


def read_at(path, offset, size):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def others_are_fine(version):
    assert (version / "other").read_bytes() == OTHER
    assert sorted(os.listdir(version)) == ["big", "other", "small"]
    assert (version / "small").stat().st_size == len(SMALL)


# The store ---------------------------------------------------------------------------------------------------------


def test_a_changed_bit_is_an_error_and_named_and_nothing_else_suffers(fresh, version):
    fresh.expected += ["is damaged", "do not match the manifest"]
    damage(fresh.blob(SMALL), 3)
    for _ in range(3):
        fails((version / "small").read_bytes)
    others_are_fine(version)
    assert (version / "big").read_bytes() == BIG
    name = fresh.blob(SMALL).parent.name + fresh.blob(SMALL).name
    assert f"blob md5:{name} cannot be read" in fresh.log()
    assert "entry 'small'" in fresh.log()
    assert fresh.log().count(" ERROR ") == 1  # once for its cause, not once for each read
    damage(fresh.blob(SMALL), 3)  # mended
    assert (version / "small").read_bytes() == SMALL


def test_only_the_damaged_block_of_a_big_file_cannot_be_read(fresh, version):
    fresh.expected += ["is damaged", "do not match the manifest"]
    damage(fresh.blob(BIG), 3 * BLOCK + 5)
    for number in (0, 1, 2, 4, 5):
        assert read_at(version / "big", number * BLOCK, 4096) == BIG[number * BLOCK : number * BLOCK + 4096]
    fails(lambda: read_at(version / "big", 3 * BLOCK + 9000, 100))
    fails((version / "big").read_bytes)
    others_are_fine(version)


@pytest.mark.parametrize("size", [0, 5, BLOCK, 3 * BLOCK + 1])
def test_a_truncated_blob_never_ends_early(fresh, version, size):
    fresh.expected += ["is damaged", "do not match the manifest"]
    name, data = ("small", SMALL) if size < BLOCK else ("big", BIG)
    fresh.blob(data).chmod(0o600)
    os.truncate(fresh.blob(data), size)
    fails((version / name).read_bytes)
    assert read_at(version / name, len(data) + 5, 100) == b""
    others_are_fine(version)


def test_a_blob_that_grew_is_read_as_it_was(fresh, version):
    fresh.blob(SMALL).chmod(0o600)
    with fresh.blob(SMALL).open("ab") as file:
        file.write(b"and more")
    assert (version / "small").read_bytes() == SMALL


def test_a_missing_blob_is_an_error_that_names_it_until_it_is_back(fresh, version, tmp_path):
    fresh.expected.append("is missing in the store")
    fresh.expected.append("is damaged or missing")
    fresh.blob(SMALL).rename(tmp_path / "away")
    fails((version / "small").read_bytes)
    assert os.getxattr(version / "small", "user.artfs.cached") == b"no"
    others_are_fine(version)
    assert f"blob md5:{fresh.blob(SMALL).parent.name}{fresh.blob(SMALL).name}" in fresh.log()
    (tmp_path / "away").rename(fresh.blob(SMALL))
    assert (version / "small").read_bytes() == SMALL


def test_damage_under_a_running_reader_is_found_when_it_gets_there(fresh, source):
    fresh.expected += ["is damaged", "do not match the manifest"]
    data = BIG * 6
    (source / "long").write_bytes(data)
    fresh.here("put", source, "demo/data")
    fresh.mount()
    file = fresh.collection() / "v0/long"
    with file.open("rb", buffering=0) as reader:
        assert reader.read(BLOCK) == data[:BLOCK]
        damage(fresh.blob(data), 25 * BLOCK + 1)
        got = data[:BLOCK]
        with contextlib.suppress(OSError):
            while piece := reader.read(BLOCK):
                got += piece
        assert 20 * BLOCK < len(got) <= 25 * BLOCK
        assert data.startswith(got)
        fails(lambda: reader.read(BLOCK))
    assert read_at(file, 26 * BLOCK, BLOCK) == data[26 * BLOCK : 27 * BLOCK]


def test_committing_the_content_again_mends_a_damaged_blob(fresh, version, source):
    fresh.expected += ["is damaged", "do not match the manifest"]
    damage(fresh.blob(SMALL))
    fails((version / "small").read_bytes)
    (source / "more").write_text("more")
    fresh.here("put", source, "demo/data")
    assert (fresh.collection() / "v1/small").read_bytes() == SMALL
    assert (version / "small").read_bytes() == SMALL


def test_a_damaged_blob_is_an_error_in_a_draft_too_and_the_draft_stays(fresh, version):
    fresh.expected += ["is damaged", "do not match the manifest"]
    draft = fresh.mountpoint / fresh.out("stage", "demo/data", "--name", "draft")
    damage(fresh.blob(SMALL))
    fails((draft / "small").read_bytes)
    with pytest.raises(OSError, match="Input/output error"), (draft / "small").open("ab") as file:
        file.write(b"more")
    (draft / "small").write_bytes(b"new")  # all of it is replaced: the old bytes are not needed
    assert fresh.out("commit", draft) == "me/demo/data:v1"
    assert (fresh.collection() / "v1/small").read_bytes() == b"new"


# Manifests and their indexes ---------------------------------------------------------------------------------------


def manifest_of(artfs, reference="demo/data:v0"):
    shown = artfs.json("show", reference)["manifest"]
    name = base64.b64decode(shown["digest"]).hex()
    return artfs.root / "data/store/md5" / name[:2] / name[2:]


def indexes(artfs):
    return [path for path in (artfs.root / "cache/index").rglob("*") if path.is_file()]


def test_a_damaged_manifest_is_an_error_for_its_version_alone(fresh, source, tmp_path):
    fresh.expected += ["manifest", "lookup", "readdir", "getattr"]
    fresh.here("put", source, "demo/data")
    (source / "more").write_text("more")
    fresh.here("put", source, "demo/data")
    manifest = manifest_of(fresh)
    shutil.rmtree(fresh.root / "cache", ignore_errors=True)
    damage(manifest, 100)
    fresh.mount()
    fails(lambda: (fresh.collection() / "v0/small").read_bytes())
    fails(lambda: os.listdir(fresh.collection() / "v0"))
    assert sorted(os.listdir(fresh.collection() / "v1")) == ["big", "more", "other", "small"]
    assert sorted(os.listdir(fresh.collection())) == [".commit", ".staging", "latest", "v0", "v1"]
    assert manifest.parent.name + manifest.name in fresh.log()
    assert "manifest" in fresh.run("get", "demo/data:v0", tmp_path / "out", code=7).stderr
    damage(manifest, 100)  # mended
    others_are_fine(fresh.collection() / "v0")


@pytest.mark.parametrize("how", ["garbage", "truncated", "empty", "one byte", "removed"])
def test_a_damaged_index_in_the_cache_costs_time_only(fresh, version, source, how):
    assert tree_of(version) == tree_of(source)
    fresh.umount()
    (index,) = indexes(fresh)
    whole = index.read_bytes()
    index.chmod(0o600)
    match how:
        case "garbage":
            index.write_bytes(os.urandom(len(whole)))
        case "truncated":
            index.write_bytes(whole[: len(whole) // 2])
        case "empty":
            index.write_bytes(b"")
        case "one byte":
            damage(index, whole.index(b"small"))
        case "removed":
            index.unlink()
    fresh.mount()
    assert tree_of(version) == tree_of(source)
    assert (version / "small").read_bytes() == SMALL


def test_a_cache_that_is_deleted_under_a_mount_costs_time_only(fresh, version, source):
    assert (version / "small").read_bytes() == SMALL
    shutil.rmtree(fresh.root / "cache")
    assert tree_of(version) == tree_of(source)
    (source / "more").write_text("more")
    fresh.here("put", source, "demo/data")
    assert tree_of(fresh.collection() / "v1") == tree_of(source)


# Full disks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(fresh, as_root):
    """An artfs whose data directory has a small disk of its own, mounted."""
    with small_disk(fresh.root / "data", 24 << 20):
        fresh.expected.append("no space left")
        fresh.mount()
        yield fresh
        fresh.close()


def write_until_full(path):
    with path.open("wb", buffering=0) as file:
        fails(lambda: [file.write(os.urandom(BLOCK)) for _ in range(100)], errno.ENOSPC)


def test_a_writer_is_told_that_the_disk_is_full_and_can_go_on_when_there_is_space(full):
    draft = full.draft()
    (draft / "kept").write_bytes(BIG)
    write_until_full(draft / "large")
    size = (draft / "large").stat().st_size
    assert 10 * BLOCK < size < 24 * BLOCK
    fails(lambda: (draft / "more").write_bytes(BIG), errno.ENOSPC)
    assert (draft / "kept").read_bytes() == BIG
    fails((draft.parent / "another").mkdir, errno.ENOSPC)
    assert os.listdir(draft.parent) == ["draft"]
    (draft / "large").unlink()
    (draft / "more").write_bytes(BIG)
    assert (draft / "more").read_bytes() == BIG
    assert full.out("commit", draft) == "me/demo/data:v0"
    assert tree_of(full.collection() / "v0") == {"kept": BIG, "more": BIG}


def test_a_copy_up_on_a_full_disk_is_told_to_the_writer_and_leaves_the_file_as_it_was(full, source):
    full.run("put", source, "demo/data")
    draft = full.mountpoint / full.out("stage", "demo/data", "--name", "draft")
    fill(full.root / "data/filler", 1 << 20)
    with pytest.raises(OSError) as caught, (draft / "big").open("r+b", buffering=0) as file:
        file.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert (draft / "big").read_bytes() == BIG
    (full.root / "data/filler").unlink()
    with (draft / "big").open("r+b") as file:
        file.write(b"x")
    assert (draft / "big").read_bytes() == b"x" + BIG[1:]


def test_a_commit_that_fills_the_disk_leaves_the_draft_whole_whenever_it_happens(full):
    outcomes = set()
    for number, free in enumerate(range(0, 480, 32)):
        draft = full.draft(f"d{number}")
        for name in range(100):
            (draft / f"a-file-with-quite-a-long-name-{name}").write_text(f"{number} {name}")
        before = tree_of(draft)
        fill(full.root / "data/filler", free << 10)
        done = full.start("commit", draft)
        out, err = done.communicate(timeout=DEADLINE)
        (full.root / "data/filler").unlink()
        outcomes.add(done.returncode)
        if done.returncode == 0:
            continue
        assert (done.returncode, out) == (9, "")
        assert "no space left" in err
        assert tree_of(draft) == before
        (draft / "a-file-with-quite-a-long-name-0").write_text("changed since")
        (draft / "new").write_text("new")
    assert outcomes == {0, 9}
    assert os.listdir(full.collection() / ".commit") == []
    left = sorted(os.listdir(full.collection() / ".staging"))
    assert len(left) > 5
    full.kill()
    full.mount()
    assert sorted(os.listdir(full.collection() / ".staging")) == left  # nothing goes on that was given up
    for name in left[::3]:
        draft = full.collection() / ".staging" / name
        content = {path: data for path, data in tree_of(draft).items() if data is not None}
        result = full.json("commit", draft)
        version = full.collection() / result["version"].rpartition(":")[2]
        assert tree_of(version) == content
        assert json.loads(os.getxattr(version, "user.artfs.file_count")) == 101
        assert os.getxattr(version, "user.artfs.size").decode() == str(sum(map(len, content.values())))


# The registry ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def changed(path, data):
    """Replace the bytes of a file, in place, for a while."""
    before = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data)
    yield
    path.write_bytes(before)


def test_a_registry_of_a_newer_program_is_refused_at_mount(fresh, version):
    fresh.expected.append("a newer artfs wrote it")
    fresh.umount()
    database = sqlite3.connect(fresh.root / "data/registry.sqlite")
    with database:
        database.execute("UPDATE about SET schema_version = 99")
    database.close()
    done = fresh.run("mount", fresh.mountpoint, code=10)
    assert "has schema 99" in done.stderr
    assert "(upgrade artfs, or use another --registry)" in done.stderr
    assert not os.path.ismount(fresh.mountpoint)
    assert list((fresh.root / "runtime").iterdir()) == []


def test_a_damaged_registry_is_refused_at_mount_and_left_as_it_is(fresh, version):
    fresh.expected.append("is damaged")
    fresh.umount()
    registry = fresh.root / "data/registry.sqlite"
    with changed(registry, os.urandom(4096)):
        before = registry.read_bytes()
        for arguments in (("mount", fresh.mountpoint), ("ls",), ("show", "demo/data")):
            done = fresh.run(*arguments, code=7)
            assert "is damaged" in done.stderr
            assert "(restore it from a backup)" in done.stderr
        assert registry.read_bytes() == before
        assert not os.path.ismount(fresh.mountpoint)
    fresh.mount()
    others_are_fine(version)


def test_a_registry_that_is_damaged_under_a_mount_is_an_error_and_not_the_end(fresh, version):
    fresh.expected += ["is damaged", "cannot be used"]
    draft = fresh.draft()
    (draft / "f").write_text("kept")
    opened = (version / "big").open("rb")
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened)
        for suffix in ("-shm", "-wal", ""):
            path = fresh.root / f"data/registry.sqlite{suffix}"
            stack.enter_context(changed(path, os.urandom(path.stat().st_size)))
        wait_for(lambda: not os.path.exists(fresh.collection()))  # until the mount asks again
        fails(lambda: os.listdir(fresh.mountpoint))
        assert opened.read() == BIG  # what is open needs no registry
        assert "is damaged" in fresh.run("ls", code=7).stderr
    assert fresh.pid()
    fresh.umount()
    fresh.mount()
    others_are_fine(version)
    assert (draft / "f").read_text() == "kept"


def test_a_draft_that_changed_since_its_commit_failed_is_recorded_as_it_is_then(fresh):
    fresh.expected += ["is damaged", "cannot be used", "waits: "]
    fresh.mount()
    draft = fresh.draft()
    (draft / "f").write_text("one")
    blobs = fresh.root / "data/store/md5"
    blobs.touch()  # so that the commit has reserved its version, and goes no further
    assert "committing" in fresh.json("commit", draft, "--no-wait", "--description", "first")
    wait_for(
        lambda: json.loads(os.getxattr(fresh.collection() / ".commit/draft", "user.artfs.progress"))["waiting_for"]
    )
    with contextlib.ExitStack() as stack:
        for suffix in ("-shm", "-wal", ""):
            path = fresh.root / f"data/registry.sqlite{suffix}"
            stack.enter_context(changed(path, os.urandom(path.stat().st_size)))
        blobs.unlink()
        wait_for(lambda: "the commit of draft 'draft' of me/demo/data failed" in fresh.log())
    wait_for(lambda: (draft / "f").exists())
    assert "is damaged" in os.getxattr(draft, "user.artfs.error").decode()
    (draft / "f").write_text("one and more")
    version = fresh.commit(draft, "--description", "second")
    assert (version / "f").read_text() == "one and more"
    (fresh.root / "f").write_text("one and more")
    fresh.here("put", fresh.root / "f", "demo/same")
    shown, same = fresh.json("show", f"demo/data:{version.name}"), fresh.json("show", "demo/same")
    assert (shown["digest"], shown["size"], shown["description"]) == (same["digest"], 12, "second")
    assert [row["name"] for row in fresh.json("ls", "me/demo/data")] == [version.name]
    with contextlib.closing(sqlite3.connect(fresh.root / "data/registry.sqlite")) as database:
        assert database.execute("SELECT DISTINCT state FROM versions").fetchall() == [
            ("COMMITTED",)
        ]  # nothing is left reserved


def test_a_registry_that_nobody_may_open_any_more_does_not_disturb_the_mount(ordinary):
    ordinary.mount()
    registry = ordinary.root / "data/registry.sqlite"
    source = ordinary.root / "source"
    source.mkdir()
    (source / "small").write_bytes(SMALL)
    ordinary.run("put", source, "demo/data")
    registry.chmod(0)
    shown = subprocess.run(
        [*ordinary.plainly, "cat", ordinary.collection() / "v0/small"], capture_output=True, check=True
    )
    assert shown.stdout == SMALL
    done = ordinary.run("ls", code=8)
    assert "registry.sqlite cannot be opened: Permission denied" in done.stderr
    registry.chmod(0o600)
    assert ordinary.out("ls", "me/demo/data") == "v0"
