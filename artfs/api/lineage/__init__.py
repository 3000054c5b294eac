"""The lineage of versions: what they were made from and what was made of them, as a graph, a tree in text, and drawings.

`trace` walks a registry; `render_text`, `render_dot`, `render_svg`, `render_html` and `to_json` show what it found. Nothing here
opens a file or a connection.
"""

from __future__ import annotations

from artfs.api.lineage.dot import render_dot
from artfs.api.lineage.graph import MAX_NODES, Direction, Gap, Lineage, Reason, node_key, trace
from artfs.api.lineage.html import render_html
from artfs.api.lineage.summary import to_json
from artfs.api.lineage.svg import render_svg
from artfs.api.lineage.text import render_text

__all__ = [
    "MAX_NODES",
    "Direction",
    "Gap",
    "Lineage",
    "Reason",
    "node_key",
    "render_dot",
    "render_html",
    "render_svg",
    "render_text",
    "to_json",
    "trace",
]
