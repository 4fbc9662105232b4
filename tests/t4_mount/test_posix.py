"""POSIX on a mount: the rules of `support/posix_rules.py`, by the user who mounted and another.

All are tried on the local disk too, so that the table itself is known to be right. What is meant
to differ on a mount stands in DIFFERENCES, with its reason, and must still differ.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import posix_rules
from tests.support.mounts import RunningMount
from tests.support.posix_rules import NOBODY, RULES
from tests.support.workplace import new_collection


class Difference(NamedTuple):
    """here: what a mount shows instead of what POSIX wants; reason: why it may."""

    here: Any
    reason: str


NO_LINKS = "a manifest has no place for links; EPERM is what POSIX has for that"
NO_SPECIAL = "a manifest has no place for anything but files; EPERM is what POSIX has for that"
NO_MODES = (
    "the cluster has no place for modes, and who may change a collection may change all of it: a"
    " mode that nobody asked for by chmod must not lock others out for as long as the mount lives"
)
DIFFERENCES = {
    "link_makes_a_second_name": Difference(["EPERM", 1], NO_LINKS),
    "symlink_makes_a_link": Difference(["EPERM", "nothing"], NO_LINKS),
    "mknod_makes_a_pipe": Difference("EPERM", NO_SPECIAL),
    "mknod_makes_a_device": Difference("EPERM", NO_SPECIAL),
    "a_socket_can_be_bound": Difference("EPERM", NO_SPECIAL),
    "a_new_file_has_the_mode_asked_for": Difference(0o777, NO_MODES),
    "a_new_directory_has_the_mode_asked_for": Difference(0o777, NO_MODES),
    "a_directory_counts_its_subdirectories": Difference(
        [1, 1], "counting would need a listing; 1 tells programs like find not to rely on it"
    ),
    "utimens_sets_the_time_of_access": Difference(
        False, "times of access are not kept: nobody asked for what that costs"
    ),
}

BY_OTHERS_ALIKE = {"mknod_makes_a_device": "other users may not make devices anywhere"}
"""Differences that there are for the user alone who may do anything."""


def tried(directory: Path, user: int) -> dict[str, Any]:
    """Try all rules in `directory`, as a user; return what was seen."""
    done = subprocess.run(
        [sys.executable, posix_rules.__file__, directory, str(user)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A directory that all users get at."""
    base = tmp_path_factory.mktemp("posix")
    for path in (base, *base.parents):
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o011)
    return base


@pytest.fixture(scope="module", params=[os.getuid(), NOBODY], ids=["owner", "another"])
def user(request):
    return request.param


@pytest.fixture(scope="module")
def on_disk(base, user):
    directory = base / f"disk-{user}"
    directory.mkdir()
    directory.chmod(0o777)
    return tried(directory, user)


@pytest.fixture(scope="module")
def running(base, cluster):
    env = {**os.environ, **cluster.env, "HOME": str(base / "home")}
    uuid = new_collection(cluster.api())
    options = ("--read-write", "--allow-other", "--collection", uuid)
    with RunningMount(base / "mnt", *options, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def on_mount(running, user):
    directory = running / f"mount-{user}"
    directory.mkdir()
    return tried(directory, user)


def wanted(name: str, user: int) -> Any:
    rule = RULES[name]
    return json.loads(json.dumps(rule.wanted if user == 0 else rule.by_others))


@pytest.mark.parametrize("name", RULES)
def test_the_local_disk_follows_the_rule(name, on_disk, user):
    assert on_disk[name] == wanted(name, user)


@pytest.mark.parametrize("name", [name for name in RULES if name not in DIFFERENCES])
def test_a_mount_follows_the_rule(name, on_mount, user):
    assert on_mount[name] == wanted(name, user)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_mount_differs_as_it_is_meant_to(name, on_mount, user):
    assert on_mount[name] == DIFFERENCES[name].here
    assert (on_mount[name] == wanted(name, user)) == (user != 0 and name in BY_OTHERS_ALIKE)
