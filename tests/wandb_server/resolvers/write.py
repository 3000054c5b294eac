"""The mutations: those of a log in their order, then those that change what is there."""

import base64
import json
import re

from tests.wandb_server import manifests
from tests.wandb_server.blobs import UploadError
from tests.wandb_server.models import Artifact, Collection, Manifest, Refusal, Run
from tests.wandb_server.resolvers import field

DIGESTS = {"MANIFEST_MD5": re.compile(r"[0-9a-f]{32}"), "MANIFEST_XXH128": re.compile(r"[0-9a-f]{32}")}
INHERIT, DISABLED = -1, -2


@field("Mutation.upsertModel")
def upsert_model(_, info, input):  # noqa: A002 - the schema's name
    project, inserted = info.context.state.add_project(input.get("entityName"), input.get("name"))
    if input.get("description") is not None:
        project.description = input["description"]
    return {"project": project, "model": project, "inserted": inserted}


@field("Mutation.upsertBucket")
def upsert_bucket(_, info, input):  # noqa: A002
    """Make or change a run. Its project is made with it."""
    state = info.context.state
    if input.get("id"):
        run, inserted = state.must(input["id"], Run), False
    else:
        project, _ = state.add_project(input.get("entityName"), input.get("modelName"))
        if project.read_only:
            raise Refusal("permission denied: the project is read-only", 403)
        if not input.get("name"):
            raise Refusal("a run needs a name")
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
def create_run_files(_, info, input):  # noqa: A002
    context = info.context
    run = _run(context.state, input)
    files = []
    for name in input["files"]:
        run.files[name] = key = f"wandb_runs/{run.project.entity.name}/{run.project.name}/{run.name}/{name}"
        files.append({"name": name, "uploadUrl": context.signer.sign("PUT", "/" + key, context.url_lifetime)})
    return {"runID": run.id, "uploadHeaders": [], "files": files}


@field("Mutation.markRunFilesUploaded")
def mark_run_files_uploaded(_, info, input):  # noqa: A002
    _run(info.context.state, input)
    return {"success": True}


def _run(state, given) -> Run:
    project = state.must_project(given.get("entityName"), given.get("projectName"))
    run = project.runs.get(given["runName"])
    if run is None:
        raise Refusal(f"run {given['runName']} not found", 404)
    return run


@field("Mutation.createArtifact")
def create_artifact(_, info, input):  # noqa: A002
    """Make a pending version; or answer the one there is: by client id, by distributed id, or by digest."""
    state = info.context.state
    project = state.must_project(input["entityName"], input["projectName"])
    name = input.get("artifactCollectionName") or next(iter(input.get("artifactCollectionNames") or ()), None)
    if not name:
        raise Refusal("an artifact needs a collection")
    if not DIGESTS[input["digestAlgorithm"]].fullmatch(input["digest"]):
        raise Refusal(f"invalid digest: {input['digest']!r}")
    run = _run(state, input) if input.get("runName") else None
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
        latest = state.latest(sequence)
        return latest if latest is not None and latest.digest == digest else None
    versions = [member.artifact for member in sequence.members.values()]
    return next((one for one in reversed(versions) if one.digest == digest), None)


def _new_artifact(state, sequence: Collection, given, aliases, run) -> Artifact:
    if given.get("metadata") is not None:
        json.loads(given["metadata"])
    artifact = Artifact(
        sequence, given["digest"], given["digestAlgorithm"],
        description=given.get("description"), metadata=given.get("metadata"), history_step=given.get("historyStep"),
        client_id=given.get("clientID"), distributed_id=given.get("distributedID"),
        storage_region=given.get("storageRegion"), wanted_aliases=aliases, run=run,
    )  # fmt: skip
    _set_ttl(artifact, given.get("ttlDurationSeconds"))
    state.set_tags(artifact.tags, [tag["tagName"] for tag in given.get("tags") or ()])
    if not sequence.members:
        sequence.digest_algorithm = given["digestAlgorithm"]
    return state.add(artifact)


def _set_ttl(artifact: Artifact, seconds: int | None) -> None:
    if seconds is None:
        return
    if seconds == INHERIT:
        artifact.ttl = None
    elif seconds == DISABLED or seconds > 0:
        artifact.ttl = seconds
    else:
        raise Refusal(f"invalid ttlDurationSeconds: {seconds}")


@field("Mutation.createArtifactManifest")
def create_artifact_manifest(_, info, input):  # noqa: A002
    state = info.context.state
    state.must_project(input["entityName"], input["projectName"])
    artifact = _still_pending(state, input["artifactID"])
    if input["name"] != manifests.NAMES[input["type"]]:
        raise Refusal(f"a {input['type']} manifest is not called {input['name']!r}")
    return {"artifactManifest": _manifest(state, artifact, input)}


