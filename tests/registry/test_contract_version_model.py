"""Two clients that change a version by turns do what a model of it does. Runs on every implementation."""

import itertools
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artfs.errors import ConflictError
from artfs.model.names import CollectionRef
from artfs.registry.port import VersionChange
from tests.registry.making import commit, make_portfolio

VALUES = st.sampled_from([None, "x", "y"])
TTLS = st.sampled_from([None, 1, 2])
METADATA = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0, 1, True, "s", None, [1]]), max_size=3)
ALIASES = st.lists(st.sampled_from(["p", "q", "latest"]), max_size=2).map(tuple)
TAGS = st.lists(st.sampled_from(["t", "u"]), max_size=2).map(tuple)


@dataclass
class Step:
    """A client looks at the version, or wants it to be something."""

    client: int
    looks: bool
    linked: bool
    description: object
    ttl_seconds: object
    metadata: object
    aliases: tuple
    gone_aliases: tuple
    tags: tuple
    gone_tags: tuple


STEPS = st.lists(
    st.builds(
        Step,
        client=st.integers(0, 1),
        looks=st.booleans(),
        linked=st.booleans(),
        description=st.one_of(st.just(...), VALUES),
        ttl_seconds=st.one_of(st.just(...), TTLS),
        metadata=st.one_of(st.just(...), METADATA),
        aliases=ALIASES,
        gone_aliases=ALIASES,
        tags=TAGS,
        gone_tags=TAGS,
    ),
    max_size=12,
)


@dataclass
class Model:
    """What a version says, and which aliases point at it in each collection."""

    description: object = None
    ttl_seconds: object = None
    metadata: dict = field(default_factory=dict)
    tags: frozenset = frozenset()
    aliases: dict = field(default_factory=lambda: {False: {"latest"}, True: {"latest"}})

    def looked_at(self):
        return self.description, self.ttl_seconds, dict(self.metadata)

    def apply(self, seen, step):
        """Do what a step wants; return whether it was a conflict."""
        description, ttl_seconds = self.description, self.ttl_seconds
        if step.description is not ...:
            if description not in (seen[0], step.description):
                return True
            description = step.description
        if step.ttl_seconds is not ...:
            if ttl_seconds not in (seen[1], step.ttl_seconds):
                return True
            ttl_seconds = step.ttl_seconds
        merged = dict(self.metadata)
        if step.metadata is not ...:
            for key in "abc":
                before, after, there = (json.dumps([values[key]] if key in values else []) for values in (
                    seen[2], step.metadata, self.metadata))  # fmt: skip
                if before == after:
                    continue
                if there not in (before, after):
                    return True
                merged.pop(key, None)
                if key in step.metadata:
                    merged[key] = step.metadata[key]
        self.description, self.ttl_seconds, self.metadata = description, ttl_seconds, merged
        self.tags = (self.tags - set(step.gone_tags)) | set(step.tags)
        self.aliases[step.linked] = (self.aliases[step.linked] - set(step.gone_aliases)) | set(step.aliases)
        return False


_numbers = itertools.count()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_two_clients_that_change_a_version_by_turns_do_what_the_model_does(two_clients, steps):
    number = next(_numbers)
    ref = {linked: CollectionRef("me", "demo", f"{'link' if linked else 'data'}-{number}") for linked in (False, True)}
    first = commit(two_clients[0], f"m{number}", collection=ref[False])
    make_portfolio(two_clients[0], ref[True], [first])
    model = Model()
    seen = [model.looked_at()] * 2
    for step in steps:
        client = two_clients[step.client]
        if step.looks:
            found = client.version(ref[step.linked].at("v0"))
            seen[step.client] = (found.description, found.ttl_seconds, dict(found.metadata))
        wanted = VersionChange(
            description=None if step.description is ... else (seen[step.client][0], step.description),
            ttl_seconds=None if step.ttl_seconds is ... else (seen[step.client][1], step.ttl_seconds),
            metadata=None if step.metadata is ... else (seen[step.client][2], step.metadata),
            add_aliases=step.aliases,
            remove_aliases=step.gone_aliases,
            add_tags=step.tags,
            remove_tags=step.gone_tags,
        )
        try:
            client.change_version(ref[step.linked].at("v0"), wanted)
            conflict = False
        except ConflictError:
            conflict = True
        assert conflict == model.apply(seen[step.client], step)
        for linked in (False, True):
            found = two_clients[1 - step.client].version(ref[linked].at("v0"))
            assert (found.description, found.ttl_seconds) == (model.description, model.ttl_seconds)
            assert json.dumps(found.metadata, sort_keys=True) == json.dumps(model.metadata, sort_keys=True)
            assert set(found.tags) == model.tags
            assert set(found.aliases) == model.aliases[linked]


@pytest.fixture
def two_clients(clients):
    return clients(), clients()
