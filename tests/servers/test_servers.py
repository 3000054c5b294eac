"""What tests of storage and registry take for granted about the servers, and that each fault is the one it says."""

import base64
import contextlib
import hashlib
import http.client
import io
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import botocore.exceptions
import google.api_core.exceptions
import obstore
import psycopg
import pytest
import requests
from obstore.store import HTTPStore

from tests.harness import wait_for
from tests.servers import process
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import (
    ChangedETag,
    Delay,
    FlippedBit,
    IgnoredRange,
    LongBody,
    Reset,
    ShortBody,
    Stall,
    Status,
    WrongRange,
)
from tests.servers.gcs import FakeGCS
from tests.servers.nginx import Nginx
from tests.servers.postgres import Postgres
from tests.servers.process import HOST, ServerError, free_ports, has_ended, tcp_sockets
from tests.servers.seaweed import Credentials, SeaweedFS

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
ROOT = Path(__file__).parents[2]


def refused(code):
    """Expect that boto3 tells of a refusal with this code."""
    return pytest.raises(botocore.exceptions.ClientError, match=rf"\({code}\)")


def fetch(url, method="GET", body=None, timeout=30, **headers):
    """Ask on a connection of its own; return the status, the headers and the body, or raise what the connection raised."""
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc, timeout=timeout)
    with contextlib.closing(connection):
        path = f"{target.path or '/'}?{target.query}" if target.query else target.path or "/"
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


# -- S3


@pytest.fixture
def s3(s3_server):
    with contextlib.closing(s3_server.client()) as client:
        yield client


@pytest.fixture
def bucket(s3_server):
    return s3_server.bucket()


def test_s3_keeps_every_version_of_an_object_in_a_versioned_bucket(s3_server, s3):
    bucket = s3_server.bucket(versioned=True)
    first = s3.put_object(Bucket=bucket, Key="a", Body=b"one")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="a", Body=b"two")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="a")
    with refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="a")
    assert [version["VersionId"] for version in s3.list_object_versions(Bucket=bucket)["Versions"]] == [second, first]
    assert s3.get_object(Bucket=bucket, Key="a", VersionId=first)["Body"].read() == b"one"
    s3.delete_object(Bucket=bucket, Key="a", VersionId=first)
    with refused("NoSuchVersion"):
        s3.get_object(Bucket=bucket, Key="a", VersionId=first)


def test_s3_gives_ranges_and_refuses_those_beyond_the_end(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=CONTENT)
    reply = s3.get_object(Bucket=bucket, Key="a", Range="bytes=100-199")
    assert reply["Body"].read() == CONTENT[100:200]
    assert reply["ContentRange"] == f"bytes 100-199/{len(CONTENT)}"
    with refused("InvalidRange"):
        s3.get_object(Bucket=bucket, Key="a", Range=f"bytes={len(CONTENT)}-")


def test_s3_refuses_reads_and_writes_whose_precondition_fails(s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="a", Body=b"one")["ETag"]
    second = s3.put_object(Bucket=bucket, Key="a", Body=b"two")["ETag"]
    assert s3.get_object(Bucket=bucket, Key="a", IfMatch=second)["Body"].read() == b"two"
    with refused("PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key="a", IfMatch=first)
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"", IfNoneMatch="*")
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"", IfMatch=first)


def test_s3_refuses_content_that_is_not_what_its_checksum_says(s3, bucket):
    wrong_md5 = base64.b64encode(hashlib.md5(b"else").digest()).decode()
    wrong_sha = base64.b64encode(hashlib.sha256(b"else").digest()).decode()
    with refused("BadDigest"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"this", ContentMD5=wrong_md5)
    with refused("BadDigest"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"this", ChecksumSHA256=wrong_sha)
    right_sha = base64.b64encode(hashlib.sha256(b"this").digest()).decode()
    s3.put_object(Bucket=bucket, Key="a", Body=b"this", ChecksumSHA256=right_sha)
    assert s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")["ChecksumSHA256"] == right_sha


