"""The queries. What does not exist is null, as far as the schema allows it."""
# ruff: noqa: A002, N803 - the arguments are the schema's

from tests.wandb_server.models import Artifact, Collection, Entity, RefusalError, Run
from tests.wandb_server.resolvers import field
from tests.wandb_server.resolvers.files import manifest_file  # noqa: F401 - registers what it has
from tests.wandb_server.resolvers.paging import connection, select
from tests.wandb_server.state import REGISTRY


@field("Query.viewer")
def viewer(_, info):
    return info.context.state.viewer


@field("Query.serverInfo")
def server_info(_, info):
    features = [{"name": name, "isEnabled": enabled} for name, enabled in info.context.features.items()]
    return {"features": features, "cliVersionInfo": {"max_cli_version": "9.0.0"}}


@field("User.teams")
def teams(user, info):
    return connection(info.context, user.teams)


@field("User.apiKeys")
def api_keys(user, info):
    return {"edges": []}


@field("Query.entity")
def entity(_, info, name=None):
    state = info.context.state
    return state.entities.get(name or state.viewer.entity)


@field("Query.organization")
def organization(_, info, name):
    return info.context.state.organizations.get(name)


@field("Organization.orgEntity")
def org_entity(found, info):
    return info.context.state.entities.get(found.entity_name)


@field("Organization.advancedRegistryFeatures")
def advanced_registry_features(found, info):
    return {"advancedSearch": False}


@field("OrgEntity.entityType")
def entity_type(found, info):
    return "ORGANIZATION"


def shown(project):
    """Return a project, or None if it is hidden (inferred)."""
    return None if project is None or project.hidden else project


@field("Query.project", "Query.model")
def project(_, info, name=None, entityName=None):
    return shown(info.context.state.project(entityName, name))


@field("Entity.project")
def project_of_entity(found: Entity, info, name=None):
    return shown(found.projects.get(name))


@field("ArtifactSequence.project", "ArtifactPortfolio.project")
def project_of_collection(found: Collection, info):
    return shown(found.project)


@field("Query.models")
def models(_, info, entityName=None, after=None, first=None, order=None):
    owner = info.context.state.entities.get(entityName or info.context.state.viewer.entity)
    if owner is None:
        raise RefusalError(f"entity {entityName} not found", 404)
    return connection(info.context, select(owner.projects.values(), None, order, _value), after, first)


@field("OrgEntity.projects")
def registries(owner, info, filters=None, after=None, first=None, order=None):
    found = [project for name, project in owner.projects.items() if name.startswith(REGISTRY)]
    return connection(info.context, select(found, filters, order, _value), after, first)


def _in_registries(owner, project_filters):
    found = [project for name, project in owner.projects.items() if name.startswith(REGISTRY)]
    return [
        collection
        for registry in select(found, project_filters, None, _value)
        for collection in registry.collections.values()
    ]


@field("OrgEntity.artifactCollections")
def registry_collections(
    owner, info, projectFilters=None, filters=None, collectionTypes=None, after=None, first=None, order=None
):
    found = [one for one in _in_registries(owner, projectFilters) if one.kind in (collectionTypes or [one.kind])]
    return connection(info.context, select(found, filters, order, _value), after, first)


@field("OrgEntity.artifactMemberships")
def registry_memberships(
    owner, info, projectFilters=None, collectionFilters=None, filters=None, after=None, first=None, order=None
):
    collections = select(_in_registries(owner, projectFilters), collectionFilters, None, _value)
    members = [member for collection in collections for member in collection.members.values()]
    return connection(info.context, select(members, filters, order, _member_value), after, first)


@field("Query.artifact")
def artifact(_, info, id):
    return info.context.state.node(id, Artifact)


@field("Query.artifactCollection")
def collection_by_id(_, info, id):
    return info.context.state.node(id, Collection)


@field("Query.clientIDMapping")
def client_id_mapping(_, info, clientID):
    found = info.context.state.client_ids.get(clientID)
    return {"clientID": clientID, "serverID": found} if found else None


@field("Project.run", "Project.bucket")
def run(found, info, name, missingOk=None):
    return found.runs.get(name)


@field("Project.runs")
def runs(found, info, filters=None, after=None, first=None, order=None):
    return connection(info.context, select(found.runs.values(), filters, order, _value), after, first)


@field("Project.runCount")
def run_count(found, info, filters=None):
    return len(select(found.runs.values(), filters, None, _value))


@field("Run.projectId")
def project_id(found, info):
    return 1


@field("Run.wandbConfig")
def wandb_config(found, info, keys=None):
    return "{}"


@field("Run.historyTail", "Run.eventsTail")
def tail(found, info):
    return "[]"


@field("Run.user", "Project.user")
def user(found, info):
    return info.context.state.viewer


@field("Run.inputArtifacts")
def input_artifacts(found: Run, info, after=None, first=None):
    return connection(
        info.context, list(found.inputs.values()), after, first,
        lambda used: {"node": used[0], "usedAs": used[1]},
    )  # fmt: skip


@field("Run.outputArtifacts")
def output_artifacts(found: Run, info, after=None, first=None):
    return connection(info.context, list(found.outputs.values()), after, first)


@field("Project.artifactTypes")
def artifact_types(found, info, after=None, first=None, includeAll=None):
    return connection(info.context, list(found.types.values()), after, first)


