"""Small files in a bucket, through real mounts and commands: few objects, few requests, and nothing that is needed is ever lost."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from artfs.cache.cachefile import CacheFile
from artfs.staging.packing import PACK_SIZE, SMALL
from tests.cli.here import run_here
from tests.harness import DEADLINE, Artfs, tree_of, wait_for
from tests.mount.conftest import Remote, within
from tests.servers.faults import Status

BLOCK = 1 << 20
RANDOM = random.Random(31)
FILES = {
    f"{'train' if number % 3 else 'test'}/{number:03}.txt": RANDOM.randbytes(RANDOM.randrange(1, 60_000))
    for number in range(300)
}
SIZE = sum(map(len, FILES.values()))


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def packs_of(files):
    """Return the bytes of the packs that small files make."""
    packs, size = [b""], 0
    for _, data in sorted(files.items()):
        if len(packs[-1]) + len(data) > PACK_SIZE:
            packs.append(b"")
        packs[-1] += data
        size += len(data)
    assert sum(map(len, packs)) == size
    return packs


PACKS = packs_of(FILES)
BLOCKS = sum(-(-len(pack) // BLOCK) for pack in PACKS)


def write_all(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


class Machine(Artfs):
    """A machine with a cache and drafts of its own, and the registry and bucket that others use too."""

    def __init__(self, root, of):
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root)
        self.of = of
        own = {f"ARTFS_{name.upper()}_DIR": str(root / name) for name in ("data", "cache", "state", "runtime")}
        self.environment = {**of.environment, **own}


def keys(remote):
    """Return what the bucket holds: names without their prefix, to sizes."""
    with contextlib.closing(remote.server.client()) as client:
        found = client.list_objects_v2(Bucket=remote.bucket, Prefix="store/md5/").get("Contents", [])
    return {one["Key"].removeprefix("store/md5/").replace("/", ""): one["Size"] for one in found}


def remove(remote, data):
    with contextlib.closing(remote.server.client()) as client:
        client.delete_object(Bucket=remote.bucket, Key=remote.key(data))


def replace(remote, data, other):
    with contextlib.closing(remote.server.client()) as client:
        client.put_object(Bucket=remote.bucket, Key=remote.key(data), Body=other)


def flipped(data, offset):
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


def gets_of(proxy, objects):
    """Count the requests for the bytes of objects."""
    names = [md5(data)[2:] for data in objects]
    return sum(request.method == "GET" and any(name in request.path for name in names) for request in proxy.requests())


def ran(artfs, *lines):
    """Run commands in one process; all must succeed. Return what they print."""
    done = run_here(artfs, [list(map(str, line)) for line in lines])
    assert [code for code, *_ in done] == [0] * len(lines), done
    return [out for _, out, _ in done]


def read_all(version, names=FILES):
    return {name: (version / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def logged(tmp_path_factory, s3_server, proxy):
    """A version of many small files; nothing but reading is done with it."""
    found = Remote(tmp_path_factory.mktemp("packs"), s3_server, proxy.url)
    found.source = write_all(found.root / "source", FILES)
    proxy.forget()
    found.reference = ran(found.maker, ["put", found.source, "demo/data"])[0].strip()
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@contextlib.contextmanager
def machine_of(path, remote, proxy, *expected):
    found = Machine(path, remote)
    proxy.clear()
    proxy.forget()
    try:
        yield found
    finally:
        found.close()
    assert not found.unexpected_log(*expected)


@pytest.fixture
def cold(logged, proxy, tmp_path):
    """Another machine, which knows nothing yet."""
    with machine_of(tmp_path / "cold", logged, proxy) as found:
        yield found


@pytest.fixture
def own(remote, proxy):
    """An artfs with a bucket of its own, reached through the proxy, whose requests are counted from now on."""
    found = remote(proxy.url)
    proxy.clear()
    proxy.forget()
    return found


@pytest.fixture
def source(tmp_path):
    """Return a function that writes files into a new directory."""
    made = []

    def make(files):
        made.append(write_all(tmp_path / f"source-{len(made)}", files))
        return made[-1]

    return make


# What is in the bucket, and how it is read ----------------------------------------------------------------------------


def test_many_small_files_are_few_objects(logged):
    found = keys(logged)
    assert {md5(pack): len(pack) for pack in PACKS}.items() <= found.items()
    assert len(found) == len(PACKS) + 1, "the packs and the list of files"
    assert not {md5(data) for data in FILES.values()} & set(found)


def test_a_copy_of_all_files_equals_the_source_and_takes_few_requests(logged, cold, proxy, tmp_path):
    version = cold.mount() / "me/demo/data/v0"
    subprocess.run(["cp", "-r", version, tmp_path / "copy"], check=True, timeout=300)
    subprocess.run(["diff", "-r", logged.source, tmp_path / "copy"], check=True, timeout=300)
    assert gets_of(proxy, PACKS) <= BLOCKS
    proxy.forget()
    subprocess.run(["diff", "-r", logged.source, version], check=True, timeout=300)
    assert proxy.count("GET") == 0


def test_files_that_are_read_in_any_order_take_few_requests(cold, proxy):
    version = cold.mount() / "me/demo/data/v0"
    names = list(FILES)
    random.Random(7).shuffle(names)
    assert read_all(version, names) == FILES
    assert gets_of(proxy, PACKS) <= BLOCKS
    assert all(os.getxattr(version / name, "user.artfs.cached") == b"yes" for name in names[:20])


def test_a_single_file_takes_the_list_of_files_and_one_request(cold, proxy):
    version = cold.mount() / "me/demo/data/v0"
    name = sorted(FILES)[150]
    with (version / name).open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 100, 3) == FILES[name][3:103]
        assert os.pread(file.fileno(), 100, len(FILES[name]) - 5) == FILES[name][-5:]
    assert gets_of(proxy, PACKS) == 1
    assert os.stat(version / name).st_size == len(FILES[name])


def test_small_pieces_of_many_files_at_once_are_right(cold):
    import concurrent.futures

    version = cold.mount() / "me/demo/data/v0"

    def piece(seed):
        rng = random.Random(seed)
        name = rng.choice(list(FILES))
        offset, size = rng.randrange(len(FILES[name]) + 5), rng.randrange(1, 20_000)
        with (version / name).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset) == FILES[name][offset : offset + size]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(piece, range(400)))


def test_what_was_put_is_read_on_the_same_machine_without_a_request(own, proxy, source):
    ran(own, ["put", source(FILES), "demo/data"])
    assert proxy.count("PUT", "store/md5") == len(PACKS) + 1
    proxy.forget()
    version = own.mount() / "me/demo/data/v0"
    assert read_all(version) == FILES
    assert gets_of(proxy, PACKS) == 0


# Versions after the first ---------------------------------------------------------------------------------------------


def test_one_changed_file_is_one_small_object_and_one_request_for_who_has_the_rest(own, proxy, source, tmp_path):
    changed = FILES | {sorted(FILES)[10]: b"changed"}
    ran(own.maker, ["put", source(FILES), "demo/data"])
    before = keys(own)
    with machine_of(tmp_path / "reader", own, proxy) as reader:
        versions = reader.mount() / "me/demo/data"
        assert read_all(versions / "v0") == FILES
        ran(own.maker, ["put", source(changed), "demo/data"])
        new = {name: size for name, size in keys(own).items() if name not in before}
        assert new.pop(md5(b"changed")) == 7
        assert len(new) == 1, "the list of files"
        wait_for(lambda: (versions / "v1").exists(), "the new version to show")
        proxy.forget()
        assert read_all(versions / "v1") == changed
        gets = [request.path for request in proxy.requests() if request.method == "GET" and "store/md5" in request.path]
        (listed,) = new
        assert [path for path in gets if listed[2:] not in path] == [f"/{own.bucket}/{own.key(b'changed')}"]


def test_versions_differ_by_their_bytes_and_not_by_where_these_lie(own, source):
    some = {name: FILES[name] for name in sorted(FILES)[:20]}
    ran(own, ["put", source(some), "demo/one"], ["put", source(dict(list(some.items())[5:])), "demo/two"])
    again, diff = run_here(own, [["put", source(some), "demo/one"], ["diff", "demo/one:v0", "demo/two:v0", "--json"]])
    assert again[:2] == (0, "me/demo/one:v0\n")
    assert diff[0] == 1
    changes = json.loads(diff[1])["changes"]
    assert [(one["kind"], one["before"]["path"]) for one in changes] == [("removed", name) for name in sorted(some)[:5]]


def test_a_draft_that_starts_from_packs_is_read_edited_and_committed(own, source):
    ran(own.maker, ["put", source(FILES), "demo/data"])
    own.mount()
    path = Path(own.out("stage", "demo/data:v0", "--name", "mine"))
    assert tree_of(path) == FILES | {"train": None, "test": None}
    first, second, third, fourth, *_ = sorted(FILES)
    (path / first).write_bytes(b"edited")
    with (path / fourth).open("ab") as file:
        file.write(b" and more")
    (path / second).unlink()
    os.rename(path / third, path / "moved")
    before = keys(own)
    version = own.commit(path)
    expected = FILES | {first: b"edited", "moved": FILES[third], fourth: FILES[fourth] + b" and more"}
    del expected[second], expected[third]
    assert tree_of(version) == expected | {"train": None, "test": None}
    new = keys(own).keys() - before
    assert md5(b"edited" + expected[fourth]) in new, "the edited files, in a pack"
    assert len(new) == 2, "and the list of files"
    ran(own, ["verify", "demo/data:v1"], ["fsck", "--deep"])


def test_a_copy_of_a_version_that_is_committed_again_sends_no_bytes(own, proxy):
    own.maker.run("put", write_all(own.root / "files", FILES), "demo/data")
    own.mount()
    copy = own.collection() / ".staging/copy"
    shutil.copytree(own.collection() / "v0", copy, copy_function=shutil.copyfile)
    (copy / "one").write_bytes(b"one more")
    before = keys(own)
    version = own.commit(copy)
    assert tree_of(version) == FILES | {"train": None, "test": None, "one": b"one more"}
    new = keys(own).keys() - before
    assert md5(b"one more") in new
    assert len(new) == 2


# Deleting, collecting, checking ---------------------------------------------------------------------------------------


def test_packs_go_when_no_version_needs_any_of_their_files(own, source, tmp_path, proxy):
    first = {f"{number:02}": os.urandom(1000) for number in range(40)}
    second = {f"{number:02}": os.urandom(1000) for number in range(40)}
    ran(
        own.maker,
        ["put", source(first), "demo/data"],
        ["put", source({"00": first["00"], "x": b"x", "y": b"y"}), "demo/data"],
        ["put", source(second), "demo/other"],
        ["put", source({"new": b"new"}), "demo/other"],
        ["rm", "-y", "demo/data:v0"],
        ["rm", "-y", "demo/other:v0"],
        ["gc", "--grace", "0", "--delete"],
    )
    found = keys(own)
    assert md5(b"".join(first.values())) in found
    assert md5(b"".join(second.values())) not in found
    with machine_of(tmp_path / "reader", own, proxy) as reader:
        versions = reader.mount() / "me/demo"
        assert tree_of(versions / "data/v1") == {"00": first["00"], "x": b"x", "y": b"y"}
        assert tree_of(versions / "other/v1") == {"new": b"new"}
    ran(own.maker, ["fsck", "--deep"], ["put", source({"z": b"z"}), "demo/data"], ["rm", "-y", "demo/data:v1"])
    ran(own.maker, ["gc", "--grace", "0", "--delete"])
    found = keys(own)
    assert not {md5(b"".join(first.values())), md5(b"xy")} & set(found)
    assert {md5(b"z"), md5(b"new")} <= set(found)
    ran(own.maker, ["fsck", "--deep"])


def problems(artfs, *arguments):
    ((code, out, err),) = run_here(artfs, [["fsck", *arguments, "--json"]])
    found = [row for row in json.loads(out) if row["level"] == "problem"]
    assert code == (1 if found else 0), err
    return found


def test_a_check_finds_nothing_wrong_and_then_names_a_pack_that_is_removed_or_damaged(own, source):
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    other = {f"e/{number:02}": os.urandom(1000) for number in range(40)}
    one, two = b"".join(some.values()), b"".join(other.values())
    ran(own.maker, ["put", source(some), "demo/data"], ["put", source(other), "demo/other"])
    assert problems(own.maker) == problems(own.maker, "--deep") == []
    replace(own, two, flipped(two, 20_500))
    assert problems(own.maker) == []
    (found,) = problems(own.maker, "--deep")
    assert md5(two) in found["message"]
    assert "me/demo/other:v0 is damaged" in found["message"]
    replace(own, two, two[:-5])
    (found,) = problems(own.maker)
    assert "has 39,995 bytes, not 40,000" in found["message"]
    remove(own, one)
    replace(own, two, two)
    (found,) = problems(own.maker)
    assert md5(one) in found["message"]
    assert "me/demo/data:v0 is missing" in found["message"]


def test_the_hint_of_a_check_for_a_missing_pack_helps(own, source):
    """Putting the same files again brings them: of another collection's name, or beside others."""
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    ran(own.maker, ["put", source(some), "demo/data"])
    remove(own, b"".join(some.values()))
    assert "put the same file again" in json.dumps(problems(own.maker))
    ran(own.maker, ["put", source(some | {"beside": b"beside"}), "demo/data"])
    found = json.loads(run_here(own.maker, [["verify", "demo/data:v1", "--json"]])[0][1])
    assert (found["proven"], found["bad"]) == (41, [])


