"""What others share: by owner, and beside the owners what belongs to nobody that can be seen."""

import pytest

from arvados_fuse.api import Item, Shared
from arvados_fuse.errors import NoSuchEntry
from arvados_fuse.fusedir.project import FilterDirectory, HomeDirectory, ProjectDirectory
from arvados_fuse.fusedir.shared import SharedDirectory
from tests.support.fakes import MODIFIED_NS, manifest_of

ANNA = "zzzzz-tpzed-00000000000anna"
OTHER_ANNA = "zzzzz-tpzed-00000000anna002"
UNSEEN = "zzzzz-j7d0g-00000000unseen0"
PROJECT = "zzzzz-j7d0g-000000000000001"
ORPHAN = "zzzzz-j7d0g-000000000000002"
FILTER = "zzzzz-j7d0g-000000000000003"


def item(uuid: str, name: str, **more) -> Item:
    return Item(uuid, name, MODIFIED_NS, "", is_project=True, **more)


@pytest.fixture
def shared(mount):
    mount.cluster.add_project(PROJECT, "For Bert", owner=ANNA)
    mount.cluster.add_collection("zzzzz-4zz18-000000000000001", "data", manifest_of({}), PROJECT)
    mount.cluster.shared_with_me = Shared(
        [
            (item(PROJECT, "For Bert"), ANNA),
            (item(ORPHAN, "of somebody"), UNSEEN),
            (item(FILTER, "a filter", is_filter=True), UNSEEN),
        ],
        [item(ANNA, "Anna Tester")],
    )
    shared = SharedDirectory(mount.around, None, "shared", "")
    shared.plant()
    return shared


def test_lists_owners_and_projects_of_owners_that_cannot_be_seen(shared, mount):
    assert sorted(shared.listing().directories) == ["Anna Tester", "a filter", "of somebody"]
    assert mount.cluster.asked == ["shared"]


def test_an_owner_shows_what_is_visible_of_their_home(shared):
    anna = shared.child("Anna Tester")
    assert isinstance(anna, HomeDirectory)
    assert list(anna.listing().directories) == ["For Bert"]
    assert list(anna.child("For Bert").listing().directories) == ["data"]


def test_each_is_of_its_kind(shared):
    assert type(shared.child("of somebody")) is ProjectDirectory
    assert type(shared.child("a filter")) is FilterDirectory


def test_lookup_and_listing_agree(shared):
    listing = shared.listing()
    numbers = dict(zip(listing.directories, listing.directory_inodes, strict=True))
    assert {name: shared.child(name).inode for name in numbers} == numbers


def test_other_names_do_not_exist(shared):
    with pytest.raises(NoSuchEntry, match=r"no 'Bert' in /"):
        shared.child("Bert")


def test_owners_of_one_name_are_told_apart(shared, mount):
    found = mount.cluster.shared_with_me
    owners = [*found.owners, item(OTHER_ANNA, "Anna Tester")]
    mount.cluster.shared_with_me = found._replace(owners=owners)
    assert f"Anna Tester ({OTHER_ANNA})" in shared.listing().directories
    assert shared.child("Anna Tester").uuid == ANNA
    assert shared.child(f"Anna Tester ({OTHER_ANNA})").uuid == OTHER_ANNA


def test_changes_are_seen_after_the_refresh_time_and_the_kernel_forgets(shared, mount):
    orphan = shared.child("of somebody")
    orphan.kernel_refs += 1
    mount.cluster.shared_with_me = mount.cluster.shared_with_me._replace(
        projects=[(item(ORPHAN, "renamed"), UNSEEN)]
    )
    mount.clock.now += 16
    assert sorted(shared.listing().directories) == ["Anna Tester", "renamed"]
    assert shared.child("renamed") is orphan
    forgotten = {name for _, name in mount.kernel.entries}
    assert forgotten >= {"of somebody", "renamed"}


def test_unneeded_entries_go_when_memory_is_short(make_mount):
    mount = make_mount(directory_cache=1)
    shared = SharedDirectory(mount.around, None, "shared", "")
    shared.plant()
    mount.cluster.shared_with_me = Shared([(item(ORPHAN, "x"), UNSEEN)], [])
    number = shared.child("x").inode
    assert shared.child("x").inode == number
