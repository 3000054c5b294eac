"""The mutations by which a run and a version are made, in the order of a log."""
# ruff: noqa: A002 - the arguments are the schema's

import base64
import json
import re

from tests.wandb_server import manifests
from tests.wandb_server.blobs import UploadError
from tests.wandb_server.models import Artifact, Collection, Manifest, RefusalError, Run
from tests.wandb_server.resolvers import field

DIGESTS = {"MANIFEST_MD5": re.compile(r"[0-9a-f]{32}"), "MANIFEST_XXH128": re.compile(r"[0-9a-f]{32}")}
INHERIT, DISABLED = -1, -2


@field("Mutation.upsertModel")
def upsert_model(_, info, input):
    project, inserted = info.context.state.add_project(input.get("entityName"), input.get("name"))
    if input.get("description") is not None:
        project.description = input["description"]
    return {"project": project, "model": project, "inserted": inserted}


@field("Mutation.upsertBucket")
def upsert_bucket(_, info, input):
    """Make or change a run. Its project is made with it."""
    state = info.context.state
    if input.get("id"):
        run, inserted = state.must(input["id"], Run), False
    else:
        project, _ = state.add_project(input.get("entityName"), input.get("modelName"))
        if project.read_only:
            raise RefusalError("permission denied: the project is read-only", 403)
        if not input.get("name"):
            raise RefusalError("a run needs a name")
        run, inserted = state.add_run(project, input["name"])
    names = {
        "displayName": "display_name", "description": "description", "notes": "notes", "config": "config",
        "state": "state", "groupName": "group", "jobType": "job_type", "commit": "commit", "tags": "tags",
        "summaryMetrics": "summary_metrics",
    }  # fmt: skip
    for given, attribute in names.items():
        if input.get(given) is not None:
            setattr(run, attribute, input[given])
    return {"bucket": run, "inserted": inserted}


@field("Mutation.createRunFiles")
def create_run_files(_, info, input):
    context = info.context
    run = run_of(context.state, input)
    files = []
    for name in input["files"]:
        run.files[name] = key = f"wandb_runs/{run.project.entity.name}/{run.project.name}/{run.name}/{name}"
        files.append({"name": name, "uploadUrl": context.signer.sign("PUT", "/" + key, context.url_lifetime)})
    return {"runID": run.id, "uploadHeaders": [], "files": files}


@field("Mutation.markRunFilesUploaded")
def mark_run_files_uploaded(_, info, input):
    run_of(info.context.state, input)
    return {"success": True}


def run_of(state, given) -> Run:
    """Return the run that an input names."""
    project = state.must_project(given.get("entityName"), given.get("projectName"))
    run = project.runs.get(given["runName"])
    if run is None:
        raise RefusalError(f"run {given['runName']} not found", 404)
    return run


@field("Mutation.createArtifact")
def create_artifact(_, info, input):
    """Make a pending version; or answer the one there is: by client id, by distributed id, or by digest."""
    state = info.context.state
    project = state.must_project(input["entityName"], input["projectName"])
    name = input.get("artifactCollectionName") or next(iter(input.get("artifactCollectionNames") or ()), None)
    if not name:
        raise RefusalError("an artifact needs a collection")
    if state.verify_digests and not DIGESTS[input["digestAlgorithm"]].fullmatch(input["digest"]):
        raise RefusalError(f"invalid digest: {input['digest']!r}")
    run = run_of(state, input) if input.get("runName") else None
    sequence = state.collection(project, name, input["artifactTypeName"], "SEQUENCE")
    aliases = [alias["alias"] for alias in input.get("aliases") or ()]

    known = state.node(state.client_ids.get(input.get("clientID") or ""), Artifact)
    if known is None and input.get("distributedID"):
        known = next((one for one in _pending(state, sequence) if one.distributed_id == input["distributedID"]), None)
    if known is None and input.get("enableDigestDeduplication"):
        known = _same_digest(state, sequence, input["digest"])
        if known is not None:
            state.set_aliases(known.memberships[0], aliases)
            if run is not None:
                run.outputs[known.id] = known  # inferred
    if known is None:
        known = _new_artifact(state, sequence, input, aliases, run)
    if input.get("clientID"):
        state.client_ids[input["clientID"]] = known.id
    if input.get("sequenceClientID"):
        state.client_ids.setdefault(input["sequenceClientID"], sequence.id)
    return {"artifact": known}


def _pending(state, sequence):
    nodes = state.nodes.values()
    return [one for one in nodes if isinstance(one, Artifact) and one.sequence is sequence and one.state == "PENDING"]


def _same_digest(state, sequence: Collection, digest: str) -> Artifact | None:
    """Return the version that has these contents already.

    Any version of the sequence counts, as old servers answered deleted ones too (inferred); or, as the SDK's
    documentation has it, the latest only: ``State.dedup``.
    """
    if state.dedup == "latest":
        alias = sequence.aliases.get("latest")
        return alias.artifact if alias is not None and alias.artifact.digest == digest else None
    member = sequence.by_digest.get(digest)
    return member.artifact if member else None


def _new_artifact(state, sequence: Collection, given, aliases, run) -> Artifact:
    if given.get("metadata") is not None:
        json.loads(given["metadata"])
    artifact = Artifact(
        sequence, given["digest"], given["digestAlgorithm"],
        description=given.get("description"), metadata=given.get("metadata"), history_step=given.get("historyStep"),
        client_id=given.get("clientID"), distributed_id=given.get("distributedID"),
        storage_region=given.get("storageRegion"), wanted_aliases=aliases, run=run,
    )  # fmt: skip
    set_ttl(artifact, given.get("ttlDurationSeconds"))
    state.set_tags(artifact.tags, [tag["tagName"] for tag in given.get("tags") or ()])
    if not sequence.members:
        sequence.digest_algorithm = given["digestAlgorithm"]
    return state.add(artifact)


