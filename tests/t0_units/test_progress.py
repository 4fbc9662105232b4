"""How far the last commits are: what is said of it, and where."""

import logging
import os
import pty
import sys
import time

import pytest

from arvados_fuse.command import progress
from arvados_fuse.command.progress import Left, Progress, reported

MB = 1_000_000


@pytest.mark.parametrize(
    ("left", "after_s", "sentence"),
    [
        (Left(2, 7, 400 * MB), 0, "Saving: 0 B of 400.0 MB, 7 files in 2 collections left"),
        (
            Left(1, 5, 300 * MB),
            10,
            "Saving: 100.0 MB of 400.0 MB, 5 files in 1 collection left, 10.0 MB/s,"
            " about 30 s to go",
        ),
        (
            Left(1, 5, 399 * MB),
            40,
            "Saving: 1.0 MB of 400.0 MB, 5 files in 1 collection left, 25.0 kB/s,"
            " about 4 h 26 min to go",
        ),
        (
            Left(1, 1, 0),
            100,
            "Saving: 400.0 MB of 400.0 MB, 1 file in 1 collection left, 4.0 MB/s, about 0 s to go",
        ),
    ],
)
def test_sentence(left, after_s, sentence):
    assert Progress(Left(2, 7, 400 * MB), 1000.0).sentence(left, 1000.0 + after_s) == sentence


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.005)
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.02)


def test_without_a_terminal_it_is_logged(often, caplog, capsys):
    caplog.set_level(logging.INFO, "arvados_fuse")
    with reported(lambda: Left(1, 1, MB)):
        deadline = time.monotonic() + 10
        while len(caplog.records) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "Saving: 0 B of 1.0 MB, 1 file in 1 collection left" in caplog.messages
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_one_line_that_is_gone_in_the_end(often, caplog, monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with reported(lambda: Left(1, 1, MB)):
            seen = b""
            while seen.count(b"Saving") < 3:
                seen += os.read(ours, 4096)
        seen += os.read(ours, 65536)
    os.close(ours)
    assert b"\n" not in seen
    *_, last = seen.split(b"\r\x1b[K")
    assert last == b""


def test_what_takes_no_time_says_nothing(caplog):
    caplog.set_level(logging.INFO, "arvados_fuse")
    with reported(lambda: Left(0, 0, 0)):
        pass
    assert caplog.messages == []
