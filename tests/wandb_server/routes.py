"""What each path answers: the API, which needs a credential, and the object storage, whose URLs are signed."""

import base64
import gzip
import json
import re
import urllib.parse

from tests.servers.faults import Reply
from tests.wandb_server import graphql
from tests.wandb_server.blobs import StoredObject, UploadError
from tests.wandb_server.faults import ExpiredURLs, json_reply, reply_of
from tests.wandb_server.http import Incoming
from tests.wandb_server.models import Artifact, RefusalError
from tests.wandb_server.resolvers import Context
from tests.wandb_server.signing import SignatureError

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FILE_STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def answer(server, request: Incoming, operation, faults) -> Reply:
    """Return the reply to a request."""
    if request.listener == "storage":
        return storage(server, request)
    if request.path == "/oidc/token" and request.method == "POST":
        return token(server, request)
    if not server.admits(request.headers.get("authorization", "")):
        return json_reply(401, {"errors": [{"message": "user is not logged in"}]})
    if operation is not None:
        return graphql_reply(server, operation, faults)
    if request.method == "POST" and (found := FILE_STREAM.fullmatch(urllib.parse.unquote(request.path))):
        return file_stream(server, request, *found.groups())
    if request.method == "GET" and request.path.startswith(("/artifacts/", "/artifactsV2/")):
        return fallback(server, request)
    return json_reply(404, {"error": "not found"})


def token(server, request: Incoming) -> Reply:
    """Exchange an identity token for an access token."""
    form = dict(urllib.parse.parse_qsl(request.body.decode()))
    if form.get("grant_type") != GRANT or form.get("assertion") not in server.identity_tokens:
        return json_reply(401, {"error": "invalid_grant"})
    access = server.new_access_token()
    return json_reply(200, {"access_token": access, "expires_in": server.token_lifetime, "token_type": "Bearer"})


def graphql_reply(server, operation, faults) -> Reply:
    context = Context(
        server.state, server.signer, server.url, server.features, server.max_page_size, server.default_page_size
    )
    if any(isinstance(fault, ExpiredURLs) for fault in faults):
        context.url_lifetime = -1
    status, body = graphql.execute(operation, context)
    if context.invalid or operation.error:
        server.refused.append((operation.name, body["errors"][0]["message"]))
    for bug in context.bugs:
        server.failed(bug)
    return json_reply(status, body)


def file_stream(server, request: Incoming, entity: str, project: str, run: str) -> Reply:
    """Take what a run tells of itself."""
    data = request.body
    if request.headers.get("content-encoding") == "gzip":
        data = gzip.decompress(data)
    with server.state.lock:
        found = server.state.project(entity, project)
        one = found.runs.get(run) if found else None
        if one is None:
            return json_reply(404, {"error": "run not found"})
        body = json.loads(data)
        one.streamed.append(body)
        if body.get("complete"):
            one.state = "finished" if body.get("exitcode") == 0 else "failed"
    return json_reply(200, {"exitcode": None, "limits": {}})


def fallback(server, request: Incoming) -> Reply:
    """Answer the layouts of URLs that the SDK makes itself, by a redirect or with the bytes."""
    with server.state.lock:
        try:
            key = _fallback_key(server, [urllib.parse.unquote(part) for part in request.path.split("/")[1:]])
        except (RefusalError, ValueError):
            key = None
    if key is None:
        return json_reply(404, {"error": "not found"})
    if server.fallback == "redirect":
        return reply_of(302, b"", {"Location": server.signer.sign("GET", "/" + key)})
    return object_reply(request, server.state.bucket.objects[key])


def _fallback_key(server, parts: list[str]) -> str | None:
    """Return the key that a path leads to.

    The names of entity, project and collection are those through which the artifact was found: also a portfolio's, whose
    bytes belong to another entity. The file's name at the end is not looked at (inferred).
    """
    state = server.state
    if parts[0] == "artifacts":
        entity, digest = parts[1], base64.b64encode(bytes.fromhex(parts[2])).decode()
        return _linked_key(state, entity, digest) or _logged_key(state, entity, digest)
    if len(parts) == 5:  # a very old form: region, entity, birth id, digest
        return state.has(parts[2], base64.b64encode(bytes.fromhex(parts[4])).decode(), parts[3])
    with_id = server.features["ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID"]
    if len(parts) != (9 if with_id else 8):
        return None
    digest = base64.b64encode(bytes.fromhex(parts[-2])).decode()
    birth = parts[-3]
    project = state.project(parts[2], parts[3])
    collection = project.collections.get(parts[4]) if project else None
    if collection is None or project.hidden:
        return None
    artifacts = [member.artifact for member in collection.members.values()]
    artifacts = [one for one in artifacts if one.layout != "V1" and parts[1] == (one.storage_region or "default")]
    if with_id:
        artifacts = [one for one in artifacts if one is state.node(parts[5], Artifact)]
    for artifact in artifacts:
        if any(entry.digest == digest and not entry.ref for entry in artifact.entries.values()):
            return state.has(artifact.entity, digest, birth or None)
    return None


