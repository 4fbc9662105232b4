"""Which session is committed when, by which thread, and who waits for it.

A lone close commits at once. In a burst of them a collection is committed at most once in a while
(`--commit-delay`), and close returns when its bytes are safe in the journal. What fails is tried
again, ever more rarely, until it succeeds or the mount ends.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.pending import PendingCollection
from arvados_fuse.commit.session import Owner, Session
from arvados_fuse.errors import Busy, FileSystemError
from arvados_fuse.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from arvados_fuse.api import Item
    from arvados_fuse.commit.repacking import Packed, Repacker
    from arvados_fuse.commit.steps import Steps
    from arvados_fuse.commit.uploads import Uploader
    from arvados_fuse.fresh import Unlocked
    from arvados_fuse.journal.journal import Journal

__all__ = ["Committer"]

log = logging.getLogger(__name__)

THREADS = 4
"""Collections that are committed at a time."""

QUIET_S = 3.0
"""How long after a commit a session without changes ends. If its collection is so large that the
new version was not asked for with the commit, it is then."""

END_TIME_LIMIT_S = 2.0
"""How long to wait for the end of changes that are made at another place of the mount."""

LONGEST_WITHOUT_S = 60.0
"""How long a session that is never quiet, and that nobody asks to commit, goes without a commit.
Each one ends blocks that are not full."""

LOOK_AGAIN_S = 0.5
"""How often to ask whether there is still hope, at the end."""

FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 60.0


class _Plan:
    """What is to be done about one session. Guarded by the committer's condition.

    wanted: number of the last request for a commit
    taken: number of the last request that a commit under way, or done, includes
    done: number of the last request that was dealt with, in success or failure
    outcome: how the last commit ended
    due: when it is to be committed, in seconds of time.monotonic; None if not at all
    is_look: whether that is only to see if it is over, and to save what no close has asked for
    begun: when the session began
    ended: when the last commit ended
    failures: how many commits have failed one after the other
    failing_since: when the first of these had failed, in seconds since 1970; None without one
    logged: the kinds of trouble that the log has since then
    """

    __slots__ = (
        "begun",
        "done",
        "due",
        "ended",
        "failing_since",
        "failures",
        "is_look",
        "is_running",
        "logged",
        "outcome",
        "taken",
        "wanted",
    )

    def __init__(self) -> None:
        self.wanted = self.taken = self.done = 0
        self.outcome: FileSystemError | None = None
        self.due: float | None = None
        self.begun = time.monotonic()
        self.ended = float("-inf")
        self.failures = 0
        self.failing_since: float | None = None
        self.logged: set[type[FileSystemError]] = set()
        self.is_look = False
        self.is_running = False

    def want(self, due: float) -> bool:
        """Have it committed at a time, unless it is earlier; whether that changes anything."""
        if self.due is not None and self.due <= due and not self.is_look:
            return False
        self.due, self.is_look = due, False
        return True


class Committer:
    """The sessions of one mount. Methods are called with the file system's lock held.

    delay_s: seconds between two commits of one collection in a burst; 0 makes each close commit
    preservation_s: seconds after which the blocks of a collection that is never saved are looked at
    locked: takes the file system's lock; used by the threads of the committer
    """

    def __init__(
        self,
        steps: Steps,
        journal: Journal,
        uploader: Uploader,
        repacker: Repacker,
        *,
        delay_s: float,
        preservation_s: float,
        locked: AbstractContextManager[object],
        unlocked: Unlocked,
    ) -> None:
        self._steps = steps
        self._journal = journal
        self._uploader = uploader
        self._repacker = repacker
        self._delay_s = delay_s
        self._preservation_s = preservation_s
        self._locked = locked
        self._unlocked = unlocked
        self._plans: dict[Session, _Plan] = {}
        lock = threading.RLock()
        self._changed = threading.Condition(lock)  # for requests, which wait for what is done
        self._due = threading.Condition(lock)  # for the threads, one of which is woken for a change
        self._ending = False
        self._ending_uuids: set[str] = set()  # whose sessions are being ended
        self._packing: set[Session] = set()  # whose small blocks are being put together
        self._threads = [
            threading.Thread(target=self._work, name=f"commit-{number}", daemon=True)
            for number in range(THREADS)
        ]

    def start(self) -> None:
        """Start the threads. Until then nothing is committed."""
        for thread in self._threads:
            thread.start()

    # -- sessions ---------------------------------------------------------------------------

    def begin(
        self, uuid: str, tree: Tree, portable_data_hash: str, owner: Owner, *, manifest_size: int
    ) -> Session:
        """Begin to change a collection; see `wait_for_end`. Raises NoSpace or JournalError."""
        session = self.make_session(
            uuid, tree, portable_data_hash, owner, manifest_size=manifest_size
        )
        self._add(session)
        return session

    def wait_for_end(self, uuid: str) -> bool:
        """Wait for the end of what keeps a session from being begun; whether there was any.

        That is the session of another directory that shows the same collection, which is committed
        and ended, or the journal of the last one. Gives the lock up then, so that somebody may have
        begun a session meanwhile: it has to be called again until it returns false, which says that
        one can be begun. Raises Busy if a file is being written at the other place, and what a
        commit raises.
        """
        other = next((session for session in self._plans if session.uuid == uuid), None)
        if other is not None:
            self._end(other)
        elif uuid in self._ending_uuids:
            with self._unlocked, self._changed:
                self._changed.wait_for(lambda: uuid not in self._ending_uuids)
        else:
            return False
        return True

    def _end(self, session: Session) -> None:
        """Commit and end a session now, though it may still be used. Gives the lock up."""
        self.commit(session)
        with self._changed:
            plan = self._plans.get(session)
            if plan is not None:
                session.used_at = -QUIET_S
                self._ask(plan)
        with self._unlocked, self._changed:
            has_ended = self._changed.wait_for(lambda: session not in self._plans, END_TIME_LIMIT_S)
        if not has_ended:
            raise Busy(f"{session.uuid} is being changed at another place of the mount.")

    def compose(self, session: Session) -> str:
        """Bring what a session has to Keep, and return its manifest. Without the lock.

        For collections that are never saved. Raises what uploading raises.
        """
        return self._steps.compose(session)

    def preserve(self, session: Session) -> None:
        """Keep what a session has in Keep readable, as far as it is. May give the lock up.

        For collections that are never saved. Raises what requests do.
        """
        with self._unlocked:
            self._steps.preserve(session)

    def token_replaced(self) -> None:
        """Preserve what is never saved, while the earlier token may still be of use."""
        with self._changed:
            for session, plan in self._plans.items():
                if session.is_scratch:
                    plan.want(time.monotonic())
            self._due.notify_all()

    def begin_scratch(self, name: str, owner: Owner) -> Session:
        """Begin a collection that is never saved. Raises NoSpace or JournalError."""
        session = self.make_session(name, Tree.from_manifest(""), "", owner, manifest_size=0)
        self._add(session)
        return session

    def _add(self, session: Session) -> None:
        plan = _Plan()
        self._look_later(session, plan, plan.begun)
        with self._changed:  # the threads go through the plans
            self._plans[session] = plan
            self._due.notify()

    def make_session(
        self, uuid: str, tree: Tree, portable_data_hash: str, owner: Owner, *, manifest_size: int
    ) -> Session:
        """Return a session that is committed by nobody here. Raises NoSpace or JournalError."""
        return Session(
            uuid,
            tree,
            portable_data_hash,
            owner,
            manifest_size=manifest_size,
            journal=self._journal,
            uploader=self._uploader,
            unlocked=self._unlocked,
        )

    def rebase(self, session: Session, item: Item, tree: Tree, manifest_size: int) -> None:
        """Move a session on top of another version of its collection."""
        self._steps.rebase(session, item, tree, manifest_size)

    def pending(self) -> list[PendingCollection]:
        """What the cluster does not have yet, collection by collection."""
        now = time.monotonic()
        with self._changed:
            return [
                PendingCollection(
                    session.uuid,
                    is_committing=plan.is_running,
                    pending_bytes=session.outbox.pending_bytes,
                    pending_files=session.outbox.pending_files,
                    error="" if plan.outcome is None else str(plan.outcome),
                    failing_since=plan.failing_since,
                    failures=plan.failures,
                    next_try_s=None if plan.due is None else max(0.0, plan.due - now),
                )
                for session, plan in self._plans.items()
                if not session.is_scratch and (session.draft.is_dirty or plan.outcome is not None)
            ]

    # -- requests ---------------------------------------------------------------------------

    def changed(self, session: Session) -> None:
        """Commit a change some time soon."""
        with self._changed:
            plan = self._plans[session]
            if plan.want(time.monotonic() + self._delay_s):
                self._due.notify()

    def relieve(self, session: Session) -> None:
        """Bring what a session has to the cluster now, so that the journal gets room."""
        with self._changed:
            self._plans[session].want(time.monotonic())
            self._due.notify()

    def closed(self, session: Session) -> None:
        """Do what the close of a file that was written to asks for. May wait, without the lock.

        Raises what a commit raises; as long as commits fail, what the last one has raised, at once.
        """
        with self._changed:
            plan = self._plans[session]
            if plan.outcome is not None:
                # It is tried again on its own. Who waits for that calls fsync.
                raise plan.outcome.again()
            is_burst = plan.is_running or time.monotonic() < plan.ended + self._delay_s
            if is_burst and self._delay_s > 0:
                if plan.want(plan.ended + self._delay_s):
                    self._due.notify()
                return
        self.commit(session)

    def commit(self, session: Session) -> None:
        """Commit everything up to now and wait for it, without the lock.

        Raises what a commit raises.
        """
        if not session.draft.is_dirty and session.error is None:
            return
        with self._changed:
            plan = self._plans[session]
            number = self._ask(plan)
        with self._unlocked, self._changed:
            self._changed.wait_for(lambda: plan.done >= number)
            outcome = plan.outcome
        if outcome is not None:
            raise outcome.again()

    def finish(self, is_hopeless: Callable[[], bool]) -> list[Session]:
        """Commit everything, once, and end the threads. Returns what could not be committed.

        Called when no request comes any more, without the lock.

        is_hopeless: asked from time to time. If it says so nothing is waited for, neither commits
            nor threads: the process has to end then, and leaves what a crash would leave
        """
        with self._changed:
            asked = {
                session: (plan, self._ask(plan))
                for session, plan in self._plans.items()
                if not session.is_scratch
            }
            while any(plan.done < number for plan, number in asked.values()):
                if is_hopeless():
                    return [
                        session
                        for session, (plan, number) in asked.items()
                        if plan.done < number or plan.outcome is not None
                    ]
                self._changed.wait(LOOK_AGAIN_S)
            self._ending = True
            self._due.notify_all()
        for thread in self._threads:
            thread.join()
        self._uploader.close()
        for session in self._plans:
            if session.is_scratch:
                session.journal.drop()
        return [session for session, (plan, _) in asked.items() if plan.outcome is not None]

    def _ask(self, plan: _Plan) -> int:
        plan.wanted += 1
        plan.want(time.monotonic())
        self._due.notify()
        return plan.wanted

    # -- the threads ------------------------------------------------------------------------

    def _work(self) -> None:
        while (due := self._next()) is not None:
            session, plan = due
            error = self._commit(session)
            with self._changed:
                self._note_outcome(session, plan, error)
                self._changed.notify_all()
                self._due.notify()
            if error is None:
                try:
                    self._steps.shorten_journal(session)
                    self._end_if_idle(session)
                except Exception:
                    log.exception("Unhandled exception at the end of changes of %s", session.uuid)

    def _end_if_idle(self, session: Session) -> None:
        """End a session whose draft is not needed any more, and put its small blocks together."""
        with self._locked:
            if not self._is_over(session):
                return
            self._packing.add(session)
            tree, size, copies = session.draft.base, session.manifest_size, session.copies
        try:
            packed = self._repacker.pack(
                session.uuid, tree, size, copies, lambda: self._is_quiet(session)
            )
        finally:
            self._packing.discard(session)
        # Without the lock again, what is put off last is done first, and all of it in any case.
        with ExitStack() as later, self._locked:
            with self._changed:
                if not self._is_over(session):
                    return
                del self._plans[session]
                self._ending_uuids.add(session.uuid)
                later.callback(self._has_ended, session.uuid)
            if packed is not None and session.draft.base is tree:
                session.owner.repacking(packed.moves)
                later.callback(self._replace, session, packed)
            later.callback(self._drop_journal, session)
            session.owner.ended()

    def _has_ended(self, uuid: str) -> None:
        """Let those go on who wait for the end of a session."""
        with self._changed:
            self._ending_uuids.discard(uuid)
            self._changed.notify_all()

    @staticmethod
    def _drop_journal(session: Session) -> None:
        try:
            session.journal.drop()
        except FileSystemError as error:
            log.warning("%s", error)

    def _is_over(self, session: Session) -> bool:
        """Whether a session can be ended. With the file system's lock held."""
        with self._changed:
            plan = self._plans.get(session)
            if plan is None or plan.is_running or session in self._packing:
                return False
        return not session.is_scratch and session.is_idle and self._is_quiet(session)

    def _is_quiet(self, session: Session) -> bool:
        """Whether nothing was changed for a while, and the mount goes on."""
        return not self._ending and time.monotonic() >= session.used_at + QUIET_S

    def _replace(self, session: Session, packed: Packed) -> None:
        """Let a collection have its large block, while nobody can begin to change it."""
        owner = session.owner
        try:
            content = self._repacker.replace(session.uuid, packed)
            tree = Tree.from_manifest(content.manifest_text)
            with self._locked:
                owner.committed(content.item)
                owner.rebased(content.item, tree, len(content.manifest_text))
        except FileSystemError as error:
            log.info("The small blocks of %s stay as they are: %s", session.uuid, error)
        finally:
            with self._locked:
                owner.repacked()

    def _next(self) -> tuple[Session, _Plan] | None:
        """Wait for a session that is due, and mark it as running; None at the end."""
        with self._changed:
            while not self._ending:
                now = time.monotonic()
                waiting = [
                    (plan.due, number, session, plan)
                    for number, (session, plan) in enumerate(self._plans.items())
                    if plan.due is not None and not plan.is_running
                ]
                first = min(waiting, default=None)
                if first is not None and first[0] <= now:
                    _, _, session, plan = first
                    if plan.is_look and not self._is_time(session, plan):
                        continue
                    plan.is_running, plan.due, plan.taken = True, None, plan.wanted
                    plan.is_look = False
                    if len(waiting) > 1:
                        self._due.notify()  # somebody else looks when the next one is due
                    return session, plan
                self._due.wait(first[0] - now if first is not None else None)
        return None

    def _look_later(self, session: Session, plan: _Plan, now: float) -> None:
        """See later whether the session is over, or its blocks have to be stored anew."""
        pause_s = self._preservation_s if session.is_scratch else QUIET_S
        plan.due, plan.is_look = now + pause_s, not session.is_scratch

    @staticmethod
    def _is_time(session: Session, plan: _Plan) -> bool:
        """Whether a session is to be looked at now; if not, it is when it has been quiet."""
        quiet_at = session.used_at + QUIET_S
        plan.due = min(quiet_at, max(plan.begun, plan.ended) + LONGEST_WITHOUT_S)
        return plan.due <= time.monotonic()

    def _commit(self, session: Session) -> FileSystemError | None:
        try:
            self._steps.commit(session)
        except FileSystemError as error:
            return error.with_traceback(None)  # which would hold on to what is in the journal
        except Exception:
            log.exception("Unhandled exception while committing %s", session.uuid)
            return FileSystemError(f"The collection {session.uuid} could not be committed.")
        return None

    def _note_outcome(self, session: Session, plan: _Plan, error: FileSystemError | None) -> None:
        plan.is_running, plan.done, plan.ended = False, plan.taken, time.monotonic()
        plan.outcome = session.error = error
        if error is None:
            if plan.due is None:
                self._look_later(session, plan, plan.ended)
            if plan.failures:
                log.info("Committed %s after %s.", session.uuid, counted(plan.failures, "failure"))
            plan.failures, plan.failing_since = 0, None
            plan.logged.clear()
            return
        plan.failures += 1
        pause_s = min(FIRST_RETRY_S * 2.0 ** (plan.failures - 1), LONGEST_RETRY_S)
        plan.due = plan.ended + pause_s if plan.due is None else plan.due
        if plan.failing_since is None:
            plan.failing_since = time.time()
        if type(error) not in plan.logged:
            plan.logged.add(type(error))
            log.error(
                "Cannot commit %s, and will try again until it succeeds: %s", session.uuid, error
            )
