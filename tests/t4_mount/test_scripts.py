"""What `make mount` and `make unmount` run, in a home in which nothing has been before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
ARV_MOUNT = Path(sys.executable).with_name("arv-mount")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is empty."""
    home = tmp_path / "home"
    home.mkdir()
    return home


def run(home: Path, *command: str | Path) -> str:
    """Run a command with that home and without settings; returns what it prints."""
    settings = {name: v for name, v in os.environ.items() if not name.startswith("ARVADOS_")}
    done = subprocess.run(
        command,
        env={**settings, "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cluster_is_made_mounted_and_ended_and_comes_back(home: Path) -> None:
    """Twice: what was written the first time is there the second time."""
    mount, data = home / "keep", home / "data" / "arvados-standalone"
    for count in (1, 2):
        said = run(home, SCRIPTS / "mount-standalone", ARV_MOUNT, mount, data)
        assert str(mount) in said
        try:
            assert "Sample project" in os.listdir(mount / "home")
            (mount / "home" / f"mine {count}").mkdir()
            (mount / "home" / f"mine {count}" / "file").write_bytes(b"content")
            assert (mount / "home" / "mine 1" / "file").read_bytes() == b"content"
        finally:
            run(home, SCRIPTS / "unmount-standalone", mount, data)
        assert not os.listdir(mount)


def test_a_mount_point_may_be_named_in_any_way_that_a_shell_knows(home: Path) -> None:
    """Relative, behind a link, with a space: what is mounted is found again, and unmounted."""
    (home / "a place").mkdir()
    (home / "link").symlink_to("a place")
    data = home / "data"
    places = ["a place", "./a place/", home / "link", "link"]
    try:
        run(home, SCRIPTS / "mount-standalone", ARV_MOUNT, places[0], data)
        for place in places:
            said = run(home, SCRIPTS / "mount-standalone", ARV_MOUNT, place, data)
            assert "is mounted already" in said, place
    finally:
        said = run(home, SCRIPTS / "unmount-standalone", places[-1], data)
    assert "Unmounted" in said
    assert not os.listdir(home / "a place")
