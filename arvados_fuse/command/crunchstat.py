"""`--crunchstat-interval`: statistics as lines on standard error, as container runners read them.

One line for each group: its counters since the start, and what was added in the last interval.
Groups, names and their order are those of the official driver.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from arvados_fuse.command.ending import signals_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arvados_fuse.metrics import Metrics

__all__ = ["Crunchstat", "report"]

REQUESTS = (
    *("read", "write", "destroy", "on_event", "getattr", "setattr", "lookup", "forget", "open"),
    *("release", "opendir", "readdir", "statfs", "create", "mkdir", "unlink", "rmdir", "rename"),
    "flush",
)
"""The kinds of requests that are reported. `on_event` is what the event bus sent; how long those
took is not measured."""

Counters = dict[str, int | float]


class _Timed:
    """How often a request came, and how many seconds all of them took.

    Counts that two threads raise at the same instant may lose one: see `metrics`.
    """

    __slots__ = ("count", "time_s")

    def __init__(self) -> None:
        self.count = 0
        self.time_s = 0.0

    def measuring(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return `method` with each call counted and timed."""

        @functools.wraps(method)
        def measured(*arguments: Any) -> Any:
            started_at = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                self.time_s += time.perf_counter() - started_at
                self.count += 1

        return measured


def report(operations: object, metrics: Metrics, interval_s: float) -> None:
    """Write the statistics to standard error every `interval_s`, the first time after one.

    Call before the first request comes. Never ends: it runs in a thread that the process does not
    wait for.
    """
    statistics = Crunchstat(operations, metrics)

    def run() -> None:
        last_at = time.monotonic()
        while True:
            time.sleep(interval_s)
            now = time.monotonic()
            text = "".join(f"{line}\n" for line in statistics.lines(now - last_at))
            print(text, end="", file=sys.stderr, flush=True)
            last_at = now

    with signals_blocked():
        threading.Thread(target=run, name="crunchstat", daemon=True).start()


class Crunchstat:
    """The statistics of one mount. Without one nothing is measured, and nothing is paid."""

    def __init__(self, operations: object, metrics: Metrics) -> None:
        """Begin to measure the requests to `operations`. Call before the first comes."""
        self._metrics = metrics
        self._requests = {name: _Timed() for name in REQUESTS}
        for name, timed in self._requests.items():
            method = getattr(operations, name, None)
            if method is not None:
                setattr(operations, name, timed.measuring(method))
        self._before = dict(self._groups())

    def lines(self, interval_s: float) -> list[str]:
        """Return one line for each group, about all and about the `interval_s` since the last."""
        groups = dict(self._groups())
        before, self._before = self._before, groups
        lines = []
        for group, now in groups.items():
            added = {name: value - before[group][name] for name, value in now.items()}
            lines.append(
                f"crunchstat: {group} {_pairs(now)}"
                f" -- interval {interval_s:.4f} seconds {_pairs(added)}"
            )
        return lines

    def _groups(self) -> Iterator[tuple[str, Counters]]:
        metrics, requests = self._metrics, self._requests
        requests["on_event"].count = metrics.events_received
        asked_for = metrics.cache_hits + metrics.cache_misses
        yield "keepcalls", {"put": metrics.keep_put_calls, "get": asked_for}
        yield "net:keep0", {"tx": metrics.keep_put_bytes, "rx": metrics.keep_get_bytes}
        yield "keepcache", {"hit": metrics.cache_hits, "miss": metrics.cache_misses}
        yield "blkio:0:0", {"write": metrics.write_bytes, "read": metrics.read_bytes}
        yield "fuseops", {"write": requests["write"].count, "read": requests["read"].count}
        for name, timed in requests.items():
            yield f"fuseop:{name}", {"count": timed.count, "time": timed.time_s}


def _pairs(counters: Counters) -> str:
    return " ".join(
        f"{value:.6f} {name}" if isinstance(value, float) else f"{value} {name}"
        for name, value in counters.items()
    )
