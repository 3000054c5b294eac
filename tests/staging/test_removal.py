"""Removing a draft, whatever is in it, and whoever looks at it meanwhile."""

import os

from artfs.staging.removal import remove_tree


def test_files_that_appear_while_a_draft_is_removed_go_with_it(tmp_path, monkeypatch):
    directory = tmp_path / "draft"
    (directory / "tree").mkdir(parents=True)
    (directory / "tree/f").write_text("x")
    rmdir, late = os.rmdir, [directory / "draft.sqlite-shm", directory / "draft.sqlite-wal"]

    def looked_at(path, **more):
        if os.fspath(path) == os.fspath(directory) and late:
            late.pop().write_text("of somebody who only reads")
        rmdir(path, **more)

    monkeypatch.setattr(os, "rmdir", looked_at)
    remove_tree(directory)
    assert not directory.exists()
    assert not late


def test_modes_do_not_keep_a_draft(tmp_path):
    (tmp_path / "draft/closed/deep").mkdir(parents=True)
    (tmp_path / "draft/closed/deep/f").write_text("x")
    (tmp_path / "draft/closed/deep").chmod(0)
    (tmp_path / "draft/closed").chmod(0o500)
    remove_tree(tmp_path / "draft")
    assert not (tmp_path / "draft").exists()
