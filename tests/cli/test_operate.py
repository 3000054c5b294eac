"""The commands that look after artfs itself: doctor, config, completion, login."""

import json
import os
import pty
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Artfs
from tests.wandb.stub import Reply, Stub, data, errors

ROOT = Path(__file__).parents[2]
KEY = "local-" + "k" * 39 + "1"
VIEWER = data(
    viewer={"id": "1", "entity": "research", "username": "alice", "teams": {"edges": []}, "organizations": []}
)


def levels(rows, check):
    return [row["level"] for row in rows if row["check"] == check]


@pytest.fixture
def machine(tmp_path):
    """An artfs whose environment names nothing of this machine."""
    found = Artfs(tmp_path)
    for name in [name for name in found.environment if name.startswith(("WANDB_", "AWS_", "XDG_", "NETRC"))]:
        del found.environment[name]
    yield found
    found.close()


ALONE = """
for path in $(awk '/ - fuse.artfs /{print $5}' /proc/self/mountinfo); do umount -l "$path"; done
echo ready
read line
"""


@pytest.fixture
def alone(machine):
    """An artfs that sees no mount but its own, and whose repairs reach no other: in a mount namespace."""
    if os.geteuid() != 0:
        pytest.skip("only root has mount namespaces")
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "ready\n"
    machine.command = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", *machine.command]
    yield machine
    machine.run("umount", "--force", machine.mountpoint) if machine.mountpoint in mounted(machine) else None
    holder.communicate("\n", timeout=120)


