"""The event bus as a process of its own, seen from the process of the cluster.

Listeners cost an interpreter much time, a thousand of them more than all that they listen to. Here,
a change costs one byte into a pipe, however many listen. What ``eventserver`` serves, it reads from
the database for itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from arvados_fuse.standalone import interpreter
from arvados_fuse.standalone.faults import Faults, answer_questions

__all__ = ["EventProcess"]

logger = logging.getLogger(__name__)

_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 60.0
_END_TIME_LIMIT_S = 3.0


class EventProcess:
    """Runs the event bus of the cluster on the directory `place`, again and again if it dies.

    listening: the socket of the bus. It is kept here too, so who connects while there is no process
        is served by the next one.
    """

    def __init__(self, place: Path, listening: socket.socket, faults: Faults | None) -> None:
        self._place = place
        self._listening = listening
        self._faults = faults
        self._process: asyncio.subprocess.Process | None = None
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)

    def wake(self) -> None:
        """Tell that the log may have new entries. May be called from any thread."""
        # A full pipe will wake it as well.
        with suppress(BlockingIOError):
            os.write(self._wake_writer, b"!")

    async def run(self) -> None:
        """Keep the process running, until cancelled; then end it."""
        loop = asyncio.get_running_loop()
        pause_s = _SHORTEST_PAUSE_S
        try:
            while True:
                start = loop.time()
                try:
                    problem = f"ended with status {await self._run_once()}"
                except OSError as error:
                    problem = f"cannot be started: {error}"
                logger.error("the event bus %s; it is started again", problem)
                has_lasted = loop.time() - start > _LONGEST_PAUSE_S
                pause_s = _SHORTEST_PAUSE_S if has_lasted else min(2 * pause_s, _LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
        finally:
            await self._end()

    async def _run_once(self) -> int:
        """Start the process, and return its exit status when it has ended."""
        descriptors = {"listening": self._listening.fileno(), "wake": self._wake_reader}
        ours = theirs = None
        answering: asyncio.Task[None] | None = None
        if self._faults is not None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            descriptors["faults"] = theirs.fileno()
            answering = asyncio.create_task(answer_questions(self._faults, ours))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "arvados_fuse.standalone.eventserver", str(self._place)),
                *(f"--{name}={number}" for name, number in descriptors.items()),
                pass_fds=tuple(descriptors.values()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env=interpreter.environment(),
            )
            return await self._process.wait()
        finally:
            if answering is not None:
                answering.cancel()
            for one in (ours, theirs):
                if one is not None:
                    one.close()

    async def _end(self) -> None:
        os.close(self._wake_writer)
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), _END_TIME_LIMIT_S)
            except asyncio.TimeoutError:
                self._process.kill()
                await self._process.wait()
        os.close(self._wake_reader)
