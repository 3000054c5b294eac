"""The units under a systemd, and the lines of fstab that it reads. One file, so that one process of the tests starts one container."""

import json

import pytest

from tests.harness import wait_for
from tests.systemd.container import UNITS

ALICE = 4242
HOME = "/home/alice"
FILE = "alice/demo/data/latest/greeting"
UNIT = "artfs@alice"
HERE = f"XDG_RUNTIME_DIR=/run/user/{ALICE}"


@pytest.fixture(scope="module")
def machine(container):
    """The container, where alice has logged a version with one file in it."""
    container.write(f"{HOME}/source/greeting", "hello")
    container.run(f"artfs put {HOME}/source demo/data", user=ALICE)
    container.run(f"systemctl start user@{ALICE}")
    return container


@pytest.fixture(autouse=True)
def nothing_is_left(machine):
    yield
    for unit in (UNIT, "mnt-data.mount", "mnt-data.automount"):
        machine.run(f"systemctl stop {unit}", code=None)
    machine.run("systemctl reset-failed; : >/etc/fstab; rm -rf /etc/systemd/system/*.d; systemctl daemon-reload")
    assert mounts(machine) == []


def mounts(machine):
    found = machine.run("findmnt --json --types fuse.artfs --output TARGET,OPTIONS", code=None).stdout
    return [(one["target"], one["options"].split(",")) for one in json.loads(found)["filesystems"]] if found else []


def show(machine, name, unit=UNIT):
    return machine.out(f"systemctl show --property {name} --value {unit}")


def pid(machine):
    return int(show(machine, "MainPID"))


def greeting(machine, mountpoint, user=ALICE):
    return machine.run(f"cat {mountpoint}/{FILE}", user=user, code=None).stdout


def is_alive(machine, process):
    return machine.run(f"kill -0 {process}", code=None).returncode == 0


def daemon_at(machine, mountpoint):
    return int(machine.out(f"getfattr --only-values --absolute-names -n user.artfs.pid {mountpoint}", user=ALICE))


def unit_names():
    return sorted(str(path.relative_to(UNITS)) for path in UNITS.rglob("*.*") if path.suffix in {".service", ".timer"})


