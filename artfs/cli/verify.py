"""`artfs verify`."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, warn, with_config
from artfs.errors import IntegrityError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.config import Config
    from artfs.content.verify import Verdict
    from artfs.registry.port import Version

_PROVEN = ("proven", "pinned", "unpinned", "absent")
_WORDS = {
    "proven": "proven",
    "pinned": "pinned, not proven",
    "unpinned": "with nothing to prove them by",
    "absent": "not (all) on this machine",
    "damaged": "damaged",
    "missing": "missing",
    "changed": "changed",
    "refused": "not allowed to be read",
    "unreachable": "not reached",
}


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.option("--cached", is_flag=True, help="Only what is on this machine; no network is used.")
@json_option
@with_config
def command(config: Config, ref: str, cached: bool, as_json: bool) -> int:
    """Prove every byte of the version REF where it lies, and name each file that is damaged, missing or changed.

    Everything is read: from the store, and from where references lead. What comes over a network is not kept in the block cache;
    copies that are there already are checked, too. A reference whose digest is an ETag is asked for, which pins it to the object that
    was recorded, but it cannot be proven.

    The exit code is 0 if nothing is wrong, 7 if a file is, and 8 if some could not be reached.
    """
    from artfs.app.progress import watching
    from artfs.cli.services import open_services
    from artfs.content.verify import verify
    from artfs.model.names import parse_artifact_ref
    from artfs.staging.progress import Progress

    with open_services(config) as services:
        version = services.registry.version(parse_artifact_ref(ref, services.registry.default_entity))
        index = services.open_cached_index(version) if cached else services.open_index(version)
        progress = Progress()
        progress.begin("verifying", index.file_count, index.size)
        verifier = services.verifier(progress.advance)
        found = _Found(version)
        try:
            with watching(progress):
                judge = verifier.cached if cached else verifier.origin
                found.take(verify(index.entries(), judge, config.threads))
        finally:  # also what was found until somebody pressed Ctrl-C
            if not as_json:
                found.print_bad()
    found.tell(as_json=as_json)
    return found.exit_code


class _Found:
    """What was found out, so far."""

    def __init__(self, version: Version) -> None:
        from artfs.model.names import version_name

        self._name = f"{version.collection}:{version_name(version.index)}"
        self._started = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._cache_damaged = 0
        self._bad: list[dict[str, str]] = []
        self._gave_up: UnreachableError | None = None

    def take(self, verdicts: Iterator[Verdict]) -> None:
        """Count verdicts, and keep the bad ones: printed now, they would be in the way of the bar."""
        try:
            for verdict in verdicts:
                self._take(verdict)
        except UnreachableError as error:  # the others would not answer either; what is bad was said
            self._gave_up = error

    def _take(self, verdict: Verdict) -> None:
        state = verdict.state.value
        self._counts[state] += 1
        self._bytes += verdict.size
        self._cache_damaged += verdict.cache_damaged
        if state not in _PROVEN:
            self._bad.append({"path": verdict.path, "state": state, "reason": verdict.reason})

    def print_bad(self) -> None:
        """Print a line for each file that is not as it should be, by path."""
        from artfs.model.shown import visible

        self._bad.sort(key=lambda row: row["path"])
        for row in self._bad:
            click.echo(f"{row['state']:<11}  {visible(row['path'], 4096)}: {visible(row['reason'], 1000)}")

    @property
    def exit_code(self) -> int:
        """7 if a file has not the bytes that it should have, 8 if some could not be reached."""
        if any(self._counts[state] for state in ("damaged", "missing", "changed", "refused")):
            return IntegrityError.exit_code
        return UnreachableError.exit_code if self._counts["unreachable"] or self._gave_up else 0

    def tell(self, *, as_json: bool) -> None:
        """Print the sums; as JSON, with everything."""
        from artfs.model.shown import size_text

        seconds = max(time.monotonic() - self._started, 1e-6)
        if as_json:
            print_json(self._json(seconds))
        else:
            counts = ", ".join(
                f"{self._counts[state]:,} {word}" for state, word in _WORDS.items() if self._counts[state]
            )
            files = sum(self._counts.values())
            click.echo(
                f"{self._name}: {files:,} {'file' if files == 1 else 'files'}, {size_text(self._bytes)} read in {seconds:.1f} s "
                f"({size_text(round(self._bytes / seconds))}/s): {counts or 'nothing to prove'}"
            )
        if self._cache_damaged:
            warn(
                [
                    f"{self._cache_damaged:,} copies in the block cache were damaged; they are forgotten, and are fetched again"
                ]
            )
        if self._gave_up is not None:
            warn([f"gave up, because nothing answers: {self._gave_up.message}"])

    def _json(self, seconds: float) -> dict[str, Any]:
        return {
            "version": self._name,
            "files": sum(self._counts.values()),
            "bytes": self._bytes,
            "seconds": round(seconds, 3),
            **{state: self._counts[state] for state in _WORDS},
            "cache_damaged": self._cache_damaged,
            "complete": self._gave_up is None,
            "bad": sorted(self._bad, key=lambda row: row["path"]),
        }