@field("Project.artifactType")
def artifact_type(found, info, name):
    return found.types.get(name)


@field("Project.artifactCollection")
def collection(found, info, name):
    return found.collections.get(name)


@field("ArtifactType.artifactCollection")
def collection_of_type(found, info, name):
    one = found.project.collections.get(name)
    return one if one is not None and one.type is found else None


@field("Project.artifactCollections", "ArtifactType.artifactCollections")
def collections(found, info, after=None, first=None, filters=None, order=None, collectionTypes=None):
    of_type = None if hasattr(found, "collections") else found
    every = (of_type.project if of_type else found).collections.values()
    chosen = [one for one in every if of_type in (None, one.type) and one.kind in (collectionTypes or [one.kind])]
    return connection(info.context, select(chosen, filters, order, _value), after, first)


@field("Project.artifactCollectionMembership")
def membership_by_name(found, info, name):
    return info.context.state.find_in_project(found, name)


@field("Project.artifact")
def artifact_by_name(found, info, name):
    member = info.context.state.find_in_project(found, name)
    return member.artifact if member else None


@field("ArtifactType.artifact")
def artifact_of_type(found, info, name):
    member = info.context.state.find_in_project(found.project, name)
    return member.artifact if member and member.collection.type is found else None


COLLECTION = ("ArtifactSequence", "ArtifactPortfolio")


def _of_collections(name):
    return field(*(f"{kind}.{name}" for kind in COLLECTION))


@_of_collections("artifactMembership")
def membership(found, info, aliasName):
    return info.context.state.find_member(found, aliasName)


@_of_collections("artifactMemberships")
def memberships(found, info, after=None, first=None):
    return connection(info.context, list(found.members.values()), after, first)


@_of_collections("aliases")
def collection_aliases(found, info, after=None, first=None):
    return connection(info.context, list(found.aliases.values()), after, first)


@_of_collections("tags")
def collection_tags(found, info, first=None, after=None, **_):
    return connection(info.context, list(found.tags.values()), after, first)


@_of_collections("artifacts")
def versions(found, info, after=None, first=None, order=None, filters=None):
    """Answer the versions, newest first unless another order is asked for (inferred)."""
    members = select(found.members.values(), filters, order or "-version_index", _member_value)
    return connection(
        info.context, members, after, first,
        lambda member: {"node": member.artifact, "version": f"v{member.version_index}"},
    )  # fmt: skip


@field("ArtifactSequence.latestArtifact")
def latest_artifact(found, info):
    return info.context.state.latest(found)


@field("Artifact.versionIndex")
def version_index(found: Artifact, info, artifactCollectionName=None):
    name = artifactCollectionName or found.sequence.name
    return next((one.version_index for one in found.memberships if one.collection.name == name), None)


@field("Artifact.commitHash")
def commit_hash(found: Artifact, info, artifactCollectionName=None):
    return found.commit_hash_text or None


@field("Artifact.aliases")
def artifact_aliases(found: Artifact, info, artifactCollectionName=None):
    return [
        alias
        for member in found.memberships
        if artifactCollectionName in (None, member.collection.name)
        for alias in member.aliases
    ]


@field("Artifact.tags")
def artifact_tags(found: Artifact, info):
    return list(found.tags.values())


@field("Artifact.ttlDurationSeconds")
def ttl_duration_seconds(found: Artifact, info):
    inherited = found.sequence.project.default_ttl
    return found.ttl if found.ttl is not None else inherited if inherited is not None else -2


@field("Artifact.ttlIsInherited")
def ttl_is_inherited(found: Artifact, info):
    return found.ttl is None


@field("Artifact.artifactType")
def type_of_artifact(found: Artifact, info):
    return found.sequence.type


@field("Artifact.artifactSequence")
def sequence_of_artifact(found: Artifact, info):
    return found.sequence


@field("Artifact.createdBy")
def created_by(found: Artifact, info):
    return found.run or info.context.state.viewer


@field("Artifact.usedBy")
def used_by(found: Artifact, info, after=None, first=None, filters=None, order=None):
    return connection(info.context, list(found.used_by.values()), after, first)


@field("Artifact.usedCount")
def used_count(found: Artifact, info):
    return len(found.used_by)


@field("Artifact.artifactMemberships")
def artifact_memberships(found: Artifact, info):
    return connection(info.context, [one for one in found.memberships if shown(one.collection.project)])


@field("Artifact.artifactCollections")
def artifact_collections(found: Artifact, info):
    return connection(info.context, [member.collection for member in found.memberships])


def _value(item, name):
    """Return a field of a project, run or collection, for filters and orders."""
    match name:
        case "tag" | "tags":
            return list(getattr(item, "tags", ()))
        case "alias" | "aliases":
            return list(getattr(item, "aliases", ()))
        case "type":
            return item.type.name
        case "id":
            return item.id
        case _ if hasattr(item, name):
            return getattr(item, name)
    raise RefusalError(f"unknown field {name!r} in a filter or order")


def _member_value(member, name):
    """Return a field of a version, or of its place in a collection."""
    match name:
        case "version_index" | "id":
            return getattr(member, name)
        case "alias" | "aliases":
            return [alias.alias for alias in member.aliases]
        case "tag" | "tags":
            return list(member.artifact.tags)
    return _value(member.artifact, name)