def test_a_version_is_proven_and_its_bad_files_are_named_and_no_others(own, source):
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    whole = b"".join(some.values())
    ran(own.maker, ["put", source(some), "demo/data"])
    good = json.loads(ran(own, ["verify", "demo/data", "--json"])[0])
    assert (good["files"], good["proven"], good["bytes"], good["bad"]) == (40, 40, 40_000, [])
    replace(own, whole, flipped(whole, 7_500))
    bad = json.loads(run_here(own, [["verify", "demo/data", "--json"]])[0][1])
    assert [(row["path"], row["state"]) for row in bad["bad"]] == [("d/07", "damaged")]
    remove(own, whole)
    ((code, out, _),) = run_here(own, [["verify", "demo/data", "--json"]])
    assert code == 7
    assert {(row["path"], row["state"]) for row in json.loads(out)["bad"]} == {(name, "missing") for name in some}


def test_damage_of_one_file_is_eio_for_it_alone(own, source, tmp_path, proxy):
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    whole = b"".join(some.values())
    ran(own.maker, ["put", source(some), "demo/data"])
    replace(own, whole, flipped(whole, 7_500))
    with machine_of(tmp_path / "reader", own, proxy, "is damaged") as reader:
        version = reader.mount() / "me/demo/data/v0"
        for name, data in some.items():
            with pytest.raises(OSError, match="Input/output") if name == "d/07" else contextlib.nullcontext():
                assert (version / name).read_bytes() == data
        lines = [line for line in reader.log().splitlines() if " ERROR " in line]
        assert lines
        assert all("d/07" in line for line in lines)