def test_s3_puts_a_multipart_upload_together_and_forgets_an_aborted_one(s3, bucket):
    parts = [os.urandom(5 << 20), b"the end"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    sent = [
        {"PartNumber": number, "ETag": s3.upload_part(
            Bucket=bucket, Key="a", UploadId=upload, PartNumber=number, Body=part)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip
    assert [part["PartNumber"] for part in s3.list_parts(Bucket=bucket, Key="a", UploadId=upload)["Parts"]] == [1, 2]
    s3.complete_multipart_upload(Bucket=bucket, Key="a", UploadId=upload, MultipartUpload={"Parts": sent})
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"".join(parts)
    aborted = s3.create_multipart_upload(Bucket=bucket, Key="b")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="b", UploadId=aborted)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_s3_lists_in_pages_and_by_directory(s3, bucket):
    names = [f"d{number % 3}/é {number:02}" for number in range(25)]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 10}))
    assert [len(page["Contents"]) for page in pages] == [10, 10, 5]
    assert [item["Key"] for page in pages for item in page["Contents"]] == sorted(names)
    found = s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]
    assert [item["Prefix"] for item in found] == ["d0/", "d1/", "d2/"]


def test_s3_checks_signatures_and_what_an_identity_may_do(s3_server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    with contextlib.closing(s3_server.client(s3_server.reader)) as reader:
        assert reader.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
        with refused("AccessDenied"):
            reader.put_object(Bucket=bucket, Key="b", Body=b"x")
    stranger = Credentials(s3_server.owner.access_key, "not the secret")
    with contextlib.closing(s3_server.client(stranger)) as client, refused("SignatureDoesNotMatch"):
        client.get_object(Bucket=bucket, Key="a")
    assert fetch(f"{s3_server.url}/{bucket}/a")[0] == 403


def test_s3_honours_a_signed_url_until_it_expires(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    target = {"Bucket": bucket, "Key": "a"}
    assert fetch(s3.generate_presigned_url("get_object", target))[2] == b"x"
    assert fetch(s3.generate_presigned_url("get_object", target, ExpiresIn=-1))[0] == 403


def test_obstore_reads_a_pinned_range_of_what_boto3_wrote(s3_server, s3):
    bucket = s3_server.bucket(versioned=True)
    old = s3.put_object(Bucket=bucket, Key="a/é ü+&%.bin", Body=CONTENT)
    new = s3.put_object(Bucket=bucket, Key="a/é ü+&%.bin", Body=b"new")
    store = s3_server.store(bucket)
    pin = {"range": (10, 300), "if_match": old["ETag"], "version": old["VersionId"]}
    reply = obstore.get(store, "a/é ü+&%.bin", options=pin)
    assert (reply.range, reply.meta["size"]) == ((10, 300), len(CONTENT))
    assert (reply.meta["e_tag"], reply.meta["version"]) == (old["ETag"], old["VersionId"])
    assert reply.bytes() == CONTENT[10:300]
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.get(store, "a/é ü+&%.bin", options={"if_match": old["ETag"]})
    assert obstore.head(store, "a/é ü+&%.bin")["e_tag"] == new["ETag"]
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "b")


def test_the_environment_leads_an_aws_client_to_the_server_or_to_a_proxy(
    s3_server, s3, bucket, fault_proxy, monkeypatch
):
    import boto3

    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    proxy = fault_proxy(s3_server)
    for name, value in s3_server.environment(url=proxy.url).items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(boto3.Session().client("s3")) as client:
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    assert s3_server.store(bucket, url=proxy.url).get("a").bytes() == b"x"
    assert proxy.count("GET") == 2
    assert s3_server.store(bucket).get("a").bytes() == b"x", "the helper means the server itself, whatever is set"
    assert proxy.count("GET") == 2


def test_s3_that_was_killed_has_its_objects_when_it_is_started_again(tmp_path):
    with SeaweedFS(tmp_path) as server:
        store = server.store(server.bucket())
        store.put("a", CONTENT)
        server.kill()
        with pytest.raises(obstore.exceptions.GenericError):
            store.get("a")
        server.start()
        assert store.get("a").bytes() == CONTENT


# -- GCS


@pytest.fixture
def gcs(gcs_server):
    with contextlib.closing(gcs_server.client()) as client:
        yield client


def test_gcs_keeps_generations_and_gives_ranges(gcs_server, gcs):
    bucket = gcs.bucket(gcs_server.bucket(versioned=True))
    blob = bucket.blob("a/é")
    blob.upload_from_string(CONTENT)
    first = blob.generation
    blob.upload_from_string(b"new", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(google.api_core.exceptions.PreconditionFailed):
        blob.upload_from_string(b"newer", if_generation_match=first)
    assert bucket.blob("a/é", generation=first).download_as_bytes(start=10, end=299) == CONTENT[10:300]
    assert bucket.blob("a/é").download_as_bytes() == b"new"
    with pytest.raises(google.api_core.exceptions.NotFound):
        bucket.blob("b").download_as_bytes()


def test_gcs_lists_in_pages_and_by_directory(gcs_server, gcs):
    bucket = gcs.bucket(gcs_server.bucket())
    for number in range(25):
        bucket.blob(f"d{number % 3}/{number:02}").upload_from_string(b"x")
    assert [len(list(page)) for page in gcs.list_blobs(bucket, page_size=10).pages] == [10, 10, 5]
    top = gcs.list_blobs(bucket, delimiter="/")
    assert list(top) == []
    assert top.prefixes == {"d0/", "d1/", "d2/"}


def test_obstore_reads_a_generation_and_lists_what_google_cloud_storage_wrote(gcs_server, gcs):
    bucket = gcs.bucket(gcs_server.bucket(versioned=True))
    blob = bucket.blob("a/é ü+&%.bin")
    blob.upload_from_string(CONTENT)
    first = str(blob.generation)
    blob.upload_from_string(b"new")
    store = gcs_server.store(bucket.name)
    reply = obstore.get(store, "a/é ü+&%.bin", options={"range": (10, 300), "version": first})
    assert (reply.range, reply.meta["version"], reply.bytes()) == ((10, 300), first, CONTENT[10:300])
    assert obstore.head(store, "a/é ü+&%.bin")["version"] == str(blob.generation)
    assert [(item["path"], item["size"]) for item in obstore.list(store).collect()] == [("a/é ü+&%.bin", 3)]
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "a/é ü+&%.bin", options={"version": "17"})


def test_uploads_and_reads_of_gcs_can_go_through_a_fault_proxy(gcs_server, fault_proxy):
    proxy = fault_proxy(gcs_server)
    name = gcs_server.bucket()
    content = os.urandom(600_000)
    with contextlib.closing(gcs_server.client(url=proxy.url)) as client:
        client.bucket(name).blob("a", chunk_size=256 * 1024).upload_from_file(io.BytesIO(content))
        assert proxy.count("PUT") == 3, "each piece of a resumable upload went through"
        assert client.bucket(name).blob("a").download_as_bytes() == content
    assert obstore.get_range(gcs_server.store(name, url=proxy.url), "a", start=5, end=50) == content[5:50]
    assert proxy.requests()[-1].range == "bytes=5-49"


# -- HTTP


def test_http_gives_ranges_and_an_etag_that_changes_with_the_file(http_server):
    url = http_server.put("d/a b.bin", CONTENT)
    status, headers, body = fetch(url, Range="bytes=10-299")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-299/{len(CONTENT)}", CONTENT[10:300])
    etag = headers["ETag"]
    assert fetch(url, If_Match=etag)[2] == CONTENT
    http_server.put("d/a b.bin", CONTENT[::-1])
    assert fetch(url, If_Match=etag)[0] == 412
    assert fetch(url)[1]["ETag"] != etag
    assert fetch(url, Range=f"bytes={len(CONTENT)}-")[0] == 416
    assert fetch(f"{http_server.url}/none")[0] == 404


def test_https_is_trusted_by_who_knows_its_authority_only(http_server):
    http_server.put("a", CONTENT)
    url = f"{http_server.https_url}/a"
    assert requests.get(url, verify=str(http_server.certificate), timeout=30).content == CONTENT
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=30)
    trusting = {"root_certificate": http_server.certificate.read_text()}
    assert obstore.head(HTTPStore(http_server.https_url, client_options=trusting), "a")["size"] == len(CONTENT)


