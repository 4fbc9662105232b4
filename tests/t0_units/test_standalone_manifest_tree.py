"""Trees of files that manifests describe, and what edits make of them."""

from __future__ import annotations

import copy
import hashlib
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arvados_fuse.standalone import manifest_text, manifest_tree
from arvados_fuse.standalone.api.edits import Edit
from arvados_fuse.standalone.api.errors import BadRequest

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"


def parsed(text):
    """The tree of a manifest."""
    return manifest_tree.parse(manifest_text.lines_of(text))


def written(tree):
    """The manifest of a tree."""
    return manifest_text.joined(manifest_tree.write(tree))


def applied(edit, text):
    """What an edit makes of a manifest."""
    return manifest_text.joined(edit.applied(manifest_text.lines_of(text)))


# The rules once more, on nested dictionaries. A file is the tuple of its bytes; a byte is a block
# and an offset in it.


class Refused(Exception):
    """The model refuses an edit."""


def model_find(tree, path):
    for name in filter(None, path.split("/")):
        if not isinstance(tree, dict) or name not in tree:
            return None
        tree = tree[name]
    return tree


def model_items(tree, other, files):
    """What is to be put where."""
    items = {}
    for target, source in files.items():
        if source:
            origin, _, path = source.partition("/")
            item = model_find(tree if origin == "current" else other, path)
            if item is None or (target == "/" and not isinstance(item, dict)):
                raise Refused
            items[target] = copy.deepcopy(item)
    return items


def model_edit(tree, other, files):
    """The rules of replace_files."""
    filled = {target for target, source in files.items() if source}
    if any(t != o and t.startswith(o.rstrip("/") + "/") for t in files for o in filled):
        raise Refused
    if "/" in files:
        tree = {}
        if any(source.startswith("current/") for source in files.values()):
            raise Refused
    items = model_items(tree, other, files)
    for target in files.keys() - filled - {"/"}:
        parent, _, name = target.rpartition("/")
        found = model_find(tree, parent)
        if isinstance(found, dict):
            found.pop(name, None)
    for target, item in items.items():
        if target == "/":
            return item
        *parents, name = target.split("/")[1:]
        directory = tree
        for parent in parents:
            directory = directory.setdefault(parent, {})
            if not isinstance(directory, dict):
                raise Refused
        directory[name] = item
    return tree


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, max_size=3).map("/".join)
BLOCKS = [f"{hashlib.md5(bytes([n])).hexdigest()}+{n}" for n in (3, 5, 0, 8)]


@st.composite
def manifests(draw):
    """Manifests of small trees, in any order, files in pieces, with overlong names for files."""
    tree = manifest_tree.Directory()
    for path in draw(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=6)):
        pieces = []
        for block in draw(st.lists(st.sampled_from(BLOCKS), max_size=3)):
            size = int(block.partition("+")[2])
            offset = draw(st.integers(0, max(0, size - 1)))
            length = draw(st.integers(min(1, size), size - offset)) if size else 0
            if length:
                pieces.append(manifest_tree.Segment(block, offset, length))
        try:
            tree.put(path, tuple(pieces))
        except manifest_tree.TreeInvalid:
            continue
    lines = written(tree).splitlines(keepends=True)
    # Not in the normal form: streams in any order, files with paths instead of streams.
    lines = draw(st.permutations(lines))
    if draw(st.booleans()):
        lines = [flattened(line) for line in lines]
    return "".join(lines)


def flattened(line):
    """Move the path of a stream into its files, where the grammar allows that."""
    stream, rest = line.split(" ", 1)
    if stream == "." or "\\056" in rest:
        return line
    return ". " + re.sub(r" (\d+:\d+:)", rf" \g<1>{stream[2:]}/", rest)


def expanded(text):
    """The model of a manifest with paths in file tokens."""
    tree = {}
    for path, data in flat_files(text):
        *parents, name = path
        directory = tree
        for parent in parents:
            directory = directory.setdefault(parent, {})
        if name == "\\056":
            continue
        directory[name] = directory.get(name, ()) + data
    return tree


def flat_files(text):
    for line in text.splitlines():
        stream = line.split(" ")[0]
        for name, data in model_of_line(line):
            yield [*stream.split("/")[1:], *name.split("/")], data


def model_of_line(line):
    data = []
    for token in line.split(" ")[1:]:
        if ":" not in token:
            block, size = token.split("+")[:2]
            data += [(block, offset) for offset in range(int(size))]
        else:
            position, size, name = token.split(":")
            yield name, tuple(data[int(position) : int(position) + int(size)])


SOURCES = st.one_of(
    st.just(""),
    PATHS.map(lambda path: f"current/{path}"),
    PATHS.map(lambda path: f"{'0' * 32}+1/{path}"),
)
EDITS = st.lists(
    st.dictionaries(PATHS.map(lambda path: f"/{path}"), SOURCES, min_size=1, max_size=4),
    max_size=3,
)


