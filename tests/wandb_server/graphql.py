"""GraphQL: the schema, and the execution of one operation against it.

An operation that does not validate is refused with 400, as are errors of its execution: the SDK repeats other statuses
for minutes. A feature that is switched off takes its fields out of the schema, as on a server that is older.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graphql
from graphql.execution import execute_sync

from tests.wandb_server.models import Artifact, Collection, RefusalError, Run
from tests.wandb_server.resolvers import RESOLVERS, Context, change, read, snake, write  # noqa: F401 - they register themselves

HERE = Path(__file__).parent
FILES = ("schema.graphql", "schema_additions.graphql")
ALIASED_INPUTS = ("CreateArtifactCollectionTagAssignmentsInput", "DeleteArtifactCollectionTagAssignmentsInput")

FEATURES = {  # what the SDK asks for, and the fields that a server without it does not have
    "LARGE_FILENAMES": (),
    "ARTIFACT_TAGS": (),
    "CLIENT_IDS": (),
    "ARTIFACT_REGISTRY_SEARCH": (),
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES": ("ArtifactCollectionMembership.files",),
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER": (),
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION": (
        "UseArtifactInput.artifactEntityName",
        "UseArtifactInput.artifactProjectName",
    ),
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP": ("Project.artifactCollectionMembership",),
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE": ("LinkArtifactPayload.artifactMembership",),
    "TOTAL_COUNT_IN_FILE_CONNECTION": ("FileConnection.totalCount",),
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING": (),
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID": (),
    "ARTIFACT_DIGEST_ALGORITHM": ("Artifact.digestAlgorithm", "ArtifactSequence.digestAlgorithm"),
    "MARK_RUN_FILES_UPLOADED": ("Mutation.markRunFilesUploaded",),
}


@dataclass(frozen=True)
class Operation:
    """What a request asks for; ``error`` says why it is refused."""

    name: str
    variables: dict[str, Any]
    document: graphql.DocumentNode | None = None
    error: str = ""


@functools.cache
def build(missing: frozenset[str] = frozenset()) -> graphql.GraphQLSchema:
    """Return the schema without these fields, with its resolvers."""
    text = "\n".join((HERE / name).read_text() for name in FILES)
    tags = text[text.index("input CollectionTagsInput") :].splitlines()[0]
    for name in ALIASED_INPUTS:
        text += "\n" + tags.replace("CollectionTagsInput", name)
    schema = graphql.build_schema(text, no_location=True)
    for place in missing:
        type_name, _, field_name = place.partition(".")
        del schema.type_map[type_name].fields[field_name]
    for type_name, field_name in RESOLVERS:
        if f"{type_name}.{field_name}" not in missing:
            schema.type_map[type_name].fields[field_name].resolve = RESOLVERS[type_name, field_name]
    # the SDK sends these names of input types; schema.graphql has one for both
    fields = schema.mutation_type.fields
    fields["createArtifactCollectionTagAssignments"].args["input"].type = _required(schema, ALIASED_INPUTS[0])
    fields["deleteArtifactCollectionTagAssignments"].args["input"].type = _required(schema, ALIASED_INPUTS[1])
    for name, found in schema.type_map.items():
        if isinstance(found, graphql.GraphQLInterfaceType | graphql.GraphQLUnionType):
            found.resolve_type = _type_of
        if isinstance(found, graphql.GraphQLObjectType) and not name.startswith("__"):
            for field_name, one in found.fields.items():
                one.resolve = one.resolve or _attribute(field_name)
    return schema


def _required(schema, name):
    return graphql.GraphQLNonNull(schema.type_map[name])


def _type_of(value, *_):
    match value:
        case Collection():
            return "ArtifactSequence" if value.kind == "SEQUENCE" else "ArtifactPortfolio"
        case Artifact() | Run():
            return type(value).__name__
    return "User"


def _attribute(name: str) -> Callable[..., Any]:
    """Return the resolver of a field that is an attribute or a key."""
    attribute = snake(name)

    def resolve(source, info, **_):
        return source.get(name) if isinstance(source, dict) else getattr(source, attribute, None)

    return resolve


@functools.lru_cache(4096)
def _parsed(text: str, schema: graphql.GraphQLSchema) -> tuple[graphql.DocumentNode | None, str, str]:
    """Return the document, the name of its operation, and why it is not valid."""
    try:
        document = graphql.parse(text)
    except graphql.GraphQLError as error:
        return None, "", str(error)
    operations = [one for one in document.definitions if isinstance(one, graphql.OperationDefinitionNode)]
    name = operations[0].name.value if operations and operations[0].name else ""
    errors = graphql.validate(schema, document)
    return document, name, "; ".join(error.message for error in errors)


def read_operation(body: Any, features: dict[str, bool]) -> Operation:
    """Return what the JSON of a request asks for. Its name is that in the text, as clients do not always send it."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return Operation("", {}, error="no query")
    variables = body.get("variables") or {}
    if isinstance(variables, str) or not isinstance(variables, dict):
        return Operation("", {}, error="variables are not an object")
    document, name, error = _parsed(body["query"], schema_for(features))
    return Operation(name, variables, document, error)


def schema_for(features: dict[str, bool]) -> graphql.GraphQLSchema:
    """Return the schema of a server that has these features."""
    return build(frozenset(place for name, on in features.items() if not on for place in FEATURES.get(name, ())))


def execute(operation: Operation, context: Context) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the answer."""
    if operation.error or operation.document is None:
        return 400, {"errors": [{"message": operation.error}]}
    with context.state.lock:
        result = execute_sync(
            schema_for(context.features), operation.document,
            context_value=context, variable_values=operation.variables,
        )  # fmt: skip
    if not result.errors:
        return 200, {"data": result.data}
    status = 400
    errors = []
    for error in result.errors:
        cause = error.original_error
        if isinstance(cause, RefusalError):
            status = cause.status
        elif error.path is None:
            context.invalid = True
        else:
            context.bugs.append(cause or error)
        errors.append({"message": error.message, "path": error.path})
    return status, {"data": None, "errors": errors}
