"""One collection at two places of a mount, as in a project and in `by_id`: both can be changed."""

import os
import time

import pytest

from tests.support.workplace import errno_of, new_collection, saved


@pytest.fixture
def places(cluster, mount):
    """Two directories of one collection, and what the cluster has of it, when it is asked."""
    api = cluster.api()
    project = {"group_class": "project", "name": "two places"}
    owner = api.groups().create(body={"group": project}, ensure_unique_name=True).execute()["uuid"]
    uuid = new_collection(api, "shared", owner_uuid=owner)
    running = mount("--read-write", "--by-id")
    return running / owner / "shared", running / uuid, lambda: saved(api, uuid)


def seen(directory, name, within_s=10.0):
    """The content of a file, when it has come."""
    deadline = time.monotonic() + within_s
    while not (directory / name).exists():
        assert time.monotonic() < deadline, f"{name} did not come"
        time.sleep(0.02)
    return (directory / name).read_text()


def test_what_is_saved_at_one_is_seen_at_the_other(places):
    here, there, _ = places
    (here / "f").write_text("here")
    assert seen(there, "f") == "here"
    (there / "g").write_text("there")
    assert seen(here, "g") == "there"


def test_they_can_be_written_to_by_turns(places):
    here, there, in_cluster = places
    for number in range(5):
        (here / f"h{number}").write_text("here")
        (there / f"t{number}").write_text("there")
    wanted = {f"h{n}": b"here" for n in range(5)} | {f"t{n}": b"there" for n in range(5)}
    assert (here / ".arvados#commit").exists()
    assert (there / ".arvados#commit").exists()
    assert in_cluster() == wanted
    assert all(seen(place, name) for place in (here, there) for name in wanted)


def test_what_is_not_saved_at_one_is_no_conflict_at_the_other(places):
    here, there, in_cluster = places
    (here / "f").write_text("first")
    (here / "f").write_text("second")  # in the same burst, so that it is not saved
    (there / "g").write_text("third")
    assert (there / "f").read_text() == "second"
    (there / "f").write_text("fourth")
    assert (there / ".arvados#commit").exists()
    assert in_cluster() == {"f": b"fourth", "g": b"third"}


def test_a_file_that_is_open_at_one_goes_on(places):
    here, there, in_cluster = places
    with (here / "f").open("w") as file:
        for number in range(3):
            file.write(f"{number}")
            file.flush()
            (there / f"g{number}").write_text("there")
    assert (here / ".arvados#commit").exists()
    assert in_cluster() == {"f": b"012", **{f"g{n}": b"there" for n in range(3)}}


def test_nothing_is_moved_from_one_to_the_other(places):
    """Least of all a file onto itself, which programs that copy instead would remove first."""
    here, there, in_cluster = places
    (here / "f").write_text("content")
    assert seen(there, "f") == "content"
    assert errno_of(os.rename, here / "f", there / "f") == "EBUSY"
    assert errno_of(os.rename, here / "f", there / "g") == "EBUSY"
    assert in_cluster() == {"f": b"content"}
