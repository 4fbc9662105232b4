"""What the log has of Keep services in trouble: each kind once, until they work again."""

import logging

import pytest

from arvados_fuse.keep.troubles import Troubles
from arvados_fuse.keep.verdicts import TryFailed, Verdict, status_failure, transport_failure

URL = "http://keep:25107/"
AWAY = transport_failure(ConnectionRefusedError(111, "Connection refused"))
BUSY = status_failure(503)
LOST = status_failure(404)


@pytest.fixture(autouse=True)
def as_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_the_same_trouble_with_many_blocks_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for number in range(3):
        for failure in (AWAY, BUSY):
            troubles.failed(URL, f"b{number}", failure)
    assert caplog.messages == [
        f"block b0 from {URL}: [Errno 111] Connection refused",
        f"block b0 from {URL}: 503 Service Unavailable",
    ]


def test_the_same_trouble_of_another_service_is_another_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles()
    troubles.failed(URL, "b", BUSY)
    troubles.failed("http://other/", "b", BUSY)
    assert len(caplog.messages) == 2


def test_that_it_is_over_is_said_and_then_it_can_begin_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles()
    for _ in range(2):
        troubles.failed(URL, "b", BUSY)
        troubles.over(URL)
        troubles.over(URL)
    assert caplog.messages == [
        f"block b from {URL}: 503 Service Unavailable",
        f"{URL} works again.",
    ] * 2  # fmt: skip


def test_a_block_that_is_not_there_is_no_trouble_of_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles()
    troubles.failed(URL, "b", LOST)
    troubles.over(URL)
    assert caplog.messages == [f"block b from {URL}: 404 Not Found"]


def test_each_block_that_is_corrupt_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for _ in range(2):
        troubles.failed(URL, "b", TryFailed(Verdict.CORRUPT, "wrong bytes"))
    assert len(caplog.messages) == 2
