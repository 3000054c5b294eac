import pytest

from artfs.errors import InvalidInputError
from artfs.wandb.operation import Operation

GOOD = [
    ("A", "query A { a }"),
    ("A", "mutation A($x: Int!) { a(x: $x) }"),
    ("_a1", "# query B { b }\nquery _a1 @live { a }"),
    ("A", 'query A { a(text: "query B { b }") }'),
    ("A", "query A { ...F } fragment F on Query { query }"),
]
BAD = [
    ("B", "query A { a }"),
    ("A", "{ a }"),
    ("A", "query { a }"),
    ("A", "# query A { a }"),
    ("A", "query A { a } query B { b }"),
    ("A", "query A { a } query A { a }"),
    ("A b", "query A b { a }"),
    ("", ""),
]


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_an_operation_is_what_its_text_declares(name, text):
    assert Operation(name, text).name == name


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_text_that_declares_something_else_is_refused(name, text):
    with pytest.raises(InvalidInputError, match="declares"):
        Operation(name, text)
