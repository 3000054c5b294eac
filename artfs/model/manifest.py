"""Manifest v1: the JSON file that lists the entries of a version, read and written as streams.

A manifest may list millions of entries, so neither direction holds them: `encode_manifest` takes sorted entries and yields
bytes, one entry a line; `decode_manifest` takes chunks of bytes of any JSON layout and yields entries in file order.
Only the fields that differ from their defaults are written. Unknown keys (``local_path``, ``skip_cache``) are ignored.
"""

from __future__ import annotations

import codecs
import json
import math
from typing import TYPE_CHECKING, cast

from artfs.errors import InvalidInputError
from artfs.model.digest import Digest
from artfs.model.entry import Entry, JsonValue, parse_algorithm
from artfs.model.paths import parse_entry_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANIFEST_VERSION = 1
STORAGE_POLICY = "wandb-storage-policy-v1"
MAX_ENTRIES = 10_000_000

_WHITESPACE = " \t\n\r"
_MAX_TOKEN = 1 << 20  # the longest key or value (characters), such as an entry
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode_entry(entry: Entry) -> str:
    """Return the JSON object of one entry, without its path."""
    fields: dict[str, object] = {"digest": entry.digest}
    if entry.ref is not None:
        fields["ref"] = entry.ref
    if entry.size or entry.ref is None:
        fields["size"] = entry.size
    if entry.birth_artifact_id is not None:
        fields["birthArtifactID"] = entry.birth_artifact_id
    if entry.extra:
        fields["extra"] = entry.extra
    return _dumps(fields)


def decode_entry(path: str, fields: JsonValue) -> Entry:
    """Check one untrusted member of ``contents``."""
    if not isinstance(fields, dict):
        raise InvalidInputError(f"manifest entry {path!r} is not an object")
    digest, size, ref = fields.get("digest"), fields.get("size"), fields.get("ref")
    extra, birth = fields.get("extra"), fields.get("birthArtifactID")
    if not isinstance(digest, str):
        raise InvalidInputError(f"manifest entry {path!r} has no digest")
    if not isinstance(size, int | None) or not isinstance(ref, str | None) or not isinstance(birth, str | None):
        raise InvalidInputError(f"manifest entry {path!r} has a field of the wrong type")
    if not isinstance(extra, dict | None):
        raise InvalidInputError(f"manifest entry {path!r} has an 'extra' that is not an object")
    size = 0 if size is None else size  # False is a size of the wrong type
    entry = Entry(parse_entry_path(path), digest, size, ref or None, birth or None, extra or {})
    try:
        algorithm = parse_algorithm(entry.extra)
        if entry.ref is None:
            Digest.from_base64(digest, algorithm)  # a file whose digest can never match is refused here
        _ = entry.head, entry.packed  # and so is the name of a block list or of a pack that can never be found
    except InvalidInputError as error:
        raise InvalidInputError(f"manifest entry {path!r}: {error.message}") from error
    return entry