def test_http_writes_requests_down_before_it_answers_them(http_server):
    url = http_server.put("a", CONTENT)
    http_server.forget()
    fetch(url, Range="bytes=0-9")
    fetch(f"{url}?x=1", method="HEAD")
    found = [(request.method, request.path, request.range) for request in http_server.requests()]
    assert found == [("GET", "/a", "bytes=0-9"), ("HEAD", "/a?x=1", None)]
    assert http_server.requests() == http_server.requests()
    http_server.forget()
    assert http_server.requests() == []


def test_a_latency_proxy_delays_signed_requests_and_changes_nothing(s3_server, s3, bucket, latency_proxy):
    proxy = latency_proxy(s3_server)
    with contextlib.closing(s3_server.client(url=proxy.proxy_url)) as client:
        client.put_object(Bucket=bucket, Key="d//é+ %2F", Body=CONTENT)
        proxy.set_latency(0.2)
        began = time.monotonic()
        assert client.get_object(Bucket=bucket, Key="d//é+ %2F", Range="bytes=1-9")["Body"].read() == CONTENT[1:10]
        assert time.monotonic() - began >= 0.2
    assert s3.get_object(Bucket=bucket, Key="d//é+ %2F")["Body"].read() == CONTENT
    assert [(request.method, request.range) for request in proxy.requests()] == [("PUT", None), ("GET", "bytes=1-9")]


