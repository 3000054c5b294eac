"""What is committed to a W&B server: what the double then has, and what it was asked for."""

import json
import os
import threading
from datetime import UTC, datetime

import pytest

import artfs.staging.gathered
from artfs.cli.main import exit_code
from artfs.errors import InvalidInputError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.names import CollectionRef
from artfs.model.reference import artifact_uri
from artfs.model.run import RunInfo
from artfs.registry.port import NewVersion
from artfs.staging.drafts import DraftReference
from artfs.staging.journal import Journal
from artfs.staging.progress import Progress
from tests.registry.wandb.conftest import manifest_of, pending, uploads
from tests.staging.test_commit import base_of, commit, content, make, write
from tests.wandb_server import manifests

DATA = CollectionRef("me", "demo", "data")
FILES = {
    "a.txt": b"hello\n",
    "nested/deep/leaf.bin": os.urandom(3 << 20),
    "odd names/with space & (x).txt": b"odd",
    "ünïcödé $ #?%.txt": b"more",
    "same": b"hello\n",
    "empty": b"",
}


def digest_of(files):
    return version_digest((path, Digest.of(data).base64) for path, data in sorted(files.items()))


def put(services, files, *aliases, **values):
    draft = make(services, files)
    committer = services.committer()
    committer.freeze(draft, Journal(aliases=aliases, **values))
    return committer.run(draft, Progress())


def fill(directory, files):
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return str(directory)


