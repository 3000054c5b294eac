"""Commit without a mount: what becomes a version, what is refused, what is hashed, what two committers do."""

import contextlib
import dataclasses
import os
import threading

import numpy as np
import pytest

from artfs.app.services import open_services
from artfs.cli.main import exit_code
from artfs.errors import ArtfsError, BusyError, InvalidInputError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import HEAD_SIZE
from artfs.model.names import CollectionRef
from artfs.staging.base import Base
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted, Progress

COLLECTION = CollectionRef("me", "demo", "data")


def make(services, files, name="draft", base=None):
    draft = services.drafts.create(COLLECTION, name, base)
    write(draft, files)
    return draft


def write(draft, files):
    for path, data in files.items():
        directory = path.rpartition("/")[0]
        for end in [at for at, char in enumerate(path) if char == "/"]:
            if draft.tree.lookup(path[:end]) is None:
                draft.tree.mkdir(path[:end], 0o755)
        assert directory == "" or draft.tree.lookup(directory)
        fd = draft.tree.create(path, os.O_WRONLY, 0o644)
        os.write(fd, data)
        os.close(fd)


def commit(services, draft, *aliases, on_step=lambda _: None):
    committer = services.committer(on_step)
    committer.freeze(draft, Journal(aliases=tuple(aliases)))
    return committer.run(draft, Progress())


def content(services, version):
    index = services.open_index(version)
    return {entry.path: b"".join(services.reader.export(entry)) for entry in index.entries()}


def base_of(version):
    return Base(version.id, version.collection.at(f"v{version.index}"), version.manifest, version.created_at)


def test_a_version_holds_the_files_of_its_draft(services):
    files = {"a": b"one", "d/b": b"", "d/e/c": os.urandom(3 << 20), "a-b": b"x"}
    draft = make(services, files)
    draft.type, draft.description, draft.metadata = "model", "text", {"k": 1}
    result = commit(services, draft, "best")
    version = result.version
    assert content(services, version) == files
    assert (version.index, version.aliases, version.type, version.description, version.metadata) == (
        0,
        ("best", "latest"),
        "model",
        "text",
        {"k": 1},
    )
    assert (version.size, version.file_count, result.hashed_files) == (sum(map(len, files.values())), 4, 4)
    assert services.drafts.owned() == []
    entry = services.open_index(version).entry(services.open_index(version).find("d/e/c").number)
    assert services.store.has(entry.block_list)
    assert entry.head == Digest.of(files["d/e/c"][:HEAD_SIZE], Algorithm.BLAKE3)


def test_the_files_become_the_blobs_without_a_copy(services):
    draft = make(services, {"a": b"one", "b": b"two"})
    inodes = {os.stat(draft.tree.local_path(name)).st_ino for name in "ab"}
    version = commit(services, draft).version
    entries = services.open_index(version).entries()
    assert {os.stat(services.store.path(entry.blob)).st_ino for entry in entries} == inodes


def test_only_what_changed_is_hashed_and_the_rest_is_kept_by_digest(services):
    first = commit(services, make(services, {f"f{number}": b"%d" % number for number in range(1000)})).version
    draft = make(services, {}, base=base_of(first))
    draft.tree.copy_up("f500", [b"changed"])
    write(draft, {"new/file": b"new"})
    draft.tree.unlink("f1")
    draft.tree.rename("f2", "new/f2")
    result = commit(services, draft)
    assert result.hashed_files == 2
    found = content(services, result.version)
    assert found["f500"] == b"changed"
    assert found["new/f2"] == b"2"
    assert "f1" not in found
    assert "f2" not in found
    assert len(found) == 1000


def test_the_same_content_as_latest_is_no_new_version_but_gets_the_aliases(services):
    first = commit(services, make(services, {"a": b"one"})).version
    result = commit(services, make(services, {"a": b"one"}), "again")
    assert (result.created, result.version.id) == (False, first.id)
    assert "again" in result.version.aliases
    assert any("nothing new" in warning for warning in result.warnings)
    assert services.drafts.owned() == []


def test_older_content_is_a_new_version(services):
    for text in (b"one", b"two"):
        commit(services, make(services, {"a": text}))
    assert commit(services, make(services, {"a": b"one"})).version.index == 2


def test_everything_that_cannot_be_committed_is_named_and_the_draft_is_unchanged(services):
    draft = make(services, {"good": b"1"})
    draft.tree.mknod("socket", 0o140644)
    draft.tree.mknod("fifo", 0o010644)
    draft.tree.symlink("nowhere", "missing/file")
    draft.tree.symlink("outside", "/etc/passwd")
    draft.tree.symlink("loop", "loop")
    write(draft, {os.fsdecode(b"bad\xff"): b""})
    before = [item.path for item in draft.tree.walk()]
    with pytest.raises(InvalidInputError) as caught:
        commit(services, draft)
    for name in ("socket", "fifo", "nowhere", "outside", "loop", "bad"):
        assert name in caught.value.message
    assert "good" not in caught.value.message
    assert [item.path for item in draft.tree.walk()] == before
    assert draft.error == caught.value.message
    assert not services.committer().is_frozen(draft)
    with pytest.raises(ArtfsError):
        services.registry.version(COLLECTION.at("latest"))


