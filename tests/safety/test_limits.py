"""Sizes and names at the limits: what is allowed works everywhere, and one byte more is a clear error."""

import http.server
import os
import subprocess
import sys
import threading
import time

import pytest

import artfs
from artfs.errors import InvalidInputError
from tests.cli.conftest import run_all
from tests.harness import DEADLINE, Artfs
from tests.mount.conftest import within
from tests.safety.conftest import as_program, manifest_of, md5, plant

BLOCK = 1 << 20
HUGE = 100 * 10**12
LONGEST = "/".join(["d" * 255] * 15 + ["n" * 255])
assert len(LONGEST) == 4095
WIDE = "ü" * 127 + "x"  # 255 bytes
assert len(WIDE.encode()) == 255


def open_below(directory, path):
    """Open a file whose path is longer than the kernel takes at once, step by step."""
    above = os.open(directory, os.O_PATH)
    try:
        *directories, name = path.split("/")
        for one in directories:
            below = os.open(one, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
            above = below
        return os.open(name, os.O_RDONLY, dir_fd=above)
    finally:
        os.close(above)


def bytes_below(directory, path):
    with os.fdopen(open_below(directory, path), "rb") as file:
        return file.read()


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """A mount of a version with the longest names there are."""
    found = Artfs(tmp_path_factory.mktemp("long"))
    files = {LONGEST: b"deep", WIDE: b"wide", f"{WIDE}2/{WIDE}"[1:]: b"both"}
    (found.root / "f").write_bytes(b"one byte more")
    with as_program(found):
        artifact = artfs.Artifact("data", "dataset")
        for name in (f"{LONGEST[:-255]}x/{'n' * 254}x", LONGEST, "x" * 256, f"{WIDE}x", f"a/{'ü' * 128}"):
            with pytest.raises(InvalidInputError, match="longer than"):
                artifact.add_file(str(found.root / "f"), name=name)
        artifact.add_file(str(found.root / "f"), name=WIDE)
        assert sorted(artifact.manifest.entries) == [WIDE]
    (found.root / "source").mkdir()
    for number, data in enumerate(files.values()):
        (found.root / "source" / str(number)).write_bytes(data)
    found.here("put", found.root / "source", "demo/data")
    plant(found, "data", manifest_of((name, {"digest": md5(data), "size": 4}) for name, data in sorted(files.items())))
    found.mount()
    found.files = files
    yield found
    found.close()
    assert not found.unexpected_log()


def test_the_longest_names_are_read_through_the_mount(long_names):
    version = long_names.collection() / "v0"
    for name, data in long_names.files.items():
        assert bytes_below(version, name) == data
    assert os.path.getsize(version / WIDE) == 4
    assert not (version / f"{WIDE}x").exists()
    assert os.statvfs(version).f_namemax == 255


def test_the_longest_names_are_written_out_listed_and_proven(long_names, tmp_path):
    lines = [
        ["get", "demo/data:v0", tmp_path / "out"],
        ["verify", "demo/data:v0"],
        ["du", "demo/data:v0"],
        ["ls", "-l", "demo/data:v0"],
        ["stage", "demo/data:v0"],
    ]
    for line, (code, out, err) in zip(lines, run_all(long_names, lines), strict=True):
        assert (code, err) == (0, ""), (line, out, err)
    for name, data in long_names.files.items():
        assert bytes_below(tmp_path / "out", name) == data
    draft = long_names.collection() / ".staging/from-v0"
    assert bytes_below(draft, LONGEST) == b"deep"


# 100 TB ------------------------------------------------------------------------------------------------------------


def content(start, end):
    """Return bytes of a file that nobody could keep: each block begins with its number."""
    pieces = bytearray(end - start)
    for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
        text = b"%020d" % number
        at = number * BLOCK - start
        if at >= 0:
            pieces[at : at + len(text)] = text
    return bytes(pieces[: end - start])


MAP = """
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
with mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ, offset=int(sys.argv[2])) as mapped:
    os.write(1, mapped[:20])
"""


class Endless(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last = (int(text) for text in self.headers["Range"].removeprefix("bytes=").split("-"))
        body = content(first, last + 1)
        self.server.sent += len(body)
        self.send_response(206)
        self.send_header("ETag", '"endless"')
        self.send_header("Content-Range", f"bytes {first}-{last}/{HUGE}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.sent, server.daemon_threads = 0, True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    found = Artfs(tmp_path_factory.mktemp("huge"))
    (found.root / "f").write_bytes(b"one\n")
    found.here("put", found.root / "f", "demo/data")
    ref = f"http://127.0.0.1:{server.server_port}/endless"
    entry = {"digest": "endless", "ref": ref, "size": HUGE, "extra": {"etag": '"endless"'}}
    plant(found, "data", manifest_of([("huge", entry)]))
    found.mount()
    found.server = server
    yield found
    found.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert not found.unexpected_log("cannot be kept")


def test_a_file_of_100_tb_is_listed_and_measured_at_once(huge):
    file = huge.collection() / "v0/huge"
    began = time.monotonic()
    assert within(os.stat, file).st_size == HUGE
    assert within(os.listdir, file.parent) == ["huge"]
    assert within(os.getxattr, file, "user.artfs.size") == str(HUGE).encode()
    assert within(os.getxattr, file, "user.artfs.cached") == b"no"
    lines = [["du", "demo/data:v0"], ["ls", "-l", "demo/data:v0"], ["diff", "demo/data:v0", "demo/data:v0"]]
    for code, _, err in run_all(huge, lines):
        assert (code, err) == (0, "")
    assert time.monotonic() - began < 60
    assert huge.server.sent == 0


@pytest.mark.parametrize("offset", [0, HUGE // 2 // BLOCK * BLOCK, HUGE // BLOCK * BLOCK])
def test_a_page_of_a_file_of_100_tb_is_mapped(huge, offset):
    before, file = huge.server.sent, huge.collection() / "v0/huge"
    command = [
        sys.executable,
        "-c",
        MAP,
        str(file),
        str(offset),
    ]  # a page fault here would hold the server's interpreter, too
    done = subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE)
    assert done.stdout == b"%020d" % (offset // BLOCK)
    descriptor = os.open(file, os.O_RDONLY)
    assert within(os.pread, descriptor, 100, HUGE) == b""
    os.close(descriptor)
    assert within(os.getxattr, huge.collection() / "v0/huge", "user.artfs.cached") in {b"partly", b"no"}
    assert huge.server.sent - before < 64 * BLOCK
