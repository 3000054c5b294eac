"""The questions that a W&B server is asked, and the changes that it is asked for. A test checks each against the schema."""

from __future__ import annotations

from artfs.wandb.operation import Operation

_PAGE = "pageInfo { endCursor hasNextPage }"

_COLLECTION = """
fragment CollectionFields on ArtifactCollection {
  __typename id name description state createdAt updatedAt defaultArtifactType { name } project { name entity { name } }
}
"""

# What a directory listing needs of a version.
_LISTED = """
fragment ListedFields on ArtifactCollectionMembership {
  versionIndex createdAt aliases { alias } artifact { id state createdAt }
}
"""

_ARTIFACT = """
fragment ArtifactFields on Artifact {
  id state digest commitHash description metadata size fileCount createdAt updatedAt ttlDurationSeconds ttlIsInherited versionIndex
  tags { name } artifactType { name } artifactSequence { id name project { name entity { name } } }
  currentManifest { id digest file { sizeBytes } }
}
"""

_MEMBERSHIP = """
fragment MembershipFields on ArtifactCollectionMembership {
  versionIndex createdAt aliases { alias }
  artifactCollection { __typename id name project { name entity { name } } }
  artifact { ...ArtifactFields }
}
"""

_RUN = """
fragment RunFields on Run {
  id name displayName state jobType createdAt heartbeatAt config commit project { name entity { name } }
}
"""

# Who and what there is ----------------------------------------------------------------------------------------------

VIEWER = Operation(
    "Viewer",
    "query Viewer { viewer { id entity username teams { edges { node { name } } } organizations { name orgEntity { name } } } }",
)
FEATURES = Operation("ServerFeatures", "query ServerFeatures { serverInfo { features { name isEnabled } } }")
ORGANIZATIONS = Operation(
    "Organizations",
    "query Organizations($entity: String!) { entity(name: $entity) {"
    " organization { name orgEntity { name } } user { organizations { name orgEntity { name } } } } }",
)
ENTITY = Operation("Entity", "query Entity($entity: String) { entity(name: $entity) { id name } }")
PROJECT = Operation(
    "Project",
    "query Project($entity: String, $project: String) { project(name: $project, entityName: $entity) { id name entity { name } } }",
)
PROJECTS = Operation(
    "Projects",
    "query Projects($entity: String, $cursor: String, $perPage: Int) {"
    f" models(entityName: $entity, after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ name }} }} }} }}",
)
COLLECTIONS = Operation(
    "Collections",
    "query Collections($entity: String, $project: String, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) {"
    f" artifactCollections(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ ...CollectionFields }} }} }} }} }}"
    + _COLLECTION,
)
COLLECTION = Operation(
    "Collection",
    "query Collection($entity: String, $project: String, $collection: String!) {"
    " project(name: $project, entityName: $entity) { artifactCollection(name: $collection) { ...CollectionFields } } }"
    + _COLLECTION,
)

# Versions -------------------------------------------------------------------------------------------------------------

LISTING = Operation(
    "Listing",
    "query Listing($entity: String, $project: String, $collection: String!, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) { artifactCollection(name: $collection) {"
    " ...CollectionFields"
    f" artifactMemberships(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ ...ListedFields }} }} }} }} }} }}"
    + _COLLECTION
    + _LISTED,
)
FIND = Operation(
    "Find",
    "query Find($entity: String, $project: String, $collection: String!, $name: String!) {"
    " project(name: $project, entityName: $entity) { artifactCollection(name: $collection) {"
    " __typename artifactMembership(aliasName: $name) { ...ListedFields } } } }" + _LISTED,
)
VERSION = Operation(
    "Version",
    "query Version($entity: String, $project: String, $collection: String!, $name: String!) {"
    " project(name: $project, entityName: $entity) { artifactCollection(name: $collection) {"
    " __typename ... on ArtifactSequence { latestArtifact { versionIndex } }"
    " artifactMembership(aliasName: $name) { ...MembershipFields } } } }" + _MEMBERSHIP + _ARTIFACT,
)
VERSIONS = Operation(
    "Versions",
    "query Versions($entity: String, $project: String, $collection: String!, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) { artifactCollection(name: $collection) {"
    " __typename"
    f" artifactMemberships(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ ...MembershipFields }} }} }} }} }} }}"
    + _MEMBERSHIP
    + _ARTIFACT,
)
MEMBERSHIPS = Operation(
    "Memberships",
    "query Memberships($id: ID!) { artifact(id: $id) {"
    " id state artifactMemberships { edges { node { ...MembershipFields } } } } }" + _MEMBERSHIP + _ARTIFACT,
)

