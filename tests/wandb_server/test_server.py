"""The double by hand: what it refuses, its pages, URLs, uploads, faults, and what its helpers can hold."""

import hashlib
import threading
import time

import pytest

from tests.harness import wait_for
from tests.servers.faults import Delay, FlippedBit, Reset, ShortBody, Stall, Status
from tests.wandb_server import manifests
from tests.wandb_server.client import FILES, md5, urls_of
from tests.wandb_server.faults import ExpiredURLs, GraphQLError, RateLimited
from tests.wandb_server.models import Entry

VIEWER = "query Viewer { viewer { entity } }"
CREATE = """mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state artifactSequence { latestArtifact { id } } } } }"""
MANIFEST = """mutation CreateArtifactManifest($input: CreateArtifactManifestInput!) {
  createArtifactManifest(input: $input) { artifactManifest { id file { uploadUrl uploadHeaders } } } }"""
UPLOADS = """mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
  files { edges { node { storagePath uploadUrl uploadHeaders artifact { id }
    uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"""
COMPLETE = """mutation CompleteMultipartUploadArtifact($input: CompleteMultipartUploadArtifactInput!) {
  completeMultipartUploadArtifact(input: $input) { digest } }"""
COMMIT = (
    "mutation Commit($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id digest versionIndex } } }"
)


def headers_of(node):
    return dict(line.split(":", 1) for line in node["uploadHeaders"])


class Writer:
    """Commits an artifact by hand, step by step."""

    def __init__(self, client, digest, **more) -> None:
        self.client = client
        given = {
            "entityName": "me", "projectName": "p", "artifactTypeName": "dataset", "artifactCollectionName": "c",
            "digest": digest, "digestAlgorithm": "MANIFEST_MD5", "enableDigestDeduplication": True, **more,
        }  # fmt: skip
        self.artifact = client.ask(CREATE, input=given)["createArtifact"]["artifact"]

    def manifest(self, entries):
        data = manifests.render(entries, "V2")
        given = {
            "artifactID": self.artifact["id"], "name": "wandb_manifest.json", "digest": md5(data), "type": "FULL",
            "entityName": "me", "projectName": "p", "runName": "",
        }  # fmt: skip
        file = self.client.ask(MANIFEST, input=given)["createArtifactManifest"]["artifactManifest"]["file"]
        return self.client.request("PUT", file["uploadUrl"], data, headers_of(file))

    def upload(self, name, data, **more):
        spec = {"artifactID": self.artifact["id"], "name": name, "md5": md5(data), **more}
        given = {"artifactFiles": [spec], "storageLayout": "V2"}
        return self.client.ask(UPLOADS, input=given)["createArtifactFiles"]["files"]["edges"][0]["node"]

    def commit(self):
        return self.client.ask(COMMIT, id=self.artifact["id"])["commitArtifact"]["artifact"]


