"""The words for a node of a lineage. All that a registry says is untrusted text: `artfs.model.shown` makes it safe to show.

Quoting for a format (XML, DOT) is the business of that format's module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.api.lineage.graph import Gap, Reason
from artfs.api.liveness import state_of
from artfs.model.names import version_name
from artfs.model.shown import shorten, size_text, visible
from artfs.registry.port import Version

if TYPE_CHECKING:
    from artfs.api.lineage.graph import Node
    from artfs.model.run import RunInfo


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
    quoted = f'"{visible(run.title)}"' if run.title else ""
    return " ".join(filter(None, [quoted, visible(run.job_type), state_of(run).value]))


def short_lines(node: Node) -> tuple[str, str]:
    """Return the two lines that a drawing has room for; the whole is in its tooltip."""
    if isinstance(node, Version):
        name = visible(node.collection.collection, 28)
        title = " ".join(filter(None, [f"{name}:{version_name(node.index)}", shorten(alias_text(node), 24)]))
        return title, f"{visible(node.type, 20)} · {size_text(node.size)}"
    job = f"{visible(node.job_type, 16)} · " if node.job_type else ""
    return visible(node.name or node.id, 24), f"{job}{state_of(node).value}"


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
