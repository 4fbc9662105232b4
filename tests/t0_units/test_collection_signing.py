"""New signatures for old segments."""

from arvados_fuse.collection.extents import ExtentMap
from arvados_fuse.collection.signing import signed_as_in, signed_locators
from arvados_fuse.collection.tree import Segment, Tree

A, B = "a" * 32 + "+10", "b" * 32 + "+20"


def test_locators_are_those_of_the_manifest():
    old = [Segment(f"{B}+Aold@1", 3, 4), Segment(f"{A}+Aold@1", 0, 10)]
    manifest = f". {A}+Anew@2 {B}+Z+Anew@2 0:30:f\n"
    assert signed_as_in(manifest, old) == [
        Segment(f"{B}+Z+Anew@2", 3, 4),
        Segment(f"{A}+Anew@2", 0, 10),
    ]


def test_manifest_without_one_of_the_blocks_is_of_no_use():
    old = [Segment(A, 0, 10), Segment(B, 0, 20)]
    assert signed_as_in(f". {A}+Anew@2 0:10:f\n", old) is None


def test_names_of_files_are_no_locators():
    manifest = f". {B}+Anew@2 0:20:{A}\n"
    assert signed_as_in(manifest, [Segment(A, 0, 10)]) is None


def test_locators_are_found_as_far_as_the_manifest_has_them():
    manifest = f". {A}+Anew@2 0:10:f\n"
    assert signed_locators(manifest, {A, B}) == {A: f"{A}+Anew@2"}
    assert signed_locators(manifest, set()) == {}


def test_a_tree_knows_the_locators_of_its_blocks():
    tree = Tree.from_manifest(f"./d {A}0+Along@1 {A}+Z+Anew@2 {B} 0:1:{A} 1:1:x\\040{B}\n")
    assert tree.locator(A) == f"{A}+Z+Anew@2"
    assert tree.locator(B) == B
    assert tree.locator("c" * 32 + "+1") is None
    assert Tree.from_manifest("").locator(A) is None


def test_a_changed_file_gets_new_signatures_for_the_blocks_that_have_some():
    extents = ExtentMap.from_segments([Segment(f"{A}+Aold@1", 2, 5), Segment(f"{B}+Aold@1", 0, 3)])
    extents.write(20, 1, None)
    extents.sign({A: f"{A}+Anew@2"})
    assert extents.blocks() == {A, B}
    sources = [extent.source for extent in extents.extents()]
    assert sources == [(f"{A}+Anew@2", 2), (f"{B}+Aold@1", 0), None]
