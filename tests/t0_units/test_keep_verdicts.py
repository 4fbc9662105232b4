"""What the services' answers mean together: the error that a program gets."""

import errno
import ssl

import pytest

from arvados_fuse.errors import (
    AccessRefused,
    BlockCorrupt,
    BlockLost,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    TimedOut,
)
from arvados_fuse.keep.verdicts import (
    TryFailed,
    Verdict,
    conclude,
    status_failure,
    transport_failure,
)

BLOCK = "acbd18db4cc2f85cedef654fccc4a4d8+3"
CORRUPT = TryFailed(Verdict.CORRUPT, "it sent bytes with another checksum")
BROKEN = transport_failure(ConnectionResetError("Connection reset by peer"))
SLOW = transport_failure(TimeoutError())


@pytest.mark.parametrize("status", [408, 409, 423, 429, 500, 502, 503, 504])
def test_temporary_statuses_are_worth_another_try(status: int) -> None:
    assert not status_failure(status).permanent


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 405, 410, 418, 499, 999])
def test_every_other_status_ends_the_matter_for_that_service(status: int) -> None:
    assert status_failure(status).permanent


def test_transport_errors_are_temporary_but_not_a_certificate_that_is_not_trusted() -> None:
    assert not BROKEN.permanent
    assert not SLOW.permanent
    error = ssl.SSLCertVerificationError("x")
    error.verify_message = "self-signed certificate"
    failure = transport_failure(error)
    assert failure.permanent
    assert "self-signed certificate" in str(failure)


def failure(answer: int | TryFailed) -> TryFailed:
    return status_failure(answer) if isinstance(answer, int) else answer


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([404], BlockLost),
        ([404, 410], BlockLost),
        ([404, 403], BlockLost),
        ([403], AccessRefused),
        ([403, 403], AccessRefused),
        ([401], AccessRefused),
        ([400, 404], AccessRefused),
        ([403, 401], AccessRefused),
        ([CORRUPT, 404], BlockCorrupt),
        ([CORRUPT, 503, BROKEN], BlockCorrupt),
        ([BROKEN, 404], ClusterUnreachable),
        ([BROKEN, SLOW], ClusterUnreachable),
        ([SLOW, 404], TimedOut),
        ([504, 401], TimedOut),
        ([500, 404], ClusterError),
        ([503, 401], ClusterError),
        ([405], ClusterError),
        ([], ClusterUnreachable),
    ],
)
def test_all_answers_together(answers: list[int | TryFailed], kind: type[FileSystemError]) -> None:
    """A copy that cannot be had now weighs more than one that is not there."""
    said = {f"http://keep{number}/": failure(each) for number, each in enumerate(answers)}
    assert type(conclude(BLOCK, said)) is kind


def test_the_message_names_block_services_and_answers() -> None:
    error = conclude(BLOCK, {"http://a/": status_failure(404), "http://b/": BROKEN})
    assert error.errno == errno.EIO
    assert str(error) == (
        f"block {BLOCK} cannot be read: a Keep service cannot be reached"
        " (http://a/ said: 404 Not Found; http://b/ said: Connection reset by peer)"
    )
