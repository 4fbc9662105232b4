"""Projects: one name costs one question, a listing one more, and both are trusted for a while."""

import pytest

from arvados_fuse.errors import NoSuchEntry, TimedOut
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.project import HomeDirectory, ProjectDirectory
from tests.support import invariants
from tests.support.fakes import HOME, MODIFIED_NS, FakeMount, manifest_of

PROJECT = "zzzzz-j7d0g-000000000000001"
OTHER_PROJECT = "zzzzz-j7d0g-000000000000002"
COLLECTION = "zzzzz-4zz18-000000000000001"
OTHER_COLLECTION = "zzzzz-4zz18-000000000000002"
MANIFEST = manifest_of({"a.txt": b"alpha"})


@pytest.fixture
def make_home():
    """Make homes, each on a mount of its own; `home.mount` is the mount. Its table is checked."""
    mounts = []

    def make(**settings) -> HomeDirectory:
        mount = FakeMount(**settings)
        mounts.append(mount)
        mount.cluster.add_project(PROJECT, "cohort")
        mount.cluster.add_collection(COLLECTION, "run 42", MANIFEST)
        home = HomeDirectory(mount.around, None, HOME, "")
        home.plant()
        return home

    yield make
    for mount in mounts:
        invariants.check(mount)


@pytest.fixture
def home(make_home):
    return make_home()


@pytest.fixture
def mount(home, make_home):
    return Mount(home)


class Mount:
    """The parts of the fake mount that a test turns at."""

    def __init__(self, home: HomeDirectory) -> None:
        self.cluster = home.around.cluster
        self.clock = home.around.trust.clock
        self.inodes = home.around.inodes
        self.kernel = home.around.kernel
        self.names = home.around.names


def names(directory: ProjectDirectory) -> dict[str, int]:
    """The names that a directory lists, with their inode numbers."""
    listing = directory.listing()
    assert not listing.files
    return dict(zip(listing.directories, listing.directory_inodes, strict=True))


class TestLookup:
    def test_one_name_asks_for_that_name_alone(self, home, mount):
        found = home.child("run 42")
        assert isinstance(found, CollectionDirectory)
        assert (found.ident, found.path(), found.mtime_ns) == (COLLECTION, "/run 42", MODIFIED_NS)
        assert mount.cluster.asked == ["find run 42"]

    def test_subprojects_and_collections_are_found(self, home):
        assert isinstance(home.child("cohort"), ProjectDirectory)
        assert home.child("run 42").child("a.txt").size == 5

    def test_a_name_that_was_found_is_trusted_for_a_while(self, home, mount):
        found = home.child("run 42")
        mount.clock.now += 14
        assert home.child("run 42") is found
        assert mount.cluster.asked == ["find run 42"]
        mount.clock.now += 1
        assert home.child("run 42") is found
        assert mount.cluster.asked == ["find run 42"] * 2

    def test_a_name_that_is_not_there_is_asked_for_each_time(self, home, mount):
        """What is made this instant is found at once."""
        with pytest.raises(NoSuchEntry, match=r"no 'new' in /"):
            home.child("new")
        assert home.negative_lifetime(mount.clock.now) == 0
        mount.cluster.add_collection(OTHER_COLLECTION, "new", MANIFEST)
        assert home.child("new").ident == OTHER_COLLECTION

    def test_after_a_listing_the_names_that_are_not_there_are_known(self, home, mount):
        home.listing()
        mount.cluster.asked.clear()
        with pytest.raises(NoSuchEntry):
            home.child("new")
        assert mount.cluster.asked == []
        assert home.negative_lifetime(mount.clock.now) == 15
        mount.clock.now += 15
        assert home.negative_lifetime(mount.clock.now) == 0

    def test_bytes_that_are_no_name_ask_nothing(self, home, mount):
        with pytest.raises(NoSuchEntry):
            home.child(b"\xff\xfe".decode("utf-8", "surrogateescape"))
        assert mount.cluster.asked == []

    def test_failure_is_reported_and_tried_again(self, home, mount):
        mount.cluster.failure = TimedOut("too slow")
        with pytest.raises(TimedOut):
            home.child("run 42")
        mount.cluster.failure = None
        assert home.child("run 42").ident == COLLECTION

    def test_failure_after_the_trust_has_ended_is_reported(self, home, mount):
        found = home.child("run 42")
        mount.clock.now += 16
        mount.cluster.failure = TimedOut("too slow")
        with pytest.raises(TimedOut):
            home.child("run 42")
        mount.cluster.failure = None
        assert home.child("run 42") is found

    def test_home_asks_for_no_record_of_itself(self, home, mount):
        home.refresh()
        mount.clock.now += 1e6
        home.refresh()
        assert mount.cluster.asked == []

    def test_project_asks_for_its_record_when_it_is_refreshed(self, home, mount):
        project = home.child("cohort")
        mount.clock.now += 16
        project.refresh()
        assert mount.cluster.asked == ["find cohort", f"project {PROJECT}"]
        mount.cluster.remove(PROJECT)
        mount.clock.now += 16
        with pytest.raises(NoSuchEntry):
            project.refresh()


