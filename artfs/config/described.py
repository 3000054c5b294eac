"""What each setting is for, in a sentence: for completion in a shell, and for docs/configuration.md, which is generated.

A setting without a description fails a test, and so does a description without a setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Description:
    """``meaning`` says what the setting does; ``default`` what it is where that differs from machine to machine, else empty."""

    meaning: str
    default: str = ""


DESCRIPTIONS: Mapping[str, Description] = {
    "registry": Description(
        "where it is recorded what exists: `sqlite:////path/registry.sqlite`, `postgresql://user@host/database`, or a W&B server's address",
        "`registry.sqlite` in the data directory",
    ),
    "store": Description(
        "where bytes lie: `file:///path`, an absolute path, `s3://bucket/prefix`, `gs://bucket/prefix`",
        "`store` in the data directory",
    ),
    "entity": Description("the entity of references that name none", "the name of the user, or what a W&B server says"),
    "data_dir": Description(
        "directory of the embedded registry, its store, and drafts: what to back up", "`~/.local/share/artfs`"
    ),
    "cache_dir": Description("directory of what can be made again", "`~/.cache/artfs`"),
    "state_dir": Description("directory of logs", "`~/.local/state/artfs`"),
    "runtime_dir": Description(
        "directory of control sockets", "`$XDG_RUNTIME_DIR/artfs`, or `run` in the state directory"
    ),
    "metadata_ttl": Description("for how many seconds listings and aliases are believed, 0 to 86,400"),
    "threads": Description("threads that hash and copy, 1 to 1,024", "one for each processor"),
    "algorithm": Description("of the digests of new versions: `MD5` or `XXH128`"),
    "log_level": Description("`debug`, `info`, `warning` or `error`"),
    "reference_roots": Description(
        "directories under which `file://` references are served to other users; separated by `:` in a variable, a list in the file",
        "none",
    ),
    "cache_size": Description(
        "the most that the block cache holds: bytes, or a number with K, M, G, T (powers of 1024)"
    ),
    "cache_free": Description("what the block cache leaves free on its disk"),
    "verify": Description("`lazy`, or `strict`: serve no byte of a file before the whole is proven"),
    "metadata_addresses": Description("whether HTTP references may lead to link-local addresses"),
    "offline": Description(
        "use no network: a registry elsewhere is what was seen of it last, bytes are those on this machine"
    ),
    "retry_seconds": Description(
        "for how many seconds a read or a question is tried again that fails: then it is an error, 1 to 3,600"
    ),
    "metrics_port": Description("port of 127.0.0.1 at which a mount serves metrics (OpenMetrics); 0: nowhere"),
}