class TestPut:
    def test_the_command_line_logs_a_directory(self, server, environment, tmp_path, capsys):
        source = fill(tmp_path / "source", FILES)
        words = [
            "put",
            source,
            "demo/data:best",
            "--alias",
            "more",
            "--description",
            "text",
            "--metadata",
            '{"a": [1]}',
        ]
        assert exit_code([*words, "--type", "model"]) == 0
        assert capsys.readouterr().out == "me/demo/data:v0\n"
        artifact = server.artifact("me/demo/data:best")
        assert (artifact.digest, artifact.state) == (digest_of(FILES), "COMMITTED")
        assert (artifact.description, json.loads(artifact.metadata)) == ("text", {"a": [1]})
        assert artifact.sequence.type.name == "model"
        assert server.aliases("me/demo/data:v0") == {"best", "more", "latest"}
        assert {path: server.read("me/demo/data:v0", path) for path in artifact.entries} == FILES
        assert not list((tmp_path / "data/drafts").glob("*/*"))

    def test_each_content_is_sent_once_and_the_storage_never_sees_the_key(self, server, services):
        put(services, FILES)
        assert sorted(request.received for request in uploads(server)) == sorted({len(data) for data in FILES.values()})
        storage = server.requests("PUT")
        assert len(storage) == len(set(FILES.values())) + 1
        assert not any(request.authorized for request in storage)
        assert {request.headers["content-length"] for request in storage} >= {"0"}
        assert pending(server) == []

    def test_the_manifest_has_what_the_sdk_needs_and_nothing_of_this_machine(self, server, services, tmp_path):
        put(services, FILES)
        text, entries = manifest_of(server, "me/demo/data:latest")
        artifact = server.artifact("me/demo/data:latest")
        assert json.loads(text)["storagePolicyConfig"] == {"storageLayout": "V2"}
        assert "local_path" not in text
        assert str(tmp_path) not in text
        assert {
            path: (entry.digest, entry.size, entry.birth_artifact_id, entry.extra) for path, entry in entries.items()
        } == {path: (Digest.of(data).base64, len(data), artifact.id, {}) for path, data in FILES.items()}

    def test_what_was_put_is_read_on_another_machine(self, services, fresh):
        version = put(services, FILES, "best").version
        assert version.digest == digest_of(FILES)
        assert (version.size, version.file_count) == (sum(map(len, FILES.values())), len(FILES))
        assert content(fresh, fresh.registry.version(DATA.at("best"))) == FILES

    def test_what_was_put_is_in_the_cache_of_this_machine(self, server, services):
        files = FILES | {"big": os.urandom(9 << 20)}
        version = put(services, files).version
        services.open_index(version)
        server.forget()
        assert content(services, version) == files
        assert server.requests() == []

    def test_the_same_content_is_no_new_version_and_nothing_is_sent(self, server, services):
        first = put(services, FILES, "one")
        server.forget()
        again = put(services, FILES, "two")
        assert (again.created, again.version.id) == (False, first.version.id)
        assert again.version.aliases == ("latest", "one", "two")
        assert any("nothing new" in text for text in again.warnings)
        assert server.count(operation="CreateArtifactFiles") == server.count("PUT") == 0
        assert server.count(operation="CreateArtifactManifest") == 0

    def test_a_commit_of_few_files_asks_only_what_it_must(self, server, services):
        put(services, {"a": b"1"})
        server.forget()
        put(services, {"a": b"2"})
        assert server.operations() == [
            "ClientIDMapping", "Collection", "CreateArtifact", "CreateArtifactManifest", "CreateArtifactFiles",
            "CreateArtifactManifest", "CommitArtifact", "Memberships",
        ]  # fmt: skip

    def test_two_thousand_files_take_four_questions_and_a_changed_one_one_upload(self, server, services):
        files = {f"d{number % 7}/{number:05}.txt": b"file %d" % number for number in range(2000)}
        put(services, files)
        assert (server.count(operation="CreateArtifactFiles"), len(uploads(server))) == (4, 2000)
        assert server.artifact("me/demo/data:latest").digest == digest_of(files)
        server.forget()
        files["d1/00001.txt"] = b"changed"
        version = put(services, files).version
        assert (version.index, len(uploads(server))) == (1, 1)
        births = {entry.birth for entry in server.artifact("me/demo/data:v1").entries.values()}
        assert len(births) == 2
        assert server.read("me/demo/data:v1", "d1/00001.txt") == b"changed"
        assert version.digest == digest_of(files)

    def test_a_missing_project_is_made_and_an_unknown_entity_is_refused(self, server, services):
        draft = services.drafts.create(CollectionRef("me", "new-project", "data"), "one")
        write(draft, {"a": b"1"})
        assert commit(services, draft).version.index == 0
        draft = services.drafts.create(CollectionRef("nobody", "p", "data"), "two")
        write(draft, {"a": b"1"})
        with pytest.raises((NotFoundError, PermissionDeniedError)):
            commit(services, draft)
        assert draft.error

    def test_a_version_gets_tags_a_ttl_and_its_run(self, server, services):
        run = RunInfo("run-1", "me", "demo", "run-1", "", datetime.now(UTC))
        services.registry.record_run(run)
        version = put(services, FILES, tags=("gold", "two words"), ttl_seconds=3600, run="me/demo/run-1").version
        assert (version.tags, version.ttl_seconds) == (("gold", "two words"), 3600)
        assert services.registry.logged_by(version.id).id == "run-1"
        assert [one.id for one in services.registry.logged(run.ref)] == [version.id]
        (manifest, last) = server.requests(operation="CreateArtifactManifest")
        assert {one.variables["input"]["runName"] for one in (manifest, last)} == {"run-1"}

    def test_a_run_that_the_server_does_not_know_is_no_reason_to_fail(self, server, services):
        result = put(services, FILES, run="me/demo/nowhere")
        assert result.created
        assert any("nowhere" in text for text in result.warnings)

    def test_a_server_that_publishes_late_is_waited_for(self, server, services, monkeypatch):
        from tests.wandb_server.resolvers import write as resolvers

        real, timers = resolvers.manifests.commit, []

        def later(state, artifact):
            timers.append(threading.Timer(0.5, real, (state, artifact)))
            timers[0].start()

        monkeypatch.setattr(resolvers.manifests, "commit", later)
        assert put(services, FILES, "best").version.aliases == ("best", "latest")
        assert len(timers) == 1

    @pytest.mark.expects_warning("has not published the version")
    def test_a_server_that_never_publishes_is_tried_again_later(self, server, services, monkeypatch):
        from tests.wandb_server.resolvers import write as resolvers

        monkeypatch.setattr("artfs.registry.wandb.commits.WAIT", 0.3)
        draft = make(services, FILES)
        with monkeypatch.context() as patch:
            patch.setattr(resolvers.manifests, "commit", lambda *_: None)
            with pytest.raises(UnreachableError, match="has not published"):
                commit(services, draft, "best")
        assert services.committer().run(draft, Progress()).version.aliases == ("best", "latest")