class TestOperations:
    @pytest.mark.parametrize(
        ("query", "variables"),
        [("query Bad { viewer { nonsense } }", {}), ("query Bad {", {}), (FILES.replace("Files", "Bad"), {})],
    )
    def test_what_does_not_validate_is_refused_and_recorded(self, server, client, query, variables):
        assert client.post(query, **variables).status == 400
        assert len(server.refused) == 1
        with pytest.raises(AssertionError, match="do not validate"):
            server.check()
        server.forget()

    def test_a_request_without_a_good_credential_is_refused(self, server, client):
        for headers in ({}, client.basic("local-" + "1" * 40), {"Authorization": "Bearer x"}):
            assert client.post(VIEWER, headers).status == 401
        assert client.ask(VIEWER) == {"viewer": {"entity": "me"}}

    def test_an_access_token_serves_until_it_expires(self, server, client):
        form = f"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={server.identity_token}"
        answer = client.request("POST", server.url + "/oidc/token", form.encode()).json()
        bearer = {"Authorization": "Bearer " + answer["access_token"]}
        assert client.post(VIEWER, bearer).status == 200
        server.signer.ahead = answer["expires_in"] + 1
        assert client.post(VIEWER, bearer).status == 401
        assert client.request("POST", server.url + "/oidc/token", form.replace("=", "x").encode()).status == 401

    def test_the_log_has_operations_variables_and_bytes(self, server, client):
        client.ask(VIEWER, unused=1)
        (logged,) = server.requests(operation="Viewer")
        assert (logged.method, logged.path, logged.variables, logged.status) == (
            "POST",
            "/graphql",
            {"unused": 1},
            [200],
        )
        assert logged.received > len(VIEWER)
        assert sum(logged.sent) > 0
        assert logged.authorized
        assert server.operations() == ["Viewer"]
        server.forget()
        assert server.count() == 0

    def test_a_feature_that_is_off_takes_its_fields_away(self, server, client):
        server.log_artifact("me", "p", "c", files={"a": b"a"})
        server.features["TOTAL_COUNT_IN_FILE_CONNECTION"] = False
        assert "totalCount" in client.fail(FILES, alias="latest")
        server.forget()


class TestPages:
    def test_pages_follow_each_other_and_are_never_longer_than_the_limit(self, server, client):
        server.log_artifact("me", "p", "c", files={f"{number:03}": b"" for number in range(25)})
        server.max_page_size = 10
        found, after, lengths = [], None, []
        while True:
            urls, page = urls_of(client, first=1000, after=after)
            found += urls
            lengths.append(len(urls))
            after = page["endCursor"]
            if not page["hasNextPage"]:
                break
        assert lengths == [10, 10, 5]
        assert found == [f"{number:03}" for number in range(25)]

    def test_files_are_asked_for_by_name(self, server, client):
        server.log_artifact("me", "p", "c", files={f"{number:03}": b"" for number in range(25)})
        assert list(urls_of(client, names=["007", "absent", "003"])[0]) == ["007", "003"]

    def test_a_bad_cursor_is_refused(self, server, client):
        server.log_artifact("me", "p", "c", files={"a": b""})
        assert "cursor" in client.fail(FILES, alias="latest", after="nonsense")


class TestDownloads:
    @pytest.fixture
    def url(self, server, client):
        server.log_artifact("me", "p", "c", files={"a": b"0123456789"})
        return urls_of(client)[0]["a"]

    def test_a_url_gives_the_bytes_and_an_etag(self, client, url):
        answer = client.request("GET", url)
        assert (answer.status, answer.body) == (200, b"0123456789")
        assert answer.headers["ETag"] == f'"{hashlib.md5(b"0123456789").hexdigest()}"'

    @pytest.mark.parametrize(
        ("asked", "body", "told"),
        [
            ("bytes=2-4", b"234", "bytes 2-4/10"),
            ("bytes=7-", b"789", "bytes 7-9/10"),
            ("bytes=-2", b"89", "bytes 8-9/10"),
            ("bytes=8-99", b"89", "bytes 8-9/10"),
        ],
    )
    def test_a_range_is_a_part(self, client, url, asked, body, told):
        answer = client.request("GET", url, headers={"Range": asked})
        assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, body, told)

    def test_a_range_beyond_the_end_is_refused(self, client, url):
        assert client.request("GET", url, headers={"Range": "bytes=10-"}).status == 416

    def test_if_match_is_obeyed(self, client, url):
        etag = client.request("GET", url).headers["ETag"]
        assert client.request("GET", url, headers={"If-Match": etag}).status == 200
        assert client.request("GET", url, headers={"If-Match": '"other"'}).status == 412
        assert client.request("GET", url, headers={"If-None-Match": etag}).status == 304

    def test_an_expired_or_changed_url_opens_nothing(self, server, client, url):
        assert client.request("GET", url[:-1] + ("0" if url[-1] != "0" else "1")).status == 403
        assert client.request("HEAD", url).status == 403
        assert client.request("GET", url.partition("?")[0]).status == 403
        server.expire_urls()
        answer = client.request("GET", url)
        assert (answer.status, b"Request has expired" in answer.body) == (403, True)
        assert client.request("GET", urls_of(client)[0]["a"]).status == 200
        server.signer.ahead = server.signer.lifetime + 1
        assert client.request("GET", url).status == 403

    def test_a_key_that_is_sent_to_the_storage_is_refused(self, client, url):
        assert client.request("GET", url, headers=client.basic()).status == 400

    def test_bytes_can_be_replaced_and_lost(self, server, client, url):
        artifact = server.artifact("me/p/c:latest")
        server.replace_bytes(artifact, "a", b"others")
        assert client.request("GET", url).body == b"others"
        server.lose_bytes(artifact, "a")
        assert client.request("GET", url).status == 404


