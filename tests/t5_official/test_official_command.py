"""The command lines of both drivers, side by side: what one takes, the other takes."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.mounts import ARV_MOUNT

OFFICIAL = Path(__file__).parents[2] / ".venv-official" / "bin" / "arv-mount"

OUR_OWN = {
    "--enable-write",
    "--recover",
    "--standalone",
    "--standalone-dir",
    *("--commit-delay", "--journal-dir", "--journal-size"),
}
"""What only our driver has."""


def run(command: Path, *arguments: object, env) -> subprocess.CompletedProcess:
    return subprocess.run(
        [command, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=60
    )


def options(command: Path, env) -> dict[str, bool]:
    """Each option in the help text, and whether it takes a value."""
    listed = run(command, "--help", env=env).stdout.partition("options:")[2]
    found = {}
    for line in re.findall(r"^  (-[^ ].*)$", listed, re.MULTILINE):
        for option in line.split("  ")[0].split(", "):
            flag, _, value = option.partition(" ")
            found[flag] = value != ""
    return found


def test_each_option_of_the_official_driver_is_one_of_ours(user_env):
    official, ours = options(OFFICIAL, user_env), options(ARV_MOUNT, user_env)
    assert len(official) > 40
    assert {flag: ours.get(flag) for flag in official} == official
    assert set(ours) - set(official) == OUR_OWN


def test_both_tell_their_version(user_env):
    for command in (OFFICIAL, ARV_MOUNT):
        done = run(command, "--version", env=user_env)
        assert done.returncode == 0
        assert re.fullmatch(r"\S*arv-mount \S+\n", done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-such-option"],
        ["--all", "--home"],
        ["--replace", "--unmount"],
        ["--retries", "-1"],
        ["--refresh-time", "1.5"],
        ["--file-cache", "1G"],
        ["--crunchstat-interval", "often"],
        ["--mount-home", "a/b"],
        ["--home", "--mount-home", "a"],
        ["--exec", "no-such-command", "--"],
        ["--exec", "sh", "-c", "exit 7", "--"],
        ["--exec", "sh", "-c", "kill -KILL $$", "--"],
        ["--unmount"],
        ["--unmount-all"],
    ],
    ids=" ".join,
)
def test_exit_codes_are_the_same(user_env, tmp_path, arguments):
    directory = tmp_path / "mnt"
    directory.mkdir()
    place = [directory] if arguments else []
    codes = [
        run(command, *arguments, *place, env=user_env).returncode
        for command in (OFFICIAL, ARV_MOUNT)
    ]
    assert codes[0] == codes[1]


def test_statistics_have_the_same_groups_and_names(user_env, tmp_path):
    """Numbers aside, the lines are the same."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    lines = []
    for command in (OFFICIAL, ARV_MOUNT):
        arguments = ("--crunchstat-interval=0.5", directory, "--exec", "sleep", "0.9")
        done = run(command, *arguments, env=user_env)
        said = [x for x in done.stderr.splitlines() if x.startswith("crunchstat: ")]
        lines.append([re.sub(r"\d+(\.\d+)?(?= )", "N", line) for line in said[:24]])
    assert lines[1] == lines[0]
    assert len(lines[0]) == 24
