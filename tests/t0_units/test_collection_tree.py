"""The tree of a collection: which directories and files a manifest makes, and when."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from arvados_fuse.collection.depth import MAX_DEPTH
from arvados_fuse.collection.tree import Segment, Tree
from arvados_fuse.errors import ManifestError

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"


def root_of(text):
    return Tree.from_manifest(text).root


def outline(directory):
    """Everything in the directory: {name: outline of a directory | size of a file}."""
    table = directory.files()
    files = {name: table.size(index) for index, name in enumerate(table.names)}
    return files | {name: outline(sub) for name, sub in directory.subdirectories.items()}


class TestShape:
    def test_no_text_is_the_empty_tree(self):
        assert outline(root_of("")) == {}

    def test_a_stream_is_a_directory_and_a_token_is_a_file(self):
        text = f". {FOO} 0:3:a 1:2:b\n./d {FOO} {BAR} 0:6:c\n./d/e/f {BAR} 3:0:nothing\n"
        assert outline(root_of(text)) == {
            "a": 3,
            "b": 2,
            "d": {"c": 6, "e": {"f": {"nothing": 0}}},
        }

    def test_names_are_unescaped(self):
        text = rf"./my\040dir {FOO} 0:3:a\072b 0:3:\303\251" + "\n"
        assert outline(root_of(text)) == {"my dir": {"a:b": 3, "é": 3}}

    def test_a_colon_in_a_name_need_not_be_escaped(self):
        assert outline(root_of(f"./x:y {FOO} 0:3:a:b 0:3::\n")) == {"x:y": {"a:b": 3, ":": 3}}

    def test_control_characters_in_names_are_legal_when_escaped(self):
        assert outline(root_of(rf". {FOO} 0:3:\000\012 0:2:\177" + "\n")) == {"\0\n": 3, "\x7f": 2}

    def test_spaces_other_than_ascii_are_parts_of_names(self):
        text = f"./a\u3000b {FOO} 0:3:c\u00a0d\x7f\u2028\x85\n"
        assert outline(root_of(text)) == {"a\u3000b": {"c\u00a0d\x7f\u2028\x85": 3}}

    def test_one_name_spelled_in_two_ways_is_one_file(self):
        assert outline(root_of(rf". {FOO} 0:1:a 1:1:\141 2:1:a" + "\n")) == {"a": 3}

    @pytest.mark.parametrize("token", [r"0:0:\056", "0:0:."])
    def test_the_placeholder_makes_an_empty_directory(self, token):
        assert outline(root_of(f"./d {EMPTY} {token}\n")) == {"d": {}}
        assert outline(root_of(f". {EMPTY} {token}\n")) == {}

    @pytest.mark.parametrize("token", [r"0:0:sub/\056", "0:0:sub/.", r"0:0:sub\057\056"])
    def test_the_placeholder_can_stand_in_the_directory_above(self, token):
        assert outline(root_of(f"./d {FOO} 0:3:a {token}\n")) == {"d": {"a": 3, "sub": {}}}

    def test_the_placeholder_may_stand_beside_files(self):
        assert outline(root_of(rf". {FOO} 0:3:a 0:0:\056 0:3:b" + "\n")) == {"a": 3, "b": 3}

    def test_a_path_in_a_token_makes_directories(self):
        text = rf". {FOO} 0:1:a/b/c 1:1:d 2:1:a\057e" + "\n"
        assert outline(root_of(text)) == {"d": 1, "a": {"e": 1, "b": {"c": 1}}}

    def test_an_escaped_slash_separates_in_stream_names_too(self):
        assert outline(root_of(rf"./a\057b {FOO} 0:3:c" + "\n")) == {"a": {"b": {"c": 3}}}

    def test_an_escaped_backslash_before_057_is_no_slash(self):
        assert outline(root_of(rf". {FOO} 0:3:a\134057b" + "\n")) == {"a\\057b": 3}

    def test_subdirectories_are_in_order_of_appearance(self):
        text = "".join(f"./{name} {FOO} 0:3:a\n" for name in ("z", "a", "m"))
        assert list(root_of(text).subdirectories) == ["z", "a", "m"]

    def test_directories_may_be_nested_as_deep_as_any(self):
        for text in (
            f"./{'/'.join(['d'] * MAX_DEPTH)} {FOO} 0:3:a\n",
            f". {FOO} 0:3:{'d/' * MAX_DEPTH}a\n",
        ):
            directory = root_of(text)
            depth = 0
            while directory.subdirectories:
                directory = directory.subdirectories["d"]
                depth += 1
            assert depth == MAX_DEPTH
            assert directory.files().names == ("a",)

    def test_the_largest_sizes_work(self):
        block = f"{FOO[:-1]}{2**63 - 1}"
        table = root_of(f". {block} 0:{2**63 - 1}:all {2**63 - 2}:1:last\n").files()
        assert table.segments(0) == (Segment(block, 0, 2**63 - 1),)
        assert table.segments(1) == (Segment(block, 2**63 - 2, 1),)

    def test_nobody_can_change_it(self):
        root = root_of(f"./d {FOO} 0:3:a\n")
        with pytest.raises(TypeError):
            root.subdirectories["e"] = root
        with pytest.raises(AttributeError):
            Tree.from_manifest("").root = root


class TestLaziness:
    def test_only_the_directory_that_is_asked_for_is_parsed(self):
        root = root_of(f"./good {FOO} 0:3:a\n./bad {FOO} oops:a\n")
        assert list(root.subdirectories) == ["good", "bad"]
        good, bad = root.subdirectories.values()
        assert good.files().names == ("a",)
        assert good.loaded
        assert not root.loaded
        assert not bad.loaded
        for _ in range(2):
            with pytest.raises(ManifestError, match="Line 2"):
                bad.files()
        assert not bad.loaded

    def test_files_are_parsed_once(self):
        root = root_of(f". {FOO} 0:3:a\n")
        assert root.files() is root.files()

    def test_dropped_files_come_back_with_the_same_indexes(self):
        root = root_of(f". {FOO} 0:3:z 0:1:a 1:1:m 2:1:a\n. {BAR} 0:3:b 0:1:z\n")
        before = root.files()
        root.drop_files()
        assert not root.loaded
        after = root.files()
        assert after is not before
        assert after.names == before.names == ("z", "a", "m", "b")
        assert [after.segments(index) for index in range(4)] == [
            before.segments(index) for index in range(4)
        ]

    def test_threads_that_parse_at_the_same_time_get_the_same(self):
        tokens = " ".join(f"0:3:{number:06d}" for number in range(20_000))
        directory = root_of(f". {FOO} {tokens}\n")
        with ThreadPoolExecutor(4) as pool:
            tables = list(pool.map(lambda _: directory.files(), range(4)))
        assert all(table.names == tables[0].names for table in tables)
        assert directory.files() in tables

    def test_a_table_outlives_its_directory(self):
        table = root_of(f". {FOO} 1:2:a\n").files()
        assert table.segments(0) == (Segment(FOO, 1, 2),)


# Long names, since tracemalloc does not see that Python allocates by 16 bytes.
TOKENS = {
    "sorted": [f"{f}:1:sample_{f:040d}" for f in range(1000)],
    "shuffled": [f"{f}:1:sample_{f * 7 % 1000:040d}" for f in range(1000)],
    "split": [f"{f}:1:sample_{f % 500:040d}" for f in range(1000)],
    "paths": [f"{f}:1:{f % 10}/sample_{f:040d}" for f in range(1000)],
    "wide": [f"{f}:1:試料_{f:040d}.文" for f in range(1000)],
    "one file": ["0:1:sample_00000000"],
}


class TestFootprint:
    @pytest.mark.parametrize("tokens", TOKENS.values(), ids=TOKENS.keys())
    def test_is_the_memory_really_used_within_ten_percent(self, tokens):
        blocks = f"{FOO[:-1]}1000+A0123456789abcdef0123456789abcdef01234567@6553f100 " * 20
        text = "".join(f"./d{number:04d} {blocks}{' '.join(tokens)}\n" for number in range(50))
        tracemalloc.start()
        try:
            text = text.encode().decode()  # a copy that is counted
            tree = Tree.from_manifest(text)
            directories = [tree.root]
            for directory in directories:
                directories.extend(directory.subdirectories.values())
            unloaded = sum(directory.footprint() for directory in directories)
            assert unloaded == pytest.approx(tracemalloc.get_traced_memory()[0], rel=0.1)
            for directory in directories:
                directory.files()
            loaded = sum(directory.footprint() for directory in directories)
            assert loaded == pytest.approx(tracemalloc.get_traced_memory()[0], rel=0.1)
        finally:
            tracemalloc.stop()
        assert loaded > unloaded
        for directory in directories:
            directory.drop_files()
        assert sum(directory.footprint() for directory in directories) == unloaded
