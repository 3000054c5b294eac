"""Any sequence of calls gives the same answers and errors from a real implementation as from the fake: neither promises more."""

import contextlib
import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from artfs.errors import ArtfsError, NotFoundError, VersionDeletedError
from artfs.model.names import CollectionRef
from artfs.model.run import RunChange, RunProgress, RunState
from artfs.registry.port import CollectionInfo, CollectionListing, Reservation, Version, VersionChange
from tests.registry.implementations import IMPLEMENTATIONS
from tests.registry.making import manifest, new, run

NEVER = datetime(1970, 1, 1, tzinfo=UTC)

entities = st.sampled_from(["me", "you"])
projects = st.sampled_from(["p", "q"])
collections = st.sampled_from(
    [CollectionRef("me", "p", "a"), CollectionRef("me", "p", "b"), CollectionRef("you", "q", "a")]
)
clients = st.sampled_from(["c1", "c2", "c3", "c4"])
digests = st.sampled_from(["d1", "d2"])
kinds = st.sampled_from([None, None, "model", "dataset"])
names = st.sampled_from(["best", "good"])
alias_lists = st.lists(st.sampled_from(["best", "good", "latest"]), max_size=2)
places = st.sampled_from(["latest", "latest", "best", "good", "v0", "v1", "v2"])
refs = st.builds(CollectionRef.at, collections, places)
runs = st.sampled_from([run("r1", "p"), run("r2", "p", hour=-1), run("r1", "q")])
words = st.sampled_from([None, "x", "y"])
ttls = st.sampled_from([None, 1, 2])
metadata = st.sampled_from([{}, {"text": None}, {"text": "x"}, {"a": 1}, {"a": True, "text": "x"}])
tag_lists = st.lists(st.sampled_from(["t", "u"]), max_size=2)
changes = st.builds(
    VersionChange,
    description=st.one_of(st.none(), st.tuples(words, words)),
    metadata=st.one_of(st.none(), st.tuples(metadata, metadata)),
    ttl_seconds=st.one_of(st.none(), st.tuples(ttls, ttls)),
    add_aliases=alias_lists.map(tuple),
    remove_aliases=alias_lists.map(tuple),
    add_tags=tag_lists.map(tuple),
    remove_tags=tag_lists.map(tuple),
)
run_names = st.sampled_from(["run r1", "run r2", "x"])
configs = st.sampled_from([{}, {"a": 1}, {"a": True}, {"b": "x"}, {"a": 1, "b": None}])
run_changes = st.builds(
    RunChange,
    name=st.one_of(st.none(), st.tuples(run_names, run_names)),
    job_type=st.one_of(st.none(), st.tuples(st.just("train"), st.sampled_from(["train", "eval"]))),
    config=st.one_of(st.none(), st.tuples(configs, configs)),
    metadata=st.one_of(st.none(), configs),
    progress=st.one_of(
        st.none(), st.builds(RunProgress, state=st.sampled_from(RunState), exit_code=st.sampled_from([None, 0, 1]))
    ),
)


def comparable(answer):
    """Return an answer without what differs from registry to registry: ids, random hashes and times."""
    match answer:
        case Version():
            return replace(answer, id="", commit_hash="", created_at=NEVER, updated_at=NEVER)
        case Reservation():
            return replace(answer, id="")
        case CollectionInfo():
            return replace(answer, created_at=NEVER, updated_at=NEVER)
        case CollectionListing():
            versions = tuple(replace(info, id="", created_at=NEVER) for info in answer.versions)
            moved = tuple(replace(alias, updated_at=NEVER) for alias in answer.aliases)
            return replace(answer, created_at=NEVER, updated_at=NEVER, versions=versions, aliases=moved)
        case list() | tuple():
            return [comparable(item) for item in answer]
        case _:
            return answer


def outcome(registry, call):
    """Return what a call answers, or the class of the error that it raises."""
    try:
        return comparable(call(registry))
    except ArtfsError as error:
        return type(error)


