"""A draft does what a file system does, and the cluster gets what the draft shows.

Random operations run on a draft and on a model of a few lines. Commits are mixed in; while one is
under way, operations go on.
"""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from arvados_fuse.collection.delta import delta, full_manifest, settle, snapshot
from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.transfer import pack, remove, unpack
from arvados_fuse.collection.tree import Tree
from tests.support.drafts import (
    Blocks,
    Chunk,
    Model,
    check_sound,
    outcome,
    replace_files,
    tree_of,
    tree_segments,
    upload,
    written,
)

repeatable = settings(deadline=None, derandomize=True, max_examples=300)

NAMES = ("a", "b", "c d:\\é")
paths = st.sampled_from([p for depth in (1, 2, 3) for p in product(NAMES, repeat=depth)])
small = st.integers(0, 6)
data = st.binary(min_size=1, max_size=6)

contents = st.dictionaries(paths, st.none() | st.binary(max_size=6), max_size=8).map(
    lambda content: {
        path: held
        for path, held in content.items()
        if all(content.get(path[:depth]) is None for depth in range(1, len(path)))
    }
)

operations = st.one_of(
    st.tuples(st.just("create"), paths),
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("write"), paths, small, data),
    st.tuples(st.just("truncate"), paths, small),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("hold"), paths),
    st.tuples(st.just("write held"), small, data),
    st.tuples(st.just("forget"), paths),
)
edits = st.lists(operations, max_size=12)


class Pair:
    """A draft, its model, and the content that the cluster has, as segments."""

    def __init__(self, content, blocks=None):
        self.blocks = blocks or Blocks()
        self.stored = self.blocks.stored(complete(content))
        self.model = Model(complete(content))
        self.draft = Draft(tree_of(self.stored))
        self.chunk = Chunk(0)
        self.held = []  # files that are open, each with its path if it has one

    @property
    def cluster(self):
        """The bytes that the cluster has."""
        return self.blocks.bytes_of(self.stored)

    def run(self, steps):
        for step in steps:
            self.do(*step)
            self.check()

    def do(self, action, *arguments):
        if action in ("hold", "write held", "forget"):
            getattr(self, action.replace(" ", "_"))(*arguments)
        else:
            expected = outcome(getattr(self.model, action), *arguments)
            assert outcome(self.on_draft, action, *arguments) == expected

    def on_draft(self, action, path, *arguments):
        directory, name = self.locate(path)
        if action == "rename":
            rename(directory, name, *self.locate(arguments[0]))
        elif action == "write":
            start, new = arguments
            directory.open_file(name).write(start, len(new), self.chunk.append(new))
        elif action == "truncate":
            directory.open_file(name).truncate(*arguments)
        else:
            getattr(directory, action)(name)

    def locate(self, path):
        return self.draft.locate("/".join(path))

    def hold(self, path):
        if self.model.content.get(path) is not None:
            directory, name = self.locate(path)
            file = directory.open_file(name)
            self.held = [held for held in self.held if held[0] is not file]
            self.held.append([file, self.model.content[path]])

    def write_held(self, start, new):
        for entry in self.held[-1:]:
            file = entry[0]
            before = self.blocks.read_map(file.extents)
            file.write(start, len(new), self.chunk.append(new))
            entry[1] = written(before, start, new)
            if file.parent is not None:
                self.model.content[tuple(file.path().split("/"))] = entry[1]

    def forget(self, path):
        if self.model.content.get(path[:-1], b"") is None or len(path) == 1:
            directory, name = self.locate(path)
            entry = directory.overlay.get(name)
            if not any(file is entry for file, _ in self.held):
                directory.forget(name)

    def check(self):
        check_sound(self.draft)
        assert self.blocks.draft_content(self.draft) == self.model.content
        for file, content in self.held:
            if file.parent is None:
                assert self.blocks.read_map(file.extents) == content
            else:
                held = self.blocks.read_map(file.extents)
                assert held == self.model.content[tuple(file.path().split("/"))]

    def send(self, taken):
        """Give the cluster what a snapshot says."""
        upload(taken, self.blocks)
        sent = delta(taken)
        supplied = tree_segments(Tree.from_manifest(sent.manifest_text).root)
        self.stored = replace_files(self.stored, sent.replace_files, supplied)

    def commit(self, meanwhile=()):
        """Commit, with operations that come while the commit is under way."""
        before = dict(self.model.content)
        taken = snapshot(self.draft)
        self.chunk = Chunk(self.chunk.number + 1)
        if taken is None:
            assert self.cluster == before
        self.run(meanwhile)
        if taken is not None:
            self.send(taken)
            assert self.cluster == before
            settle(taken)
            self.check()


def complete(content):
    """With the directories on the way to each file."""
    return content | {p[:depth]: None for p in content for depth in range(1, len(p))}


@repeatable
@given(contents, edits)
def test_draft_does_what_a_file_system_does(content, steps):
    Pair(content).run(steps)


@repeatable
@given(contents, st.lists(st.tuples(edits, edits), min_size=1, max_size=3))
def test_cluster_has_after_a_commit_what_the_draft_showed_when_it_began(content, rounds):
    pair = Pair(content)
    for before, meanwhile in rounds:
        pair.run(before)
        pair.commit(meanwhile)
    pair.commit()
    assert not pair.draft.is_dirty
    assert snapshot(pair.draft) is None


@repeatable
@given(contents, edits, st.booleans(), edits)
def test_full_manifest_is_read_as_what_the_draft_showed(content, steps, commits, more):
    pair = Pair(content)
    pair.run(steps)
    if commits:
        pair.commit()
        pair.run(more)
    expected = dict(pair.model.content)
    taken = snapshot(pair.draft, whole=True)
    pair.run(more)
    upload(taken, pair.blocks)
    text = full_manifest(taken)
    pair.stored = tree_segments(Tree.from_manifest(text).root)
    assert pair.cluster == expected
    assert "\n" not in text.strip("\n") or text == "".join(sorted(text.splitlines(True), key=key))
    settle(taken)
    pair.commit()


def key(line):
    """The order of streams in normal form."""
    return line.split(" ", 1)[0].split("/")


def below(content, top):
    """What is at a path and below it, by the path from there."""
    return {p[len(top) :]: data for p, data in content.items() if p[: len(top)] == top}


@repeatable
@given(contents, contents, edits, st.lists(st.tuples(paths, paths), max_size=3), edits, edits)
def test_entries_move_between_collections(content, other, steps, moves, meanwhile, after):
    one = Pair(content)
    two = Pair(other, one.blocks)
    one.run(steps)
    for old, new in moves:
        one.commit()
        is_parent_there = len(new) == 1 or two.model.content.get(new[:-1], b"") is None
        if old not in one.model.content or not is_parent_there:
            continue
        parcel = pack(*one.locate(old))
        unpack(parcel, *two.locate(new))
        moved = below(one.model.content, old)
        for path in below(two.model.content, new):
            del two.model.content[new + path]
        two.model.content |= {new + path: data for path, data in moved.items()}
        two.check()
        assert pack(*two.locate(new)).has_same_content(parcel)
        two.commit()
        assert pack(*two.locate(new)).has_same_content(parcel)
        remove(*one.locate(old))
        for path in moved:
            del one.model.content[old + path]
        one.check()
        one.commit(meanwhile)
    for pair in (one, two):
        pair.check()
        pair.run(after)
        pair.commit()
        assert not pair.draft.is_dirty
