"""What is wrong with this machine, the settings, the services and the mounts: one line for each check.

Checks are small functions that take what they look at and return findings; a file has those of one kind. Here they are put together,
run all at once, each in a thread with a time of its own: one that fails or hangs says so, and stops no other. They change nothing. A
repair, which a finding may carry, is run only when it is asked for.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from artfs.app.client import control_directories
from artfs.app.doctor import directories, drafts, kernel, mounts, programs, services, settings
from artfs.app.doctor.bounded import Bounded, LateError, run_bounded
from artfs.app.doctor.finding import Finding, Level, problem
from artfs.config import config_of
from artfs.errors import ArtfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from artfs.config.sources import Sources

    Check = Callable[[], "Finding | list[Finding]"]

__all__ = ["Finding", "Level", "checks", "diagnose", "repair"]

WAIT = 6.0  # seconds for a check of this machine
NETWORK_WAIT = 12.0  # seconds for one that asks a server
_REPAIR_WAIT = 10.0


def checks(sources: Sources) -> Mapping[str, tuple[Check, float]]:
    """Return the checks by name, in the order in which they are told, each with the seconds that it has."""
    config = config_of(sources)
    table = mounts.mount_table()
    wanted = kernel.wants_allow_other(table, bool(config.reference_roots))
    found: dict[str, tuple[Check, float]] = {
        "kernel": (kernel.check_kernel, WAIT),
        "/dev/fuse": (kernel.check_device, WAIT),
        "fusermount3": (kernel.check_fusermount, WAIT),
        "allow_other": (lambda: kernel.check_allow_other(wanted), WAIT),
        "libfuse": (programs.check_libfuse, NETWORK_WAIT),
        "Python": (programs.check_python, WAIT),
        "packages": (lambda: programs.check_extras(config), WAIT),
        "open files": (programs.check_files, WAIT),
        "settings": (lambda: settings.check_settings(sources), WAIT),
        "variables": (settings.check_variables, WAIT),
    }
    for name, path in directories.directories(config).items():
        found[f"{name} directory"] = (lambda name=name, path=path: directories.check_directory(name, path), WAIT)  # type: ignore[misc]
    found |= {
        "data space": (lambda: directories.check_space("data", config.data_dir), WAIT),
        "cache space": (
            lambda: directories.check_space("cache", config.cache_dir, config.cache_size, config.cache_free),
            WAIT,
        ),
        "registry": (lambda: services.check_registry(config), NETWORK_WAIT),
        "store": (lambda: services.check_store(config), NETWORK_WAIT),
        "clock": (lambda: services.check_clock(config), NETWORK_WAIT),
        "W&B credentials": (lambda: settings.check_wandb(config), WAIT),
        "credentials": (lambda: settings.check_credentials(config), WAIT),
        "mounts": (lambda: mounts.check_mounts(table), WAIT),
        "sockets": (
            lambda: [one for place in control_directories(config) for one in mounts.check_sockets(place)],
            WAIT,
        ),
        "read-ahead": (lambda: kernel.check_read_ahead(table), WAIT),
        "drafts": (lambda: drafts.check_drafts(config.data_dir, mounts.live_commits(config)), NETWORK_WAIT),
    }
    return found


def diagnose(wanted: Mapping[str, tuple[Check, float]]) -> Iterable[Finding]:
    """Run checks at once, and yield what they find, in their order. Never fails."""
    running = [(name, Bounded(check, seconds)) for name, (check, seconds) in wanted.items()]
    for name, call in running:
        yield from _findings(name, call)


def _findings(name: str, call: Bounded[Finding | list[Finding]]) -> list[Finding]:
    try:
        found = call.result()
    except LateError as error:
        return [
            problem(
                name,
                f"the check does not come back: {error}",
                "something that it looks at hangs: a disk, a mount or a network",
            )
        ]
    except ArtfsError as error:
        return [problem(name, error.message, error.hint)]
    except Exception as error:  # noqa: BLE001 - one check that fails must not stop the others
        return [problem(name, f"the check failed: {type(error).__name__}: {error}")]
    return found if isinstance(found, list) else [found]


def repair(finding: Finding) -> Finding:
    """Do what a finding offers, and return what is to be said then."""
    if finding.repair is None:
        return finding
    try:
        run_bounded(finding.repair, _REPAIR_WAIT)
    except (LateError, ArtfsError, OSError) as error:
        return dataclasses.replace(finding, message=f"{finding.message}; it could not be repaired: {error}")
    return dataclasses.replace(finding, level=Level.OK, message=f"{finding.message}: repaired", hint="", repaired=True)