def encode_manifest(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the manifest of entries that come sorted by path, in pieces of about 64 KiB."""
    header = {
        "version": MANIFEST_VERSION,
        "storagePolicy": STORAGE_POLICY,
        "storagePolicyConfig": {"storageLayout": "V2"},
    }
    pieces = [_dumps(header)[:-1], ',"contents":{']
    length, separator = 0, "\n"
    for entry in entries:
        line = f"{separator}{_dumps(entry.path)}:{encode_entry(entry)}"
        pieces.append(line)
        length += len(line)
        separator = ",\n"
        if length > 1 << 16:
            yield "".join(pieces).encode()
            pieces, length = [], 0
    pieces.append("\n}}\n")
    yield "".join(pieces).encode()


def decode_manifest(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """Yield the entries of an untrusted manifest in file order; InvalidInputError at the first thing wrong.

    Checked here: JSON, the manifest version and layout, and each entry by itself. That no path comes twice or is
    both a file and a directory can only be known by who holds all the entries (`artfs.cache.compile`).
    """
    window = _Window(chunks)
    seen: set[str] = set()
    count = 0
    for key in window.members():
        if key in seen:
            raise InvalidInputError(f"manifest has the key {key!r} twice")
        seen.add(key)
        if key == "contents":
            for path in window.members():
                count += 1
                if count > MAX_ENTRIES:
                    raise InvalidInputError(f"manifest has more than {MAX_ENTRIES} entries")
                yield decode_entry(path, window.value())
        else:
            _check_header(key, window.value())
    window.expect_end()
    for key in ("version", "contents"):
        if key not in seen:
            raise InvalidInputError(f"manifest has no {key!r}")


def storage_place(chunks: Iterable[bytes]) -> tuple[str, str | None]:
    """Return the layout (V1 or V2) that an untrusted manifest has, and the region that it names, None for the usual one.

    What follows them is not read.
    """
    window = _Window(chunks)
    for key in window.members():
        if key == "contents":
            for _ in window.members():
                window.value()
            continue
        value = window.value()
        if key == "storagePolicyConfig" and isinstance(value, dict):
            region = value.get("storageRegion")
            layout = "V2" if value.get("storageLayout") == "V2" else "V1"
            return layout, region if isinstance(region, str) and region else None
    return "V1", None


def _check_header(key: str, value: JsonValue) -> None:
    if key == "version" and (value != MANIFEST_VERSION or isinstance(value, bool)):
        raise InvalidInputError(f"manifest has version {value!r}: only {MANIFEST_VERSION} is known")
    if key == "storagePolicy" and value != STORAGE_POLICY:
        raise InvalidInputError(f"manifest has the unknown storage policy {value!r}")
    if key == "storagePolicyConfig" and value is not None:
        layout = value.get("storageLayout", "V1") if isinstance(value, dict) else None
        if layout not in ("V1", "V2"):  # not in a set: an untrusted value may have no hash
            raise InvalidInputError(f"manifest has the unknown storage layout {layout!r}")


class _Window:
    """A sliding window of text over the chunks of a JSON document, with just enough of a parser to walk objects."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder(
            object_pairs_hook=_unique_object, parse_constant=_refuse_constant, parse_float=_parse_float
        ).raw_decode
        self._text = ""
        self._at = 0
        self._ended = False

    def members(self) -> Iterator[str]:
        """Walk an object: yield each key; the caller takes the value before it asks for the next key."""
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise InvalidInputError("manifest is not valid JSON: a key is missing")
            key = self._take()
            self._expect(":")
            yield cast("str", key)
            separator = self._peek()
            self._at += 1
            if separator == "}":
                return
            if separator != ",":
                raise InvalidInputError("manifest is not valid JSON: a ',' or '}' is missing")

    def value(self) -> JsonValue:
        """Take one whole JSON value."""
        self._peek()
        return self._take()

    def expect_end(self) -> None:
        """Refuse anything but white space after the document."""
        if self._peek_or_end():
            raise InvalidInputError("manifest is not valid JSON: text after its end")

    def _take(self) -> JsonValue:
        while True:
            try:
                value, end = self._scan(self._text, self._at)
                self._check_escapes(value, end)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > _MAX_TOKEN:
                    raise InvalidInputError(f"manifest is not valid JSON, or too long: {error.msg}") from error
                if not self._more():
                    raise InvalidInputError(f"manifest is not valid JSON: {error.msg}") from error
            except RecursionError as error:
                raise InvalidInputError("manifest is nested too deeply") from error
            except UnicodeEncodeError as error:
                raise InvalidInputError("manifest has text that is not valid Unicode") from error
            except ValueError as error:
                if isinstance(error, InvalidInputError):
                    raise
                raise InvalidInputError("manifest has a number that is too long") from error
            else:
                length = end - self._at
                if length > _MAX_TOKEN:
                    raise InvalidInputError("manifest has an entry that is too long")
                # A number at the end of the window may go on in the next chunk: "1" is also the start of "1e+5".
                if end + 2 < len(self._text) or not self._more():
                    self._at += length
                    return cast("JsonValue", value)

    def _check_escapes(self, value: JsonValue, end: int) -> None:
        """UnicodeEncodeError if an escape stands for half a surrogate pair: the text itself is valid."""
        if self._text.find("\\u", self._at, end) >= 0:
            _dumps(value).encode()

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            raise InvalidInputError(f"manifest is not valid JSON: a {char!r} is missing")
        self._at += 1

    def _peek(self) -> str:
        char = self._peek_or_end()
        if not char:
            raise InvalidInputError("manifest is not valid JSON: it ends too early")
        return char

    def _peek_or_end(self) -> str:
        while True:
            while self._at < len(self._text):
                char = self._text[self._at]
                if char not in _WHITESPACE:
                    return char
                self._at += 1
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Move the window on by one chunk; False at the end of the document."""
        if self._ended:
            return False
        chunk = next(self._chunks, None)
        self._ended = chunk is None
        try:
            text = self._decoder.decode(chunk or b"", final=self._ended)
        except UnicodeDecodeError as error:
            raise InvalidInputError("manifest is not valid UTF-8") from error
        self._text = self._text[self._at :] + text
        self._at = 0
        return not self._ended or bool(text)


def _unique_object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidInputError("manifest has the same key twice in one object")
    return members


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInputError(f"manifest contains the number {text[:40]}, which is out of range")
    return value


def _refuse_constant(name: str) -> JsonValue:
    raise InvalidInputError(f"manifest contains {name}, which is not JSON")
