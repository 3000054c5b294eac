"""References to other versions in a draft: what a commit records of them, and what it refuses."""

import pytest

from artfs.errors import InvalidInputError, NotFoundError, VersionDeletedError
from artfs.model.digest import Digest, version_digest
from artfs.model.names import CollectionRef
from artfs.model.reference import artifact_uri
from artfs.staging.drafts import DraftReference
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
from artfs.storage.resolver import MAX_OBJECTS
from tests.staging.test_commit import base_of, content, write

BIG = bytes(range(256)) * (5 << 12)
FILES = {"a 100%.txt": b"one", "d/b": BIG, "d/e/c": b""}
LINKS = CollectionRef("you", "elsewhere", "links")


def commit(services, draft):
    committer = services.committer()
    committer.freeze(draft, Journal())
    return committer.run(draft, Progress()).version


@pytest.fixture
def target(services):
    draft = services.drafts.create(CollectionRef("me", "demo", "data"), "target")
    write(draft, FILES)
    return commit(services, draft)


@pytest.fixture
def draft(services):
    return services.drafts.create(LINKS, "draft")


def entries_of(services, version):
    return {entry.path: entry for entry in services.open_index(version).entries()}


def add(draft, uri, path="", **changes):
    values = {"checksum": True, "max_objects": MAX_OBJECTS, **changes}
    draft.add_reference(DraftReference(uri, path, values["checksum"], values["max_objects"]))


@pytest.mark.parametrize("checksum", [True, False])
def test_a_whole_version_a_directory_and_a_file_are_recorded_with_digest_and_size(services, target, draft, checksum):
    write(draft, {"own": b"mine"})
    draft.tree.symlink("all", artifact_uri(target.id))
    draft.tree.symlink("one", artifact_uri(target.id, "d/b"))
    add(draft, f"{artifact_uri(target.id, 'd')}/", checksum=checksum)
    add(draft, artifact_uri(target.id, "a 100%.txt"), checksum=checksum)
    version = commit(services, draft)
    expected = {f"all/{path}": path for path in FILES} | {
        "one": "d/b",
        "b": "d/b",
        "e/c": "d/e/c",
        "a 100%.txt": "a 100%.txt",
    }
    found = entries_of(services, version)
    assert set(found) == {*expected, "own"}
    for path, inner in expected.items():
        data, entry = FILES[inner], found[path]
        assert (entry.ref, entry.digest, entry.size) == (
            artifact_uri(target.id, inner), Digest.of(data).base64, len(data),
        )  # fmt: skip
        assert (entry.block_list is not None) == (len(data) > 1 << 20)
    assert content(services, version) == {path: FILES[inner] for path, inner in expected.items()} | {"own": b"mine"}
    assert version.size == sum(entry.size for entry in found.values())


def test_the_digest_of_the_version_is_that_of_the_same_files(services, target, draft):
    add(draft, artifact_uri(target.id))
    version = commit(services, draft)
    assert version.digest == target.digest
    lines = sorted((path, Digest.of(data).base64) for path, data in FILES.items())
    assert version.digest == version_digest(lines)


def test_a_reference_to_a_reference_is_recorded_as_one_to_its_target(services, target, draft, tmp_path):
    (tmp_path / "file").write_bytes(b"outside")
    add(draft, artifact_uri(target.id, "d"), "d")
    draft.tree.symlink("outside", (tmp_path / "file").as_uri())
    first = commit(services, draft)
    again = services.drafts.create(LINKS, "again")
    add(again, artifact_uri(first.id), "deep")
    second = commit(services, again)
    assert {path: entry.ref for path, entry in entries_of(services, second).items()} == {
        "deep/d/b": artifact_uri(target.id, "d/b"),
        "deep/d/e/c": artifact_uri(target.id, "d/e/c"),
        "deep/outside": artifact_uri(first.id, "outside"),
    }
    assert content(services, second)["deep/outside"] == b"outside"


def test_a_draft_of_such_a_version_copies_the_bytes_up_and_keeps_the_rest(services, target, draft):
    add(draft, artifact_uri(target.id))
    first = commit(services, draft)
    edit = services.drafts.create(LINKS, "edit", base_of(first))
    entry = edit.tree.lookup("d/b").entry
    edit.tree.copy_up("d/b", services.reader.export(entry))
    edit.tree.rename("a 100%.txt", "renamed")
    found = entries_of(services, commit(services, edit))
    assert found["d/b"].ref is None
    assert found["d/b"].digest == Digest.of(BIG).base64
    assert found["renamed"].ref == artifact_uri(target.id, "a 100%.txt")


@pytest.mark.parametrize(
    ("path", "message"),
    [("nothing", "me/demo/data:v0 has no 'nothing'"), ("../d", "'..'"), ("d//b", "not written plainly")],
)
def test_what_is_not_there_is_refused_and_named(services, target, draft, path, message):
    draft.tree.symlink("link", f"{artifact_uri(target.id)}/{path}")
    with pytest.raises(InvalidInputError) as caught:
        commit(services, draft)
    assert f"link -> {artifact_uri(target.id)}" in caught.value.message
    assert message in caught.value.message


def test_a_version_that_is_not_there_was_deleted_or_is_not_named_is_refused(services, target, draft):
    for uri, error in (
        ("wandb-artifact://6172/f", NotFoundError),
        ("wandb-artifact://name:v0/f", InvalidInputError),
    ):
        other = services.drafts.create(LINKS, "other")
        add(other, uri)
        with pytest.raises(error):
            commit(services, other)
        other.discard()
    services.registry.delete_version(target.collection.at("v0"), delete_aliases=True)
    add(draft, artifact_uri(target.id))
    with pytest.raises(VersionDeletedError, match=target.id):
        commit(services, draft)


def test_no_more_than_the_limit_are_recorded(services, target, draft):
    add(draft, artifact_uri(target.id), max_objects=2)
    with pytest.raises(InvalidInputError, match="more than 2 files"):
        commit(services, draft)