def test_systemd_has_nothing_to_say_about_the_units(machine):
    system = [name for name in unit_names() if not name.startswith("user/")]
    user = [name.removeprefix("user/") for name in unit_names() if name.startswith("user/")]
    assert "artfs@.service" in system
    assert "artfs@.service" in user
    done = machine.run(f"cd /usr/local/lib/systemd/system && systemd-analyze verify {' '.join(system)}")
    assert (done.stdout, done.stderr) == ("", "")
    done = machine.run(
        f"cd /usr/local/lib/systemd/user && {HERE} systemd-analyze --user verify {' '.join(user)}", user=ALICE
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_unit_is_active_when_its_mount_answers_and_not_before(machine):
    held = f"{HOME}/.local/state/artfs/run"  # whoever mounts waits for a lock on it
    machine.run(f"mkdir -p {held}", user=ALICE)
    machine.run(f"systemd-run --quiet --unit=holder flock {held} sleep infinity")
    wait_for(lambda: machine.run(f"flock --nonblock {held} true", code=None).returncode == 1, "a lock that is held")
    machine.run(f"systemctl start --no-block {UNIT}")
    wait_for(lambda: pid(machine) and "mount" in machine.out(f"tr '\\0' ' ' </proc/{pid(machine)}/cmdline"))
    assert show(machine, "ActiveState") == "activating"
    machine.run("systemctl stop holder")
    wait_for(lambda: show(machine, "ActiveState") == "active")
    assert greeting(machine, f"{HOME}/artifacts") == "hello"
    assert show(machine, "StatusText") == f"serving {HOME}/artifacts"
    assert show(machine, "WatchdogUSec") == "1min"


def test_stopping_a_unit_unmounts_and_ends_everything(machine):
    machine.run(f"systemctl start {UNIT}")
    process = pid(machine)
    assert [path for path, _ in mounts(machine)] == [f"{HOME}/artifacts"]
    assert "CapBnd:\t0000000000200004" in machine.out(f"cat /proc/{process}/status")  # SYS_ADMIN and DAC_READ_SEARCH
    machine.run(f"systemctl stop {UNIT}")
    assert mounts(machine) == []
    assert not is_alive(machine, process)
    assert (show(machine, "ActiveState"), show(machine, "Result")) == ("inactive", "success")
    assert machine.out(f"ls -A {HOME}/artifacts {HOME}/.local/state/artfs/run", user=ALICE).split() == [
        f"{HOME}/.local/state/artfs/run:", f"{HOME}/artifacts:"
    ]  # fmt: skip


def test_a_mount_whose_process_is_killed_is_there_again(machine):
    machine.run(f"systemctl start {UNIT}")
    before = pid(machine)
    machine.run(f"mkdir -p {HOME}/artifacts/alice/demo/data/.staging/mine && echo kept >{HOME}/artifacts/alice/demo/data/.staging/mine/f", user=ALICE)  # fmt: skip
    machine.run(f"kill -9 {before}")
    wait_for(lambda: greeting(machine, f"{HOME}/artifacts") == "hello")
    assert pid(machine) != before
    assert show(machine, "NRestarts") == "1"
    assert machine.out(f"cat {HOME}/artifacts/alice/demo/data/.staging/mine/f", user=ALICE) == "kept"


def test_a_mount_that_does_not_answer_is_started_again_and_one_that_does_is_left_alone(machine):
    machine.write(f"/etc/systemd/system/{UNIT}.service.d/quick.conf", "[Service]\nWatchdogSec=6\n")
    machine.run("systemctl daemon-reload")
    machine.run(f"systemctl start {UNIT}")
    before = pid(machine)
    for _ in range(3):  # as often as it tells in the time that systemd waits
        sign = show(machine, "WatchdogTimestampMonotonic")
        wait_for(lambda: show(machine, "WatchdogTimestampMonotonic") != sign, "a sign of life")
    assert pid(machine) == before
    machine.run(f"kill -STOP {before}")
    wait_for(lambda: pid(machine) not in {0, before} and show(machine, "ActiveState") == "active")
    assert greeting(machine, f"{HOME}/artifacts") == "hello"
    assert "watchdog" in machine.out(f"journalctl --unit {UNIT} --output cat")


def test_a_reload_asks_the_registry_anew(machine):
    machine.run(f"systemctl start {UNIT}")
    machine.run(f"systemctl reload {UNIT}")
    wait_for(lambda: "on SIGHUP" in machine.out(f"journalctl --unit {UNIT} --output cat"))
    assert greeting(machine, f"{HOME}/artifacts") == "hello"


def test_the_environment_file_says_where_and_how(machine):
    machine.write("/etc/artfs/alice.env", "ARTFS_MOUNTPOINT=/home/alice/else where\nARTFS_MOUNT_OPTIONS=ro,noexec\n")
    try:
        machine.run(f"systemctl start {UNIT}")
        [(path, options)] = mounts(machine)
        assert path == "/home/alice/else where"
        assert {"ro", "noexec"} <= set(options)
        assert [one["mountpoint"] for one in json.loads(machine.out("artfs status --json", user=ALICE))] == [path]
    finally:
        machine.run("rm /etc/artfs/alice.env")


def test_a_unit_that_cannot_mount_says_why_and_fails(machine):
    machine.write(f"/etc/systemd/system/{UNIT}.service.d/once.conf", "[Service]\nRestart=no\n")
    machine.run(f"systemctl daemon-reload; mkdir -p {HOME}/artifacts/full")
    try:
        machine.run(f"systemctl start {UNIT}", code=1)
        assert "is not empty" in machine.out(f"journalctl --unit {UNIT} --output cat")
        assert show(machine, "ExecMainStatus") == "4"
    finally:
        machine.run(f"rmdir {HOME}/artifacts/full")


def test_a_user_has_a_mount_without_root(machine):
    machine.run(f"{HERE} systemctl --user start artfs@models", user=ALICE)
    assert [path for path, _ in mounts(machine)] == [f"{HOME}/models"]
    assert greeting(machine, f"{HOME}/models") == "hello"
    process = daemon_at(machine, f"{HOME}/models")
    machine.run(f"kill -9 {process}")
    wait_for(lambda: greeting(machine, f"{HOME}/models") == "hello")
    machine.run(f"{HERE} systemctl --user stop artfs@models", user=ALICE)
    assert mounts(machine) == []


def test_a_line_of_fstab_is_mounted_by_systemd_and_by_mount_and_plainly_unmounted(machine):
    machine.write(
        "/etc/fstab",
        "artfs /mnt/data fuse.artfs noauto,nofail,_netdev,user,x-systemd.mount-timeout=300,setuid=alice,noexec,cache_size=1G 0 0\n",
    )
    machine.run("mkdir -p /mnt/data && chown alice /mnt/data && systemctl daemon-reload")
    for mount, umount in (
        ("systemctl start mnt-data.mount", "systemctl stop mnt-data.mount"),
        ("mount /mnt/data", "umount /mnt/data"),
    ):
        machine.run(mount)
        assert greeting(machine, "/mnt/data") == "hello"
        [(path, options)] = mounts(machine)
        assert path == "/mnt/data"
        assert {"rw", "nosuid", "nodev", "noexec", f"user_id={ALICE}"} <= set(options)
        process = daemon_at(machine, "/mnt/data")
        assert machine.out(f"{HERE} artfs status", user=ALICE).startswith(f"/mnt/data  (pid {process}")
        machine.run(umount)
        assert mounts(machine) == []
        wait_for(lambda: not is_alive(machine, process), f"the end of the process after {umount}")


def automount(machine, options):
    machine.write("/etc/fstab", f"artfs /mnt/data fuse.artfs noauto,x-systemd.automount,{options} 0 0\n")
    machine.run("mkdir -p /mnt/data && systemctl daemon-reload && systemctl start mnt-data.automount")
    assert mounts(machine) == []


@pytest.mark.parametrize("options", ["setuid=alice,drop_privileges", f"config={HOME}/config.toml,allow_other"])
def test_an_automount_mounts_when_somebody_looks(machine, options):
    machine.write(f"{HOME}/config.toml", f'data_dir = "{HOME}/.local/share/artfs"\n')
    automount(machine, options)
    assert greeting(machine, "/mnt/data") == "hello"
    assert [path for path, _ in mounts(machine)] == ["/mnt/data"]


def test_an_automount_that_would_wait_for_itself_is_refused(machine):
    automount(machine, "setuid=alice")
    assert "is an automount point (look into it" in machine.run("mount /mnt/data", code=32).stderr
    assert greeting(machine, "/mnt/data") == ""
    assert "add drop_privileges" in machine.out("journalctl --unit mnt-data.mount --output cat")


def test_a_mount_without_any_privilege_serves_all(machine):
    options = "setuid=alice,drop_privileges,allow_other,nosuid,nodev"
    machine.run(f"mkdir -p /mnt/data && mount -t fuse.artfs artfs /mnt/data -o {options}")
    assert greeting(machine, "/mnt/data", user=65534) == "hello"
    process = daemon_at(machine, "/mnt/data")
    status = machine.out(f"cat /proc/{process}/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status
    assert f"Uid:\t{ALICE}" in status
    machine.run("umount /mnt/data")
    wait_for(lambda: not is_alive(machine, process))


def test_what_mount_cannot_do_it_says_with_its_own_exit_code(machine):
    machine.run("mkdir -p /mnt/data")
    for source, options, said in (
        ("nowhere", "rw", "is no URL of a registry"),
        ("artfs", "cache_size=lots", "cache_size: 'lots' is not a size"),
        ("artfs", "bogus", "'bogus' is not known"),
        ("artfs", "setuid=nobody", "/nonexistent"),
    ):
        done = machine.run(f"mount -t fuse.artfs {source} /mnt/data -o {options}", code=32)
        assert said in done.stderr


def test_a_container_or_unit_that_may_not_open_the_device_is_told_so(machine):
    done = machine.run("systemd-run --quiet --wait --pipe --property=DevicePolicy=closed artfs mount /mnt/data", code=6)
    assert "/dev/fuse may not be opened in this container or unit" in done.stderr


def test_the_cache_is_checked_by_a_unit_and_the_timer_starts_it(machine):
    machine.run("systemctl start artfs-cache-verify@alice")
    assert show(machine, "Result", "artfs-cache-verify@alice") == "success"
    machine.run("systemctl start artfs-cache-verify@alice.timer")
    assert show(machine, "Triggers", "artfs-cache-verify@alice.timer") == "artfs-cache-verify@alice.service"
    machine.run(f"{HERE} systemctl --user start artfs-cache-verify", user=ALICE)
    machine.run("systemctl stop artfs-cache-verify@alice.timer")
