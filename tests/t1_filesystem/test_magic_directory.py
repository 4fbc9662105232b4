"""`by_id` shows whatever is looked up by its id; the root of `--all` shows what was put there."""

import dataclasses
from contextlib import nullcontext

import pytest

from arvados_fuse.errors import AccessRefused, NoSuchEntry, TimedOut
from arvados_fuse.fresh import FOREVER, SingleFlight
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.magic import (
    BY_ID_README,
    FixedDirectory,
    MagicDirectory,
    is_collection_id,
    is_project_id,
)
from arvados_fuse.fusedir.project import ProjectDirectory
from tests.support.fakes import MODIFIED_NS, FakeMount, manifest_of

PROJECT = "zzzzz-j7d0g-000000000000001"
COLLECTION = "zzzzz-4zz18-000000000000001"
FILES = {"a.txt": b"alpha"}


@pytest.fixture
def by_id(mount):
    return plant_by_id(mount)


def plant_by_id(mount: FakeMount) -> MagicDirectory:
    mount.cluster.add_project(PROJECT, "cohort")
    mount.cluster.add_collection(COLLECTION, "run 42", manifest_of(FILES))
    by_id = MagicDirectory(mount.around, None, "")
    by_id.plant()
    by_id.put_text("README", BY_ID_README)
    return by_id


def names(directory: FixedDirectory) -> dict[str, int]:
    """All names that a directory lists, with their inode numbers."""
    listing = directory.listing()
    return dict(
        zip(
            [*listing.directories, *listing.files],
            [*listing.directory_inodes, *listing.file_inodes],
            strict=True,
        )
    )


class TestById:
    def test_collection_by_uuid(self, by_id, mount):
        found = by_id.child(COLLECTION)
        assert isinstance(found, CollectionDirectory)
        assert found.path() == f"/{COLLECTION}"
        assert found.child("a.txt").size == 5
        assert mount.cluster.asked == [f"collection {COLLECTION}"]

    def test_collection_by_portable_data_hash(self, by_id, mount):
        pdh = mount.cluster.items[COLLECTION].portable_data_hash
        found = by_id.child(pdh)
        assert found.child("a.txt").size == 5
        assert found.mtime_ns == MODIFIED_NS
        mount.clock.now += 3600
        assert by_id.child(pdh) is found
        assert mount.cluster.asked == [f"collection {pdh}"]

    def test_project_by_uuid(self, by_id, mount):
        mount.cluster.add_collection("zzzzz-4zz18-000000000000002", "c", "", PROJECT)
        found = by_id.child(PROJECT)
        assert isinstance(found, ProjectDirectory)
        assert mount.cluster.asked == [f"project {PROJECT}"]
        assert isinstance(found.child("c"), CollectionDirectory)

    @pytest.mark.parametrize(
        "name",
        [
            "nonsense",
            ".git",
            "zzzzz-4zz18-00000000000000",
            "zzzzz-4zz18-0000000000000011",
            "ZZZZZ-4zz18-000000000000001",
            "zzzzz-tpzed-000000000000001",
            "zzzzz-4zz18-000000000000001\n",
            "d41d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e+",
            "d41d8cd98f00b204e9800998ecf8427e+0+A",
            "D41D8CD98F00B204E9800998ECF8427E+0",
            "d41d8cd98f00b204e9800998ecf8427e+\u0663",
        ],
    )
    def test_what_is_no_id_asks_nothing(self, by_id, mount, name):
        with pytest.raises(NoSuchEntry):
            by_id.child(name)
        assert mount.cluster.asked == []

    def test_what_cannot_be_seen_is_not_there_and_leaves_nothing(self, by_id, mount):
        mount.cluster.remove(COLLECTION)
        with pytest.raises(NoSuchEntry):
            by_id.child(COLLECTION)
        assert names(by_id).keys() == {"README"}
        assert len(mount.inodes) == 2

    @pytest.mark.parametrize("error", [TimedOut("slow"), AccessRefused("who are you?")])
    def test_a_failure_is_no_absence(self, by_id, mount, error):
        mount.cluster.failure = error
        with pytest.raises(type(error)):
            by_id.child(COLLECTION)
        mount.cluster.failure = None
        assert by_id.child(COLLECTION) is not None

    def test_what_is_made_this_instant_is_found_at_once(self, by_id, mount):
        new = "zzzzz-4zz18-000000000000002"
        with pytest.raises(NoSuchEntry):
            by_id.child(new)
        assert by_id.negative_lifetime(mount.clock.now) == 0
        mount.cluster.add_collection(new, "new", manifest_of(FILES))
        assert by_id.child(new).child("a.txt").size == 5

    def test_lists_its_readme_and_what_was_looked_up(self, by_id):
        assert names(by_id).keys() == {"README"}
        found = by_id.child(COLLECTION)
        by_id.child(PROJECT)
        assert names(by_id).keys() == {"README", COLLECTION, PROJECT}
        assert names(by_id)[COLLECTION] == found.inode

    def test_what_is_deleted_is_gone_once_it_is_not_trusted_any_more(self, by_id, mount):
        found = by_id.child(COLLECTION)
        found.kernel_refs += 1
        mount.cluster.remove(COLLECTION)
        mount.clock.now += 14
        assert by_id.child(COLLECTION) is found
        mount.clock.now += 1
        with pytest.raises(NoSuchEntry):
            by_id.child(COLLECTION)

    def test_collection_is_asked_for_its_state_only_when_it_is_too_old(self, by_id, mount):
        by_id.child(COLLECTION)
        by_id.child(COLLECTION)
        mount.clock.now += 16
        by_id.child(COLLECTION)
        assert mount.cluster.asked == [f"collection {COLLECTION}", f"state {COLLECTION}"]

    def test_damaged_collection_can_be_entered_and_leaves_the_others_alone(self, by_id, mount):
        damaged = mount.cluster.add_collection(
            "zzzzz-4zz18-000000000000002", "x", manifest_of(FILES) + "./bad nonsense 0:0:x\n"
        )
        assert by_id.child(damaged).child("a.txt").size == 5
        assert by_id.child(COLLECTION).child("a.txt").size == 5

    def test_readme_says_what_to_do(self, by_id):
        assert by_id.child("README").content().decode() == BY_ID_README
        assert by_id.child("README").lifetime(1e9) == FOREVER