def _manifest(state, artifact: Artifact, given) -> Manifest:
    """Return the manifest that was made before for the same contents, or a new one."""
    for old in artifact.manifests:
        if old.digest and old.digest == given["digest"] and old.type == given["type"]:
            return old
    manifest = state.add(
        Manifest(artifact, given["name"], given["digest"], given["type"], given.get("baseArtifactID"))
    )
    artifact.manifests.append(manifest)
    return manifest


def _still_pending(state, artifact_id: str) -> Artifact:
    artifact = state.must(artifact_id, Artifact)
    if artifact.state != "PENDING":
        raise Refusal(f"artifact {artifact_id} is {artifact.state}", 409)
    return artifact


@field("Mutation.updateArtifactManifest")
def update_artifact_manifest(_, info, input):  # noqa: A002
    state = info.context.state
    manifest = state.must(input["artifactManifestID"], Manifest)
    _still_pending(state, manifest.artifact.id)
    if input.get("digest") is not None:
        manifest.digest = input["digest"]
    if input.get("baseArtifactID") is not None:
        manifest.base_id = input["baseArtifactID"]
    return {"artifactManifest": manifest}


@field("Mutation.createArtifactFiles")
def create_artifact_files(_, info, input):  # noqa: A002
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
        raise Refusal(f"invalid digest: {digest!r}") from error
    key = state.key_of(artifact, digest_hex)
    state.promise(key, artifact.entity, list(dict.fromkeys([digest])), artifact.id)
    headers = [*([f"Content-MD5:{md5}"] if md5 else []), f"Content-Type:{spec.get('mimetype') or ''}"]
    url = signer.sign("PUT", "/" + key, context.url_lifetime, md5=md5)
    node |= {"storagePath": key, "uploadUrl": url, "uploadHeaders": headers, "artifact": artifact}
    if parts := spec.get("uploadPartsInput"):
        expected = {part["partNumber"]: part["hexMD5"] for part in parts}
        if sorted(expected) != list(range(1, len(parts) + 1)) or len(parts) > 10_000:
            raise Refusal("invalid part numbers")
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
def complete_multipart_upload(_, info, input):  # noqa: A002
    state = info.context.state
    state.must(input["artifactID"], Artifact)
    etags = {part["partNumber"]: part["hexMD5"].strip('"') for part in input["completedParts"]}
    try:
        stored = state.bucket.complete(input["uploadID"], input["storagePath"], etags)
    except UploadError as error:
        raise Refusal(f"{error.code}: {error}") from error
    state.arrived(input["storagePath"])
    return {"digest": stored.etag}  # inferred; the SDK does not look at it


@field("Mutation.commitArtifact")
def commit_artifact(_, info, input):  # noqa: A002
    artifact = info.context.state.must(input["artifactID"], Artifact)
    manifests.commit(info.context.state, artifact)
    return {"artifact": artifact}


@field("Mutation.useArtifact")
def use_artifact(_, info, input):  # noqa: A002
    state = info.context.state
    artifact = state.must(input["artifactID"], Artifact)
    if artifact.state == "DELETED":
        raise Refusal("the artifact is deleted")
    run = _run(state, input)
    _, used_as = run.inputs.setdefault(artifact.id, (artifact, []))
    if input.get("usedAs") and input["usedAs"] not in used_as:
        used_as.append(input["usedAs"])
    artifact.used_by[run.id] = run
    return {"artifact": artifact}


@field("Mutation.updateArtifact")
def update_artifact(_, info, input):  # noqa: A002
    """Change what is not null (inferred: that null changes nothing)."""
    state = info.context.state
    artifact = state.must(input["artifactID"], Artifact)
    if artifact.sequence.project.read_only:
        raise Refusal("permission denied: the project is read-only", 403)
    if input.get("description") is not None:
        artifact.description = input["description"]
    if input.get("metadata") is not None:
        json.loads(input["metadata"])
        artifact.metadata = input["metadata"]
    _set_ttl(artifact, input.get("ttlDurationSeconds"))
    added = [tag["tagName"] for tag in input.get("tagsToAdd") or ()]
    state.set_tags(artifact.tags, added, [tag["tagName"] for tag in input.get("tagsToDelete") or ()])
    artifact.touch()
    return {"artifact": artifact}


