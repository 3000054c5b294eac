"""Metadata: what a user says of a version."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.metadata import parse_metadata
from tests.model.strategies import examples, json_values, texts


@given(st.dictionaries(texts(max_size=8), json_values, max_size=5))
@examples(100)
def test_a_json_object_is_taken_as_it_is(value):
    assert parse_metadata(value) == value
    assert parse_metadata(json.loads(json.dumps(value))) == value


def test_what_is_taken_shares_nothing_with_what_was_given():
    inner = [1]
    given_value = {"a": {"b": inner}}
    taken = parse_metadata(given_value)
    inner.append(2)
    given_value["a"]["c"] = 3
    assert taken == {"a": {"b": [1]}}


@pytest.mark.parametrize("value", [None, [], "{}", 1, True, [("a", 1)], {1}, b"{}"])
def test_metadata_that_are_no_object_are_refused(value):
    with pytest.raises(InvalidInputError, match=f"JSON object, not {type(value).__name__}"):
        parse_metadata(value)


def test_an_object_has_at_most_100_keys_at_the_top():
    assert len(parse_metadata({str(number): number for number in range(100)})) == 100
    with pytest.raises(InvalidInputError, match="101 keys"):
        parse_metadata({str(number): number for number in range(101)})


def test_below_the_top_an_object_has_as_many_keys_as_it_likes():
    value = {"a": {str(number): number for number in range(1000)}}
    assert parse_metadata(value) == value


@pytest.mark.parametrize("key", [1, None, True, 1.5, ("a",), b"a"])
def test_a_key_that_is_no_string_is_refused_at_any_depth(key):
    for value in ({key: 1}, {"a": {key: 1}}, {"a": [{"b": ({key: 1},)}]}):
        with pytest.raises(InvalidInputError, match="is not a string"):
            parse_metadata(value)


def test_nan_becomes_null_at_any_depth():
    assert parse_metadata({"a": math.nan, "b": [math.nan, {"c": (math.nan,)}]}) == {
        "a": None,
        "b": [None, {"c": [None]}],
    }


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_an_infinite_number_is_refused_at_any_depth_with_its_key(number):
    for value in ({"loss": number}, {"loss": {"b": [number]}}):
        with pytest.raises(InvalidInputError, match="'loss' is infinite"):
            parse_metadata(value)


@pytest.mark.parametrize("item", [{1}, b"a", object(), 1j, range(3), json])
def test_what_json_cannot_hold_is_refused_at_any_depth_with_its_key(item):
    for value in ({"loss": item}, {"loss": {"b": [item]}}):
        with pytest.raises(
            InvalidInputError, match=f"'loss' is of type '{type(item).__name__}', which JSON cannot hold"
        ):
            parse_metadata(value)


def test_tuples_become_lists():
    assert parse_metadata({"a": (1, (2,))}) == {"a": [1, [2]]}


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udd8a\ud83e"])
def test_half_a_surrogate_pair_is_refused_at_any_depth(text):
    for value in ({text: 1}, {"a": text}, {"a": {text: 1}}, {"a": [{"b": (text,)}]}):
        with pytest.raises(InvalidInputError, match="not valid Unicode"):
            parse_metadata(value)


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {"a": value}])
def test_metadata_that_are_nested_too_deeply_are_refused(wrap):
    deep = None
    for _ in range(20_000):
        deep = wrap(deep)
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        parse_metadata({"a": deep})


def test_metadata_that_hold_themselves_are_refused():
    value = {}
    value["self"] = [value]
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        parse_metadata(value)
