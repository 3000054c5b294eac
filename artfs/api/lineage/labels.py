"""The words for a node of a lineage. All that a registry says is untrusted text: here it is made safe to show, and only here.

`visible` leaves no character that moves a cursor, changes the direction of writing, or that XML forbids. Quoting for a format (XML,
DOT) is the business of that format's module.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from artfs.api.lineage.graph import Gap, Reason
from artfs.model.names import version_name
from artfs.registry.port import Version

if TYPE_CHECKING:
    from artfs.api.lineage.graph import Node
    from artfs.registry.port import RunInfo

_LONGEST = 100  # characters of a text that anybody may choose, such as the name of a run
_INVISIBLE = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format (bidi among them), surrogate, line and paragraph separators
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def visible(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line, with what cannot be seen as an escape, and shortened in the middle."""
    text = shorten(text, longest)
    return shorten("".join(_escape(char) if _is_invisible(char) else char for char in text), longest)


def shorten(text: str, longest: int) -> str:
    """Return a text of at most so many characters: its start and its end."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 3
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE or ord(char) & 0xFFFE == 0xFFFE


def _escape(char: str) -> str:
    """Return the escape that Python has for a character."""
    return char.encode("unicode_escape").decode()


def size_text(size: int) -> str:
    """Return a size for people, in powers of 1000: ``12 MB``."""
    value, units = float(size), iter(_UNITS)
    unit = next(units)
    while value >= 999.5 and unit != _UNITS[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"


def version_path(version: Version) -> str:
    """Return ``entity/project/name:v3``."""
    return visible(f"{version.collection}:{version_name(version.index)}", 400)


def alias_text(version: Version) -> str:
    """Return ``(latest, best)``, or nothing."""
    shown = ", ".join(visible(alias) for alias in version.aliases[:10])
    more = f", {len(version.aliases) - 10} more" if len(version.aliases) > 10 else ""
    return f"({shown}{more})" if shown else ""


def name_line(node: Node) -> str:
    """Return the name of a node that is unique: with entity and project."""
    return version_path(node) if isinstance(node, Version) else f"run {visible(node.path, 400)}"


def full_line(node: Node) -> str:
    """Return all that a tree shows of a node."""
    if isinstance(node, Version):
        name = " ".join(filter(None, [version_path(node), alias_text(node)]))
        linked = f"link to {visible(str(node.source), 400)}:{version_name(node.source_index)}" if node.is_link else ""
        return "  ".join(filter(None, [name, visible(node.type), size_text(node.size), linked]))
    return f"{name_line(node)} {run_words(node)}"


def run_words(run: RunInfo) -> str:
    """Return ``"name" train finished``."""
    quoted = f'"{visible(run.name)}"' if run.name else ""
    return " ".join(filter(None, [quoted, visible(run.job_type), run.state.value]))


def short_lines(node: Node) -> tuple[str, str]:
    """Return the two lines that a drawing has room for; the whole is in its tooltip."""
    if isinstance(node, Version):
        name = visible(node.collection.collection, 28)
        title = " ".join(filter(None, [f"{name}:{version_name(node.index)}", shorten(alias_text(node), 24)]))
        return title, f"{visible(node.type, 20)} · {size_text(node.size)}"
    job = f"{visible(node.job_type, 16)} · " if node.job_type else ""
    return visible(node.name or node.id, 24), f"{job}{node.state.value}"


def tooltip_lines(node: Node) -> list[str]:
    """Return what a drawing says of a node on demand."""
    made = f"{node.created_at:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(node, Version):
        description = visible(node.description, 400) if node.description else ""
        files = "1 file" if node.file_count == 1 else f"{node.file_count:,} files"
        return [full_line(node), *filter(None, [description]), f"{files}, {node.size:,} bytes, made {made}"]
    return [full_line(node), f"started {made}"]


def gap_text(gap: Gap) -> str:
    """Return what stands where a graph is cut."""
    match gap.reason:
        case Reason.HIDDEN:
            return "… not shown by the registry"
        case Reason.DEPTH:
            return f"… {gap.count:,} more (--depth)"
        case Reason.SIZE:
            return f"… {gap.count:,} more (the graph is too big)"
