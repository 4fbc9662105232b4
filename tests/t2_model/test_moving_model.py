"""Moving between two collections against the reference model of `test_writing_model.py`.

A move between collections is no single step: the other collection gets a copy and commits it before
the entry goes from where it was. So whoever looks in between finds it in both, and if it fails
a copy is left where somebody has changed it meanwhile, or where it has replaced a file.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.conftest import LogGuard
from tests.support import drafts
from tests.support.writable import UUID, WritableCluster
from tests.t2_model import test_writing_model as writing
from tests.t2_model.test_writing_model import FAILED, File, Model, Step, names, requests

OTHER_UUID = "zzzzz-4zz18-000000000000002"

ONE = ["one/a", "one/d", "one/d/a", "one/d/e", "one/d/e/a"]
TWO = ["two/a", "two/d", "two/d/a"]
DIRECTORIES = ["", "one", "one/d", "one/d/e", "two", "two/d"]


class TwoCollections(WritableCluster):
    """Two collections, "one" and "two"; paths begin with these names."""

    def __init__(self) -> None:
        super().__init__()
        self.items[UUID] = self.items[UUID]._replace(name="one")
        self.add_collection(OTHER_UUID, "two", "")

    @property
    def content(self) -> dict[str, bytes | None]:
        """The content of both."""
        content: dict[str, bytes | None] = {}
        for item in self.items.values():
            content[item.name] = None
            content |= {f"{item.name}/{p}": d for p, d in self.content_of(item.uuid).items()}
        return content

    def edit_elsewhere(self, changes: Any, uuid: str = "") -> None:
        """Let another client change both."""
        for item in list(self.items.values()):
            start = f"{item.name}/"
            inside = {p[len(start) :]: d for p, d in changes.items() if p.startswith(start)}
            if inside:
                super().edit_elsewhere(inside, item.uuid)


class MovingModel(Model):
    """Knows the parts of a move between collections."""

    def do_copy(self, old: str, new: str) -> None:
        """The other collection has got it."""
        self._replaced = self.content.get(names(new), 0)
        self.rename(names(old), names(new))
        moved = drafts.below(self.content, names(new))
        for path, file in moved.items():
            if file is not None:
                copy = self.content[names(new) + path] = File()
                copy.data = file.data
        self.content |= {names(old) + path: file for path, file in moved.items()}

    def _is_copy(self, old: str, new: str) -> bool:
        return self._inside(old) == self._inside(new) != {}

    def _inside(self, path: str) -> dict[Any, bytes | None]:
        inside = drafts.below(self.content, names(path))
        return {p: f if f is None else f.data for p, f in inside.items()}

    def _remove(self, path: str) -> None:
        for inside in drafts.below(self.content, names(path)):
            del self.content[names(path) + inside]

    def do_finish(self, old: str, new: str) -> None:
        """It goes from where it was. Raises NoSuchEntry if the copy is none any more."""
        if not self._is_copy(old, new):
            raise drafts.NoSuchEntry
        self._remove(new)
        self.rename(names(old), names(new))

    def do_give_up(self, old: str, new: str) -> None:
        """The copy goes, unless it has replaced a file or is none any more."""
        if not isinstance(self._replaced, File) and self._is_copy(old, new):
            self._remove(new)
            if self._replaced is None:
                self.mkdir(names(new))


def is_far(request: tuple[Any, ...]) -> bool:
    """Whether it moves something between collections."""
    return request[0] == "rename" and names(request[1])[0] != names(request[2])[0]


class Moving(writing.Writing):
    """The machine with two collections in a project."""

    our_paths: ClassVar = ONE + TWO
    our_directories: ClassVar = DIRECTORIES
    their_paths: ClassVar = ["one/r", "two/s/r"]
    collections: ClassVar = ["one", "two"]
    new_cluster = TwoCollections
    new_model = MovingModel

    @staticmethod
    def _is_theirs(path: str) -> bool:
        return path.split("/")[1:2] in (["r"], ["s"])

    @rule(request=requests)
    def request(self, request: tuple[Any, ...]) -> None:
        may_fail = bool(self.cluster.failures)
        answer = self.do(request)
        if not self.known:
            self.model.do(request)
            return
        assert may_fail or answer not in FAILED
        assert answer != errno.EBUSY
        self._explain([answer], request)

    @rule(
        old=st.sampled_from(ONE), new=st.sampled_from(TWO), is_back=st.booleans(), second=requests,
        points=st.integers(1, 20), others=st.integers(1, 12)
    )  # fmt: skip
    def move(
        self, old: str, new: str, is_back: bool, second: Any, points: int, others: int
    ) -> None:
        """Something else in the midst of a move."""
        places = (new, old) if is_back else (old, new)
        self._two_at_once(("rename", *places), second, points, others)

    def ways(self, request: tuple[Any, ...], answer: Any) -> list[list[Step]]:
        """Also the parts of a move, and that a commit fails."""
        done, places = Step(request, answer), request[1:]
        if not is_far(request):
            return super().ways(request, answer)
        copied = Step(("copy", *places), None)
        if answer is None:
            return [[done], [copied, Step(("finish", *places), None)]]
        failed = [copied, Step(("give_up", *places), None)]
        return [[], failed] if answer in (*FAILED, errno.EBUSY) else [[done], failed]


class MovingShortOfMemory(Moving):
    """The same with a cache that holds nothing that is not in use."""

    directory_cache = 1


class MovingWholeManifests(Moving):
    """The same on a cluster that cannot replace single files."""

    has_replace_files = False


class MovingTheSame(Moving):
    """Others change the same paths."""

    their_paths: ClassVar = [*ONE, *TWO, "one/r", "two/s/r"]
    _edit_elsewhere = writing.WritingTheSame._edit_elsewhere


MACHINES = [Moving, MovingShortOfMemory, MovingWholeManifests, MovingTheSame]


@pytest.mark.parametrize("machine", MACHINES)
def test_moving_agrees_with_the_model(machine: type[Moving], log_guard: LogGuard) -> None:
    """As `test_writing_agrees_with_the_model`, which says how to search for longer."""
    writing.run(machine)
    log_guard.take("Cannot rename .*: (refused|late)")
    if machine is MovingTheSame:
        log_guard.take("was changed (here and )?elsewhere")