def test_an_empty_draft_is_refused_and_empty_directories_are_named(services):
    draft = make(services, {})
    with pytest.raises(InvalidInputError, match="empty"):
        commit(services, draft)
    write(draft, {"d/f": b"1"})
    draft.tree.mkdir("e", 0o755)
    draft.tree.mkdir("e/e2", 0o755)
    result = commit(services, draft)
    assert any("e/e2" in warning and "d" not in warning.split(": ")[1].split(", ") for warning in result.warnings)
    assert set(content(services, result.version)) == {"d/f"}


def test_symlinks_inside_the_mount_are_entries_by_digest(services):
    first = commit(services, make(services, {"data/a": b"one", "data/b": b"two"})).version
    draft = make(services, {"own/file": b"mine"}, name="x")
    draft.tree.symlink("rel", "../../v0/data/a")
    draft.tree.symlink("own/abs", "/mnt/artfs/me/demo/data/latest/data")
    draft.tree.symlink("own/inner", "file")
    draft.tree.symlink("dir", "own")
    result = commit(services, draft)
    assert result.hashed_files == 1
    assert content(services, result.version) == {
        "rel": b"one", "own/abs/a": b"one", "own/abs/b": b"two", "own/file": b"mine", "own/inner": b"mine",
        "dir/abs/a": b"one", "dir/abs/b": b"two", "dir/file": b"mine", "dir/inner": b"mine",
    }  # fmt: skip
    assert first.index == 0


@pytest.mark.parametrize(
    "target",
    [
        "../../v9/a",
        "../../v0/missing",
        "../../v0/.artfs/manifest.json",
        "../../.staging/other/f",
        "../../../other/v0",
        "/mnt/artfs/me",
    ],
)
def test_symlinks_that_mean_nothing_are_refused(services, target):
    commit(services, make(services, {"a": b"one"}))
    draft = make(services, {"f": b"x"}, name="y")
    draft.tree.symlink("link", target)
    with pytest.raises(InvalidInputError, match="link -> "):
        commit(services, draft)


@pytest.mark.expects_warning("is damaged or missing (entry 'single')")
def test_file_references_are_recorded_as_wandb_does_and_read_back(services, tmp_path):
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "one").write_bytes(b"one")
    (outside / "sub/two").write_bytes(os.urandom(2 << 20))
    draft = make(services, {"f": b"x"})
    draft.tree.symlink("single", (outside / "one").as_uri())
    draft.tree.symlink("all", outside.as_uri())
    version = commit(services, draft).version
    index = services.open_index(version)
    entry = index.entry(index.find("all/sub/two").number)
    assert entry.ref == f"{outside.as_uri()}/sub/two"
    assert entry.digest == Digest.of((outside / "sub/two").read_bytes()).base64
    assert content(services, version)["all/sub/two"] == (outside / "sub/two").read_bytes()
    assert index.entry(index.find("single").number).ref == (outside / "one").as_uri()
    (outside / "one").write_bytes(b"two")
    with pytest.raises(ArtfsError, match="damaged"):
        b"".join(
            type(services)(services.config, services.registry, services.backends).reader.export(
                index.entry(index.find("single").number)
            )
        )


def test_a_commit_that_cannot_reach_the_registry_goes_on_later(services, monkeypatch):
    draft = make(services, {"a": b"one", "b": b"two"})

    def fail(*_):
        raise UnreachableError("the registry is away")

    with monkeypatch.context() as patch:
        patch.setattr(services.registry, "publish", fail)
        with pytest.raises(UnreachableError):
            commit(services, draft)
    committer = services.committer()
    assert committer.is_frozen(draft)
    assert [item.local for item in draft.tree.walk()] == [False, False]  # in the store already
    result = committer.run(draft, Progress())
    assert content(services, result.version) == {"a": b"one", "b": b"two"}
    assert (result.version.index, result.hashed_files) == (0, 0)


def test_a_commit_that_fails_after_files_moved_leaves_the_draft_as_it_was(services, monkeypatch):
    draft = make(services, {"a": b"one", "d/b": os.urandom(2 << 20)})
    draft.tree.chmod("a", 0o750)
    before = {item.path: (item.size, item.mode, item.mtime_ns) for item in draft.tree.walk() if item.kind == "file"}

    def fail(*_):
        raise InvalidInputError("the registry says no")

    monkeypatch.setattr(services.registry, "publish", fail)
    with pytest.raises(InvalidInputError):
        commit(services, draft)
    assert {
        item.path: (item.size, item.mode, item.mtime_ns) for item in draft.tree.walk() if item.kind == "file"
    } == before
    item = draft.tree.lookup("a")
    assert b"".join(services.reader.export(item.entry)) == b"one"
    draft.tree.copy_up("a", services.reader.export(item.entry))
    with open(draft.tree.local_path("a"), "ab") as file:
        file.write(b" more")
    monkeypatch.undo()
    result = commit(services, draft)
    assert content(services, result.version)["a"] == b"one more"
    assert result.version.index == 0  # the reservation was given back


