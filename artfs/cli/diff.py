"""`artfs diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, json_text, warn, with_config
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.app.named import NamedDraft, NamedVersion
    from artfs.app.services import Services
    from artfs.config import Config
    from artfs.content.changes import Changes, Counts
    from artfs.model.diff import Change, Line

_PATIENCE = 0.5  # seconds until a bar is shown
_LETTERS = {"added": "A", "removed": "D", "changed": "M", "renamed": "R"}


@click.command()
@click.argument("before", metavar="A", shell_complete=complete_ref)
@click.argument("after", metavar="[B]", required=False, shell_complete=complete_ref)
@click.option("--name-only", is_flag=True, help="Print only the paths of what differs.")
@click.option("--stat", is_flag=True, help="Print only numbers: of each directory at the top, and in all.")
@json_option
@with_config
def command(config: Config, before: str, after: str | None, name_only: bool, stat: bool, as_json: bool) -> int:
    """Show what changed from A to B, two versions: files that were added (A), removed (D), changed (M) and renamed (R).

    A and B are references, or paths of versions in a mount. One of them may be a draft, the path of a directory in .staging/ of a mount.
    Alone, a draft is compared with the version that it starts from, or with `latest` if it starts from none.

    Files are compared by digest: nothing is downloaded. A file that is gone, and is under another path now with the same bytes, is renamed.

    The exit code is 0 if both are the same, and 1 if they differ, as with diff(1).
    """
    from artfs.content.changes import Changes

    if sum([name_only, stat, as_json]) > 1:
        raise InvalidInputError("give only one of --name-only, --stat and --json")
    with Changes() as changes:
        names = _compare(config, before, after, changes)
        counts = changes.counts()
        if as_json:
            _print_json(changes, counts, names)
        elif name_only:
            for change in changes:
                click.echo(change.path)
        else:
            for line in _stat_lines(changes) if stat else map(_line, changes):
                click.echo(line)
            click.echo(_summary(counts))
    return 1 if counts.files else 0


def _compare(config: Config, before: str, after: str | None, changes: Changes) -> tuple[str | None, str]:
    """Find the changes; return the names of what was compared."""
    from artfs.app.named import NamedDraft, named
    from artfs.cli.options import default_entity
    from artfs.cli.services import open_services

    first = named(before, config, lambda: default_entity(config))
    second = None if after is None else named(after, config, lambda: default_entity(config))
    if isinstance(first, NamedDraft):
        if isinstance(second, NamedDraft):
            raise InvalidInputError("two drafts cannot be compared", hint="compare each with a version")
        if second is None:
            return _ask(first, None, changes), first.path
        return first.path, _ask(first, second, changes, backwards=True) or ""
    if second is None:
        raise click.UsageError("Missing argument 'B': only a draft can be compared with nothing else given.")
    if isinstance(second, NamedDraft):
        return _ask(second, first, changes), second.path
    with open_services(config) as services:
        changes.add(_between(services, first, second))
    return str(first), str(second)


def _between(services: Services, first: NamedVersion, second: NamedVersion) -> Iterator[Change]:
    """Yield the changes between two versions. Where their digests say that they are the same, no manifest is opened."""
    from artfs.app.progress import counted, showing
    from artfs.model.diff import compare
    from artfs.staging.progress import Progress

    if first.inner or second.inner:
        raise InvalidInputError("versions are compared as a whole", hint="leave out what follows the version")
    old, new = services.registry.version(first.ref), services.registry.version(second.ref)
    if (old.digest, old.algorithm) == (new.digest, new.algorithm):
        return
    if old.algorithm is not new.algorithm:
        warn(
            [
                f"one has {old.algorithm.name} digests, the other {new.algorithm.name}: files seem changed that may not be"
            ]
        )
    progress = Progress()
    with showing(progress.snapshot, after=_PATIENCE):
        before, after = services.open_index(old), services.open_index(new)
        progress.begin("comparing", after.file_count)
        yield from compare(before.lines(), counted(after.lines(), progress))


def _ask(draft: NamedDraft, other: NamedVersion | None, changes: Changes, *, backwards: bool = False) -> str | None:
    """Let the mount that owns a draft compare it; return what with."""
    from artfs.app.client import request
    from artfs.app.progress import bar
    from artfs.model.diff import Change, Kind

    if other is not None and other.inner:
        raise InvalidInputError("versions are compared as a whole", hint="leave out what follows the version")
    message: dict[str, Any] = {
        "op": "diff",
        "collection": draft.collection,
        "draft": draft.name,
        "ref": None if other is None else str(other.ref),
    }
    result: Any = {}
    with bar() as shown:
        for answer in request(draft.live.socket, message):
            found: Any = answer
            if "progress" in found:
                shown.show(found["progress"])
            elif "changes" in found:
                told = (Change(Kind(kind), _line_of(old), _line_of(new)) for kind, old, new in found["changes"])
                changes.add(change.reversed() if backwards else change for change in told)
            else:
                result = found["result"]
    warn(f"cannot be committed: {problem}" for problem in result["problems"])
    against: str | None = result["against"]
    return against


def _line_of(sent: list[Any] | None) -> Line | None:
    from artfs.model.diff import Line

    return None if sent is None else Line(*sent)


def _print_json(changes: Changes, counts: Counts, names: tuple[str | None, str]) -> None:
    """Print all of it as one object, a change at a time: there may be millions."""
    head = json_text({"before": names[0], "after": names[1], **counts.json()}, indent=2)
    click.echo(head[:-2] + ',\n  "changes": [', nl=False)
    separator = "\n    "
    for change in changes:
        row = {"kind": change.kind.value, "before": _side(change.before), "after": _side(change.after)}
        click.echo(separator + json_text(row), nl=False)
        separator = ",\n    "
    click.echo("\n  ]\n}" if counts.files else "]\n}")


def _side(line: Line | None) -> dict[str, object] | None:
    return None if line is None else {"path": line.path, "size": line.size, "digest": line.digest or None}


def _line(change: Change) -> str:
    from artfs.model.shown import size_text, visible

    old, new = change.before, change.after
    name = visible(change.path, 4096)
    size = size_text(new.size if new else old.size if old else 0)
    if old and new and old.path != new.path:
        name = f"{visible(old.path, 4096)} -> {name}"
    elif old and new and old.size != new.size:
        size = f"{size_text(old.size)} -> {size}"
    return f"{_LETTERS[change.kind.value]}  {name}  ({size})"


def _stat_lines(changes: Changes) -> Iterator[str]:
    from artfs.model.shown import visible

    for name, counts in changes.by_directory():
        yield f"{f'{visible(name, 4096)}/' if name else '.'}  {_summary(counts)}"


def _summary(counts: Counts) -> str:
    from artfs.model.shown import size_text

    words = ", ".join(
        f"{number:,} {word}"
        for word, number in (
            ("added", counts.added),
            ("removed", counts.removed),
            ("changed", counts.changed),
            ("renamed", counts.renamed),
        )
        if number
    )
    more = f"{'+' if counts.bytes >= 0 else '-'}{size_text(abs(counts.bytes))}"
    return f"{words}, {more}" if words else "no difference"
