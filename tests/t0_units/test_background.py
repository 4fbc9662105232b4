"""A process of its own for the mount: it is ready, or we know why not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arvados_fuse.command import background
from arvados_fuse.command.problem import CommandError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path):
    """Start mount processes; they are gone at the end."""
    processes = []

    def start(serve, mount_dir=tmp_path, *, keep_output=True) -> int:
        processes.append(background.start(serve, mount_dir, keep_output=keep_output))
        return processes[-1]

    yield start
    for process in processes:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def until_killed(ready) -> int:
    ready()
    while True:
        time.sleep(60)


def refusal(start, serve) -> CommandError:
    """Start a process that does not get ready; return what is said about it."""
    with pytest.raises(CommandError) as caught:
        start(serve)
    return caught.value


class TestStart:
    def test_returns_the_process_when_it_is_ready(self, start, tmp_path):
        def serve(ready) -> int:
            (tmp_path / "mounted").write_text(str(os.getpid()))
            return until_killed(ready)

        process = start(serve)
        assert (tmp_path / "mounted").read_text() == str(process)

    def test_the_process_is_a_session_of_its_own(self, start):
        """So that Ctrl-C in the terminal does not end the mount."""
        process = start(until_killed)
        assert os.getsid(process) == process

    def test_reason_and_exit_code_of_a_failure_are_passed_on(self, start):
        def serve(ready) -> int:
            raise CommandError("The moon is in the wrong house: wait.", 7)

        error = refusal(start, serve)
        assert str(error) == "The moon is in the wrong house: wait."
        assert error.exit_code == 7

    def test_a_defect_is_shown_whole(self, start):
        def serve(ready) -> int:
            return 1 // 0

        error = refusal(start, serve)
        assert "ZeroDivisionError" in str(error)
        assert "Traceback" in str(error)
        assert error.exit_code == 1

    def test_death_without_a_word_is_reported(self, start):
        def serve(ready) -> int:
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        error = refusal(start, serve)
        assert str(error) == "The mount process ended with -9."
        assert error.exit_code == 1

    def test_an_end_without_a_word_is_reported(self, start):
        error = refusal(start, lambda ready: 3)
        assert str(error) == "The mount process ended with 3."
        assert error.exit_code == 3

    def test_an_end_before_it_was_ready_is_no_success(self, start):
        assert refusal(start, lambda ready: 0).exit_code == 1

    def test_a_mount_that_does_not_answer_is_no_success(self, start, tmp_path):
        with pytest.raises(CommandError, match="is mounted but does not work: No such file"):
            start(until_killed, tmp_path / "not there")

    @pytest.mark.parametrize("gets_ready", [True, False])
    def test_no_process_is_left_after_a_failure(self, start, tmp_path, gets_ready):
        def serve(ready) -> int:
            (tmp_path / "pid").write_text(str(os.getpid()))
            return until_killed(ready) if gets_ready else 3

        with pytest.raises(CommandError):
            start(serve, tmp_path / "not there")
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)

    def test_readiness_is_reported_once(self, start):
        def serve(ready) -> int:
            ready()
            return until_killed(ready)

        assert start(serve) > 0


SCRIPT = """
import logging, os, sys
from pathlib import Path
from arvados_fuse.command import background

def serve(ready):
    logging.basicConfig(filename="log")
    print("before", flush=True)
    ready()
    print("after", flush=True)
    {then}
    return 0

process = background.start(serve, Path("/"), keep_output={keep_output})
os.waitpid(process, 0)
"""


def run(directory: Path, *, keep_output: bool, then: str = "pass") -> tuple[str, str]:
    """Run a mount process that ends by itself; return what it printed and what it logged.

    In a process of its own, because pytest catches the output of this one.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep_output=keep_output, then=then)],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout, (directory / "log").read_text()


class TestOutput:
    def test_the_terminal_is_left_when_the_mount_is_ready(self, tmp_path):
        assert run(tmp_path, keep_output=False)[0] == "before\n"

    def test_the_terminal_is_kept_for_exec(self, tmp_path):
        assert run(tmp_path, keep_output=True)[0] == "before\nafter\n"

    def test_the_working_directory_is_left_so_that_it_can_be_unmounted(self, tmp_path):
        then = f"open({str(tmp_path / 'where')!r}, 'w').write(os.getcwd())"
        run(tmp_path, keep_output=False, then=then)
        assert (tmp_path / "where").read_text() == "/"

    def test_a_crash_after_the_start_is_in_the_log(self, tmp_path):
        """Nobody reads the report any more, and standard error may be gone."""
        _, logged = run(tmp_path, keep_output=False, then="1 // 0")
        assert "The mount process crashed" in logged
        assert "ZeroDivisionError" in logged
        assert "Traceback" in logged
