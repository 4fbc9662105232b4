"""Have a cluster for as long as a process needs it: start one in the background, or join it.

Every user of such a cluster holds a shared lock on ``users.lock`` in its directory. The kernel
drops the lock with the process, however that ends; the cluster ends with its last user.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from arvados_fuse.standalone import directory, interpreter
from arvados_fuse.standalone.directory import DirectoryUnusable

__all__ = ["ClusterAccess", "LaunchError", "ensure_running"]

_POLL_S = 0.05
_ANSWER_TIME_LIMIT_S = 5.0


class LaunchError(Exception):
    """The cluster could not be started; the text is the cluster's own reason."""


class ClusterAccess:
    """How to reach a cluster, which runs at least as long as this object lives.

    Processes that are forked share the hold on the cluster; programs that are started do not.

    host: as ``ARVADOS_API_HOST`` has it, with the port
    token: of the administrator
    """

    def __init__(self, host: str, token: str, lock: BinaryIO) -> None:
        self.host = host
        self.token = token
        self._lock = lock

    def release(self) -> None:
        """Do not need the cluster any more."""
        self._lock.close()


def ensure_running(place: Path, *, sample: bool, wait_s: float) -> ClusterAccess:
    """Return access to the cluster on the directory `place`; start one if none runs there.

    `sample`: a new cluster gets the sample project. Waits until the cluster answers, for at most
    `wait_s`. Raises LaunchError.
    """
    deadline = time.monotonic() + wait_s
    place = place.absolute()
    try:
        directory.prepare(place)
        lock = directory.open_lock(place, directory.USERS_LOCK)
    except DirectoryUnusable as error:
        raise LaunchError(str(error)) from error
    try:
        _share(lock, deadline, place)
        return _wait_for_answer(place, sample, lock, deadline)
    except BaseException:
        lock.close()
        raise


def _share(lock: BinaryIO, deadline: float, place: Path) -> None:
    """Take the shared lock. A cluster that is about to end has it for itself until it is gone."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LaunchError(f"the cluster on {place} is ending, but does not end") from None
        time.sleep(_POLL_S)


def _wait_for_answer(place: Path, sample: bool, lock: BinaryIO, deadline: float) -> ClusterAccess:
    log = place / directory.LOG
    log_start = log.stat().st_size if log.exists() else 0
    started: subprocess.Popen[bytes] | None = None
    while True:
        found = directory.read_environment(place)
        if found and _answers(found["ARVADOS_API_HOST"], place):
            return ClusterAccess(found["ARVADOS_API_HOST"], found["ARVADOS_API_TOKEN"], lock)
        if started is None:
            started = _start(place, sample, log)
        # If another process was faster, ours has ended, and the other one's cluster will answer.
        if started.poll() is not None and not directory.is_locked(place):
            raise LaunchError(_last_line(log, log_start) or "the cluster ended without a word")
        if time.monotonic() > deadline:
            raise LaunchError(f"the cluster on {place} does not answer; see {log}")
        time.sleep(_POLL_S)


def _start(place: Path, sample: bool, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "arvados_fuse.standalone", str(place), "--while-used"]
    if sample:
        command.append("--sample")
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise LaunchError(f"cannot write {log}: {error.strerror}") from error
    with open(descriptor, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=interpreter.environment(),
        )


def _answers(host: str, place: Path) -> bool:
    """Whether the API of the cluster on `place` answers on `host`.

    Its certificate tells it from a stranger who got the port after a crash.
    """
    try:
        context = ssl.create_default_context(cafile=place / directory.CERTIFICATE)
    except OSError:
        return False
    connection = http.client.HTTPSConnection(host, timeout=_ANSWER_TIME_LIMIT_S, context=context)
    try:
        connection.request("GET", "/arvados/v1/config")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("arv-standalone: ") if lines else ""