class TestUploads:
    def entries(self, writer, **files):
        born = writer.artifact["id"]
        return {name: Entry(name, md5(data), len(data), birth=born) for name, data in files.items()}

    def writer(self, client, **files):
        digest = manifests.digest_of({name: Entry(name, md5(data), len(data)) for name, data in files.items()})
        return Writer(client, digest, aliases=[{"alias": "latest", "artifactCollectionName": "c"}])

    def test_a_version_is_committed_step_by_step(self, server, client):
        writer = self.writer(client, a=b"one")
        node = writer.upload("a", b"one")
        answer = client.request("PUT", node["uploadUrl"], b"one", headers_of(node))
        assert (answer.status, answer.headers["ETag"]) == (200, f'"{hashlib.md5(b"one").hexdigest()}"')
        assert writer.manifest(self.entries(writer, a=b"one")).status == 200
        assert writer.commit()["versionIndex"] == 0
        assert writer.commit()["versionIndex"] == 0  # again: the same
        assert self.writer(client, a=b"one").artifact["state"] == "COMMITTED"
        second = self.writer(client, a=b"one", b=b"two")
        assert second.artifact["artifactSequence"]["latestArtifact"]["id"] == writer.artifact["id"]
        assert second.upload("a", b"one")["uploadUrl"] is None
        assert server.read("me/p/c:latest", "a") == b"one"

    def test_other_bytes_or_headers_than_were_signed_are_refused(self, client):
        node = self.writer(client, a=b"one").upload("a", b"one")
        assert client.request("PUT", node["uploadUrl"], b"two", headers_of(node)).status == 400
        assert client.request("PUT", node["uploadUrl"], b"one").status == 403
        assert client.request("GET", node["uploadUrl"]).status == 403

    def test_a_commit_of_bytes_that_did_not_come_is_refused(self, client):
        writer = self.writer(client, a=b"one")
        assert "no manifest" in client.fail(COMMIT, id=writer.artifact["id"])
        writer.manifest(self.entries(writer, a=b"one"))
        assert "not uploaded" in client.fail(COMMIT, id=writer.artifact["id"])

    def test_a_manifest_of_another_digest_is_refused(self, client):
        writer = self.writer(client, a=b"one")
        writer.manifest(self.entries(writer, b=b"one"))
        assert "digest" in client.fail(COMMIT, id=writer.artifact["id"])

    def test_a_client_id_names_one_artifact_even_before_its_commit(self, client):
        digest = "0" * 32
        first, second = (Writer(client, digest, clientID="client").artifact["id"] for _ in range(2))
        found = client.ask('query M { clientIDMapping(clientID: "client") { serverID } }')
        assert first == second == found["clientIDMapping"]["serverID"]

    def test_a_file_in_parts_is_whole_when_it_is_completed(self, server, client):
        parts = [b"a" * 1000, b"b" * 1000, b"c"]
        data = b"".join(parts)
        writer = self.writer(client, big=data)
        announced = [{"partNumber": n, "hexMD5": hashlib.md5(part).hexdigest()} for n, part in enumerate(parts, 1)]
        node = writer.upload("big", data, uploadPartsInput=announced)
        urls = node["uploadMultipartUrls"]["uploadUrlParts"]
        given = {
            "completeMultipartAction": "Complete", "completedParts": announced, "artifactID": writer.artifact["id"],
            "storagePath": node["storagePath"], "uploadID": node["uploadMultipartUrls"]["uploadID"],
        }  # fmt: skip
        assert "InvalidPart" in client.fail(COMPLETE, input=given)
        assert client.request("PUT", urls[0]["uploadUrl"], b"other").status == 400
        for url, part in zip(reversed(urls), reversed(parts), strict=True):
            assert client.request("PUT", url["uploadUrl"], part, {"Content-MD5": md5(part)}).status == 200
        client.ask(COMPLETE, input=given)
        client.ask(COMPLETE, input=given)  # again: the same
        writer.manifest(self.entries(writer, big=data))
        writer.commit()
        url = urls_of(client)[0]["big"]
        answer = client.request("GET", url, headers={"Range": "bytes=999-2000"})
        assert answer.body == b"a" + b"b" * 1000 + b"c"
        assert answer.headers["ETag"].endswith('-3"')


