"""A systemd as process 1 of namespaces of its own, on a copy of this machine's files that is forgotten at the end.

Nothing of it reaches this machine: its files are an overlay in memory, it has no network, and what lives in it is killed with it, which
happens at the latest when the tests end. The user alice is there, and `artfs` in /usr/local/bin.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import artfs
from tests.harness import wait_for

UNITS = Path(artfs.__file__).parents[1] / "systemd"
SYSTEMD = "/lib/systemd/systemd"

# What would touch the kernel of this machine, or is not needed.
_MASKED = (
    "systemd-sysctl.service", "systemd-modules-load.service", "systemd-udevd.service", "systemd-timesyncd.service",
    "systemd-pstore.service", "systemd-binfmt.service", "systemd-random-seed.service", "systemd-journald-audit.socket", "e2scrub_reap.service",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "dev-hugepages.mount", "getty.target",
    "timers.target", "nginx.service", "postgresql.service", "cron.service", "ssh.service",
)  # fmt: skip

_BEGIN = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$PLACE/upper,workdir=$PLACE/work" "$PLACE/root"
cd "$PLACE/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for where in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $where; done
chmod 1777 tmp
number=0
for path in $SOURCES; do # those that lie in one of the directories that are empty now
    [ -e ".$path" ] && continue
    number=$((number + 1))
    mkdir -p ".$path" "$PLACE/upper$number" "$PLACE/work$number"
    mount -t overlay overlay -o "lowerdir=$path,upperdir=$PLACE/upper$number,workdir=$PLACE/work$number" ".$path"
done
for name in null zero full random urandom tty fuse autofs; do cp -a /dev/$name dev/$name; done
chmod 666 dev/fuse  # as udev makes it, which is not here; a machine without udev may have another mode
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
rm -rf etc/systemd/system/*.wants etc/fstab
: >etc/fstab
for unit in $MASKED; do ln -sfn /dev/null "etc/systemd/system/$unit"; done
for path in $OPEN; do chmod o+rx ".$path"; done
echo alice:x:4242:4242::/home/alice:/bin/sh >>etc/passwd
echo alice:x:4242: >>etc/group
echo 'alice:*:19000::::::' >>etc/shadow
install -d -o 4242 -g 4242 home/alice
install -m 755 /dev/stdin usr/local/bin/artfs <<END
#!/bin/sh
export PYTHONPATH=$MODULES
exec $INTERPRETER -m artfs.cli "\$@"
END
mkdir machine
pivot_root . machine
umount -l machine  # else every mount of this machine would live as long as the container
rmdir machine
mount --make-rshared /  # as systemd does where it is not in a container
exec env -i container=artfs-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $SYSTEMD --log-target=journal --unit=multi-user.target
"""


class Container:
    """The running container."""

    def __init__(self, place: Path) -> None:
        self._cgroup = self._make_cgroup()
        start = f"echo $$ >{self._cgroup}/cgroup.procs; exec setpriv --pdeathsig KILL unshare --kill-child -fpmuinC sh -c {shlex.quote(_BEGIN)}"
        self._process = subprocess.Popen(
            ["sh", "-c", start], env=self._environment(place), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            self.init = wait_for(self._find_init, "systemd as process 1")
            wait_for(self._is_up, "a system that runs")
            self.run(str(UNITS.parent / "scripts/install-units.sh"))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _make_cgroup():
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        roots = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
        assert roots, "no cgroup2 is mounted: systemd needs one"
        path = roots[0] / f"artfs-test-{os.getpid()}"
        path.mkdir()
        return path

    @staticmethod
    def _environment(place):
        opened = {
            path for start in (sys.prefix, sys.base_prefix, UNITS) for path in [Path(start), *Path(start).parents]
        }
        return {
            "PATH": os.environ["PATH"],
            "PLACE": str(place),
            "MASKED": " ".join(_MASKED),
            "OPEN": " ".join(sorted(map(str, opened))),
            "SOURCES": " ".join(map(str, (UNITS.parent, sys.prefix, sys.base_prefix))),
            "MODULES": os.pathsep.join([str(UNITS.parent), sysconfig.get_path("purelib")]),
            "INTERPRETER": sys.executable,
            "SYSTEMD": SYSTEMD,
        }

    def _find_init(self):
        assert self._process.poll() is None, "the container has ended"
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return next((int(one) for one in children if os.path.realpath(f"/proc/{one}/exe").endswith("/systemd")), None)

    def _is_up(self):
        return self.run("systemctl is-system-running", code=None).stdout.strip() in {"running", "degraded"}

    def run(self, command, code=0, user=None, **kwargs):
        """Run a shell command inside, as root or another user, and return the finished process."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        home = "/home/alice" if user else "/root"
        done = subprocess.run(
            ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w", *become, "sh", "-c", command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME": home, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, **kwargs,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def out(self, command, **kwargs):
        """Return what a command prints."""
        return self.run(command, **kwargs).stdout.strip()

    def write(self, path, text):
        """Write a file inside."""
        self.run(f"mkdir -p {shlex.quote(os.path.dirname(path))} && printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def journal(self):
        """Return all that was logged inside."""
        return self.out("journalctl --no-pager --output=cat --all")

    def close(self):
        """End everything that lives inside, and with it every mount."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        wait_for(self._is_empty, "the end of all processes")
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            os.rmdir(directory)

    def _is_empty(self):
        found = ""
        for directory, _, _ in os.walk(self._cgroup):
            with contextlib.suppress(OSError):
                found += Path(directory, "cgroup.procs").read_text()
        return not found
