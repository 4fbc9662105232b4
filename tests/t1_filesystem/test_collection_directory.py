"""A collection as directories and files, on a fake cluster, without a mount."""

import pytest

from arvados_fuse.errors import ManifestError, NoSuchEntry, TimedOut
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.directory import Directory
from tests.support.fakes import MODIFIED_NS, FakeMount, manifest_of

UUID = "zzzzz-4zz18-000000000000001"
FILES = {"a.txt": b"alpha", "b.txt": b"bravo", "sub/c.txt": b"charlie", "sub/deep/d.txt": b"delta"}


def collection(mount: FakeMount, files=FILES, ident: str = UUID) -> CollectionDirectory:
    """The collection as the root of a mount."""
    if ident == UUID:
        mount.cluster.add_collection(UUID, "run 42", manifest_of(files))
    directory = CollectionDirectory(mount.around, None, ident, "")
    mount.inodes.add(directory)
    return directory


def tree(directory: Directory) -> dict:
    """All names below a directory; the inode number of each file."""
    listing = directory.listing()
    found = dict(zip(listing.files, listing.file_inodes, strict=True))
    for name in listing.directories:
        found[name] = tree(directory.child(name))
    return found


def test_tree_is_that_of_the_manifest(mount):
    root = collection(mount)
    assert tree(root).keys() == {"a.txt", "b.txt", "sub"}
    assert tree(root)["sub"].keys() == {"c.txt", "deep"}
    assert root.child("a.txt").size == 5
    assert root.child("sub").child("deep").child("d.txt").mtime_ns == MODIFIED_NS


def test_missing_name_is_no_such_entry(mount):
    with pytest.raises(NoSuchEntry, match=r"no 'x\.txt' in /"):
        collection(mount).child("x.txt")


def test_listing_makes_no_file_objects(mount):
    root = collection(mount, {f"f{n}": b"x" for n in range(1000)})
    listing = root.listing()
    assert len(listing.files) == 1000
    assert len(mount.inodes) == 1


def test_listing_and_lookup_agree_on_inode_numbers(mount):
    root = collection(mount)
    numbers = tree(root)
    assert root.child("b.txt").inode == numbers["b.txt"]
    assert root.child("sub").inode == root.listing().directory_inodes[0]
    assert root.child("sub").child("c.txt").inode == numbers["sub"]["c.txt"]


def test_forgotten_file_is_dropped_and_comes_back_with_its_number(mount):
    root = collection(mount)
    file = root.child("a.txt")
    file.kernel_refs += 2
    number = file.inode
    mount.inodes.forget(number, 1)
    assert mount.inodes.find(number) is file
    mount.inodes.forget(number, 1)
    assert mount.inodes.find(number) is None
    assert root.child("a.txt").inode == number


def test_fresh_collection_is_not_asked_for_again(mount):
    root = collection(mount)
    tree(root)
    tree(root)
    assert mount.cluster.asked == [f"collection {UUID}"]


def test_stale_collection_asks_for_its_state_and_keeps_unchanged_content(mount):
    root = collection(mount)
    before = tree(root)
    mount.clock.now += 16
    assert tree(root) == before
    assert mount.cluster.asked == [f"collection {UUID}", f"state {UUID}"]


def test_collection_by_hash_is_asked_for_again_only_for_signatures(mount):
    pdh = mount.cluster.set_manifest(
        mount.cluster.add_collection(UUID, "x", manifest_of(FILES)), manifest_of(FILES)
    )
    root = collection(mount, ident=pdh)
    before = tree(root)
    mount.clock.now += 600000
    tree(root)
    assert mount.cluster.asked == [f"collection {pdh}"]
    mount.clock.now += 10000  # half of the signatures' life is over
    assert tree(root) == before
    assert mount.cluster.asked == [f"collection {pdh}"] * 2


def test_signatures_are_renewed_at_half_their_life(mount):
    root = collection(mount)
    for _ in range(7 * 24 * 60):
        root.child("a.txt")
        mount.clock.now += 61
    assert mount.cluster.asked.count(f"collection {UUID}") == 2


