"""Until when what the cluster said may be trusted.

Owns `Trust`, the clock by which content grows old. Directories ask it for the time, note until when
what they know holds, and compare; none of them knows whether there is an event bus. Everything here
is called with the file system's lock held.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from arvados_fuse.clock import lasting_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["LONGEST_TRUST_S", "Question", "Trust"]

LONGEST_TRUST_S = 3600.0
"""After so long everything is checked once even while the event bus is connected: a bus whose
token was revoked stays connected and silent."""

KEPT_UNTIL_RETRACTED_S = 7 * 24 * 3600.0
"""For how long the kernel is told to keep what we can make it forget in time."""

DOUBTS_AT_ONCE = 10
"""How often everything may be checked in so many refresh times, on account of `Trust.doubt`."""

MOST_KEYS_REMEMBERED = 4096
"""Keys of recent events that answers under way are compared with."""


class Question(NamedTuple):
    """Something that the cluster was asked.

    asked_at: the time when it was asked, as `Trust.now` tells it
    number: how many events had come by then
    """

    asked_at: float
    number: int


class _Answer(threading.local):
    """The time that the answer is as old as that this thread takes over; None if it does not."""

    as_of: float | None = None


class Trust:
    """The clock by which content grows old, in seconds.

    While nobody tells us of changes, it runs like any other, and what was confirmed less than
    `refresh_time_s` ago is trusted. While the event bus is connected (`follow` to `lose`) the
    clock stands still: nothing can change unseen, so nothing grows old. When the bus comes, the
    clock first jumps ahead by the refresh time, because what was learned before may have changed
    unseen; so everything is checked once, when it is next used. It never goes back.

    An answer is as old as its question: while one is taken over, the clock shows the time when it
    was asked for; and if an event has come since that concerns it, the answer counts as too old
    already. So no change is lost to a race between an event and an answer.

    clock: seconds that always run, while the machine sleeps too, and never go back
    """

    def __init__(self, refresh_time_s: float, clock: Callable[[], float] = lasting_clock) -> None:
        self.refresh_time_s = refresh_time_s
        self.clock = clock
        self._ahead = 0.0  # of the clock, while the time runs
        self._stands_at: float | None = None  # the time, while it does not run
        self._jump_at = 0.0  # on `clock`: when the next jump is due, while the time does not run
        self._doubted = deque([-math.inf] * DOUBTS_AT_ONCE, DOUBTS_AT_ONCE)  # on `clock`
        self._answer = _Answer()
        self._number = 0
        self._touched: dict[str, int] = {}  # key -> number of the last event that concerned it
        self._forgotten = 0  # the number of the last event whose keys are not remembered

    # -- time -------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time that content is as old by."""
        if self._answer.as_of is not None:
            return self._answer.as_of
        if self._stands_at is None:
            return self.clock() + self._ahead
        if self.clock() >= self._jump_at:
            self._jump()
        return self._stands_at

    @property
    def following(self) -> bool:
        """Whether the event bus tells of every change."""
        return self._stands_at is not None

    def promise(self, lifetime_s: float) -> float:
        """Return for how long the kernel may keep something that it can be made to forget.

        lifetime_s: for how long it is trusted as things are now
        """
        return KEPT_UNTIL_RETRACTED_S if self.following and lifetime_s > 0 else lifetime_s

    def follow(self) -> None:
        """Note that from now on every change is told; what was learned before has to be checked."""
        self._stands_at = self.now()
        self._jump()

    def lose(self, heard_at: float) -> None:
        """Note that changes were told only up to `heard_at` on the clock."""
        if self._stands_at is not None:
            self._ahead = self._stands_at - heard_at
            self._stands_at = None

    def doubt(self) -> None:
        """Have everything checked: something changed, and nobody can tell what it concerns.

        At once, unless that has been done so often of late that nothing would be left to trust;
        then as soon as it is not.
        """
        if self._doubted[-1] <= self.clock():  # else a check is due that covers this doubt too
            earliest = self._doubted[0] + DOUBTS_AT_ONCE * self.refresh_time_s
            self._doubted.append(max(self.clock(), earliest))
            self._jump_at = min(self._jump_at, self._doubted[-1])

    def _jump(self) -> None:
        assert self._stands_at is not None, "only a clock that stands has to jump"
        self._stands_at += self.refresh_time_s
        self._jump_at = self.clock() + LONGEST_TRUST_S

    # -- answers and events -----------------------------------------------------------------

    def ask(self) -> Question:
        """Note that the cluster is asked now. Call before the lock is given up for it."""
        return Question(self.now(), self._number)

    @contextmanager
    def taking_over(self, question: Question, keys: Iterable[str]) -> Iterator[None]:
        """Let the time be that of `question` while its answer is taken over.

        keys: of the events that concern the answer
        """
        answer = self._answer
        before = answer.as_of
        answer.as_of = question.asked_at
        if self._outdated(question, keys):
            answer.as_of -= self.refresh_time_s
        try:
            yield
        finally:
            answer.as_of = before

    def _outdated(self, question: Question, keys: Iterable[str]) -> bool:
        if question.number < self._forgotten:
            return True
        return any(self._touched.get(key, 0) > question.number for key in keys)

    def touch(self, keys: Iterable[str]) -> None:
        """Note an event that concerns whoever knows one of `keys`."""
        if len(self._touched) >= MOST_KEYS_REMEMBERED:
            self._touched.clear()
            self._forgotten = self._number
        self._number += 1
        for key in keys:
            self._touched[key] = self._number
