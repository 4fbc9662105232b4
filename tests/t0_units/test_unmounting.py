"""What ends a connection whose daemon does not, whether the kernel shows connections or not."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arvados_fuse.command import unmounting
from arvados_fuse.command.mountpoint import mounted_at
from arvados_fuse.command.unmounting import unmount_here

ROOT = Path(__file__).parents[2]


@pytest.fixture
def daemon(tmp_path):
    """The process of an empty file system, mounted on tmp_path/mnt."""
    (tmp_path / "mnt").mkdir()
    command = [sys.executable, "-m", "tests.support.empty_mount", tmp_path / "mnt"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        subprocess.run(["fusermount", "-u", "-z", command[-1]], capture_output=True, check=False)
        process.kill()


@pytest.fixture
def connections(monkeypatch, tmp_path):
    """A directory in place of the kernel's."""
    directory = tmp_path / "connections"
    monkeypatch.setattr(unmounting, "CONNECTIONS", str(directory))
    return directory


def shown(connections: Path, number: int) -> Path:
    """Let the connection of this number be shown; return its directory."""
    connection = connections / str(number)
    connection.mkdir(parents=True)
    (connection / "abort").touch()
    (connection / "waiting").touch()
    return connection


def test_a_connection_that_stays_is_ended_after_the_time_limit(daemon, connections, tmp_path):
    connection = shown(connections, mounted_at(tmp_path / "mnt").device)
    unmount_here(tmp_path / "mnt", "", 0.05)
    assert (connection / "abort").read_text() == "1"
    assert mounted_at(tmp_path / "mnt") is None


def test_a_connection_that_goes_is_left_alone(daemon, connections, tmp_path):
    connection = shown(connections, mounted_at(tmp_path / "mnt").device)
    threading.Timer(0.1, (connection / "waiting").unlink).start()
    unmount_here(tmp_path / "mnt", "", 60)
    assert (connection / "abort").read_text() == ""


def test_where_connections_are_not_shown_the_place_is_freed_all_the_same(
    daemon, connections, tmp_path
):
    unmount_here(tmp_path / "mnt", "", 60)
    assert mounted_at(tmp_path / "mnt") is None
