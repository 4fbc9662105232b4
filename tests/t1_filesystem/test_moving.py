"""Files and directories that are moved between two collections of one mount, by reference."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arvados_fuse.collection.draft import Draft
from arvados_fuse.collection.tree import Tree
from arvados_fuse.commit.replay import Replay
from arvados_fuse.errors import ClusterError
from arvados_fuse.journal.records import Receive, Remove
from arvados_fuse.journal.recovery import Orphan
from tests.support import invariants
from tests.support.journals import refuse_records
from tests.support.workplace import errno_of
from tests.support.writable import REFRESH_S, WritableCluster, WritableMount

ONE = "zzzzz-4zz18-000000000000011"
TWO = "zzzzz-4zz18-000000000000022"
TREE = {"tree/a": b"aaa", "tree/b": b"bbbb", "tree/sub/c": b"cc", "tree/sub/deep/d": b"d"}
MOVED = {path.replace("tree", "new"): data for path, data in TREE.items()}


def files(content: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """A content without directories."""
    return {path: data for path, data in content.items() if data is not None}


def below(prefix: str, content: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """What is in a directory, files alone."""
    start = prefix + "/"
    return {p[len(start) :]: d for p, d in files(content).items() if p.startswith(start)}


@pytest.fixture
def cluster() -> WritableCluster:
    """A cluster with two collections, "one" and "two", the first with a tree."""
    cluster = WritableCluster()
    cluster.add_collection(ONE, "one", "")
    cluster.add_collection(TWO, "two", "")
    cluster.edit_elsewhere({**TREE, "other": b"other"}, ONE)
    return cluster


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "journals"


@pytest.fixture
def mount(cluster: WritableCluster, journals: Path) -> Iterator[WritableMount]:
    """A mount of the home. Its accounts must be right at the end, and the cluster must agree."""
    journals.mkdir()
    mount = WritableMount(cluster, journals, shows_home=True)
    yield mount
    mount.turns.finish()
    shown = mount.walk()
    commit(mount)
    for name, uuid in (("one", ONE), ("two", TWO)):
        assert below(name, shown) == files(cluster.content_of(uuid))
    mount.clock.now += REFRESH_S + 1
    assert mount.walk() == shown
    mount.forget()
    invariants.check(mount)
    invariants.check_nothing_leaked(mount)
    assert mount.metrics.unhandled_errors == 0
    mount.close()


def commit(mount: WritableMount) -> None:
    for session in list(mount.committer.sessions):
        mount.committer.commit(session)


def moved(mount: WritableMount) -> None:
    """Check that the tree is in its new place alone."""
    assert below("two", mount.walk()) == MOVED
    assert below("one", mount.walk()) == {"other": b"other"}


class TestDirectory:
    def test_goes_with_all_that_is_in_it(self, cluster, mount):
        mount.rename("one/tree", "two/new")
        moved(mount)
        commit(mount)
        moved(mount)
        assert files(cluster.content_of(ONE)) == {"other": b"other"}

    def test_sends_no_block(self, cluster, mount):
        blocks = set(cluster.blocks.contents)
        mount.rename("one/tree", "two/new")
        commit(mount)
        assert set(cluster.blocks.contents) == blocks

    def test_that_is_empty_goes_too(self, mount):
        mount.mkdir("one/empty")
        mount.rename("one/empty", "two/empty")
        assert "two/empty" in mount.walk()
        commit(mount)
        assert "two/empty" in mount.walk()
        assert "one/empty" not in mount.walk()

    def test_keeps_numbers_of_what_the_kernel_holds(self, mount):
        before = {p: mount.lookup(f"one/{p}").st_ino for p in (*TREE, "tree", "tree/sub")}
        mount.rename("one/tree", "two/new")
        for again in range(3):
            after = {p: mount.lookup(f"two/{p.replace('tree', 'new')}").st_ino for p in before}
            assert after == before
            commit(mount) if again else mount.walk()

    def test_keeps_times_that_were_set(self, mount):
        for path in ("tree", "tree/a", "tree/sub/deep/d"):
            mount.set_attributes(mount.lookup(f"one/{path}").st_ino, mtime_ns=123 * 10**9)
        mount.rename("one/tree", "two/new")
        commit(mount)
        for path in ("new", "new/a", "new/sub/deep/d"):
            assert mount.lookup(f"two/{path}").st_mtime_ns == 123 * 10**9

    def test_takes_along_what_was_written_and_not_saved(self, mount):
        handle = mount.create("one/tree/sub/new")
        mount.write(handle, 0, b"new")
        mount.release(handle)
        mount.unlink("one/tree/b")
        mount.rename("one/tree/a", "one/tree/sub/renamed")
        mount.rename("one/tree", "two/new")
        expected = {"new/sub/renamed": b"aaa", "new/sub/new": b"new"}
        expected |= {p: MOVED[p] for p in ("new/sub/c", "new/sub/deep/d")}
        assert below("two", mount.walk()) == expected

    def test_open_files_in_it_are_read_and_written_on(self, mount):
        old, fresh = mount.open("one/tree/sub/c"), mount.create("one/tree/fresh")
        mount.write(fresh, 0, b"before")
        mount.rename("one/tree", "two/new")
        mount.write(old, 2, b"CC")
        mount.write(fresh, 6, b" after")
        assert mount.read(old, 0, 10) == b"ccCC"
        commit(mount)
        mount.write(old, 4, b"!")
        assert mount.read(fresh, 0, 20) == b"before after"
        mount.release(old)
        mount.release(fresh)
        after = below("two/new", mount.walk())
        assert (after["sub/c"], after["fresh"]) == (b"ccCC!", b"before after")

    def test_removed_files_in_it_that_are_open_go_on(self, mount):
        handle = mount.open("one/tree/a")
        mount.unlink("one/tree/a")
        mount.rename("one/tree", "two/new")
        mount.write(handle, 3, b"more")
        assert mount.read(handle, 0, 10) == b"aaamore"
        mount.release(handle)
        assert "a" not in below("two/new", mount.walk())

    def test_who_is_inside_goes_on_in_the_new_place(self, mount):
        number = mount.lookup("one/tree/sub").st_ino
        mount.rename("one/tree", "two/new")
        mount.operations.mkdir(number, b"made", 0o755, mount_caller())
        mount.operations.forget([(mount.lookup("two/new/sub/made").st_ino, 1)])
        assert "two/new/sub/made" in mount.walk()

    def test_can_be_moved_back(self, mount):
        number = mount.lookup("one/tree/a").st_ino
        mount.rename("one/tree", "two/new")
        mount.rename("two/new", "one/tree")
        assert below("one", mount.walk()) == {**TREE, "other": b"other"}
        assert mount.lookup("one/tree/a").st_ino == number
        commit(mount)
        assert mount.lookup("one/tree/a").st_ino == number

    def test_name_can_be_used_again_at_once(self, mount):
        mount.lookup("one/tree/a")
        mount.rename("one/tree", "two/new")
        mount.mkdir("one/tree")
        mount.release(mount.create("one/tree/a"))
        assert mount.lookup("one/tree/a").st_ino != mount.lookup("two/new/a").st_ino
        assert mount.lookup("one/tree").st_ino != mount.lookup("two/new").st_ino


def mount_caller() -> Any:
    from tests.support.writable import CALLER

    return CALLER


class TestFile:
    def test_goes_and_keeps_number_times_and_handles(self, mount):
        number = mount.lookup("one/tree/a").st_ino
        mount.set_attributes(number, mtime_ns=5 * 10**9)
        handle = mount.open("one/tree/a")
        mount.rename("one/tree/a", "two/a")
        assert mount.lookup("two/a").st_ino == number
        assert mount.lookup("two/a").st_mtime_ns == 5 * 10**9
        mount.write(handle, 1, b"X")
        commit(mount)
        mount.write(handle, 2, b"Y")
        mount.release(handle)
        assert below("two", mount.walk()) == {"a": b"aXY"}
        assert "tree/a" not in below("one", mount.walk())

    def test_replaces_a_file_which_goes_on_for_who_has_it_open(self, mount):
        mount.release(mount.create("two/a"))
        handle = mount.open("two/a")
        mount.write(handle, 0, b"replaced")
        mount.rename("one/tree/a", "two/a")
        assert mount.read(handle, 0, 20) == b"replaced"
        assert below("two", mount.walk()) == {"a": b"aaa"}
        mount.release(handle)

    @pytest.mark.expects_log("Cannot rename /one/tree/a: refused")
    def test_replaces_a_file_that_was_changed_with_what_that_was_before(self, cluster, mount):
        """The cluster has the same under the name; here the name leads to the new file."""
        cluster.edit_elsewhere({"a": b"aaa"}, TWO)
        mount.truncate("two/a", 1)
        before = mount.lookup("two/a").st_ino
        cluster.failures = [ClusterError("refused")]
        assert errno_of(mount.rename, "one/tree/a", "two/a") == "EIO"
        commit(mount)
        assert below("two", mount.walk()) == {"a": b"aaa"}
        assert mount.lookup("two/a").st_ino != before


class TestReplacement:
    """As POSIX has it for rename()."""

    @pytest.fixture(autouse=True)
    def more(self, mount):
        mount.mkdir("two/empty")
        mount.mkdir("two/full")
        mount.release(mount.create("two/full/f"))
        mount.release(mount.create("two/file"))

    def test_of_an_empty_directory(self, mount):
        mount.rename("one/tree", "two/empty")
        assert below("two/empty", mount.walk()) == below(
            "x", {f"x/{p[5:]}": d for p, d in TREE.items()}
        )

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("one/tree", "two/full", errno.ENOTEMPTY),
            ("one/tree", "two/file", errno.ENOTDIR),
            ("one/other", "two/empty", errno.EISDIR),
            ("one/other", "two/full", errno.EISDIR),
            ("one/nothing", "two/x", errno.ENOENT),
            ("one/tree", "two/.arvados#x", errno.EPERM),
            ("one/tree", "two/..", errno.EINVAL),
        ],
    )
    def test_is_refused(self, mount, old, new, expected):
        before = mount.walk()
        assert errno_of(mount.rename, old, new) == errno.errorcode[expected]
        assert mount.walk() == before


class TestFailure:
    """Whatever fails, everything is where it was."""

    @pytest.mark.expects_log("Cannot rename /one/tree: refused")
    def test_of_the_commit_of_the_target(self, cluster, mount):
        handle = mount.open("one/tree/a")
        cluster.failures = [ClusterError("refused")] * 2
        assert errno_of(mount.rename, "one/tree", "two/new") == "EIO"
        cluster.failures = []
        assert below("one", mount.walk()) == {**TREE, "other": b"other"}
        assert below("two", mount.walk()) == {}
        mount.write(handle, 0, b"A")
        mount.release(handle)
        mount.rename("one/tree", "two/new")
        assert below("two", mount.walk()) == {**MOVED, "new/a": b"Aaa"}

    @pytest.mark.expects_log("Cannot rename /one/tree: refused")
    def test_of_the_commit_when_an_empty_directory_was_replaced(self, cluster, mount):
        mount.mkdir("two/new")
        commit(mount)
        cluster.failures = [ClusterError("refused")] * 2
        assert errno_of(mount.rename, "one/tree", "two/new") == "EIO"
        cluster.failures = []
        assert mount.walk()["two/new"] is None
        assert below("two", mount.walk()) == {}

    @pytest.mark.expects_log("Cannot rename /one/tree: refused")
    def test_accounts_for_what_was_loaded(self, cluster, mount):
        mount.lookup("one/tree/sub/deep")
        cluster.failures = [ClusterError("refused")]
        assert errno_of(mount.rename, "one/tree", "two/new") == "EIO"
        invariants.check(mount)

    @pytest.mark.parametrize("kind", [Receive, Remove])
    def test_of_the_journal(self, mount, kind, monkeypatch, log_guard):
        mount.mkdir("one/x")  # both have a session
        mount.mkdir("two/x")
        refuse_records(monkeypatch, lambda record: isinstance(record, kind))
        before = mount.walk()
        assert errno_of(mount.rename, "one/tree", "two/new") == "ENOSPC"
        monkeypatch.undo()
        shown = mount.walk()
        assert below("one", shown) == below("one", before)
        if kind is Receive:
            assert shown == before
        else:  # to take it back takes a record too
            assert log_guard.take("/two/new is in two collections")
        assert log_guard.take("Cannot rename /one/tree: the journal cannot grow")

    def test_of_a_directory_that_is_always_written_to(self, mount, monkeypatch):
        mount.lookup("one/tree/a")
        handle = mount.open("one/tree/a")
        commit_now = mount.committer.commit

        def commit_and_write(session):
            commit_now(session)
            if session.uuid == TWO:
                mount.write(handle, 0, b"again")

        monkeypatch.setattr(mount.committer, "commit", commit_and_write)
        assert errno_of(mount.rename, "one/tree", "two/new") == "EBUSY"
        monkeypatch.undo()
        mount.release(handle)
        assert below("one", mount.walk()) == {**TREE, "tree/a": b"again", "other": b"other"}
        assert below("two", mount.walk()) == {}


class TestMeanwhile:
    """What happens wherever the lock is given up in the midst of a move."""

    @pytest.fixture(params=range(1, 13))
    def at(self, request) -> int:
        return int(request.param)

    def test_a_write_is_not_lost(self, mount, at):
        handle = mount.open("one/tree/a")
        mount.turns.plan(lambda: mount.write(handle, 1, b"XYZ"), at, 3)
        mount.rename("one/tree", "two/new")
        mount.turns.finish()
        assert mount.read(handle, 0, 9) == b"aXYZ"
        mount.release(handle)
        assert below("two", mount.walk()) == {**MOVED, "new/a": b"aXYZ"}
        assert below("one", mount.walk()) == {"other": b"other"}

    def test_a_write_to_a_file_that_moves_alone_is_not_lost(self, mount, at):
        handle = mount.open("one/tree/a")
        mount.turns.plan(lambda: mount.write(handle, 1, b"XYZ"), at, 3)
        mount.rename("one/tree/a", "two/a")
        mount.turns.finish()
        mount.release(handle)
        assert below("two", mount.walk()) == {"a": b"aXYZ"}

    def test_a_new_file_is_not_lost(self, mount, at):
        number = mount.lookup("one/tree/sub").st_ino

        def create() -> None:
            handle, entry = mount.operations.create(number, b"new", 0o644, 0, mount_caller())
            mount.references[entry.st_ino] += 1
            mount.operations.release(handle)

        mount.turns.plan(create, at, 3)
        mount.rename("one/tree", "two/new")
        mount.turns.finish()
        assert below("two", mount.walk()) == {**MOVED, "new/sub/new": b""}
        assert below("one", mount.walk()) == {"other": b"other"}

    def test_a_change_by_others_is_not_lost(self, cluster, mount, at):
        mount.lookup("one/tree/sub/c")

        def edit() -> None:
            cluster.edit_elsewhere({"tree/sub/c": b"theirs"}, ONE)
            mount.clock.now += REFRESH_S + 1
            mount.lookup("one")

        mount.turns.plan(edit, at, 3)
        error = errno_of(mount.rename, "one/tree", "two/new")
        mount.turns.finish()
        commit(mount)
        mount.clock.now += REFRESH_S + 1
        found = [d for p, d in mount.walk().items() if p.endswith("sub/c")]
        assert b"theirs" in found, error


class TestCrash:
    """A mount that is killed: what the journals say then."""

    @pytest.mark.parametrize("at", range(1, 30))
    def test_at_any_moment_the_tree_is_somewhere(self, cluster, journals, tmp_path, at):
        """The journals are read as they are wherever the lock is given up."""
        journals.mkdir()
        mount = WritableMount(cluster, journals, shows_home=True)
        handle = mount.create("one/tree/new")
        mount.write(handle, 0, b"new")
        mount.release(handle)
        mount.mkdir("two/new")
        found: list[dict[str, dict[str, bytes | None]]] = []
        mount.turns.plan(lambda: found.append(after_a_crash(cluster, journals)), at, 1)
        mount.rename("one/tree", "two/new")
        mount.turns.finish()
        found.append(after_a_crash(cluster, journals))
        everything = {"a", "b", "sub/c", "sub/deep/d", "new"}
        for content in found:
            one, two = below("tree", content[ONE]), below("new", content[TWO])
            assert everything in (set(one), set(two)), (one, two)
        assert below("tree", found[-1][ONE]) == {}
        mount.forget()
        mount.close()


def after_a_crash(cluster: WritableCluster, journals: Path) -> dict[str, dict[str, bytes | None]]:
    """What a recovery would make of both collections."""
    contents = {uuid: cluster.content_of(uuid) for uuid in (ONE, TWO)}
    for directory in journals.iterdir():
        orphan = Orphan(directory, None)
        for uuid in orphan.collections():
            recovered = orphan.read(uuid)
            if recovered is not None:
                manifest = cluster.manifests.get(recovered.portable_data_hash, "")
                draft = Draft(Tree.from_manifest(manifest))
                replay = Replay(recovered, draft)
                replay.do(recovered.operations())
                found = cluster.blocks.draft_content(draft)
                contents[uuid] = {"/".join(path): data for path, data in found.items()}
    return contents
