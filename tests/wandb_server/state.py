"""All that the server holds, and the rules by which versions, aliases, links and deletions change it.

Used by the resolvers and by the helpers for tests alike, so that both make the same state. Every call is made under ``lock``.
"""

import hashlib
import re
import threading
from collections.abc import Iterable

from tests.wandb_server.blobs import Bucket
from tests.wandb_server.models import (
    Alias,
    Artifact,
    ArtifactType,
    Collection,
    Entity,
    Membership,
    Node,
    Organization,
    Project,
    RefusalError,
    Run,
    Tag,
    User,
    number_of,
)

VERSION = re.compile(r"v(\d+)")
TYPE_NAME = re.compile(r"[-\w]+([ ]*[-.\w]+)*")
TAG_NAME = re.compile(r"[-\w]+( +[-\w]+)*")
REGISTRY = "wandb-registry-"


class State:
    """Entities by name, everything with an id by id, and which bytes an entity has.

    What is in a collection, and which aliases it has, changes its time (inferred); that of a version only its own values change.
    """

    def __init__(self, directory) -> None:
        self.lock = threading.RLock()
        self.nodes: dict[str, Node] = {}
        self.entities: dict[str, Entity] = {}
        self.organizations: dict[str, Organization] = {}
        self.client_ids: dict[str, str] = {}
        self.bucket = Bucket(directory)
        self.stored: dict[tuple[str, str], dict[str, str]] = {}  # (entity, digest) -> {birth artifact id: key}
        self.promised: dict[str, tuple[str, list[str], str]] = {}  # key -> entity, digests, birth artifact id
        self.dedup = "sequence"
        self.verify_multipart = True
        self.verify_digests = True
        self.viewer = self.add(User("me", "me"))
        self.add_entity("me", user=self.viewer)

    def add(self, node):
        self.nodes[node.id] = node
        return node

    def node(self, node_id: str | None, kind: type):
        """Return what has this id, or None."""
        found = self.nodes.get(node_id or "")
        return found if isinstance(found, kind) else None

    def must(self, node_id: str | None, kind: type):
        """Return what has this id, or refuse."""
        if (found := self.node(node_id, kind)) is None:
            raise RefusalError(f"{kind.__name__} {node_id} not found", 404)
        return found

    def add_entity(self, name: str, organization=None, user=None) -> Entity:
        if name not in self.entities:
            self.entities[name] = self.add(Entity(name, organization, user))
        return self.entities[name]

    def project(self, entity: str | None, name: str | None) -> Project | None:
        """Return a project, or None. Without an entity: of the viewer's (inferred)."""
        owner = self.entities.get(entity or self.viewer.entity)
        return owner.projects.get(name or "uncategorized") if owner else None

    def must_project(self, entity: str | None, name: str | None) -> Project:
        """Return a project that may be written to."""
        if (found := self.project(entity, name)) is None:
            raise RefusalError(f"project {entity}/{name} not found", 404)
        if found.read_only:
            raise RefusalError(f"permission denied: project {entity}/{name} is read-only", 403)
        return found

    def add_project(self, entity: str | None, name: str | None) -> tuple[Project, bool]:
        """Return a project, and whether it is new."""
        owner = self.entities.get(entity or self.viewer.entity)
        if owner is None:
            raise RefusalError(f"entity {entity} not found", 404)
        name = name or "uncategorized"
        if len(name) > 128 or re.search(r"[/\\#?%:\r\n]", name):
            raise RefusalError(f"invalid project name: {name!r}")
        if name in owner.projects:
            return owner.projects[name], False
        owner.projects[name] = self.add(Project(name, owner))
        return owner.projects[name], True

    def artifact_type(self, project: Project, name: str) -> ArtifactType:
        if len(name) > 128 or not TYPE_NAME.fullmatch(name):
            raise RefusalError(f"invalid artifact type name: {name!r}")
        if name not in project.types:
            project.types[name] = self.add(ArtifactType(name, project))
        return project.types[name]

    def collection(self, project: Project, name: str, type_name: str, kind: str) -> Collection:
        """Return a collection, made if it is new; refuse one of another type or kind."""
        found = project.collections.get(name)
        if found is None:
            if not name or len(name) > 128 or "/" in name:
                raise RefusalError(f"invalid artifact collection name: {name!r}")
            found = self.add(Collection(name, kind, self.artifact_type(project, type_name), project))
            project.collections[name] = found
        if found.kind != kind:
            raise RefusalError(f"collection {name!r} is a {found.kind}", 409)
        if found.type.name != type_name:
            raise RefusalError(f"collection {name!r} has type {found.type.name!r}, not {type_name!r}", 409)
        return found

    def remove_collection(self, collection: Collection) -> None:
        """Delete a collection; with a sequence, its versions everywhere."""
        for membership in list(collection.members.values()):
            if collection.kind == "SEQUENCE":
                self.delete(membership.artifact)
            else:
                self.unlink(membership)
        collection.state = "DELETED"
        collection.project.collections.pop(collection.name, None)

    def find_member(self, collection: Collection, name: str) -> Membership | None:
        """Return the member that an alias, version, commit hash or digest names."""
        if name in collection.aliases:
            return collection.aliases[name].membership
        if version := VERSION.fullmatch(name):
            return collection.members.get(int(version[1]))
        if name in collection.by_digest:
            return collection.by_digest[name]
        return next((member for member in collection.members.values() if name == member.commit_hash), None)

    def find_in_project(self, project: Project, name: str) -> Membership | None:
        """Return the member that "collection:alias" names. No alias: latest (inferred)."""
        collection, _, alias = name.rpartition(":")  # an alias has no colon, but an old collection may
        if name in project.collections:
            collection, alias = name, "latest"
        found = project.collections.get(collection)
        return self.find_member(found, alias) if found else None

    def latest(self, collection: Collection) -> Artifact | None:
        """Return what ``latest`` names, or else the version with the highest index."""
        if "latest" in collection.aliases:
            return collection.aliases["latest"].artifact
        return collection.members[max(collection.members)].artifact if collection.members else None

    def join(self, collection: Collection, artifact: Artifact) -> Membership:
        """Give an artifact the next index of a collection, or return the place it has."""
        if (found := collection.by_artifact.get(artifact.id)) is not None:
            return found
        member = self.add(Membership(collection, artifact, collection.next_index))
        collection.next_index += 1  # an index is never used again
        collection.members[member.version_index] = member
        collection.by_artifact[artifact.id] = member
        collection.by_digest[artifact.digest] = member
        artifact.memberships.append(member)
        collection.touch()
        return member

    def set_aliases(self, member: Membership, names: Iterable[str]) -> None:
        """Move aliases to a member."""
        names = list(names)
        protected = member.collection.project.protected_aliases.intersection(names)
        if protected and not self.viewer.admin:
            raise RefusalError(f"permission denied: protected aliases {sorted(protected)}", 403)
        for name in names:
            if not name or len(name) > 128 or "/" in name or ":" in name:
                raise RefusalError(f"invalid alias: {name!r}")
            if VERSION.fullmatch(name):
                if int(name[1:]) != member.version_index:  # the server owns these (inferred: that it refuses)
                    raise RefusalError(f"alias {name!r} is reserved for a version")
                continue
            old = member.collection.aliases.get(name)
            if old is None or old.membership is not member:
                if old is not None:
                    del old.membership.named[name]
                member.collection.aliases[name] = member.named[name] = self.add(Alias(name, member))
                member.collection.touch()

    def remove_aliases(self, member: Membership, names: Iterable[str]) -> None:
        for name in list(names):
            if name in member.collection.project.protected_aliases and not self.viewer.admin:
                raise RefusalError(f"permission denied: protected alias {name!r}", 403)
            alias = member.collection.aliases.get(name)
            if alias is None or alias.membership is not member:
                raise RefusalError(f"alias {name!r} is not one of this artifact")
            del member.collection.aliases[name], member.named[name]
            member.collection.touch()

    def set_tags(self, tags: dict[str, Tag], add=(), remove=()) -> list[Tag]:
        for name in add:
            if len(name) > 128 or not TAG_NAME.fullmatch(name):
                raise RefusalError(f"invalid tag: {name!r}")
            if name not in tags:
                tags[name] = self.add(Tag(name))
        for name in remove:
            tags.pop(name, None)
        return list(tags.values())

    def activate(self, artifact: Artifact) -> Membership:
        """Give a new version its index, its commit hash and the aliases it was made with."""
        artifact.commit_hash_text = hashlib.sha1(artifact.id.encode()).hexdigest()[:20]
        artifact.state = "COMMITTED"
        artifact.touch()
        member = self.join(artifact.sequence, artifact)
        self.set_aliases(member, artifact.wanted_aliases)
        if artifact.run is not None:
            artifact.run.outputs[artifact.id] = artifact
        return member

    def link(self, artifact: Artifact, project: Project, name: str, aliases: Iterable[str] = ()) -> Membership:
        """Put an artifact into a portfolio. ``latest`` moves to what is new there (inferred)."""
        if artifact.state != "COMMITTED":
            raise RefusalError("only a committed artifact can be linked")
        portfolio = self.collection(project, name, artifact.sequence.type.name, "PORTFOLIO")
        new = artifact.id not in portfolio.by_artifact
        member = self.join(portfolio, artifact)
        self.set_aliases(member, [*aliases, *(["latest"] if new else [])])
        return member

    def unlink(self, member: Membership) -> None:
        """Take an artifact out of a collection, with its aliases there."""
        collection = member.collection
        for name in member.named:
            del collection.aliases[name]
        member.named.clear()
        collection.members.pop(member.version_index, None)
        collection.by_artifact.pop(member.artifact.id, None)
        if collection.by_digest.get(member.artifact.digest) is member:
            del collection.by_digest[member.artifact.digest]
        if member in member.artifact.memberships:
            member.artifact.memberships.remove(member)
        collection.touch()

    def delete(self, artifact: Artifact) -> None:
        """Delete a version, and its links (inferred). The bytes stay for those that share them."""
        for member in list(artifact.memberships):
            self.unlink(member)
        artifact.state = "DELETED"
        artifact.touch()

    def add_run(self, project: Project, name: str) -> tuple[Run, bool]:
        if name in project.runs:
            return project.runs[name], False
        project.runs[name] = self.add(Run(name, project, display_name=name))
        return project.runs[name], True

    def key_of(self, birth: Artifact, digest_hex: str) -> str:
        """Return where the bytes are kept that ``birth`` brings."""
        return f"wandb_artifacts/{number_of(birth.sequence.id)}/{number_of(birth.id)}/{digest_hex}"

    def has(self, entity: str, digest: str, birth: str | None = None) -> str | None:
        """Return the key of bytes that an entity has, or None; with ``birth``, of those that this artifact brought."""
        keys = self.stored.get((entity, digest)) or {}
        return keys.get(birth) if birth else next(iter(keys.values()), None)

    def promise(self, key: str, entity: str, digests: list[str], birth: str) -> None:
        """Note what the bytes will be whose upload begins."""
        self.promised[key] = (entity, digests, birth)

    def arrived(self, key: str) -> None:
        """Note that the bytes of a key have come."""
        if (promise := self.promised.pop(key, None)) is not None:
            entity, digests, birth = promise
            for digest in digests:
                self.stored.setdefault((entity, digest), {})[birth] = key
