"""Where the log lines of a mount go."""

import logging
import socket

import pytest

from arvados_fuse.command import logs
from arvados_fuse.command.arguments import parse
from arvados_fuse.command.problem import CommandError

BACKGROUND = ("mnt",)


@pytest.fixture(autouse=True)
def logger():
    """Our logger, which is as it was when a test is over."""
    logger = logging.getLogger("arvados_fuse")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def system_log(monkeypatch, tmp_path):
    """Where the socket of the system log would be."""
    address = str(tmp_path / "log")
    monkeypatch.setattr(logs, "SYSTEM_LOG", address)
    return address


def test_of_a_background_mount_to_the_system_log(logger, system_log):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(system_log)
        daemon.settimeout(10)
        logs.start_logging(parse(BACKGROUND))
        logger.info("it works")
        assert b"INFO: it works" in daemon.recv(1000)


@pytest.mark.expects_log("that")
@pytest.mark.parametrize("is_left", [True, False])
def test_where_nobody_listens_to_standard_error_and_only_warnings(
    logger, system_log, capsys, is_left
):
    """A socket may be left of a daemon that has ended, as in many containers."""
    if is_left:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(system_log)
    logs.start_logging(parse(BACKGROUND))
    logger.info("this")
    logger.warning("that")
    said = capsys.readouterr().err
    assert said.endswith("WARNING: that\n")
    assert said.count("\n") == 1


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(CommandError, match=r"Cannot write to the log file .*: Is a directory"):
        logs.start_logging(parse(["--logfile", str(tmp_path), "mnt"]))
