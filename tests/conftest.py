"""What holds for every test: stacks are printed on a crash, and no log line is overlooked.

And the fixtures that tests of several levels use.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.cluster import RunningCluster

LOGGER = "arvados_fuse"

ExpectedLog = Callable[[str], AbstractContextManager[None]]


def pytest_configure(config: pytest.Config) -> None:
    """Print all stacks when an interpreter dies: pytest does so in its own, this in the others."""
    os.environ["PYTHONFAULTHANDLER"] = "1"
    config.addinivalue_line(
        "markers",
        "expects_log(pattern, ...): the test must log, for each regular expression, a warning or"
        " error that it is found in; other warnings and errors still fail the test",
    )


class LogGuard(logging.Handler):
    """Keeps the warnings and errors that no test has said to expect."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self, pattern: str, since: int = 0) -> list[logging.LogRecord]:
        """Remove and return the records from number `since` on whose text has `pattern` in it."""
        found = [r for r in self.records[since:] if re.search(pattern, r.getMessage())]
        self.records = [r for r in self.records if r not in found]
        return found


@pytest.fixture(autouse=True)
def log_guard(request: pytest.FixtureRequest) -> Iterator[LogGuard]:
    """Fail the test if it logs a warning or error that it did not announce.

    Announce with the marker `expects_log` or, for a part of a test, the fixture `expected_log`. A
    test that takes pytest's `caplog` looks at the log by itself.
    """
    guard = LogGuard()
    logger = logging.getLogger(LOGGER)
    logger.addHandler(guard)
    try:
        yield guard
    finally:
        logger.removeHandler(guard)
    for marker in request.node.iter_markers("expects_log"):
        for pattern in marker.args:
            assert guard.take(pattern), f"The test did not log {pattern!r}."
    if "caplog" in request.fixturenames:
        return
    unexpected = [f"{r.levelname} {r.name}: {r.getMessage()}" for r in guard.records]
    assert not unexpected, "Unexpected in the log:\n" + "\n".join(unexpected)


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A standalone cluster that the tests of one module have for themselves."""
    from tests.support.cluster import RunningCluster  # imports the client library

    with RunningCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def no_faults(cluster: RunningCluster) -> Iterator[None]:
    """The cluster of the tests behaves again when a test is over."""
    yield
    cluster.set_faults([])


@pytest.fixture
def expected_log(log_guard: LogGuard) -> ExpectedLog:
    """`with expected_log(pattern):` - the block must log a warning or error that has `pattern`."""

    @contextmanager
    def expecting(pattern: str) -> Iterator[None]:
        since = len(log_guard.records)
        yield
        found = [r.getMessage() for r in log_guard.records[since:]]
        assert log_guard.take(pattern, since), f"{pattern!r} was not logged, but {found}."

    return expecting
