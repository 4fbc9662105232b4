"""Small blocks put together in one: what is chosen, and which files are the same after it."""

import pytest

from arvados_fuse.collection import repacking
from arvados_fuse.collection.places import Place
from arvados_fuse.collection.repacking import Moves, small_segments
from arvados_fuse.collection.tree import Segment, Tree

A, B, C = ("a" * 32 + "+10", "b" * 32 + "+20", "c" * 32 + "+100")
NO_MOVES = Moves({})


class TestMoves:
    def test_content_is_the_same_whatever_the_signatures(self):
        old = [Segment(f"{A}+Aold@1", 0, 10), Segment(B, 3, 4)]
        new = [Segment(f"{A}+Anew@2", 0, 10), Segment(f"{B}+Anew@2", 3, 4)]
        assert NO_MOVES.is_same(old, new)

    def test_content_differs_by_block_offset_size_and_number(self):
        old = [Segment(A, 0, 10)]
        for other in ([Segment(B, 0, 10)], [Segment(A, 1, 9)], [Segment(A, 0, 9)], old * 2, []):
            assert not NO_MOVES.is_same(old, other)

    def test_bytes_that_were_moved_are_the_same(self):
        moves = Moves({Place(A, 0, 10): Place(C, 50, 10)})
        assert moves.is_same([Segment(A, 0, 10)], [Segment(f"{C}+Anew@1", 50, 10)])
        assert not moves.is_same([Segment(A, 0, 9)], [Segment(C, 50, 9)])
        assert not moves.is_same([Segment(A, 0, 10)], [Segment(C, 51, 10)])

    def test_what_adjoins_now_is_one_segment(self):
        moves = Moves({Place(A, 0, 10): Place(C, 0, 10), Place(B, 5, 7): Place(C, 10, 7)})
        old = [Segment(A, 0, 10), Segment(B, 5, 7), Segment(B, 0, 1)]
        assert moves.is_same(old, [Segment(C, 0, 17), Segment(B, 0, 1)])


def tree(*blocks, tokens=None):
    size = sum(int(block.split("+")[1]) for block in blocks)
    return Tree.from_manifest(f". {' '.join(blocks)} {tokens or f'0:{size}:f'}\n")


class TestSmallSegments:
    def test_segments_of_small_blocks_are_chosen(self):
        both = small_segments(tree(A, C, B), 50, least=2)
        assert both == [Segment(A, 0, 10), Segment(B, 0, 20)]

    def test_too_few_small_blocks_stay(self):
        assert small_segments(tree(A, C, B), 50, least=3) == []

    def test_the_same_part_is_chosen_once_and_other_parts_with_it(self):
        chosen = small_segments(tree(A, B, tokens="0:5:f 0:5:g 5:5:h 10:20:i"), 50, least=2)
        assert chosen == [Segment(A, 0, 5), Segment(A, 5, 5), Segment(B, 0, 20)]

    def test_no_more_is_chosen_than_one_block_holds(self, monkeypatch):
        monkeypatch.setattr(repacking, "MAX_BLOCK", 30)
        names = [f"{digit * 32}+10" for digit in "abcde"]
        chosen = small_segments(tree(*names), 50, least=3)
        assert [segment.locator for segment in chosen] == names[:3]
        assert small_segments(tree(*names), 50, least=4) == []

    @pytest.mark.parametrize("bad", ["./b " + A + " 5:10:beyond\n", "./b nonsense 0:0:f\n"])
    def test_damaged_files_are_left_alone(self, bad):
        text = f". {A} {B} 0:30:f\n{bad}"
        assert len(small_segments(Tree.from_manifest(text), 50, least=2)) == 2

    def test_parsed_files_are_dropped_again(self):
        fresh = tree(A, B)
        small_segments(fresh, 50, least=2)
        assert not fresh.root.loaded
