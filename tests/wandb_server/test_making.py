"""What the helpers make, how much they can hold, and that the server comes again after a stop."""

import resource
import time

import pytest

from tests.wandb_server.client import urls_of


class TestAtOnce:
    def test_urls_of_the_entries_that_are_asked_for(self, server, client):
        made = server.log_artifact(
            "me", "p", "c", files={f"{n}": b"%d" % n for n in range(9)}, references={"r": "s3://b/k"}
        )
        query = """query U($id: ID!, $entries: [ArtifactManifestEntryInput!]) { artifact(id: $id) {
          filesByManifestEntries(storageLayout: "V2", manifestVersion: "1", entries: $entries) {
            edges { node { name directUrl } } } } }"""
        asked = [
            {"name": entry.path, "digest": entry.digest, "birthArtifactID": entry.birth, "ref": entry.ref, "size": entry.size}
            for entry in (made.entries["7"], made.entries["r"], made.entries["2"])
        ]  # fmt: skip
        edges = client.ask(query, id=made.id, entries=asked)["artifact"]["filesByManifestEntries"]["edges"]
        assert [edge["node"]["name"] for edge in edges] == ["7", "r", "2"]
        assert edges[1]["node"]["directUrl"] == "s3://b/k"
        assert client.request("GET", edges[0]["node"]["directUrl"]).body == b"7"

    def test_the_server_stops_and_starts_again_with_the_same_urls(self, server, client):
        server.log_artifact("me", "p", "c", files={"a": b"a"})
        url = urls_of(client)[0]["a"]
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            client.request("GET", url)
        server.start()
        assert client.request("GET", url).body == b"a"
        assert server.peak_in_flight == 1


class TestHelpers:
    def test_ten_thousand_versions_and_collections_are_made_in_seconds(self, server, client):
        began = time.process_time()
        for number in range(10_000):
            server.log_artifact("me", "p", "c", files={"n": b"%d" % number}, aliases=["latest", f"a{number}"])
            server.log_artifact("me", "q", f"c{number}", files={"n": b"%d" % number})
        query = """query A($after: String) { project(name: "p", entityName: "me") { artifactCollection(name: "c") {
          artifactMemberships(first: 1000, after: $after) { pageInfo { endCursor hasNextPage }
            edges { node { versionIndex aliases { alias } artifact { id digest } } } } } } }"""
        seen, after = 0, None
        while seen < 10_000:
            found = client.ask(query, after=after)["project"]["artifactCollection"]["artifactMemberships"]
            seen += len(found["edges"])
            after = found["pageInfo"]["endCursor"]
        assert time.process_time() - began < 30

    @pytest.mark.heavy
    def test_a_hundred_thousand_files_are_made_and_paged_in_seconds(self, server, client):
        began = time.process_time()
        made = server.log_artifact("me", "p", "c", files={f"{n % 100}/{n}": b"%d" % n for n in range(100_000)})
        urls, after = {}, None
        while len(urls) < len(made.entries):
            more, page = urls_of(client, first=5000, after=after)
            urls |= more
            after = page["endCursor"]
        assert client.request("GET", urls["7/107"]).body == b"107"
        assert time.process_time() - began < 30

    def test_a_sparse_file_of_three_gibibytes_takes_no_memory(self, server, client):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = 3 << 30
        server.log_artifact("me", "p", "c", files={"big": (size, lambda offset, length: b"x" * length)})
        url = urls_of(client)[0]["big"]
        assert client.request("GET", url, headers={"Range": f"bytes={size - 3}-"}).body == b"xxx"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB

    def test_versions_aliases_links_and_deletions_follow_the_rules_of_the_server(self, server):
        first = server.log_artifact("me", "p", "c", files={"a": b"1"}, aliases=["latest", "old"])
        assert server.log_artifact("me", "p", "c", files={"a": b"1"}) is first
        second = server.log_artifact("me", "p", "c", files={"b": b"2"}, manifest_kind="INCREMENTAL")
        assert set(second.entries) == {"a", "b"}
        assert server.aliases("me/p/c:v1") == {"latest"}
        server.use(second, server.run("me", "p", "user"), "input")
        assert server.run("me", "p", "user").inputs[second.id] == (second, ["input"])
        server.team("t", "Org")
        registry = server.registry("Org", "models")
        server.link(first, "org", registry.name, "best", ["prod"])
        assert server.artifact("org/wandb-registry-models/best:prod") is first
        server.delete(first)
        third = server.log_artifact("me", "p", "c", files={"c": b"3"})
        assert third.memberships[0].version_index == 2
        with pytest.raises(Exception, match="not found"):
            server.artifact("me/p/c:v0")
