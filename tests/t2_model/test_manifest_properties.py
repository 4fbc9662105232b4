"""Any tree, written in any layout that the manifest format allows, is read as that tree.

The model of a directory is a dict: name -> bytes of a file, or dict of a subdirectory. A writer of
a few lines turns it into manifest text in one of many layouts, chosen by hypothesis: split tokens,
repeated streams, mixed lines, paths in tokens, odd order of blocks, needless escapes.
"""

import hashlib
import re
from dataclasses import dataclass, field
from itertools import pairwise

from arvados.collection import Collection, Subcollection
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arvados_fuse.collection.locator import HASH_DIGITS, block_name
from arvados_fuse.collection.manifest import portable_data_hash
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import ManifestError

# The same examples in each run, and no verdict from the clock.
repeatable = settings(deadline=None, derandomize=True)

odd_names = st.text(
    st.one_of(st.sampled_from("ab.:+\\ \n\x00é文\u00a0"), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=6,
)
# What the SDK can write and read: no space but the ASCII one.
plain_names = st.text(st.sampled_from("ab.:+-_\\ é文"), min_size=1, max_size=6)


def trees(names):
    """Directories of files and directories."""
    names = names.filter(lambda name: "/" not in name and name not in (".", ".."))
    entries = st.recursive(
        st.binary(max_size=12),
        lambda below: st.dictionaries(names, below, max_size=4),
        max_leaves=8,
    )
    return st.dictionaries(names, entries, max_size=4)


@dataclass
class Writer:
    """Writes a tree as a manifest, leaving all that the format leaves open to hypothesis."""

    draw: object
    empty_blocks: bool = True  # whether they may stand between others
    blocks: dict = field(default_factory=dict)  # hash -> content
    order: list = field(default_factory=list)  # paths of files, by first appearance

    def write(self, tree):
        lines = []  # [stream, [(name below the stream, bytes), ...]]
        for path, piece in self.shuffled_pieces(tree):
            if path[-1] != "." and path not in self.order:
                self.order.append(path)
            stream = path[: self.draw(st.integers(0, len(path) - 1))] if self.paths else path[:-1]
            if not (lines and lines[-1][0] == stream and self.draw(st.booleans())):
                lines.append((stream, []))
            lines[-1][1].append((path[len(stream) :], piece))
        return "".join(self.line(stream, pieces) for stream, pieces in lines)

    def shuffled_pieces(self, tree):
        """Files cut in pieces, the pieces of different files in any order."""
        self.paths, split, shuffle = (self.draw(st.booleans()) for _ in range(3))
        pieces = []
        for path, content in everything(tree):
            cuts = sorted(self.draw(st.lists(st.integers(0, len(content)), max_size=3 * split)))
            bounds = [0, *cuts, len(content)]
            pieces.append([(path, content[a:b]) for a, b in pairwise(bounds)])
        if not shuffle:
            return [piece for file in pieces for piece in file]
        turns = self.draw(st.permutations([file for file in pieces for _ in file]))
        iterators = {id(file): iter(file) for file in pieces}
        return [next(iterators[id(file)]) for file in turns]

    def line(self, stream, pieces):
        data, positions = b"", {}
        for number in self.draw(st.permutations(range(len(pieces)))):
            data += self.draw(st.binary(max_size=2))
            positions[number] = len(data)
            data += pieces[number][1]
        locators = " ".join(self.locators(data))
        tokens = " ".join(
            f"{positions[number] if name[-1] != '.' else 0}:{len(piece)}:{self.escaped(name)}"
            for number, (name, piece) in enumerate(pieces)
        )
        return f"{self.escaped(('.', *stream))} {locators} {tokens}\n"

    def locators(self, data):
        cuts = self.draw(st.lists(st.integers(0, len(data)), max_size=3))
        bounds = [0, *sorted(cuts), len(data)]
        if data and not self.empty_blocks:
            bounds = sorted(set(bounds))
        for a, b in pairwise(bounds):
            digest = hashlib.md5(data[a:b]).hexdigest()
            self.blocks[digest] = data[a:b]
            yield f"{digest}+{b - a}" + self.draw(
                st.sampled_from(["", f"+A{'7' * 40}@6553f100", "+K@zzzzz", "+Zx+Y-_@"])
            )

    def escaped(self, names):
        return "/".join("".join(map(self.character, name)) for name in names)

    def character(self, character):
        """One character of a name: escaped if it must be, and sometimes if it need not."""
        must = character <= " " or character == "\\"
        if not must and not self.draw(st.sampled_from([False] * 7 + [character < "\x7f"])):
            return character
        return "".join(f"\\{byte:03o}" for byte in character.encode())


def everything(tree, path=()):
    """Each file as (path, content), each empty directory as the placeholder in it."""
    if path and not tree:
        yield (*path, "."), b""
    for name, entry in tree.items():
        if isinstance(entry, dict):
            yield from everything(entry, (*path, name))
        else:
            yield (*path, name), entry


def read(directory, blocks):
    """The directory as a model, each file's bytes put together from its segments."""
    table = directory.files()
    model = {name: read(sub, blocks) for name, sub in directory.subdirectories.items()}
    for index, name in enumerate(table.names):
        assert table.index(name) == index
        segments = [
            blocks[locator[:HASH_DIGITS]][offset : offset + size]
            for locator, offset, size in table.segments(index)
        ]
        assert all(
            len(part) == segment.size
            for part, segment in zip(segments, table.segments(index), strict=True)
        )
        assert sum(map(len, segments)) == table.size(index)
        model[name] = b"".join(segments)
    assert len(model) == len(directory.subdirectories) + len(table)
    return model


def names_by_directory(order):
    """The names of files in each directory, from their paths."""
    names = {}
    for *directory, name in order:
        names.setdefault(tuple(directory), []).append(name)
    return names


@repeatable
@given(trees(odd_names), st.data())
def test_every_layout_of_a_tree_is_read_as_that_tree(tree, data):
    writer = Writer(data.draw)
    text = writer.write(tree)
    root = Tree.from_manifest(text).root
    assert read(root, writer.blocks) == tree
    for path, names in names_by_directory(writer.order).items():
        directory = root
        for name in path:
            directory = directory.subdirectories[name]
        assert list(directory.files().names) == names
        directory.drop_files()
    assert read(root, writer.blocks) == tree


@repeatable
@given(trees(odd_names), st.data())
def test_the_portable_data_hash_is_that_of_the_text_without_hints(tree, data):
    text = Writer(data.draw).write(tree)
    stripped = "\n".join(
        " ".join(
            "+".join(token.split("+")[:2]) if re.match(r"[0-9a-f]{32}\+[^:]*$", token) else token
            for token in line.split(" ")
        )
        for line in text.split("\n")
    ).encode()
    assert portable_data_hash(text) == f"{hashlib.md5(stripped).hexdigest()}+{len(stripped)}"


def stripped_segments(table, index):
    """A file's segments without hints."""
    return [
        (block_name(segment.locator), segment.offset, segment.size)
        for segment in table.segments(index)
    ]


def flat(tree):
    """A directory of the files of a tree, under their last names."""
    return {path[-1]: content for path, content in everything(tree) if path[-1] != "."}


@repeatable
@given(trees(plain_names), trees(plain_names), st.data())
def test_unchanged_are_the_files_whose_segments_are_the_same(old_tree, new_tree, data):
    """Whatever the layouts of the two versions are."""
    kept, other = flat(old_tree), flat(new_tree)
    writers = Writer(data.draw), Writer(data.draw)
    old = Tree.from_manifest(writers[0].write(kept)).root.files()
    new = Tree.from_manifest(writers[1].write({**kept, **other})).root.files()
    pairs = list(old.unchanged(new))
    expected = []
    for index, name in enumerate(old.names):
        other_index = new.index(name)
        same = stripped_segments(old, index) == stripped_segments(new, other_index)
        assert old.same_content(index, new, other_index) == same
        if same:
            expected.append((index, other_index))
    assert pairs == expected


@repeatable
@given(trees(odd_names), st.data())
def test_new_signatures_leave_every_file_unchanged(tree, data):
    text = Writer(data.draw).write(tree)
    resigned = re.sub(r"(?m)(?<= )([0-9a-f]{32}\+\d+)\S*", rf"\1+A{'8' * 40}@6553f100", text)
    pending = [(Tree.from_manifest(text).root, Tree.from_manifest(resigned).root)]
    while pending:
        old, new = pending.pop()
        count = len(old.files())
        assert list(old.files().unchanged(new.files())) == [(i, i) for i in range(count)]
        pending.extend(
            (old.subdirectories[name], new.subdirectories[name]) for name in old.subdirectories
        )


def sdk_model(collection, blocks):
    """The same model, from the SDK's own reader of manifests."""
    model = {}
    for name in collection:
        entry = collection[name]
        if isinstance(entry, Subcollection):
            model[name] = sdk_model(entry, blocks)
        else:
            model[name] = b"".join(
                blocks[segment.locator[:32]][segment.segment_offset :][: segment.range_size]
                for segment in entry.segments()
            )
    return model


@repeatable
@given(trees(plain_names), st.data())
def test_the_sdk_reads_the_same_tree(tree, data):
    # The SDK loses data behind an empty block.
    writer = Writer(data.draw, empty_blocks=False)
    text = writer.write(tree)
    # The SDK takes each escape for one character, and joins no bytes of UTF-8 from them.
    assume(not re.search(r"\\[23]\d\d", text))
    collection = Collection(text, api_client=object(), keep_client=object())
    assert sdk_model(collection, writer.blocks) == read(
        Tree.from_manifest(text).root, writer.blocks
    )


def walk(text):
    """Parse everything, and ask everything that can be asked."""
    pending = [Tree.from_manifest(text).root]
    while pending:
        directory = pending.pop()
        pending.extend(directory.subdirectories.values())
        table = directory.files()
        assert directory.footprint() > 0
        assert len(list(table.unchanged(table))) <= len(table)
        for index in range(len(table)):
            assert sum(segment.size for segment in table.segments(index)) == table.size(index)


@st.composite
def damaged_manifests(draw):
    """A good manifest with a few characters changed, dropped, doubled, or moved."""
    text = Writer(draw).write(draw(trees(plain_names)))
    pieces = st.sampled_from([*" \n:/\\.+A09a\t\r\x00é\ud800", "..", "\\057", "\\056", "9" * 30])
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        text = text[:start] + draw(st.lists(pieces, max_size=2).map("".join)) + text[end:]
    return text


manifest_like_text = st.lists(
    st.sampled_from(
        [" ", "\n", ".", "/", ":", "./a", "0:0:a", "0:3:b/c", "0:0:\\056", "\\057", "..", "\t",
         "d41d8cd98f00b204e9800998ecf8427e+0", "acbd18db4cc2f85cedef654fccc4a4d8+3", "+Ax", "é"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@repeatable
@given(st.one_of(damaged_manifests(), manifest_like_text, st.text()))
def test_damaged_text_is_read_or_refused_and_nothing_else(text):
    try:
        walk(text)
    except ManifestError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 300
        assert "7" * 40 not in message
