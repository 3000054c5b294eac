"""A GraphQL operation, as it is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from artfs.errors import InvalidInputError

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_STRING_OR_COMMENT = re.compile(r'"""(?:\\"""|.)*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*', re.DOTALL)
_DECLARED = re.compile(r"(?<![\w$@.])(?:query|mutation)\s+([A-Za-z_]\w*)\s*(?=[({@])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Operation:
    """The text of a document and the name of the one operation in it; InvalidInputError if the text declares another, or several."""

    name: str
    text: str

    def __post_init__(self) -> None:
        declared = _DECLARED.findall(_STRING_OR_COMMENT.sub(" ", self.text))
        if not _NAME.fullmatch(self.name) or declared != [self.name]:
            raise InvalidInputError(f"a GraphQL text declares {declared}, and not the operation {self.name!r}")

    @property
    def is_change(self) -> bool:
        """Whether it is a mutation."""
        return self.text.lstrip().startswith("mutation")