class TestListing:
    def test_shows_subprojects_and_collections_and_makes_no_objects(self, home, mount):
        assert names(home).keys() == {"cohort", "run 42"}
        assert mount.cluster.asked == [f"contents {HOME}"]
        assert len(mount.inodes) == 1

    def test_is_trusted_for_a_while(self, home, mount):
        names(home)
        mount.cluster.add_project(OTHER_PROJECT, "new")
        mount.clock.now += 14
        assert "new" not in names(home)
        mount.clock.now += 1
        assert "new" in names(home)
        assert len(mount.cluster.asked) == 2

    def test_numbers_stay_and_are_those_of_lookup(self, home, mount):
        first = names(home)
        found = {name: home.child(name).inode for name in first}
        mount.clock.now += 16
        assert names(home) == first == found

    def test_lookup_before_listing_gives_the_same_numbers(self, home):
        found = {name: home.child(name).inode for name in ("cohort", "run 42")}
        assert names(home) == found

    def test_a_listed_name_is_looked_up_without_a_question(self, home, mount):
        home.listing()
        home.child("run 42")
        assert mount.cluster.asked == [f"contents {HOME}"]

    def test_items_without_a_name_are_not_shown(self, home, mount):
        mount.cluster.add_collection(OTHER_COLLECTION, "", MANIFEST)
        assert names(home).keys() == {"cohort", "run 42"}

    def test_what_was_removed_is_gone_and_its_object_too_when_nobody_needs_it(self, home, mount):
        held = home.child("run 42")
        held.kernel_refs += 1
        mount.cluster.remove(COLLECTION)
        mount.clock.now += 16
        assert names(home).keys() == {"cohort"}
        with pytest.raises(NoSuchEntry):
            home.child("run 42")
        assert mount.inodes.find(held.inode) is held
        with pytest.raises(NoSuchEntry):
            held.listing()

    def test_invalidated_project_is_asked_for_again_at_once(self, home, mount):
        names(home)
        mount.cluster.add_project(OTHER_PROJECT, "new")
        mount.cluster.remove(COLLECTION)
        home.invalidate()
        assert home.child("new").uuid == OTHER_PROJECT
        with pytest.raises(NoSuchEntry):
            home.child("run 42")
        assert names(home).keys() == {"cohort", "new"}

    def test_invalidated_home_is_still_there(self, home, mount):
        home.invalidate()
        home.refresh()
        assert mount.cluster.asked == []


class TestRename:
    def rename(self, mount, uuid: str, name: str) -> None:
        mount.cluster.items[uuid] = mount.cluster.items[uuid]._replace(name=name)
        mount.clock.now += 16

    @pytest.mark.parametrize("listed", [True, False])
    @pytest.mark.parametrize(("uuid", "name"), [(COLLECTION, "run 42"), (PROJECT, "cohort")])
    def test_keeps_inode_and_object(self, home, mount, listed, uuid, name):
        before = home.child(name)
        before.kernel_refs += 1
        self.rename(mount, uuid, "renamed")
        if listed:
            assert names(home)["renamed"] == before.inode
        assert home.child("renamed") is before
        assert before.path() == "/renamed"
        with pytest.raises(NoSuchEntry):
            home.child(name)

    def test_keeps_the_number_that_was_listed(self, home, mount):
        before = names(home)["run 42"]
        self.rename(mount, COLLECTION, "renamed")
        assert names(home)["renamed"] == before

    def test_another_collection_under_the_old_name_is_another_object(self, home, mount):
        before = home.child("run 42")
        before.kernel_refs += 1
        self.rename(mount, COLLECTION, "renamed")
        mount.cluster.add_collection(OTHER_COLLECTION, "run 42", MANIFEST)
        after = home.child("run 42")
        assert after is not before
        assert after.inode != before.inode
        assert after.ident == OTHER_COLLECTION
        assert home.child("renamed") is before