class TestFromOtherVersions:
    def test_a_draft_from_a_version_sends_only_what_changed(self, server, services, fresh):
        first = put(services, FILES).version
        server.forget()
        draft = make(services, {"new": b"new"}, base=base_of(first))
        draft.tree.unlink("empty")
        draft.tree.rename("nested/deep/leaf.bin", "moved.bin")
        version = commit(services, draft).version
        (asked,) = server.requests(operation="CreateArtifactFiles")
        assert [spec["name"] for spec in asked.variables["input"]["artifactFiles"]] == ["new"]
        assert len(uploads(server)) == 1
        expected = {path: data for path, data in FILES.items() if path not in {"empty", "nested/deep/leaf.bin"}}
        expected |= {"new": b"new", "moved.bin": FILES["nested/deep/leaf.bin"]}
        assert content(fresh, version) == expected
        births = {path: entry.birth for path, entry in server.artifact("me/demo/data:v1").entries.items()}
        assert (births["moved.bin"], births["new"]) == (first.id, version.id)
        bases = {
            one.variables["input"]["baseArtifactID"] for one in server.requests(operation="CreateArtifactManifest")
        }
        assert bases == {first.id}

    def test_a_link_to_a_version_of_the_same_entity_keeps_its_birth(self, server, services, fresh):
        other = server.log_artifact("me", "other", "source", files={"x/one": b"1", "x/two": b"2"})
        draft = make(services, {"own": b"own"})
        draft.tree.symlink("part", "/mnt/artfs/me/other/source/latest/x")
        version = commit(services, draft).version
        entries = server.artifact("me/demo/data:v0").entries
        assert {path: entry.birth for path, entry in entries.items()} == {
            "own": version.id, "part/one": other.id, "part/two": other.id,
        }  # fmt: skip
        assert content(fresh, version) == {"own": b"own", "part/one": b"1", "part/two": b"2"}

    def test_a_link_to_a_version_of_another_entity_is_a_reference(self, server, services, fresh):
        server.team("team")
        other = server.log_artifact("team", "p", "source", files={"x/one": b"1", "x/two": b"2"})
        draft = make(services, {"own": b"own"})
        draft.tree.symlink("part", "/mnt/artfs/team/p/source/latest/x")
        draft.tree.symlink("renamed", "/mnt/artfs/team/p/source/latest/x/two")
        version = commit(services, draft).version
        entries = server.artifact("me/demo/data:v0").entries
        assert {path: (entry.ref, entry.birth) for path, entry in entries.items()} == {
            "own": (None, version.id),
            "part/one": (artifact_uri(other.id, "x/one"), None),
            "part/two": (artifact_uri(other.id, "x/two"), None),
            "renamed": (artifact_uri(other.id, "x/two"), None),
        }
        assert content(fresh, version) == {"own": b"own", "part/one": b"1", "part/two": b"2", "renamed": b"2"}

    def test_files_of_which_no_birth_is_known_are_references(self, server, services, fresh):
        old = server.log_artifact("me", "demo", "data", files={"a": b"1", "b": b"2"}, layout="V1")
        for entry in old.entries.values():
            entry.birth = None
        old.current_manifest = manifests.store_manifest(server.state, old, manifests.render(old.entries, "V1"))
        draft = make(services, {"c": b"5"}, base=base_of(services.registry.version(DATA.at("latest"))))
        version = commit(services, draft).version
        refs = {path: entry.ref for path, entry in server.artifact("me/demo/data:v1").entries.items()}
        assert refs == {"a": artifact_uri(old.id, "a"), "b": artifact_uri(old.id, "b"), "c": None}
        assert content(fresh, version) == {"a": b"1", "b": b"2", "c": b"5"}

    def test_what_is_gathered_on_disk_is_still_known_to_be_of_a_version(self, server, services, fresh, monkeypatch):
        monkeypatch.setattr(artfs.staging.gathered, "IN_MEMORY", 3)
        files = {f"f{number}": b"%d" % number for number in range(20)}
        other = server.log_artifact("me", "other", "source", files=files)
        draft = make(services, {"own": b"own"})
        draft.tree.symlink("all", "/mnt/artfs/me/other/source/latest")
        version = commit(services, draft).version
        births = {entry.birth for path, entry in server.artifact("me/demo/data:v0").entries.items() if path != "own"}
        assert births == {other.id}
        assert content(fresh, version) == {f"all/{path}": data for path, data in files.items()} | {"own": b"own"}

    def test_a_version_with_references_only_sends_a_manifest_only(self, server, services, fresh, tmp_path):
        (tmp_path / "outside").write_bytes(b"outside")
        draft = make(services, {})
        draft.add_reference(DraftReference((tmp_path / "outside").as_uri(), "local.txt", True, 100))
        draft.tree.symlink("strange", "https://example.invalid/x")
        draft.tree.unlink("strange")
        version = commit(services, draft).version
        assert (len(uploads(server)), server.count("PUT"), server.count(operation="CreateArtifactFiles")) == (0, 1, 0)
        entry = server.artifact("me/demo/data:v0").entries["local.txt"]
        assert (entry.ref, entry.size, entry.birth) == ((tmp_path / "outside").as_uri(), 7, None)
        assert content(fresh, version) == {"local.txt": b"outside"}


