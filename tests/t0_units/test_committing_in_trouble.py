"""What is told of commits that fail: to the log once for each kind of trouble, to programs each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.committer import Committer
from arvados_fuse.commit.recovery import Nobody
from arvados_fuse.commit.session import Session
from arvados_fuse.errors import ClusterUnreachable, FileSystemError, Forbidden
from arvados_fuse.journal.journal import Journal
from tests.support.journals import ABOUT_US, UUID


class BadTimes:
    """Steps and uploads of a cluster in trouble.

    error: how commits end
    answers: set unless it hangs
    """

    error: FileSystemError | None = None

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def commit(self, _session: Session) -> None:
        self.answers.wait()
        if self.error is not None:
            raise self.error

    def shorten_journal(self, _session: Session) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@pytest.fixture
def cluster() -> Any:
    return BadTimes()


@pytest.fixture
def committer(tmp_path: Any, cluster: Any) -> Iterator[Committer]:
    journal = Journal.create(tmp_path / "journal", ABOUT_US, 1 << 20)
    nobody: Any = None
    committer = Committer(
        cluster,
        journal,
        cluster,
        nobody,
        delay_s=0.0,
        preservation_s=1000.0,
        locked=nullcontext(),
        unlocked=nullcontext(),
    )
    committer.start()
    yield committer
    cluster.error = None
    cluster.answers.set()
    committer.finish(lambda: False)
    journal.close()


@pytest.fixture
def session(committer: Committer) -> Session:
    session = committer.begin(UUID, Tree.from_manifest(""), "", Nobody(), manifest_size=0)
    session.draft.root.create("file")
    return session


AWAY = ClusterUnreachable("nobody answers")
REFUSED = Forbidden("you may not")


def test_the_log_has_each_kind_of_trouble_once(
    committer: Committer, session: Session, cluster: BadTimes, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "arvados_fuse")
    for error in (AWAY, AWAY, REFUSED, AWAY):
        cluster.error = error
        with pytest.raises(type(error)) as raised:
            committer.commit(session)
        assert raised.value.is_logged
        with pytest.raises(type(error)) as raised:
            committer.closed(session)
        assert raised.value.is_logged
    told = f"Cannot commit {UUID}, and will try again until it succeeds:"
    assert caplog.messages == [f"{told} nobody answers", f"{told} you may not"]


def test_trouble_that_was_over_is_told_again(
    committer: Committer, session: Session, cluster: BadTimes, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, "arvados_fuse")
    for _ in range(2):
        cluster.error = AWAY
        with pytest.raises(ClusterUnreachable):
            committer.commit(session)
        cluster.error = None
        committer.commit(session)
    trouble = f"Cannot commit {UUID}, and will try again until it succeeds: nobody answers"
    assert caplog.messages == [trouble, f"Committed {UUID} after 1 failure."] * 2


def test_the_end_does_not_wait_when_there_is_no_hope(
    committer: Committer, session: Session, cluster: BadTimes
) -> None:
    cluster.answers.clear()
    assert committer.finish(lambda: True) == [session]
