"""Command lines that cannot work: one sentence says why, and nothing is mounted."""

import os
import subprocess
import sys
from pathlib import Path

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
    long = tmp_path / ("x" * 256)
    for place, reason in (
        (tmp_path / "file", "File exists"),
        ("/proc/x", "No such file"),
        (long, "File name too long"),
    ):
        said = refused("--read-write", "--journal-dir", place)
        assert said.startswith(f"arv-mount: The journal cannot be in {place}: {reason}")
        assert said.endswith(". Choose another place with --journal-dir.\n")


def test_a_directory_with_a_name_of_the_mounts_own(refused):
    assert "does not begin with .arvados#." in refused("--mount-home", ".arvados#mount")


def test_a_temporary_collection_that_could_not_be_written_to(refused):
    assert "needs a mount that is made with --read-write" in refused("--mount-tmp", "tmp")


def test_keep_services_that_have_no_address(env, refused):
    env["ARVADOS_KEEP_SERVICES"] = "http://127.0.0.1:port/"
    assert "ARVADOS_KEEP_SERVICES must hold URLs such as" in refused()


@pytest.mark.parametrize("token", ["v2/zzzzz\nX-Other: 1", "tokén", "to\x01ken"])
def test_a_token_that_none_can_be(env, refused, token):
    """Not that the host is no API server: that is not where one has to look."""
    env["ARVADOS_API_TOKEN"] = token
    said = refused()
    assert said == (
        "arv-mount: ARVADOS_API_TOKEN has characters that no token has: copy it again, in one"
        " line.\n"
    )


def test_settings_with_the_line_feed_of_a_file(env, mount):
    """A shell takes it away, but the definition of a container does not."""
    for name in ("ARVADOS_API_HOST", "ARVADOS_API_TOKEN"):
        env[name] += "\n"
    running = mount()
    assert "home" in os.listdir(running.directory)


def test_relative_paths_in_the_background(env, tmp_path):
    """The mount leaves the directory in which it was started."""
    (tmp_path / "mnt").mkdir()
    options = ("--journal-dir", "state/journal", "--disk-cache-dir", "cache/keep")
    start = [ARV_MOUNT, "--read-write", *options, "mnt"]
    subprocess.run(start, cwd=tmp_path, env=env, check=True, timeout=30)
    try:
        collection = tmp_path / "mnt/home" / "relative"
        collection.mkdir()
        (collection / "file").write_bytes(b"content")
        assert (collection / ".arvados#commit").read_bytes()
        assert (collection / "file").read_bytes() == b"content"
        assert [*(tmp_path / "state/journal").glob("*/*-4zz18-*")]
        assert (tmp_path / "cache/keep").is_dir()
    finally:
        subprocess.run([ARV_MOUNT, "--unmount", "mnt"], cwd=tmp_path, check=True, timeout=30)


ROOT = Path(__file__).parents[2]
WITHOUT_PACKAGES = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.mark.parametrize("command", ["arv-mount", "arv-standalone"])
def test_a_python_without_our_packages(command, tmp_path):
    """The script in the clone, run with the Python of the system."""
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "bin" / command, tmp_path],
        env=WITHOUT_PACKAGES,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"{command}: {sys.executable} has no module arvados_fuse: run `make setup` in the clone,"
        f" and then .venv/bin/{command}.\n"
    )


def test_a_python_without_the_packages_that_we_need(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "bin" / "arv-mount", tmp_path],
        env=WITHOUT_PACKAGES | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"arv-mount: {sys.executable} lacks something that arv-mount")
    assert "No module named" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_disk_cache_without_a_name(env, tmp_path):
    """A variable of the shell that was not set: not the usual place, and not the current one."""
    for option in ("--disk-cache-dir", "--journal-dir", "--standalone-dir"):
        done = subprocess.run(
            [ARV_MOUNT, option, "", tmp_path], env=env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 2
        assert f"argument {option}: the name of a directory is needed" in done.stderr