# -- faults


@pytest.fixture
def proxy(http_server, fault_proxy):
    http_server.put("a", CONTENT)
    http_server.put("b", CONTENT)
    return fault_proxy(http_server)


@pytest.fixture
def url(proxy):
    return f"{proxy.url}/a"


def test_a_proxy_without_faults_passes_requests_on_and_counts_them(proxy, url):
    assert fetch(url)[2] == CONTENT
    status, headers, body = fetch(url, Range="bytes=10-299")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-299/{len(CONTENT)}", CONTENT[10:300])
    status, headers, body = fetch(url, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")
    assert (proxy.count(), proxy.count("GET"), proxy.count(path="/b")) == (3, 2, 0)
    assert [request.range for request in proxy.requests()] == [None, "bytes=10-299", None]
    proxy.forget()
    assert proxy.requests() == []


def test_a_proxy_serves_many_requests_on_one_connection(proxy, url):
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(url, timeout=30).content == CONTENT
            assert session.head(url, timeout=30).headers["Content-Length"] == str(len(CONTENT))
    assert proxy.count() == 6


def test_signed_requests_with_odd_names_pass_a_fault_proxy_unchanged(s3_server, bucket, fault_proxy):
    proxy = fault_proxy(s3_server)
    with contextlib.closing(s3_server.client(url=proxy.url)) as client:
        for name in ("d//e", "é ü+&%2F", "a=b?c#d", "/".join(["x" * 200] * 5)):
            client.put_object(Bucket=bucket, Key=name, Body=CONTENT)
            assert client.get_object(Bucket=bucket, Key=name)["Body"].read() == CONTENT
        assert len(client.list_objects_v2(Bucket=bucket)["Contents"]) == 4
    big = os.urandom(6 << 20)
    store = s3_server.store(bucket, url=proxy.url)
    store.put("big", big, chunk_size=5 << 20)
    assert store.get("big").bytes() == big
    assert proxy.count("PUT", "partNumber=") == 2


def test_a_fault_meets_the_next_requests_that_match_and_no_others(proxy, url):
    injection = proxy.inject(Status(503), times=2, method="GET", path="/a")
    other = f"{proxy.url}/b"
    assert [fetch(other)[0], fetch(url, method="HEAD")[0]] == [200, 200]
    assert [fetch(url)[0] for _ in range(3)] == [503, 503, 200]
    assert injection.hits == 2


def test_a_fault_of_a_block_ends_with_it(proxy, url):
    with proxy.injected(Status(500)):
        assert [fetch(url)[0] for _ in range(3)] == [500] * 3
    assert fetch(url)[0] == 200


def test_a_cleared_proxy_makes_no_faults(proxy, url):
    proxy.inject(Status(500), times=None)
    assert fetch(url)[0] == 500
    proxy.clear()
    assert fetch(url)[0] == 200


@pytest.mark.parametrize("code", [403, 404, 416, 429, 500, 503])
def test_a_status_is_answered_without_asking_the_server(code, http_server, proxy, url):
    http_server.forget()
    proxy.inject(Status(code, retry_after=7))
    status, headers, _ = fetch(url)
    assert (status, headers["Retry-After"]) == (code, "7")
    assert http_server.requests() == []


def test_a_status_can_redirect(proxy, url):
    proxy.inject(Status(302, headers={"Location": f"{proxy.url}/b"}))
    assert requests.get(url, timeout=30).content == CONTENT
    assert [request.path for request in proxy.requests()] == ["/a", "/b"]


def test_a_delay_is_as_long_as_it_says(proxy, url):
    proxy.inject(Delay(0.2))
    began = time.monotonic()
    assert fetch(url)[2] == CONTENT
    assert time.monotonic() - began >= 0.2


def test_a_short_body_ends_before_the_length_that_was_told(proxy, url):
    proxy.inject(ShortBody(1000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(url)
    assert caught.value.partial == CONTENT[:1000]


def test_an_honest_short_body_is_a_reply_with_too_few_bytes(proxy, url):
    proxy.inject(ShortBody(1000, honest=True))
    status, headers, body = fetch(url, Range="bytes=10-5009")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-5009/{len(CONTENT)}", CONTENT[10:1010])
    assert fetch(url)[2] == CONTENT


def test_an_honest_long_body_is_a_reply_with_too_many_bytes(proxy, url):
    proxy.inject(LongBody(10))
    status, headers, body = fetch(url, Range="bytes=10-299")
    assert (status, headers["Content-Range"], len(body)) == (206, f"bytes 10-299/{len(CONTENT)}", 300)
    assert body[:290] == CONTENT[10:300]


def test_a_long_body_goes_on_after_the_length_that_was_told(proxy):
    import socket

    proxy.inject(LongBody(10, honest=False))
    with socket.create_connection(proxy.url.removeprefix("http://").split(":")) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        _, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert body == CONTENT + b"!" * 10


def test_a_wrong_range_tells_of_other_bytes(proxy, url):
    proxy.inject(WrongRange(3))
    _, headers, body = fetch(url, Range="bytes=10-299")
    assert (headers["Content-Range"], body) == (f"bytes 13-302/{len(CONTENT)}", CONTENT[10:300])


def test_an_ignored_range_is_answered_with_everything(proxy, url):
    proxy.inject(IgnoredRange())
    status, headers, body = fetch(url, Range="bytes=10-299")
    assert (status, headers["Content-Range"], body) == (200, None, CONTENT)
    assert proxy.requests()[0].range == "bytes=10-299"


def test_a_changed_etag_is_another_one_with_the_same_bytes(proxy, url):
    before = fetch(url)[1]["ETag"]
    proxy.inject(ChangedETag('"other"'))
    _, headers, body = fetch(url)
    assert (headers.get_all("ETag"), body) == (['"other"'], CONTENT)
    assert before != '"other"'


def test_a_flipped_bit_is_in_one_byte(proxy, url):
    proxy.inject(FlippedBit(at=100))
    body = fetch(url)[2]
    assert [index for index, (got, sent) in enumerate(zip(body, CONTENT, strict=True)) if got != sent] == [100]


def test_a_stall_sends_nothing_until_the_client_gives_up(proxy, url):
    proxy.inject(Stall(1000))
    with requests.get(url, stream=True, timeout=30) as reply:
        assert reply.raw.read(1000) == CONTENT[:1000]
        reply.raw.connection.sock.settimeout(0.2)
        with pytest.raises(requests.exceptions.ConnectionError, match="Read timed out"):
            assert not reply.content
    assert fetch(url)[2] == CONTENT


def test_a_stall_may_end(proxy, url):
    proxy.inject(Stall(1000, seconds=0.2))
    began = time.monotonic()
    assert fetch(url)[2] == CONTENT
    assert time.monotonic() - began >= 0.2


def test_clearing_ends_a_stalled_connection(proxy, url):
    proxy.inject(Stall(0))
    with requests.get(url, stream=True, timeout=30) as reply:
        wait_for(lambda: proxy._stalled, "the stall")
        proxy.clear()
        with pytest.raises(requests.exceptions.RequestException):
            assert not reply.content


@pytest.mark.parametrize("after", [0, 1000])
def test_a_reset_comes_after_some_of_the_body(after, proxy, url):
    proxy.inject(Reset(after))
    with requests.get(url, stream=True, timeout=30) as reply:
        assert reply.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="reset by peer"):
            assert not reply.content


def test_a_reset_without_an_offset_hides_the_request_from_the_server(http_server, proxy, url):
    http_server.forget()
    proxy.inject(Reset(None))
    with pytest.raises(ConnectionResetError):
        fetch(url)
    assert http_server.requests() == []


def test_a_reset_before_the_reply_leaves_done_what_was_asked(s3_server, s3, bucket, fault_proxy):
    proxy = fault_proxy(s3_server)
    proxy.inject(Reset(before_reply=True), method="PUT")
    with pytest.raises(obstore.exceptions.GenericError):
        s3_server.store(bucket, url=proxy.url).put("a", CONTENT)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == CONTENT


def test_faults_that_match_one_request_are_made_together(proxy, url):
    proxy.inject(FlippedBit(at=5))
    proxy.inject(ShortBody(1000, honest=True))
    assert fetch(url)[2] == CONTENT[:5] + bytes([CONTENT[5] ^ 1]) + CONTENT[6:1000]


def test_a_proxy_before_a_server_that_is_gone_answers_502():
    with FaultProxy(f"http://{HOST}:{free_ports(1)[0]}") as proxy:
        assert fetch(proxy.url)[0] == 502


def test_a_closed_proxy_refuses_connections(http_server):
    proxy = FaultProxy(http_server.url)
    with requests.Session() as session:
        assert session.get(proxy.url, timeout=30).status_code in (403, 404)
        proxy.close()
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get(proxy.url, timeout=30)


# -- PostgreSQL


def test_each_database_is_fresh_and_its_own(postgres_server):
    first, second = postgres_server.database(), postgres_server.database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE t (n int)")
    with psycopg.connect(second) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM t")


def test_postgres_refuses_a_wrong_password(postgres_server):
    url = postgres_server.database().replace(postgres_server.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_postgres_that_was_killed_has_what_was_committed_when_it_is_started_again(postgres_server):
    url = postgres_server.database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (n int)")
        connection.execute("INSERT INTO t VALUES (7)")
    with contextlib.closing(psycopg.connect(url)) as open_one:
        postgres_server.kill()
        with pytest.raises(psycopg.OperationalError):
            open_one.execute("SELECT n FROM t")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
    postgres_server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(7,)]


def test_postgres_that_was_stopped_cuts_its_connections_and_can_be_started_again(postgres_server):
    url = postgres_server.database()
    with contextlib.closing(psycopg.connect(url)) as open_one:
        postgres_server.stop()
        with pytest.raises(psycopg.OperationalError):
            open_one.execute("SELECT 1")
    postgres_server.start()
    psycopg.connect(url).close()


def test_the_connections_to_one_database_can_be_dropped(postgres_server):
    first, second = postgres_server.database(), postgres_server.database()
    with (
        contextlib.closing(psycopg.connect(first)) as dropped,
        contextlib.closing(psycopg.connect(second)) as kept,
    ):
        assert postgres_server.drop_connections(first) == 1
        with pytest.raises(psycopg.OperationalError):
            dropped.execute("SELECT 1")
        assert kept.execute("SELECT 1").fetchone() == (1,)


# -- processes


@pytest.mark.parametrize("name", ["s3_server", "gcs_server", "http_server", "postgres_server"])
def test_a_server_talks_to_loopback_only(name, request):
    found = tcp_sockets(request.getfixturevalue(name).pid)
    assert {host for (host, _), _ in found} == {HOST}
    assert {host for _, (host, port) in found if port} <= {HOST}


@pytest.mark.parametrize("kind", [SeaweedFS, FakeGCS, Nginx, Postgres])
def test_a_server_ends_when_the_process_that_started_it_is_killed(kind, tmp_path):
    program = (
        f"import time\nfrom {kind.__module__} import {kind.__name__}\n"
        f"server = {kind.__name__}({str(tmp_path)!r}).start()\nprint(server.pid, *server.ports, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        pid, *ports = starter.stdout.readline().split()
        assert tcp_sockets(pid)
        starter.send_signal(signal.SIGKILL)
    wait_for(lambda: has_ended(pid), "its end")
    server = kind(tmp_path)
    server.ports = [int(port) for port in ports]
    with server:  # nobody is left who holds its ports or its data
        assert server.running


class Broken(FakeGCS):
    def command(self):
        return [*super().command(), "-no-such-option"]


def test_a_server_that_does_not_start_shows_its_log(tmp_path):
    with pytest.raises(ServerError, match=r"ended with code [12]\n.*no-such-option"):
        Broken(tmp_path).start()


def test_a_server_whose_port_was_taken_in_between_tries_others(tmp_path, monkeypatch, gcs_server):
    real = process.free_ports
    offered = iter([gcs_server.ports])
    monkeypatch.setattr(process, "free_ports", lambda count: next(offered, None) or real(count))
    with FakeGCS(tmp_path) as server:
        assert server.ports != gcs_server.ports
        assert "address already in use" in server.log_tail()
