"""How to start another interpreter with the code that this one runs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["environment"]


def environment() -> dict[str, str]:
    """Return our environment, such that a program finds the same code as we did.

    That is independent of where it was found, and of what the current directory becomes.
    """
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
