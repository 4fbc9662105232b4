"""What moves from one collection to another, and what it takes along."""

import pytest

from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.extents import Pending
from arvados_fuse.collection.transfer import bases, pack, remove, unpack
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import Busy, NoSuchEntry
from tests.support.drafts import Chunk

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
MANIFEST = f". {FOO} 0:3:foo\n./d {FOO} {BAR} 0:3:one 1:4:two\n./d/e {BAR} 0:3:deep\n"


@pytest.fixture
def root():
    return Draft(Tree.from_manifest(MANIFEST)).root


@pytest.fixture
def other():
    return Draft(Tree.from_manifest("")).root


def test_file_is_one_path_and_no_directory(root):
    assert pack(root, "foo").directories == ()
    assert pack(root, "foo").files.keys() == {""}


def test_directory_is_all_that_is_in_it(root):
    parcel = pack(root, "d")
    assert parcel.directories == ("", "e")
    assert parcel.files.keys() == {"one", "two", "e/deep"}
    assert [segment.size for segment in parcel.files["two"]] == [2, 2]


def test_packing_makes_no_objects(root):
    pack(root, "d")
    assert root.overlay == {}


def test_what_is_unpacked_is_new_in_the_other_draft(root, other):
    unpack(pack(root, "d"), other, "new")
    assert pack(other, "new") == pack(root, "d")
    assert other.changed == {"new"}
    assert other.directory("new").settled_at is None


def test_what_had_the_name_is_gone(root, other):
    other.mkdir("new").create("old")
    unpack(pack(root, "d"), other, "new")
    unpack(pack(root, "foo"), other, "file")
    unpack(pack(root, "d"), other, "file")
    assert pack(other, "new") == pack(other, "file") == pack(root, "d")


def test_removing_leaves_nothing(root):
    root.directory("d").create("new")
    remove(root, "d")
    assert not root.has("d")
    assert root.changed == {"d"}
    remove(root, "foo")
    assert root.is_empty


def test_what_is_only_in_the_journal_is_busy(root):
    root.directory("d").create("new").write(0, 1, Chunk(1).append(b"x"))
    with pytest.raises(Busy, match="d/new"):
        pack(root, "d")


def test_a_hole_is_busy(root):
    root.open_file("foo").truncate(10)
    with pytest.raises(Busy):
        pack(root, "foo")


def test_what_is_being_written_to_is_busy(root):
    root.open_file("foo").pins += 1
    with pytest.raises(Busy):
        pack(root, "foo")


def test_what_is_not_there_cannot_be_packed_or_removed(root):
    for action in (pack, remove):
        with pytest.raises(NoSuchEntry):
            action(root, "nothing")


def test_new_signatures_are_no_other_content(root):
    signed = Draft(Tree.from_manifest(MANIFEST.replace(FOO, f"{FOO}+A{'0' * 40}@7fffffff"))).root
    assert pack(signed, "d") != pack(root, "d")
    assert pack(signed, "d").has_same_content(pack(root, "d"))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.create("new"),
        lambda d: d.mkdir("new"),
        lambda d: d.unlink("one"),
        lambda d: d.open_file("one").truncate(1),
    ],
)
def test_any_change_is_other_content(root, change):
    before = pack(root, "d")
    change(root.directory("d"))
    assert not pack(root, "d").has_same_content(before)


def test_bases_are_those_that_show(root):
    assert len(list(bases(root, "d"))) == 2
    root.directory("d").mkdir("new")
    assert len(list(bases(root, "d"))) == 2
    remove(root.directory("d"), "e")
    assert list(bases(root, "d")) == [root.directory("d").base]
    assert list(bases(root, "foo")) == []


def test_pending_bytes_that_were_overwritten_do_not_matter(root):
    file = root.open_file("foo")
    file.write(0, 1, Pending(Chunk(1), 0))
    file.truncate(0)
    assert pack(root, "foo").files == {"": ()}
