"""New signatures for old segments."""

from arvados_fuse.collection.signing import is_same_content, signed_as_in
from arvados_fuse.collection.tree import Segment

A, B = "a" * 32 + "+10", "b" * 32 + "+20"


def test_content_is_the_same_whatever_the_signatures():
    old = [Segment(f"{A}+Aold@1", 0, 10), Segment(B, 3, 4)]
    new = [Segment(f"{A}+Anew@2", 0, 10), Segment(f"{B}+Anew@2", 3, 4)]
    assert is_same_content(old, new)


def test_content_differs_by_block_offset_size_and_number():
    old = [Segment(A, 0, 10)]
    for other in ([Segment(B, 0, 10)], [Segment(A, 1, 10)], [Segment(A, 0, 9)], old * 2, []):
        assert not is_same_content(old, other)


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