def edited(text, other, files):
    return applied(Edit(files, {}, "", lambda _hash: other), text)


class TestModel:
    """Whatever is edited, the result is what the rules say on plain dictionaries."""

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(manifests(), manifests(), EDITS)
    def test_files_are_where_the_model_has_them(self, text, other, edits):
        model, other_model = expanded(text), expanded(other)
        for files in edits:
            try:
                after = model_edit(copy.deepcopy(model), other_model, files)
            except Refused:
                with pytest.raises(BadRequest):
                    edited(text, other, files)
                continue
            model, text = after, edited(text, other, files)
            manifest_text.check_grammar(text)
            assert expanded(text) == model
            lines = manifest_text.lines_of(text)
            digest = hashlib.md5(text.encode()).hexdigest()
            assert manifest_text.portable_data_hash(text, lines) == f"{digest}+{len(text)}"

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(manifests())
    def test_written_tree_reads_the_same(self, text):
        tree = parsed(text)
        assert expanded(written(tree)) == expanded(text)
        for _path, directory in tree.walk():
            _ = directory.files
        normal = written(tree)
        assert expanded(normal) == expanded(text)
        for line in normal.splitlines():
            words = line.split(" ")[1:]
            blocks = list(itertools.takewhile(lambda word: ":" not in word, words))
            assert len(set(blocks)) == len(blocks), "a block is listed twice in a stream"


@pytest.mark.parametrize(
    "name",
    ["a b", "a:b", "a\\b", "\n", "\u00e9", "\u3000", "a+b", "\x7f"],
)
def test_any_name_survives(name):
    tree = manifest_tree.Directory()
    tree.put([name, name], (manifest_tree.Segment(FOO, 0, 3),))
    text = written(tree)
    manifest_text.check_grammar(text)
    assert parsed(text).find([name, name]) == ((FOO, 0, 3),)


def test_escaped_bytes_are_the_names_that_clients_ask_for():
    tree = parsed(f". {FOO} 0:3:\\303\\251 0:2:\\377\n")
    assert tree.find(["\u00e9"]) == ((FOO, 0, 3),)
    assert written(tree).endswith(" 0:2:\\377\n")
    tree.put(["x"], ())
    assert " 0:3:\u00e9 0:2:\\377\n" in written(tree)


@pytest.mark.parametrize(
    "text",
    [f". {FOO} 1:3:foo\n", f". {FOO} 0:3:a\n./a {FOO} 0:3:b\n", f". {FOO} 0:3:a 0:3:a/b\n"],
    ids=["file over the end", "file and directory", "file and directory in one stream"],
)
def test_manifest_that_is_no_tree_is_refused(text):
    with pytest.raises(BadRequest, match="cannot replace"):
        applied(Edit({"/bar": ""}, {}, "", lambda _hash: ""), text)


def test_file_that_is_over_the_end_can_be_removed():
    edit = Edit({"/foo": ""}, {}, "", lambda _hash: "")
    assert applied(edit, f". {FOO} 1:3:foo 0:3:bar\n") == f". {FOO} 0:3:bar\n"


def test_blocks_that_nothing_uses_any_more_go():
    edit = Edit({"/a": ""}, {}, "", lambda _hash: "")
    bar = "37b51d194a7513e45b56f6524f2d51f2+3"
    text = f". {FOO} {bar} 0:3:a 3:2:b 5:1:c 0:0:d\n"
    assert applied(edit, text) == f". {bar} 0:2:b 2:1:c 0:0:d\n"


def test_streams_that_are_not_concerned_stay_as_they_are():
    """Byte for byte, though not in the normal form; also when a directory goes elsewhere."""
    lines = [f"{stream} {FOO} 0:3:b 0:2:a" for stream in ("./d", "./e", "./f")]
    edit = Edit({"/d/a": "", "/g": "current/f", "/f": ""}, {}, "", lambda _hash: "")
    after = edit.applied(lines)
    assert after == [f"./d {FOO} 0:3:b", lines[1], f"./g {FOO} 0:3:b 0:2:a"]
    assert after[1] is lines[1]


def test_depth_has_no_limit():
    depth = 3000
    text = "./" + "/".join("d" * depth) + f" {FOO} 0:3:foo\n"
    edit = Edit({"/x": "current/d"}, {}, "", lambda _hash: "")
    after = applied(edit, text)
    assert len(after.splitlines()) == 2


def test_files_of_very_many_parts_take_time_in_proportion():
    """A database that was written to here and there is such a file, and a long hole is."""
    parts = 50_000
    text = f". {FOO}{' 0:3:hole 1:1:hole' * parts}\n"
    edit = Edit({"/copy": "current/hole"}, {}, "", lambda _hash: "")
    tree = parsed(applied(edit, text))
    for name in ("hole", "copy"):
        assert tree.find([name]) == ((FOO, 0, 3), (FOO, 1, 1)) * parts