def test_an_interrupted_commit_hashes_only_what_is_missing(services):
    draft = make(services, {f"f{number}": os.urandom(1 << 20) for number in range(300)})
    progress = Progress()
    committer = services.committer()
    committer.freeze(draft, Journal())
    original = progress.advance

    def advance(files=0, size=0):
        original(files, size)
        if progress.snapshot()["phase"] == "hashing" and progress.snapshot()["files_done"] >= 64:
            progress.cancelled.set()

    progress.advance = advance
    with pytest.raises(CommitInterrupted):
        committer.run(draft, progress)
    result = committer.run(draft, Progress())
    assert result.version.file_count == 300


def test_a_file_that_changes_while_it_is_committed_is_named(services):
    draft = make(services, {"a": b"one"})

    def change(step):
        if step == "hashed":
            with open(draft.tree.local_path("a"), "ab") as file:
                file.write(b"!")

    with pytest.raises(BusyError, match="a has changed"):
        commit(services, draft, on_step=change)
    assert draft.tree.lookup("a").local


@pytest.fixture
def machines(services, tmp_path):
    """Services that share a registry and a store, each with a data directory of its own, as on machines of their own."""
    with contextlib.ExitStack() as stack:
        made = [dataclasses.replace(services.config, data_dir=tmp_path / f"data{number}") for number in range(8)]
        yield [stack.enter_context(open_services(config)) for config in made]


def test_committers_at_once_never_share_an_index(services, machines):
    results = []

    def run(machine, content):
        results.append(commit(machine, make(machine, {"f": content})).version)

    threads = [threading.Thread(target=run, args=(machine, b"%d" % number)) for number, machine in enumerate(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.index for version in results) == list(range(8))
    latest = services.registry.version(COLLECTION.at("latest"))
    assert latest.created_at == max(version.created_at for version in services.registry.versions(COLLECTION))


def test_the_same_content_from_two_committers_at_once_is_one_version(services, machines):
    first, second = (make(machine, {"f": b"same"}) for machine in machines[:2])

    def interleave(step):
        if step == "adopted":
            commit(machines[1], second, "two")

    result = commit(machines[0], first, "one", on_step=interleave)
    assert not result.created
    (only,) = services.registry.versions(COLLECTION)
    assert only.aliases == ("latest", "one", "two")
    assert content(services, only) == {"f": b"same"}


def test_a_damaged_blob_is_mended_by_committing_the_content_again(services):
    version = commit(services, make(services, {"a": b"one"})).version
    blob = services.store.path(Digest.of(b"one"))
    blob.chmod(0o600)
    blob.write_bytes(b"two")
    commit(services, make(services, {"a": b"one", "b": b"x"}))
    fresh = type(services)(services.config, services.registry, services.backends)
    assert content(fresh, version) == {"a": b"one"}


def test_xxh128_can_be_chosen(services):
    from dataclasses import replace

    services.config = replace(services.config, algorithm="XXH128")
    version = commit(services, make(services, {"a": np.arange(5).tobytes()})).version
    (entry,) = services.open_index(version).entries()
    assert (version.algorithm, entry.algorithm, entry.extra["alg"]) == (Algorithm.XXH128, Algorithm.XXH128, "XXH128")
    assert content(services, version) == {"a": np.arange(5).tobytes()}


def test_hard_links_and_modes(services):
    draft = make(services, {"a": b"one"})
    draft.tree.link("a", "b")
    draft.tree.chmod("a", 0o755)
    version = commit(services, draft).version
    index = services.open_index(version)
    assert index.find("a").executable
    assert index.find("b").executable
    assert content(services, version) == {"a": b"one", "b": b"one"}


def test_a_wrong_type_or_alias_is_refused(services):
    draft = make(services, {"a": b"one"})
    draft.type = "model"
    commit(services, draft)
    other = make(services, {"a": b"two"})
    other.type = "dataset"
    with pytest.raises(InvalidInputError, match="'model'"):
        commit(services, other)
    for alias in ("v3", "a:b", "", ".x"):
        with pytest.raises(InvalidInputError):
            services.committer().freeze(other, Journal(aliases=(alias,)))


def test_put_makes_a_snapshot_and_leaves_the_source_alone(services, tmp_path, capsys):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/f").write_text("1")
    (source / "link").symlink_to("d/f")
    (source / "dirlink").symlink_to("d")
    assert exit_code(["put", str(source), "demo/data:best"]) == 0
    assert capsys.readouterr().out == "me/demo/data:v0\n"
    version = services.registry.version(COLLECTION.at("best"))
    assert content(services, version) == {"d/f": b"1", "link": b"1", "dirlink/f": b"1"}
    assert (source / "d/f").read_text() == "1"
    (source / "bad").symlink_to("missing")
    assert exit_code(["put", str(source), "demo/data"]) == 2
    assert "bad is a symlink to nowhere" in capsys.readouterr().err
    assert not list((services.config.data_dir / "drafts").glob("*/*"))