def set_ttl(artifact: Artifact, seconds: int | None) -> None:
    """Set a time to live. None: as it is."""
    if seconds is None:
        return
    if seconds == INHERIT:
        artifact.ttl = None
    elif seconds == DISABLED or seconds > 0:
        artifact.ttl = seconds
    else:
        raise RefusalError(f"invalid ttlDurationSeconds: {seconds}")


@field("Mutation.createArtifactManifest")
def create_artifact_manifest(_, info, input):
    state = info.context.state
    state.must_project(input["entityName"], input["projectName"])
    artifact = _still_pending(state, input["artifactID"])
    if input["name"] != manifests.NAMES[input["type"]]:
        raise RefusalError(f"a {input['type']} manifest is not called {input['name']!r}")
    return {"artifactManifest": _manifest(state, artifact, input)}


def _manifest(state, artifact: Artifact, given) -> Manifest:
    """Return the manifest that was made before for the same contents, or a new one."""
    for old in artifact.manifests:
        if old.digest and old.digest == given["digest"] and old.type == given["type"]:
            return old
    manifest = state.add(Manifest(artifact, given["name"], given["digest"], given["type"], given.get("baseArtifactID")))
    artifact.manifests.append(manifest)
    return manifest


def _still_pending(state, artifact_id: str) -> Artifact:
    artifact = state.must(artifact_id, Artifact)
    if artifact.state != "PENDING":
        raise RefusalError(f"artifact {artifact_id} is {artifact.state}", 409)
    return artifact


@field("Mutation.updateArtifactManifest")
def update_artifact_manifest(_, info, input):
    state = info.context.state
    manifest = state.must(input["artifactManifestID"], Manifest)
    _still_pending(state, manifest.artifact.id)
    if input.get("digest") is not None:
        manifest.digest = input["digest"]
    if input.get("baseArtifactID") is not None:
        manifest.base_id = input["baseArtifactID"]
    return {"artifactManifest": manifest}


@field("Mutation.createArtifactFiles")
def create_artifact_files(_, info, input):
    nodes = [_upload_of(info.context, spec) for spec in input["artifactFiles"]]
    return {"files": {"edges": [{"node": node, "cursor": str(at)} for at, node in enumerate(nodes)]}}


@field("CreateArtifactFilesPayload.files")
def created_files(payload, info, after=None, first=None):
    page = {"hasNextPage": False, "hasPreviousPage": False}
    return {"pageInfo": page, "uploadHeaders": [], "totalCount": len(payload["files"]["edges"]), **payload["files"]}


def _upload_of(context, spec) -> dict:
    """Return the node of one file: with a URL to upload it to, or without one if the bytes are there."""
    state, signer = context.state, context.signer
    artifact = _still_pending(state, spec["artifactID"])
    digest, md5 = spec.get("digest") or spec["md5"], spec["md5"]
    node = {"id": artifact.id, "name": spec["name"], "displayName": spec["name"], "md5": md5, "digest": digest}
    if (key := state.has(artifact.entity, digest)) is not None:
        birth = next(iter(state.stored[artifact.entity, digest]))
        found = {"storagePath": key, "uploadUrl": None, "uploadHeaders": [], "artifact": state.nodes[birth]}
        return node | found
    try:
        digest_hex = base64.b64decode(digest, validate=True).hex()
    except ValueError as error:
        raise RefusalError(f"invalid digest: {digest!r}") from error
    key = state.key_of(artifact, digest_hex)
    state.promise(key, artifact.entity, list(dict.fromkeys([digest])), artifact.id)
    headers = [*([f"Content-MD5:{md5}"] if md5 else []), f"Content-Type:{spec.get('mimetype') or ''}"]
    url = signer.sign("PUT", "/" + key, context.url_lifetime, md5=md5)
    node |= {"storagePath": key, "uploadUrl": url, "uploadHeaders": headers, "artifact": artifact}
    if parts := spec.get("uploadPartsInput"):
        expected = {part["partNumber"]: part["hexMD5"] for part in parts}
        if sorted(expected) != list(range(1, len(parts) + 1)) or len(parts) > 10_000:
            raise RefusalError("invalid part numbers")
        upload_id = state.bucket.begin(key, expected)
        urls = [
            {
                "partNumber": number,
                "uploadUrl": signer.sign(
                    "PUT", "/" + key, context.url_lifetime, partNumber=str(number), uploadId=upload_id
                ),
            }
            for number in sorted(expected)
        ]
        node["uploadMultipartUrls"] = {"uploadID": upload_id, "uploadUrlParts": urls}
    return node


@field("Mutation.completeMultipartUploadArtifact")
def complete_multipart_upload(_, info, input):
    state = info.context.state
    state.must(input["artifactID"], Artifact)
    etags = {part["partNumber"]: part["hexMD5"].strip('"') for part in input["completedParts"]}
    try:
        stored = state.bucket.complete(input["uploadID"], input["storagePath"], etags)
    except UploadError as error:
        raise RefusalError(f"{error.code}: {error}") from error
    _, digests, _ = state.promised.get(input["storagePath"], ("", [], ""))
    if state.verify_multipart and not all(stored.content.is_of(digest) for digest in digests):
        del state.bucket.objects[input["storagePath"]]
        raise RefusalError("BadDigest: the parts do not make the bytes that were announced")  # inferred
    state.arrived(input["storagePath"])
    return {"digest": stored.etag}  # inferred; the SDK does not look at it


@field("Mutation.commitArtifact")
def commit_artifact(_, info, input):
    artifact = info.context.state.must(input["artifactID"], Artifact)
    manifests.commit(info.context.state, artifact)
    return {"artifact": artifact}
