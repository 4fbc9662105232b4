"""`--exec`: the command's exit code, its signals, and the end of the mount."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from arvados_fuse.command import background, execute
from arvados_fuse.command.problem import CommandError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """Run a command beside a process that stands for the mount, which ends when it is told."""
    mounts = []

    def run(*command: str) -> int:
        mount = subprocess.Popen([sys.executable, "-c", "pass"])
        mounts.append(mount)
        return execute.run(command, tmp_path, lambda: mount.pid)

    yield run
    for mount in mounts:
        with pytest.raises(ChildProcessError):  # it was waited for
            os.waitpid(mount.pid, os.WNOHANG)
        mount.returncode = 0  # or Popen would look for it


class TestExitCode:
    @pytest.mark.parametrize("code", [0, 1, 3, 255])
    def test_is_that_of_the_command(self, run, code):
        assert run("sh", "-c", f"exit {code}") == code

    def test_of_a_command_that_a_signal_ended_is_its_negative_number(self, run):
        assert run("sh", "-c", "kill -TERM $$") == -signal.SIGTERM

    def test_of_a_command_that_is_not_there_is_the_errno(self, run, capfd):
        assert run("no-such-command-anywhere", "x") == 2
        expected = "arv-mount: cannot run no-such-command-anywhere: No such file or directory\n"
        assert capfd.readouterr().err == expected

    def test_of_a_file_that_is_no_program_is_the_errno(self, run, tmp_path, capfd):
        file = tmp_path / "text"
        file.touch(mode=0o644)
        assert run(str(file)) == 13
        assert "Permission denied" in capfd.readouterr().err


class TestEnd:
    """The mount takes long to end, as it does when it has much to save."""

    def test_is_hurried_by_sigint_alone(self, tmp_path, monkeypatch):
        monkeypatch.setattr(execute, "SAME_SIGNAL_S", 0.0)
        mount = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read(1)"], stdin=subprocess.PIPE
        )
        for delay_s, number in ((0.5, signal.SIGTERM), (1.0, signal.SIGINT)):
            threading.Timer(delay_s, os.kill, (os.getpid(), number)).start()
        code = execute.run(["true"], tmp_path, lambda: mount.pid, may_have_changes=True)
        assert code == -signal.SIGINT
        mount.returncode = code
        mount.stdin.close()

    def test_is_not_hurried_by_what_was_meant_for_the_command(self, tmp_path, monkeypatch):
        monkeypatch.setattr(execute, "SAME_SIGNAL_S", 1000.0)
        mount = subprocess.Popen(["sleep", "1"])
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert execute.run(["true"], tmp_path, lambda: mount.pid, may_have_changes=True) == 0
        mount.returncode = 0


class TestCommand:
    def test_runs_without_a_shell_with_our_output(self, run, capfd):
        assert run("echo", "$HOME", "*") == 0
        assert capfd.readouterr().out == "$HOME *\n"

    def test_runs_in_the_directory_of_the_user(self, run, capfd, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        run("pwd")
        assert capfd.readouterr().out == f"{tmp_path}\n"

    def test_leaves_the_handling_of_signals_as_it_was(self, run):
        before = [signal.getsignal(number) for number in execute.FORWARDED]
        run("true")
        assert [signal.getsignal(number) for number in execute.FORWARDED] == before


SCRIPT = """
import subprocess, sys
from pathlib import Path
from arvados_fuse.command import background, execute
mount = subprocess.Popen([sys.executable, "-c", "pass"])
code = execute.run(sys.argv[2:], Path(sys.argv[1]), lambda: mount.pid)
mount.returncode = 0
sys.exit(code)
"""

COMMAND = """
import os, signal, sys, time
def caught(number, frame):
    os.write(1, f"got {{signal.Signals(number).name}}\\n".encode())
    os._exit(42)
signal.signal(signal.{name}, caught)
os.write(1, b"ready\\n")
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_signals_are_for_the_command(tmp_path, name):
    """We pass them on and end as the command ends."""
    us = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path, sys.executable, "-c", COMMAND.format(name=name)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with us:
        assert us.stdout.readline() == "ready\n"
        us.send_signal(getattr(signal, name))
        assert us.stdout.readline() == f"got {name}\n"
        assert us.wait(10) == 42


def test_a_mount_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "END_TIME_LIMIT_S", 0.05)
    mount = subprocess.Popen(["sleep", "600"])
    began = time.monotonic()
    assert execute.run(["true"], tmp_path, lambda: mount.pid) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(mount.pid, 0)
    mount.returncode = 0
    assert time.monotonic() - began < 600


class TestMountWithChanges:
    @pytest.mark.parametrize(("command", "mount", "code"), [(0, 75, 75), (3, 75, 3), (0, 0, 0)])
    def test_its_failure_counts_where_the_command_succeeds(self, tmp_path, command, mount, code):
        process = subprocess.Popen(["sh", "-c", f"exit {mount}"])
        run = ["sh", "-c", f"exit {command}"]
        assert execute.run(run, tmp_path, lambda: process.pid, may_have_changes=True) == code
        process.returncode = 0  # execute has waited for it

    def test_is_given_the_time_that_saving_takes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(background, "END_TIME_LIMIT_S", 0.0)
        process = subprocess.Popen(["sh", "-c", "sleep 0.3; exit 75"])
        assert execute.run(["true"], tmp_path, lambda: process.pid, may_have_changes=True) == 75
        process.returncode = 0


class TestSignalBeforeTheCommand:
    def test_ends_the_start(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            execute.run(["true"], tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM) or 0)

    def test_is_kept_for_a_command_that_is_just_starting(self, tmp_path, monkeypatch):
        mount = subprocess.Popen([sys.executable, "-c", "pass"])
        popen = subprocess.Popen

        def interrupted(command, **options):
            if command == ["sleep", "600"]:
                os.kill(os.getpid(), signal.SIGTERM)
            return popen(command, **options)

        monkeypatch.setattr(subprocess, "Popen", interrupted)
        assert execute.run(["sleep", "600"], tmp_path, lambda: mount.pid) == -signal.SIGTERM
        mount.returncode = 0  # execute has waited for it


def test_mount_that_cannot_be_unmounted_does_not_hide_the_exit_code(tmp_path, monkeypatch, capfd):
    def refuse(directory):
        raise CommandError(f"Cannot unmount {directory}: no")

    monkeypatch.setattr(execute.mountpoint, "unmount", refuse)
    mount = subprocess.Popen([sys.executable, "-c", "pass"])
    assert execute.run(["sh", "-c", "exit 5"], tmp_path, lambda: mount.pid) == 5
    assert "Cannot unmount" in capfd.readouterr().err
    mount.returncode = 0
