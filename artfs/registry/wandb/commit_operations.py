"""The changes that a W&B server is asked for when a version is made; see `artfs.registry.wandb.operations`."""

from __future__ import annotations

from artfs.wandb.operation import Operation

_MADE = "id state versionIndex"

CLIENT_ID = Operation(
    "ClientIDMapping",
    "query ClientIDMapping($clientID: ID!) { clientIDMapping(clientID: $clientID) { serverID } }",
)
COLLECTION = Operation(
    "CollectionById",
    "query CollectionById($id: ID!) { artifactCollection(id: $id) { name project { name entity { name } } } }",
)
MADE = Operation("Made", f"query Made($id: ID!) {{ artifact(id: $id) {{ {_MADE} }} }}")
CREATE = Operation(
    "CreateArtifact",
    "mutation CreateArtifact($input: CreateArtifactInput!) {"
    f" createArtifact(input: $input) {{ artifact {{ {_MADE} }} }} }}",
)
COMMIT = Operation(
    "CommitArtifact",
    "mutation CommitArtifact($input: CommitArtifactInput!) { commitArtifact(input: $input) { artifact { id } } }",
)
