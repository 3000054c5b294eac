"""The tables of a registry: the one reference of its schema.

Times are UTC, as text in ISO 8601 with microseconds, so that they sort and mean the same on every backend. Names are unique where a
directory could hold only one. Rows of versions are never removed once they were published: an index is never used again, and where a
link was removed from a portfolio, `links_made` remembers that.
Every change of this file needs a step in `artfs.registry.sql.migrations`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import TEXT

metadata = MetaData()

# Sorted by code points, as in SQLite, whatever the language of the server.
_Name = Text().with_variant(TEXT(collation="C"), "postgresql")

# One row: what this registry is.
about = Table(
    "about",
    metadata,
    Column("only", Integer, primary_key=True),  # always 1
    Column("registry_id", Text, nullable=False),  # a uuid, given once
    Column("schema_version", Integer, nullable=False),  # the number of the last migration that ran
)

entities = Table(
    "entities",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("created_at", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entity_id", ForeignKey("entities.id"), nullable=False),
    Column("name", _Name, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("entity_id", "name"),
)

# A sequence is where versions are logged; a portfolio links versions of sequences.
collections = Table(
    "collections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", _Name, nullable=False),
    Column("kind", Text, nullable=False),  # 'sequence' or 'portfolio'
    Column("type", Text),  # of its artifacts; NULL while no version was ever reserved but those abandoned
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),  # of its description, or of anything that its directory shows
    Column("description", Text),
    Column("links_made", Integer, nullable=False, server_default="0"),  # the next index of a portfolio, never smaller
    UniqueConstraint("project_id", "name"),
)

# Manifest files, which lie in the store as blobs.
manifests = Table(
    "manifests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),  # base64 of the MD5 of the file
    Column("size", BigInteger, nullable=False),  # bytes
)

# Content that was logged. PENDING rows belong to a commit under way and are shown to nobody.
versions = Table(
    "versions",
    metadata,
    Column("id", Text, primary_key=True),  # a uuid in hex
    Column("client_id", Text, nullable=False, unique=True),  # the commit that made it: the same id is the same version
    Column("state", Text, nullable=False),  # PENDING, COMMITTED or DELETED
    Column("digest", Text, nullable=False),  # the digest of the content, hex
    Column("algorithm", Text, nullable=False),  # MD5 or XXH128
    Column("manifest_id", ForeignKey("manifests.id")),  # NULL while PENDING
    Column("commit_hash", Text, nullable=False),  # random
    Column("size", BigInteger, nullable=False),  # bytes of all entries
    Column("file_count", BigInteger, nullable=False),
    Column("description", Text),
    Column("metadata", Text, nullable=False),  # a JSON object
    Column("created_at", Text, nullable=False),  # when it was published; never changes then
    Column("updated_at", Text, nullable=False),
    Column("ttl_seconds", BigInteger),  # NULL: it is kept
    Column("sweeps_seen", BigInteger, nullable=False, server_default="0"),  # while PENDING: see artfs.registry.sweeps
)

# Commits that found their content published by another one meanwhile: what they return whenever they are repeated.
repeats = Table(
    "repeats",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("membership_id", ForeignKey("memberships.id"), nullable=False),
)

# The index that a version has in a collection: one where it was logged, one in each portfolio that links it. The rows of links are
# removed with the link.
memberships = Table(
    "memberships",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("collection_id", ForeignKey("collections.id"), nullable=False),
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("version_index", Integer, nullable=False),  # 3 of v3
    Column("is_source", Integer, nullable=False),  # 1 in the sequence where it was logged
    UniqueConstraint("collection_id", "version_index"),
    UniqueConstraint("collection_id", "version_id"),
)

# Movable names, each of one collection.
aliases = Table(
    "aliases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("collection_id", ForeignKey("collections.id"), nullable=False),
    Column("name", _Name, nullable=False),
    Column("membership_id", ForeignKey("memberships.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("collection_id", "name"),
)

tags = Table(
    "tags",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("name", _Name, primary_key=True),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("run_id", _Name, nullable=False),  # the name in references: entity/project/run_id
    Column("name", _Name, nullable=False),
    Column("job_type", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column(
        "state", Text, nullable=False, server_default="finished"
    ),  # a RunState; the default is of runs before schema 3
    Column("config", Text, nullable=False, server_default="{}"),  # a JSON object
    Column("metadata", Text, nullable=False, server_default="{}"),  # a JSON object
    Column("exit_code", BigInteger),  # NULL while it is not known
    Column("finished_at", Text),  # NULL while it is not known
    UniqueConstraint("project_id", "run_id"),
)

# Which run logged a version: at most one.
logged = Table(
    "logged",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("run", ForeignKey("runs.id"), nullable=False, index=True),
)

# Which runs used a version.
used = Table(
    "used",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("run", ForeignKey("runs.id"), primary_key=True, index=True),
    Column("used_at", Text, nullable=False),
)

# Removals from the store, in the order in which they were begun. The last row stays, so that no number is used again.
sweeps = Table(
    "sweeps",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),  # who removes
    Column("is_over", Integer, nullable=False),  # 1: nothing more is removed
)

# What they remove, as long as a commit under way may have to know.
condemned = Table(
    "condemned",
    metadata,
    Column("sweep", ForeignKey("sweeps.number", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),  # algorithm/hex digits
)

# At most one row: who collects garbage.
collector = Table(
    "collector",
    metadata,
    Column("only", Integer, primary_key=True),  # always 1
    Column("owner", Text, nullable=False),
    Column("beats", BigInteger, nullable=False),  # grows while it is at work
)

Index("versions_by_digest", versions.c.digest)
