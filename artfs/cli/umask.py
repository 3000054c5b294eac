"""The umask of the user, before artfs makes everything of its own private: what `artfs get` writes is the user's."""

from __future__ import annotations

import os


def _read() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


USER_UMASK = _read()