@field("Mutation.deleteArtifact")
def delete_artifact(_, info, input):  # noqa: A002
    state = info.context.state
    artifact = state.must(input["artifactID"], Artifact)
    if artifact.sequence.project.read_only:
        raise Refusal("permission denied: the project is read-only", 403)
    has_alias = any(member.aliases for member in artifact.memberships if member.collection is artifact.sequence)
    if has_alias and not input.get("deleteAliases"):
        raise Refusal("cannot delete an artifact that has aliases")
    state.delete(artifact)
    return {"artifact": artifact}


@field("Mutation.addAliases")
def add_aliases(_, info, input):  # noqa: A002
    for member, alias in _aliased(info.context.state, input):
        info.context.state.set_aliases(member, [alias])
    return {"success": True}


@field("Mutation.deleteAliases")
def delete_aliases(_, info, input):  # noqa: A002
    for member, alias in _aliased(info.context.state, input):
        info.context.state.remove_aliases(member, [alias])
    return {"success": True}


def _aliased(state, given):
    """Return the places of an artifact whose aliases shall change."""
    artifact = state.must(given["artifactID"], Artifact)
    found = []
    for one in given["aliases"]:
        project = state.must_project(one["entityName"], one["projectName"])
        collection = project.collections.get(one["artifactCollectionName"])
        member = collection.by_artifact.get(artifact.id) if collection else None
        if member is None:
            raise Refusal(f"the artifact is not in {one['artifactCollectionName']!r}", 404)
        found.append((member, one["alias"]))
    return found


@field("Mutation.linkArtifact")
def link_artifact(_, info, input):  # noqa: A002
    state = info.context.state
    artifact = state.must(input.get("artifactID") or state.client_ids.get(input.get("clientID") or ""), Artifact)
    if input.get("artifactPortfolioID"):
        portfolio = state.must(input["artifactPortfolioID"], Collection)
        project, name = portfolio.project, portfolio.name
    else:
        project = state.must_project(input.get("entityName"), input.get("projectName"))
        name = input.get("artifactPortfolioName")
    member = state.link(artifact, project, name, [alias["alias"] for alias in input.get("aliases") or ()])
    return {"versionIndex": member.version_index, "artifactMembership": member}


@field("Mutation.unlinkArtifact")
def unlink_artifact(_, info, input):  # noqa: A002
    state = info.context.state
    portfolio = state.must(input["artifactPortfolioID"], Collection)
    member = portfolio.by_artifact.get(input["artifactID"])
    if member is None or portfolio.kind != "PORTFOLIO":
        raise Refusal("the artifact is not linked there", 404)
    state.unlink(member)
    return {"success": True}


@field("Mutation.deleteArtifactSequence", "Mutation.deleteArtifactPortfolio")
def delete_collection(_, info, input):  # noqa: A002
    state = info.context.state
    collection = state.must(input.get("artifactSequenceID") or input.get("artifactPortfolioID"), Collection)
    state.remove_collection(collection)
    return {"artifactCollection": collection}


@field("Mutation.updateArtifactSequence", "Mutation.updateArtifactPortfolio")
def update_collection(_, info, input):  # noqa: A002
    state = info.context.state
    collection = state.must(input.get("artifactSequenceID") or input.get("artifactPortfolioID"), Collection)
    name = input.get("name")
    if name and name != collection.name:
        if name in collection.project.collections or "/" in name or len(name) > 128:
            raise Refusal(f"invalid artifact collection name: {name!r}")
        collection.project.collections[name] = collection.project.collections.pop(collection.name)
        collection.name = name
    if input.get("description") is not None:
        collection.description = input["description"]
    collection.touch()
    return {"artifactCollection": collection}


@field("Mutation.moveArtifactSequence")
def move_sequence(_, info, input):  # noqa: A002
    state = info.context.state
    collection = state.must(input["artifactSequenceID"], Collection)
    collection.type = state.artifact_type(collection.project, input["destinationArtifactTypeName"])
    return {"artifactCollection": collection}


@field("Mutation.createArtifactCollectionTagAssignments")
def add_collection_tags(_, info, input):  # noqa: A002
    tags = _collection(info.context.state, input).tags
    return {"tags": info.context.state.set_tags(tags, [tag["tagName"] for tag in input["tags"]])}


@field("Mutation.deleteArtifactCollectionTagAssignments")
def delete_collection_tags(_, info, input):  # noqa: A002
    tags = _collection(info.context.state, input).tags
    info.context.state.set_tags(tags, remove=[tag["tagName"] for tag in input["tags"]])
    return {"success": True}


def _collection(state, given) -> Collection:
    project = state.must_project(given["entityName"], given["projectName"])
    found = project.collections.get(given["artifactCollectionName"])
    if found is None:
        raise Refusal(f"collection {given['artifactCollectionName']!r} not found", 404)
    return found
