"""A token that is refused, and a new one in the settings, without mounting again."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.contents import create
from tests.support.mounts import ARV_MOUNT, RunningMount, is_mounted

REFUSED = r"Cannot .*answered 40[13].*Is ARVADOS_API_TOKEN valid"

TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class SettingsFile:
    """The file settings.conf of a user with a home of his own, and no other settings."""

    def __init__(self, home: Path, cluster) -> None:
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("ARVADOS_", "XDG_"))}
        self.env["HOME"] = str(home)
        self._others = {k: v for k, v in cluster.env.items() if k != "ARVADOS_API_TOKEN"}
        self._path = home / ".config" / "arvados" / "settings.conf"
        self._path.parent.mkdir(parents=True)

    def write(self, token: str) -> None:
        lines = {**self._others, "ARVADOS_API_TOKEN": token}
        self._path.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    def spoil(self) -> None:
        self._path.write_text("this is no setting\n")


def new_token(cluster) -> tuple[str, str]:
    """Make a token of the administrator; return its uuid and itself."""
    record = cluster.api().api_client_authorizations().create(body={}).execute()
    return record["uuid"], f"v2/{record['uuid']}/{record['api_token']}"


@pytest.fixture
def settings_file(cluster, tmp_path):
    return SettingsFile(tmp_path / "home", cluster)


@pytest.fixture
def running(settings_file, cluster, tmp_path):
    """A mount whose token is only in the file settings.conf; it is refreshed at each use."""
    uuid, token = new_token(cluster)
    settings_file.write(token)
    with RunningMount(tmp_path / "mnt", "--refresh-time=0", env=settings_file.env) as mount:
        mount.token_uuid = uuid
        yield mount


def hang_up(running: RunningMount, answer: str) -> None:
    """Send SIGHUP, and wait for the line in the log that says what came of it."""
    running.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while answer not in running.log:
        assert time.monotonic() < deadline, running.log
        time.sleep(0.02)


def test_a_revoked_token_is_refused_until_there_is_another(running, settings_file, cluster):
    record = create(cluster.api(), "token test", {"f": b"content", "g": b"more"})
    path = running / f"by_id/{record['uuid']}/f"
    assert path.read_bytes() == b"content"

    cluster.api().api_client_authorizations().delete(uuid=running.token_uuid).execute()
    running.expected_log.append(REFUSED)
    with pytest.raises(PermissionError) as refused:
        os.listdir(running / "home")
    assert refused.value.errno == errno.EACCES

    settings_file.write(new_token(cluster)[1])
    hang_up(running, "Using a new token from the settings.")
    assert "token test" in os.listdir(running / "home")
    # Not read before: its block signature was made for the old token.
    assert (running / f"by_id/{record['uuid']}/g").read_bytes() == b"more"


def test_the_same_token_stays(running):
    hang_up(running, "Keeping the token: the settings have no other.")
    assert "README" in os.listdir(running.directory)


def test_settings_that_make_no_sense_change_nothing(running, settings_file):
    settings_file.spoil()
    running.expected_log.append("Keeping the token: .* NAME=VALUE")
    hang_up(running, "Keeping the token: ")
    assert "README" in os.listdir(running / "by_id")


def test_a_terminal_that_goes_away_takes_the_mount_with_it(env, tmp_path):
    """As it ends every program that was started in it and stayed in the foreground."""
    directory, log = tmp_path / "mnt", tmp_path / "log"
    directory.mkdir()
    ours, theirs = os.openpty()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, ARV_MOUNT, "--foreground", directory],
            env=env,
            stdin=theirs,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    os.close(theirs)
    try:
        deadline = time.monotonic() + 30
        while "Mounted" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.close(ours)
    assert process.wait(20) == 0
    assert not is_mounted(directory)
    assert "Ending: received SIGHUP." in log.read_text()
