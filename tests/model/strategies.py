"""What the tests of the model draw from: valid names, paths, trees and entries, and texts that are hostile on purpose."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, MAX_SIZE, Entry, file_extra
from artfs.model.paths import parse_entry_path

ODD_NAMES = (
    "a b", "$HOME", "`id`", "back\\slash", "new\nline", "tab\t", "-rf", "~", "...", ".hidden", "100%", "a%20b", "a#b", "a?b",
    "aa:b", "CON", "'", '"', "ünïcödé", "日本語", "🦊", "e\u0301", "\u202e", "\x7f", "a,b", "{}", "{\"a\":1}", "*", "\u2028",
)  # fmt: skip


def examples(count):
    """Try so many examples, however slow the machine is."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def texts(**kwargs):
    """Text that UTF-8 can hold, with what is special in paths, JSON and URIs coming often."""
    alphabet = st.sampled_from("ab./\\:%?# \n\"'{},é🦊") | st.characters(exclude_categories=["Cs"])
    return st.text(alphabet, **kwargs)


def _is_name_everywhere(text):
    return text[1:2] != ":" and not text.startswith("\\") and not {"..", "."} & set(text.split("\\"))


names = (
    st.text("abcdxyz019._-", min_size=1, max_size=8)
    | st.sampled_from(ODD_NAMES)
    | texts(min_size=1, max_size=12).map(lambda text: text.replace("/", "").replace("\0", ""))
).filter(lambda name: name and _is_name_everywhere(name))
"""File names that both artfs and W&B take. W&B refuses what Windows would take for a drive, a root or a way up."""

entry_paths = st.lists(names, min_size=1, max_size=5).map("/".join).map(parse_entry_path)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(max_size=5), inner, max_size=3),
    max_leaves=6,
)

digests = st.binary(min_size=16, max_size=16)
sizes = st.sampled_from([0, 1, BLOCK_SIZE, BLOCK_SIZE + 1, MAX_SIZE]) | st.integers(0, MAX_SIZE)
_foreign = st.dictionaries(
    texts(max_size=6).filter(lambda key: key not in {"alg", "blocks", "executable"}), json_values, max_size=2
)
_ids = st.none() | st.sampled_from(["QXJ0aWZhY3Q6MTY=", "é"])


@st.composite
def file_entries(draw, paths=entry_paths):
    algorithm = draw(st.sampled_from([Algorithm.MD5, Algorithm.XXH128]))
    blocks = draw(st.none() | st.binary(min_size=32, max_size=32))
    block_list = None if blocks is None else Digest(Algorithm.BLAKE3, blocks)
    extra = draw(_foreign) | file_extra(algorithm, executable=draw(st.booleans()), block_list=block_list)
    digest = Digest(algorithm, draw(digests)).base64
    return Entry(draw(paths), digest, draw(sizes), None, draw(_ids), extra)


@st.composite
def reference_entries(draw, paths=entry_paths):
    ref = draw(st.sampled_from(["s3://bucket/", "file:///data/", "wandb-artifact://6172/"])) + draw(texts(max_size=10))
    digest = draw(st.just(ref) | texts(min_size=1, max_size=20))
    return Entry(draw(paths), digest, draw(sizes), ref, draw(_ids), draw(_foreign))


entries = file_entries() | reference_entries()
contents = st.lists(entries, max_size=6, unique_by=lambda entry: entry.path).map(
    lambda found: sorted(found, key=lambda entry: entry.path)
)
"""Entries with different paths, in the order of a manifest."""


def _flat(tree, directory=""):
    for name, node in tree.items():
        if isinstance(node, bytes):
            yield f"{directory}{name}", node
        else:
            yield from _flat(node, f"{directory}{name}/")


_blobs = st.just(b"") | st.binary(max_size=40)
trees = st.recursive(
    st.dictionaries(names, _blobs, max_size=4),
    lambda inner: st.dictionaries(names, _blobs | inner, max_size=4),
    max_leaves=8,
).map(lambda tree: dict(_flat(tree)))
"""Files of a directory: relative path -> bytes."""
