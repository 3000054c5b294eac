"""The form in which mount(8) and fstab call artfs, through the real mount.fuse3."""

import json
import os
import subprocess

import pytest

from artfs.app.client import mount_points
from artfs.cli.main import exit_code
from artfs.cli.mount_options import warnings_of
from tests.harness import wait_for


@pytest.fixture
def helper(cli, fuse):
    """Return a function that calls mount.fuse3 as mount(8) does; what it has mounted is unmounted at the end."""
    program = cli.root / "bin/artfs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec " + " ".join(cli.command) + ' "$@"\n')
    program.chmod(0o755)
    environment = {key: value for key, value in cli.environment.items() if not key.startswith(("ARTFS_", "XDG_"))}
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    cli.mountpoint.mkdir()
    found = ",".join(f"{name}_dir={cli.root}/{name}" for name in ("data", "cache", "state", "runtime"))

    def call(source, options, **kwargs):
        return subprocess.run(
            ["mount.fuse3", source, cli.mountpoint, "-t", "fuse.artfs", "-o", f"{found},{options}"],
            env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, **kwargs,
        )  # fmt: skip

    yield call
    cli.close()


def mount_options(mountpoint):
    table = json.loads(subprocess.run(["findmnt", "--json", mountpoint], capture_output=True, check=True).stdout)
    return set(table["filesystems"][0]["options"].split(","))


def test_a_line_of_fstab_mounts_what_it_says_and_returns_when_it_answers(helper, cli, small):
    cli.here("put", small, "demo/data")
    options = (
        "rw,noauto,nofail,_netdev,user,x-systemd.automount,noexec,entity=you,cache_size=7M,metadata-ttl=5,umask=027"
    )
    done = helper("artfs", options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (cli.mountpoint / "me/demo/data/latest/f").read_text() == "one\n"
    assert (cli.mountpoint / "me/demo/data/latest/f").stat().st_mode & 0o777 == 0o440
    assert {"rw", "noexec", "nosuid", "nodev"} <= mount_options(cli.mountpoint)  # mount.fuse3 adds dev and suid
    pid = cli.pid()
    cli.umount()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the mount process")


@pytest.mark.parametrize("umount", [["umount"], ["fusermount3", "-u"]])
def test_a_plain_unmount_ends_the_process_and_leaves_no_socket(helper, cli, umount):
    assert helper("artfs", "ro").returncode == 0
    assert "ro" in mount_options(cli.mountpoint)
    pid = cli.pid()
    subprocess.run([*umount, cli.mountpoint], check=True)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the mount process")
    assert list((cli.root / "runtime").iterdir()) == []


def test_the_source_and_the_options_are_settings(helper, cli):
    other = f"sqlite:///{cli.root}/other.sqlite"
    (cli.root / "config.toml").write_text('log_level = "debug"\nentity = "you"\n')
    done = helper(other, f"config={cli.root}/config.toml,log_level=error")
    assert done.returncode == 0, done.stderr
    [status] = cli.json("status")
    assert status["registry"] == other
    assert os.listdir(cli.mountpoint) == ["you"]  # from the file
    assert cli.log() == ""  # an option comes before the file


@pytest.mark.parametrize(("source", "options", "said"), [
    ("nowhere", "rw", "source 'nowhere' is no URL of a registry (write 'artfs'"),
    ("artfs", "cache_size=lots", "mount option cache_size: 'lots' is not a size"),
    ("artfs", "registry=", "mount option registry"),
    ("artfs", "bogus=1", "'bogus=1' is not known (known are ro, noexec"),
    ("artfs", "config=relative.toml", "not an absolute path"),
    ("artfs", "remount", "unmount it, then mount it anew"),
    ("artfs", "uid=12,bogus", "'bogus' is not known"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_the_exit_code_of_mount(helper, cli, source, options, said):
    done = helper(source, options)
    assert done.returncode == 32
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert mount_points() == [] or cli.mountpoint not in [path for path, _ in mount_points()]


def test_root_is_warned_of_an_owner_who_cannot_get_in(helper, cli):
    if os.geteuid() != 0:
        pytest.fail("only root can do what this test does")
    assert "uid=1000 owns what is shown, but only root gets in" in helper("artfs", "uid=1000").stderr
    assert warnings_of(["uid=1000,allow_other"]) == warnings_of(["uid=0"]) == []


def test_the_directories_are_those_of_the_user_whoever_s_the_environment_is(monkeypatch, tmp_path):
    """mount.fuse3 becomes the user of setuid=USER, but leaves the environment of root as it is."""
    import pwd

    from artfs.cli import mount_helper

    home = pwd.getpwuid(os.geteuid()).pw_dir
    seen = {}
    monkeypatch.setattr(mount_helper, "load_config", lambda settings: seen.update(os.environ))
    monkeypatch.setattr("artfs.app.launch.mount", lambda *_, **__: 0)
    for name in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "/of/somebody")
    monkeypatch.setenv("HOME", "/proc/1/of/somebody")  # not there, or not this user's
    assert exit_code(["artfs", str(tmp_path), "-o", "rw"]) == 0
    assert seen["HOME"] == home
    assert "XDG_DATA_HOME" not in seen
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/of/a/session")
    seen.clear()
    assert exit_code(["artfs", str(tmp_path), "-o", "rw"]) == 0
    assert seen["HOME"] == str(tmp_path)
    assert "XDG_RUNTIME_DIR" not in seen  # it goes with the session, and the mount stays


def test_flags_of_mount_are_understood_and_a_fake_mount_mounts_nothing(monkeypatch, capsys, tmp_path):
    mounted = []
    monkeypatch.setattr("artfs.app.launch.mount", lambda *arguments, **_: mounted.append(arguments[1:]) or 0)
    assert exit_code(["artfs", str(tmp_path), "-n", "-v", "-s", "-o", "ro,bogus"]) == 0
    assert mounted == [(str(tmp_path), ["ro"])]
    assert exit_code(["artfs", str(tmp_path), "-f", "-o", "ro"]) == 0
    assert len(mounted) == 1


def test_a_word_that_is_no_command_is_still_an_error(capsys):
    assert exit_code(["foo", "/bar"]) == 2
    assert "No such command 'foo'" in capsys.readouterr().err
