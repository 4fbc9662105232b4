"""What a failed try at one Keep service means, and what all of them together mean.

Status codes are those of the Arvados documentation, "Keep server" and "Keep proxy"; which of them
are worth another try is the rule of the official SDK; and 429, which what stands before a service
says to whoever asks too often.
"""

import enum
import ssl
from collections.abc import Mapping
from http import HTTPStatus

from arvados_fuse.errors import (
    AccessRefused,
    BlockCorrupt,
    BlockLost,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    NoSpace,
    TimedOut,
)

__all__ = [
    "TryFailed",
    "Verdict",
    "conclude",
    "conclude_write",
    "status_failure",
    "transport_failure",
    "write_status_failure",
]

_TEMPORARY = frozenset({408, 409, 423, 429, 500, 502, 503, 504})
_LOST = frozenset({404, 410})
_REFUSED = frozenset({400, 401})


class Verdict(enum.Enum):
    """Why one service did not give the block, or did not take it.

    FULL is 507, the answer of a service that has no room, or no volume of the storage class asked
    for. FORBIDDEN is 403: a keepproxy says it for a bad token, others for a block that they lack,
    so that it is a refusal only where no service said LOST.
    """

    LOST = enum.auto()
    REFUSED = enum.auto()
    FORBIDDEN = enum.auto()
    CORRUPT = enum.auto()
    TIMED_OUT = enum.auto()
    UNREACHABLE = enum.auto()
    ERROR = enum.auto()
    FULL = enum.auto()


_REFUSAL = "the token or the block's signature was refused or has expired"

_CONCLUSIONS: tuple[tuple[Verdict, type[FileSystemError], str], ...] = (
    (Verdict.CORRUPT, BlockCorrupt, "no copy has the right checksum"),
    (Verdict.UNREACHABLE, ClusterUnreachable, "a Keep service cannot be reached"),
    (Verdict.TIMED_OUT, TimedOut, "a Keep service did not answer in time"),
    (Verdict.ERROR, ClusterError, "a Keep service failed"),
    (Verdict.REFUSED, AccessRefused, _REFUSAL),
    (Verdict.LOST, BlockLost, "no Keep service has it"),
    (Verdict.FORBIDDEN, AccessRefused, _REFUSAL),
)
"""The first row whose verdict some service gave tells what all of them together mean."""


_WRITE_CONCLUSIONS: tuple[tuple[Verdict, type[FileSystemError], str], ...] = (
    (Verdict.UNREACHABLE, ClusterUnreachable, "a Keep service cannot be reached"),
    (Verdict.TIMED_OUT, TimedOut, "a Keep service did not answer in time"),
    (Verdict.ERROR, ClusterError, "a Keep service failed"),
    (Verdict.REFUSED, AccessRefused, "the token was refused or has expired"),
    (Verdict.FULL, NoSpace, "the Keep services are full, or have not that storage class"),
)


class TryFailed(Exception):
    """One try at one service failed.

    verdict: the kind of failure; the message says it in a few words, without secrets
    permanent: whether this service will not be asked again for this block now
    """

    def __init__(self, verdict: Verdict, words: str, *, permanent: bool = False) -> None:
        super().__init__(words)
        self.verdict = verdict
        self.permanent = permanent


def status_failure(status: int) -> TryFailed:
    """The failure that a status code other than 200 stands for."""
    if status in _LOST:
        verdict = Verdict.LOST
    elif status in _REFUSED:
        verdict = Verdict.REFUSED
    elif status == 403:
        verdict = Verdict.FORBIDDEN
    elif status in {408, 504}:
        verdict = Verdict.TIMED_OUT
    else:
        verdict = Verdict.ERROR
    return TryFailed(verdict, _status_words(status), permanent=status not in _TEMPORARY)


def write_status_failure(status: int) -> TryFailed:
    """The failure that the status code of an answer to a PUT stands for."""
    if status in {401, 403}:
        verdict = Verdict.REFUSED
    elif status in {408, 504}:
        verdict = Verdict.TIMED_OUT
    elif status == 507:
        verdict = Verdict.FULL
    else:
        verdict = Verdict.ERROR
    return TryFailed(verdict, _status_words(status), permanent=status not in _TEMPORARY)


def _status_words(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def transport_failure(error: Exception) -> TryFailed:
    """What an error of the socket, of TLS or of the HTTP grammar means."""
    if isinstance(error, TimeoutError):
        return TryFailed(Verdict.TIMED_OUT, "no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TryFailed(
            Verdict.UNREACHABLE,
            f"its TLS certificate is not trusted: {error.verify_message}",
            permanent=True,
        )
    return TryFailed(Verdict.UNREACHABLE, str(error) or type(error).__name__)


def conclude(block_name: str, said: Mapping[str, TryFailed]) -> FileSystemError:
    """The one error that tells what the last words of all services mean.

    block_name: hash and size, no signature
    said: the last failure of each service, by its URL

    A copy that cannot be had now weighs more than one that is not there: only when every service
    answered is the block lost.
    """
    if not said:
        return ClusterUnreachable(
            f"block {block_name} cannot be read: the cluster names no Keep service to ask"
        )
    verdicts = {failure.verdict for failure in said.values()}
    answers = "; ".join(f"{url} said: {failure}" for url, failure in said.items())
    kind, words = next(row[1:] for row in _CONCLUSIONS if row[0] in verdicts)
    return kind(f"block {block_name} cannot be read: {words} ({answers})")


def conclude_write(
    block_name: str, shortage: str, said: Mapping[str, TryFailed]
) -> FileSystemError:
    """The one error that tells why a block is not stored.

    block_name: hash and size
    shortage: how far it got
    said: the last failure of each service that failed, by its URL
    """
    answers = "; ".join(f"{url} said: {failure}" for url, failure in said.items())
    verdicts = {failure.verdict for failure in said.values()}
    for verdict, kind, words in _WRITE_CONCLUSIONS:
        if verdict in verdicts:
            return kind(f"block {block_name} cannot be written: {words}; {shortage} ({answers})")
    return ClusterError(
        f"block {block_name} cannot be written: {shortage}, and there are no more Keep services"
        " to try; either the cluster gets more, or the collection wants fewer copies"
        " (replication_desired)"
    )