class TestFaults:
    def test_a_fault_meets_the_operations_it_is_for(self, server, client):
        injection = server.inject(GraphQLError("no", 409), times=2, operation="Viewer")
        assert client.ask("query Other { viewer { id } }")
        assert [client.post(VIEWER).status for _ in range(3)] == [409, 409, 200]
        assert injection.hits == 2

    def test_limits_are_told_in_headers(self, server, client):
        server.inject(RateLimited(0, 5, refuse=True))
        server.inject(Status(503, retry_after=7), operation="Viewer")
        answer = client.post(VIEWER)
        assert (answer.status, answer.headers["RateLimit-Remaining"], answer.headers["RateLimit-Reset"]) == (
            429,
            "0",
            "5",
        )
        with server.injected(Status(503, retry_after=7)):
            assert client.post(VIEWER).headers["Retry-After"] == "7"

    def test_replies_are_cut_delayed_flipped_and_stalled(self, server, client):
        server.log_artifact("me", "p", "c", files={"a": b"0123456789"})
        url = urls_of(client)[0]["a"]
        server.inject(ShortBody(3), path="/wandb_artifacts/")
        with pytest.raises(Exception, match="IncompleteRead"):
            client.request("GET", url)
        server.inject(FlippedBit(0), path="/wandb_artifacts/")
        assert client.request("GET", url).body == b"1123456789"
        server.inject(Delay(0.2), path="/wandb_artifacts/")
        server.inject(Stall(5, 0.2), path="/wandb_artifacts/")
        began = time.monotonic()
        assert client.request("GET", url).body == b"0123456789"
        assert time.monotonic() - began >= 0.4
        assert client.request("GET", url).status == 200

    def test_the_server_does_what_a_lost_reply_was_about(self, server, client):
        server.inject(Reset(before_reply=True), operation="CreateArtifact")
        with pytest.raises(ConnectionResetError):
            Writer(client, "0" * 32, clientID="lost")
        assert Writer(client, "0" * 32, clientID="lost").artifact["id"] == server.state.client_ids["lost"]

    def test_urls_can_come_expired(self, server, client):
        server.log_artifact("me", "p", "c", files={"a": b"0123456789"})
        with server.injected(ExpiredURLs()):
            assert client.request("GET", urls_of(client)[0]["a"]).status == 403

    def test_a_client_that_waits_is_let_go_by_clear(self, server, client):
        server.inject(Stall(0), operation="Viewer")
        threading.Thread(target=lambda: wait_for(lambda: server.count(operation="Viewer")) and server.clear()).start()
        with pytest.raises(Exception, match=r"IncompleteRead|closed"):
            client.ask(VIEWER)