class Compared(RuleBasedStateMachine):
    """Does everything twice: in the fake, and in a real registry. Here is what all of them do alike."""

    real = ""
    find_databases = None

    def __init__(self):
        super().__init__()
        self.implementations = contextlib.ExitStack()
        fake, other = (
            self.implementations.enter_context(IMPLEMENTATIONS[name](self.find_databases))
            for name in ("fake", self.real)
        )
        self.fake, self.other = (one.open("machine", "me") for one in (fake, other))
        for entity in other.entities:
            self.fake.create_entity(entity)

    def both(self, call):
        assert self.seen(outcome(self.other, call)) == self.seen(outcome(self.fake, call))

    @staticmethod
    def seen(found):
        """Return as much of an outcome as both have to tell alike."""
        return found

    @rule(ref=refs, aliases=alias_lists)
    def add_aliases(self, ref, aliases):
        self.both(lambda registry: registry.add_aliases(ref, aliases))

    @rule(collection=collections, old=places, name=names)
    def rename_alias(self, collection, old, name):
        self.both(lambda registry: registry.rename_alias(collection, old, name))

    @rule(collection=collections, alias=places)
    def remove_alias(self, collection, alias):
        self.both(lambda registry: registry.remove_alias(collection, alias))

    @rule(ref=refs, text=st.sampled_from([None, "x"]))
    def describe(self, ref, text):
        self.both(lambda registry: registry.set_description(ref, text))
        self.both(lambda registry: registry.set_metadata(ref, {"text": text}))

    @rule(ref=refs, delete_aliases=st.booleans())
    def delete(self, ref, delete_aliases):
        self.both(lambda registry: registry.delete_version(ref, delete_aliases=delete_aliases))

    @rule(ref=refs, change=changes)
    def change(self, ref, change):
        self.both(lambda registry: registry.change_version(ref, change))

    @rule(collection=collections, text=words)
    def describe_collection(self, collection, text):
        self.both(lambda registry: registry.set_collection_description(collection, text))

    @rule(ref=refs, portfolio=collections, aliases=alias_lists)
    def link(self, ref, portfolio, aliases):
        self.both(lambda registry: registry.link(registry.version(ref).id, portfolio, aliases))

    @rule(ref=refs)
    def unlink(self, ref):
        self.both(lambda registry: registry.unlink(ref))

    @rule(found=runs, change=run_changes)
    def change_run(self, found, change):
        self.both(lambda registry: registry.change_run(found.ref, change))

    @invariant()
    def both_show_the_same(self):
        self.both(lambda registry: registry.entities())
        for entity in self.fake.entities():
            self.both(lambda registry, entity=entity: registry.projects(entity))
            for project in self.fake.projects(entity):
                self.both(lambda registry, at=(entity, project): registry.collections(*at))
                self.both(lambda registry, at=(entity, project): registry.collection_infos(*at))
                self.both(lambda registry, at=(entity, project): registry.runs(*at))
                for found in self.fake.runs(entity, project):
                    self.both(lambda registry, run=found.ref: registry.logged(run))
                    self.both(lambda registry, run=found.ref: registry.used(run))
                for name in self.fake.collections(entity, project):
                    self.compare_collection(CollectionRef(entity, project, name))

    def compare_collection(self, collection):
        self.both(lambda registry: registry.listing(collection))
        self.both(lambda registry: registry.versions(collection))
        for version in self.fake.versions(collection):
            ref = collection.at(f"v{version.index}")
            self.both(lambda registry, ref=ref: registry.logged_by(registry.version(ref).id))
            self.both(lambda registry, ref=ref: registry.used_by(registry.version(ref).id))
            self.both(lambda registry, ref=ref: registry.links(registry.version(ref).id))

    def teardown(self):
        self.other.close()
        self.implementations.close()


class RegistryMachine(Compared):
    """What else a registry of artfs does: it makes and removes all places, and knows a reservation from a version."""

    @rule(entity=entities, project=projects, collection=collections, what=st.sampled_from("epc"))
    def create(self, entity, project, collection, what):
        self.both(
            lambda registry: (
                registry.create_entity(entity)
                if what == "e"
                else registry.create_project(entity, project)
                if what == "p"
                else registry.create_collection(collection)
            )
        )

    @rule(entity=entities, project=projects, collection=collections, what=st.sampled_from("epc"))
    def remove(self, entity, project, collection, what):
        self.both(
            lambda registry: (
                registry.remove_entity(entity)
                if what == "e"
                else registry.remove_project(entity, project)
                if what == "p"
                else registry.remove_collection(collection)
            )
        )

    @rule(client=clients, digest=digests, collection=collections, kind=kinds)
    def reserve(self, client, digest, collection, kind):
        self.both(lambda registry: registry.reserve(new(client, digest, collection, kind)))

    @rule(client=clients, aliases=alias_lists)
    def publish(self, client, aliases):
        self.both(lambda registry: registry.publish(client, manifest(client), aliases))

    @rule(client=clients)
    def abandon(self, client):
        self.both(lambda registry: registry.abandon(client))

    @rule(found=runs, ref=refs, logged=st.booleans())
    def record(self, found, ref, logged):
        self.both(lambda registry: registry.record_run(found))
        self.both(
            lambda registry: (registry.record_logged if logged else registry.record_use)(
                found, registry.version(ref).id
            )
        )


class ServerMachine(Compared):
    """What else a W&B server does: it has the entities already, dates nothing back, and begins no commit twice."""

    def __init__(self):
        super().__init__()
        self.commits = itertools.count()

    @staticmethod
    def seen(found):
        if isinstance(found, list):
            return [ServerMachine.seen(one) for one in found]
        if isinstance(found, CollectionInfo):
            return replace(found, version_count=None)
        return NotFoundError if found is VersionDeletedError else found

    @rule(project=projects, collection=collections, makes_collection=st.booleans())
    def create(self, project, collection, makes_collection):
        self.both(
            lambda registry: (
                registry.create_collection(collection) if makes_collection else registry.create_project("me", project)
            )
        )

    @rule(collection=collections)
    def remove(self, collection):
        self.both(lambda registry: registry.remove_collection(collection))

    @initialize()
    def begin(self):
        for digest, aliases in (("d1", ["best"]), ("d2", [])):
            self.commit(digest, CollectionRef("me", "p", "a"), None, aliases)

    @rule(digest=digests, collection=collections, kind=kinds, aliases=alias_lists)
    def commit(self, digest, collection, kind, aliases):
        client = f"c{next(self.commits)}"

        def make(registry):
            reservation = registry.reserve(new(client, digest, collection, kind, aliases=aliases))
            if reservation.existing:
                return registry.add_aliases(collection.at(f"v{reservation.index}"), aliases)
            return registry.publish(client, manifest(client), aliases)

        self.both(make)

    @rule(found=runs, ref=refs)
    def record(self, found, ref):
        self.both(lambda registry: registry.record_run(found))
        self.both(lambda registry: registry.record_use(found, registry.version(ref).id))


@pytest.mark.parametrize("name", [name for name in IMPLEMENTATIONS if name != "fake"])
def test_any_sequence_of_calls_has_the_same_outcome_as_in_the_fake(name, find_databases):
    base = ServerMachine if name == "wandb" else RegistryMachine
    machine = type("Machine", (base,), {"real": name, "find_databases": staticmethod(find_databases)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples={"postgresql": 15, "wandb": 10}.get(name, 40),
            stateful_step_count=15 if name == "wandb" else 25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