def _logged_key(state, entity: str, digest: str) -> str | None:
    """Return the key of bytes of an entity, but for those that only hidden projects have."""
    owner = state.entities.get(entity)
    projects = owner.projects.values() if owner else ()
    return None if projects and all(project.hidden for project in projects) else state.has(entity, digest)


def _linked_key(state, entity: str, digest: str) -> str | None:
    owner = state.entities.get(entity)
    for project in owner.projects.values() if owner else ():
        for collection in () if project.hidden else project.collections.values():
            for member in collection.members.values():
                if any(entry.digest == digest for entry in member.artifact.entries.values()):
                    return state.has(member.artifact.entity, digest)
    return None


def storage(server, request: Incoming) -> Reply:
    """Answer as S3 does: signed GET with ranges, signed PUT of objects and parts."""
    if "authorization" in request.headers:
        return xml_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    try:
        query = server.signer.check(request.method, request.target)
        key = urllib.parse.unquote(request.path).removeprefix("/")
        if request.method == "PUT":
            return upload(server, request, key, query)
        stored = server.state.bucket.get(key)
        if stored is None:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        return object_reply(request, stored)
    except SignatureError as error:
        return xml_error(403, error.code, str(error))
    except UploadError as error:
        return xml_error(404 if error.code == "NoSuchUpload" else 400, error.code, str(error))


def upload(server, request: Incoming, key: str, query: dict[str, str]) -> Reply:
    """Take an object, or a part of one. What Content-MD5 was signed must be sent, and be true."""
    content, bucket = request.content, server.state.bucket
    told = request.headers.get("content-md5")
    if query.get("md5", "") != (told or "") and "md5" in query:
        return xml_error(403, "SignatureDoesNotMatch", "Content-MD5 is not what was signed")
    if told and told != content.digest():
        return xml_error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    if "uploadId" in query:
        etag = bucket.put_part(query["uploadId"], int(query["partNumber"]), content)
        return reply_of(200, b"", {"ETag": f'"{etag}"'})
    with server.state.lock:
        promise = server.state.promised.get(key)
        for digest in promise[1] if promise else ():
            if not content.is_of(digest):
                return xml_error(400, "BadDigest", "the bytes do not have the digest that was announced")
        stored = bucket.put(key, content)
        server.state.arrived(key)
    return reply_of(200, b"", {"ETag": f'"{stored.etag}"'})


def object_reply(request: Incoming, stored: StoredObject) -> Reply:
    """Return an object or a range of it."""
    size, etag = stored.content.size, f'"{stored.etag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    asked = request.headers
    if "if-match" in asked and asked["if-match"] not in (etag, "*"):
        return xml_error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
    if asked.get("if-none-match") in (etag, "*"):
        return Reply(304, "", list(headers.items()), [])
    start, end = 0, size
    found = RANGE.fullmatch(asked.get("range", ""))
    if found and (found[1] or found[2]) and asked.get("if-range", etag) == etag:
        if found[1]:
            start = int(found[1])
            end = min(size, int(found[2]) + 1) if found[2] else size
        else:
            start = max(0, size - int(found[2]))
        if start >= size or start >= end:
            reply = xml_error(416, "InvalidRange", "The requested range is not satisfiable")
            reply.set_header("Content-Range", f"bytes */{size}")
            return reply
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    status = 206 if "Content-Range" in headers else 200
    return Reply(status, "", list(headers.items()), stored.content.pieces(start, end - start))


def xml_error(status: int, code: str, message: str) -> Reply:
    """Return an error as S3 words it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return reply_of(status, body.encode(), {"Content-Type": "application/xml"})
