"""Drafts: collections that are being changed; renaming in them and between them."""

from __future__ import annotations

import pytest

from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.tree import Tree, TreeDirectory
from arvados_fuse.errors import (
    Exists,
    InvalidArgument,
    IsDirectory,
    NameNotText,
    NameTooLong,
    NoSuchEntry,
    NotDirectory,
    NotEmpty,
)
from tests.support.drafts import Chunk, check_sound

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
TEXT = f". {FOO} 0:3:foo\n./d {FOO} 0:1:one 1:2:two\n./d/e {FOO} 0:3:deep\n"


@pytest.fixture
def draft():
    draft = Draft(Tree.from_manifest(TEXT))
    yield draft
    check_sound(draft)


@pytest.fixture
def root(draft):
    return draft.root


class TestLooking:
    """What a draft shows without changes is the base, without an object for each file."""

    def test_base_shows_through(self, root):
        assert root.find("foo") == 0
        assert isinstance(root.find("d"), TreeDirectory)
        assert not root.has("bar")
        assert list(root.base_files()) == [(0, "foo")]
        assert list(root.directory_names()) == ["d"]
        assert not root.overlay

    def test_object_stands_for_the_base_file_once_it_is_opened(self, root):
        file = root.open_file("foo")
        assert root.find("foo") is root.open_file("foo") is file
        assert (file.size, file.is_dirty, root.is_dirty) == (3, False, False)
        assert list(root.base_files()) == []
        assert list(root.own_files()) == [("foo", file)]

    def test_object_that_says_what_the_base_says_can_be_forgotten(self, root):
        root.open_file("foo")
        root.directory("d")
        assert root.forget("foo")
        assert root.forget("d")
        assert not root.overlay
        assert root.find("foo") == 0

    @pytest.mark.parametrize("prevent", ["pins", "write", "rename", "content"])
    def test_object_that_says_more_cannot_be_forgotten(self, root, prevent):
        file = root.open_file("foo")
        if prevent == "pins":
            file.pins = 1
        elif prevent == "write":
            file.truncate(1)
        elif prevent == "rename":
            rename(root, "foo", root, "bar")
        else:
            rename(root, "foo", root.directory("d"), "one")
            file.settled_at = (root.directory("d"), "one")
            root.directory("d").settled["one"] = file
            del root.settled["foo"]
            root.note("foo")
            root.directory("d").note("one")
        assert not file.parent.forget(file.name)

    def test_paths(self, draft, root):
        deep = root.directory("d").directory("e").open_file("deep")
        assert (deep.path(), deep.settled_path(), root.path()) == ("d/e/deep", "d/e/deep", "")
        rename(root, "d", root, "new")
        assert (deep.path(), deep.settled_path()) == ("new/e/deep", "d/e/deep")
        assert draft.locate("new/e/deep") == (deep.parent, "deep")

    def test_wrong_kinds_are_refused(self, draft, root):
        for action, error in (
            (lambda: root.directory("foo"), NotDirectory),
            (lambda: root.directory("none"), NoSuchEntry),
            (lambda: root.open_file("d"), IsDirectory),
            (lambda: root.open_file("none"), NoSuchEntry),
            (lambda: root.unlink("d"), IsDirectory),
            (lambda: root.unlink("none"), NoSuchEntry),
            (lambda: root.rmdir("foo"), NotDirectory),
            (lambda: root.rmdir("d"), NotEmpty),
            (lambda: root.create("foo"), Exists),
            (lambda: root.mkdir("d"), Exists),
            (lambda: draft.locate("foo/x"), NotDirectory),
            (lambda: draft.locate("none/x"), NoSuchEntry),
        ):
            with pytest.raises(error):
                action()
        assert not draft.is_dirty


class TestNames:
    """What a file can be called."""

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("", InvalidArgument),
            (".", InvalidArgument),
            ("..", InvalidArgument),
            ("a/b", InvalidArgument),
            ("é" * 128, NameTooLong),
            ("\udcff", NameNotText),
        ],
    )
    def test_impossible_names(self, root, name, error):
        for action in (root.create, root.mkdir, lambda new: rename(root, "foo", root, new)):
            with pytest.raises(error):
                action(name)

    def test_names_of_255_bytes_and_odd_characters(self, root):
        for name in ("é" * 127 + "x", "a b:c\\d\n", "文"):
            assert root.create(name).name == name


