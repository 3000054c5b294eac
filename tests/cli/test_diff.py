"""`artfs diff`: two versions, or a draft in a mount: what it prints, and its exit codes, which are those of diff(1)."""

import json
import os

import pytest

from tests.cli.conftest import run_all
from tests.cli.test_start import SLOW, imported
from tests.harness import Artfs


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """An artfs without a mount and two versions: one file changed, one renamed, one new, one gone, one that stayed."""
    found = Artfs(tmp_path_factory.mktemp("versions"))
    source = found.root / "source"
    (source / "d").mkdir(parents=True)
    for name, data in {"a": "a" * 10, "d/same": "same", "d/gone": "gone!", "d/old \x1b[2J": "moved"}.items():
        (source / name).write_text(data)
    found.here("put", source, "demo/data")
    (source / "a").write_text("a" * 2000)
    (source / "d/gone").unlink()
    (source / "d/old \x1b[2J").rename(source / "now")
    (source / "new").write_text("brand-new")
    found.here("put", source, "demo/data:best")
    return found


def test_what_differs_is_printed_with_sizes_and_a_summary(versions):
    done = versions.run("diff", "demo/data:v0", "demo/data:best", code=1)
    assert done.stderr == ""
    assert done.stdout == (
        "M  a  (10 B -> 2.0 kB)\n"
        "A  new  (9 B)\n"
        "R  d/old \\x1b[2J -> now  (5 B)\n"
        "D  d/gone  (5 B)\n"
        "1 added, 1 removed, 1 changed, 1 renamed, +2.0 kB\n"
    )


def test_versions_that_are_the_same_differ_in_nothing(versions):
    done = versions.run("diff", "demo/data:v1", "demo/data")
    assert (done.stdout, done.stderr) == ("no difference\n", "")
    assert versions.run("diff", "demo/data:v1", "demo/data", "--name-only").stdout == ""
    assert json.loads(versions.run("diff", "demo/data:v1", "demo/data", "--json").stdout)["changes"] == []


def test_names_alone_and_numbers_alone(versions):
    assert versions.run("diff", "demo/data:v0", "demo/data", "--name-only", code=1).stdout == "a\nnew\nnow\nd/gone\n"
    assert versions.run("diff", "demo/data:v0", "demo/data", "--stat", code=1).stdout == (
        ".  1 added, 1 changed, 1 renamed, +2.0 kB\nd/  1 removed, -5 B\n1 added, 1 removed, 1 changed, 1 renamed, +2.0 kB\n"
    )


def test_json_says_both_sides(versions):
    found = json.loads(versions.run("diff", "demo/data:v1", "demo/data:v0", "--json", code=1).stdout)
    changes = {
        (change["kind"], (change["after"] or change["before"])["path"]): change for change in found.pop("changes")
    }
    assert found == {
        "before": "me/demo/data:v1", "after": "me/demo/data:v0", "added": 1, "removed": 1, "changed": 1, "renamed": 1, "bytes": -1994,
    }  # fmt: skip
    assert set(changes) == {("changed", "a"), ("added", "d/gone"), ("removed", "new"), ("renamed", "d/old \x1b[2J")}
    renamed = changes["renamed", "d/old \x1b[2J"]
    assert renamed["before"] == {**renamed["after"], "path": "now"}
    assert changes["added", "d/gone"]["before"] is None
    assert changes["changed", "a"]["before"]["size"] == 2000


def test_no_bytes_are_needed(versions):
    kept = {}
    for data in (b"a" * 10, b"a" * 2000, b"same", b"gone!", b"moved", b"brand-new"):
        path = versions.blob(data)
        kept[path] = path.rename(versions.root / path.name)
    try:
        assert (
            versions.run("diff", "demo/data:v0", "demo/data", "--name-only", code=1).stdout == "a\nnew\nnow\nd/gone\n"
        )
    finally:
        for path, hidden in kept.items():
            hidden.rename(path)


def test_what_cannot_be_compared_is_said(versions):
    refusals = [
        (2, ["demo/data"], "Missing argument 'B'"),
        (2, ["demo/data:v0", "demo/data:v1", "--stat", "--json"], "give only one of"),
        (2, ["demo/data:v0/d", "demo/data:v1"], "compared as a whole"),
        (3, ["demo/data:v0", "demo/data:v7"], "v7"),
        (2, ["/tmp", "demo/data:v1"], "/tmp is not in a mount of artfs"),
        (3, ["demo/nothing", "demo/data"], "no collection me/demo/nothing"),
    ]
    for (code, line, says), found in zip(
        refusals, run_all(versions, [["diff", *row[1]] for row in refusals]), strict=True
    ):
        assert found[:2] == [code, ""], line
        assert says in found[2]


def test_two_algorithms_are_warned_of(cli, small):
    cli.here("put", small, "demo/data")
    cli.environment["ARTFS_ALGORITHM"] = "XXH128"
    cli.here("put", small, "demo/data")
    done = cli.run("diff", "demo/data:v0", "demo/data:v1", code=1)
    assert done.stdout.splitlines()[-1] == "2 changed, +0 B"
    assert "one has MD5 digests, the other XXH128" in done.stderr


