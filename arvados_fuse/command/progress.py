"""How far the last commits of a mount are, for whoever waits for its end."""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TextIO

from arvados_fuse.command.units import duration_text, size_text
from arvados_fuse.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Left", "Progress", "reported"]

log = logging.getLogger(__name__)

LINE_INTERVAL_S = 0.5
"""Between two lines on a terminal. What takes no longer needs none."""

LOG_INTERVAL_S = 10.0
"""Between two lines in the log."""

_WAY_OUT = " (Ctrl-C: leave the rest to the next mount)"
"""What is added on a terminal."""

_ERASE = "\r\033[K"
"""Goes to the beginning of a terminal's line, and empties it (ECMA-48, "erase in line")."""


class Left(NamedTuple):
    """What is still to be saved. size: bytes that are not in Keep yet"""

    collections: int
    files: int
    size: int


class Progress:
    """What can be said of work that began with `at_first` to do, `began_at` on time.monotonic."""

    def __init__(self, at_first: Left, began_at: float) -> None:
        self._at_first = at_first
        self._began_at = began_at

    def sentence(self, left: Left, now: float) -> str:
        """Say how far it is."""
        done = max(0, self._at_first.size - left.size)
        elapsed_s = max(now - self._began_at, 1e-3)
        words = (
            f"Saving: {size_text(done)} of {size_text(max(self._at_first.size, left.size))},"
            f" {counted(left.files, 'file')} in {counted(left.collections, 'collection')} left"
        )
        if done:
            rate = done / elapsed_s
            words += f", {size_text(rate)}/s, about {duration_text(left.size / rate)} to go"
        return words


@contextmanager
def reported(left: Callable[[], Left]) -> Iterator[None]:
    """Tell how far it is while the block runs: on standard error if that is a terminal, in the log.

    left: says what is still to be done; called from another thread
    """
    ended = threading.Event()
    progress = Progress(left(), time.monotonic())
    terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
    thread = threading.Thread(
        target=_report, args=(progress, left, terminal, ended), name="progress", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _report(
    progress: Progress, left: Callable[[], Left], terminal: TextIO | None, ended: threading.Event
) -> None:
    next_log_at = time.monotonic() + LOG_INTERVAL_S
    has_line = False
    while not ended.wait(LINE_INTERVAL_S):
        now = time.monotonic()
        if terminal is None and now < next_log_at:
            continue
        sentence = progress.sentence(left(), now)
        if terminal is not None:
            terminal.write(f"{_ERASE}{sentence}{_WAY_OUT}")
            terminal.flush()
            has_line = True
        if now >= next_log_at:
            if has_line and terminal is not None:
                terminal.write(_ERASE)  # the log may go there as well
                terminal.flush()
            log.info("%s", sentence)
            next_log_at = now + LOG_INTERVAL_S
    if terminal is not None and has_line:
        terminal.write(_ERASE)
        terminal.flush()
