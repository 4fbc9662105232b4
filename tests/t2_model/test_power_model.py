"""Power cuts against the reference model of `test_writing_model.py`.

Where that machine kills a mount, this one cuts the power: what was not forced to the disk is gone,
is there, or is zeros, file by file and name by name. What the cluster has stays. Afterwards
everything is there that was saved or synced; of the rest all is as it was at one moment.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.conftest import LogGuard
from tests.support.journals import LosingDisk
from tests.support.power import cut_power, losing_disk, sync
from tests.support.writable import WritableCluster, WritableMount
from tests.t2_model import test_moving_model as moving
from tests.t2_model import test_writing_model as writing
from tests.t2_model.test_writing_model import Model, Shown


class RememberingModel(Model):
    """Knows all that it has shown since the last moment that must not be lost.

    moments: what it has shown, the oldest first; what it shows now is the last
    """

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[Shown] = [{}]

    def do(self, request: tuple[Any, ...]) -> Any:
        answer = super().do(request)
        self.remember()
        return answer

    def remember(self) -> None:
        """What it shows now is a moment to which a power cut may lead back."""
        if self.shown != self.moments[-1]:
            self.moments.append(self.shown)

    def state(self) -> Any:
        return super().state(), list(self.moments)

    def restore(self, state: Any) -> None:
        super().restore(state[0])
        self.moments = list(state[1])


class PowerCuts(writing.Writing):
    """The machine on a disk that forgets.

    disk: knows what was forced to it
    """

    new_model: ClassVar = RememberingModel
    disk: ClassVar[LosingDisk]
    model: RememberingModel

    def __init__(self) -> None:
        self._cuts = 0
        self._before: list[Shown] = []  # all that the last cut may lead back to
        super().__init__()
        self.model.moments = [self.model.shown]

    def _left(self, mount: WritableMount) -> tuple[WritableCluster, Path]:
        """What a power cut leaves of a mount: another run of the machine finds it."""
        directory = Path(tempfile.mkdtemp(dir="/dev/shm")) / "journals"
        self._cuts += 1
        self._before = list(self.model.moments)
        return cut_power(mount, self.disk, directory, self._cuts), directory

    def _discard(self, directory: Path) -> None:
        super()._discard(directory.parent)

    def _recover(
        self, cluster: WritableCluster, directory: Path, possible: list[Shown], again: int
    ) -> None:
        super()._recover(cluster, directory, [*possible, *self._before, *self.model.moments], again)

    @rule()
    def sync(self) -> None:
        """What the journal does once a second."""
        sync(self.mount)
        self.model.moments = [self.model.shown]

    @rule(points=st.integers(1, 12), again=st.integers(0, 15))
    def sync_in_a_commit_and_cut(self, points: int, again: int) -> None:
        """The journal is synced in the midst of a commit, and the power is cut after it."""
        self.mount.turns.plan(lambda: sync(self.mount), points, 100)
        self._commit()
        self.mount.turns.finish()
        self.cut(again)

    @rule(again=st.integers(0, 15))
    def cut(self, again: int) -> None:
        """At a moment at which nothing is going on."""
        left = self._left(self.mount)
        if self.known:
            self._recover(*left, [], again)
        else:
            self._discard(left[1])

    @rule()
    def cut_and_go_on(self) -> None:
        """The next mount has what the last one has left, and may be cut off as well."""
        self.cluster, directory = self._left(self.mount)
        self.mount.close()
        super()._discard(self.directory)
        self.directory = directory
        self._mount()
        self.mount.recover()
        found = self.mount.walk()
        assert found == self.cluster.content
        if self.known:
            assert self._is_one_of(self._ours(found), self.model.moments)
        self._learn(found)

    def _commit(self) -> bool:
        begun = len(self.model.moments)
        is_done = super()._commit()
        if is_done:
            del self.model.moments[: begun - 1]
        return is_done

    def _learn(self, shown: Shown) -> None:
        super()._learn(shown)
        self.model.moments = [self.model.shown]


class PowerCutsWholeManifests(PowerCuts):
    """The same on a cluster that cannot replace single files."""

    has_replace_files = False


class RememberingMoves(RememberingModel, moving.MovingModel):
    """The same for two collections."""


class PowerCutsMoving(PowerCuts, moving.Moving):
    """Two collections: each comes back to a moment of its own, and nothing is in none of them."""

    new_model: ClassVar = RememberingMoves

    @staticmethod
    def _is_one_of(content: Shown, possible: list[Shown]) -> bool:
        def inside(shown: Shown, collection: str) -> Shown:
            return {p: data for p, data in shown.items() if p.startswith(collection)}

        def files(shown: Shown) -> set[bytes]:
            return {data for data in shown.values() if data}

        return all(
            inside(content, each) in [inside(shown, each) for shown in possible]
            for each in PowerCutsMoving.collections
        ) and files(content) >= set.intersection(*map(files, possible))


class PowerCutsTheSame(PowerCuts, writing.WritingTheSame):
    """Others change the same paths."""


MACHINES = [PowerCuts, PowerCutsWholeManifests, PowerCutsMoving]


@pytest.mark.parametrize("machine", MACHINES)
def test_after_a_power_cut_all_is_as_it_was_at_one_moment(
    machine: type[PowerCuts], log_guard: LogGuard
) -> None:
    """As `test_writing_agrees_with_the_model`, which says how to search for longer."""
    with losing_disk() as PowerCuts.disk:
        writing.run(machine)
    log_guard.take("Cannot rename .*: (refused|late)")
