"""The mutations that use, change, link and delete what is there."""
# ruff: noqa: A002 - the arguments are the schema's

import json

from tests.wandb_server.models import Artifact, Collection, RefusalError
from tests.wandb_server.resolvers import field
from tests.wandb_server.resolvers.write import run_of, set_ttl


@field("Mutation.useArtifact")
def use_artifact(_, info, input):
    state = info.context.state
    artifact = state.must(input["artifactID"], Artifact)
    if artifact.state == "DELETED":
        raise RefusalError("the artifact is deleted")
    run = run_of(state, input)
    _, used_as = run.inputs.setdefault(artifact.id, (artifact, []))
    if input.get("usedAs") and input["usedAs"] not in used_as:
        used_as.append(input["usedAs"])
    artifact.used_by[run.id] = run
    return {"artifact": artifact}


@field("Mutation.updateArtifact")
def update_artifact(_, info, input):
    """Change what is not null (inferred: that null changes nothing)."""
    state = info.context.state
    artifact = state.must(input["artifactID"], Artifact)
    if artifact.sequence.project.read_only:
        raise RefusalError("permission denied: the project is read-only", 403)
    if input.get("description") is not None:
        artifact.description = input["description"]
    if input.get("metadata") is not None:
        json.loads(input["metadata"])
        artifact.metadata = input["metadata"]
    set_ttl(artifact, input.get("ttlDurationSeconds"))
    added = [tag["tagName"] for tag in input.get("tagsToAdd") or ()]
    state.set_tags(artifact.tags, added, [tag["tagName"] for tag in input.get("tagsToDelete") or ()])
    artifact.touch()
    return {"artifact": artifact}


@field("Mutation.deleteArtifact")
def delete_artifact(_, info, input):
    state = info.context.state
    artifact = state.must(input["artifactID"], Artifact)
    if artifact.sequence.project.read_only:
        raise RefusalError("permission denied: the project is read-only", 403)
    has_alias = any(member.aliases for member in artifact.memberships if member.collection is artifact.sequence)
    if has_alias and not input.get("deleteAliases"):
        raise RefusalError("cannot delete an artifact that has aliases")
    state.delete(artifact)
    return {"artifact": artifact}


@field("Mutation.addAliases")
def add_aliases(_, info, input):
    for member, alias in _aliased(info.context.state, input):
        info.context.state.set_aliases(member, [alias])
    return {"success": True}


@field("Mutation.deleteAliases")
def delete_aliases(_, info, input):
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
            raise RefusalError(f"the artifact is not in {one['artifactCollectionName']!r}", 404)
        found.append((member, one["alias"]))
    return found


@field("Mutation.linkArtifact")
def link_artifact(_, info, input):
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
def unlink_artifact(_, info, input):
    state = info.context.state
    portfolio = state.must(input["artifactPortfolioID"], Collection)
    member = portfolio.by_artifact.get(input["artifactID"])
    if member is None or portfolio.kind != "PORTFOLIO":
        raise RefusalError("the artifact is not linked there", 404)
    state.unlink(member)
    return {"success": True}


@field("Mutation.deleteArtifactSequence", "Mutation.deleteArtifactPortfolio")
def delete_collection(_, info, input):
    state = info.context.state
    collection = state.must(input.get("artifactSequenceID") or input.get("artifactPortfolioID"), Collection)
    state.remove_collection(collection)
    return {"artifactCollection": collection}


@field("Mutation.updateArtifactSequence", "Mutation.updateArtifactPortfolio")
def update_collection(_, info, input):
    state = info.context.state
    collection = state.must(input.get("artifactSequenceID") or input.get("artifactPortfolioID"), Collection)
    name = input.get("name")
    if name and name != collection.name:
        if name in collection.project.collections or "/" in name or len(name) > 128:
            raise RefusalError(f"invalid artifact collection name: {name!r}")
        collection.project.collections[name] = collection.project.collections.pop(collection.name)
        collection.name = name
    if input.get("description") is not None:
        collection.description = input["description"]
    collection.touch()
    return {"artifactCollection": collection}


@field("Mutation.moveArtifactSequence")
def move_sequence(_, info, input):
    state = info.context.state
    collection = state.must(input["artifactSequenceID"], Collection)
    collection.type = state.artifact_type(collection.project, input["destinationArtifactTypeName"])
    return {"artifactCollection": collection}


@field("Mutation.createArtifactCollectionTagAssignments")
def add_collection_tags(_, info, input):
    tags = _collection(info.context.state, input).tags
    return {"tags": info.context.state.set_tags(tags, [tag["tagName"] for tag in input["tags"]])}


@field("Mutation.deleteArtifactCollectionTagAssignments")
def delete_collection_tags(_, info, input):
    tags = _collection(info.context.state, input).tags
    info.context.state.set_tags(tags, remove=[tag["tagName"] for tag in input["tags"]])
    return {"success": True}


def _collection(state, given) -> Collection:
    project = state.must_project(given["entityName"], given["projectName"])
    found = project.collections.get(given["artifactCollectionName"])
    if found is None:
        raise RefusalError(f"collection {given['artifactCollectionName']!r} not found", 404)
    return found
