"""Command lines that cannot work: one sentence says why, and nothing is mounted."""

import subprocess

import pytest

from tests.support.mounts import ARV_MOUNT, is_mounted


@pytest.fixture
def refused(env, tmp_path):
    """Try a command line that is refused with code 1; return what it says."""

    def run(*arguments):
        directory = tmp_path / "mnt"
        directory.mkdir(exist_ok=True)
        done = subprocess.run(
            [ARV_MOUNT, *arguments, directory], env=env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert not is_mounted(directory)
        return done.stderr

    return run


def test_a_journal_that_cannot_be_made(refused, tmp_path):
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path / "file", "File exists"), ("/proc/x", "No such file")):
        said = refused("--read-write", "--journal-dir", place)
        assert said.startswith(f"arv-mount: The journal cannot be in {place}: {reason}")
        assert said.endswith(". Choose another place with --journal-dir.\n")


def test_a_directory_with_a_name_of_the_mounts_own(refused):
    assert "does not begin with .arvados#." in refused("--mount-home", ".arvados#mount")
