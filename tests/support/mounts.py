"""Real mounts for tests: `arv-mount` in a process of its own, never in the test's.

A program that waits for a mount cannot be interrupted; so whatever happens, `close` ends the
process, which makes every waiting system call return. A test that hangs is ended by a timer
(`HANG_TIME_LIMIT_S`) that kills the mount's process and so lets the test fail.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ARV_MOUNT = Path(sys.executable).with_name("arv-mount")

START_TIME_LIMIT_S = 30
START_POLL_S = 0.005
END_TIME_LIMIT_S = 20
HANG_TIME_LIMIT_S = 60

# A log line at one of these levels fails the test, unless the test expects it.
_TROUBLE = re.compile(r" (WARNING|ERROR|CRITICAL): |Traceback")


class RunningMount:
    """`arv-mount --foreground` on `directory`, with `arguments` after it.

    env: the whole environment of the process
    command: the program, or the first words of the command line
    expected_log: regular expressions of log lines that are no trouble
    time_limit_s: how long a test may use it, until it counts as hanging and is ended
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: dict[str, str],
        command: Path | tuple[str | Path, ...] = ARV_MOUNT,
        time_limit_s: float = HANG_TIME_LIMIT_S,
    ) -> None:
        self._time_limit_s = time_limit_s
        self.directory = directory
        self.command = command
        self.expected_log: list[str] = []
        self.log_path = directory.with_name(directory.name + ".log")
        with suppress(FileExistsError):  # also where a dead mount is
            directory.mkdir()
        words = command if isinstance(command, tuple) else (command,)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, "--foreground", *arguments, directory],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_mounted()

    def __enter__(self) -> RunningMount:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close(check_log=exc_info[0] is None)

    def __truediv__(self, path: str) -> Path:
        return self.directory / path

    @property
    def log(self) -> str:
        """What the process has printed so far."""
        return self.log_path.read_text(errors="replace")

    def _wait_until_mounted(self) -> None:
        deadline = time.monotonic() + START_TIME_LIMIT_S
        while not is_alive(self.directory):
            if self.process.poll() is not None:
                raise AssertionError(f"arv-mount ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"arv-mount did not mount in time:\n{self.log}")
            time.sleep(START_POLL_S)
        self._watchdog = threading.Timer(self._time_limit_s, self._dump_and_kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def rss(self) -> int:
        """Resident memory of the process, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def unmount(self, time_limit_s: float = END_TIME_LIMIT_S) -> int:
        """Unmount as a user does, and return the exit code of the process."""
        subprocess.run(["fusermount", "-u", self.directory], check=True)
        return self.process.wait(time_limit_s)

    def kill(self) -> None:
        """Kill the process as a crash would. The mount point stays "not connected"."""
        self.process.kill()
        self.process.wait(END_TIME_LIMIT_S)

    def _dump_and_kill(self) -> None:
        """Print the stacks of a mount that hangs into its log, and kill it."""
        self.process.send_signal(signal.SIGABRT)

    def close(self, check_log: bool = True) -> None:
        """End the mount, whatever its state, and look at what it logged."""
        self._watchdog.cancel()
        if is_mounted(self.directory):
            subprocess.run(["fusermount", "-u", "-z", self.directory], check=True)
        ended = True
        if self.process.poll() is None:
            try:
                self.process.wait(END_TIME_LIMIT_S)
            except subprocess.TimeoutExpired:
                ended = False
                self.kill()
        assert ended, f"arv-mount did not end:\n{self.log}"
        if check_log and self.command == ARV_MOUNT:
            assert not self.trouble(), f"unexpected log lines: {self.trouble()}"

    def trouble(self) -> list[str]:
        """Log lines that no test has said it expects."""
        lines = [line for line in self.log.splitlines() if _TROUBLE.search(line)]
        return [x for x in lines if not any(re.search(e, x) for e in self.expected_log)]


def is_alive(directory: Path) -> bool:
    """Whether a FUSE file system is mounted on `directory`, and answers."""
    try:
        return is_mounted(directory) and bool(os.statvfs(directory))
    except OSError:
        return False


def is_mounted(directory: Path) -> bool:
    """Whether a FUSE file system is mounted on `directory`, alive or dead."""
    mounts = Path("/proc/mounts").read_text()
    return f" {str(directory).replace(' ', chr(92) + '040')} fuse" in mounts