def test_the_last_file_alone_in_its_pack_is_never_served_damaged(own, source, tmp_path, proxy):
    full = {f"{number:02}": random.Random(number).randbytes(SMALL) for number in range(PACK_SIZE // SMALL)}
    last = random.Random(99).randbytes(SMALL)
    ran(own.maker, ["put", source(full | {"last": last}), "demo/data"])
    assert keys(own)[md5(last)] == SMALL
    replace(own, last, flipped(last, 1000))
    with machine_of(tmp_path / "reader", own, proxy, "is damaged") as reader:
        version = reader.mount() / "me/demo/data/v0"
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output"):
                (version / "last").read_bytes()
        assert (version / "00").read_bytes() == full["00"]


# Without the store, and what is said of the cache ---------------------------------------------------------------------


def test_what_is_warm_is_ready_and_read_without_the_store(cold, proxy):
    check, warm = run_here(cold, [["warm", "--check", "demo/data"], ["warm", "demo/data", "--json"]])
    assert check[0] == 1
    found = json.loads(warm[1])
    assert (found["files"], found["bytes"], found["fetched_files"], found["failed"]) == (300, SIZE, 300, []), found
    assert gets_of(proxy, PACKS) <= 2 * len(PACKS)
    proxy.forget()
    _, ready, again = ran(
        cold, ["warm", "--check", "demo/data"], ["ready", "demo/data:v0", "--json"], ["warm", "demo/data", "--json"]
    )
    (found,) = json.loads(ready)
    assert (found["ready"], found["bytes"], found["files"]) == (True, SIZE, 300)
    assert json.loads(again)["fetched_files"] == 0
    version = cold.mount("--offline") / "me/demo/data/v0"
    assert read_all(version) == FILES
    assert proxy.requests() == []


def test_ready_looks_at_the_disk_under_each_block_of_a_pack_once_and_names_what_is_damaged(cold, monkeypatch):
    check, looked_at = CacheFile.check, []

    def look(file, number):
        looked_at.append((file.name, number))
        return check(file, number)

    monkeypatch.setattr(CacheFile, "check", look)
    ran(cold, ["warm", "demo/data"], ["ready", "demo/data:v0"])
    assert len(looked_at) == len(set(looked_at)) == BLOCKS
    (path, *_) = sorted((cold.root / "cache/blocks").glob("*/*/data/md5/*/*"))
    with path.open("r+b") as file:
        file.seek(10)
        byte = file.read(1)
        file.seek(10)
        file.write(bytes([byte[0] ^ 1]))
    ((code, out, _),) = run_here(cold, [["ready", "demo/data:v0"]])
    assert code == 1
    assert "damaged in the cache, and forgotten" in out


def test_what_is_not_warm_is_named_by_ready_and_refused_offline(cold, proxy):
    name = min(FILES)
    ran(cold, ["warm", f"demo/data:v0/{name}"])
    ((code, out, _),) = run_here(cold, [["ready", "demo/data:v0", "--json"]])
    missing = {row["path"].removeprefix("me/demo/data:v0/") for row in json.loads(out)[0]["missing"]}
    assert code == 1
    assert name not in missing
    assert max(FILES) in missing
    version = cold.mount("--offline") / "me/demo/data/v0"
    here = [one for one in FILES if one not in missing]
    assert len(here) > 1, "neighbours came with it"
    assert read_all(version, here) == {one: FILES[one] for one in here}
    for one in sorted(missing)[:5]:
        with pytest.raises(OSError, match="unreachable"):
            within((version / one).read_bytes)


def test_a_pin_keeps_packs_and_is_told_by_its_files(cold):
    ran(cold, ["pin", "demo/data"])
    shown, cache, _ = ran(cold, ["pin", "--json"], ["cache", "ls", "--json"], ["cache", "clear", "-y"])
    (pin,) = json.loads(shown)
    assert (pin["bytes"], pin["here"]) == (SIZE, SIZE), pin
    assert json.loads(cache)["total"]["pinned"] >= SIZE
    ran(cold, ["ready", "demo/data"])
    ran(cold, ["unpin", "demo/data"], ["cache", "clear", "-y"])
    assert run_here(cold, [["ready", "demo/data:v0"]])[0][0] == 1


def test_sizes_of_a_version_are_those_of_its_files(cold):
    before = json.loads(ran(cold, ["du", "demo/data:v0", "--json"])[0])[0]
    assert (before["size"], before["files"]) == (SIZE, 300), before
    _, du, cache = ran(cold, ["warm", "demo/data"], ["du", "demo/data:v0", "--json"], ["cache", "ls", "--json"])
    after = json.loads(du)[0]
    assert after["here"] == SIZE, after
    found = json.loads(cache)
    (version,) = found["versions"]
    assert (version["files"], version["files_here"], version["bytes"]) == (300, 300, SIZE), version
    assert SIZE <= version["here"] == found["total"]["here"] <= SIZE + 2 * BLOCK
    assert found["total"]["files_here"] == 300, "not the packs"


def test_a_cache_tells_how_many_files_it_has_of_a_version(cold):
    name = min(FILES)
    _, du, cache = ran(
        cold, ["warm", f"demo/data:v0/{name}"], ["du", "demo/data:v0", "--json"], ["cache", "ls", "--json"]
    )
    (version,) = json.loads(cache)["versions"]
    here = json.loads(du)[0]["here"]
    assert len(FILES[name]) <= here <= BLOCK
    assert version["files_here"] < 100, "of the first of nine blocks"


def test_a_version_is_written_out_and_equals_the_source(logged, cold, proxy, tmp_path):
    ran(cold, ["get", "demo/data", tmp_path / "out"])
    subprocess.run(["diff", "-r", logged.source, tmp_path / "out"], check=True, timeout=300)
    assert gets_of(proxy, PACKS) <= BLOCKS


def test_the_cache_is_verified_and_what_is_damaged_in_it_is_fetched_again(cold, proxy):
    ran(cold, ["warm", "demo/data"], ["cache", "verify"])
    for data in (cold.root / "cache/blocks").glob(f"*/*/data/md5/*/*-{len(PACKS[0])}"):
        with data.open("r+b") as file:
            file.seek(BLOCK + 17)
            file.write(b"damage")
    assert run_here(cold, [["ready", "demo/data:v0"]])[0][0] == 1
    proxy.forget()
    version = cold.mount() / "me/demo/data/v0"
    assert read_all(version) == FILES
    assert 1 <= gets_of(proxy, PACKS) <= BLOCKS


# Commits that break off, and others ------------------------------------------------------------------------------------


def test_a_commit_that_is_killed_among_its_packs_goes_on_and_sends_no_pack_twice(own, proxy, source):
    files = {f"{number:03}": random.Random(number).randbytes(SMALL - number) for number in range(100)}
    packs = packs_of(files)
    assert len(packs) == 4
    for pack in packs[1:]:
        proxy.inject(Status(503), None, "PUT", own.key(pack))
    running = own.start("put", source(files), "demo/data")
    wait_for(lambda: md5(packs[0]) in keys(own), "the first pack to come")
    wait_for(lambda: all(proxy.count("PUT", own.key(pack)) for pack in packs[1:]), "the others to be sent")
    running.send_signal(signal.SIGKILL)
    assert running.wait(DEADLINE) == -signal.SIGKILL
    running.stdout.close()
    running.stderr.close()
    assert set(keys(own)) == {md5(packs[0])}
    proxy.clear()
    proxy.forget()
    out = ran(own, ["commit", "--resume"])[0]
    assert out.strip() == "me/demo/data:v0"
    assert [proxy.count("PUT", own.key(pack)) for pack in packs] == [0, 1, 1, 1]
    assert read_all(own.mount() / "me/demo/data/v0", files) == files
    assert len(keys(own)) == 5
    ran(own, ["gc", "--grace", "0", "--delete"], ["fsck", "--deep"])


def test_collections_of_equal_content_have_the_same_packs_and_each_keeps_them(own, source):
    directory = source(FILES)
    one, two = ran(own.maker, ["put", directory, "demo/one", "--json"], ["put", directory, "demo/two", "--json"])
    assert json.loads(one)["version"] != json.loads(two)["version"]
    assert {md5(pack) for pack in PACKS} <= set(keys(own))
    assert len(keys(own)) == len(PACKS) + 1
    ran(
        own.maker,
        ["put", source({"x": b"x"}), "demo/one"],
        ["rm", "-y", "demo/one:v0"],
        ["gc", "--grace", "0", "--delete"],
    )
    assert {md5(pack) for pack in PACKS} <= set(keys(own))
    assert read_all(own.mount() / "me/demo/two/v0") == FILES


def test_two_registries_with_equal_content_read_each_their_own(remote, source):
    directory = source({name: FILES[name] for name in sorted(FILES)[:50]})
    found = [remote(), remote()]
    for one in found:
        ran(one.maker, ["put", directory, "demo/data"])
    remove(found[0], packs_of({name: FILES[name] for name in sorted(FILES)[:50]})[0])
    assert len(problems(found[0].maker)) == 1
    assert problems(found[1].maker) == []
    assert tree_of(found[1].mount() / "me/demo/data/v0") == tree_of(directory)


def test_digests_of_the_other_algorithm_lie_in_packs_too(own, proxy, source, tmp_path):
    own.environment["ARTFS_ALGORITHM"] = own.maker.environment["ARTFS_ALGORITHM"] = "XXH128"
    directory = source(FILES)
    ran(own.maker, ["put", directory, "demo/data"])
    assert {md5(pack) for pack in PACKS} <= set(keys(own))
    version = own.mount() / "me/demo/data/v0"
    assert read_all(version) == FILES
    assert gets_of(proxy, PACKS) <= BLOCKS
    ran(own.maker, ["verify", "demo/data"], ["fsck", "--deep"], ["get", "demo/data", tmp_path / "out"])
    subprocess.run(["diff", "-r", directory, tmp_path / "out"], check=True, timeout=300)
    changed = FILES | {min(FILES): b"changed"}
    before = keys(own)
    ran(own.maker, ["put", source(changed), "demo/data"])
    assert len(set(keys(own)) - set(before)) == 1, "the list of files: the changed file is named by its XXH128"
    wait_for(lambda: (own.collection() / "v1").exists(), "the new version to show")
    assert read_all(own.collection() / "v1") == changed


def test_references_to_files_in_packs_lead_to_their_bytes(own, source):
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    ran(own.maker, ["put", source(some), "demo/data"])
    own.mount()
    draft = own.draft("linked", "other")
    os.symlink(own.collection() / "v0/d", draft / "taken")
    (draft / "new").write_bytes(b"new")
    version = own.commit(draft)
    assert tree_of(version / "taken") == {f"{number:02}": some[f"d/{number:02}"] for number in range(40)}
    ran(
        own, ["put", source({"x": b"x"}), "demo/data"], ["rm", "-y", "demo/data:v0"], ["gc", "--grace", "0", "--delete"]
    )
    assert tree_of(version / "taken") == {f"{number:02}": some[f"d/{number:02}"] for number in range(40)}
    ran(own, ["fsck", "--deep"])


def test_a_reference_to_a_version_reads_its_packs(own, source, tmp_path, proxy):
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    ran(own.maker, ["put", source(some), "demo/data"])
    own.mount()
    uri = os.getxattr(own.collection() / "v0", "user.artfs.uri").decode()
    ran(own.maker, ["put", "--reference", uri, "demo/pointer"])
    with machine_of(tmp_path / "reader", own, proxy) as reader:
        version = reader.mount() / "me/demo/pointer/v0"
        assert {name: (version / name).read_bytes() for name in some} == some
        assert gets_of(proxy, packs_of(some)) == 1
        ran(reader, ["verify", "demo/pointer"], ["warm", "demo/pointer"], ["ready", "demo/pointer:v0"])
        (found,) = json.loads(ran(reader, ["du", "demo/pointer:v0", "--json"])[0])
        assert (found["size"], found["here"]) == (40_000, 40_000)


def test_a_cache_that_is_smaller_than_the_version_is_enough_to_read_it(logged, proxy, tmp_path):
    with machine_of(tmp_path / "small", logged, proxy) as found:
        found.environment["ARTFS_CACHE_SIZE"] = "2M"
        version = found.mount() / "me/demo/data/v0"
        names = list(FILES)
        random.Random(3).shuffle(names)
        assert read_all(version, names) == FILES
        assert gets_of(proxy, PACKS) < len(FILES)


def test_strict_readers_get_right_bytes_with_few_requests(logged, proxy, tmp_path):
    with machine_of(tmp_path / "strict", logged, proxy) as found:
        found.environment["ARTFS_VERIFY"] = "strict"
        assert read_all(found.mount() / "me/demo/data/v0") == FILES
        assert gets_of(proxy, PACKS) <= BLOCKS


@pytest.mark.expects_warning("is damaged or missing")
def test_a_warm_up_names_a_file_that_is_damaged_and_no_other(own, source, proxy, tmp_path):
    some = {f"d/{number:02}": os.urandom(1000) for number in range(40)}
    whole = b"".join(some.values())
    ran(own.maker, ["put", source(some), "demo/data"])
    replace(own, whole, flipped(whole, 7_500))
    with machine_of(tmp_path / "reader", own, proxy, "is damaged") as reader:
        ((code, out, _),) = run_here(reader, [["warm", "demo/data", "--json"]])
        found = json.loads(out)
        assert [row["path"] for row in found["failed"]] == ["me/demo/data:v0/d/07"]
        assert code != 0
        assert found["fetched_files"] == 39


def test_two_machines_that_commit_the_same_files_at_once_get_whole_versions(own, proxy, source, tmp_path):
    shared = {f"s/{number:03}": random.Random(number).randbytes(50_000) for number in range(100)}
    mine = [shared | {f"own/{number}": b"%d" % number, "x": b"%d" % number} for number in range(2)]
    with contextlib.ExitStack() as stack:
        machines = [stack.enter_context(machine_of(tmp_path / f"{n}", own, proxy)) for n in range(2)]
        running = [
            machine.start("put", source(files), "demo/data", "--alias", f"of-{number}")
            for number, (machine, files) in enumerate(zip(machines, mine, strict=True))
        ]
        for one in running:
            out, err = one.communicate(timeout=300)
            assert one.returncode == 0, (out, err)
        collection = machines[0].mount() / "me/demo/data"
        for number, files in enumerate(mine):
            assert read_all(collection / f"of-{number}", files) == files
        ran(own.maker, ["gc", "--grace", "0", "--delete"], ["fsck", "--deep"])
