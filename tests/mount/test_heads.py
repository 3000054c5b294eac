"""The head of a big file of a store elsewhere: who reads it waits for nothing that comes after."""

import os
import re

from artfs.model.entry import HEAD_SIZE
from tests.harness import wait_for
from tests.mount.conftest import within
from tests.servers.faults import Stall

DATA = os.urandom(3 * (1 << 20) + 17)


def test_the_first_bytes_of_a_big_file_wait_for_its_head_alone_and_no_byte_comes_twice(remote, proxy):
    found = remote(proxy.url)
    version = found.put({"data": DATA})
    found.mount()
    proxy.forget()
    with proxy.injected(Stall(after=HEAD_SIZE), method="GET", path=found.key(DATA)) as stall:
        with (version / "data").open("rb", buffering=0) as file:
            assert within(file.read, 4096) == DATA[:4096]
        wait_for(lambda: stall.hits >= 2, "the rest to be asked for")
    proxy.clear()
    ranges = [request.range for request in proxy.requests() if found.key(DATA) in request.path]
    assert ranges[0] == f"bytes=0-{HEAD_SIZE - 1}"
    assert re.fullmatch(rf"bytes={HEAD_SIZE}-\d+", ranges[1])
    assert within((version / "data").read_bytes) == DATA
