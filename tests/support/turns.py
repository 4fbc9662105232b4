"""Two pieces of work that change places where the file system's lock is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Locked", "Turns", "Unlocked"]

HANG_TIME_LIMIT_S = 20.0


class Turns:
    """Lets another piece of work begin where the lock is given up, and go on when the first ends.

    One of the two runs at a time. Who is about to wait for the other, or for nothing, lets the
    other go on. Without `plan` nobody else is there, and giving the lock up changes nothing.
    """

    def __init__(self) -> None:
        self._points = 0
        self._work: Callable[[], None] | None = None
        self._other: threading.Thread | None = None
        self._other_points = 0
        self._changed = threading.Condition()
        self._is_others_turn = self._first_has_ended = False

    def plan(self, work: Callable[[], None], points: int, other_points: int) -> None:
        """Do `work` when the lock is given up for the `points`-th time from now on.

        It gives the lock back when it gives it up for the `other_points`-th time itself.
        """
        self._work, self._points, self._other_points = work, points, other_points
        self._first_has_ended = False

    def finish(self) -> None:
        """The first is done: let the other go on to its end, or begin if it never did."""
        work, self._work = self._work, None
        if work is not None:
            work()
        self._first_has_ended = True
        if self._other is not None:
            self._let_go_on(others_turn=True)

    def point(self, *, may_block: bool = False) -> None:
        """The lock is given up, or was for a moment; `may_block`: to wait for what others do."""
        if threading.current_thread() is self._other:
            self._other_points -= 1
            if (may_block or self._other_points == 0) and not self._first_has_ended:
                self._let_go_on(others_turn=False)
        elif self._work is not None:
            self._points -= 1
            if self._points <= 0:
                self._begin()
        elif may_block and self._other is not None:
            self._let_go_on(others_turn=True)

    def _begin(self) -> None:
        work, self._work = self._work, None
        assert work is not None

        def run() -> None:
            try:
                work()
            finally:
                with self._changed:
                    self._is_others_turn, self._other = False, None
                    self._changed.notify_all()

        self._other = threading.Thread(target=run, daemon=True)
        self._is_others_turn = True
        self._other.start()
        self._wait(others_turn=False)

    def _let_go_on(self, *, others_turn: bool) -> None:
        """Give the turn to the other, or to the first, and wait until it is back."""
        with self._changed:
            self._is_others_turn = others_turn
            self._changed.notify_all()
        self._wait(others_turn=not others_turn)

    def _wait(self, *, others_turn: bool) -> None:
        with self._changed:
            in_time = self._changed.wait_for(
                lambda: self._is_others_turn == others_turn, HANG_TIME_LIMIT_S
            )
        assert in_time, "the two wait for each other"


class Unlocked:
    """A moment without the lock at its beginning."""

    def __init__(self, turns: Turns, *, may_block: bool) -> None:
        self._turns = turns
        self._may_block = may_block

    def __enter__(self) -> None:
        self._turns.point(may_block=self._may_block)

    def __exit__(self, *error: object) -> None:
        pass


class Locked:
    """A moment without the lock at its end."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self._turns.point()