class TestMemory:
    def test_unneeded_objects_go_and_can_be_looked_up_again(self, make_mount):
        mount = make_mount(directory_cache=1)
        by_id = plant_by_id(mount)
        by_id.child(COLLECTION)
        by_id.child(PROJECT)
        assert names(by_id).keys() == {"README", PROJECT}
        assert by_id.child(COLLECTION).child("a.txt").size == 5

    def test_who_waited_for_an_object_that_was_evicted_meanwhile_asks_again(self, by_id):
        """Between the end of the work and the turn of who waited for it, memory may run short."""

        class Waiting(SingleFlight):
            """The first `run` waits for somebody else's work, whose result is gone again."""

            waited = False

            def run(self, key, work, landed):
                if self.waited:
                    super().run(key, work, landed)
                self.waited = True

        flights = Waiting(nullcontext(), time_limit_s=5)
        by_id.around = dataclasses.replace(by_id.around, flights=flights)
        assert by_id.child(COLLECTION).child("a.txt").size == 5


class TestFixedDirectory:
    @pytest.fixture
    def root(self, mount):
        root = FixedDirectory(mount.around, None, "")
        root.plant()
        root.put("by_id", MagicDirectory(mount.around, root, "by_id"))
        root.put_text("README", "Read me.\n")
        return root

    def test_shows_what_was_put_there(self, root, mount):
        assert names(root) == {n: root.child(n).inode for n in ("by_id", "README")}
        assert root.child("README").path() == "/README"
        assert (root.path(), root.mtime_ns) == ("/", MODIFIED_NS)
        assert mount.cluster.asked == []

    def test_other_names_are_not_there_for_ever(self, root):
        with pytest.raises(NoSuchEntry, match=r"no 'x' in /"):
            root.child("x")
        assert root.negative_lifetime(1e9) == FOREVER

    def test_nothing_goes_when_memory_is_short(self, make_mount):
        mount = make_mount(directory_cache=1)
        root = FixedDirectory(mount.around, None, "")
        root.plant()
        by_id = MagicDirectory(mount.around, root, "by_id")
        root.put("by_id", by_id)
        root.put_text("README", "Read me.\n")
        by_id.kernel_refs += 1
        mount.inodes.forget(by_id.inode, 1)
        assert root.child("by_id") is by_id
        assert len(mount.inodes) == 3


@pytest.mark.parametrize(
    ("text", "collection", "project"),
    [
        (COLLECTION, True, False),
        ("d41d8cd98f00b204e9800998ecf8427e+0", True, False),
        (PROJECT, False, True),
        ("zzzzz-tpzed-000000000000001", False, False),
        ("", False, False),
    ],
)
def test_ids_are_told_apart(text, collection, project):
    assert (is_collection_id(text), is_project_id(text)) == (collection, project)
