"""What a commit sends: exactly what changed, by the rules of `replace_files`.

The deltas are given to the standalone cluster's API as well, which knows these rules on its own.
"""

from __future__ import annotations

import random
from itertools import product

import pytest

from arvados_fuse.collection.compose import placeholder, stream
from arvados_fuse.collection.delta import delta, full_manifest, settle, snapshot
from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.extents import Spot, Stored
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import FileSystemError
from tests.support.drafts import Blocks, Chunk, tree_segments, upload
from tests.support.local_cluster import LocalCluster

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"
TEXT = (
    f". {FOO} 0:3:foo\n./d {FOO} 0:1:one 1:2:two\n./d/e {FOO} 0:3:deep\n./empty {EMPTY} 0:0:\\056\n"
)


@pytest.fixture
def draft():
    return Draft(Tree.from_manifest(TEXT))


@pytest.fixture
def root(draft):
    return draft.root


def write(file, locator, size=3):
    """Write as if the bytes were in a block already."""
    file.write(0, size, Stored(locator, 0))


def sent(draft):
    """What the next commit sends."""
    return delta(snapshot(draft))


class TestDelta:
    """The request."""

    def test_nothing_changed_is_no_commit(self, draft, root):
        root.open_file("foo")
        root.directory("d").directory("e")
        assert snapshot(draft) is None

    def test_new_file_comes_with_its_manifest(self, draft, root):
        write(root.directory("d").create("new"), BAR)
        assert sent(draft) == ({"/d/new": "manifest_text/d/new"}, f"./d {BAR} 0:3:new\n")

    def test_empty_file(self, draft, root):
        root.create("new")
        assert sent(draft) == ({"/new": "manifest_text/new"}, f". {EMPTY} 0:0:new\n")

    def test_new_directory_that_is_empty(self, draft, root):
        root.mkdir("new").mkdir("in")
        assert sent(draft) == (
            {"/new/in": "manifest_text/new/in"},
            f"./new/in {EMPTY} 0:0:\\056\n",
        )

    def test_removed_entries(self, draft, root):
        root.unlink("foo")
        root.directory("d").unlink("one")
        root.rmdir("empty")
        assert sent(draft) == ({"/foo": "", "/d/one": "", "/empty": ""}, "")

    def test_moved_file_and_directory_are_one_entry_each(self, draft, root):
        rename(root, "foo", root, "bar")
        rename(root, "d", root.directory("empty"), "d2")
        assert sent(draft) == (
            {
                "/bar": "current/foo",
                "/foo": "",
                "/empty/d2": "current/d",
                "/d": "",
            },
            "",
        )

    def test_moved_directory_with_a_change_inside_is_put_together(self, draft, root):
        rename(root, "d", root, "new")
        write(root.directory("new").open_file("one"), BAR)
        assert sent(draft) == (
            {
                "/d": "",
                "/new/one": "manifest_text/new/one",
                "/new/two": "current/d/two",
                "/new/e": "current/d/e",
            },
            f"./new {BAR} 0:3:one\n",
        )

    def test_moved_directory_with_a_change_deep_inside_is_put_together_along_the_way(
        self, draft, root
    ):
        rename(root, "d", root, "new")
        root.directory("new").directory("e").create("x")
        assert sent(draft).replace_files == {
            "/d": "",
            "/new/one": "current/d/one",
            "/new/two": "current/d/two",
            "/new/e/deep": "current/d/e/deep",
            "/new/e/x": "manifest_text/new/e/x",
        }

    def test_files_change_places(self, draft, root):
        directory = root.directory("d")
        rename(directory, "one", root, "temporary")
        rename(directory, "two", directory, "one")
        rename(root, "temporary", directory, "two")
        assert sent(draft) == ({"/d/one": "current/d/two", "/d/two": "current/d/one"}, "")

    def test_file_in_place_of_a_directory_and_the_other_way_round(self, draft, root):
        rename(root, "foo", root, "temporary")
        rename(root, "d", root, "foo")
        rename(root, "temporary", root, "d")
        assert sent(draft) == ({"/d": "current/foo", "/foo": "current/d"}, "")

    def test_directory_that_was_made_again_is_cleared_first(self, draft, root):
        root.rmdir("empty")
        root.mkdir("empty").create("x")
        assert sent(draft).replace_files == {"/empty": "", "/empty/x": "manifest_text/empty/x"}

    def test_names_are_plain_in_paths_and_escaped_in_the_manifest(self, draft, root):
        write(root.create("a b:é\\"), BAR)
        assert sent(draft) == (
            {"/a b:é\\": "manifest_text/a b:é\\"},
            f". {BAR} 0:3:a\\040b\\072é\\134\n",
        )

    def test_bytes_that_are_in_no_block_are_refused(self, draft, root):
        root.create("new").write(0, 3, Chunk(1).append(b"abc"))
        with pytest.raises(ValueError, match="in no block"):
            sent(draft)

    def test_name_that_is_not_text_needs_the_whole_manifest(self):
        draft = Draft(Tree.from_manifest(f". {FOO} 0:3:\\377\n"))
        rename(draft.root, "\udcff", draft.root, "x")
        taken = snapshot(draft, whole=True)
        assert not taken.is_expressible
        assert full_manifest(taken) == f". {FOO} 0:3:x\n"


