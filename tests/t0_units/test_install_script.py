"""`scripts/install-debian-packages`: what is missing is installed, or root is asked for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install-debian-packages"
FOR_A_MOUNT = ("python3", "pkg-config", "cc", "fusermount")
FOR_TESTS = re.findall(r"sh -c 'command -v (\w+)'", SCRIPT.read_text().partition("tests ]")[2])
RECORD = 'echo "$0 $*" >>"$RECORD"'


class Machine:
    """A machine that has only the programs that a test gives it."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "bin"
        self.programs.mkdir()
        self.record = directory / "record"
        self.record.touch()
        self.have("sh", 'exec /bin/sh "$@"')
        self.have("env", 'exec /usr/bin/env "$@"')
        self.have("id", "echo 1000")
        self.have("apt-get", RECORD)
        for name in FOR_A_MOUNT:
            self.have(name)

    def have(self, name: str, does: str = "exit 0") -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)

    def lack(self, name: str) -> None:
        (self.programs / name).unlink()

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments],
            env={"PATH": str(self.programs), "RECORD": str(self.record)},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_where_all_is_there_nothing_is_done_and_no_rights_are_needed(machine: Machine) -> None:
    done = machine.install()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.record.read_text() == ""


def test_a_mount_does_not_need_what_the_tests_need(machine: Machine) -> None:
    assert machine.install().returncode == 0
    done = machine.install("tests")
    assert done.returncode == 1
    assert "rsync git make sqlite3 fio strace iproute2" in done.stderr
    assert "fio" in FOR_TESTS
    for name in FOR_TESTS:
        machine.have(name)
    assert machine.install("tests").returncode == 0


def test_without_sudo_it_says_what_root_has_to_do(machine: Machine) -> None:
    machine.lack("fusermount")
    done = machine.install()
    assert done.returncode == 1
    assert "there is no sudo here: fuse3" in done.stderr
    assert done.stderr.endswith("Have root run this, and try again: apt-get install fuse3\n")
    assert machine.record.read_text() == ""


def test_with_sudo_it_is_installed(machine: Machine) -> None:
    machine.lack("cc")
    machine.have("sudo", f'{RECORD}\nexec "$@"')
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "Installing Debian packages: gcc" in done.stdout
    update, sudo_install = (
        line for line in machine.record.read_text().splitlines() if "/sudo " in line
    )
    assert update.endswith("apt-get -qq update")
    assert sudo_install.endswith(" -y gcc")


def test_root_needs_no_sudo(machine: Machine) -> None:
    machine.lack("cc")
    machine.have("id", "echo 0")
    assert machine.install().returncode == 0
    assert machine.record.read_text().endswith(" -y gcc\n")


def test_a_sudo_that_refuses_says_what_root_has_to_do(machine: Machine) -> None:
    machine.lack("cc")
    machine.have("sudo", "echo you are not in the sudoers file >&2; exit 1")
    done = machine.install()
    assert done.returncode == 1
    assert "sudoers" in done.stderr
    assert done.stderr.endswith("apt-get install gcc\n")


def test_elsewhere_than_on_debian_it_says_what_is_missing(machine: Machine) -> None:
    machine.lack("apt-get")
    machine.lack("cc")
    assert "there is no apt-get here: gcc" in machine.install().stderr
