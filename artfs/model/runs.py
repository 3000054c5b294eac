"""How a process tree says which run it belongs to: one variable of its environment, and nothing else.

``ARTFS_RUN=entity/project/id`` is set by `artfs run`, inherited by whatever that starts, and read by the mount (of the processes
that open files), by the commands and by the Python API. What is not exactly such a name is no run.
"""

from __future__ import annotations

from artfs.errors import InvalidInputError
from artfs.model.names import RunRef, parse_run_ref

RUN_VARIABLE = "ARTFS_RUN"


def parse_full_run(text: str) -> RunRef:
    """Parse ``entity/project/id``, all of it and nothing more; InvalidInputError."""
    if text.count("/") != 2:
        raise InvalidInputError(f"{text!r} is not the full name of a run", hint="write entity/project/id")
    if text.startswith("/") or text.endswith("/"):
        raise InvalidInputError(f"{text!r} is not the full name of a run: a part of it is empty")
    return parse_run_ref(text, "")


def run_or_none(text: str | None) -> RunRef | None:
    """Return the run that a value of the variable names; None for what names none."""
    try:
        return None if text is None else parse_full_run(text)
    except InvalidInputError:
        return None
