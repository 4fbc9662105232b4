"""The files of a directory: names, sizes, segments, and comparison with another version."""

import hashlib

import pytest

from arvados_fuse.collection.tree import Segment, Tree
from arvados_fuse.errors import ManifestError

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"


def files_of(*lines):
    return Tree.from_manifest("".join(f"{line}\n" for line in lines)).root.files()


def content(table, name):
    return [tuple(segment) for segment in table.segments(table.index(name))]


class TestNames:
    @pytest.mark.parametrize("names", [["a", "b", "c"], ["c", "a", "b"], []])
    def test_index_is_the_place_of_first_appearance(self, names):
        table = files_of(f". {FOO} " + " ".join(f"0:3:{name}" for name in [*names, *names, "x"]))
        assert table.names == (*names, "x")
        assert len(table) == len(names) + 1
        assert [table.index(name) for name in table.names] == list(range(len(table)))

    @pytest.mark.parametrize("tokens", ["0:3:b 0:3:d", "0:3:d 0:3:b"])
    def test_a_name_that_is_not_there_has_no_index(self, tokens):
        table = files_of(f". {FOO} {tokens}")
        assert [table.index(name) for name in ("", "a", "c", "e", "bb")] == [None] * 5

    def test_a_directory_without_lines_has_no_files(self):
        table = Tree.from_manifest(f"./d {FOO} 0:3:a\n").root.files()
        assert len(table) == 0
        assert table.names == ()
        assert table.index("d") is None


class TestSegments:
    def test_a_file_inside_a_block(self):
        assert content(files_of(f". {FOO} {BAR} 4:1:a"), "a") == [(BAR, 1, 1)]

    def test_a_file_over_several_blocks(self):
        table = files_of(f". {FOO} {BAR} {FOO} 1:7:a")
        assert content(table, "a") == [(FOO, 1, 2), (BAR, 0, 3), (FOO, 0, 2)]
        assert table.size(0) == 7

    def test_an_empty_file_has_none(self):
        table = files_of(f". {FOO} 3:0:end 0:0:start 1:0:middle", f". {EMPTY} 0:0:alone")
        assert [table.segments(index) for index in range(4)] == [()] * 4
        assert [table.size(index) for index in range(4)] == [0] * 4

    def test_the_locator_keeps_its_hints(self):
        hinted = f"{BAR}+A0123456789abcdef0123456789abcdef01234567@6553f100+K@zzzzz"
        assert files_of(f". {FOO} {hinted} 3:3:a").segments(0) == (Segment(hinted, 0, 3),)

    def test_tokens_of_one_file_follow_each_other(self):
        table = files_of(f". {FOO} {BAR} 3:1:a 0:3:b 1:2:a")
        assert content(table, "a") == [(BAR, 0, 1), (FOO, 1, 2)]
        assert content(table, "b") == [(FOO, 0, 3)]
        assert table.size(table.index("a")) == 3

    def test_lines_of_one_stream_follow_each_other(self):
        table = files_of(f". {FOO} 0:2:a", f"./d {FOO} 0:3:x", f". {BAR} 1:2:a 0:1:b")
        assert content(table, "a") == [(FOO, 0, 2), (BAR, 1, 2)]
        assert content(table, "b") == [(BAR, 0, 1)]

    def test_lines_of_different_form_follow_each_other(self):
        text = f"./d {FOO} 0:1:a\n. {BAR} {FOO} 4:2:d/a 0:3:d/b\n./d {FOO} 1:1:a\n"
        table = Tree.from_manifest(text).root.subdirectories["d"].files()
        assert content(table, "a") == [(FOO, 0, 3), (FOO, 1, 1)]
        assert content(table, "b") == [(BAR, 0, 3)]

    def test_tokens_of_one_path_follow_each_other_however_it_is_spelled(self):
        text = rf". {FOO} 0:1:d/a 1:1:\144/a 2:1:d/\141 0:1:d/a" + "\n"
        table = Tree.from_manifest(text).root.subdirectories["d"].files()
        assert content(table, "a") == [(FOO, 0, 3), (FOO, 0, 1)]

    def test_what_adjoins_in_a_block_is_one_segment(self):
        assert content(files_of(f". {FOO} 0:1:a 1:2:a"), "a") == [(FOO, 0, 3)]
        assert content(files_of(f". {FOO} {FOO} 0:1:a 4:2:a"), "a") == [(FOO, 0, 3)]
        assert content(files_of(f". {FOO} 0:3:a 0:3:a"), "a") == [(FOO, 0, 3), (FOO, 0, 3)]

    def test_empty_blocks_are_passed_over(self):
        assert content(files_of(f". {EMPTY} {FOO} {EMPTY} {EMPTY} {BAR} 0:6:a"), "a") == [
            (FOO, 0, 3),
            (BAR, 0, 3),
        ]

    def test_a_token_beyond_its_stream_spoils_its_file_only(self):
        table = files_of(f". {FOO} 0:3:good 2:2:long 9:1:far", f". {BAR} 0:3:other 0:1:far")
        assert [table.size(table.index(name)) for name in ("good", "long", "far")] == [3, 2, 2]
        assert content(table, "good") == [(FOO, 0, 3)]
        assert content(table, "other") == [(BAR, 0, 3)]
        for name in ("long", "far"):
            with pytest.raises(ManifestError, match=f"Line 1 .*'{name}'"):
                table.segments(table.index(name))

    def test_a_token_at_the_largest_position_spoils_its_file_only(self):
        table = files_of(f". {FOO} 0:3:a", f". {BAR} {2**63 - 1}:1:far 0:3:b")
        assert content(table, "b") == [(BAR, 0, 3)]
        with pytest.raises(ManifestError, match=r"Line 2 .*'far'"):
            table.segments(table.index("far"))

    def test_empty_files_may_stand_anywhere_in_a_stream(self):
        text = f"./d {FOO} 0:3:a\n. {BAR} {FOO} {BAR} 0:0:d/e 3:3:d/b 9:0:d/f\n"
        table = Tree.from_manifest(text).root.subdirectories["d"].files()
        assert table.names == ("a", "e", "b", "f")
        assert content(table, "e") == content(table, "f") == []
        assert content(table, "b") == [(FOO, 0, 3)]
        assert list(table.unchanged(table)) == [(0, 0), (1, 1), (2, 2), (3, 3)]

    def test_an_empty_file_may_stand_at_the_largest_position(self):
        huge = f"{BAR[:-1]}{2**63 - 1}"
        text = f"./d {FOO} 0:3:a\n. {huge} 0:1:b {2**63 - 1}:0:d/e\n"
        table = Tree.from_manifest(text).root.subdirectories["d"].files()
        assert content(table, "a") == [(FOO, 0, 3)]
        assert content(table, "e") == []

    def test_the_blocks_of_another_line_do_not_lengthen_a_stream(self):
        table = files_of(f". {FOO} 0:4:a", f". {BAR} 0:3:b")
        with pytest.raises(ManifestError):
            table.segments(0)


