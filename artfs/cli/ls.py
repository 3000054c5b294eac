"""`artfs ls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_place
from artfs.cli.options import json_option, print_json, warn_if_away, with_config
from artfs.errors import NotFoundError

if TYPE_CHECKING:
    from artfs.app.services import Services
    from artfs.config import Config
    from artfs.registry.port import Registry


@click.command()
@click.argument("place", required=False, default="", shell_complete=complete_place)
@click.option("--long", "-l", is_flag=True, help="Show sizes, times and digests too.")
@json_option
@with_config
def command(config: Config, place: str, long: bool, as_json: bool) -> None:
    """List what is at PLACE: nothing, ENTITY, ENTITY/PROJECT, ENTITY/PROJECT/NAME, or a version and a path in it.

    A version is written ENTITY/PROJECT/NAME:VERSION; a path in it follows after a slash. PLACE may also be a path in a mount: then the
    registry of that mount is asked.
    """
    from artfs.app.named import as_reference
    from artfs.cli.services import open_services
    from artfs.model.shown import visible_whole

    place, config = as_reference(place, config) if place else (place, config)
    with open_services(config) as services:
        rows = _rows(services, place)
        warn_if_away(services)
        if as_json:
            print_json(rows)
            return
        for row in rows:
            click.echo(visible_whole("  ".join(str(cell) for cell in _cells(row)) if long else row["name"]))


def _rows(services: Services, place: str) -> list[dict[str, Any]]:
    registry = services.registry
    path, colon, rest = place.partition(":")
    if colon:
        return _files(services, path, rest)
    parts = [part for part in path.split("/") if part]
    try:
        return _places(registry, parts) if len(parts) < 3 else _versions(registry, path)
    except NotFoundError as error:
        if len(parts) < 3 and parts[0] != registry.default_entity:
            place = "/".join([registry.default_entity, *parts])
            raise NotFoundError(error.message, hint=f"a place begins with its entity: artfs ls {place}") from error
        raise


def _places(registry: Registry, parts: list[str]) -> list[dict[str, Any]]:
    if not parts:
        return [{"name": name, "kind": "entity"} for name in registry.entities()]
    if len(parts) == 1:
        return [{"name": name, "kind": "project"} for name in registry.projects(parts[0])]
    return [{"name": name, "kind": "collection"} for name in registry.collections(parts[0], parts[1])]


def _versions(registry: Registry, path: str) -> list[dict[str, Any]]:
    from artfs.model.names import parse_collection_ref, version_name

    return [
        {
            "name": version_name(version.index),
            "kind": "version",
            "aliases": list(version.aliases),
            "size": version.size,
            "file_count": version.file_count,
            "created_at": version.created_at.isoformat(),
            "digest": version.digest,
        }
        for version in registry.versions(parse_collection_ref(path, registry.default_entity))
    ]


def _files(services: Services, path: str, rest: str) -> list[dict[str, Any]]:
    from artfs.model.names import parse_artifact_ref

    alias, _, inner = rest.partition("/")
    ref = parse_artifact_ref(f"{path}:{alias}", services.registry.default_entity)
    index = services.open_index(services.registry.version(ref))
    node = index.find(inner.rstrip("/"))
    if node is None:
        raise NotFoundError(f"{ref} has no {inner!r}")
    if not node.is_dir:
        nodes = [node]
    else:
        nodes = index.children(node.number)
        while more := index.children(node.number, nodes[-1].number if nodes else -1):
            nodes += more
    return [
        {"name": f"{child.name}/", "kind": "directory"}
        if child.is_dir
        else {
            "name": child.name,
            "kind": "file",
            "size": child.size,
            "digest": index.entry(child.number).digest,
            "ref": index.entry(child.number).ref,
        }
        for child in nodes
    ]


def _cells(row: dict[str, Any]) -> list[object]:
    match row["kind"]:
        case "version":
            return [
                f"{row['name']:>6}",
                f"{row['size']:>14,}",
                f"{row['file_count']:>9,}",
                row["created_at"][:19],
                ", ".join(row["aliases"]),
            ]
        case "file":
            return [f"{row['size']:>14,}", row["digest"], row["name"], f"-> {row['ref']}" if row["ref"] else ""]
        case _:
            return [row["name"]]
