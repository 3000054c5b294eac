"""What the arguments of the W&B SDK mean here that artfs has no other use for. Called by `artfs.init`, `Artifact` and `Api`.

What says something of a run is recorded. What asks for something that is not done here is an error where going on would do another thing
than the program asks for, and else is named in one warning. What asks for nothing (None, False) is nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from artfs.errors import InvalidInputError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_IGNORED = ("dir", "force", "save_code", "tensorboard", "sync_tensorboard", "monitor_gym", "settings", "anonymous")
_MEANT = (
    "config_exclude_keys",
    "config_include_keys",
    "mode",
    "resume",
    "reinit",
    "resume_from",
    "fork_from",
    "allow_val_change",
)
OF_INIT = frozenset((*_IGNORED, *_MEANT))
"""The arguments of ``wandb.init`` that are no arguments of `artfs.init` by name. A value of a configuration may always be changed."""

_RESUME = {"allow", "auto", "must", "never"}
_FINISHES = {"finish_previous", True}
_RETURNS = {"default", "return_previous", False, None}


def ignore(what: str, given: Mapping[str, Any]) -> None:
    """Say in one warning which arguments have no effect, if any asks for something."""
    names = [name for name, value in given.items() if value is not None and value is not False]
    if names:
        log.warning("%s: %s: arguments of the W&B SDK that have no effect here", what, ", ".join(names))


def ignore_of_init(given: Mapping[str, Any]) -> None:
    """Say which arguments of `artfs.init` have no effect."""
    ignore("artfs.init()", {name: given.get(name) for name in _IGNORED})


def check_init(given: Mapping[str, Any], registry: str) -> None:
    """Refuse what would do something else than it asks for. InvalidInputError, NotSupportedError."""
    mode, resume, reinit = given.get("mode"), given.get("resume"), given.get("reinit")
    if mode == "disabled":
        raise NotSupportedError(
            "mode='disabled' is not supported: a run of artfs is recorded",
            hint="try a program on a registry of its own: artfs.init(data_dir=...), or ARTFS_DATA_DIR",
        )
    if mode == "offline" and not registry.startswith("sqlite:"):
        raise NotSupportedError(
            "mode='offline' is not supported with a registry elsewhere: nothing is kept to be sent later",
            hint="use a registry on this machine, which is the default",
        )
    if mode not in {None, "online", "offline", "shared"}:
        raise InvalidInputError(f"mode is 'online' or 'offline', not {mode!r}")
    if isinstance(resume, str) and resume not in _RESUME:
        raise InvalidInputError(f"resume is one of {', '.join(sorted(_RESUME))}, not {resume!r}")
    if reinit == "create_new":
        raise NotSupportedError(
            "reinit='create_new' is not supported: a process has one run at a time", hint="finish() it"
        )
    if reinit not in _FINISHES | _RETURNS:
        raise InvalidInputError(f"reinit is 'return_previous' or 'finish_previous', not {reinit!r}")
    for name in ("resume_from", "fork_from"):
        if given.get(name):
            raise NotSupportedError(
                f"{name} is not supported: a run is not taken back to a step", hint="give it an id of its own"
            )


def finishes_previous(given: Mapping[str, Any]) -> bool:
    """Whether a run that goes on is to be finished before another one begins."""
    return given.get("reinit") in _FINISHES


def check_resumed(given: Mapping[str, Any], run: str, *, exists: bool) -> None:
    """Refuse a run that must be there and is not, or is there and must not be. InvalidInputError."""
    if given.get("resume") == "must" and not exists:
        raise InvalidInputError(f"there is no run {run} to go on with, and resume is 'must'")
    if given.get("resume") == "never" and exists:
        raise InvalidInputError(f"there is a run {run} already, and resume is 'never'")


def chosen(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration that are to be recorded."""
    only, without = given.get("config_include_keys"), given.get("config_exclude_keys") or ()
    return {key: value for key, value in config.items() if (not only or key in only) and key not in without}


def described(notes: str | None, tags: Sequence[str] | str | None, group: str | None) -> dict[str, Any]:
    """Return what a program says of its run beside its name, for the metadata of the run. InvalidInputError."""
    found: dict[str, Any] = {}
    if tags is not None:
        found["tags"] = [tags] if isinstance(tags, str) else list(tags)
        if not all(isinstance(tag, str) for tag in found["tags"]):
            raise InvalidInputError(f"tags are a list of names, not {found['tags']!r}")
    for name, value in (("notes", notes), ("group", group)):
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"the {name} of a run is text, not {value!r}")
        if value is not None:
            found[name] = value
    return found


def check_artifact(name: str, algorithm: str, given: Mapping[str, Any]) -> None:
    """Refuse arguments of ``wandb.Artifact`` that would make another artifact than they ask for; say which have no effect.

    InvalidInputError, NotSupportedError; TypeError for what is none.
    """
    known = {"incremental", "use_as", "storage_region", "digest_algorithm"}
    if unknown := sorted(set(given) - known):
        raise TypeError(f"Artifact() got an unexpected keyword argument {unknown[0]!r}")
    if given.get("incremental"):
        raise NotSupportedError(
            f"artifact {name!r}: incremental=True is not supported",
            hint="begin with the files of the version before: artfs.Api().artifact(name).new_draft()",
        )
    wanted = given.get("digest_algorithm")
    if wanted is not None and wanted != algorithm:
        raise InvalidInputError(
            f"artifact {name!r}: digest_algorithm is {wanted!r}, and the setting 'algorithm' is {algorithm!r}",
            hint="artfs.init(algorithm=...), ARTFS_ALGORITHM or config.toml",
        )
    ignore(f"artifact {name!r}", {key: given.get(key) for key in ("use_as", "storage_region")})
