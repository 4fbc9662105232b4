"""When a session is committed, with steps that only count."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit import committer as committing
from arvados_fuse.commit.committer import Committer
from arvados_fuse.commit.copies import Copies
from arvados_fuse.commit.recovery import Nobody
from arvados_fuse.commit.session import Session
from arvados_fuse.journal.journal import Journal
from tests.support.fakes import FakeUnlocked
from tests.support.journals import ABOUT_US, UUID
from tests.support.patience import wait_until


class CountingSteps:
    """Commits nothing, so that what is there stays to be committed.

    commits: how often that was asked for
    """

    def __init__(self) -> None:
        self.commits = 0

    def commit(self, session: Session) -> None:
        self.commits += 1

    def shorten_journal(self, session: Session) -> None:
        """Nothing to do."""


class Uploads:
    """Sends nothing."""

    def copies(self, _desired: object) -> Copies:
        return Copies(1, ())

    def close(self) -> None:
        """Nothing to do."""


class NoRepacker:
    """Puts no blocks together."""

    def pack(self, *_: Any) -> None:
        """Nothing to do."""


class FailingOwner(Nobody):
    """One with a defect. ends: how often it was told that its session is over."""

    ends = 0

    def ended(self) -> None:
        self.ends += 1
        raise RuntimeError


@pytest.fixture
def steps() -> CountingSteps:
    return CountingSteps()


@pytest.fixture
def unlocked() -> FakeUnlocked:
    """Lets others do something when the file system's lock is given up."""
    return FakeUnlocked()


@pytest.fixture
def committer(tmp_path: Any, steps: Any, unlocked: FakeUnlocked) -> Iterator[Committer]:
    journal = Journal.create(tmp_path / "journal", ABOUT_US, 1 << 20)
    repacker: Any = NoRepacker()
    uploads: Any = Uploads()
    committer = Committer(
        steps,
        journal,
        uploads,
        repacker,
        delay_s=0.0,
        preservation_s=1000.0,
        locked=nullcontext(),
        unlocked=unlocked,
    )
    committer.start()
    yield committer
    committer.finish(lambda: False)
    journal.close()


@pytest.fixture
def session(committer: Committer) -> Session:
    """A session with a file that is to be committed."""
    session = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
    session.draft.root.create("file")
    return session


def test_who_waits_is_answered_when_it_is_committed(
    committer: Committer, session: Session, steps: CountingSteps
) -> None:
    for commits in range(1, 20):
        committer.commit(session)
        assert steps.commits >= commits


def test_what_is_being_written_is_not_committed_again_and_again(
    committer: Committer, session: Session, steps: CountingSteps, monkeypatch: Any
) -> None:
    """Each commit would end blocks that are not full. But nothing goes without for ever."""
    monkeypatch.setattr(committing, "QUIET_S", 0.01)
    monkeypatch.setattr(committing, "LONGEST_WITHOUT_S", 1000.0)
    session.used_at = time.monotonic() + 1000  # somebody goes on and on
    committer.commit(session)
    time.sleep(0.2)
    assert steps.commits == 1
    monkeypatch.setattr(committing, "LONGEST_WITHOUT_S", 0.2)
    committer.commit(session)
    wait_until(lambda: steps.commits > 2)


def test_what_no_close_has_asked_for_is_committed_when_it_has_been_quiet(
    committer: Committer, session: Session, steps: CountingSteps, monkeypatch: Any
) -> None:
    monkeypatch.setattr(committing, "QUIET_S", 0.1)
    committer.commit(session)
    wait_until(lambda: steps.commits > 1)


def test_a_change_is_committed_though_it_is_not_quiet(
    committer: Committer, session: Session, steps: CountingSteps
) -> None:
    session.used_at = time.monotonic() + 1000
    committer.commit(session)
    committer.changed(session)
    wait_until(lambda: steps.commits == 2)


@pytest.mark.parametrize("quiet_after_s", [0.0, 1000.0])
def test_what_nobody_has_asked_for_is_committed_all_the_same(
    committer: Committer, steps: CountingSteps, monkeypatch: Any, quiet_after_s: float
) -> None:
    """As what is written to a file that was there before, and stays open: no close asks for it."""
    monkeypatch.setattr(committing, "QUIET_S", 0.1)
    monkeypatch.setattr(committing, "LONGEST_WITHOUT_S", 0.3)
    session = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
    session.used_at = time.monotonic() + quiet_after_s
    session.draft.root.create("file")
    wait_until(lambda: steps.commits > 0)


def test_what_has_just_begun_to_be_written_is_not_committed_at_the_first_look(
    committer: Committer, steps: CountingSteps, monkeypatch: Any
) -> None:
    monkeypatch.setattr(committing, "QUIET_S", 0.01)
    session = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
    session.used_at = time.monotonic() + 1000.0
    time.sleep(0.1)
    assert not steps.commits


@pytest.mark.timeout(20)
@pytest.mark.expects_log("Unhandled exception at the end of changes")
def test_a_session_whose_end_fails_does_not_keep_the_next_from_beginning(
    committer: Committer, monkeypatch: Any
) -> None:
    """Else each change of the collection would wait for ever."""
    monkeypatch.setattr(committing, "QUIET_S", 0.01)
    owner = FailingOwner()
    first = committer.begin(UUID, Tree.from_manifest(""), "", owner, manifest_size=0)
    wait_until(lambda: owner.ends)
    committer.wait_for_end(UUID)
    second = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
    assert second is not first


@pytest.mark.timeout(20)
def test_who_waits_for_the_end_of_a_session_does_not_end_the_one_that_others_begin_then(
    committer: Committer, steps: CountingSteps, unlocked: FakeUnlocked, monkeypatch: Any
) -> None:
    """It is the one to be used."""
    monkeypatch.setattr(committing, "QUIET_S", 0.01)
    first = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
    drop, is_ending, is_waited_for = first.journal.drop, threading.Event(), threading.Event()

    def drop_and_begin() -> None:
        is_ending.set()
        is_waited_for.wait(10.0)
        drop()
        second = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
        second.used_at = time.monotonic() + 1000.0
        second.draft.root.create("file")

    monkeypatch.setattr(first.journal, "drop", drop_and_begin)
    assert is_ending.wait(10.0)
    commits = steps.commits
    unlocked.others = is_waited_for.set
    assert committer.wait_for_end(UUID)
    assert steps.commits == commits