class TestSnapshot:
    """The draft goes on changing while a commit is under way."""

    def test_later_changes_are_not_in_it(self, draft, root):
        file = root.create("new")
        write(file, BAR)
        taken = snapshot(draft)
        write(file, FOO)
        root.unlink("foo")
        assert delta(taken) == ({"/new": "manifest_text/new"}, f". {BAR} 0:3:new\n")
        settle(taken)
        assert root.changed == {"new", "foo"}
        assert file.is_dirty

    def test_what_has_not_changed_since_is_clean_and_stored(self, draft, root):
        file = root.create("new")
        file.write(0, 3, Chunk(1).append(b"abc"))
        file.truncate(5)
        taken = snapshot(draft)
        blocks = Blocks()
        upload(taken, blocks)
        settle(taken)
        assert not draft.is_dirty
        assert blocks.join(file.extents.segments()) == b"abc\0\0"

    def test_what_has_changed_since_shares_what_was_uploaded(self, draft, root):
        chunk, file = Chunk(1), root.create("new")
        file.write(0, 6, chunk.append(b"abcdef"))
        taken = snapshot(draft)
        file.truncate(2)
        taken.place(chunk, [Spot(0, 6, Stored(FOO, 0))])
        settle(taken)
        assert file.extents.segments() == (Segment(FOO, 0, 2),)
        assert file.is_dirty

    def test_next_commit_starts_from_the_one_before(self, draft, root):
        """Although the base is still the old one."""
        write(root.create("new"), BAR)
        rename(root, "d", root, "d2")
        settle(snapshot(draft))
        rename(root, "new", root.directory("d2"), "newer")
        rename(root, "d2", root, "d3")
        assert sent(draft).replace_files == {
            "/new": "",
            "/d2": "",
            "/d3/newer": "current/new",
            "/d3/one": "current/d2/one",
            "/d3/two": "current/d2/two",
            "/d3/e": "current/d2/e",
        }

    def test_new_file_that_was_unlinked_meanwhile_is_removed_by_the_next(self, draft, root):
        file = root.create("new")
        taken = snapshot(draft)
        root.unlink("new")
        settle(taken)
        assert file.settled_at == (root, "new")
        taken = snapshot(draft)
        assert taken.replace_files == {"/new": ""}
        settle(taken)
        assert file.settled_at is None
        assert not draft.is_dirty

    def test_dropped_snapshot_leaves_everything_dirty(self, draft, root):
        root.create("new")
        snapshot(draft)
        assert sent(draft).replace_files == {"/new": "manifest_text/new"}


class TestCompose:
    """Manifests in normal form."""

    def test_blocks_are_listed_once_and_neighbours_are_one_token(self):
        files = [
            ("z", [Segment(FOO, 0, 3), Segment(BAR, 0, 3)]),
            ("a", [Segment(FOO + "+Asignature", 0, 1), Segment(FOO, 1, 2), Segment(BAR, 0, 1)]),
            ("m", []),
        ]
        assert stream("", files) == (f". {FOO}+Asignature {BAR} 0:4:a 0:0:m 0:6:z\n")

    def test_placeholder(self):
        assert placeholder("a b/c") == f"./a\\040b/c {EMPTY} 0:0:\\056\n"

    def test_directory_comes_before_what_is_in_it(self, draft, root):
        """Which is not the order of the whole stream names: "-" is less than "/"."""
        for name in ("d-", "d.e", "c"):
            write(root.mkdir(name).create("f"), BAR)
        taken = snapshot(draft, whole=True)
        streams = [line.split()[0] for line in full_manifest(taken).splitlines()]
        assert streams == [".", "./c", "./d", "./d/e", "./d-", "./d.e", "./empty"]
        added = [line.split()[0] for line in delta(taken).manifest_text.splitlines()]
        assert added == ["./c", "./d-", "./d.e"]

    def test_whole_manifest_needs_a_whole_snapshot(self, draft, root):
        root.create("x")
        with pytest.raises(ValueError, match="as a whole"):
            full_manifest(snapshot(draft))


class TestCluster:
    """The cluster's own code understands each delta, and has then what the draft shows."""

    @pytest.fixture(scope="class")
    @staticmethod
    def cluster(tmp_path_factory):
        with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
            yield cluster

    @pytest.mark.parametrize("seed", range(8))
    def test_random_changes_arrive(self, cluster, seed):
        chance, blocks, chunk = random.Random(seed), Blocks(), Chunk(0)
        record = cluster.create(manifest_text=TEXT)
        for locator, data in ((FOO, b"foo"), (BAR, b"bar"), (EMPTY, b"")):
            blocks.contents[locator] = data
        draft = Draft(Tree.from_manifest(TEXT))
        names = ["foo", "d", "e", "one", "ü b"]
        paths = ["/".join(p) for depth in (1, 2, 3) for p in product(names, repeat=depth)]
        for _ in range(10):
            for _ in range(15):
                change(chance, draft, chance.choice(paths), chance.choice(paths), chunk)
            taken = snapshot(draft)
            if taken is None:
                continue
            upload(taken, blocks)
            request = delta(taken)
            body = {
                "collection": {"manifest_text": request.manifest_text},
                "replace_files": request.replace_files,
            }
            answer = cluster.call("PUT", f"collections/{record['uuid']}", body)
            assert isinstance(answer, dict), answer
            settle(taken)
            there = tree_segments(Tree.from_manifest(answer["manifest_text"]).root)
            assert blocks.bytes_of(there) == blocks.draft_content(draft)


def change(chance, draft, path, other, chunk):
    """A random change at a path, if it is possible there."""
    try:
        directory, name = draft.locate(path)
        match chance.randrange(6):
            case 0:
                directory.create(name)
            case 1:
                directory.mkdir(name)
            case 2:
                directory.unlink(name)
            case 3:
                directory.rmdir(name)
            case 4:
                rename(directory, name, *draft.locate(other))
            case _:
                data = chance.randbytes(3)
                directory.open_file(name).write(chance.randrange(5), 3, chunk.append(data))
    except FileSystemError:
        return