def version(files, *, key="one"):
    """A directory of ``files``, {name: [(block number, size), ...]}, one behind the other.

    Each block is of one file and as long as it says; its locator is signed with ``key``.
    """
    locators, tokens, position = [], [], 0
    for name, blocks in files.items():
        for number, size in blocks:
            digest = hashlib.md5(f"{number} {size}".encode()).hexdigest()
            signature = hashlib.sha1(f"{key} {digest}".encode()).hexdigest()
            locators.append(f"{digest}+{size}+A{signature}@6553f100")
        size = sum(size for _, size in blocks)
        tokens.append(f"{position}:{size}:{name}")
        position += size
    return files_of(f". {' '.join(locators) or EMPTY} {' '.join(tokens)}")


def unchanged_names(old, new):
    pairs = list(old.unchanged(new))
    assert all(old.names[index] == new.names[other] for index, other in pairs)
    return {old.names[index] for index, _ in pairs}


FILES = {f"f{number:04d}": [(number, 5), (number + 7, 2)] for number in range(1000)}


class TestComparison:
    def test_new_signatures_alone_are_no_change(self):
        old, new = version(FILES), version(FILES, key="two")
        assert unchanged_names(old, new) == set(FILES)
        assert old.segments(500) != new.segments(500)
        assert old.same_content(500, new, 500)

    @pytest.mark.parametrize("name", ["a", "f0300a", "z"])
    def test_a_new_file_changes_no_other(self, name):
        files = dict(sorted({**FILES, name: [(-1, 1)]}.items()))
        assert unchanged_names(version(FILES), version(files)) == set(FILES)
        assert unchanged_names(version(files), version(FILES)) == set(FILES)

    def test_files_in_another_order_are_unchanged(self):
        files = dict(reversed(FILES.items()))
        assert unchanged_names(version(FILES), version(files)) == set(FILES)

    @pytest.mark.parametrize(
        "blocks",
        [
            pytest.param([(-1, 5), (307, 2)], id="first block"),
            pytest.param([(300, 5), (-1, 2)], id="last block"),
            pytest.param([(300, 5)], id="shorter"),
            pytest.param([(300, 5), (307, 2), (1, 1)], id="longer"),
            pytest.param([(307, 2), (300, 5)], id="order of blocks"),
            pytest.param([], id="empty"),
        ],
    )
    def test_a_changed_file_is_the_only_one(self, blocks):
        old, new = version(FILES), version({**FILES, "f0300": blocks})
        assert unchanged_names(old, new) == set(FILES) - {"f0300"}
        assert not old.same_content(300, new, 300)

    def test_the_same_blocks_with_another_cut_are_a_change(self):
        old, new = files_of(f". {FOO} 0:2:a 0:1:b"), files_of(f". {FOO} 1:2:a 0:1:b")
        assert unchanged_names(old, new) == {"b"}

    def test_files_that_share_a_block_are_compared_by_their_own_part(self):
        old = files_of(f". {FOO} {BAR} 0:2:a 2:2:b 4:2:c")
        new = files_of(f". {BAR} {FOO} {BAR} 3:2:a 5:2:b 1:2:c")
        assert unchanged_names(old, new) == {"a", "b", "c"}

    def test_the_same_place_in_the_stream_means_nothing(self):
        old, new = files_of(f". {FOO} 0:3:a"), files_of(f". {BAR} 0:3:a")
        assert unchanged_names(old, new) == set()

    def test_the_way_tokens_are_cut_means_nothing(self):
        whole = files_of(f". {FOO} {BAR} 0:6:a 1:1:b")
        parts = files_of(f". {BAR} {FOO} 3:1:a 4:2:a 0:3:a 4:1:b 3:0:b")
        other_parts = files_of(f". {FOO} {BAR} 0:2:a 2:1:a 3:3:a 1:0:b 1:1:b")
        assert unchanged_names(parts, other_parts) == {"a", "b"}
        assert unchanged_names(whole, parts) == {"a", "b"}
        assert unchanged_names(parts, whole) == {"a", "b"}

    def test_files_of_several_tokens_are_compared_token_by_token(self):
        old = files_of(f". {FOO} {BAR} 3:1:a 0:1:a 3:1:b 0:1:b 0:1:c 3:1:c")
        new = files_of(f". {BAR} {FOO} 0:1:a 3:1:a 0:1:b 4:1:b 3:1:c 0:1:c")
        assert unchanged_names(old, new) == {"a", "c"}

    def test_a_file_beyond_its_stream_is_the_same_as_no_other(self):
        table = files_of(f". {FOO} 0:4:a 0:3:b", f". {BAR} 0:3:c")
        assert unchanged_names(table, table) == {"b", "c"}
        assert not table.same_content(0, table, 0)

    def test_files_that_moved_apart_are_compared_where_they_are_now(self):
        old = files_of(f". {FOO} 0:1:a 1:1:b 2:1:c")
        new = files_of(f". {BAR} {FOO} 3:1:a 5:1:b 4:1:c")
        assert unchanged_names(old, new) == {"a"}

    def test_files_at_the_largest_positions(self):
        huge = f"{FOO[:-1]}{2**63 - 1}"
        old = files_of(f". {huge} {2**63 - 9}:1:a 0:1:b")
        new = files_of(f". {huge} 0:1:a {2**63 - 9}:1:b")
        assert unchanged_names(old, new) == set()
        assert unchanged_names(old, old) == {"a", "b"}

    def test_a_file_that_only_became_shorter_is_changed(self):
        old, new = files_of(f". {FOO} 0:1:a 1:2:b"), files_of(f". {FOO} 0:1:a 1:1:b")
        assert unchanged_names(old, new) == {"a"}
        assert unchanged_names(new, old) == {"a"}

    def test_hash_and_size_both_name_a_block(self):
        old, new = files_of(f". {FOO} 0:3:a"), files_of(f". {FOO[:-1]}4 0:3:a")
        assert unchanged_names(old, new) == set()

    def test_of_tables_without_files(self):
        assert unchanged_names(files_of(), version(FILES)) == set()
        assert unchanged_names(version(FILES), files_of()) == set()
        assert unchanged_names(files_of(), files_of()) == set()