def mounted(alone):
    """Return where artfs is mounted in the namespace."""
    program = "from artfs.app.client import mount_points; print(*(path for path, _ in mount_points()), sep='\\n')"
    done = subprocess.run([*alone.command[:-2], "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return [Path(line) for line in done.stdout.split()]


def mount_process(alone):
    (status,) = alone.json("status")
    return status["pid"]


PATIENT = """
import sys
from artfs.app import doctor
from artfs.app.doctor import mounts, programs
from artfs.cli.main import run
doctor.WAIT = doctor.NETWORK_WAIT = doctor._REPAIR_WAIT = programs._IMPORT_WAIT = 90.0
mounts.ANSWER = float(sys.argv.pop(1))
run()
"""


def run_doctor(machine, *arguments, code=0, answer=60.0):
    """Run the doctor with as much time for its checks as a busy machine needs, and so many seconds for a mount to answer."""
    command = [*machine.command[:-2], "-c", PATIENT, str(answer), "doctor", *arguments]
    done = subprocess.run(
        command, env=machine.environment, capture_output=True, text=True, cwd="/", timeout=120, check=False
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def doctor(machine, *arguments, code=0):
    return json.loads(run_doctor(machine, "--json", *arguments, code=code))


# doctor ---------------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_with_this_machine_and_makes_nothing(alone, fuse):
    rows = doctor(alone)
    assert not [row for row in rows if row["level"] == "problem"]
    assert {
        "kernel",
        "/dev/fuse",
        "libfuse",
        "Python",
        "settings",
        "data directory",
        "registry",
        "store",
        "clock",
        "mounts",
        "drafts",
    } <= {row["check"] for row in rows}
    assert sorted(os.listdir(alone.root)) == []
    lines = run_doctor(alone).splitlines()
    assert len(lines) == len(rows)
    assert all(line.split()[0] in {"ok", "warning", "problem"} for line in lines)


def test_doctor_looks_at_a_live_mount(alone, fuse):
    alone.mount()
    rows = doctor(alone)
    assert levels(rows, "mounts").count("problem") == 0
    assert levels(rows, "sockets") == ["ok"]
    assert any(f"{alone.mountpoint} answers" in row["message"] for row in rows)


def test_doctor_repairs_what_a_crash_has_left(alone, fuse):
    alone.mount()
    pid = mount_process(alone)
    ended = os.pidfd_open(pid)
    os.kill(pid, 9)
    select.select([ended], [], [])
    os.close(ended)
    (alone.root / "data").chmod(0o755)
    rows = doctor(alone, code=1)
    assert any(row["level"] == "problem" and row["fixable"] and str(alone.mountpoint) in row["message"] for row in rows)
    assert levels(rows, "sockets") == levels(rows, "data directory") == ["warning"]
    assert mounted(alone) == [alone.mountpoint]  # nothing was changed
    rows = doctor(alone, "--fix")
    assert {row["check"] for row in rows if row["fixed"]} == {"mounts", "sockets", "data directory"}
    assert mounted(alone) == []
    assert (alone.root / "data").stat().st_mode & 0o777 == 0o700
    assert not list((alone.root / "runtime").glob("*.sock"))
    assert not [row for row in doctor(alone) if row["level"] == "problem"]


def test_doctor_does_not_hang_with_a_mount_that_does(alone, fuse):
    alone.mount()
    pid = mount_process(alone)
    os.kill(pid, 19)  # SIGSTOP
    try:
        said = run_doctor(alone, code=1, answer=1.0)
        assert "does not answer" in said
        assert f"artfs umount --force {alone.mountpoint}" in said
    finally:
        os.kill(pid, 18)  # SIGCONT


def test_doctor_goes_on_where_a_setting_is_wrong(machine, tmp_path):
    (tmp_path / "config.toml").write_text("threads = 'many'\n")
    machine.environment |= {
        "ARTFS_CONFIG": str(tmp_path / "config.toml"),
        "ARTFS_CAHCE_SIZE": "1G",
        "ARTFS_STORE": "ftp://x",
    }
    rows = doctor(machine, code=1)
    assert levels(rows, "settings") == ["problem"]
    assert levels(rows, "variables") == ["warning"]
    assert levels(rows, "store") == ["problem"]
    assert levels(rows, "registry") == ["ok"]


def test_doctor_asks_a_wandb_server_and_shows_no_key(machine):
    with Stub(default=lambda request: VIEWER if request.method == "POST" else Reply(404)) as server:
        machine.environment |= {"ARTFS_REGISTRY": server.url, "WANDB_API_KEY": KEY}
        rows = [row for row in doctor(machine, code=None) if row["check"] not in {"mounts", "sockets"}]
        text = json.dumps(rows)
    assert any("answers, to alice" in row["message"] for row in rows if row["check"] == "registry")
    assert levels(rows, "W&B credentials") == ["ok"]
    assert "WANDB_API_KEY" in text
    assert KEY not in text


# config ---------------------------------------------------------------------------------------------------------


def test_config_says_where_each_setting_is_from(machine, tmp_path):
    machine.environment["ARTFS_CONFIG"] = str(tmp_path / "config.toml")
    (tmp_path / "config.toml").write_text('threads = 3\ncache_size = "7G"\n')
    found = json.loads(machine.run("config", "list", "--json", "--verify", "strict").stdout)
    assert found["threads"] == {"value": 3, "source": "file", "where": str(tmp_path / "config.toml")}
    assert found["entity"] == {"value": "me", "source": "variable", "where": "ARTFS_ENTITY"}
    assert found["verify"] == {"value": "strict", "source": "flag", "where": "--verify"}
    assert found["algorithm"] == {"value": "MD5", "source": "default", "where": ""}
    lines = machine.run("config").stdout.splitlines()
    assert lines == machine.run("config", "list").stdout.splitlines()
    assert ["cache_size", "7G", str(tmp_path / "config.toml")] in [line.split() for line in lines]


def test_config_shows_no_password(machine):
    machine.environment["ARTFS_REGISTRY"] = "postgresql://user:geheim@host/db"
    for arguments in (("list",), ("list", "--json"), ("get", "registry"), ("get", "registry", "--json")):
        out = machine.run("config", *arguments).stdout
        assert "postgresql://host/db" in out
        assert "geheim" not in out


def test_config_set_get_and_unset(machine, tmp_path):
    path = tmp_path / ".config/artfs/config.toml"
    assert machine.out("config", "path") == str(path)
    machine.run("config", "set", "cache-size", "9G")
    assert machine.out("config", "get", "cache_size") == "9G"
    assert path.read_text() == 'cache_size = "9G"\n'
    assert "ARTFS_ENTITY is set" in machine.run("config", "set", "entity", "you").stderr
    machine.run("config", "unset", "cache_size")
    assert path.read_text() == 'entity = "you"\n'
    assert machine.run("config", "unset", "cache_size", code=3).stdout == ""
    assert "did you mean cache_size?" in machine.run("config", "set", "cahce_size", "1", code=2).stderr
    assert "is not a size" in machine.run("config", "set", "cache_size", "much", code=2).stderr
    path.write_text("threads = 'many'\n")
    done = machine.run("config", "list", code=2)
    assert "threads" in done.stderr
    assert "cache_size" in done.stdout


# completion -----------------------------------------------------------------------------------------------------

BASH = """
PATH="%s:$PATH"
eval "$(artfs completion bash)"
complete -p artfs >/dev/null || exit 1
compopt() { :; }
COMP_WORDS=(%s); COMP_CWORD=%d
_artfs_completion artfs
printf '%%s\\n' "${COMPREPLY[@]}"
"""


# Half a second, after which nothing is offered, is too short for Python on a busy machine.
OFFERS = """
from artfs.app.references import continuations
from artfs.cli.main import run
continuations.__defaults__ = (60.0,)
run()
"""


def complete(artfs, *words):
    """Return what the real bash offers for the last of the words, which are as bash cuts them."""
    program = artfs.root / "bin"
    if not program.exists():
        program.mkdir()
        (program / "offers.py").write_text(OFFERS)
        (program / "artfs").write_text(f'#!/bin/sh\nexec {sys.executable} {program}/offers.py "$@"\n')
        (program / "artfs").chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH % (program, quoted, len(words) - 1)],
        env=artfs.environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_bash_completes_commands_options_and_settings(listed):
    assert complete(listed, "artfs", "co") == ["commit", "config", "completion"]
    assert complete(listed, "artfs", "show", "--js") == ["--json"]
    assert complete(listed, "artfs", "config", "get", "cache_s") == ["cache_size"]


def test_bash_completes_references_also_after_the_colon_at_which_it_cuts_words(listed):
    for words, offered in (
        (["show", "me/demo/"], ["me/demo/data", "me/demo/one"]),
        (["get", "demo/data", ":"], ["best", "latest", "v1", "v0"]),
        (["get", "demo/data", ":", "la"], ["latest"]),
    ):
        assert complete(listed, "artfs", *words) == offered
    assert complete(listed, "artfs", "ls", "demo/") == [""]  # a place begins with its entity


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_call_artfs(listed, shell):
    assert f"_ARTFS_COMPLETE={shell}_complete" in listed.run("completion", shell).stdout
    variables = {
        "_ARTFS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "artfs con",
        "COMP_CWORD": "con" if shell == "fish" else "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "artfs.cli"],
        env=listed.environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "config" in done.stdout


FOR_EVER = """
from artfs.cli.main import run
from artfs.registry.sql import postgres
postgres._ARGUMENTS["connect_timeout"] = 600
run()
"""


def test_a_completion_that_cannot_reach_its_registry_is_quick_and_silent(listed):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variables = {
            "_ARTFS_COMPLETE": "bash_complete",
            "COMP_WORDS": "artfs\nshow\nx",
            "COMP_CWORD": "2",
            "ARTFS_REGISTRY": f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x",
        }
        done = subprocess.run(
            [sys.executable, "-c", FOR_EVER],
            env=listed.environment | variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,  # against ten minutes for which the registry would be waited for
        )
    assert (done.stdout.strip(), done.stderr) == ("", "")


# login ----------------------------------------------------------------------------------------------------------


def login(machine, *arguments, key="", code=0):
    done = subprocess.run(
        [*machine.command, "login", *map(str, arguments)],
        env=machine.environment, capture_output=True, text=True, input=key, cwd="/", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def test_login_stores_a_key_that_the_server_accepts_where_wandb_looks_for_it(machine, tmp_path):
    (tmp_path / ".netrc").write_text("machine other login me password mine\n")
    (tmp_path / ".netrc").chmod(0o644)
    with Stub(default=VIEWER) as server:
        done = login(machine, server.url, key=f"{KEY}\n")
        host = server.url.removeprefix("http://")
        assert (
            done.stdout == f"{server.url}: alice (entity research), by the key of machine {host} in {tmp_path}/.netrc\n"
        )
        shown = json.loads(login(machine, server.url, "--status", "--json").stdout)
        assert (shown["user"], shown["source"], shown["trouble"]) == (
            "alice",
            f"machine {host} in {tmp_path}/.netrc",
            "",
        )
    text = (tmp_path / ".netrc").read_text()
    assert text == f"machine other login me password mine\nmachine {host}\n  login user\n  password {KEY}\n"
    assert (tmp_path / ".netrc").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_refused_or_has_not_the_form_of_one_is_not_stored(machine, tmp_path):
    with Stub(default=errors("invalid key", status=401)) as server:
        assert "does not accept this key" in login(machine, server.url, key=KEY, code=6).stderr
        assert "40 or more" in login(machine, server.url, key="short", code=2).stderr
        assert "no key on stdin" in login(machine, server.url, key="", code=2).stderr
        assert "no credentials" in login(machine, server.url, "--status", code=6).stderr
    with Stub(default=data(viewer=None)) as server:
        login(machine, server.url, key=KEY, code=6)
    assert not (tmp_path / ".netrc").exists()


def test_a_key_is_stored_unchecked_if_the_server_is_away(machine, tmp_path):
    done = login(machine, "http://127.0.0.1:9", key=KEY)
    assert "was not checked" in done.stderr
    assert KEY in (tmp_path / ".netrc").read_text()
    assert "machine 127.0.0.1:9" in login(machine, "http://127.0.0.1:9", "--status", code=8).stdout


def test_login_asks_at_a_terminal_without_showing_what_is_typed(machine, tmp_path):
    parent, child = pty.openpty()
    with Stub(default=VIEWER) as server:
        process = subprocess.Popen(
            [*machine.command, "login", server.url],
            env=machine.environment, stdin=child, stdout=subprocess.PIPE, stderr=child, text=True, start_new_session=True,
        )  # fmt: skip
        os.close(child)
        shown = b""
        while b"API key" not in shown or not shown.rstrip().endswith(b":"):
            shown += os.read(parent, 1000)
        os.write(parent, f"{KEY}\n".encode())
        assert process.communicate(timeout=120)[0].startswith(f"{server.url}: alice")
    while True:
        try:
            more = os.read(parent, 1000)
        except OSError:
            break
        if not more:
            break
        shown += more
    os.close(parent)
    assert KEY.encode() not in shown
    assert KEY in (tmp_path / ".netrc").read_text()
