"""References to files of other versions through a mount: added with `ln -s` and `artfs put`, read as plain files."""

import errno
import os
import random
import subprocess
import uuid

import pytest

from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import parse_entry_path
from artfs.model.reference import artifact_uri
from artfs.registry.port import ManifestFile, NewVersion
from artfs.registry.sql.registry import open_registry
from artfs.storage.files import open_store
from tests.harness import tree_of, wait_for

BIG = random.Random(8).randbytes((3 << 20) + 5)
FILES = {"a": b"one\n", "d/big": BIG, "d/empty": b"", "d/ü 100%": b"x", "run.sh": b"#!/bin/sh\necho ran\n"}


def fill(directory, files=FILES):
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
        (directory / path).chmod(0o755 if path.endswith(".sh") else 0o644)


@pytest.fixture(scope="module")
def target(artfs):
    """The directory of a version of plain files."""
    draft = artfs.draft("target", "target")
    fill(draft)
    return artfs.commit(draft)


def uri_of(version, path=""):
    uri = os.getxattr(version, "user.artfs.uri").decode()
    assert uri == artifact_uri(os.getxattr(version, "user.artfs.id").decode())
    return f"{uri}/{path}" if path else uri


def files_of(path):
    return {name: data for name, data in tree_of(path).items() if data is not None}


def publish(artfs, collection, make_entries):
    """Publish a manifest of any kind, as another program might have; return the version's directory.

    ``make_entries`` is told the id that the version will have.
    """
    ref = CollectionRef("me", "demo", collection)
    store = open_store(f"file://{artfs.root}/data/store")
    registry = open_registry(f"sqlite:///{artfs.root}/data/registry.sqlite", "me")
    try:
        client_id = uuid.uuid4().hex
        reservation = registry.reserve(NewVersion(client_id, ref, None, client_id, Algorithm.MD5, 0, 0))
        data = b"".join(encode_manifest(sorted(make_entries(reservation.id), key=lambda entry: entry.path)))
        manifest = ManifestFile(Digest.of(data), len(data))
        store.write(manifest.digest, [data])
        version = registry.publish(client_id, manifest, [])
    finally:
        registry.close()
    path = artfs.collection(collection) / f"v{version.index}"
    wait_for(path.exists, "the version in the mount")
    return path


def test_a_link_to_a_version_shows_its_files_with_their_sizes_and_modes(artfs, target):
    draft = artfs.draft("links", "links")
    subprocess.run(["ln", "-s", uri_of(target), draft / "all"], check=True)
    subprocess.run(["ln", "-s", uri_of(target, "d/big"), draft / "single"], check=True)
    (draft / "own").write_text("mine")
    before = len(artfs.store_files())
    version = artfs.commit(draft)
    assert len(artfs.store_files()) == before + 2  # the manifest, and the one file
    expected = {f"all/{path}": data for path, data in FILES.items()} | {"single": BIG, "own": b"mine"}
    for path, data in expected.items():
        assert (version / path).stat().st_size == len(data)
    assert os.access(version / "all/run.sh", os.X_OK)
    assert subprocess.run([version / "all/run.sh"], capture_output=True, check=True).stdout == b"ran\n"
    assert files_of(version) == expected
    with (version / "single").open("rb") as file:
        assert os.pread(file.fileno(), 10, 2 << 20) == BIG[2 << 20 :][:10]
    attributes = {name: os.getxattr(version / "single", f"user.artfs.{name}").decode() for name in ("ref", "size", "cached", "verified")}  # fmt: skip
    assert attributes == {"ref": uri_of(target, "d/big"), "size": str(len(BIG)), "cached": "yes", "verified": "proven"}


def test_put_records_a_version_a_directory_or_a_file_and_get_writes_the_bytes(artfs, target, tmp_path):
    for name, arguments, expected in (
        ("whole", [uri_of(target)], FILES),
        ("part", [uri_of(target, "d/"), "--name", "x"], {f"x/{path[2:]}": data for path, data in FILES.items() if path[:2] == "d/"}),
        ("single", [uri_of(target, "d/ü 100%")], {"ü 100%": b"x"}),
        ("named", [uri_of(target, "a"), "--name", "p/q"], {"p/q": b"one\n"}),
    ):  # fmt: skip
        source, *options = arguments
        assert artfs.here("put", "--reference", source, f"demo/{name}", *options) == f"me/demo/{name}:v0"
        assert files_of(artfs.collection(name) / "v0") == expected
        for _ in range(2):  # the second time everything is there
            artfs.here("get", f"demo/{name}", tmp_path / name)
        assert files_of(tmp_path / name) == expected
    listed = artfs.json("show", "demo/whole")
    assert (listed["size"], listed["digest"]) == (
        sum(map(len, FILES.values())),
        os.getxattr(target, "user.artfs.digest").decode(),
    )


