"""The tests that the documents name exist: each promise has one."""

import ast
import re

import pytest

from tests.docs.test_docs import DOCUMENTS, ROOT, name_of, text_of

_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def collected(file):
    """Return what pytest collects of a file: functions of the module, and test cases that are assigned to a name."""
    found = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if name.startswith(("test_", "Test"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_tests_that_a_document_names_exist(document):
    for file, name in _NAMED.findall(document.read_text()):
        assert (ROOT / file).exists(), f"there is no {file}"
        assert not name or name in collected(file), f"{file} has no {name}"


def test_every_promise_has_a_test():
    rows = [line.split("|")[1:3] for line in text_of("docs/semantics.md").splitlines() if line.startswith("| ")]
    promises = [promise for promise, shown in rows if promise.strip().endswith(".")]
    assert len(promises) > 60
    assert [promise for promise, shown in rows if promise.strip().endswith(".") and not _NAMED.search(shown)] == []


def test_every_promise_of_the_readme_has_a_section():
    readme = text_of("README.md").partition("\n## Promises\n")[2].partition("\n## ")[0]
    sections = re.findall(r"^\| (\w.*?) \| \|$", text_of("docs/semantics.md"), re.MULTILINE)
    assert len(re.findall(r"^\d\. ", readme, re.MULTILINE)) == len(sections) == 7


@pytest.mark.parametrize("name", ["test_is_not_there", "collected", "_NAMED"])
def test_a_test_that_does_not_exist_is_found(name):
    assert name not in collected("tests/docs/test_semantics.py")
