"""Where the files of a user are, unless the command line says otherwise.

As the XDG Base Directory Specification has it: a variable that is no absolute path does not count.
All Arvados clients do so, and share the cache (Arvados documentation, "Arvados Python SDK").
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_dir", "ensure_home", "journal_dir", "standalone_dir"]


def ensure_home() -> None:
    """Let the user have a home: the root directory, as login(1) does if there is no other.

    Where HOME is not set and the machine does not know the user, as in many containers, neither we
    nor the client library could say where anything is.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def cache_dir() -> Path:
    """Return the directory of blocks that all Arvados clients of this user share."""
    services_own = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if services_own:
        return Path(services_own) / "keep"
    return _base("XDG_CACHE_HOME", ".cache") / "arvados" / "keep"


def journal_dir() -> Path:
    """Return a place that survives when caches are cleared."""
    return _base("XDG_STATE_HOME", ".local/state") / "arvados" / "journal"


def standalone_dir() -> Path:
    """Return where the embedded cluster keeps its data."""
    return _base("XDG_DATA_HOME", ".local/share") / "arvados-standalone"


def _base(variable: str, below_home: str) -> Path:
    said = os.environ.get(variable, "")
    return Path(said) if os.path.isabs(said) else Path.home().absolute() / below_home
