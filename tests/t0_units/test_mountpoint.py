"""The directory to mount on: fit or not, and what stands in the way."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from arvados_fuse.command.mountpoint import mounted_at, prepare, unmount
from arvados_fuse.command.problem import CommandError

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "mount point\twith\\odd name"
    directory.mkdir()
    return directory


@pytest.fixture
def mounted(directory):
    """Mount empty file systems, one over the other; they are gone at the end."""
    daemons = []

    def mount() -> subprocess.Popen:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "tests.support.empty_mount", directory],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        daemons.append(daemon)
        assert daemon.stdout.readline() == b"ready\n"
        return daemon

    yield mount
    for daemon in daemons:
        subprocess.run(["fusermount", "-u", "-z", directory], capture_output=True, check=False)
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


def killed(daemon: subprocess.Popen) -> None:
    daemon.kill()
    daemon.wait()


def refusal(directory: Path) -> str:
    """Prepare a directory that is not fit; return the one line that says why."""
    with pytest.raises(CommandError) as caught:
        prepare(directory)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
    return str(caught.value)


class TestPrepare:
    def test_an_empty_directory_is_fit_and_stays_as_it_is(self, directory):
        prepare(directory)
        assert os.listdir(directory) == []

    def test_a_missing_one_says_how_to_make_it(self, tmp_path):
        assert f"mkdir -p {tmp_path / 'x'}" in refusal(tmp_path / "x")

    def test_a_file_is_no_directory(self, tmp_path):
        file = tmp_path / "file"
        file.touch()
        assert refusal(file).endswith("is not a directory.")
        assert refusal(file / "below").endswith("is not a directory.")

    def test_a_directory_with_something_in_it_would_hide_that(self, directory):
        (directory / ".hidden").touch()
        line = refusal(directory)
        assert "not empty" in line
        assert "'.hidden'" in line

    def test_a_loop_of_links_cannot_be_read(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        assert "cannot be read" in refusal(tmp_path / "loop")

    def test_a_living_mount_is_left_alone(self, directory, mounted):
        daemon = mounted()
        line = refusal(directory)
        assert "already a mount point (arvados:test.example, fuse)" in line
        assert f"fusermount -u {directory}" in line
        assert daemon.poll() is None
        assert os.listdir(directory) == []

    def test_what_is_not_of_fuse_is_not_to_be_unmounted(self):
        line = refusal(Path("/proc"))
        assert "already a mount point (proc, proc). Choose an empty directory." in line

    def test_a_dead_mount_is_named_and_cleared(self, directory, mounted, expected_log):
        killed(mounted())
        with pytest.raises(OSError, match="not connected"):
            os.listdir(directory)
        with expected_log("Cleared the dead mount of arvados:test.example on "):
            prepare(directory)
        assert mounted_at(directory) is None
        assert os.listdir(directory) == []

    @pytest.mark.expects_log("Cleared the dead mount")
    def test_dead_mounts_one_over_the_other_are_all_cleared(self, directory, mounted):
        daemons = [mounted(), mounted()]
        for daemon in daemons:
            killed(daemon)
        prepare(directory)
        assert mounted_at(directory) is None

    @pytest.mark.expects_log("Cleared the dead mount")
    def test_a_dead_mount_behind_a_link_is_cleared(self, directory, mounted, tmp_path):
        (tmp_path / "link").symlink_to(directory)
        killed(mounted())
        prepare(tmp_path / "link")
        assert mounted_at(directory) is None

    def test_a_living_mount_behind_a_link_is_seen(self, directory, mounted, tmp_path):
        (tmp_path / "link").symlink_to(directory)
        mounted()
        assert "already a mount point" in refusal(tmp_path / "link")

    def test_a_dead_mount_that_cannot_be_cleared_is_not_said_to_be(
        self, directory, mounted, monkeypatch
    ):
        killed(mounted())
        with monkeypatch.context() as nothing_found:
            nothing_found.setenv("PATH", "/nowhere")
            nothing_found.setattr(os, "defpath", "/nowhere")
            line = refusal(directory)
        assert "The program fusermount is not there: install the package fuse3." in line

    @pytest.mark.expects_log("Cleared the dead mount")
    def test_the_program_that_clears_is_found_where_programs_are(
        self, directory, mounted, monkeypatch
    ):
        killed(mounted())
        with monkeypatch.context() as little_found:
            little_found.setenv("PATH", "/nowhere")
            prepare(directory)
        assert mounted_at(directory) is None

    def test_a_mount_of_another_user_is_theirs_to_unmount(self, directory, mounted, monkeypatch):
        mounted()
        with monkeypatch.context() as another:
            another.setattr(os, "geteuid", lambda: NOBODY)
            line = refusal(directory)
        assert line.endswith("only they and root can unmount it. Choose another directory.")
        assert f"It was mounted by {pwd.getpwuid(os.getuid()).pw_name};" in line


class TestMountedAt:
    def test_says_what_is_mounted(self, directory, mounted):
        assert mounted_at(directory) is None
        mounted()
        found = mounted_at(directory)
        assert (found.kind, found.source) == ("fuse", "arvados:test.example")

    def test_a_directory_inside_a_mount_is_none(self):
        assert mounted_at(Path("/proc")) is not None
        assert mounted_at(Path("/proc/self")) is None

    def test_does_not_touch_a_dead_mount(self, directory, mounted):
        killed(mounted())
        assert mounted_at(directory) is not None


class TestUnmount:
    def test_ends_the_daemon(self, directory, mounted):
        daemon = mounted()
        unmount(directory)
        assert mounted_at(directory) is None
        assert daemon.wait(10) == 0

    def test_may_be_done_while_the_mount_is_in_use(self, directory, mounted):
        mounted()
        inside = os.open(directory, os.O_RDONLY)
        try:
            unmount(directory)
            assert mounted_at(directory) is None
        finally:
            os.close(inside)

    def test_of_what_is_not_mounted_does_nothing(self, directory):
        unmount(directory)