class TestNextVersion:
    def change(self, mount, files):
        mount.cluster.set_manifest(UUID, manifest_of(files))
        mount.clock.now += 16

    def test_unchanged_files_keep_number_and_object(self, mount):
        root = collection(mount)
        kept = root.child("a.txt")
        kept.kernel_refs += 1
        before = tree(root)
        self.change(mount, {"0.txt": b"new", **FILES})
        after = tree(root)
        assert after["a.txt"] == before["a.txt"]
        assert after["sub"] == before["sub"]
        assert root.child("a.txt") is kept

    def test_changed_file_gets_another_number_and_the_old_one_stays_as_it_was(self, mount):
        root = collection(mount)
        old = root.child("a.txt")
        old.kernel_refs += 1
        self.change(mount, {**FILES, "a.txt": b"something else"})
        new = root.child("a.txt")
        assert new.inode != old.inode
        assert (old.size, new.size) == (5, 14)
        assert old.content()[0].size == 5
        assert mount.inodes.find(old.inode) is old

    def test_removed_file_is_gone_and_new_one_is_there(self, mount):
        root = collection(mount)
        root.listing()
        self.change(mount, {"e.txt": b"echo"})
        assert tree(root).keys() == {"e.txt"}
        with pytest.raises(NoSuchEntry):
            root.child("a.txt")

    def test_directory_keeps_its_number(self, mount):
        root = collection(mount)
        sub = root.child("sub")
        self.change(mount, {"sub/other.txt": b"x"})
        assert root.child("sub") is sub
        assert sub.child("other.txt").size == 1

    def test_removed_directory_goes_on_as_it_was_for_who_is_inside(self, mount):
        root = collection(mount)
        sub = root.child("sub")
        sub.kernel_refs += 1
        self.change(mount, {"a.txt": b"alpha"})
        with pytest.raises(NoSuchEntry):
            root.child("sub")
        assert sub.child("c.txt").size == 7

    def test_new_signatures_alone_are_no_change(self, mount):
        root = collection(mount)
        before = tree(root)
        pdh = mount.cluster.items[UUID].portable_data_hash
        signed = manifest_of(FILES).replace(" 0:", "+A" + "0" * 40 + "@70000000 0:")
        mount.cluster.manifests[pdh] = signed
        root.invalidate()
        assert tree(root) == before
        assert "+A" in root.child("a.txt").content()[0].locator


def test_bad_directory_fails_alone(mount):
    mount.cluster.add_collection(UUID, "x", manifest_of(FILES) + "./bad nonsense 0:0:x\n")
    root = CollectionDirectory(mount.around, None, UUID, "")
    mount.inodes.add(root)
    assert root.child("a.txt").size == 5
    with pytest.raises(ManifestError):
        root.child("bad").listing()


def test_file_beyond_its_stream_is_listed_but_cannot_be_opened(mount):
    mount.cluster.add_collection(
        UUID, "x", ". acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:good 1:9:bad\n"
    )
    root = CollectionDirectory(mount.around, None, UUID, "")
    mount.inodes.add(root)
    assert root.child("bad").size == 9
    assert len(root.child("good").content()) == 1
    with pytest.raises(ManifestError):
        root.child("bad").content()


def test_names_that_cannot_be_shown_are_replaced_and_stay_reachable(mount):
    long = "x" * 300
    mount.cluster.add_collection(
        UUID,
        "x",
        f". d41d8cd98f00b204e9800998ecf8427e+0 0:0:nul\\000byte 0:0:{long}\n"
        f"./dir\\000 acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:f\n",
    )
    root = CollectionDirectory(mount.around, None, UUID, "")
    mount.inodes.add(root)
    listing = root.listing()
    assert list(listing.directories) == ["dir_"]
    assert listing.files[0] == "nul_byte"
    assert len(listing.files[1]) == 255
    for name, number in zip(listing.files, listing.file_inodes, strict=True):
        assert root.child(name).inode == number
        assert root.child(name).path() == f"/{name}"
    assert root.child("dir_").child("f").size == 3


def test_files_that_would_be_shown_alike_are_told_apart(mount):
    """The one whose name it is has it, wherever it stands; the others are marked."""
    files = r"0:1:a\000b 0:2:a_b 0:3:a\000\000 1:2:a\000_"
    locator = "acbd18db4cc2f85cedef654fccc4a4d8+3"
    mount.cluster.add_collection(UUID, "x", f". {locator} {files}\n")
    root = CollectionDirectory(mount.around, None, UUID, "")
    mount.inodes.add(root)
    listing = root.listing()
    assert len(set(listing.files)) == 4
    assert {"a_b", "a__"} < set(listing.files)
    assert root.child("a_b").size == 2
    found = {name: root.child(name) for name in listing.files}
    assert [file.inode for file in found.values()] == list(listing.file_inodes)
    assert sorted(file.size for file in found.values()) == [1, 2, 2, 3]


def test_subdirectory_that_is_shown_under_another_name_is_found_without_a_listing(mount):
    mount.cluster.add_collection(UUID, "x", "./dir\\000 acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:f\n")
    root = CollectionDirectory(mount.around, None, UUID, "")
    root.plant()
    assert root.child("dir_").child("f").size == 3


