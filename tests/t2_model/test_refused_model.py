"""A cluster that refuses against the reference model of `test_writing_model.py`.

It does so for as long as it likes: the user may not write any more, the collection is in the trash,
the token is no good, Keep is full. It takes only blocks whose signatures hold, and these run out,
or are for a token that was replaced. Whatever was written shows in the mount, is never said to be
saved if it is not, and gets to the cluster when that is possible again: by this mount, or by the
next one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from arvados_fuse.errors import Forbidden
from tests.conftest import LogGuard
from tests.support.strict import Refusal, StrictCluster
from tests.support.writable import UUID, WritableMount
from tests.t2_model import test_writing_model as writing
from tests.t2_model.test_writing_model import Shown, Step, requests

FAILS_WITH = {
    Refusal.FROZEN: [errno.EPERM, errno.EACCES],
    Refusal.TRASHED: [errno.ENOENT],
    Refusal.TOKEN: [errno.EACCES],
    Refusal.FULL: [errno.ENOSPC],
}

LETS_READ = {Refusal.FROZEN, Refusal.FULL, None}
"""What was changed cannot be looked at anew while nothing can be asked of the collection."""

READING = {"read", "look", "list", "release"}


class Refused(writing.Writing):
    """The machine with a strict cluster."""

    new_cluster: ClassVar = StrictCluster
    cluster: StrictCluster

    # -- rules ------------------------------------------------------------------------------

    @rule(refusal=st.sampled_from(Refusal))
    def refuse(self, refusal: Refusal) -> None:
        self.cluster.refusal = refusal

    @rule()
    def allow(self) -> None:
        self.cluster.refusal = None

    @rule()
    def use_a_new_token(self) -> None:
        self._use_a_new_token()

    def _use_a_new_token(self) -> None:
        self.cluster.use_token(str(int(self.cluster.token) + 1))
        self.mount.use_new_token()

    @rule(seconds=st.sampled_from([400.0, 700.0, 1300.0]))
    def let_signatures_grow_old(self, seconds: float) -> None:
        self.mount.clock.now += seconds

    @rule(points=st.integers(1, 12), seconds=st.sampled_from([0.0, 700.0, 1300.0]))
    def commit_while_signatures_are_lost(self, points: int, seconds: float) -> None:
        """They run out, or the token is replaced, in the midst of a commit."""

        def lose() -> None:
            self.mount.clock.now += seconds
            if not seconds:
                self._use_a_new_token()

        self.mount.turns.plan(lose, points, 100)
        self._commit()
        self.mount.turns.finish()

    @rule(refusal=st.sampled_from(Refusal), points=st.integers(1, 12))
    def refuse_in_a_commit(self, refusal: Refusal, points: int) -> None:
        self.mount.turns.plan(lambda: self.refuse(refusal), points, 100)
        self._commit()
        self.mount.turns.finish()

    @rule()
    @precondition(lambda self: not self.handles)
    def collect_garbage(self) -> None:
        """What others have replaced, nobody here has in use."""
        self._hear()
        self._shown()
        self.cluster.collect_garbage()

    @rule(request=requests)
    def request(self, request: tuple[Any, ...]) -> None:
        answer = self.do(request)
        if not self.known:
            self.model.do(request)
            return
        self._explain([answer], request)
        if request[0] == "fsync" and request[1] in self.handles and answer is None:
            self._check_saved()

    @rule()
    def commit(self) -> None:
        if self._commit() and self.known:
            self._check_saved()

    def _check_saved(self) -> None:
        assert self._ours(self.cluster.content) == self.model.shown, "that was said to be saved"

    @rule(again=st.integers(0, 15))
    def kill_and_refuse_the_next_mount(self, again: int) -> None:
        """What it cannot save stays for the one after that."""
        refusal = self.cluster.refusal
        cluster, directory = self._left(self.mount)
        if not self.known or refusal is None or refusal is Refusal.TRASHED:
            self._discard(directory)
            return
        cluster.refusal = refusal
        mount = WritableMount(cluster, directory)
        is_complete = mount.try_to_recover()
        mount.close()
        if is_complete:
            assert self._ours(cluster.content) == self.model.shown
        cluster.refusal = None
        self._recover(cluster, directory, [self.model.shown], again)

    @rule()
    def kill_and_leave_it_in_the_trash(self) -> None:
        """What was written is in a new collection."""
        cluster, directory = self._left(self.mount)
        if self.known:
            cluster.refusal = Refusal.TRASHED
            before = cluster.content
            mount = WritableMount(cluster, directory)
            mount.recover()
            mount.close()
            assert not list(directory.iterdir()), "something is left of a journal"
            self._check_rescued(cluster, before)
        self._discard(directory)

    def _check_rescued(self, cluster: StrictCluster, before: Shown) -> None:
        found: Shown = {}
        for uuid in cluster.items.keys() - {UUID}:
            found |= cluster.content_of(uuid)
        written = {p: data for p, data in self.model.shown.items() if before.get(p, 0) != data}
        assert {p: found.get(p, 0) for p in written} == written

    # -- what is possible -------------------------------------------------------------------

    @rule(handle=writing.handles, path=writing.paths)
    def open(self, handle: int, path: str) -> None:
        """To be written to, too, which may be refused."""
        if not self._refused_with():
            super().open(handle, path)

    def _may_fail(self) -> bool:
        return super()._may_fail() or self.cluster.refusal is not None

    def ways(self, request: tuple[Any, ...], answer: Any) -> list[list[Step]]:
        """Also that it is refused, and nothing is done."""
        ways = super().ways(request, answer)
        if request[0] in READING and self.cluster.refusal in LETS_READ:
            return ways
        return [*ways, []] if answer in self._refused_with() else ways

    def _refused_with(self) -> list[int]:
        """The errnos of a refusal. That of a commit holds until one has succeeded."""
        refused = any(isinstance(s.error, Forbidden) for s in self.mount.committer.sessions)
        now = FAILS_WITH[self.cluster.refusal] if self.cluster.refusal else []
        return [*now, errno.EPERM] if refused else now

    def _refresh(self) -> None:
        with nullcontext() if self.cluster.refusal in LETS_READ else suppress(OSError):
            super()._refresh()

    def _shown(self) -> Shown:
        """What shows, or would show if it could be looked at."""
        with self._readable():
            return super()._shown()

    def _different_attribute(self) -> str | None:
        with self._readable():
            return super()._different_attribute()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        refusal = self.cluster.refusal
        if refusal not in LETS_READ:
            self.cluster.refusal = None
        yield
        self.cluster.refusal = refusal

    def _settle(self) -> None:
        self.cluster.refusal = None
        super()._settle()


class RefusedWholeManifests(Refused):
    """The same on a cluster that cannot replace single files."""

    has_replace_files = False

    @rule(choose=st.data(), times=st.integers(1, 2))
    def others_will_edit_in_the_moment_between(self, choose: Any, times: int) -> None:
        """After the cluster was asked for its version, and before it gets ours."""
        edits = st.dictionaries(st.sampled_from(self.their_paths), st.none() | writing.data)
        changes = choose.draw(edits)
        self.cluster.between = [lambda: self._edit_elsewhere(changes)] * times


class RefusedWithoutVersions(Refused):
    """The same on a cluster that has nothing but what collections have now."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster.has_old_versions = False


class RefusedTheSame(Refused, writing.WritingTheSame):
    """Others change the same paths."""


MACHINES = [Refused, RefusedWholeManifests, RefusedWithoutVersions]


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_refused_agrees_with_the_model(machine: type[Refused], log_guard: LogGuard) -> None:
    """As `test_writing_agrees_with_the_model`, which says how to search for longer."""
    writing.run(machine)
    log_guard.take("the token is not accepted")
    log_guard.take("is in the trash; what was written to it is in the new collection")
    log_guard.take("stays in")
    log_guard.take("twice while it was being replaced")
