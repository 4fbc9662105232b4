"""Directories of a collection are nested so deep, and no deeper."""

import sys

import pytest

from arvados_fuse.collection.delta import delta, full_manifest, settle, snapshot
from arvados_fuse.collection.depth import MAX_DEPTH, RECURSION_LIMIT
from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.merge import rebase
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import ManifestError, NameTooLong

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"


def nested(levels: int, top: str = "d") -> str:
    """A manifest of so many levels of directories, with a file at the bottom."""
    return "/".join([".", top, *["d"] * (levels - 1)]) + f" {FOO} 0:3:foo\n"


def bottom(draft, top="d"):
    directory = draft.root.directory(top)
    while directory.has("d"):
        directory = directory.directory("d")
    return directory


@pytest.fixture(autouse=True)
def room():
    """As the mount has it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT)
    yield
    sys.setrecursionlimit(before)


class TestManifest:
    def test_may_be_as_deep_as_that(self):
        assert bottom(Draft(Tree.from_manifest(nested(MAX_DEPTH)))).has("foo")

    def test_that_is_deeper_is_refused(self):
        with pytest.raises(ManifestError, match="nested more than"):
            Tree.from_manifest(nested(MAX_DEPTH + 1))

    def test_that_is_deeper_by_a_path_in_a_file_token_is_refused(self):
        with pytest.raises(ManifestError, match="nested more than"):
            Tree.from_manifest(f". {FOO} 0:3:{'d/' * (MAX_DEPTH + 1)}foo\n")


class TestRename:
    def test_moves_as_deep_as_that(self):
        draft = Draft(Tree.from_manifest(nested(MAX_DEPTH - 100) + nested(100, "e")))
        rename(draft.root, "e", bottom(draft), "d")
        assert bottom(draft).has("foo")

    def test_deeper_is_refused_and_changes_nothing(self):
        draft = Draft(Tree.from_manifest(nested(MAX_DEPTH - 99) + nested(100, "e")))
        with pytest.raises(NameTooLong):
            rename(draft.root, "e", bottom(draft), "d")
        assert not draft.is_dirty

    def test_counts_what_was_made_here_and_in_the_cluster(self):
        draft = Draft(Tree.from_manifest(nested(MAX_DEPTH - 2) + nested(2, "e")))
        draft.root.mkdir("new")
        rename(draft.root, "e", draft.root.directory("new"), "e")
        with pytest.raises(NameTooLong):
            rename(draft.root, "new", bottom(draft), "d")
        rename(draft.root.directory("new"), "e", bottom(draft), "d")


class TestRoom:
    """All that is done to a collection gets by with the room that there is."""

    @pytest.mark.parametrize("whole", [False, True])
    def test_for_a_commit(self, whole):
        draft = Draft(Tree.from_manifest(""))
        directory = draft.root
        for _ in range(MAX_DEPTH):
            directory = directory.mkdir("d")
        taken = snapshot(draft, whole=whole)
        text = full_manifest(taken) if whole else delta(taken).manifest_text
        settle(taken)
        assert not draft.is_dirty
        assert not bottom(Draft(Tree.from_manifest(text))).has("d")

    def test_for_a_merge(self):
        draft = Draft(Tree.from_manifest(nested(MAX_DEPTH)))
        bottom(draft).create("new")
        rename(draft.root, "d", draft.root, "f")
        theirs = nested(MAX_DEPTH).replace("foo", "bar") + nested(MAX_DEPTH, "e")
        rebase(draft, Tree.from_manifest(theirs), lambda name: f"{name}~ours")
        assert bottom(draft, "f").has("new")
        assert bottom(draft, "f").has("bar")
        assert bottom(draft, "e").has("foo")

    def test_for_a_merge_with_what_they_removed(self):
        draft = Draft(Tree.from_manifest(nested(MAX_DEPTH)))
        bottom(draft).create("new")
        rebase(draft, Tree.from_manifest(""), lambda name: f"{name}~ours")
        assert bottom(draft).has("new")

    def test_for_a_merge_with_what_was_removed_here(self):
        draft = Draft(Tree.from_manifest(nested(MAX_DEPTH)))
        _remove_all(draft)
        theirs = nested(MAX_DEPTH).replace("foo", "bar")
        rebase(draft, Tree.from_manifest(theirs), lambda name: f"{name}~ours")
        assert bottom(draft).has("bar")


def _remove_all(draft):
    directory = bottom(draft)
    directory.unlink("foo")
    while directory.parent is not None:
        above, name = directory.parent, directory.name
        above.rmdir(name)
        directory = above
