"""A registry in memory in which runs make versions out of versions, and which counts what it is asked."""

from collections import Counter

import pytest

from artfs.model.names import CollectionRef
from tests.registry.fake import FakeRegistry
from tests.registry.making import commit, run


class World:
    """Names are those of collections with one version each, and ids of runs."""

    def __init__(self):
        self.registry = FakeRegistry()
        self.asked = Counter()
        self.refused = {}

    def version(self, name, *aliases, **more):
        collection = CollectionRef("team", "proj", name)
        if name not in self.registry.collections("team", "proj") if "team" in self.registry.entities() else True:
            return commit(self.registry, name, *aliases, collection=collection, **more)
        return self.registry.version(collection.at("v0"))

    def run(self, run_id, used, logged, **more):
        info = run(run_id, **more)
        self.registry.record_run(info)
        for name in used:
            self.registry.record_use(info, self.version(name).id)
        for name in logged:
            self.registry.record_logged(info, self.version(name).id)
        return self.registry.run(info.ref)

    def _ask(self, question, argument):
        self.asked[question, argument] += 1
        if (question, argument) in self.refused:
            raise self.refused[question, argument]
        return getattr(self.registry, question)(argument)

    def logged_by(self, version_id):
        return self._ask("logged_by", version_id)

    def used_by(self, version_id):
        return self._ask("used_by", version_id)

    def logged(self, ref):
        return self._ask("logged", ref)

    def used(self, ref):
        return self._ask("used", ref)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def diamond(world):
    """Raw is split into left and right, which are joined to whole."""
    world.version("raw", size=1_500_000)
    world.run("split", ["raw"], ["left", "right"])
    world.run("join", ["left", "right"], ["whole"])
    return world


NASTY = [
    "<script>alert(1)</script>",
    "\"quoted\" 'single' & &amp; \\N \\\\",
    "two\nlines\r\tand \x1b[2J\x1b]0;title\x07 \x00\x7f\x9b",
    "\u202egnp.exe \u2066isolated\u2069 \u200b\u2028\u2029\ufeff",
    "lone \ud800 and \uffff ]]> -->",
]
