"""Checks of what artfs runs on: Python, libfuse, the optional packages, the limits of a process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artfs.config import Config

EXTRAS = {
    "s3": ("boto3", "obstore"),
    "gcs": ("google.cloud.storage", "obstore"),
    "postgres": ("psycopg",),
    "http": ("requests", "urllib3"),
    "wandb": ("wandb", "requests"),
    "fsspec": ("fsspec",),
}
"""The modules that each extra of the package brings."""

FEW_FILES, TOO_FEW_FILES = 4096, 256
_IMPORT_WAIT = 8.0  # seconds
_FUSE = "import ctypes, pyfuse3; print(pyfuse3.__version__); print(ctypes.CDLL('libfuse3.so.3').fuse_version())"


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Look at the version of Python."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return problem("Python", f"{text} is too old", "artfs needs 3.11 or newer")
    return ok("Python", f"{platform.python_implementation()} {text} at {sys.executable}")


def check_libfuse(run: Callable[[], str] | None = None) -> Finding:
    """Load pyfuse3 and libfuse in a process of their own, as a mount does."""
    try:
        pyfuse3, number = (run or _load_fuse)().split()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        reason = next((line for line in reversed(said.strip().splitlines()) if line.strip()), type(error).__name__)
        return problem(
            "libfuse",
            f"pyfuse3 cannot be loaded: {reason}",
            "install libfuse3-3, then: pip install --force-reinstall pyfuse3",
        )
    base = 100 if int(number) >= 100 else 10  # how libfuse writes 3.14: as 314, and once as 34 for 3.4
    return ok("libfuse", f"{int(number) // base}.{int(number) % base}, pyfuse3 {pyfuse3}")


def _load_fuse() -> str:
    done = subprocess.run(
        [sys.executable, "-c", _FUSE], capture_output=True, text=True, check=True, timeout=_IMPORT_WAIT
    )
    return done.stdout


def check_extras(config: Config | None, is_there: Callable[[str], bool] | None = None) -> list[Finding]:
    """Say which extras work, and miss those that the settings need."""
    is_there = is_there or _is_there
    found = []
    for extra, why in _needed(config) if config else ():
        missing = [module for module in EXTRAS[extra] if not is_there(module)]
        if missing:
            text = f"{why} needs the extra {extra}, of which {' and '.join(missing)} is not installed"
            found.append(problem("packages", text, f"pip install 'artfs[{extra}]'"))
    working = [name for name, modules in EXTRAS.items() if all(is_there(module) for module in modules)]
    absent = [name for name in EXTRAS if name not in working]
    more = f"; not installed: {', '.join(absent)}" if absent else ""
    return [*found, ok("packages", f"extras that work: {', '.join(working) or 'none'}{more}")]


def _needed(config: Config) -> Iterable[tuple[str, str]]:
    registry, store = uri_scheme(config.registry), uri_scheme(config.store)
    if registry in {"postgresql", "postgres"}:
        yield "postgres", "the registry"
    if registry in {"http", "https"}:
        yield "http", "the registry"
    elif store == "s3":
        yield "s3", "the store"
    elif store == "gs":
        yield "gcs", "the store"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a package above it is missing
        return False


def check_files(limits: tuple[int, int] | None = None) -> Finding:
    """Look at how many files a process may have open. A mount raises its limit as far as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE) if limits is None else limits
    text = "any number of" if most == resource.RLIM_INFINITY else f"{most:,}"
    if most != resource.RLIM_INFINITY and most < FEW_FILES:
        say = problem if most < TOO_FEW_FILES else warning
        return say("open files", f"a process may have at most {text} open: every open file of a draft is one",
                   "raise the hard limit: ulimit -Hn, LimitNOFILE= in the unit, --ulimit nofile= of the container")  # fmt: skip
    return ok("open files", f"a process may have {text} files open")
