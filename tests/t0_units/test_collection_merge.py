"""Merging: the draft's changes and what somebody else has made of the collection meanwhile."""

from __future__ import annotations

import pytest

from arvados_fuse.collection.delta import delta, settle, snapshot
from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.extents import Stored
from arvados_fuse.collection.merge import Conflict, rebase
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import ManifestError
from tests.support.drafts import Blocks, Chunk, check_sound

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
BAZ = "73feffa4b7f6bb68e44cf984c85f6e88+3"
BASE = f". {FOO} 0:3:f 0:3:g\n./d {FOO} 0:3:x 0:3:y\n"
CONTENTS = {FOO: b"foo", BAR: b"bar", BAZ: b"baz"}


class Merging:
    """A draft of BASE, and what is in it after a merge."""

    def __init__(self):
        self.draft = Draft(Tree.from_manifest(BASE))
        self.blocks = Blocks()
        self.blocks.contents.update(CONTENTS)
        self.conflicts = None

    @property
    def root(self):
        return self.draft.root

    @property
    def d(self):
        return self.root.directory("d")

    def write(self, directory, name, locator=BAR):
        file = directory.open_file(name) if directory.has(name) else directory.create(name)
        file.write(0, 3, Stored(locator, 0))
        return file

    def rebase(self, text):
        self.conflicts = rebase(self.draft, Tree.from_manifest(text), lambda name: f"{name}~")
        check_sound(self.draft)
        content = self.blocks.draft_content(self.draft)
        return {"/".join(path): held for path, held in content.items()}


@pytest.fixture
def merging():
    return Merging()


def base(**changes):
    """The content of BASE with changes; `...` takes away. d_x is d/x, and d_x_ours is d/x~."""
    content = {"f": b"foo", "g": b"foo", "d": None, "d/x": b"foo", "d/y": b"foo"}
    content |= {
        name.replace("_", "/").replace("/ours", "~"): held for name, held in changes.items()
    }
    return {name: held for name, held in content.items() if held is not ...}


def test_different_files_are_merged(merging):
    merging.write(merging.root, "f")
    got = merging.rebase(BASE.replace("0:3:g", "0:1:g").replace("0:3:x", "0:3:new"))
    assert got == base(f=b"bar", g=b"f", d_x=..., d_new=b"foo")
    assert not merging.conflicts
    assert merging.root.changed == {"f"}


def test_file_that_both_have_changed_is_there_twice(merging):
    file = merging.write(merging.d, "x")
    got = merging.rebase(BASE.replace("0:3:x", "0:1:x"))
    assert got == base(d_x=b"f", d_x_ours=b"bar")
    assert merging.conflicts == [Conflict("d/x", "d/x~")]
    assert merging.d.find("x~") is file
    assert file.path() == "d/x~"


def test_conflict_name_that_is_taken_is_not_used(merging):
    merging.write(merging.root, "f")
    got = merging.rebase(f". {BAZ} 0:3:f 0:3:f~ 0:3:g\n./d {FOO} 0:3:x 0:3:y\n")
    assert got == base(f=b"baz", g=b"baz", f_ours=b"baz") | {"2-f~": b"bar"}


def test_same_change_is_no_conflict(merging):
    merging.write(merging.root, "f")
    got = merging.rebase(f". {BAR}+Asigned {FOO} 0:3:f 3:3:g\n./d {FOO} 0:3:x 0:3:y\n")
    assert got == base(f=b"bar")
    assert isinstance(merging.root.find("f"), int), "the base alone says what it is"
    assert not merging.draft.is_dirty


def test_what_is_not_uploaded_is_not_known_to_be_the_same(merging):
    merging.root.open_file("f").write(0, 3, Chunk(1).append(b"bar"))
    merging.rebase(f". {BAR} {FOO} 0:3:f 3:3:g\n./d {FOO} 0:3:x 0:3:y\n")
    assert len(merging.conflicts) == 1


def test_removed_by_them_and_changed_by_us_stays(merging):
    file = merging.write(merging.root, "f")
    merging.write(merging.d, "x")
    assert merging.rebase(f". {FOO} 0:3:g\n") == base(f=b"bar", d_x=b"bar", d_y=...)
    assert file.settled_at is None
    assert delta(snapshot(merging.draft)).replace_files == {
        "/f": "manifest_text/f",
        "/d/x": "manifest_text/d/x",
    }


def test_removed_by_us_and_changed_by_them_comes_back(merging):
    merging.root.unlink("f")
    merging.root.open_file("g")
    merging.root.unlink("g")
    assert merging.rebase(BASE.replace("0:3:f 0:3:g", "0:1:f 0:2:g")) == base(f=b"f", g=b"fo")
    assert not merging.draft.is_dirty


def test_removed_by_both_is_gone(merging):
    merging.root.unlink("f")
    assert merging.rebase(BASE.replace("0:3:f ", "")) == base(f=...)
    assert not merging.draft.is_dirty


def test_file_against_directory_takes_the_conflict_name(merging):
    merging.write(merging.root, "new")
    merging.root.mkdir("n2").create("in")
    got = merging.rebase(BASE.replace(" 0:3:g", " 0:3:g 0:3:n2") + f"./new {FOO} 0:3:z\n")
    assert got == base(new=None, new_z=b"foo", n2=b"foo", new_ours=b"bar", n2_ours=None) | {
        "n2~/in": b""
    }
    assert {conflict.path for conflict in merging.conflicts} == {"new", "n2"}


