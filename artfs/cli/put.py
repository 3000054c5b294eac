"""`artfs put`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from artfs.cli.options import content_options, json_option, parse_metadata_option, print_json, warn, with_config

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("source", type=click.Path())
@click.argument("ref")
@content_options
@json_option
@with_config
def command(
    config: Config,
    source: str,
    ref: str,
    aliases: tuple[str, ...],
    type_: str | None,
    description: str | None,
    metadata: str | None,
    as_json: bool,
) -> None:
    """Log the directory or file SOURCE as a new version of REF, [[ENTITY/]PROJECT/]NAME[:ALIAS], and print its reference.

    Works without a mount. Symlinks are followed. SOURCE is not changed.
    """
    from artfs.app.client import refresh_all
    from artfs.app.services import open_services
    from artfs.cli.progress import watching
    from artfs.model.names import LATEST, parse_alias, parse_artifact_ref, parse_collection, parse_type, version_name
    from artfs.staging.progress import Progress
    from artfs.staging.snapshot import fill

    parsed = parse_artifact_ref(ref, config.entity)
    names = [parse_alias(alias) for alias in (*aliases, *([] if parsed.alias == LATEST else [parsed.alias]))]
    collection = parsed.collection
    parse_collection(collection.collection)
    kind = None if type_ is None else parse_type(type_, collection.collection)
    with open_services(config) as services:
        committer, progress = services.committer(), Progress()
        draft = services.drafts.create(collection, f"put-{Path(source).resolve().name}", transient=True)
        try:
            draft.type, draft.description, draft.metadata = kind, description, parse_metadata_option(metadata) or {}
            with watching(progress.snapshot):
                fill(draft, Path(source).absolute(), config.threads, progress)
                committer.freeze(draft, names)
                result = committer.run(draft, progress)
        except BaseException:
            if draft in services.drafts.owned() and not committer.is_frozen(draft):
                draft.discard()
            raise
    warn(result.warnings)
    reference = f"{result.version.collection}:{version_name(result.version.index)}"
    if as_json:
        print_json({"version": reference, "created": result.created, "warnings": list(result.warnings)})
    else:
        click.echo(reference)
    refresh_all(config)
