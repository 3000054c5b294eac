"""A lineage in JSON values: what `artfs lineage --json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.api.liveness import state_of
from artfs.model.names import version_name
from artfs.registry.port import Version

if TYPE_CHECKING:
    from artfs.api.lineage.graph import Lineage, Node, NodeKey
    from artfs.model.entry import JsonValue


def to_json(lineage: Lineage) -> dict[str, JsonValue]:
    """Return nodes by their keys, edges from what was first to what was made of it, and where the graph is cut.

    Sizes are bytes, times are ISO 8601 in UTC. ``count`` of a cut is null if the registry does not say what is there.
    """
    return {
        "root": lineage.root,
        "nodes": [_node(key, node) for key, node in lineage.nodes.items()],
        "edges": [
            {
                "from": earlier,
                "to": later,
                "kind": "used" if isinstance(lineage.nodes[earlier], Version) else "logged",
            }
            for earlier, later in lineage.edges
        ],
        "cut": [
            {"at": gap.node, "direction": gap.direction.value, "reason": gap.reason.value, "count": gap.count}
            for gap in lineage.gaps
        ],
    }


def _node(key: NodeKey, node: Node) -> dict[str, JsonValue]:
    if isinstance(node, Version):
        return {
            "key": key,
            "kind": "version",
            "id": node.id,
            "name": f"{node.collection}:{version_name(node.index)}",
            "source_name": f"{node.source}:{version_name(node.source_index)}",
            "type": node.type,
            "aliases": list(node.aliases),
            "digest": node.digest,
            "size": node.size,
            "file_count": node.file_count,
            "created_at": node.created_at.isoformat(),
        }
    return {
        "key": key,
        "kind": "run",
        "id": node.id,
        "path": node.path,
        "name": node.name,
        "job_type": node.job_type,
        "state": state_of(node).value,
        "created_at": node.created_at.isoformat(),
        "finished_at": node.finished_at.isoformat() if node.finished_at else None,
    }
