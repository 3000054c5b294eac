"""`artfs put`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import (
    content_options,
    default_entity,
    json_option,
    parse_metadata_option,
    print_json,
    warn,
    with_config,
)
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from artfs.config import Config
    from artfs.staging.drafts import Draft, DraftReference
    from artfs.staging.progress import Progress


@click.command()
@click.argument("source", type=click.Path())
@click.argument("ref", shell_complete=complete_ref)
@content_options
@click.option("--reference", is_flag=True, help="SOURCE is a URI: record what it stands for, and copy nothing.")
@click.option("--name", metavar="PATH", help="With --reference: where in the version it goes.")
@click.option("--no-checksum", is_flag=True, help="With --reference: do not look at what the URI names.")
@click.option("--max-objects", type=click.IntRange(1), metavar="N", help="With --reference: at most so many objects.")
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
    tags: tuple[str, ...],
    ttl: int | None,
    reference: bool,
    name: str | None,
    no_checksum: bool,
    max_objects: int | None,
    as_json: bool,
) -> None:
    """Log the directory or file SOURCE as a new version of REF, [[ENTITY/]PROJECT/]NAME[:ALIAS], and print its reference.

    Works without a mount. Symlinks are followed. SOURCE is not changed. With --reference, SOURCE is a URI such as s3://bucket/prefix/,
    and the version names its objects, which are read where they are.
    """
    from artfs.app.client import refresh_all
    from artfs.app.progress import watching
    from artfs.app.runs import current_run
    from artfs.cli.services import open_services
    from artfs.model.names import (
        LATEST,
        parse_alias,
        parse_artifact_ref,
        parse_collection,
        parse_tag,
        parse_type,
        version_name,
    )
    from artfs.staging.journal import Journal
    from artfs.staging.progress import Progress

    parsed = parse_artifact_ref(ref, default_entity(config))
    names = [parse_alias(alias) for alias in (*aliases, *([] if parsed.alias == LATEST else [parsed.alias]))]
    collection = parsed.collection
    parse_collection(collection.collection)
    kind = None if type_ is None else parse_type(type_, collection.collection)
    marks = tuple(map(parse_tag, tags))
    if not reference and (name or no_checksum or max_objects):
        raise click.UsageError("--name, --no-checksum and --max-objects go with --reference.")
    with open_services(config) as services:
        committer, progress = services.committer(tell=lambda text: warn([text])), Progress()
        stem = "put-reference" if reference else f"put-{Path(source).resolve().name}"
        draft = services.drafts.create(collection, stem, transient=True)
        try:
            draft.type, draft.description, draft.metadata = kind, description, parse_metadata_option(metadata) or {}
            with watching(progress):
                if reference:
                    draft.add_reference(_reference(source, name, checksum=not no_checksum, max_objects=max_objects))
                else:
                    _fill(draft, source, config.threads, progress)
                run = current_run(os.environ)
                by = None if run is None else str(run)
                committer.freeze(draft, Journal(aliases=tuple(names), tags=marks, ttl_seconds=ttl, run=by))
                result = committer.run(draft, progress)
        except BaseException:
            if draft in services.drafts.owned() and not committer.is_frozen(draft):
                draft.discard()
            elif draft in services.drafts.owned():
                why = "interrupted" if progress.cancelled.is_set() else "not given up"
                warn([f"{why}: a mount finishes the commit, or: artfs commit --resume"])
            raise
    warn(result.warnings)
    made = f"{result.version.collection}:{version_name(result.version.index)}"
    if as_json:
        print_json({"version": made, "created": result.created, "warnings": list(result.warnings)})
    else:
        click.echo(made)
    refresh_all(config, collection, [version_name(result.version.index), LATEST, *names])


def _fill(draft: Draft, source: str, threads: int, progress: Progress) -> None:
    from artfs.staging.snapshot import fill

    fill(draft, Path(source).absolute(), threads, progress)


def _reference(uri: str, name: str | None, *, checksum: bool, max_objects: int | None) -> DraftReference:
    from artfs.model.paths import parse_entry_path
    from artfs.model.reference import uri_scheme
    from artfs.staging.drafts import DraftReference
    from artfs.storage.resolver import MAX_OBJECTS

    if uri_scheme(uri) is None:
        raise InvalidInputError(f"{uri!r} is not a URI", hint="write s3://bucket/prefix/ or file:///directory")
    return DraftReference(uri, parse_entry_path(name) if name else "", checksum, max_objects or MAX_OBJECTS)
