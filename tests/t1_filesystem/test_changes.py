"""What events of the bus mean for what is shown."""

import pytest

from arvados_fuse.errors import ClusterUnreachable, NoSuchEntry
from arvados_fuse.events import Event, State
from arvados_fuse.fusedir.magic import MagicDirectory
from arvados_fuse.fusedir.project import FilterDirectory, HomeDirectory
from tests.support.fakes import HOME, MODIFIED_NS, manifest_of

RUN = "zzzzz-4zz18-000000000000001"
ELSE = "zzzzz-4zz18-000000000000002"
COHORT = "zzzzz-j7d0g-000000000000001"
NOBODYS = "zzzzz-j7d0g-000000000000009"
FILES = {"a": b"one", "b": b"two", "sub/c": b"three"}
LATER = 10**9


@pytest.fixture
def home(mount):
    """A home with a collection and a project, whose mount is told of changes."""
    mount.cluster.add_collection(RUN, "run", manifest_of(FILES))
    mount.cluster.add_project(COHORT, "cohort")
    home = HomeDirectory(mount.around, None, HOME, "")
    home.plant()
    mount.changes.connected()
    return home


def now(mount, uuid):
    """The state of an object, as events tell it; None if there is none."""
    item = mount.cluster.items.get(uuid)
    if item is None:
        return None
    return State(item.name, mount.cluster.owners[uuid], item.portable_data_hash, False)


def tell(mount, uuid, change=lambda: None, at_ns=MODIFIED_NS + LATER, **after):
    """Let `change` happen to the cluster, and the mount hear of it."""
    before = now(mount, uuid)
    change()
    state = now(mount, uuid)
    if state is not None:
        state = state._replace(**after)
        mount.cluster.items[uuid] = mount.cluster.items[uuid]._replace(modified_ns=at_ns)
    owner = mount.cluster.owners.get(uuid, "")
    mount.changes.changed([Event(1, uuid, owner, at_ns, before, state)])


def rename(mount, uuid, name):
    mount.cluster.items[uuid] = mount.cluster.items[uuid]._replace(name=name)


def names(directory):
    return sorted(directory.listing().directories)


def asked(mount, use):
    """What the cluster is asked during `use()`."""
    del mount.cluster.asked[:]
    use()
    return mount.cluster.asked


def hold(mount, directory, *path):
    """Look up a path as the kernel does, which then remembers it."""
    for name in path:
        directory = directory.child(name)
        directory.kernel_refs += 1
    return directory


class TestTrust:
    def test_nothing_is_asked_twice(self, home, mount):
        names(home)
        hold(mount, home, "run", "a")
        mount.clock.now += 3000
        assert asked(mount, lambda: (names(home), home.child("run").child("a"))) == []

    def test_names_that_are_not_there_stay_so(self, home, mount):
        names(home)
        mount.clock.now += 3000
        with pytest.raises(NoSuchEntry):
            home.child("new")
        assert "find new" not in mount.cluster.asked

    def test_kernel_keeps_files_until_further_notice_and_directories_for_the_refresh_time(
        self, home, mount
    ):
        file = hold(mount, home, "run", "a")
        assert file.lifetime(mount.trust.now()) > 24 * 3600
        assert home.child("run").lifetime(mount.trust.now()) == 15
        assert home.child("run").negative_lifetime(mount.trust.now()) == 15

    def test_lost_bus_takes_it_back(self, home, mount):
        names(home)
        file = hold(mount, home, "run", "a")
        mount.changes.lost(mount.clock.now)
        assert (file.parent.inode, "a") in mount.kernel.entries
        assert file.lifetime(mount.trust.now()) == 15
        mount.clock.now += 15
        assert file.lifetime(mount.trust.now()) == 0
        assert asked(mount, lambda: names(home)) == [f"contents {HOME}"]

    def test_everything_is_checked_once_when_it_is_back(self, home, mount):
        names(home)
        hold(mount, home, "run", "a")
        mount.changes.lost(mount.clock.now)
        mount.cluster.set_manifest(RUN, manifest_of({"a": b"new"}))
        mount.changes.connected()
        assert home.child("run").child("a").size == 3
        assert asked(mount, lambda: home.child("run").child("a")) == []

    def test_by_id_remembers_no_name_as_missing(self, mount):
        by_id = MagicDirectory(mount.around, None, "")
        by_id.plant()
        mount.changes.connected()
        with pytest.raises(NoSuchEntry):
            by_id.child(RUN)
        mount.cluster.add_collection(RUN, "run", "")
        assert by_id.child(RUN)
        assert by_id.negative_lifetime(mount.trust.now()) == 0


