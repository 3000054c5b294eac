"""A mount with `allow_other`: others read what is committed, and nothing else; without it they see nothing at all."""

import os
import subprocess

import pytest

from artfs.app.client import mount_points
from tests.harness import DEADLINE, Artfs, tree_of
from tests.mount.conftest import NOBODY

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def shared(open_path):
    """An artfs of root in a place that everybody can reach, not mounted yet."""
    found = Artfs(open_path / "artfs")
    found.root.mkdir()
    found.expected = []
    yield found
    found.close()
    assert not found.unexpected_log(*found.expected)


@pytest.fixture
def mounted(shared, tmp_path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/f").write_text("hello\n")
    (source / "run").write_text("#!/bin/sh\necho ran\n")
    (source / "run").chmod(0o755)
    shared.run("put", source, "demo/data:best")
    shared.mount("-o", "allow_other")
    return shared


def other(command, **kwargs):
    """Run a shell command as another user, without any capability."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run(
        [*user, "sh", "-c", command], capture_output=True, text=True, check=False, timeout=DEADLINE, **kwargs
    )


def refused(command, says="Permission denied"):
    done = other(command)
    assert done.returncode != 0, command
    assert says in done.stderr, (command, done.stderr)


def test_another_user_reads_versions_and_aliases(mounted):
    done = other(f"cd {mounted.collection()} && ls && cat v0/d/f best/d/f latest/d/f && best/run && readlink best")
    assert done.stdout.split() == ["best", "latest", "v0", "hello", "hello", "hello", "ran", "v0"]
    done = other(
        f"cd {mounted.collection()} && stat -c %U:%A v0/d/f v0/run v0 && sha256sum -b v0/d/f && find . -name f"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == ["root:-r--r--r--", "root:-r-xr-xr-x", "root:dr-xr-xr-x"]
    assert done.stdout.splitlines()[-1] == "./v0/d/f"
    done = other(f"getfattr --absolute-names --only-values -n user.artfs.state {mounted.collection()}/v0")
    assert done.stdout == "COMMITTED"


def test_another_user_changes_nothing(mounted):
    draft = mounted.draft()
    (draft / "f").write_text("mine")
    draft.chmod(0o777)
    (draft / "f").chmod(0o666)
    collection = mounted.collection()
    before = tree_of(mounted.mountpoint)
    for command in (
        f"touch {collection}/v0/new", f"rm {collection}/v0/d/f", f"echo x > {collection}/v0/d/f", f"chmod 777 {collection}/v0/d/f",
    ):  # fmt: skip
        refused(command, "Read-only file system")
    for command in (
        f"mkdir {collection}/.staging/theirs", f"mv -T {draft} {collection}/.commit/x", f"mv -T {draft} {draft}2", f"rmdir {draft}",
        f"touch {draft}/new", f"echo x >> {draft}/f", f"rm -f {draft}/f", f"chmod 777 {draft}/f", f"mkdir {draft}/d", f"truncate -s 0 {draft}/f",
        f"ln {draft}/f {draft}/g", f"ln -s x {draft}/g", f"mkfifo {draft}/p",
        f"ln -s v0 {collection}/theirs", f"ln -sfn v0 {collection}/best", f"rm -f {collection}/best", f"mv {collection}/best {collection}/worst",
        f"mkdir {mounted.mountpoint}/them", f"mkdir {mounted.mountpoint}/me/theirs", f"rmdir {collection}",
        f"setfattr -n user.artfs.description -v x {collection}/v0", f"setfattr -n user.artfs.type -v x {draft}",
    ):  # fmt: skip
        refused(command)
    assert tree_of(mounted.mountpoint) == before
    assert os.listdir(collection / ".staging") == ["draft"]
    assert mounted.json("show", "demo/data:v0")["description"] is None
    assert other(f"test -w {collection}/best || test -w {draft} || test -w {draft}/f").returncode != 0


def test_a_draft_shows_others_what_its_modes_let_them_see(mounted):
    draft = mounted.draft()
    for name in ("open", "closed"):
        (draft / name).mkdir()
        (draft / name / "file").write_text(f"in {name}\n")
        (draft / name / "secret").write_text("secret\n")
        (draft / name / "secret").chmod(0o600)
    (draft / "closed").chmod(0o700)
    draft.chmod(0o755)
    assert other(f"cat {draft}/open/file").stdout == "in open\n"
    refused(f"cat {draft}/open/secret")
    refused(f"ls {draft}/closed")
    refused(f"cat {draft}/closed/file")  # although the kernel knows its name from its owner's use
    refused(f"cd {draft}/closed", "can't cd")
    draft.chmod(0o700)
    refused(f"ls {draft}")
    refused(f"cat {draft}/open/file")
    assert (draft / "closed/secret").read_text() == "secret\n"


def test_another_user_cannot_command_the_mount_process(mounted):
    mounted.draft()
    control = os.getxattr(mounted.mountpoint, "user.artfs.control").decode()
    assert os.path.exists(control)
    refused(f"ls {control}")
    for name in ("data", "state", "runtime"):
        refused(f"ls {mounted.root}/{name}")
    assert os.listdir(mounted.collection() / ".staging") == ["draft"]


def test_file_references_are_served_to_others_only_under_the_roots_of_the_configuration(shared, open_path):
    shared.expected.append("is outside of the roots that this mount serves to others")
    for name in ("public", "private"):
        (open_path / name).mkdir()
        (open_path / name / "file").write_text(f"{name}\n")
    (open_path / "private/file").chmod(0o600)
    (open_path / "public/link").symlink_to("../private/file")
    shared.mount()
    for name in ("public/file", "private/file", "public/link"):
        draft = shared.draft(collection=name.replace("/", "-"))
        (draft / "ref").symlink_to((open_path / name).as_uri())
        shared.commit(draft)
        assert (shared.collection(name.replace("/", "-")) / "v0/ref").read_text() == (open_path / name).read_text()
    shared.umount()
    shared.environment["ARTFS_REFERENCE_ROOTS"] = str(open_path / "public")
    shared.mount("-o", "allow_other")
    assert other(f"cat {shared.collection('public-file')}/v0/ref").stdout == "public\n"
    for name in ("private-file", "public-link"):
        file = shared.collection(name) / "v0/ref"
        refused(f"cat {file}")
        with pytest.raises(PermissionError):
            file.read_text()  # not even for its owner: pages are shared with everybody
    draft = shared.draft(collection="new")
    (draft / "ref").symlink_to((open_path / "private/file").as_uri())
    assert "outside of the roots" in shared.run("commit", draft, code=2).stderr
    shared.umount()
    del shared.environment["ARTFS_REFERENCE_ROOTS"]
    shared.mount("-o", "allow_other")
    refused(f"cat {shared.collection('public-file')}/v0/ref")  # without roots, none


def test_without_allow_other_nobody_else_sees_the_mount(shared, tmp_path):
    (tmp_path / "f").write_text("x")
    shared.run("put", tmp_path / "f", "demo/data")
    shared.mount()
    assert shared.mountpoint in {path for path, _ in mount_points()}
    for command in (
        f"ls {shared.mountpoint}",
        f"cat {shared.collection()}/v0/f",
        f"stat {shared.collection()}",
    ):
        refused(command)
    assert (shared.collection() / "v0/f").read_text() == "x"


def test_the_modes_that_a_mount_shows_are_those_that_others_meet(shared, tmp_path):
    (tmp_path / "f").write_text("x")
    shared.run("put", tmp_path / "f", "demo/data")
    shared.mount("-o", "allow_other,umask=007")
    refused(f"ls {shared.mountpoint}")
    refused(f"cat {shared.collection()}/v0/f")
    assert (shared.collection() / "v0/f").read_text() == "x"
    shared.umount()
    shared.mount("-o", f"allow_other,umask=077,uid={NOBODY}")
    assert other(f"cat {shared.collection()}/v0/f").stdout == "x"


def test_an_ordinary_user_is_told_what_allow_other_needs(ordinary):
    with open("/etc/fuse.conf") as file:
        if "user_allow_other" in [line.strip() for line in file]:
            ordinary.mount("-o", "allow_other")
            return
    ordinary.expected.append("mounting")
    done = ordinary.run("mount", ordinary.mountpoint, "-o", "allow_other", code=6)
    assert "user_allow_other" in done.stderr
    assert not os.path.ismount(ordinary.mountpoint)
