"""The tables of docs/security.md and docs/integrity.md name tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([a-z_]+/test_\w+\.py)::(test_\w+)`")


@pytest.mark.parametrize("page", ["security.md", "integrity.md"])
def test_every_test_that_is_named_is_there(page):
    found = NAMED.findall((ROOT / "docs" / page).read_text())
    assert len(found) > 15
    missing = [
        f"{file}::{name}"
        for file, name in found
        if not re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.parametrize("page", ["security.md", "integrity.md"])
def test_every_promise_has_a_test(page):
    rows = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "| rung"))]
    assert [row for row in promises if not NAMED.search(row)] == []