class TestNames:
    def test_new_one_is_listed_and_kernel_forgets_that_it_was_not_there(self, home, mount):
        names(home)
        tell(mount, ELSE, lambda: mount.cluster.add_collection(ELSE, "else", ""))
        assert (home.inode, "else") in mount.kernel.entries
        assert names(home) == ["cohort", "else", "run"]
        assert home.child("else")

    @pytest.mark.parametrize("uuid", [RUN, COHORT])
    def test_renamed_one_keeps_object_and_inode(self, home, mount, uuid):
        name = mount.cluster.items[uuid].name
        names(home)
        thing = hold(mount, home, name)
        tell(mount, uuid, lambda: rename(mount, uuid, "new"))
        assert {(home.inode, name), (home.inode, "new")} <= set(mount.kernel.entries)
        assert home.child("new") is thing
        with pytest.raises(NoSuchEntry):
            home.child(name)

    def test_renamed_one_that_was_found_before_the_event_came_has_its_new_name_only(
        self, home, mount
    ):
        def find_it():
            rename(mount, RUN, "new")
            home.child("new")

        hold(mount, home, "run")
        tell(mount, RUN, find_it, at_ns=MODIFIED_NS)
        assert (home.inode, "run") in mount.kernel.entries
        with pytest.raises(NoSuchEntry):
            home.child("run")

    def test_moved_one_leaves_one_project_and_comes_into_the_other(self, home, mount):
        cohort = hold(mount, home, "cohort")
        assert names(home) == ["cohort", "run"]
        assert names(cohort) == []
        tell(mount, RUN, lambda: mount.cluster.owners.update({RUN: COHORT}))
        assert {(home.inode, "run"), (cohort.inode, "run")} <= set(mount.kernel.entries)
        assert names(home) == ["cohort"]
        assert names(cohort) == ["run"]

    @pytest.mark.parametrize("uuid", [RUN, COHORT])
    def test_deleted_one_goes(self, home, mount, uuid):
        name = mount.cluster.items[uuid].name
        names(home)
        hold(mount, home, name)
        tell(mount, uuid, lambda: mount.cluster.remove(uuid))
        assert (home.inode, name) in mount.kernel.entries
        assert name not in names(home)
        with pytest.raises(NoSuchEntry):
            home.child(name)

    def test_collection_in_by_id_that_goes_is_forgotten_there(self, mount):
        mount.cluster.add_collection(RUN, "run", manifest_of(FILES))
        by_id = MagicDirectory(mount.around, None, "")
        by_id.plant()
        mount.changes.connected()
        hold(mount, by_id, RUN, "a")
        tell(mount, RUN, lambda: mount.cluster.remove(RUN))
        assert (by_id.inode, RUN) in mount.kernel.entries
        with pytest.raises(NoSuchEntry):
            by_id.child(RUN)

    def test_names_are_those_that_are_shown(self, home, mount):
        names(home)
        tell(mount, ELSE, lambda: mount.cluster.add_collection(ELSE, "a/b", ""))
        assert (home.inode, "a_b") in mount.kernel.entries