def test_nothing_slow_is_imported(versions):
    assert not SLOW & imported(versions, ["diff", "--help"])
    assert not {"trio", "pyfuse3", "rich"} & imported(versions, ["diff", "demo/data:v1", "demo/data:v1"])


# Drafts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def draft(mounted, small):
    """A draft in a mount, from a version with d/g and f."""
    mounted.here("put", small, "demo/data")
    return mounted.collection() / ".staging" / mounted.out("stage", "demo/data").rpartition("/")[2]


def test_a_draft_is_compared_with_its_base(mounted, draft):
    assert mounted.run("diff", draft).stdout == "no difference\n"
    (draft / "f").write_text("ONE\n")
    (draft / "d").rename(draft / "e")
    (draft / "new").write_text("new")
    found = mounted.run("diff", draft, code=1)
    assert found.stdout == "M  f  (4 B)\nA  new  (3 B)\nR  d/g -> e/g  (4 B)\n1 added, 1 changed, 1 renamed, +3 B\n"
    assert found.stderr == ""
    named = json.loads(mounted.run("diff", draft, "--json", code=1).stdout)
    assert (named["before"], named["after"]) == ("me/demo/data:v0", str(draft))
    assert mounted.out("commit", draft) == "me/demo/data:v1"
    assert mounted.run("diff", "demo/data:v0", "demo/data:v1", code=1).stdout == found.stdout


def test_a_draft_without_a_base_is_compared_with_latest_or_with_nothing(mounted, draft, small):
    other = mounted.draft("other")
    (other / "f").write_text("one\n")
    assert mounted.run("diff", other, code=1).stdout == "D  d/g  (4 B)\n1 removed, -4 B\n"
    first = mounted.draft("first", "fresh")
    (first / "f").write_text("one\n")
    assert mounted.run("diff", first, code=1).stdout == "A  f  (4 B)\n1 added, +4 B\n"


def test_a_draft_is_compared_with_any_version_in_either_direction(mounted, draft, small):
    (small / "f").write_text("another\n")
    (small / "only-there").write_text("x")
    mounted.here("put", small, "demo/data")
    (draft / "only-here").write_text("yy")
    assert mounted.run("diff", "demo/data:v1", draft, code=1).stdout == (
        "M  f  (8 B -> 4 B)\nA  only-here  (2 B)\nD  only-there  (1 B)\n1 added, 1 removed, 1 changed, -3 B\n"
    )
    version = mounted.collection() / "v1"
    assert mounted.run("diff", draft, version, "--name-only", code=1).stdout == "f\nonly-here\nonly-there\n"
    assert mounted.run(
        "diff", mounted.collection() / "v0", mounted.collection() / "latest", "--name-only", code=1
    ).stdout == ("f\nonly-there\n")


def test_what_cannot_be_committed_is_a_warning(mounted, draft):
    (draft / "bad").symlink_to("nowhere")
    done = mounted.run("diff", draft)
    assert done.stdout == "no difference\n"
    assert "warning: cannot be committed: bad -> nowhere: leads to nothing" in done.stderr


def test_a_draft_is_compared_while_it_is_written_to(mounted, draft):
    with (draft / "f").open("a") as file:
        file.write("more")
        file.flush()
        assert mounted.run("diff", draft, code=1).stdout == "M  f  (4 B -> 8 B)\n1 changed, +4 B\n"
    assert mounted.out("commit", draft) == "me/demo/data:v1"


def test_many_changes_come_through(mounted):
    draft = mounted.draft()
    (draft / "d").mkdir()
    for number in range(2500):
        os.close(os.open(draft / f"d/{number:05}", os.O_WRONLY | os.O_CREAT))
    assert len(mounted.run("diff", draft, "--name-only", code=1).stdout.splitlines()) == 2500


def test_paths_that_are_neither_a_version_nor_a_draft_are_refused(mounted, draft):
    refusals = [
        (2, [draft.parent], "is not a version"),
        (2, [mounted.mountpoint], "is not a version"),
        (2, [draft, draft], "two drafts cannot be compared"),
        (2, [draft, f"{mounted.collection()}/v0/d"], "compared as a whole"),
        (3, [draft.parent / "other"], "does not exist"),
        (3, [draft, "demo/data:v9"], "v9"),
    ]
    for (code, line, says), found in zip(
        refusals, run_all(mounted, [["diff", *row[1]] for row in refusals]), strict=True
    ):
        assert found[:2] == [code, ""], line
        assert says in found[2]


def test_a_path_of_a_mount_of_another_registry_is_refused(mounted, draft, tmp_path):
    mounted.environment["ARTFS_REGISTRY"] = f"sqlite:///{tmp_path}/other.sqlite"
    done = mounted.run("diff", mounted.collection() / "v0", mounted.collection() / "v0", code=2)
    assert "is of the registry sqlite:////" in done.stderr
