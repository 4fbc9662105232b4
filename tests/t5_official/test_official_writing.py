"""Writing with both drivers: what one writes the other reads, and what both refuse.

The errno of each refusal is the same; what is meant to differ stands in DIFFERENCES, with its
reason, and must still differ.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.contents import create
from tests.support.mounts import RunningMount
from tests.support.patience import wait_until
from tests.support.workplace import changes, errno_of, new_collection, saved, shown

OFFICIAL = Path(__file__).parents[2] / ".venv-official" / "bin" / "arv-mount"
FILES = {"f": b"content", "d/g": b"more"}


@pytest.fixture
def mounted(user_env, tmp_path):
    """Mount with both drivers: `mounted("--option", ...)` returns ours and the official one."""
    with ExitStack() as mounts:

        def start(*options):
            ours = RunningMount(tmp_path / "ours", *options, env=user_env)
            mounts.enter_context(ours)
            theirs = RunningMount(tmp_path / "theirs", *options, env=user_env, command=OFFICIAL)
            mounts.enter_context(theirs)
            return ours, theirs

        yield start


@pytest.fixture
def api(running_cluster):
    return running_cluster.api()


def test_the_official_driver_reads_what_is_written_here(mounted, api):
    uuid = new_collection(api)
    ours, theirs = mounted("--read-write", "--by-id")
    content = {"d/e": None, "empty": b"", "sp ace/naïve ☃": b"x" * 70_000, "back\\slash": b"y"}
    for path, data in content.items():
        place = ours / uuid / path
        if data is None:
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(data)
    (ours / uuid / ".arvados#commit").read_text()
    assert shown(theirs / uuid) == content
    assert saved(api, uuid) == content


def test_what_the_official_driver_writes_is_read_here(mounted, api):
    uuid = new_collection(api)
    ours, theirs = mounted("--read-write", "--by-id")
    (ours / uuid / "ours").write_bytes(b"ours")
    assert (theirs / uuid / "ours").read_bytes() == b"ours"
    (theirs / uuid / "theirs").write_bytes(b"theirs")
    wait_until((ours / uuid / "theirs").exists)
    assert (ours / uuid / "theirs").read_bytes() == b"theirs"
    assert saved(api, uuid) == {"ours": b"ours", "theirs": b"theirs"}


MOUNTED_RO = "here the kernel knows that the mount is read-only, and says EROFS as POSIX has it"
DIFFERENCES = {
    ("read-only", "open"): MOUNTED_RO,
    ("read-only", "empty"): MOUNTED_RO,
    ("read-only", "append"): MOUNTED_RO,
    ("read-only", "truncate"): MOUNTED_RO,
    ("hash", "truncate"): "the official driver does not check that",
}


@pytest.mark.parametrize("place", ["read-only", "hash"])
def test_changes_in_what_cannot_be_changed(mounted, api, place):
    record = create(api, f"refused {os.urandom(4).hex()}", FILES)
    ident = record["uuid" if place == "read-only" else "portable_data_hash"]
    options = [] if place == "read-only" else ["--read-write"]
    ours, theirs = mounted(*options, "--collection", ident)
    seen = changes(ours.directory, "f", "d")
    official = changes(theirs.directory, "f", "d")
    different = {(place, name) for name in seen if seen[name] != official[name]}
    assert different == {key for key in DIFFERENCES if key[0] == place}, (seen, official)


def test_changes_in_directories_that_are_not_of_collections(mounted, api):
    ours, theirs = mounted("--read-write")
    seen, official = (
        {
            (name, call.__name__): errno_of(call, root / name)
            for name in ("new", "by_id/new", "shared/new", "by_tag/new")
            for call in (os.mkdir, os.mknod)
        }
        | {(name, "rmdir"): errno_of(os.rmdir, root / name) for name in ("by_id", "home", "new")}
        | {("README", "unlink"): errno_of(os.unlink, root / "README")}
        | {("home/new", "mknod"): errno_of(os.mknod, root / "home/new")}
        | {("home/new", "unlink"): errno_of(os.unlink, root / "home/Sample project")}
        for root in (ours, theirs)
    )
    assert seen == official


def test_changes_of_projects(mounted, api):
    body = {"group": {"name": f"both {os.urandom(4).hex()}", "group_class": "project"}}
    project = api.groups().create(body=body).execute()["uuid"]
    body = {"group": {"name": "sub", "group_class": "project", "owner_uuid": project}}
    api.groups().create(body=body).execute()
    create(api, "full", FILES, owner=project)
    create(api, "other", FILES, owner=project)
    ours, theirs = mounted("--read-write", "--project", project)
    seen, official = (
        [
            errno_of(os.mkdir, root / "full"),
            errno_of(os.rmdir, root / "full"),
            errno_of(os.rmdir, root / "sub"),
            errno_of(os.rmdir, root / "missing"),
            errno_of(os.rename, root / "sub", root / "new"),
            errno_of(os.rename, root / "full", root / "other"),
            errno_of(os.rename, root / "full/f", root / "new"),
            errno_of(os.mkdir, root / "full/d"),
            errno_of(os.rmdir, root / "full/d"),
            errno_of(os.rmdir, root / "full/missing"),
            errno_of(os.unlink, root / "full/missing"),
            errno_of(os.rename, root / "full/d", root / "full/f"),
            errno_of(os.rename, root / "full/f", root / "full/d"),
        ]
        for root in (ours, theirs)
    )
    assert seen == official
    into_another = [errno_of(os.rename, r / "full", r / "other/new") for r in (ours, theirs)]
    assert into_another == ["EXDEV", "EPERM"], "it is meant to differ: here mv copies"