class TestContent:
    def change(self, mount, files):
        tell(mount, RUN, lambda: mount.cluster.set_manifest(RUN, manifest_of(files)))

    def test_is_asked_for_when_it_is_used_next(self, home, mount):
        run = hold(mount, home, "run")
        run.listing()
        self.change(mount, {"a": b"one", "new": b""})
        assert not len(mount.jobs)
        assert list(run.listing().files) == ["a", "new"]

    def test_of_which_kernel_knows_files_is_refreshed_at_once_and_the_difference_forgotten(
        self, home, mount
    ):
        run = hold(mount, home, "run")
        same, changed, gone = (hold(mount, run, *path) for path in (["a"], ["b"], ["sub", "c"]))
        self.change(mount, {"a": b"one", "b": b"other", "new": b""})
        mount.jobs.run()
        entries = set(mount.kernel.entries)
        assert entries >= {(run.inode, "b"), (run.inode, "sub"), (run.inode, "new")}
        assert (run.inode, "a") not in entries
        assert same.inode in mount.kernel.attributes  # for the new time
        assert run.child("a") is same
        assert run.child("b") is not changed
        assert gone.size == 5

    def test_changed_many_times_is_refreshed_once(self, home, mount):
        hold(mount, home, "run", "a")
        for number in range(100):
            self.change(mount, {"a": b"%d" % number})
        assert len(mount.jobs) == 1
        assert asked(mount, mount.jobs.run) == [f"state {RUN}", f"collection {RUN}"]
        assert home.child("run").child("a").size == 2

    def test_that_changes_while_it_is_asked_for_is_asked_for_again(self, home, mount):
        hold(mount, home, "run", "a")
        self.change(mount, {"a": b"2nd"})
        mount.while_unlocked(lambda: self.change(mount, {"a": b"third"}))
        mount.jobs.run()
        assert home.child("run").child("a").size == 5

    def test_that_cannot_be_asked_for_is_taken_from_the_kernel(self, home, mount):
        file = hold(mount, home, "run", "a")
        self.change(mount, {"a": b"2nd"})
        mount.cluster.failure = ClusterUnreachable("down")
        mount.jobs.run()
        assert (file.parent.inode, "a") in mount.kernel.entries
        mount.cluster.failure = None
        assert home.child("run").child("a").size == 3

    def test_new_time_alone_is_shown(self, home, mount):
        file = hold(mount, home, "run", "a")
        tell(mount, RUN)
        mount.jobs.run()
        assert file.inode in mount.kernel.attributes
        assert file.mtime_ns == MODIFIED_NS + LATER


class TestRaces:
    """An event that comes while the cluster is being asked makes the answer one for once."""

    def test_of_a_listing(self, home, mount):
        def create():
            tell(mount, ELSE, lambda: mount.cluster.add_collection(ELSE, "else", ""))

        answer = mount.cluster.contents

        def overtaken(uuid):
            found = answer(uuid)
            mount.cluster.contents = answer
            create()
            return found

        mount.cluster.contents = overtaken
        assert names(home) == ["cohort", "run"]
        assert names(home) == ["cohort", "else", "run"]

    def test_of_a_look_up_in_by_id(self, mount):
        mount.cluster.add_collection(RUN, "run", manifest_of({"a": b"old"}))
        by_id = MagicDirectory(mount.around, None, "")
        by_id.plant()
        mount.changes.connected()
        answer = mount.cluster.collection

        def overtaken(ident):
            found = answer(ident)
            mount.cluster.collection = answer
            manifest = manifest_of({"a": b"newer"})
            tell(mount, RUN, lambda: mount.cluster.set_manifest(RUN, manifest))
            return found

        mount.cluster.collection = overtaken
        run = by_id.child(RUN)
        assert run.lifetime(mount.trust.now()) == 0
        assert by_id.child(RUN).child("a").size == 5


