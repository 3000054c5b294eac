"""Every question and change that artfs sends to a W&B server is valid in the schema, also those that no other test sends."""

import importlib
import pkgutil

import graphql
import pytest

import artfs
from artfs.wandb.operation import Operation
from tests.wandb_server import graphql as double


def found():
    operations = {}
    for module in pkgutil.walk_packages(artfs.__path__, "artfs."):
        if "wandb" in module.name and not module.name.startswith("artfs.api"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, Operation):
                    operations[f"{module.name}.{name}"] = value.text
    return operations | {"artfs.Artifact.QUERY": artfs.Artifact.QUERY}


OPERATIONS = found()


def test_operations_are_found():
    assert len(OPERATIONS) > 25


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_valid(name):
    assert graphql.validate(double.build(), graphql.parse(OPERATIONS[name])) == []
