"""One entry of a netrc file is written, and everything else stays to the letter."""

import netrc
import os

import pytest

from artfs.app.netrc_file import with_entry, write_entry
from artfs.errors import InvalidInputError

ENTRY = "machine h\n  login user\n  password key\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ENTRY),
        ("# mine\n", "# mine\n" + ENTRY),
        ("machine a login b password c", "machine a login b password c\n" + ENTRY),
        ("machine h login x password y\n", ENTRY),
        ("machine h\n  login x\n  password y\n\nmachine a login b password c\n", ENTRY + "\nmachine a login b password c\n"),
        ("machine a login h password machine\n", "machine a login h password machine\n" + ENTRY),
        ("machine h login x password y\nmachine h password z\n", ENTRY),
        ("machine a password b\ndefault login anonymous password me\n", "machine a password b\n" + ENTRY + "default login anonymous password me\n"),
        ('machine a login "q r" password "machine h"\n', 'machine a login "q r" password "machine h"\n' + ENTRY),
        ("machine h password y # the old one\nmachine a password b\n", ENTRY + " # the old one\nmachine a password b\n"),
        ("macdef init\nmachine h\npassword x\n\nmachine a password b\n", "macdef init\nmachine h\npassword x\n\nmachine a password b\n" + ENTRY),
        ("machine h:80 password y\n", "machine h:80 password y\n" + ENTRY),
    ],
)  # fmt: skip
def test_the_entry_takes_its_place(tmp_path, before, after):
    assert with_entry(before, "h", "user", "key") == after
    path = tmp_path / "netrc"
    path.write_text(before)
    path.chmod(0o644)
    others = dict(netrc.netrc(path).hosts)
    write_entry(path, "h", "user", "key")
    assert path.read_text() == after
    assert netrc.netrc(path).hosts == others | {"h": ("user", "", "key")}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["netrc"]


def test_a_file_that_cannot_be_read_is_left_alone_and_its_words_are_in_no_error(tmp_path):
    path = tmp_path / "netrc"
    path.write_text("machine a\n  passwort geheim\n")
    with pytest.raises(InvalidInputError) as caught:
        write_entry(path, "h", "user", "key")
    assert "geheim" not in str(caught.value)
    assert "passwort" not in str(caught.value)
    assert path.read_text() == "machine a\n  passwort geheim\n"
    assert os.listdir(tmp_path) == ["netrc"]


def test_a_key_that_the_file_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "netrc"
    path.write_text("machine a password b\n")
    with pytest.raises(InvalidInputError):
        write_entry(path, "h", "user", 'two words "')
    assert path.read_text() == "machine a password b\n"


def test_a_symlink_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "dotfiles")
    write_entry(tmp_path / "link", "h", "user", "key")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "dotfiles").read_text() == ENTRY
