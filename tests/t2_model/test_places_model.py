"""One collection at two places of a mount, changed at both.

What is shown at the other place depends on when that was asked for last, so the model cannot tell
it. But nothing may go wrong, and when all is saved and asked for, both places show what the cluster
has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from tests.conftest import LogGuard
from tests.support.writable import UUID, WritableCluster
from tests.t2_model import test_moving_model as moving
from tests.t2_model import test_told_model as told
from tests.t2_model import test_writing_model as writing

PATHS = ["one/a", "one/d", "one/d/a", "one/d/e", "two/a", "two/d", "two/d/a", "two/d/e"]


class SeenTwice(WritableCluster):
    """One collection, whose content is told as it is shown at two places."""

    @property
    def content(self) -> dict[str, bytes | None]:
        """The content, twice."""
        content = self.content_of(UUID).items()
        places: dict[str, bytes | None] = {"one": None, "two": None}
        return places | {f"{place}/{path}": data for place in places for path, data in content}

    def edit_elsewhere(self, changes: Mapping[str, bytes | None], uuid: str = UUID) -> None:
        """Let another client change it, by the paths of either place."""
        inside = {path.partition("/")[2]: data for path, data in changes.items()}
        super().edit_elsewhere(inside, uuid)


class TwoPlaces(moving.Moving):
    """The machine with two places; the model never knows what to expect."""

    our_paths: ClassVar = PATHS
    their_paths: ClassVar = PATHS
    shows_twice = True
    new_cluster = SeenTwice
    _edit_elsewhere = writing.WritingTheSame._edit_elsewhere

    def __init__(self) -> None:
        super().__init__()
        self.known = False

    def _learn(self, shown: writing.Shown) -> None:
        """There is nothing to be learned from it."""


class TwoPlacesShortOfMemory(TwoPlaces):
    """The same with a cache that holds nothing that is not in use."""

    directory_cache = 1


class ToldTwoPlaces(told.Told, TwoPlaces):
    """The same with an event bus."""


MACHINES = [TwoPlaces, TwoPlacesShortOfMemory, ToldTwoPlaces]


@pytest.mark.parametrize("machine", MACHINES)
def test_two_places_end_with_what_the_cluster_has(
    machine: type[TwoPlaces], log_guard: LogGuard
) -> None:
    """As `test_writing_agrees_with_the_model`, which says how to search for longer."""
    writing.run(machine)
    log_guard.take("Cannot .*: (refused|late)")
    log_guard.take("was changed (here and )?elsewhere")
