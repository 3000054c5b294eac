"""What arguments of a warm-up select, pins as files, and the operation of a mount process."""

import contextlib
import json
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from artfs.app import warm as warm_module
from artfs.app.pins import Pins
from artfs.app.selecting import Selection, _pattern, from_json, read_list, select, to_json
from artfs.app.warm import Warmer, warming_mount
from artfs.errors import ArtfsError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.names import parse_artifact_ref

V0, LATEST = parse_artifact_ref("me/demo/data:v0", ""), parse_artifact_ref("me/demo/data:latest", "")


# Arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.png", ["a.png", ".png"], ["d/a.png", "a.pngs", "a_png"]),
        ("d/*", ["d/a", "d/e/f"], ["d", "e/a", "dd/a"]),
        ("**/*.png", ["a.png", "d/a.png", "d/e/a.png"], ["d/a.jpg"]),
        ("d/**", ["d/a", "d/e/f"], ["e/d/a"]),
        ("d/**/f", ["d/f", "d/e/f", "d/e/g/f", "d/f/below"], ["d/ef", "f"]),
        ("?[ab][!c]", ["xad", "xbe"], ["xac", "xcd", "xad2", "/ad"]),
        ("a[]b]c", ["a]c", "abc"], ["ac"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a+(b)$", ["a+(b)$"], ["aab", "a+(b)"]),
        ("d*", ["d", "deep/all/of/it"], ["e/d"]),
        ("line\nend*", ["line\nend of it"], ["line end"]),
    ],
)
def test_a_pattern_matches_as_in_a_shell_and_takes_what_is_below(pattern, matching, others):
    matches = _pattern(pattern).fullmatch
    assert [path for path in matching if not matches(path)] == []
    assert [path for path in others if matches(path)] == []


def test_a_list_has_one_argument_a_line(tmp_path):
    (tmp_path / "list").write_text("# a comment\n a b \n\nc\n")
    assert read_list(str(tmp_path / "list")) == ["a b", "c"]
    (tmp_path / "bad").write_bytes(b"\xff\n")
    for path, says in (("bad", "not UTF-8"), ("missing", "No such file"), (".", "Is a directory")):
        with pytest.raises(InvalidInputError, match=says):
            read_list(str(tmp_path / path))


class FakeRegistry:
    default_entity = "me"

    def __init__(self):
        self.asked = []

    def version(self, ref):
        self.asked.append(str(ref))
        return SimpleNamespace(collection=ref.collection, index=3 if ref.alias == "latest" else int(ref.alias[1:]))


def test_arguments_of_one_version_belong_together_or_keep_their_order():
    services = SimpleNamespace(registry=FakeRegistry(), config=None)
    texts = ["p/a:latest/x", "p/b:v0", "p/a:v3/y", "p/a:v3/z/*.png", "p/a:latest/x"]
    assert [(str(one.ref), str(one.named), one.places) for one in select(texts, services)] == [
        ("me/p/a:v3", "me/p/a:latest", ("x", "y", "z/*.png")), ("me/p/b:v0", "me/p/b:v0", ("",)),
    ]  # fmt: skip
    assert [(str(one.ref), one.places) for one in select(texts, services, in_order=True)] == [
        ("me/p/a:v3", ("x",)), ("me/p/b:v0", ("",)), ("me/p/a:v3", ("y", "z/*.png", "x")),
    ]  # fmt: skip
    assert sorted(set(services.registry.asked)) == ["me/p/a:latest", "me/p/a:v3", "me/p/b:v0"]
    assert select(["p/a:v3/x", "p/a:v3"], services)[0].places == ("",)


def test_selections_come_through_a_socket():
    selections = [Selection(V0, LATEST, ("a", "d/*")), Selection(V0, V0, ("",))]
    assert from_json(json.loads(json.dumps(to_json(selections)))) == selections
    for wrong in (None, 5, [{}], [{"ref": "x"}], [["ref"]], [{"ref": "me/demo/data:v0", "named": "::", "places": []}]):
        with pytest.raises(InvalidInputError):
            from_json(wrong)


# Pins -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pins(tmp_path):
    """The pins of a directory, with a cache that remembers what it was told."""
    return pins_of(tmp_path, "sqlite:////a")


class FakeCache:
    def __init__(self):
        self.owners = {}
        self.works = True

    def pin(self, owner, names):
        self.owners.setdefault(owner, set()).update(names)
        return self.works

    def unpin(self, owner):
        self.owners.pop(owner, None)
        return self.works

    def statistics(self):
        return SimpleNamespace(trouble="the disk is full")


def pins_of(path, registry, cache=None):
    cache = cache or FakeCache()
    targets = SimpleNamespace(of=lambda entry: entry)
    origins = SimpleNamespace(is_local=lambda entry: True)
    config = SimpleNamespace(data_dir=path, registry=registry)
    services = SimpleNamespace(config=config, cache=lambda: cache, targets=targets, origins=origins)
    return Pins(services)