def test_failed_refresh_is_reported_and_tried_again(mount):
    root = collection(mount)
    root.listing()
    mount.clock.now += 16
    mount.cluster.failure = TimedOut("too slow")
    with pytest.raises(TimedOut):
        root.child("a.txt")
    mount.cluster.failure = None
    assert root.child("a.txt").size == 5


class TestMemory:
    @pytest.mark.parametrize("pinned", [False, True])
    def test_parsed_files_are_dropped_when_memory_is_short(self, make_mount, pinned):
        mount = make_mount(directory_cache=60_000)
        files = {f"d{d}/file{n:04}": b"x" for d in range(5) for n in range(200)}
        root = collection(mount, files)
        for number in range(5):
            directory = root.child(f"d{number}")
            directory.kernel_refs += pinned
            directory.listing()
        assert not root.node.subdirectories["d0"].loaded
        assert root.node.subdirectories["d4"].loaded
        assert tree(root).keys() == {f"d{n}" for n in range(5)}

    def test_file_in_use_survives_eviction_with_its_number(self, make_mount):
        mount = make_mount(directory_cache=1)
        root = collection(mount, {f"d{d}/f": b"x" * (d + 1) for d in range(5)})
        file = root.child("d0").child("f")
        file.kernel_refs += 1
        for number in range(1, 5):
            root.child(f"d{number}").listing()
        assert root.child("d0").child("f") is file
        assert file.size == 1

    def test_kernel_is_asked_to_forget_what_it_alone_keeps(self, make_mount):
        mount = make_mount(directory_cache=1)
        root = collection(mount, {f"d{d}/f": b"x" for d in range(3)})
        held = root.child("d0")
        held.kernel_refs += 1
        root.child("d1").listing()
        root.child("d2").listing()
        assert (root.inode, "d0") in mount.kernel.entries

    def test_forgotten_directories_leave_the_table(self, make_mount):
        mount = make_mount(directory_cache=1)
        root = collection(mount, {f"d{d}/f": b"x" for d in range(100)})
        for number in range(100):
            directory = root.child(f"d{number}")
            directory.kernel_refs += 1
            directory.child("f")
            mount.inodes.forget(directory.listing().file_inodes[0], 0)
            mount.inodes.forget(directory.inode, 1)
        assert len(mount.inodes) < 10

    def test_attributes_of_a_file_do_not_load_its_directory_again(self, make_mount):
        mount = make_mount(directory_cache=1)
        root = collection(mount, {"big/f": b"12345", "other/g": b"x"})
        file = root.child("big").child("f")
        file.kernel_refs += 1
        root.child("other").listing()
        assert not file.node.loaded
        assert (file.path(), file.size) == ("/big/f", 5)
        assert not file.node.loaded

    def test_opening_a_file_loads_its_directory_again_and_books_it(self, make_mount):
        mount = make_mount(directory_cache=1)
        root = collection(mount, {"big/f": b"12345", "other/g": b"x"})
        file = root.child("big").child("f")
        file.kernel_refs += 1
        root.child("other").listing()
        assert file.content()[0].size == 5
        assert file.node.loaded

    def test_file_that_is_loaded_again_while_a_new_version_comes_stays_what_it_was(self, mount):
        root = collection(mount, {"f": b"old"})
        file = root.child("f")
        file.kernel_refs += 1
        old = file.content()
        file.node.drop_files()

        def new_version():
            mount.cluster.set_manifest(UUID, manifest_of({"a": b"alien", "f": b"new"}))
            mount.clock.now += 16
            assert root.child("a").size == 5

        mount.while_unlocked(new_version)
        assert file.content() == old

    def test_file_that_is_loaded_again_while_its_place_changes_is_found_there(self, mount):
        root = collection(mount, {"f": b"same"})
        file = root.child("f")
        file.kernel_refs += 1
        same = file.content()
        file.node.drop_files()

        def new_version():
            mount.cluster.set_manifest(UUID, manifest_of({"a": b"alien", "f": b"same"}))
            mount.clock.now += 16
            assert root.child("f") is not None

        mount.while_unlocked(new_version)
        assert file.content() == same


def test_file_of_a_distrusted_collection_gets_new_signatures_when_it_is_opened(mount):
    root = collection(mount)
    file = root.child("sub").child("c.txt")
    file.kernel_refs += 1
    pdh = mount.cluster.items[UUID].portable_data_hash
    mount.cluster.manifests[pdh] = manifest_of(FILES).replace(
        " 0:", "+A" + "0" * 40 + "@7fffffff 0:"
    )
    file.invalidate()
    file.refresh()
    assert root.child("sub").child("c.txt") is file
    assert "+A" in file.content()[0].locator
