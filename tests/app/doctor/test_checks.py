"""Each check of the doctor, on fakes of what it looks at."""

import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from artfs.app.client import TableEntry, mount_table
from artfs.app.doctor import (
    Finding,
    Level,
    diagnose,
    directories,
    drafts,
    kernel,
    mounts,
    programs,
    repair,
    services,
    settings,
)
from artfs.app.doctor.bounded import Bounded, LateError, run_bounded
from artfs.app.doctor.finding import ok, problem, warning
from artfs.config import config_of, read_sources
from artfs.errors import NotFoundError, PermissionDeniedError, UnreachableError
from artfs.version import __version__

LINE = b"61 28 0:52 / %s rw,nosuid - %s artfs rw,user_id=%d,group_id=0%s"


def entry(path, minor=52, uid=0, options=()):
    return TableEntry(Path(path), minor, uid, frozenset(options))


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Settings with directories of this test, and none of the machine."""
    for name in [name for name in os.environ if name.startswith(("ARTFS_", "AWS_", "WANDB_", "GOOGLE_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def make(**flags):
        places = {f"{name}_dir": str(tmp_path / name) for name in ("data", "cache", "state", "runtime")}
        sources = read_sources({**places, "entity": "me", **flags})
        assert not sources.errors
        return config_of(sources)

    return make


# Running --------------------------------------------------------------------------------------------------------


def test_a_check_that_fails_or_hangs_stops_no_other_and_costs_its_own_time_only():
    forever = threading.Event()

    def fails():
        raise ZeroDivisionError("oops")

    def is_away():
        raise UnreachableError("nobody there", hint="try again")

    started = time.monotonic()
    found = list(diagnose({
        "hangs": (forever.wait, 0.2), "fails": (fails, 60), "away": (is_away, 60), "fine": (lambda: ok("fine", "well"), 60),
        "many": (lambda: [ok("a", "1"), warning("b", "2")], 60),
    }))  # fmt: skip
    forever.set()
    assert time.monotonic() - started < 30
    assert [(one.check, one.level) for one in found] == [
        ("hangs", Level.PROBLEM), ("fails", Level.PROBLEM), ("away", Level.PROBLEM), ("fine", Level.OK), ("a", Level.OK), ("b", Level.WARNING),
    ]  # fmt: skip
    assert "does not come back: no answer within 0.2 s" in found[0].message
    assert "ZeroDivisionError: oops" in found[1].message
    assert (found[2].message, found[2].hint) == ("nobody there", "try again")


def test_a_call_that_takes_too_long_is_left_alone():
    forever = threading.Event()
    with pytest.raises(LateError):
        run_bounded(forever.wait, 0.05)
    forever.set()
    assert run_bounded(lambda: 7, 60) == 7


def test_a_repair_says_how_it_went():
    done = []
    fixed = repair(problem("x", "broken", "mend it", lambda: done.append(1)))
    assert (done, fixed.level, fixed.repaired, fixed.message) == ([1], Level.OK, True, "broken: repaired")

    def fails():
        raise PermissionError(errno.EPERM, "not you")

    failed = repair(problem("x", "broken", "mend it", fails))
    assert (failed.level, failed.repaired) == (Level.PROBLEM, False)
    assert "not you" in failed.message
    assert repair(warning("x", "so so")) == Finding("x", Level.WARNING, "so so")


# Kernel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "filesystems", "level"),
    [
        ("6.18.5-generic", "nodev\tsysfs\n\tfuseblk\nnodev\tfuse\n", Level.OK),
        ("6.18.5", "nodev\tsysfs\n\tfuseblk\n", Level.PROBLEM),
        ("5.3.0", "nodev\tfuse\n", Level.WARNING),
        ("what", "nodev\tfuse\n", Level.WARNING),
    ],
)
def test_the_kernel_must_be_new_enough_and_have_fuse(tmp_path, release, filesystems, level):
    file = tmp_path / "filesystems"
    file.write_text(filesystems)
    assert kernel.check_kernel(release, file).level is level


def test_the_device_must_be_there_and_open(tmp_path, monkeypatch):
    assert "does not exist" in kernel.check_device(tmp_path / "fuse").message
    device = tmp_path / "device"
    device.touch(mode=0o600)
    assert kernel.check_device(device).level is Level.OK

    def refuse(number):
        def fails(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "open", fails)
        found = kernel.check_device(device)
        monkeypatch.undo()
        assert found.level is Level.PROBLEM
        return found

    assert f"chmod 0666 {device}" in refuse(errno.EACCES).hint
    assert "modprobe fuse" in refuse(errno.ENODEV).hint
    device.chmod(0o666)
    assert "--device" in refuse(errno.EPERM).hint


def test_ordinary_users_need_fusermount_with_the_rights_of_root(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nNoNewPrivs:\t0\n")

    def check(uid, path):
        return kernel.check_fusermount(uid, lambda _: path and str(path), status, lambda uid: uid != 4711)

    assert check(1000, None).level is Level.PROBLEM
    assert check(0, None).level is Level.WARNING
    program = tmp_path / "fusermount3"
    program.touch(mode=0o755)
    assert check(1000, program).level is Level.PROBLEM
    assert f"chmod u+s {program}" in check(1000, program).hint
    assert check(0, program).level is Level.WARNING
    if os.geteuid() == 0 and not os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        program.chmod(0o4755)
        assert check(1000, program).level is Level.OK
        assert "user id 4711 has none" in check(4711, program).message
        assert check(0, program).level is Level.OK
        status.write_text("NoNewPrivs:\t1\n")
        assert "no_new_privs" in check(1000, program).message


def test_allow_other_is_warned_of_only_where_it_is_wanted(tmp_path):
    settings_file = tmp_path / "fuse.conf"
    assert kernel.check_allow_other("", 1000, settings_file).level is Level.OK
    assert kernel.check_allow_other("the mount", 1000, settings_file).level is Level.WARNING
    assert kernel.check_allow_other("the mount", 0, settings_file).level is Level.OK
    settings_file.write_text("#user_allow_other\n")
    assert kernel.check_allow_other("the mount", 1000, settings_file).level is Level.WARNING
    settings_file.write_text("# x\nuser_allow_other\n")
    assert kernel.check_allow_other("the mount", 1000, settings_file).level is Level.OK


def test_who_wants_allow_other_is_a_mount_the_file_table_or_a_setting(tmp_path):
    fstab = tmp_path / "fstab"
    assert kernel.wants_allow_other([], False, fstab) == ""
    assert kernel.wants_allow_other([], True, fstab) == "the setting reference_roots"
    assert kernel.wants_allow_other([entry("/m", options=["allow_other"])], False, fstab) == "the mount at /m"
    fstab.write_text("# x\nreg /data fuse.artfs ro,allow_other 0 0\n")
    assert kernel.wants_allow_other([entry("/m")], False, fstab) == f"/data in {fstab}"


def test_a_small_read_ahead_is_warned_of(tmp_path):
    setting = tmp_path / "0:52/read_ahead_kb"
    assert kernel.check_read_ahead([entry("/m")], tmp_path) == []
    setting.parent.mkdir()
    setting.write_text("128\n")
    (found,) = kernel.check_read_ahead([entry("/m")], tmp_path)
    assert found.level is Level.WARNING
    assert f"echo 1024 > {setting}" in found.hint
    setting.write_text("1024\n")
    assert kernel.check_read_ahead([entry("/m")], tmp_path)[0].level is Level.OK


# Programs -------------------------------------------------------------------------------------------------------


def test_an_old_python_is_a_problem():
    assert programs.check_python((3, 10, 2)).level is Level.PROBLEM
    assert programs.check_python().level is Level.OK


def test_the_versions_of_libfuse_and_pyfuse3_are_told():
    assert programs.check_libfuse(lambda: "3.5.0\n314\n").message == "3.14, pyfuse3 3.5.0"
    assert programs.check_libfuse(lambda: "3.5.0\n34\n").message == "3.4, pyfuse3 3.5.0"
    assert programs.check_libfuse().level is Level.OK

    def broken():
        raise programs.subprocess.CalledProcessError(
            1, "python", stderr="Traceback\nImportError: libfuse3.so.3: no such file\n"
        )

    found = programs.check_libfuse(broken)
    assert found.level is Level.PROBLEM
    assert "libfuse3.so.3: no such file" in found.message


def test_extras_that_the_settings_need_must_be_there(config):
    nothing, all_of = (lambda _: False), (lambda _: True)
    (found,) = programs.check_extras(config(), nothing)
    assert (found.level, found.message[:25]) == (Level.OK, "extras that work: none; n")
    for flags, extra in (
        ({"store": "s3://bucket"}, "s3"), ({"store": "gs://bucket"}, "gcs"), ({"registry": "postgresql://h/d"}, "postgres"),
        ({"registry": "https://api.wandb.ai"}, "http"),
    ):  # fmt: skip
        first, _ = programs.check_extras(config(**flags), nothing)
        assert (first.level, first.hint) == (Level.PROBLEM, f"pip install 'artfs[{extra}]'")
        assert len(programs.check_extras(config(**flags), all_of)) == 1
    assert not programs._is_there("no_such_package.inner")


@pytest.mark.parametrize(
    ("most", "level"), [(64, Level.PROBLEM), (1024, Level.WARNING), (65536, Level.OK), (-1, Level.OK)]
)
def test_few_open_files_are_told(most, level):
    assert programs.check_files((64, most)).level is level


# Directories ----------------------------------------------------------------------------------------------------


def test_a_directory_that_is_well_or_not_there_yet_is_fine(tmp_path):
    path = tmp_path / "a/b"
    assert [one.level for one in directories.check_directory("data", path)] == [Level.OK]
    path.mkdir(parents=True, mode=0o700)
    assert [one.level for one in directories.check_directory("data", path)] == [Level.OK]


def test_a_directory_that_others_may_look_into_is_repaired(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(0o755)
    (found,) = directories.check_directory("data", path)
    assert (found.level, found.hint) == (Level.WARNING, f"chmod 0700 {path}")
    assert repair(found).repaired
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o500)
    (found,) = directories.check_directory("data", path)
    assert found.level is Level.PROBLEM
    assert repair(found).repaired
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_somebody_else_is_a_problem_that_is_not_repaired(tmp_path):
    (found,) = directories.check_directory("data", tmp_path, uid=os.geteuid() + 1)
    assert (found.level, found.repair) == (Level.PROBLEM, None)
    assert "belongs to uid" in found.message


def test_what_is_no_directory_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("file", "file/below", "link"):
        assert directories.check_directory("data", tmp_path / name)[0].level is Level.PROBLEM


def test_sqlite_on_a_network_file_system_is_a_problem(tmp_path):
    path = tmp_path / "with blank"
    path.mkdir(mode=0o700)
    where = str(tmp_path).encode() + rb"/with\040blank"
    table = b"28 1 8:1 / / rw - ext4 /dev/a rw\n" + LINE % (where, b"nfs4", 0, b"") + b"\n"
    assert directories.file_system_of(path, table) == "nfs4"
    assert directories.file_system_of(tmp_path, table) == "ext4"
    assert directories.check_directory("data", path, table=table)[0].level is Level.PROBLEM
    assert directories.check_directory("cache", path, table=table)[0].level is Level.WARNING
    assert directories.check_directory("store", path, table=table)[0].level is Level.OK


class Disk:
    f_frsize, f_files, f_favail, f_flag = 4096, 100, 10, 0

    def __init__(self, free, total, favail=10):
        self.f_bavail, self.f_blocks, self.f_favail = free // 4096, total // 4096, favail


@pytest.mark.parametrize(
    ("name", "disk", "cache", "level"),
    [
        ("data", Disk(50 << 30, 100 << 30), (), Level.OK),
        ("data", Disk(500 << 20, 100 << 30), (), Level.WARNING),
        ("data", Disk(1 << 20, 100 << 30), (), Level.PROBLEM),
        ("data", Disk(50 << 30, 100 << 30, favail=0), (), Level.PROBLEM),
        ("cache", Disk(50 << 30, 100 << 30), (50 << 30, 2 << 30), Level.OK),
        ("cache", Disk(1 << 30, 100 << 30), (50 << 30, 2 << 30), Level.WARNING),
        ("cache", Disk(40 << 30, 50 << 30), (50 << 30, 2 << 30), Level.WARNING),
    ],
)
def test_room_is_compared_with_what_is_needed(tmp_path, monkeypatch, name, disk, cache, level):
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert directories.check_space(name, tmp_path / "not/there", *cache).level is level


# Settings and credentials ---------------------------------------------------------------------------------------


def test_every_wrong_setting_is_told(config, monkeypatch):
    config()
    assert settings.check_settings(read_sources())[0].level is Level.OK
    monkeypatch.setenv("ARTFS_THREADS", "many")
    monkeypatch.setenv("ARTFS_VERIFY", "never")
    found = settings.check_settings(read_sources())
    assert [one.level for one in found] == [Level.PROBLEM] * 2
    assert all(f"ARTFS_{name}" in "".join(one.message for one in found) for name in ("THREADS", "VERIFY"))


def test_a_variable_that_means_nothing_is_told_with_what_is_meant():
    assert settings.check_variables({"ARTFS_CACHE_SIZE": "1G", "ARTFS_DEBUG": "1", "HOME": "/"})[0].level is Level.OK
    first, second = settings.check_variables({"ARTFS_CAHCE_SIZE": "1G", "ARTFS_XYZZY": "1"})
    assert (first.level, first.hint) == (Level.WARNING, "did you mean ARTFS_CACHE_SIZE?")
    assert second.hint == "unset it"


def test_where_the_key_of_a_wandb_server_is_and_never_which(config):
    assert settings.check_wandb(config(), {}).level is Level.OK
    there = config(registry="https://api.wandb.ai")
    assert settings.check_wandb(there, {}).level is Level.PROBLEM
    key = "k" * 40
    found = settings.check_wandb(there, {"WANDB_API_KEY": key})
    assert (found.level, found.message) == (Level.OK, "for https://api.wandb.ai: WANDB_API_KEY")
    bad = settings.check_wandb(there, {"WANDB_API_KEY": "short-secret"})
    assert bad.level is Level.PROBLEM
    assert "short-secret" not in bad.message + bad.hint


def test_sources_of_credentials_are_told_and_files_that_others_may_read(config, tmp_path):
    def check(environ=None, **flags):
        return settings.check_credentials(config(**flags), environ or {}, tmp_path)[-1]

    assert check().message == "none needed"
    secret = {"AWS_ACCESS_KEY_ID": "id-0123", "AWS_SECRET_ACCESS_KEY": "secret-0123"}
    assert check(secret, store="s3://b").message == "AWS: AWS_ACCESS_KEY_ID"
    assert check({"AWS_ACCESS_KEY_ID": "id-0123"}, store="s3://b").level is Level.PROBLEM
    assert check({"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}, store="gs://b").level is Level.PROBLEM
    assert check(store="gs://b").level is Level.OK
    assert check({"PGPASSWORD": "secret"}, registry="postgresql://h/d").message == "PostgreSQL: PGPASSWORD"
    (tmp_path / ".pgpass").touch(mode=0o644)
    assert check(registry="postgresql://h/d").level is Level.WARNING
    (tmp_path / ".netrc").touch()
    (tmp_path / ".netrc").chmod(0o644)
    found = check()
    assert (found.level, found.hint) == (Level.WARNING, f"chmod 0600 {tmp_path / '.netrc'}")


# Services -------------------------------------------------------------------------------------------------------


def test_a_registry_is_asked_and_never_made(config):
    settings_ = config()
    assert "is made when it is first used" in services.check_registry(settings_).message
    assert not settings_.data_dir.exists()
    from artfs.app.services import open_services

    with open_services(settings_):
        pass
    assert services.check_registry(settings_).message.endswith("answers; its schema is that of this program")


class Bucket:
    def __init__(self, error=None, head=None):
        self.error, self.head = error, head

    def list(self, prefix):
        assert prefix == "s3://b/p/"
        if self.error:
            raise self.error
        return iter(())

    def describe(self, uri, version=None):
        raise self.head or NotFoundError("no such blob")


def test_a_bucket_is_listed_and_if_that_is_refused_asked_for_a_blob(config):
    there = config(store="s3://b/p")

    def check(bucket):
        (found,) = diagnose({"store": (lambda: services.check_store(there, lambda _: bucket), 5)})
        return found

    assert check(Bucket()).level is Level.OK
    assert check(Bucket(NotFoundError("no such bucket"))).level is Level.PROBLEM
    assert check(Bucket(UnreachableError("nobody there"))).level is Level.PROBLEM
    assert "not listed" in check(Bucket(PermissionDeniedError("no"))).message
    assert check(Bucket(PermissionDeniedError("no"), PermissionDeniedError("no"))).level is Level.PROBLEM


def test_a_store_in_a_directory_must_be_writable(config, tmp_path):
    (tmp_path / "file").touch()
    assert services.check_store(config()).level is Level.OK
    assert services.check_store(config(store=f"file://{tmp_path}/file")).level is Level.PROBLEM
    assert "ARTFS_STORE" in services.check_store(config(store=f"{tmp_path}/file")).hint
    assert "W&B" in services.check_store(config(registry="https://api.wandb.ai")).message


@pytest.mark.parametrize(
    ("off", "level", "text"),
    [
        (0.5, Level.OK, "that of"),
        (-20, Level.OK, "20 s behind"),
        (100, Level.WARNING, "100 s ahead of"),
        (-900, Level.PROBLEM, "900 s behind"),
    ],
)
def test_the_clock_is_compared_with_that_of_the_server(config, off, level, text):
    there = config(registry="https://wandb.example.com")
    found = services.check_clock(there, lambda _: 1e9, lambda: 1e9 + off)
    assert found.level is level
    assert text in found.message


def test_a_clock_that_nobody_tells_is_no_problem(config):
    assert services.check_clock(config()).level is Level.OK

    def away(_):
        raise OSError("nobody there")

    assert services.check_clock(config(registry="https://wandb.example.com"), away).level is Level.WARNING


def test_the_time_is_taken_from_any_answer_of_a_server():
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response({"/moved": 301, "/no": 403}.get(self.path, 200))
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            for path in ("/", "/moved", "/no"):
                assert abs(services.server_time(f"http://127.0.0.1:{server.server_port}{path}") - time.time()) < 60
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(ValueError):
        services.server_time("file:///etc/passwd")


# Mounts ---------------------------------------------------------------------------------------------------------


def test_the_mount_table_says_who_mounted_what():
    table = (
        LINE % (rb"/a\040b", b"fuse.artfs", 1000, b",allow_other")
        + b"\n"
        + LINE % (b"/c", b"fuse.other", 0, b"")
        + b"\n"
    )
    (found,) = mount_table(table)
    assert (found.mountpoint, found.minor, found.uid) == (Path("/a b"), 52, 1000)
    assert "allow_other" in found.options


def test_a_mount_is_dead_hangs_or_answers(monkeypatch):
    forever = threading.Event()

    def bounded(call, seconds):
        """Only the one that hangs is given up, however slow the machine is."""
        (entry,) = call.__defaults__
        return Bounded(call, seconds if entry.mountpoint.name == "hangs" else 60)

    monkeypatch.setattr(mounts, "Bounded", bounded)

    def look(path):
        match path.name:
            case "dead":
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            case "hangs":
                forever.wait()
            case "private":
                raise PermissionError(errno.EACCES, "no")

    points = [entry(f"/{name}", uid=1000) for name in ("live", "dead", "hangs", "private")]
    live, dead, hangs, private = mounts.check_mounts(points, look, 1000, 0.2)
    forever.set()
    assert [one.level for one in (live, dead, hangs, private)] == [Level.OK, Level.PROBLEM, Level.PROBLEM, Level.OK]
    assert dead.repair is not None
    assert (hangs.repair, hangs.hint) == (None, "artfs umount --force /hangs")
    (theirs,) = mounts.check_mounts([entry("/dead", uid=1001)], look, 1000, 0.2)
    assert theirs.repair is None
    assert mounts.check_mounts([])[0].level is Level.OK


def test_the_repair_of_a_mount_that_is_alive_again_does_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "detach", lambda _: pytest.fail("a live mount is taken away"))
    mounts._detach_dead(tmp_path)


def test_a_socket_that_nobody_listens_at_is_removed_and_no_other(tmp_path):
    assert mounts.check_sockets(tmp_path)[0].level is Level.OK
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(stale))
    (found,) = mounts.check_sockets(tmp_path)
    assert (found.level, found.hint) == (Level.WARNING, f"rm {stale}")
    with socket.socket(socket.AF_UNIX) as again:
        stale.unlink()
        again.bind(str(stale))
        again.listen()
        threading.Thread(target=lambda: again.accept()[0].close(), daemon=True).start()
        assert not repair(found).repaired  # somebody listens there now
    assert stale.exists()
    assert repair(mounts.check_sockets(tmp_path)[0]).repaired
    assert not stale.exists()


def test_a_mount_process_of_another_version_or_without_registry_is_told(tmp_path):
    (tmp_path / "a.sock").touch()
    status = {"mountpoint": "/m", "version": __version__, "registry_away_since": None}
    assert mounts.check_sockets(tmp_path, lambda _: status)[0].level is Level.OK
    for change in ({"version": "0.0.1"}, {"version": None}, {"registry_away_since": "now", "registry_reason": "why"}):
        (found,) = mounts.check_sockets(tmp_path, lambda _, change=change: status | change)
        assert found.level is Level.WARNING

    def silent(_):
        raise UnreachableError("timed out")

    assert mounts.check_sockets(tmp_path, silent)[0].level is Level.PROBLEM


# Drafts ---------------------------------------------------------------------------------------------------------


def test_drafts_with_errors_and_commits_that_nobody_finishes_are_told(tmp_path):
    from artfs.model.names import CollectionRef
    from artfs.staging.drafts import Drafts

    assert drafts.check_drafts(tmp_path, set())[0].message == "none"
    owner = Drafts(tmp_path / "drafts", "registry", lambda _: pytest.fail("there is no base"))
    collection = CollectionRef("me", "demo", "data")
    fine, failed, begun = (owner.create(collection, name) for name in ("fine", "failed", "begun"))
    assert drafts.check_drafts(tmp_path, set())[0].message == "3 there, none with an error"
    failed.error = "it is empty"
    begun.database.set("commit", {"step": 1})
    found = drafts.check_drafts(tmp_path, set())
    assert sorted(one.message for one in found) == [
        "a commit of me/demo/data ('begun') was begun and is not finished",
        "the commit of me/demo/data ('failed') has failed: it is empty",
    ]
    assert len(drafts.check_drafts(tmp_path, {("me/demo/data", "begun")})) == 1
    for draft in (fine, failed, begun):
        draft.release()
    (tmp_path / "drafts/registry" / fine.id / "draft.sqlite").write_bytes(b"no database" * 100)
    assert drafts.check_drafts(tmp_path, set())[0].level in {Level.PROBLEM, Level.WARNING}
    assert any(one.level is Level.PROBLEM for one in drafts.check_drafts(tmp_path, set()))
