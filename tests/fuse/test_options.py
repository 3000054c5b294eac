"""The ``-o`` options: what is understood, what is passed by, and what is refused by name."""

import os

import pytest

from artfs.errors import InvalidInputError
from artfs.fuse.options import MountOptions, is_known, parse_options


def test_without_options_everything_is_the_users():
    assert parse_options([]) == MountOptions(
        read_only=False, no_exec=False, allow_other=False, uid=os.geteuid(), gid=os.getegid(), umask=0, fsname="artfs"
    )


@pytest.mark.parametrize(("options", "expected"), [
    (["ro"], {"read_only": True}),
    (["ro", "rw"], {"read_only": False}),
    (["rw", "ro"], {"read_only": True}),
    (["allow_other"], {"allow_other": True}),
    (["uid=1234,gid=4321"], {"uid": 1234, "gid": 4321}),
    (["uid=0", "gid=0"], {"uid": 0, "gid": 0}),
    (["uid=1", "uid=2"], {"uid": 2}),
    (["umask=027"], {"umask": 0o027}),
    (["umask=0"], {"umask": 0}),
    (["umask=777"], {"umask": 0o777}),
    (["fsname=my data"], {"fsname": "my data"}),
    (["fsname=a=b"], {"fsname": "a=b"}),
    (["ro,allow_other", "uid=5,umask=77"], {"read_only": True, "allow_other": True, "uid": 5, "umask": 0o077}),
    ([",,ro,,"], {"read_only": True}),
    (["noexec"], {"no_exec": True}),
    (["noexec,exec"], {"no_exec": False}),
    ([""], {}),
    ([f"uid={2**32 - 2}"], {"uid": 2**32 - 2}),
])  # fmt: skip
def test_options_are_understood(options, expected):
    found = parse_options(options)
    assert found == MountOptions(
        **{field: getattr(parse_options([]), field) for field in MountOptions.__slots__} | expected
    )


@pytest.mark.parametrize("option", ["rw", "dev", "nodev", "suid", "nosuid", "exec", "async", "atime", "noatime", "relatime",
                                    "sync", "strictatime", "lazytime", "silent", "owner", "group", "user=me", "comment=mine",
                                    "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "defaults",
                                    "x-systemd.automount", "x-systemd.requires=network-online.target", "x-gvfs-show"])  # fmt: skip
def test_what_fstab_and_systemd_hand_to_every_file_system_is_passed_by(option):
    assert parse_options([option]) == parse_options([])
    assert parse_options([f"noauto,{option},ro"]).read_only


@pytest.mark.parametrize("option", ["bogus", "ro=1", "allow_other=yes", "uid", "uid=", "gid", "umask", "fsname", "fsname=", "RO",
                                    "allow_root", "default_permissions", "size=5", "=", "=5"])  # fmt: skip
def test_what_is_not_known_is_refused_by_name(option):
    with pytest.raises(InvalidInputError) as caught:
        parse_options(["ro", f"nodev,{option}"])
    assert repr(option) in caught.value.message
    assert "allow_other" in caught.value.hint


@pytest.mark.parametrize("option", ["ro", "noexec", "uid=1", "nodev", "x-systemd.automount", "user=me"])
def test_what_means_something_is_known(option):
    assert is_known(option)
    assert not is_known("bogus")
    assert not is_known("uid=")


@pytest.mark.parametrize(("option", "reason"), [
    ("remount", "cannot be remounted"),
    ("uid=me", "not a number"),
    ("uid=1.5", "not a number"),
    ("uid=0x10", "not a number"),
    ("gid=12a", "not a number"),
    ("umask=8", "not a number"),
    ("umask=rwx", "not a number"),
    ("uid=-1", "out of range"),
    ("gid=-5", "out of range"),
    ("umask=-1", "out of range"),
    (f"uid={2**32}", "out of range"),
    (f"uid={2**32 - 1}", "out of range"),  # (uid_t) -1: no user
    (f"gid={2**32 - 1}", "out of range"),
    (f"gid={10**30}", "out of range"),
    ("umask=1000", "out of range"),
    ("umask=7777", "out of range"),
])  # fmt: skip
def test_numbers_that_are_none_or_too_big_are_refused(option, reason):
    with pytest.raises(InvalidInputError, match=reason) as caught:
        parse_options([option])
    assert option in caught.value.message


def test_libfuse_is_told_what_the_kernel_has_to_know():
    assert parse_options([]).for_libfuse() == {"fsname=artfs", "subtype=artfs", "noatime"}
    assert "noexec" in parse_options(["noexec"]).for_libfuse()
    assert parse_options(["ro,allow_other,fsname=x,uid=5,umask=77"]).for_libfuse() == {
        "fsname=x", "subtype=artfs", "noatime", "ro", "allow_other",
    }  # fmt: skip


def test_the_kernel_does_not_check_modes_itself():
    """It would answer EACCES where a program must see EROFS."""
    assert "default_permissions" not in parse_options(["allow_other"]).for_libfuse()