class TestDirty:
    """What is not as the cluster has it is noted, up to the root, and nothing else."""

    def test_write_makes_the_way_up_dirty(self, draft, root):
        file = root.directory("d").directory("e").open_file("deep")
        file.write(0, 1, Chunk(1).append(b"x"))
        assert (root.changed, root.directory("d").changed) == ({"d"}, {"e"})
        assert draft.is_dirty
        assert file.is_dirty

    def test_revision_counts_changes(self, root):
        file = root.open_file("foo")
        before = file.revision
        file.truncate(file.size)
        assert file.revision == before
        file.truncate(1)
        file.write(0, 1, Chunk(1).append(b"x"))
        assert file.revision == before + 2

    def test_file_that_comes_and_goes_leaves_nothing(self, draft, root):
        root.directory("d").create("lock")
        root.directory("d").unlink("lock")
        assert not draft.is_dirty
        assert "lock" not in root.directory("d").overlay

    def test_file_that_is_moved_there_and_back_is_clean(self, draft, root):
        rename(root, "d", root, "new")
        assert draft.is_dirty
        rename(root, "new", root, "d")
        assert not draft.is_dirty

    def test_unlinked_file_goes_on(self, draft, root):
        file = root.create("temporary")
        root.unlink("temporary")
        file.write(0, 1, Chunk(1).append(b"x"))
        assert (file.size, file.parent, draft.is_dirty) == (1, None, False)

    def test_unlink_returns_the_object_if_there_is_one(self, root):
        file = root.directory("d").open_file("one")
        assert root.directory("d").unlink("one") is file
        assert root.directory("d").unlink("two") is None

    def test_nothing_is_made_in_a_removed_directory(self, root):
        directory = root.mkdir("new")
        assert root.rmdir("new") is directory
        assert directory.is_removed
        for action in (directory.create, directory.mkdir):
            with pytest.raises(NoSuchEntry):
                action("x")
        with pytest.raises(NoSuchEntry):
            rename(root, "foo", directory, "x")


class TestRename:
    """The rules of POSIX."""

    def test_directory_moves_as_a_whole_and_stays_the_same_object(self, root):
        directory = root.directory("d")
        rename(root, "d", root.mkdir("new"), "d2")
        assert root.directory("new").directory("d2") is directory
        assert directory.path() == "new/d2"
        assert not directory.overlay, "nothing was made an object"

    def test_what_is_replaced_is_returned(self, root):
        root.directory("d").open_file("one")
        replaced = root.directory("d").find("one")
        assert rename(root, "foo", root.directory("d"), "one") is replaced
        assert replaced.parent is None
        assert rename(root.directory("d"), "one", root.directory("d"), "two") is None
        assert not root.has("foo")

    def test_errors(self, root):
        empty, directory = root.mkdir("empty"), root.directory("d")
        for arguments, error in (
            ((root, "none", root, "x"), NoSuchEntry),
            ((root, "d", root, "foo"), NotDirectory),
            ((root, "foo", root, "empty"), IsDirectory),
            ((root, "foo", root, "d"), IsDirectory),
            ((root, "empty", root, "d"), NotEmpty),
            ((directory, "e", root, "d"), NotEmpty),
            ((root, "d", directory, "x"), InvalidArgument),
            ((root, "d", directory.directory("e"), "x"), InvalidArgument),
            ((root, "empty", empty, "x"), InvalidArgument),
        ):
            with pytest.raises(error):
                rename(*arguments)

    def test_onto_itself_does_nothing(self, draft, root):
        assert rename(root, "foo", root, "foo") is None
        assert not draft.is_dirty

    def test_empty_directory_is_replaced(self, root):
        root.mkdir("empty")
        rename(root, "d", root, "empty")
        assert root.directory("empty").has("one")