class TestNames:
    def test_of_a_project_and_a_collection_of_one_name_the_project_is_shown(self, home, mount):
        mount.cluster.add_project(OTHER_PROJECT, "run 42")
        assert home.child("run 42").uuid == OTHER_PROJECT
        assert names(home)["run 42"] == home.child("run 42").inode

    @pytest.mark.parametrize("listed", [True, False])
    def test_the_collection_is_reached_by_its_name_and_uuid(self, home, mount, listed):
        mount.cluster.add_project(OTHER_PROJECT, "run 42")
        marked = f"run 42 ({COLLECTION})"
        if listed:
            assert names(home).keys() == {"cohort", "run 42", marked}
        assert home.child(marked).ident == COLLECTION
        assert names(home)[marked] == home.child(marked).inode

    @pytest.mark.parametrize("listed", [True, False])
    def test_all_that_are_shown_alike_are_reached(self, home, mount, listed):
        mount.cluster.add_collection(OTHER_COLLECTION, "2024/05", MANIFEST)
        third = mount.cluster.add_collection("zzzzz-4zz18-000000000000003", "2024_05", MANIFEST)
        fourth = mount.cluster.add_collection("zzzzz-4zz18-000000000000004", "2024/05_", MANIFEST)
        if listed:
            names(home)
        assert home.child("2024_05").ident == third
        assert home.child(f"2024_05 ({OTHER_COLLECTION})").ident == OTHER_COLLECTION
        assert home.child("2024_05_").ident == fourth
        with pytest.raises(NoSuchEntry):
            home.child(f"2024_05 ({fourth})")

    @pytest.mark.parametrize("listed", [True, False])
    def test_a_name_that_was_cut_is_reached(self, home, mount, listed):
        mount.cluster.add_collection(OTHER_COLLECTION, "ä" * 255, MANIFEST)
        shown = mount.names.present("ä" * 255)
        assert len(shown.encode()) <= 255
        if listed:
            assert shown in names(home)
        assert home.child(shown).ident == OTHER_COLLECTION

    @pytest.mark.parametrize("listed", [True, False])
    def test_characters_that_the_encoding_has_not_are_replaced(self, make_home, listed):
        home = make_home(encoding="iso-8859-1")
        home.around.cluster.add_collection(OTHER_COLLECTION, "naïve 東京", MANIFEST)
        if listed:
            assert "naïve __" in names(home)
        assert home.child("naïve __").ident == OTHER_COLLECTION

    def test_a_slash_is_shown_by_its_substitute_and_found_by_it(self, home, mount):
        mount.cluster.add_collection(OTHER_COLLECTION, "2024/05/run", MANIFEST)
        assert home.child("2024_05_run").ident == OTHER_COLLECTION
        assert names(home)["2024_05_run"] == home.child("2024_05_run").inode

    def test_the_exact_name_is_preferred(self, home, mount):
        mount.cluster.add_collection(OTHER_COLLECTION, "a/b", MANIFEST)
        exact = mount.cluster.add_collection("zzzzz-4zz18-000000000000009", "a_b", MANIFEST)
        assert home.child("a_b").ident == exact

    def test_lookup_and_listing_agree_on_which_of_two_is_shown(self, home, mount):
        mount.cluster.add_collection(OTHER_COLLECTION, "a/b", MANIFEST)
        mount.cluster.add_collection("zzzzz-4zz18-000000000000009", "a_b", MANIFEST)
        number = home.child("a_b").inode
        assert names(home)["a_b"] == number
        assert home.child("a_b").inode == number

    @pytest.mark.parametrize(("name", "shown"), [(".", "_"), ("..", "__"), ("a\0b", "a_b")])
    def test_names_that_no_directory_can_have_are_reached_after_a_listing(
        self, home, mount, name, shown
    ):
        mount.cluster.add_collection(OTHER_COLLECTION, name, MANIFEST)
        assert names(home)[shown] == home.child(shown).inode


