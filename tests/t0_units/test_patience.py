"""How long the end of a mount waits for a cluster that does not answer."""

from __future__ import annotations

import time
from typing import Any

import pytest

from arvados_fuse.command import patience
from arvados_fuse.command.patience import Patience

LIMIT_S = 0.2


@pytest.fixture(autouse=True)
def short(monkeypatch: Any) -> None:
    monkeypatch.setattr(patience, "LONGEST_SILENCE_S", LIMIT_S)


def test_it_lasts_as_long_as_something_moves() -> None:
    waiting = Patience(time.monotonic)
    time.sleep(2 * LIMIT_S)
    assert not waiting.is_over()


def test_silence_from_before_does_not_count(monkeypatch: Any) -> None:
    monkeypatch.setattr(patience, "LONGEST_SILENCE_S", 1000.0)
    assert not Patience(lambda: float("-inf")).is_over()


def test_it_is_over_after_the_longest_silence() -> None:
    waiting = Patience(lambda: float("-inf"))
    assert not waiting.why
    time.sleep(2 * LIMIT_S)
    assert waiting.is_over()
    assert waiting.why == "The cluster has been silent for 0 s"


def test_somebody_can_end_it() -> None:
    waiting = Patience(time.monotonic)
    waiting.end()
    assert waiting.is_over()
    assert waiting.why == "Interrupted"


def test_the_first_reason_stays() -> None:
    waiting = Patience(lambda: float("-inf"))
    waiting.end()
    time.sleep(2 * LIMIT_S)
    assert waiting.is_over()
    assert waiting.why == "Interrupted"
