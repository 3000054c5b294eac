"""What the server knows, as plain objects; their attributes are the fields of the GraphQL schema in snake case.

Fields that must be computed are in ``resolvers``. Everything here is guarded by ``State.lock``.
"""

from __future__ import annotations

import base64
import datetime
import itertools
from dataclasses import dataclass, field
from typing import Any

_numbers = itertools.count(1)


def new_id(kind: str) -> str:
    """Return an id as the real server's are: the base64 of a kind and a number."""
    return base64.b64encode(f"{kind}:{next(_numbers)}".encode()).decode()


def number_of(node_id: str) -> str:
    """Return the number in an id."""
    return base64.b64decode(node_id).decode().rpartition(":")[2]


class Clock:
    """The time of the servers, in whole seconds, as the real one writes it. ``hurries``: no two looks see the same."""

    def __init__(self) -> None:
        self.hurries = False
        self._looks = itertools.count(1)

    def now(self) -> str:
        time = datetime.datetime.now(datetime.UTC)
        if self.hurries:
            time += datetime.timedelta(seconds=next(self._looks))
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")


clock = Clock()


class RefusalError(Exception):
    """The server does not do what it was asked. 4xx, as the SDK repeats all others for minutes."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(eq=False, repr=False)
class Node:
    """The base: an id of the kind that the class names, and two times."""

    id: str = field(init=False)
    created_at: str = field(init=False)
    updated_at: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = new_id(type(self).__name__)
        self.created_at = self.updated_at = clock.now()

    def touch(self) -> None:
        self.updated_at = clock.now()

    def __repr__(self) -> str:
        return f"<{base64.b64decode(self.id).decode()} {getattr(self, 'name', '')}>"


@dataclass(eq=False, repr=False)
class Organization(Node):
    """Its registries are projects of the entity that bears ``entity_name``."""

    name: str
    entity_name: str


@dataclass(eq=False, repr=False)
class User(Node):
    """The one who holds the key."""

    username: str
    entity: str
    email: str = "me@example.com"
    admin: bool = False
    flags: str = "{}"
    teams: list[Entity] = field(default_factory=list)
    organizations: list[Organization] = field(default_factory=list)
    deleted_at: None = None

    @property
    def name(self) -> str:
        return self.username


@dataclass(eq=False, repr=False)
class Entity(Node):
    """A user's or a team's place, or that of an organization's registries."""

    name: str
    organization: Organization | None = None
    user: User | None = None
    xxhash_digests_enabled: bool = False
    projects: dict[str, Project] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Project(Node):
    name: str
    entity: Entity
    read_only: bool = False
    description: str = ""
    protected_aliases: set[str] = field(default_factory=set)
    default_ttl: int | None = None
    is_benchmark: bool = False
    hidden: bool = False  # who asks may not see it: versions of it are shown by portfolios elsewhere only
    access: str = "PRIVATE"
    allow_all_artifact_types_in_registry: bool = True
    types: dict[str, ArtifactType] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def entity_name(self) -> str:
        return self.entity.name

    @property
    def internal_id(self) -> str:
        return base64.b64encode(f"ProjectInternalId:{number_of(self.id)}".encode()).decode()


@dataclass(eq=False, repr=False)
class ArtifactType(Node):
    name: str
    project: Project
    description: str = ""


@dataclass(eq=False, repr=False)
class Run(Node):
    name: str
    project: Project
    display_name: str = ""
    description: str | None = None
    notes: str | None = None
    config: str = "{}"
    summary_metrics: str = "{}"
    state: str = "running"
    group: str | None = None
    job_type: str | None = None
    commit: str | None = None
    tags: list[str] = field(default_factory=list)
    inputs: dict[str, tuple[Artifact, list[str]]] = field(default_factory=dict)
    outputs: dict[str, Artifact] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # name -> key in the bucket
    streamed: list[Any] = field(default_factory=list)  # bodies of file_stream
    history_line_count: int = 0
    log_line_count: int = 0
    events_line_count: int = 0


@dataclass(eq=False, repr=False)
class Tag(Node):
    name: str


@dataclass(eq=False, repr=False)
class Collection(Node):
    """A sequence, where versions are logged, or a portfolio, where they are linked."""

    name: str
    kind: str  # SEQUENCE or PORTFOLIO
    type: ArtifactType
    project: Project
    description: str | None = None
    state: str = "READY"
    digest_algorithm: str = "MANIFEST_MD5"
    tags: dict[str, Tag] = field(default_factory=dict)
    members: dict[int, Membership] = field(default_factory=dict)  # by version index; what is deleted leaves a gap
    by_artifact: dict[str, Membership] = field(default_factory=dict)
    by_digest: dict[str, Membership] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    next_index: int = 0

    @property
    def default_artifact_type(self) -> ArtifactType:
        return self.type


@dataclass(eq=False, repr=False)
class Membership(Node):
    collection: Collection
    artifact: Artifact
    version_index: int
    named: dict[str, Alias] = field(default_factory=dict)

    @property
    def artifact_collection(self) -> Collection:
        return self.collection

    @property
    def commit_hash(self) -> str:
        return self.artifact.commit_hash_text

    @property
    def aliases(self) -> list[Alias]:
        return list(self.named.values())


@dataclass(eq=False, repr=False)
class Alias(Node):
    alias: str
    membership: Membership

    @property
    def artifact(self) -> Artifact:
        return self.membership.artifact

    @property
    def artifact_collection(self) -> Collection:
        return self.membership.collection

    @property
    def artifact_collection_name(self) -> str:
        return self.membership.collection.name


@dataclass(eq=False, repr=False)
class Artifact(Node):
    sequence: Collection
    digest: str
    digest_algorithm: str = "MANIFEST_MD5"
    state: str = "PENDING"
    description: str | None = None
    metadata: str | None = None
    history_step: int | None = None
    client_id: str | None = None
    distributed_id: str | None = None
    storage_region: str | None = None
    ttl: int | None = None  # None: inherited; -2: disabled
    tags: dict[str, Tag] = field(default_factory=dict)
    wanted_aliases: list[str] = field(default_factory=list)  # given when it is committed
    run: Run | None = None
    manifests: list[Manifest] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)  # when it is committed
    layout: str = "V2"
    size: int = 0
    storage_bytes: int = 0
    commit_hash_text: str = ""
    current_manifest: Manifest | None = None
    used_by: dict[str, Run] = field(default_factory=dict)
    memberships: list[Membership] = field(default_factory=list)

    @property
    def file_count(self) -> int:
        return len(self.entries)

    @property
    def entity(self) -> str:
        return self.sequence.project.entity.name


@dataclass(eq=False, slots=True)
class Entry:
    """One path of a manifest."""

    path: str
    digest: str
    size: int
    ref: str | None = None
    birth: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def algorithm(self) -> str:
        return "XXH128" if self.extra.get("alg") == "XXH128" else "MD5"


@dataclass(eq=False, repr=False)
class Manifest(Node):
    artifact: Artifact
    file_name: str
    digest: str
    type: str  # FULL, INCREMENTAL or PATCH
    base_id: str | None = None

    @property
    def key(self) -> str:
        """Return where it is in the bucket."""
        return f"wandb_manifests/{number_of(self.artifact.id)}/{number_of(self.id)}/{self.file_name}"