def test_a_draft_of_such_a_version_is_read_and_changed_as_any(artfs, target):
    artfs.here("put", "--reference", uri_of(target), "demo/edited")
    draft = artfs.out("stage", "demo/edited:latest")
    with open(f"{draft}/d/big", "r+b") as file:
        assert file.read(5) == BIG[:5]
        file.seek(7)
        file.write(b"changed")
    assert os.stat(f"{draft}/a").st_size == 4
    version = artfs.commit(draft)
    assert files_of(version) == FILES | {"d/big": BIG[:7] + b"changed" + BIG[14:]}
    assert os.getxattr(version / "a", "user.artfs.ref").decode() == uri_of(target, "a")


def test_a_reference_as_wandb_records_it_has_no_size_and_all_its_bytes(artfs, target):
    refs = [
        Entry(parse_entry_path(path), Digest.of(data).base64, 0, ref=uri_of(target, path))
        for path, data in FILES.items()
    ]
    version = publish(artfs, "wandb", lambda _: refs)
    assert (version / "d/big").stat().st_size == 0
    for path, data in FILES.items():
        assert (version / path).read_bytes() == data


def test_what_leads_nowhere_is_an_error_that_says_so_and_the_mount_lives(artfs, target):
    artfs.expected += ["which is not what was recorded", "was deleted", "leads to"]
    victim = artfs.draft("victim", "victim")
    (victim / "f").write_bytes(b"gone")
    victim = artfs.commit(victim)
    gone = uri_of(victim, "f")
    artfs.run("rm", "demo/victim:v0", "--delete-aliases")
    good = Entry(parse_entry_path("good"), Digest.of(b"one\n").base64, 4, ref=uri_of(target, "a"))

    def bad(path, ref, content=b"one\n", size=4):
        return Entry(parse_entry_path(path), Digest.of(content).base64, size, ref=ref)

    cases = [
        (bad("deleted", gone, b"gone"), errno.ESTALE),
        (bad("unknown", artifact_uri(uuid.uuid4().hex, "a")), errno.ENOENT),
        (bad("missing", uri_of(target, "nothing")), errno.ENOENT),
        (bad("directory", uri_of(target, "d")), errno.ENOENT),
        (bad("version", uri_of(target)), errno.ENOENT),
        (bad("digest", uri_of(target, "a"), b"two\n"), errno.EIO),
        (bad("size", uri_of(target, "a"), size=3), errno.EIO),
        (bad("escape", f"{uri_of(target)}/../a"), errno.EINVAL),
        (bad("host", "wandb-artifact://../a"), errno.EINVAL),
    ]  # fmt: skip
    version = publish(artfs, "broken", lambda _: [good, *(entry for entry, _ in cases)])
    for entry, number in cases:
        with pytest.raises(OSError) as caught:
            (version / entry.path).read_bytes()
        assert caught.value.errno == number, entry.path
        assert os.getxattr(version / entry.path, "user.artfs.cached") == b"no"
    assert (version / "good").read_bytes() == b"one\n"
    log = artfs.log()
    assert f"deleted leads to {gone}: the version with the id" in log
    assert "missing leads to" in log
    assert "me/demo/target:v0 has no file 'nothing'" in log


def test_a_cycle_of_versions_ends(artfs):
    artfs.expected.append("a cycle of them")
    digest = Digest.of(b"x").base64
    version = publish(artfs, "cycle", lambda own: [Entry(parse_entry_path("f"), digest, 1, ref=artifact_uri(own, "f"))])
    with pytest.raises(OSError) as caught:
        (version / "f").read_bytes()
    assert caught.value.errno == errno.EINVAL


def test_damage_of_the_target_is_found_when_it_is_read_by_reference(artfs):
    artfs.expected.append("is damaged")
    draft = artfs.draft("fragile", "fragile")
    (draft / "f").write_bytes(b"whole bytes")
    fragile = artfs.commit(draft)
    artfs.here("put", "--reference", uri_of(fragile), "demo/pointer")
    blob = artfs.blob(b"whole bytes")
    blob.chmod(0o600)
    blob.write_bytes(b"whole bytez")
    with pytest.raises(OSError) as caught:
        (artfs.collection("pointer") / "v0/f").read_bytes()
    assert caught.value.errno == errno.EIO
    blob.write_bytes(b"whole bytes")
    blob.chmod(0o400)
    assert (artfs.collection("pointer") / "v0/f").read_bytes() == b"whole bytes"


def test_a_symlink_to_such_a_file_keeps_the_reference(artfs, target):
    artfs.here("put", "--reference", uri_of(target, "a"), "demo/origin")
    draft = artfs.draft("copy", "copied")
    (draft / "a").symlink_to("../../../origin/v0/a")
    version = artfs.commit(draft)
    assert (version / "a").read_bytes() == b"one\n"
    assert os.getxattr(version / "a", "user.artfs.ref").decode() == uri_of(target, "a")
