"""The list of what a W&B server cannot do names tests that there are, and the user can read each reason."""

import re
from pathlib import Path

from tests.registry.wandb_differences import DIFFERENCES, RACES

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "wandb.md"


def test_every_difference_is_one_of_a_test_of_the_contract():
    texts = [path.read_text() for path in HERE.glob("test_contract_*.py")]
    names = {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert set(DIFFERENCES) | set(RACES) <= names
    assert not set(DIFFERENCES) & set(RACES)


def test_every_reason_is_in_the_documentation():
    part = DOCS.read_text().partition("## How it differs from a registry of artfs")[2]
    words = " ".join(part.replace("**", "").split())
    assert [reason for reason in {*DIFFERENCES.values(), *RACES.values()} if reason not in words] == []
