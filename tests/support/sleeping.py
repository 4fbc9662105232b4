"""A machine that sleeps, as a laptop whose lid is closed: one clock goes on, the other does not."""

from __future__ import annotations

import time

import pytest

__all__ = ["Machine"]


class Machine:
    """The clocks of this process, from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._slept_s = 0.0
        clock_gettime = time.clock_gettime

        def shown(clock: int) -> float:
            return clock_gettime(clock) + (self._slept_s if clock == time.CLOCK_BOOTTIME else 0.0)

        monkeypatch.setattr(time, "clock_gettime", shown)

    def sleep(self, duration_s: float) -> None:
        """Let it have slept. Time that is waited with goes on as if nothing had been."""
        self._slept_s += duration_s