class TestCost:
    def test_what_is_shown_already_costs_nothing(self, home, mount):
        """So do our own commits, which come back as events."""
        names(home)
        hold(mount, home, "run", "a")
        tell(mount, RUN, at_ns=MODIFIED_NS)
        mount.jobs.run()
        assert asked(mount, lambda: (names(home), home.child("run").child("a"))) == []
        assert mount.kernel.entries == mount.kernel.attributes == []

    def test_storm_elsewhere_costs_no_request_and_leaves_no_trace(self, home, mount):
        names(home)
        hold(mount, home, "run", "a")
        state = State("x", NOBODYS, "", False)
        number_of_objects, booked = len(mount.inodes), mount.inodes.cache.total
        events = [
            Event(n, f"zzzzz-4zz18-{n:015d}", NOBODYS, MODIFIED_NS, None, state)
            for n in range(100, 10_100)
        ]
        use = lambda: (mount.changes.changed(events), mount.jobs.run())  # noqa: E731
        assert asked(mount, use) == []
        assert asked(mount, lambda: (names(home), home.child("run").child("a"))) == []
        assert (len(mount.inodes), mount.inodes.cache.total) == (number_of_objects, booked)
        assert mount.kernel.entries == []

    def test_collection_by_hash_has_no_events(self, mount):
        pdh = mount.cluster.set_manifest(
            mount.cluster.add_collection(RUN, "run", ""), manifest_of(FILES)
        )
        by_id = MagicDirectory(mount.around, None, "")
        by_id.plant()
        mount.changes.connected()
        hold(mount, by_id, pdh, "a")
        tell(mount, RUN)
        assert asked(mount, lambda: by_id.child(pdh).child("a")) == []


class TestPermissions:
    @pytest.mark.parametrize(
        "event",
        [
            Event(1, "zzzzz-o0j2j-000000000000001", "", 0, None, None),
            Event(1, NOBODYS, "", 0, State("x", HOME, "", False), State("x", HOME, "", True)),
            Event(1, NOBODYS, "", 0, State("x", HOME, "", False), State("x", RUN, "", False)),
            Event(1, NOBODYS, "", 0, State("x", HOME, "", False), None),
        ],
        ids=["link", "trashed project", "moved project", "deleted project"],
    )
    def test_what_may_change_them_has_everything_checked_once(self, home, mount, event):
        names(home)
        mount.changes.changed([event])
        assert asked(mount, lambda: names(home)) == [f"contents {HOME}"]
        assert asked(mount, lambda: names(home)) == []


class TestFilterGroup:
    def test_is_asked_again_after_any_change_of_a_collection_or_project(self, home, mount):
        group = FilterDirectory(mount.around, home, NOBODYS, "found")
        home.adopt(NOBODYS, group)
        names(group)
        assert asked(mount, lambda: names(group)) == []
        tell(mount, RUN)
        assert asked(mount, lambda: names(group)) == [f"contents {NOBODYS}"]
        mount.changes.changed([Event(1, "zzzzz-tpzed-000000000000009", "", 0, None, None)])
        assert asked(mount, lambda: names(group)) == []

    def test_kernel_remembers_no_name_as_missing(self, home, mount):
        group = FilterDirectory(mount.around, home, NOBODYS, "found")
        home.adopt(NOBODYS, group)
        names(group)
        assert group.negative_lifetime(mount.trust.now()) == 0


def test_mount_left_alone_while_others_change_things_stays_under_its_cap(make_mount):
    """Ten thousand changes of a thousand collections, a hundred of which somebody has open."""
    cap = 1 << 20
    mount = make_mount(directory_cache=cap)
    uuids = [f"zzzzz-4zz18-{n:015d}" for n in range(1000)]
    for number, uuid in enumerate(uuids):
        mount.cluster.add_collection(uuid, f"run {number}", manifest_of({"f": b"0"}))
    home = HomeDirectory(mount.around, None, HOME, "")
    home.plant()
    mount.changes.connected()
    names(home)
    for number in range(100):
        hold(mount, home, f"run {number}", "f")
    for number in range(10_000):
        uuid = uuids[number % 1000]
        manifest = manifest_of({"f": b"%d" % number, f"{number}": b""})
        tell(mount, uuid, lambda u=uuid, m=manifest: mount.cluster.set_manifest(u, m))
        if number % 100 == 0:
            mount.jobs.run()
        assert mount.inodes.cache.total <= cap * 1.1
    mount.jobs.run()
    assert asked(mount, lambda: names(home)) == []
    assert home.child("run 7").child("f").size == len("9007")
