"""The tools that people use read a version as they read any directory."""

import concurrent.futures
import hashlib
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.harness import DEADLINE, tree_of, wait_for

MANY = 20_000


def run(*command, **kwargs):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=300, **kwargs
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def git(directory, *arguments, **environment):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
    return run(
        "git", *settings, "-C", directory, *arguments, env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"} | environment
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(7)
    (root / "sub/deeper/empty of text").mkdir(parents=True)
    (root / "sub/deeper/empty of text/ü 'file").touch()
    (root / "sub/words.txt").write_text("".join(f"line {number} of the needle\n" for number in range(5000)))
    (root / "sub/deeper/random.bin").write_bytes(rng.bytes((5 << 20) + 3))
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    np.save(root / "array.npy", rng.integers(0, 1000, (1000, 700)))
    (root / "package").mkdir()
    (root / "package/__init__.py").write_text("from package.inner import VALUE\n")
    (root / "package/inner.py").write_text("VALUE = 42\n")
    database = sqlite3.connect(root / "table.sqlite")
    database.execute("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)")
    database.executemany("INSERT INTO t VALUES (?, ?)", [(number, "y" * 100) for number in range(20_000)])
    database.commit()
    database.close()
    with zipfile.ZipFile(root / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(root / "sub/words.txt", "words.txt")
        archive.write(root / "sub/deeper/random.bin", "random.bin")
    with tarfile.open(root / "archive.tar.gz", "w:gz") as archive:
        archive.add(root / "sub", "sub")
    git(root, "init", "-q", "work")
    for number in range(3):
        (root / f"work/f{number}").write_text(f"{number}\n")
        git(root / "work", "add", "-A")
        git(root / "work", "commit", "-q", "-m", f"number {number}")
    return root


@pytest.fixture(scope="module")
def version(artfs, source):
    artfs.run("put", source, "demo/data")
    return artfs.collection() / "v0"


def test_memory_maps(version, source):
    want = (source / "sub/deeper/random.bin").read_bytes()
    with (
        (version / "sub/deeper/random.bin").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        assert mapped[3 << 20 : (3 << 20) + 100] == want[3 << 20 : (3 << 20) + 100]
        assert mapped[-5:] == want[-5:]
        assert mapped.find(want[4_000_000:4_000_050]) == 4_000_000
        assert hashlib.md5(mapped).digest() == hashlib.md5(want).digest()
    with (version / "sub/words.txt").open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as private:
        private[:4] = b"LINE"  # a private map may be written, and changes nothing
        assert private[:9] == b"LINE 0 of"
    assert (version / "sub/words.txt").read_bytes()[:4] == b"line"
    with (version / "sub/words.txt").open("rb") as file, pytest.raises(PermissionError):
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE)


def test_numpy_loads_and_maps(version, source):
    want = np.load(source / "array.npy")
    assert (np.load(version / "array.npy") == want).all()
    mapped = np.load(version / "array.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert (mapped[::97, 3] == want[::97, 3]).all()
    assert (
        np.memmap(version / "sub/deeper/random.bin", dtype="u1", mode="r")[-7:]
        == np.fromfile(source / "sub/deeper/random.bin", "u1")[-7:]
    ).all()
    with pytest.raises(OSError, match="Read-only file system"):
        np.load(version / "array.npy", mmap_mode="r+")


@pytest.mark.parametrize("how", ["immutable=1", "mode=ro", ""])
def test_sqlite_reads(version, how):
    target = f"{(version / 'table.sqlite').as_uri()}?{how}" if how else str(version / "table.sqlite")
    database = sqlite3.connect(target, uri=bool(how))
    assert database.execute("SELECT count(*), sum(x) FROM t").fetchone() == (20_000, 199_990_000)
    assert database.execute("SELECT y FROM t WHERE x = 19999").fetchone() == ("y" * 100,)
    with pytest.raises(sqlite3.OperationalError, match="readonly database"):
        database.execute("DELETE FROM t")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_archives_are_read_in_place(version, source, tmp_path):
    with zipfile.ZipFile(version / "archive.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("words.txt") == (source / "sub/words.txt").read_bytes()
    with tarfile.open(version / "archive.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert tree_of(tmp_path / "sub") == tree_of(source / "sub")
    run("tar", "-C", version, "-cf", tmp_path / "made.tar", ".")
    run("tar", "-C", version, "-df", tmp_path / "made.tar")  # compares sizes, modes, times and bytes
    (tmp_path / "untar").mkdir()
    run("tar", "-C", tmp_path / "untar", "-xf", tmp_path / "made.tar")
    assert tree_of(tmp_path / "untar") == tree_of(version)


def test_cp_and_diff_find_the_same_files_and_nothing_more(version, source, tmp_path):
    run("cp", "-r", version, tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == tree_of(version)
    assert run("diff", "-r", version, tmp_path / "copy") == ""
    assert tree_of(version).items() <= tree_of(source).items()
    lost = {path for path, data in tree_of(source).items() if path not in tree_of(version)}
    assert {path for path in lost if not (source / path).is_dir()} == set()  # only empty directories
    run("cp", "-a", version, tmp_path / "exact")
    assert (tmp_path / "exact/run.sh").stat().st_mtime_ns == (version / "run.sh").stat().st_mtime_ns
    assert run(tmp_path / "exact/run.sh") == run(version / "run.sh") == "ran\n"
    shutil.copytree(version, tmp_path / "tree")
    assert tree_of(tmp_path / "tree") == tree_of(version)


def test_the_second_rsync_transfers_nothing(version, tmp_path):
    run("rsync", "-a", f"{version}/", tmp_path / "copy/")
    assert tree_of(tmp_path / "copy") == tree_of(version)
    assert run("rsync", "-a", "--itemize-changes", f"{version}/", tmp_path / "copy/") == ""
    assert run("rsync", "-a", "--checksum", "--itemize-changes", f"{version}/", tmp_path / "copy/") == ""


def test_the_second_rsync_from_another_mount_of_the_version_transfers_nothing(version, artfs, tmp_path):
    run("rsync", "-a", f"{version}/", tmp_path / "copy/")
    artfs.umount()
    artfs.mount()
    assert run("rsync", "-a", "--itemize-changes", f"{version}/", tmp_path / "copy/") == ""


def test_find_du_and_grep(version, source):
    want = {f"./{path}" for path in tree_of(version)} | {"."}
    assert set(run("find", ".", cwd=version).splitlines()) == want
    files = {f"./{path}" for path, data in tree_of(source).items() if data is not None}
    assert set(run("find", ".", "-type", "f", cwd=version).splitlines()) == files
    assert run("find", ".", "-name", "*.sh", "-perm", "555", cwd=version) == "./run.sh\n"
    large = {f"./{path}" for path, data in tree_of(source).items() if data and len(data) > 1_000_000}
    assert set(run("find", ".", "-type", "f", "-size", "+1000000c", cwd=version).splitlines()) == large
    assert (
        run("find", ".", "!", "-perm", "/222", "-newermt", "2020-01-01", "-name", "words.txt", cwd=version)
        == "./sub/words.txt\n"
    )
    size = sum(len(data) for data in tree_of(version).values() if data is not None)
    assert int(run("du", "-sb", "--apparent-size", version).split()[0]) == size
    assert int(run("du", "-s", "--block-size=1", version).split()[0]) >= size
    assert run("grep", "-rl", "line 4999 of the needle", version) == f"{version}/sub/words.txt\n"
    assert len(run("grep", "-r", "needle", "--include=*.txt", version).splitlines()) == 5000


def test_checksums_are_those_of_the_source(version, source):
    sums = run("sh", "-c", "find . -type f -print0 | sort -z | xargs -0 sha256sum", cwd=source)
    assert sums.count("\n") > 20
    assert run("sh", "-c", "find . -type f -print0 | sort -z | xargs -0 sha256sum", cwd=version) == sums
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict"], input=sums, text=True, cwd=version, check=True)


def test_git_reads_a_repository_in_a_version(version, tmp_path):
    work = version / "work"
    assert git(work, "log", "--format=%s").splitlines() == ["number 2", "number 1", "number 0"]
    assert git(work, "show", "HEAD:f2") == "2\n"
    assert git(work, "status", "--porcelain") == ""
    assert git(work, "fsck") == ""
    git(tmp_path, "clone", "-q", work, "clone")
    assert (tmp_path / "clone/f1").read_text() == "1\n"
    git(tmp_path / "clone", "pull", "-q")


def test_python_imports_from_a_version(version):
    script = "import package; print(package.VALUE, package.__file__)"
    found = run(sys.executable, "-c", script, env=os.environ | {"PYTHONPATH": str(version)})
    assert found == f"42 {version}/package/__init__.py\n"
    assert not (version / "package/__pycache__").exists()
    assert run(sys.executable, "-m", "package.inner", cwd=version) == ""


def test_reading_in_many_processes_gives_every_one_the_same_bytes(version, source):
    want = hashlib.sha256((source / "sub/deeper/random.bin").read_bytes()).hexdigest()
    script = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", script, version / "sub/deeper/random.bin"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    assert {reader.communicate(timeout=DEADLINE)[0].strip() for reader in readers} == {want}


PUBLISH_MANY = """
import sys
from artfs.app.services import open_services
from artfs.config import load_config
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.entry import Entry
from artfs.model.manifest import encode_manifest
from artfs.model.names import CollectionRef
from artfs.model.paths import parse_entry_path
from artfs.registry.port import ManifestFile, NewVersion

blobs = [b"%d" % number for number in range(100)]
entries = [Entry(parse_entry_path(f"file-{number:05}"), Digest.of(blobs[number % 100]).base64, len(blobs[number % 100]))
           for number in range(int(sys.argv[1]))]
digest = version_digest((entry.path, entry.digest) for entry in entries)
manifest = b"".join(encode_manifest(entries))
with open_services(load_config()) as services:
    for blob in (*blobs, manifest):
        services.store.write(Digest.of(blob), [blob])
    services.registry.reserve(
        NewVersion("many", CollectionRef("me", "demo", "many"), "dataset", digest, Algorithm.MD5, sum(entry.size for entry in entries),
                   len(entries), None, {}))
    services.registry.publish("many", ManifestFile(Digest.of(manifest), len(manifest)), [])
"""


@pytest.fixture(scope="module")
def many(artfs):
    """A version of many files, made without them."""
    run(sys.executable, "-c", PUBLISH_MANY, MANY, env=artfs.environment)
    return wait_for(lambda: (path := artfs.collection("many") / "v0").exists() and path)


def test_a_large_directory_is_listed_whole_and_stable_by_two_processes_at_once(many):
    want = [f"file-{number:05}" for number in range(MANY)]
    script = (
        "import os, sys; names = [entry.name for entry in os.scandir(sys.argv[1])];"
        "print('\\n'.join(names)); assert all(os.path.getsize(os.path.join(sys.argv[1], name)) for name in names[::50])"
    )
    with os.scandir(many) as listing:
        first = [entry.name for _, entry in zip(range(3000), listing, strict=False)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: run(sys.executable, "-c", script, many).splitlines(), range(2)))
        rest = [entry.name for entry in listing]
    assert found == [want, want]
    assert first + rest == want
    assert run("ls", many).splitlines() == want
    assert sum(1 for _ in Path(many).iterdir()) == MANY


def test_a_listing_can_be_wound_back_and_taken_up_again(many):
    descriptor = os.open(many, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = os.listdir(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        assert os.listdir(descriptor) == names
        assert len(set(names)) == MANY
    finally:
        os.close(descriptor)
