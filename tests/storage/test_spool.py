"""What is to be written, as a file that can be read again."""

import tempfile

import pytest

from artfs.errors import NoSpaceError, NotFoundError, PermissionDeniedError
from artfs.storage import spool
from artfs.storage.spool import opened, spooled


@pytest.mark.parametrize("in_memory", [3, 1 << 20])
@pytest.mark.parametrize("pieces", [[], [b""], [b"ab", b"", b"cde"]])
def test_pieces_are_a_file_that_can_be_read_again(monkeypatch, in_memory, pieces):
    monkeypatch.setattr(spool, "_IN_MEMORY", in_memory)
    with spooled(iter(pieces)) as (file, size):
        assert size == len(b"".join(pieces))
        for _ in range(2):
            file.seek(0)
            assert file.read() == b"".join(pieces)
    assert file.closed


def test_a_full_disk_is_said_to_be_full(monkeypatch, small_disk):
    monkeypatch.setattr(spool, "_IN_MEMORY", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(NoSpaceError, match=str(small_disk)), spooled([bytes(100_000)] * 10):
        pytest.fail("it was written")
    assert list(small_disk.iterdir()) == []


def test_a_file_is_given_with_its_size_and_closed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with opened(path) as (file, size):
        assert (file.read(), size) == (b"abc", 3)
    assert file.closed


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path, unprivileged, public):
    with pytest.raises(NotFoundError, match=str(tmp_path)), opened(tmp_path / "none"):
        pytest.fail("it was opened")
    path = public / "file"
    path.touch(0)
    with unprivileged(), pytest.raises(PermissionDeniedError, match=str(path)), opened(path):
        pytest.fail("it was opened")


def test_a_failure_of_who_reads_is_not_one_of_the_file(tmp_path):
    (tmp_path / "file").touch()
    for context in (opened(tmp_path / "file"), spooled([b"a"])):
        with pytest.raises(OSError, match="of the reader"), context:
            raise OSError("of the reader")