def selected(*places, ref=V0, version_id="1"):
    """Return a selection without files."""
    version = SimpleNamespace(id=version_id)
    return Chosen(Selection(ref, LATEST, places), version, SimpleNamespace())


class Chosen(warm_module.Selected):
    def entries(self):
        return iter(())


def test_a_pin_outlives_the_process_and_grows(pins, tmp_path):
    pins.add(selected("a", "b"))
    first = pins_of(tmp_path, "sqlite:////a").find("1")
    assert first.selection == Selection(V0, LATEST, ("a", "b"))
    pins.add(selected("c", "a"))
    again = pins_of(tmp_path, "sqlite:////a").find("1")
    assert (again.selection.places, again.pinned_at) == (("a", "b", "c"), first.pinned_at)
    pins.add(selected(""))
    assert pins.find("1").selection.places == ("",)
    (path,) = (tmp_path / "pins").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_pins_of_another_registry_are_not_shown(pins, tmp_path):
    pins.add(selected(""))
    others = pins_of(tmp_path, "sqlite:////b")
    assert others.all() == []
    others.add(selected("", version_id="1"))
    assert len(pins.all()) == len(others.all()) == 1
    others.remove(others.all()[0])
    assert len(pins.all()) == 1


def test_what_is_not_pinned_cannot_be_unpinned(pins):
    with pytest.raises(NotFoundError, match="me/demo/data:v0 is not pinned"):
        pins.named(Selection(V0, V0, ("",)))


def test_a_pin_that_the_cache_does_not_forget_stays(tmp_path):
    cache = FakeCache()
    pins = pins_of(tmp_path, "sqlite:////a", cache)
    pin = pins.add(selected(""))
    cache.works = False
    with pytest.raises(UnreachableError, match="the disk is full"):
        pins.remove(pin)
    assert pins.all() == [pin]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "registry": "sqlite:////a"}', "\xff"])
def test_a_pin_that_cannot_be_read_is_named(pins, tmp_path, text):
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/x.json").write_text(text, "latin-1")
    with pytest.raises(InvalidInputError, match=r"pins/x\.json cannot be read"):
        pins.all()


# The mount process ----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def warmer(monkeypatch, work):
    async def run(services, pipeline, selections, progress, *, parallel):
        return await work(progress)

    monkeypatch.setattr(warm_module, "run", run)
    async with trio.open_nursery() as nursery:
        yield Warmer(None, None, nursery).warm({"selections": []})
        assert not nursery.child_tasks


@pytest.mark.trio
async def test_progress_comes_and_then_the_result(monkeypatch, autojump_clock):
    async def work(progress):
        progress.begin("fetching", 2, 100)
        await trio.sleep(0.25)
        progress.advance(1, 60)
        await trio.sleep(0.25)
        return {"done": True}

    async with warmer(monkeypatch, work) as answers:
        said = [answer async for answer in answers]
    assert said[-1] == {"result": {"done": True}}
    assert {answer["progress"]["bytes_done"] for answer in said[:-1]} == {0, 60}
    assert 4 <= len(said) <= 7  # ten in a second


@pytest.mark.trio
async def test_who_goes_away_ends_it(monkeypatch):
    ended = trio.Event()

    async def work(_):
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with warmer(monkeypatch, work) as answers:
        assert "progress" in await anext(answers)
        await answers.aclose()
        with trio.fail_after(60):
            await ended.wait()
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.trio
async def test_an_error_is_told_and_the_mount_goes_on(monkeypatch, caplog):
    async def refuse(_):
        raise UnreachableError("the store is away")

    async with warmer(monkeypatch, refuse) as answers:
        with pytest.raises(UnreachableError, match="the store is away"):
            await collect(answers)


@pytest.mark.trio
@pytest.mark.expects_warning("a warm-up failed")
async def test_a_mistake_of_the_program_does_not_end_the_mount(monkeypatch):
    async def break_down(_):
        raise ZeroDivisionError("a bug")

    async with warmer(monkeypatch, break_down) as answers:
        with pytest.raises(ArtfsError, match="a bug"):
            await collect(answers)


async def collect(answers):
    return [answer async for answer in answers]


def test_only_a_mount_with_the_same_registry_store_and_cache_does_it(monkeypatch):
    config = SimpleNamespace(registry="sqlite:////r", store="s3://b/s", cache_dir="/cache")
    right = {
        "registry": "sqlite:////r",
        "store": "s3://b/s",
        "cache_dir": "/cache",
        "offline": False,
        "control": "/run/right",
    }
    for wrong in ({"registry": "x"}, {"store": "x"}, {"cache_dir": "/other"}, {"offline": True}):
        monkeypatch.setattr(warm_module, "statuses", lambda _, wrong=wrong: iter([{**right, **wrong}]))
        assert warming_mount(config) is None
    monkeypatch.setattr(warm_module, "statuses", lambda _: iter([{"control": "/run/old"}, right]))
    assert str(warming_mount(config)) == "/run/right"
