"""What a mount can tell about a collection that the cluster does not have as it is here."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PendingCollection"]


class PendingCollection(NamedTuple):
    """A collection with changes that are not committed.

    is_committing: whether a commit is under way
    pending_bytes: in chunks of the journal that are not known to be in Keep
    pending_files: that have bytes there
    error: why the last commit failed; "" if it did not
    failing_since: when the first of the commits that failed since one succeeded had ended, in
        seconds since 1970; None if the last one succeeded
    failures: how many have failed since
    next_try_s: seconds until the next commit; None if one is under way or none is planned
    """

    uuid: str
    is_committing: bool
    pending_bytes: int
    pending_files: int
    error: str
    failing_since: float | None
    failures: int
    next_try_s: float | None