def test_directories_of_one_name_that_both_made_become_one(merging):
    new = merging.root.mkdir("new")
    merging.write(new, "ours")
    merging.write(new, "both")
    got = merging.rebase(BASE + f"./new {FOO} 0:3:both 0:3:theirs\n")
    assert merging.root.directory("new") is new
    assert got["new/both"] == b"foo"
    assert got["new/both~"] == b"bar"
    assert (got["new/ours"], got["new/theirs"]) == (b"bar", b"foo")


class TestDirectories:
    """Directories that are moved and removed."""

    def test_change_inside_moves_along(self, merging):
        rename(merging.root, "d", merging.root, "moved")
        got = merging.rebase(BASE.replace("0:3:x", "0:1:x 0:3:added"))
        assert got == base(d=..., d_x=..., d_y=...) | {
            "moved": None,
            "moved/x": b"f",
            "moved/y": b"foo",
            "moved/added": b"foo",
        }
        assert delta(snapshot(merging.draft)).replace_files == {"/d": "", "/moved": "current/d"}

    def test_moved_file_takes_their_change_along(self, merging):
        rename(merging.root, "f", merging.d, "moved")
        file = merging.d.find("moved")
        assert merging.rebase(BASE.replace("0:3:f", "0:1:f"))["d/moved"] == b"f"
        assert merging.d.find("moved") is file

    def test_removed_by_us_comes_back_with_what_they_added_only(self, merging):
        removed = merging.d
        for name in ("x", "y"):
            removed.unlink(name)
        merging.root.rmdir("d")
        assert merging.rebase(BASE + f"./d {FOO} 0:3:z\n") == base(d_x=..., d_y=..., d_z=b"foo")
        assert merging.d is removed
        assert delta(snapshot(merging.draft)).replace_files == {"/d/x": "", "/d/y": ""}

    def test_removed_and_made_again_is_joined_with_what_they_added(self, merging):
        for name in ("x", "y"):
            merging.d.unlink(name)
        merging.root.rmdir("d")
        made = merging.root.mkdir("d")
        merging.write(made, "x")
        assert merging.rebase(BASE + f"./d {FOO} 0:3:z\n") == base(d_x=b"bar", d_y=..., d_z=b"foo")
        assert merging.d is made
        assert not merging.conflicts
        assert delta(snapshot(merging.draft)).replace_files == {
            "/d/x": "manifest_text/d/x",
            "/d/y": "",
        }

    def test_removed_by_them_goes_if_we_have_not_changed_it(self, merging):
        directory = merging.d
        assert merging.rebase(f". {FOO} 0:3:f 0:3:g\n") == base(d=..., d_x=..., d_y=...)
        assert directory.is_removed

    def test_removed_by_them_and_moved_by_us_stays_as_a_whole(self, merging):
        rename(merging.root, "d", merging.root, "moved")
        got = merging.rebase(f". {FOO} 0:3:f 0:3:g\n")
        assert (got["moved/x"], got["moved/y"]) == (b"foo", b"foo")
        assert delta(snapshot(merging.draft)).replace_files == {
            "/moved/x": "manifest_text/moved/x",
            "/moved/y": "manifest_text/moved/y",
        }

    def test_each_is_on_top_of_the_one_in_the_new_tree(self, merging):
        directory, before = merging.d, merging.draft.base
        merging.rebase(BASE)
        now = merging.draft.base
        assert now is not before
        assert merging.root.base is now.root
        assert directory.base is now.root.subdirectories["d"]


class TestObjects:
    """Which objects stay."""

    def test_clean_files_leave_the_draft(self, merging):
        for name in ("f", "g"):
            merging.root.open_file(name)
        assert merging.rebase(BASE.replace("0:3:g", "0:1:g")) == base(g=b"f")
        assert not list(merging.root.own_files())

    def test_pinned_files_stay_and_show_what_theirs_shows(self, merging):
        """So that what is written through an open handle later is not lost."""
        same, changed = (merging.root.open_file(name) for name in ("f", "g"))
        same.pins = changed.pins = 1
        before = same.revision, changed.revision
        merging.rebase(f". {FOO}+Anew 0:3:f 0:1:g\n")
        assert merging.root.find("f") is same
        assert merging.root.find("g") is changed
        assert not merging.draft.is_dirty
        assert same.extents.segments()[0].locator == f"{FOO}+Anew", "signatures become new"
        assert (same.revision, changed.revision) == (before[0], before[1] + 1)
        changed.truncate(0)
        assert merging.root.changed == {"g"}

    def test_committed_file_is_the_bases_after_the_rebase(self, merging):
        merging.write(merging.root, "new")
        taken = snapshot(merging.draft)
        settle(taken)
        merging.rebase(BASE + f". {BAR} 0:3:new\n")
        assert not merging.root.overlay
        assert merging.root.find("new") == 2

    def test_damaged_directory_changes_nothing(self, merging):
        merging.write(merging.d, "x")
        before = merging.draft.base
        with pytest.raises(ManifestError):
            merging.rebase(f". {FOO} 0:3:f\n./d nonsense 0:3:x\n")
        assert merging.draft.base is before
        assert merging.root.changed == {"d"}
