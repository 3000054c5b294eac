"""What docs/containers.md promises, with namespaces in the place of a container engine."""

import os
import select
import signal
import subprocess
from pathlib import Path

from artfs.app.client import mount_points
from tests.harness import DEADLINE, wait_for

# What a container engine leaves to root, and SYS_ADMIN where it is asked for.
USUAL = "chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap,setpcap,net_bind_service,sys_chroot,kill,audit_write"


def container(capabilities):
    """Return the start of a command that runs as process 1 of namespaces of its own, as root with a few capabilities."""
    bound = ",".join(f"+{name}" for name in capabilities.split(","))
    return [
        "unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--mount-proc",
        "setpriv", f"--bounding-set=-all,{bound}", f"--inh-caps=-all,{bound}", "--no-new-privs",
    ]  # fmt: skip


def test_process_1_of_a_container_mounts_and_ends_when_it_is_stopped(as_root, fresh):
    process = subprocess.Popen(
        [*container(f"{USUAL},sys_admin"), *fresh.command, "mount", "--foreground", "-o", "allow_other", fresh.mountpoint],
        env=fresh.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: "mounted" in process.stderr.readline(), "a mount")
        [daemon] = wait_for(lambda: Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        assert "NSpid:\t" + f"{daemon}\t1" in Path(f"/proc/{daemon}/status").read_text()
        assert os.listdir(f"/proc/{daemon}/root{fresh.mountpoint}") == ["me"]
        os.kill(int(daemon), signal.SIGTERM)  # as docker stop does; process 1 dies of nothing that it does not expect
        assert select.select([os.pidfd_open(process.pid)], [], [], DEADLINE)[0]
        assert process.wait() == 0
        assert "unmounted" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_root_of_a_container_that_may_not_mount_is_told_what_it_needs(as_root, fresh):
    done = subprocess.run(
        [*container(USUAL), *fresh.command, "mount", "--foreground", fresh.mountpoint],
        env=fresh.environment, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 8
    assert "--cap-add SYS_ADMIN" in done.stderr


def test_root_of_a_user_namespace_mounts_without_any_right_outside(ordinary):
    script = f"""
artfs() {{ {" ".join(ordinary.command[len(ordinary.plainly) :])} "$@"; }}
artfs mount {ordinary.mountpoint}
mkdir -p {ordinary.mountpoint}/me/demo/data/.staging/d
echo inside >{ordinary.mountpoint}/me/demo/data/.staging/d/f
artfs commit {ordinary.mountpoint}/me/demo/data/.staging/d
cat {ordinary.mountpoint}/me/demo/data/v0/f
artfs umount {ordinary.mountpoint}
"""
    command = [*ordinary.plainly, "unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script]
    done = subprocess.run(command, env=ordinary.environment, capture_output=True, text=True, cwd="/", timeout=300)
    assert done.stdout.split() == ["me/demo/data:v0", "inside"], done.stderr


SIDECAR = """
set -e
mount --make-rprivate /
mount --bind "$VOLUME" "$VOLUME"
mount --make-shared "$VOLUME"
# The container of the application is there first, as a pod may have it; its side of the volume follows the other.
unshare --mount --propagation unchanged sh -c 'mount --make-rslave "$VOLUME"; read go; cat "$VOLUME/mnt/me/demo/data/latest/f"' <"$FIFO" &
exec 3>"$FIFO"
ARTFS mount -o allow_other "$VOLUME/mnt"
echo go >&3
wait $!
ARTFS umount "$VOLUME/mnt"
"""


def test_a_sidecar_mounts_for_a_container_beside_it(as_root, fresh, tmp_path):
    (tmp_path / "f").write_text("shared")
    fresh.run("put", tmp_path / "f", "demo/data")
    (tmp_path / "volume").mkdir()
    os.mkfifo(tmp_path / "fifo")
    script = SIDECAR.replace("ARTFS", " ".join(fresh.command))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=300,
        env={**fresh.environment, "VOLUME": str(tmp_path / "volume"), "FIFO": str(tmp_path / "fifo")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "shared"), done.stderr
    assert not [path for path, _ in mount_points() if path.is_relative_to(tmp_path)]
