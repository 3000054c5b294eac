"""URLs of files on a W&B server are asked for in batches, with those that come next, and no more of these than were needed before."""

import threading

import pytest

from artfs.errors import InvalidInputError, NotFoundError, UnreachableError
from artfs.storage.wandb_urls import MAX_NAMES, FileUrls
from tests.harness import DEADLINE, wait_for

NAMES = [f"{number:05}" for number in range(10_000)]
KNOWN = frozenset(NAMES)


def upcoming(_, path, count):
    place = int(path) + 1
    return NAMES[place : place + count]


class Server:
    """What is asked for is noted, and refused if it has one of the ``bad`` names."""

    def __init__(self, bad=(), error=None) -> None:
        self.asked = []
        self.bad = set(bad)
        self.error = error or InvalidInputError("refused")

    def __call__(self, version_id, paths):
        self.asked.append(list(paths))
        if self.bad & set(paths):
            raise self.error
        return {path: f"https://host/{version_id}/{path}" for path in paths if path in KNOWN}


def test_the_first_question_is_for_one_file():
    server = Server()
    assert FileUrls(server).get("v", "00007", upcoming=upcoming).uri == "https://host/v/00007"
    assert server.asked == [["00007"]]


def test_who_reads_a_whole_version_asks_a_few_times():
    server = Server()
    urls = FileUrls(server)
    for name in NAMES:
        assert urls.get("v", name, upcoming=upcoming).uri == f"https://host/v/{name}"
    assert len(server.asked) < len(NAMES) / 100 * 3
    assert max(map(len, server.asked)) <= MAX_NAMES
    assert sorted(name for names in server.asked for name in names) == NAMES


def test_no_more_is_asked_ahead_than_was_needed_before():
    server = Server()
    urls = FileUrls(server)
    for number, name in enumerate(NAMES[::100], 1):
        urls.get("v", name, upcoming=upcoming)
        assert len(server.asked[-1]) <= number
    assert [names[0] for names in server.asked] == NAMES[::100][: len(server.asked)]


def test_a_refusal_of_what_comes_next_is_none_of_what_was_needed():
    server = Server(bad=["00003"])
    urls = FileUrls(server)
    for name in ("00000", "00001", "00002"):
        assert urls.get("v", name, upcoming=upcoming).uri.endswith(name)
    with pytest.raises(InvalidInputError):
        urls.get("v", "00003", upcoming=upcoming)


def test_a_server_that_is_away_is_not_asked_twice():
    server = Server(error=UnreachableError("away"))
    urls = FileUrls(server)
    urls.get("v", "00000", upcoming=upcoming)
    server.bad = set(NAMES)
    with pytest.raises(UnreachableError):
        urls.get("v", "00001", upcoming=upcoming)
    assert len(server.asked) == 2


def test_a_file_that_the_server_leaves_out_is_not_found():
    with pytest.raises(NotFoundError):
        FileUrls(Server()).get("v", "nothing")


def test_a_url_that_was_used_in_vain_is_asked_for_again():
    server = Server()
    urls = FileUrls(server)
    used = urls.get("v", "00000")
    assert urls.get("v", "00000") is used
    assert urls.get("v", "00000", used) is not used
    assert len(server.asked) == 2


def test_who_waits_together_is_asked_for_together():
    server, begun, goes_on = Server(), threading.Event(), threading.Event()

    def slow(version_id, paths):
        begun.set()
        assert goes_on.wait(DEADLINE)
        return server(version_id, paths)

    urls = FileUrls(slow)
    found = {}

    def read(name):
        found[name] = urls.get("v", name).uri

    threads = [threading.Thread(target=read, args=(name,)) for name in NAMES[:64]]
    threads[0].start()
    assert begun.wait(DEADLINE)
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(urls._waiting.get("v", ())) == 63, "all that wait")
    goes_on.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(found) == 64
    assert [len(names) for names in server.asked] == [1, 63]
