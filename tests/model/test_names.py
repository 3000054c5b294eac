"""Names and the references made of them."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artfs.errors import InvalidInputError
from artfs.model.names import (
    ArtifactRef,
    CollectionRef,
    parse_alias,
    parse_artifact_ref,
    parse_collection,
    parse_collection_ref,
    parse_draft,
    parse_entity,
    parse_project,
    parse_tag,
    parse_type,
    version_index,
    version_name,
)
from tests.model.strategies import examples, texts

DIRECTORIES = [parse_entity, parse_project, parse_collection, parse_alias, parse_draft]
FREE = [parse_entity, parse_project, parse_alias, parse_draft]


def kind_of_dataset(text):
    return parse_type(text, "digits")


@pytest.mark.parametrize("parse", [*DIRECTORIES, parse_tag, kind_of_dataset])
@pytest.mark.parametrize("text", ["a", "A-1_b", "0", "-", "_", "mnist", "v", "vv1", "latest", "a" * 128])
def test_plain_names_are_taken_as_they_are(parse, text):
    assert parse(text) == text


@pytest.mark.parametrize("parse", DIRECTORIES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "/",
        "a\0",
        "\0",
        "a\n",
        "\t",
        "\x1f",
        "a" * 129,
        "é" * 128,
        "\ud800",
        "a\udcffb",
    ],
)
def test_what_no_directory_of_the_mount_may_be_called_is_refused(parse, text):
    with pytest.raises(InvalidInputError):
        parse(text)


@pytest.mark.parametrize("parse", DIRECTORIES)
@pytest.mark.parametrize("text", ["", ".hidden", "a\n", "a" * 129])
def test_a_refusal_says_the_name_of_what_is_wrong(parse, text):
    with pytest.raises(InvalidInputError, match=parse.__name__.removeprefix("parse_")):
        parse(text)


@pytest.mark.parametrize("parse", FREE)
@pytest.mark.parametrize(
    "text", ["my model", "ünïcödé", "日本語", "a.b", "a..", "$x", "é" * 127, "🦊" * 63, "-rf", "\x7f"]
)
def test_names_that_need_not_be_ascii_are_taken_as_they_are(parse, text):
    assert parse(text) == text


@pytest.mark.parametrize("parse", FREE)
def test_a_name_has_at_most_255_bytes(parse):
    assert parse("é" * 127 + "a") == "é" * 127 + "a"
    with pytest.raises(InvalidInputError, match="255 bytes"):
        parse("é" * 128)


@pytest.mark.parametrize("parse", [*FREE, parse_collection])
def test_a_name_has_at_most_128_characters(parse):
    with pytest.raises(InvalidInputError, match="128 characters"):
        parse("a" * 129)


@pytest.mark.parametrize("parse", [parse_entity, parse_project])
@pytest.mark.parametrize("char", "/\\#?%:\r\n")
def test_entities_and_projects_have_no_character_that_is_special_in_a_url(parse, char):
    for text in (f"a{char}b", f"a{char}", f"{char}b"):
        with pytest.raises(InvalidInputError):
            parse(text)


@pytest.mark.parametrize("text", ["a b", "é", "a:b", "a$", "a\\b", "a+b", "a,b", "\uff41"])
def test_a_new_collection_has_letters_digits_and_three_signs_only(text):
    assert parse_collection("aZ09_-.") == "aZ09_-."
    with pytest.raises(InvalidInputError, match="use letters"):
        parse_collection(text)


@pytest.mark.parametrize("text", ["v0", "v3", "v03", "v" + "9" * 40, "v٣", "v\uff11"])
def test_a_version_index_is_no_alias(text):
    with pytest.raises(InvalidInputError, match="cannot be aliases"):
        parse_alias(text)


@pytest.mark.parametrize("text", ["v", "v3.0", "v-1", "V3", "version3", "v3a", "av3"])
def test_what_only_begins_like_a_version_index_is_an_alias(text):
    assert parse_alias(text) == text


@pytest.mark.parametrize("text", [":", "a:", ":a", "a:b"])
def test_an_alias_has_no_colon(text):
    with pytest.raises(InvalidInputError, match="':'"):
        parse_alias(text)


@pytest.mark.parametrize("text", ["a b", "a  b-c", "é", "a_b", "-"])
def test_tags_are_words(text):
    assert parse_tag(text) == text


@pytest.mark.parametrize("text", ["", " ", " a", "a ", "a.b", "a/b", "a\n", "a\tb", "a:b", "a" * 129, "\ud800", "a\0"])
def test_what_is_not_words_is_no_tag(text):
    with pytest.raises(InvalidInputError, match="tag"):
        parse_tag(text)


@pytest.mark.parametrize("text", ["dataset", "a b", "a  .b", "raw-data.v2", "é", "a.", "jobs", "a job", "wandb", "-"])
def test_types_are_words_with_dots(text):
    assert parse_type(text, "digits") == text


@pytest.mark.parametrize("text", ["", " ", " a", "a ", ".a", "a/b", "a\n", "a\tb", "a:b", "a" * 129, "\ud800", "a\0"])
def test_what_is_not_words_with_dots_is_no_type(text):
    with pytest.raises(InvalidInputError, match="use words"):
        parse_type(text, "digits")


@given(st.text("a-. !", max_size=12))
@examples(300)
def test_types_are_those_of_the_pattern_of_wandb(text):
    try:
        taken = parse_type(text, "digits") == text
    except InvalidInputError:
        taken = False
    assert taken == bool(re.fullmatch(r"[-\w]+([ ]*[-.\w]+)*", text))


@pytest.mark.parametrize("text", ["a" * 127 + "!", "a " * 63 + "!", "a." * 63 + "/", "-" * 127 + " "])
def test_a_long_type_is_refused_without_trying_every_way_to_read_it(text):
    # A pattern that can read a word in many ways would take longer than the age of the universe to refuse these.
    with pytest.raises(InvalidInputError, match="use words"):
        parse_type(text, "digits")


@pytest.mark.parametrize(
    ("text", "collection"),
    [
        ("job", "digits"),
        ("wandb-history", "digits"),
        ("wandb-", "digits"),
        ("run_table", "run-1"),
        ("code", "source-1"),
    ],
)
def test_the_types_that_wandb_keeps_for_itself_are_refused_with_a_hint(text, collection):
    with pytest.raises(InvalidInputError, match="reserved") as caught:
        parse_type(text, collection)
    assert "dataset" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "collection"),
    [("run_table", "digits"), ("run_table", "source-1"), ("code", "digits"), ("code", "run-1"), ("code", "a-source-1")],
)
def test_a_type_kept_for_some_collections_is_free_for_others(text, collection):
    assert parse_type(text, collection) == text


@given(st.integers(0, 10**17 - 1))
@examples(100)
def test_every_version_name_gives_its_index_back(index):
    assert version_index(version_name(index)) == index


def test_version_names_are_v_and_the_index():
    assert (version_name(0), version_name(12)) == ("v0", "v12")


@pytest.mark.parametrize(
    "text",
    ["", "v", "3", "V3", "v03", "v00", "v-1", "v+1", "v 1", "v1 ", "v1\n", "v1.0", "v1_0", "v٣", "v1٢", "v\uff11", "v²", "vx",
     "v" + "9" * 18, "v" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_version_name_has_no_index(text):
    assert version_index(text) is None


@given(st.text("v0123456789٣\uff11²", max_size=6))
@examples(300)
def test_no_index_has_a_second_name(text):
    index = version_index(text)
    assert index is None or version_name(index) == text


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("digits", "me/uncategorized/digits:latest"),
        ("digits:v3", "me/uncategorized/digits:v3"),
        ("mnist/digits:best", "me/mnist/digits:best"),
        ("you/mnist/digits", "you/mnist/digits:latest"),
        ("you/mnist/digits:v0", "you/mnist/digits:v0"),
        ("you/mnist/my digits:the best", "you/mnist/my digits:the best"),
    ],
)
def test_what_a_reference_leaves_out_has_a_default(text, full):
    assert str(parse_artifact_ref(text, "me")) == full


def test_a_reference_is_a_collection_and_an_alias():
    ref = parse_artifact_ref("you/mnist/digits:best", "me")
    assert ref == ArtifactRef(CollectionRef("you", "mnist", "digits"), "best")
    assert ref.collection.at("best") == ref
    assert str(ref.collection) == "you/mnist/digits"


def test_a_reference_is_a_value_that_never_changes():
    ref = CollectionRef("you", "mnist", "digits").at("best")
    assert {ref, parse_artifact_ref("you/mnist/digits:best", "me")} == {ref}
    for value, field in ((ref, "alias"), (ref.collection, "project")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, "x")


@pytest.mark.parametrize(
    "text",
    ["", ":", ":v1", "digits:", "/digits", "digits/", "a//digits", "a/b/c/d", "/a/b/digits", "digits:v01", "digits:a:b",
     "digits:a/b", "digits:.x", ".digits", "..", "a/../digits", "a#/digits", "a/b?/digits", "digits\0", "digits:\ud800",
     "\ud800"],
)  # fmt: skip
def test_what_names_no_version_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_artifact_ref(text, "me")


def test_a_refused_reference_says_what_to_write():
    with pytest.raises(InvalidInputError) as caught:
        parse_artifact_ref("digits:", "me")
    assert "name:alias" in caught.value.hint
    with pytest.raises(InvalidInputError) as caught:
        parse_collection_ref("a/b/c/d", "me")
    assert "entity/project/name" in caught.value.hint


def test_the_default_entity_is_checked_like_any_other():
    with pytest.raises(InvalidInputError, match="entity"):
        parse_collection_ref("digits", "a/b")
    with pytest.raises(InvalidInputError, match="entity"):
        parse_collection_ref("digits", "")


@pytest.mark.parametrize("name", ["my model", "ünïcödé", "a+b", "model (1)"])
def test_a_collection_made_elsewhere_is_found_under_a_name_that_artfs_would_not_make(name):
    assert parse_collection_ref(f"you/mnist/{name}", "me") == CollectionRef("you", "mnist", name)
    with pytest.raises(InvalidInputError):
        parse_collection(name)


@given(texts(max_size=24))
@examples(300)
def test_a_reference_that_is_taken_is_read_back_from_its_text(text):
    try:
        ref = parse_artifact_ref(text, "me")
    except InvalidInputError:
        return
    assert parse_artifact_ref(str(ref), "another") == ref


@given(st.sampled_from(DIRECTORIES), st.text(max_size=8))
@examples(300)
def test_a_name_that_is_taken_is_one_directory_of_the_mount(parse, text):
    try:
        name = parse(text)
    except InvalidInputError:
        return
    assert name == text
    assert "/" not in name
    assert name not in {"", ".", ".."}
    assert b"\0" not in name.encode()