# Where an artifact is, a version or not yet one, and who makes it.
PLACE = Operation(
    "Place",
    "query Place($id: ID!) { artifact(id: $id) {"
    " id state createdBy { __typename } artifactSequence { name project { name entity { name } } } } }",
)

# Lineage --------------------------------------------------------------------------------------------------------------

LOGGED_BY = Operation(
    "LoggedBy",
    "query LoggedBy($id: ID!) { artifact(id: $id) { createdBy { __typename ... on Run { ...RunFields } } } }" + _RUN,
)
USED_BY = Operation(
    "UsedBy",
    "query UsedBy($id: ID!, $cursor: String, $perPage: Int) { artifact(id: $id) {"
    f" usedBy(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ ...RunFields }} }} }} }} }}" + _RUN,
)
RUN = Operation(
    "Run",
    "query Run($entity: String, $project: String, $run: String!) {"
    " project(name: $project, entityName: $entity) { run(name: $run) { ...RunFields } } }" + _RUN,
)
RUNS = Operation(
    "Runs",
    "query Runs($entity: String, $project: String, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) {"
    f' runs(after: $cursor, first: $perPage, order: "+created_at") {{ {_PAGE} edges {{ node {{ ...RunFields }} }} }} }} }}'
    + _RUN,
)
OUTPUTS = Operation(
    "Outputs",
    "query Outputs($entity: String, $project: String, $run: String!, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) { run(name: $run) {"
    f" id outputArtifacts(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ id state }} }} }} }} }} }}",
)
INPUTS = Operation(
    "Inputs",
    "query Inputs($entity: String, $project: String, $run: String!, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) { run(name: $run) {"
    f" id inputArtifacts(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ id state }} }} }} }} }} }}",
)

# Changes --------------------------------------------------------------------------------------------------------------

UPDATE = Operation(
    "UpdateArtifact",
    "mutation UpdateArtifact($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact { id } } }",
)
ADD_ALIASES = Operation(
    "AddAliases", "mutation AddAliases($input: AddAliasesInput!) { addAliases(input: $input) { success } }"
)
DELETE_ALIASES = Operation(
    "DeleteAliases", "mutation DeleteAliases($input: DeleteAliasesInput!) { deleteAliases(input: $input) { success } }"
)
DELETE = Operation(
    "DeleteArtifact",
    "mutation DeleteArtifact($input: DeleteArtifactInput!) { deleteArtifact(input: $input) { artifact { id } } }",
)
LINK = Operation(
    "LinkArtifact", "mutation LinkArtifact($input: LinkArtifactInput!) { linkArtifact(input: $input) { versionIndex } }"
)
UNLINK = Operation(
    "UnlinkArtifact",
    "mutation UnlinkArtifact($input: UnlinkArtifactInput!) { unlinkArtifact(input: $input) { success } }",
)
UPDATE_SEQUENCE = Operation(
    "UpdateSequence",
    "mutation UpdateSequence($input: UpdateArtifactSequenceInput!) {"
    " updateArtifactSequence(input: $input) { artifactCollection { id } } }",
)
UPDATE_PORTFOLIO = Operation(
    "UpdatePortfolio",
    "mutation UpdatePortfolio($input: UpdateArtifactPortfolioInput!) {"
    " updateArtifactPortfolio(input: $input) { artifactCollection { id } } }",
)
CREATE_PROJECT = Operation(
    "CreateProject",
    "mutation CreateProject($input: UpsertModelInput!) { upsertModel(input: $input) { project { id } } }",
)
UPSERT_RUN = Operation(
    "UpsertRun",
    "mutation UpsertRun($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted bucket { ...RunFields } } }"
    + _RUN,
)
USE = Operation(
    "UseArtifact", "mutation UseArtifact($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }"
)
