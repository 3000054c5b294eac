"""The double is what the real SDK takes it for: the unmodified SDK logs, uses, downloads, changes and deletes on it.

Each program of ``programs`` is a process with directories of its own; its results are looked at by several tests.
"""

import pytest

from tests.servers.faults import FlippedBit, Reset, ShortBody, Status
from tests.wandb_server.faults import ExpiredURLs
from tests.wandb_server.programs import run
from tests.wandb_server.server import WandbServer

FILES = {
    name: "" if name == "empty" else f"contents of {name}"
    for name in (
        "plain.txt", "nested/deep/leaf.bin", "odd names/with space & (x).txt", "ünïcödé.txt", "dollar$.txt", "empty"
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with WandbServer(tmp_path_factory.mktemp("wandb-server")) as server:
        server.team("my-team", "My Org")
        server.registry("My Org", "model").protected_aliases.add("golden")
        server.project("my-team", "frozen").read_only = True
        server.project("my-team", "second")
        yield server


@pytest.fixture(scope="module")
def logged(server):
    """What the program saw that logged, and the requests it made."""
    web = server.log_artifact("me", "web", "page", files={"page": b"remote"})
    server.forget()
    url = server.signer.sign("GET", "/" + server.state.has("me", web.entries["page"].digest))
    seen = run(server, "log", url)
    seen["requests"] = server.requests()
    server.check()
    return seen


@pytest.fixture(scope="module")
def read(server, logged):
    server.forget()
    seen = run(server, "read")
    seen["requests"] = server.requests()
    server.check()
    return seen


@pytest.fixture(scope="module")
def changed(server, read):
    server.forget()
    seen = run(server, "change")
    server.check()
    return seen


@pytest.fixture
def two_files(server):
    """An artifact that each test has for itself."""
    server.clear()
    number = len(server.entity("me").projects)
    made = server.log_artifact(
        "me", f"p{number}", "two", files={"a.txt": f"first {number}", "b.txt": f"second {number}"}
    )
    made.path, made.contents = f"me/p{number}/two:latest", {"a.txt": f"first {number}", "b.txt": f"second {number}"}
    server.forget()
    yield made
    server.clear()
    server.check()


def numbered(offset, length):
    """Return bytes that begin each MiB with its number."""
    assert offset % (1 << 20) == 0
    return f"{offset >> 20:04}".encode().ljust(1 << 20, b".")[:length]


def latin(text):
    return text.encode().decode("latin-1")


class TestLogging:
    def test_a_version_has_what_was_given_to_it(self, server, logged):
        assert logged["files"]["version"] == "v0"
        member = server.state.must(logged["files"]["id"], object).memberships[0]
        artifact = member.artifact
        assert artifact.digest == logged["files"]["digest"]
        assert set(artifact.entries) == set(FILES)
        assert artifact.run.name == "run-one"

    def test_the_same_contents_again_make_no_new_version(self, logged):
        assert logged["again"] == "v0"
        states = [request.status for request in logged["requests"] if request.operation == "CommitArtifact"]
        assert len(states) == 7  # files twice, references, tables, growing twice, shared

    def test_only_bytes_that_are_not_there_are_uploaded(self, logged):
        uploads = [one for one in logged["requests"] if one.method == "PUT" and "/wandb_artifacts/" in one.path]
        keys = {upload.path.partition("?")[0] for upload in uploads}
        digests = [key.rpartition("/")[2] for key in keys]
        assert len(digests) == len(set(digests)) == len(uploads)

    def test_each_operation_is_valid_and_answered_with_success(self, logged):
        assert {(one.operation, *one.status) for one in logged["requests"] if one.status != [200]} == set()

    def test_the_storage_never_sees_the_key(self, logged, read):
        requests = [*logged["requests"], *read["requests"]]
        assert not [one.path for one in requests if one.path.startswith("/wandb_") and one.authorized]

    def test_an_incremental_version_has_the_old_files_too(self, logged, read):
        assert logged["growing"] == "v1"
        assert read["growing"] == {"one.txt": "changed", "two.txt": "outside"}

    def test_a_distributed_version_has_the_files_of_all_writers(self, read):
        assert read["shared"] == {"a.txt": "a", "b.txt": "b"}

    def test_a_run_has_its_config_state_and_artifacts(self, server, read):
        assert read["run"] == ["run-one", "finished", {"rate": 0.1}]
        assert read["logged"] == ["files:v0", "files:v1", "growing:v0", "growing:v1", "references:v0", "tables:v0"]
        assert read["used"] == ["files:v0"]
        assert "config.yaml" in server.project("my-team", "first").runs["run-one"].files


class TestReading:
    def test_a_download_has_the_files_byte_by_byte(self, read):
        assert read["files"] == {name: latin(text) for name, text in FILES.items()}

    def test_an_artifact_shows_what_was_given_to_it(self, logged, read):
        shown = read["attributes"]
        assert shown["aliases"] == ["again", "best", "candidate"]
        assert (shown["description"], shown["metadata"]) == ("some files", {"rows": 3, "nested": {"a": [1, 2]}})
        assert (shown["tags"], shown["ttl"]) == (["gold", "two words"], 7 * 86400.0)
        assert (shown["digest"], shown["state"], shown["count"]) == (logged["files"]["digest"], "COMMITTED", 6)
        assert shown["size"] == sum(len(text.encode()) for text in FILES.values())
        assert (shown["logged_by"], shown["used_by"]) == ("run-one", ["run-one"])

    def test_latest_is_what_was_logged_last(self, read):
        assert (read["latest"], read["without alias"]) == ("v1", "v1")
        assert read["exists"] == [True, False, False]

    def test_one_entry_is_fetched_by_the_fallback_url(self, read):
        assert read["entry"] == FILES["odd names/with space & (x).txt"]
        fallback = [one for one in read["requests"] if one.path.startswith("/artifactsV2/")]
        assert [one.status for one in fallback] == [[302]] * len(fallback)
        assert fallback
        assert all(one.authorized for one in fallback)

    def test_a_part_of_an_artifact_is_downloaded_by_its_prefix(self, read):
        assert read["prefix"] == ["nested/deep/leaf.bin"]

    def test_files_are_listed_with_sizes_and_digests(self, read):
        assert {name: size for name, size, _ in read["listed"]} == {
            name: len(text.encode()) for name, text in FILES.items()
        }
        assert read["one listed"] == ["empty"]
        assert read["by file"] == FILES["plain.txt"]

    def test_references_are_kept_and_followed(self, logged, read):
        assert read["refs"]["from-files.bin"].startswith("wandb-artifact://")
        assert read["refs"]["strange"] == "strange://somewhere/else"
        assert read["references"] == {"from-files.bin": FILES["nested/deep/leaf.bin"]}
        assert (read["remote"], read["local"]) == ({"remote.txt": "remote"}, {"local.txt": "outside"})

    def test_a_table_comes_back_with_its_images(self, read):
        assert read["table"] == [[0, 0], [1, 50], [2, 100]]

    def test_a_link_shows_its_source(self, read):
        assert read["shelf"] == ["my-team/first/shelf:shelved", "my-team/first/files:v0"]
        assert (read["shelf files"], read["shelf entry"]) == (6, FILES["plain.txt"])
        assert read["attributes"]["linked"] == ["my-team/first/shelf:v0"]

    def test_types_collections_versions_runs_and_projects_are_listed(self, read):
        assert read["types"] == ["dataset", "predictions"]
        assert read["collections"] == read["of type"] == ["files", "growing", "references", "shared", "shelf"]
        assert (read["versions"], read["ordered"], read["tagged"]) == (["v1", "v0"], ["v0", "v1"], ["v0"])
        assert read["collection"] == ["files", "dataset", ["again", "best", "candidate", "latest"]]
        assert read["runs"] == ["part-a", "part-b", "run-one"]
        assert {"first", "second"} <= set(read["projects"])
        assert read["viewer"] == ["me", ["my-team"]]


class TestChanging:
    def test_a_version_keeps_what_is_changed_on_it(self, changed):
        assert changed["changed"] == [["best", "new"], "changed", {"rows": 4}, ["silver"], 3600.0]
        assert changed["ttl"] is None

    def test_a_version_is_linked_to_a_registry_and_found_by_both_names(self, changed):
        assert changed["linked"] == ["my-org/wandb-registry-model/cool things:v0", "v0", ["latest", "staging"], True]
        assert changed["second"] == ["v1", ["latest"]]
        path = "my-org/wandb-registry-model/cool things:staging"
        assert changed["My Org"] == changed["my-org"] == [path, "my-team/first/files:v0", "v0"]
        assert changed["no organization"] == changed["my-org"]
        assert changed["a team"] == "CommError"
        assert changed["registries"] == ["model"]
        assert (changed["registry collections"], changed["registry versions"]) == (["cool things"], ["v0", "v1"])
        assert changed["unlinked"] == "CommError"

    def test_protected_aliases_and_read_only_projects_are_refused(self, server, changed):
        assert (changed["protected"], changed["read-only"]) == ("CommError", "CommError")
        assert "golden" not in server.project("my-org", "wandb-registry-model").collections["cool things"].aliases
        assert not server.project("my-team", "frozen").collections

    def test_a_draft_becomes_a_version_without_uploading_what_it_keeps(self, server, changed):
        version, entries = changed["draft"]
        assert version == "v2"
        assert entries == sorted([*FILES.keys() - {"empty"}, "added.txt"])
        artifact = server.artifact("my-team/first/files:v2")
        assert artifact.entries["plain.txt"].birth != artifact.id == artifact.entries["added.txt"].birth

    def test_an_artifact_is_saved_without_a_run_of_the_users(self, server, changed):
        assert changed["alone"] == "my-team/first/alone:v0"
        assert server.read("my-team/first/alone:latest", "weights") == b"1 2 3"

    def test_a_version_with_aliases_is_only_deleted_with_them(self, changed):
        assert (changed["kept"], changed["deleted"]) == ("CommError", "CommError")

    def test_collections_are_renamed_tagged_moved_and_deleted(self, changed):
        assert changed["renamed"] == ["grown", "it grows", ["tall"]]
        assert (changed["moved"], changed["removed"]) == ("moved", "CommError")


class TestSizes:
    @pytest.mark.parametrize(("algorithm", "count"), [("MD5", 2000), ("XXH128", 300)])
    def test_many_files_come_back_by_either_algorithm(self, server, algorithm, count):
        server.entity("me").xxhash_digests_enabled = True
        seen = run(server, "many", algorithm, str(count))
        assert (seen["same"], seen["count"]) == (True, count)
        assert seen["algorithm"].endswith(algorithm)
        assert seen["extra"] == ({} if algorithm == "MD5" else {"alg": "XXH128"})
        server.check()

    @pytest.mark.heavy
    def test_a_file_of_more_than_two_gibibytes_goes_up_in_parts_and_another_comes_down_in_them(self, server):
        server.state.verify_multipart = False  # four seconds; test_server has it
        server.log_artifact("me", "big", "made", files={"made.bin": (210 << 20, numbered)})
        server.forget()
        seen = run(server, "big", "me/big/made:latest")
        assert seen == {"size": 210 << 20, "marks": [f"{at:04}" for at in range(0, 210, 50)]}
        assert server.count(operation="CompleteMultipartUploadArtifact") == 1
        assert server.count("PUT", "partNumber=") == 21
        ranges = {one.range for one in server.requests("GET", "/wandb_artifacts/")}
        assert ranges == {"bytes=0-104857599", "bytes=104857600-209715199", "bytes=209715200-"}
        big = server.artifact("me/big/big:latest").entries["big.bin"]
        stored = server.state.bucket.objects[server.state.has("me", big.digest)]
        assert (stored.content.read(0, 4), stored.content.read(big.size - 4, 9)) == (b"head", b"tail")
        assert stored.etag.endswith("-21")
        server.check()


class TestCredentials:
    def test_an_identity_token_is_exchanged(self, server, two_files, tmp_path):
        token = tmp_path / "token"
        token.write_text(server.identity_token)
        seen = run(server, "fetch", two_files.path, WANDB_API_KEY=None, WANDB_IDENTITY_TOKEN_FILE=str(token))
        assert seen["files"] == two_files.contents
        assert server.count("POST", "/oidc/token") >= 1
        assert {one.headers["authorization"].split()[0] for one in server.requests(path="/graphql")} == {"Bearer"}

    def test_the_key_is_taken_from_netrc(self, server, two_files, tmp_path):
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {server.url.removeprefix('http://')}\n  login user\n  password {server.key}\n")
        netrc.chmod(0o600)
        seen = run(server, "fetch", two_files.path, WANDB_API_KEY=None, NETRC=str(netrc))
        assert seen["files"] == two_files.contents

    def test_a_wrong_key_is_refused_at_once(self, server, two_files):
        seen = run(server, "fetch", two_files.path, WANDB_API_KEY="local-" + "0" * 40)
        assert "error" in seen
        assert {one.status[0] for one in server.requests()} == {401}


class TestFaults:
    def test_expired_urls_are_replaced_by_the_fallback_url(self, server, two_files):
        with server.injected(ExpiredURLs(), operation="GetArtifactMembershipFileUrls"):
            seen = run(server, "fetch", two_files.path)
        assert seen["files"] == two_files.contents
        assert 403 in {one.status[0] for one in server.requests("GET", "/wandb_artifacts/")}
        assert server.count("GET", "/artifactsV2/") == 2

    @pytest.mark.parametrize("fault", [Status(503), Status(429), Reset(None)], ids=["503", "429", "reset"])
    def test_a_download_that_fails_once_is_made_again(self, server, two_files, fault):
        injection = server.inject(fault, method="GET", path="/wandb_artifacts/")
        assert run(server, "fetch", two_files.path)["files"] == two_files.contents
        assert injection.hits == 1

    def test_a_reply_that_is_cut_off_is_an_error(self, server, two_files):
        server.inject(ShortBody(3), method="GET", path="/wandb_artifacts/")
        assert "IncompleteRead" in run(server, "fetch", two_files.path)["error"]

    def test_wrong_bytes_are_found_by_verify_only(self, server, two_files):
        server.inject(FlippedBit(0), method="GET", path="/wandb_artifacts/")
        seen = run(server, "fetch", two_files.path)
        assert seen["files"] != two_files.contents
        assert "Digest mismatch" in seen["error"]

    def test_an_older_server_is_used_too(self, server, two_files):
        """The two features that are left are those whose fields the SDK asks for without having asked for the feature."""
        kept = ("PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP", "ARTIFACT_COLLECTION_MEMBERSHIP_FILES")
        features, server.features = server.features, {name: name in kept for name in server.features}
        try:
            seen = run(server, "fetch", two_files.path, "get_entry", "used")
        finally:
            server.features = features
        assert (seen["files"], seen["entry"]) == (two_files.contents, two_files.contents["a.txt"])
        assert seen["used"] == [two_files.path.replace("latest", "v0")]


@pytest.mark.parametrize(("layout", "region"), [("V1", None), ("V2", None), ("V2", "eu-central-1"), (None, None)])
@pytest.mark.parametrize("fallback", ["redirect", "bytes"])
def test_what_the_helpers_make_is_read_in_each_layout(server, layout, region, fallback):
    server.fallback = fallback
    project = f"made-{layout}-{region}-{fallback}"
    server.log_artifact(
        "my-team", project, "made", files={"a.txt": f"{project}", "b/c.txt": b""}, layout=layout, region=region,
        references={"ref": "strange://x"}, metadata={"by": "hand"}, tags=["t"], ttl=60, aliases=["latest", "x"],
    )  # fmt: skip
    seen = run(server, "entry", f"my-team/{project}/made:x", "a.txt")
    server.fallback = "redirect"
    assert seen == {"text": project, "metadata": {"by": "hand"}, "tags": ["t"], "ttl": 60.0, "refs": ["strange://x"]}
    server.check()