class TestRecords:
    def test_collection_seen_newer_than_its_project_does_not_go_back(self, home, mount):
        """The project's listing may be older than what the collection itself has fetched."""
        names(home)
        mount.clock.now += 10
        run = home.child("run 42")
        item = mount.cluster.items[COLLECTION]
        mount.cluster.items[COLLECTION] = item._replace(modified_ns=MODIFIED_NS + 1)
        run.listing()
        assert run.mtime_ns == MODIFIED_NS + 1
        asked = len(mount.cluster.asked)
        assert home.child("run 42").mtime_ns == MODIFIED_NS + 1
        run.listing()
        assert len(mount.cluster.asked) == asked

    def test_collection_whose_content_the_listing_confirms_is_not_fetched_again(self, home, mount):
        home.child("run 42").listing()
        mount.clock.now += 16
        home.listing()
        home.child("run 42").listing()
        assert mount.cluster.asked == [
            "find run 42",
            f"collection {COLLECTION}",
            f"contents {HOME}",
        ]

    def test_collection_whose_content_the_listing_denies_is_fetched_again(self, home, mount):
        run = home.child("run 42")
        run.listing()
        mount.clock.now += 16
        mount.cluster.set_manifest(COLLECTION, manifest_of({"b.txt": b"bravo!"}))
        home.listing()
        assert home.child("run 42").child("b.txt").size == 6


class TestMemory:
    def test_unneeded_objects_go_and_come_back_with_their_number(self, make_home):
        home = make_home(directory_cache=1)
        numbers = names(home)
        for name, number in numbers.items():
            assert home.child(name).inode == number
        assert len(home.around.inodes) <= 2
        assert {name: home.child(name).inode for name in numbers} == numbers

    def test_what_the_kernel_knows_stays_and_the_kernel_is_asked_to_forget_it(self, make_home):
        home = make_home(directory_cache=1)
        held = home.child("run 42")
        held.kernel_refs += 1
        home.child("cohort").listing()
        assert home.child("run 42") is held
        assert (home.inode, "run 42") in home.around.kernel.entries

    def test_what_the_kernel_forgets_goes_at_once_when_memory_is_short(self, make_home):
        home = make_home(directory_cache=1)
        held = home.child("run 42")
        held.kernel_refs += 1
        home.around.inodes.forget(held.inode, 1)
        assert home.around.inodes.find(held.inode) is None

    def test_items_are_forgotten_when_memory_is_short_and_nothing_depends_on_them(self, make_home):
        home = make_home(directory_cache=1)
        project = home.child("cohort")
        project.kernel_refs += 1
        for n in range(100, 200):
            home.around.cluster.add_collection(f"zzzzz-4zz18-{n:015}", f"c{n}", MANIFEST, PROJECT)
        assert len(names(project)) == 100
        big = project.footprint()
        home.child("run 42").listing()
        assert project.footprint() < big / 10
        assert len(names(project)) == 100


FILTER = "zzzzz-j7d0g-00000000filter0"


class TestFilterGroups:
    """The fake shows as their content what they own."""

    @pytest.fixture
    def group(self, home, mount):
        mount.cluster.add_project(FILTER, "all runs")
        mount.cluster.items[FILTER] = mount.cluster.items[FILTER]._replace(is_filter=True)
        mount.cluster.add_collection(OTHER_COLLECTION, "found", MANIFEST, owner=FILTER)
        return home.child("all runs")

    def test_show_what_their_filters_find(self, group):
        assert names(group).keys() == {"found"}
        assert group.child("found").ident == OTHER_COLLECTION

    def test_a_single_name_takes_a_listing(self, group, mount):
        """What they show is not theirs, so that no question by owner and name would find it."""
        mount.cluster.asked.clear()
        assert group.child("found").ident == OTHER_COLLECTION
        with pytest.raises(NoSuchEntry):
            group.child("other")
        assert mount.cluster.asked == [f"contents {FILTER}"]

    def test_inside_of_themselves_they_are_empty(self, group, mount):
        mount.cluster.add_project(OTHER_PROJECT, "between", owner=FILTER)
        mount.cluster.owners[FILTER] = OTHER_PROJECT
        inner = group.child("between").child("all runs")
        assert inner is not group
        assert not names(inner)
        with pytest.raises(NoSuchEntry):
            inner.child("between")
