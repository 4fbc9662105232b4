"""The event bus against the reference model of `test_writing_model.py`.

While it is connected nothing grows old by the clock. Events come late, but in their order, and what
they have refreshed in the background may be done at any moment. When all events have come, the
mount shows what the cluster has.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.conftest import LogGuard
from tests.t2_model import test_moving_model as moving
from tests.t2_model import test_writing_model as writing
from tests.t2_model.test_writing_model import data, requests


class Told(writing.Writing):
    """The machine with an event bus."""

    def _mount(self) -> None:
        super()._mount()
        self._connect()

    def _connect(self) -> None:
        self.cluster.events.clear()
        self.mount.changes.connected()

    @rule()
    def lose_the_bus(self) -> None:
        self.mount.changes.lost(self.mount.clock.now)

    @rule()
    def connect_again(self) -> None:
        if not self.mount.trust.following:
            self._connect()

    @rule(count=st.integers(1, 3))
    def tell(self, count: int) -> None:
        self._tell(count)

    def _tell(self, count: int) -> None:
        events = self.cluster.events[:count]
        del self.cluster.events[:count]
        if self.mount.trust.following:
            self.mount.changes.changed(events)

    @rule()
    def refresh_in_the_background(self) -> None:
        self.mount.jobs.run()

    @rule(request=requests, points=st.integers(1, 12), count=st.integers(0, 3))
    def tell_in_a_request(self, request: tuple[Any, ...], points: int, count: int) -> None:
        """Events come, or a refresh is done, in the midst of a request."""
        self.mount.turns.plan(lambda: self._tell_and_refresh(count), points, 100)
        answer = self.do(request)
        self.mount.turns.finish()
        if self.known:
            self._explain([answer], request)

    @rule(
        points=st.integers(1, 12), others=st.integers(1, 12), count=st.integers(0, 3),
        choose=st.data(),
    )  # fmt: skip
    def edit_and_tell_in_a_commit(self, points: int, others: int, count: int, choose: Any) -> None:
        """Others change something in the midst of a commit, which is told at once."""
        changes = choose.draw(
            st.dictionaries(st.sampled_from(self.their_paths), st.none() | data, max_size=2)
        )

        def edit_and_tell() -> None:
            self._edit_elsewhere(changes)
            self._tell_and_refresh(count)

        self.mount.turns.plan(edit_and_tell, points, others)
        self._commit()
        self.mount.turns.finish()

    def _tell_and_refresh(self, count: int) -> None:
        self._tell(count)
        self.mount.jobs.run()

    def _hear(self) -> None:
        """Nobody looks at the clock: events alone let the mount know."""
        if self.mount.trust.following:
            self._tell_and_refresh(len(self.cluster.events))
        else:
            super()._hear()


class ToldTheSame(Told, writing.WritingTheSame):
    """Others change the same paths."""


class ToldMoving(Told, moving.Moving):
    """Two collections."""


class ToldMovingShortOfMemory(ToldMoving, moving.MovingShortOfMemory):
    """The same with a cache that holds nothing that is not in use."""


MACHINES = [Told, ToldTheSame, ToldMoving, ToldMovingShortOfMemory]


@pytest.mark.parametrize("machine", MACHINES)
def test_what_events_tell_agrees_with_the_model(machine: type[Told], log_guard: LogGuard) -> None:
    """As `test_writing_agrees_with_the_model`, which says how to search for longer."""
    writing.run(machine)
    log_guard.take("Cannot rename .*: (refused|late)")
    if machine is ToldTheSame:
        log_guard.take("was changed (here and )?elsewhere")
