"""As many threads answer the kernel as have something to do; nobody waits who could be answered.

The kernel is a pipe here, and llfuse's loop is one that reads a byte for each request.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress

import pytest

from arvados_fuse.command import crew as crew_module
from arvados_fuse.command.crew import Crew
from tests.support.patience import wait_until

TIME_LIMIT_S = 20.0
"""A test that has to wait so long has failed."""

NEVER_S = 1000.0
"""Until somebody is dismissed, where nobody is to be."""


class Kernel:
    """Sends requests to a crew, and sees who answers them.

    device: where the crew reads requests
    answered: the threads that answered, in the order of their answers
    """

    def __init__(self, **settings: float) -> None:
        self.device, self._writer = os.pipe()
        self._requests: dict[bytes, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self.answered: list[int] = []
        self.crew = Crew(self._loop, **settings)  # type: ignore[arg-type]
        self.released = self.crew.released(nullcontext())

    def serve(self, play: Callable[[], None]) -> None:
        """Let the crew serve while a thread does `play`, which unmounts at its end."""
        failures = []

        def run() -> None:
            try:
                play()
            except BaseException as error:
                failures.append(error)
            finally:
                self.unmount()

        player = threading.Thread(target=run)
        player.start()
        try:
            self.crew.serve(self.device)
        finally:
            player.join(TIME_LIMIT_S)
        for failure in failures:
            raise failure

    def send(self, request: Callable[[], None] = lambda: None) -> threading.Event:
        """Send a request; return what is set when it is answered."""
        done = threading.Event()

        def answer() -> None:
            request()
            self.answered.append(threading.get_ident())
            done.set()

        with self._lock:
            key = bytes([len(self._requests) % 256])
            self._requests.setdefault(key, answer)
            if self._requests[key] is not answer:
                raise AssertionError("too many requests for a test")
        os.write(self._writer, key)
        return done

    def ask(self, request: Callable[[], None] = lambda: None) -> None:
        """Send a request and wait for its answer."""
        assert self.send(request).wait(TIME_LIMIT_S), "nobody has answered"

    def unmount(self) -> None:
        """Send no more requests."""
        with suppress(OSError):
            os.close(self._writer)

    def close(self) -> None:
        """Give back what the test has not."""
        self.unmount()
        os.close(self.device)

    def _loop(self) -> None:
        while key := os.read(self.device, 1):
            with self._lock:
                answer = self._requests[key]
            answer()

    @property
    def workers(self) -> int:
        """How many threads of the crew there are."""
        return sum(thread.name == crew_module.WORKER_NAME for thread in threading.enumerate())


@pytest.fixture
def kernel() -> Iterator[Callable[..., Kernel]]:
    """Make kernels. The signal that wakes workers means afterwards what it meant before."""
    before = signal.getsignal(signal.SIGUSR1)
    made: list[Kernel] = []

    def make(**settings: float) -> Kernel:
        made.append(Kernel(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
    signal.signal(signal.SIGUSR1, before)


class Wait:
    """A request that waits for something slow. begun: it waits; end: lets it go on."""

    def __init__(self, kernel: Kernel) -> None:
        self._released = kernel.released
        self.begun = threading.Event()
        self.end = threading.Event()

    def __call__(self) -> None:
        with self._released:
            self.begun.set()
            assert self.end.wait(TIME_LIMIT_S)


def test_one_thread_answers_while_nobody_waits(kernel):
    made = kernel()

    def play() -> None:
        for _ in range(50):
            made.ask()
        assert made.workers == 1

    made.serve(play)
    assert len(set(made.answered)) == 1


def test_whoever_waits_leaves_somebody_who_answers(kernel):
    made = kernel(most=10, idle_s=NEVER_S)

    def play() -> None:
        waits = [Wait(made) for _ in range(9)]
        for wait in waits:
            made.send(wait)
            assert wait.begun.wait(TIME_LIMIT_S)
            made.ask()
        for wait in waits:
            wait.end.set()

    made.serve(play)
    assert len(made.answered) == 18


def test_beyond_the_limit_requests_wait_for_the_first_that_is_done(kernel):
    made = kernel(most=3, idle_s=NEVER_S)

    def play() -> None:
        waits = [Wait(made) for _ in range(3)]
        for wait in waits:
            made.send(wait)
            assert wait.begun.wait(TIME_LIMIT_S)
        assert made.workers == 3
        later = made.send()
        assert not later.wait(0.05)
        waits[1].end.set()
        assert later.wait(TIME_LIMIT_S)
        waits[0].end.set()
        waits[2].end.set()

    made.serve(play)


def test_who_is_not_needed_any_more_is_dismissed(kernel):
    made = kernel(idle_s=0.01)

    def play() -> None:
        waits = [Wait(made) for _ in range(5)]
        for wait in waits:
            made.send(wait)
            assert wait.begun.wait(TIME_LIMIT_S)
        assert made.workers == 6
        for wait in waits:
            wait.end.set()
        wait_until(lambda: made.workers == 1)
        made.ask()

    made.serve(play)


def test_who_waits_is_not_dismissed(kernel):
    made = kernel(idle_s=0.001)

    def play() -> None:
        wait = Wait(made)
        answered = made.send(wait)
        assert wait.begun.wait(TIME_LIMIT_S)
        for _ in range(50):
            made.ask()
            time.sleep(0.001)
        assert made.workers == 2
        wait.end.set()
        assert answered.wait(TIME_LIMIT_S)

    made.serve(play)


def test_no_request_is_lost_while_threads_come_and_go(kernel):
    """Threads are dismissed all the time, while two clients send requests that wait at times."""
    made = kernel(most=4, idle_s=0.0)
    numbers = random.Random(1)

    def wait_a_moment() -> None:
        with made.released:
            time.sleep(0.0005)

    def client() -> None:
        for _ in range(60):
            made.ask(wait_a_moment if numbers.random() < 0.5 else lambda: None)

    def play() -> None:
        clients = [threading.Thread(target=client) for _ in range(2)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()

    made.serve(play)
    assert len(made.answered) == 120


def test_each_open_file_has_a_thread_that_may_be_copying_from_it(kernel):
    made = kernel(most=4, idle_s=0.01)

    def play() -> None:
        made.ask(lambda: made.crew.files_open(3))
        assert made.workers == 3
        made.ask(lambda: made.crew.files_open(100))
        assert made.workers == 4
        made.ask(lambda: made.crew.files_open(0))
        wait_until(lambda: made.workers == 1)

    made.serve(play)


def test_who_was_needed_a_moment_ago_stays_when_a_file_is_closed(kernel):
    """Who copies files one after the other opens and closes all the time."""
    made = kernel(most=4, idle_s=NEVER_S)

    def play() -> None:
        made.ask(lambda: made.crew.files_open(3))
        made.ask(lambda: made.crew.files_open(1))
        time.sleep(0.05)
        assert made.workers == 3

    made.serve(play)


def test_other_threads_give_the_lock_up_without_being_counted(kernel):
    made = kernel(idle_s=NEVER_S)

    def play() -> None:
        made.ask()
        with made.released:
            assert made.workers == 1

    made.serve(play)


def test_the_end_waits_for_the_last_answer(kernel):
    made = kernel(idle_s=NEVER_S)

    def play() -> None:
        wait = Wait(made)
        answered = made.send(wait)
        assert wait.begun.wait(TIME_LIMIT_S)
        made.unmount()
        wait_until(lambda: made.workers == 1)
        assert not answered.is_set()
        wait.end.set()

    made.serve(play)
    assert made.workers == 0
    assert len(made.answered) == 1


def test_a_failure_is_raised_also_while_others_wait(kernel):
    made = kernel(idle_s=NEVER_S)
    wait = Wait(made)

    def play() -> None:
        made.send(wait)
        assert wait.begun.wait(TIME_LIMIT_S)
        made.send({}.popitem)
        wait_until(lambda: made.workers == 1)

    with pytest.raises(KeyError):
        made.serve(play)
    wait.end.set()
    wait_until(lambda: made.workers == 0)


def test_a_loop_that_ends_before_the_mount_is_a_failure(kernel):
    made = kernel()
    made.crew = Crew(lambda: None)
    with pytest.raises(RuntimeError, match="Nobody answers the kernel any more"):
        made.crew.serve(made.device)


@pytest.mark.expects_log("This system allows no more than 1 threads for requests")
def test_where_no_thread_can_be_had_those_that_are_there_go_on(kernel, monkeypatch):
    made = kernel(idle_s=NEVER_S)

    class NoMore(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    def play() -> None:
        made.ask()
        monkeypatch.setattr(crew_module.threading, "Thread", NoMore)
        wait = Wait(made)
        wait.end.set()
        made.ask(wait)
        made.ask()

    made.serve(play)
    assert len(made.answered) == 3
