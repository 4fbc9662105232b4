"""Waiting for what others are about to do: threads, processes, the kernel, events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")

PATIENCE_S = 30.0
"""Far more than it takes on a machine with much else to do."""


def wait_until(condition: Callable[[], T], *, says: Callable[[], object] = str) -> T:
    """Wait until `condition()` is true, and return that. says: what to show if it never is."""
    ends_at = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < ends_at, f"what was waited for did not happen {says()}"
        time.sleep(0.005)
    return found