class TestRefusals:
    def test_another_type_than_that_of_the_collection(self, server, services):
        put(services, FILES)
        with pytest.raises(InvalidInputError, match="holds artifacts of type 'dataset', not 'model'"):
            put(services, {"a": b"1"}, type="model")
        (draft,) = services.drafts.owned()
        assert "holds artifacts" in draft.error
        assert pending(server) == []

    def test_a_portfolio(self, server, services):
        other = server.log_artifact("me", "demo", "source", files={"x": b"1"})
        server.link(other, "me", "demo", "data")
        with pytest.raises(InvalidInputError, match="is a portfolio"):
            put(services, FILES)

    def test_xxh128(self, server, services, environment, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("ARTFS_ALGORITHM", "XXH128")
        assert exit_code(["put", fill(tmp_path / "source", FILES), "demo/data"]) == 2
        assert "MD5 digests, not XXH128" in capsys.readouterr().err
        assert server.count(operation="CreateArtifact") == 0

    def test_an_alias_that_is_protected_leaves_a_draft_and_no_version(self, server, services):
        server.project("me", "demo").protected_aliases.add("production")
        with pytest.raises(PermissionDeniedError, match="production"):
            put(services, FILES, "production")
        (draft,) = services.drafts.owned()
        assert "production" in draft.error
        assert not services.committer().is_frozen(draft)

    def test_a_commit_that_fails_leaves_nothing_pending(self, server, services, monkeypatch):
        draft = make(services, FILES)

        def change(step):
            if step == "reserved":
                descriptor = draft.tree.open("nested/deep/leaf.bin", os.O_WRONLY)
                os.write(descriptor, b"changed")
                os.close(descriptor)

        with pytest.raises(Exception, match="has changed while it was being committed"):
            commit(services, draft, on_step=change)
        assert pending(server) == []
        assert commit(services, draft).created
        assert server.read("me/demo/data:v0", "nested/deep/leaf.bin")[:7] == b"changed"


class TestReserving:
    def new(self, client_id, digest="0" * 32, **values):
        return NewVersion(client_id, DATA, None, digest, Algorithm.MD5, 0, 0, **values)

    def test_the_same_client_id_finds_its_artifact(self, services, server):
        first = services.registry.reserve(self.new("c1"))
        assert (first.existing, first.own, first.index) == (False, True, -1)
        assert services.registry.reserve(self.new("c1")) == first
        assert services.registry.reserve(self.new("c2")).id != first.id
        services.registry.abandon("c1")
        services.registry.abandon("nobody")
        assert len(pending(server)) == 1

    def test_what_this_commit_has_published_is_its_own_and_what_another_has_is_not(self, services, fresh, server):
        first = put(services, FILES)
        client_id = server.requests(operation="CreateArtifact")[0].variables["input"]["clientID"]
        again = fresh.registry.reserve(self.new(client_id, first.version.digest))
        assert (again.id, again.index, again.existing, again.own) == (first.version.id, 0, True, True)
        other = fresh.registry.reserve(self.new("other", first.version.digest))
        assert (other.id, other.existing, other.own) == (first.version.id, True, False)

    def test_publishing_what_was_never_reserved_names_the_commit(self, services):
        with pytest.raises(NotFoundError, match="c7"):
            services.registry.publish("c7", None, [])
