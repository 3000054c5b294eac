"""The data types are names of artfs, and without the wandb package one clear error."""

import sys

import pytest

import artfs
from artfs.api import datatypes
from artfs.errors import InvalidInputError


def test_the_names_of_artfs_are_the_classes_of_the_sdk():
    import wandb.data_types

    for name in artfs._DATA_TYPES:
        assert getattr(artfs, name) is getattr(wandb.data_types, name)


@pytest.fixture
def without_wandb(monkeypatch):
    for name in [name for name in sys.modules if name == "wandb" or name.startswith("wandb.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)  # its import fails
    for name in artfs._DATA_TYPES:
        monkeypatch.delitem(vars(artfs), name, raising=False)


def test_without_the_package_the_error_says_how_to_get_it(without_wandb, fresh, log):
    logged = log()
    for use in (
        lambda: artfs.Table,
        lambda: datatypes.data_type("Image"),
        lambda: artfs.Artifact("data", "dataset").add(object(), "x"),
        lambda: logged.get("x"),
    ):
        with pytest.raises(InvalidInputError, match="wandb package") as caught:
            use()
        assert caught.value.hint == "pip install 'artfs[wandb]'"
