"""A large project is listed page by page: the first entries wait for the first page alone."""

import pytest

from arvados_fuse.errors import TimedOut
from arvados_fuse.fusedir import paging
from arvados_fuse.fusedir.project import HomeDirectory
from tests.support.fakes import HOME, manifest_of

MANIFEST = manifest_of({"a.txt": b"alpha"})


def collection(number: int) -> str:
    return f"zzzzz-4zz18-{number:015d}"


class Source:
    """Stands for the cluster's answer: how many items were asked for, and where it breaks."""

    def __init__(self, cluster) -> None:
        self.given = 0
        self.questions = 0
        self.breaks_at = None
        self._answer = cluster.contents
        cluster.contents = self.contents

    def contents(self, uuid):
        self.questions += 1
        for item in self._answer(uuid):
            if self.given == self.breaks_at:
                raise TimedOut("The cluster is slow.")
            self.given += 1
            yield item


@pytest.fixture
def home(mount, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(7):
        mount.cluster.add_collection(collection(number), f"c{number}", MANIFEST)
    home = HomeDirectory(mount.around, None, HOME, "")
    home.plant()
    return home


@pytest.fixture
def source(mount, home):
    return Source(mount.cluster)


def rest(listing):
    while listing.more():
        pass
    return list(listing.directories)


ALL = [f"c{number}" for number in range(7)]


def test_the_first_entries_are_there_before_the_rest_is_asked_for(home, source):
    listing = home.open_listing()
    assert list(listing.directories) == ["c0", "c1"]
    assert source.given == 2
    assert listing.more()
    assert list(listing.directories) == ["c0", "c1", "c2", "c3"]
    assert rest(listing) == ALL
    assert not listing.more()


def test_a_second_reader_joins(home, source):
    first = home.open_listing()
    second = home.open_listing()
    assert rest(second) == rest(first) == ALL
    assert (source.questions, source.given) == (1, 7)


def test_when_all_is_known_nothing_is_asked(home, source):
    rest(home.open_listing())
    assert list(home.open_listing().directories) == ALL
    assert source.questions == 1


def test_a_listing_that_was_left_in_the_midst_grows_too_old(home, source, mount):
    home.open_listing()
    mount.around.trust.clock.now += mount.around.refresh_time_s + 1
    assert rest(home.open_listing()) == ALL
    assert source.questions == 2


def test_numbers_are_those_of_lookups_before_during_and_after(home, source):
    before = home.child("c3").inode
    listing = home.open_listing()
    during = home.child("c5").inode
    rest(listing)
    numbers = dict(zip(listing.directories, listing.directory_inodes, strict=True))
    assert (numbers["c3"], numbers["c5"]) == (before, during)
    assert numbers["c6"] == home.child("c6").inode
    assert list(home.open_listing().directory_inodes) == list(listing.directory_inodes)


def test_names_that_had_to_be_changed_are_the_last(home, source, mount):
    mount.cluster.add_collection(collection(0), "c/6", MANIFEST)
    mount.cluster.add_collection(collection(1), "c_2", MANIFEST)
    mount.cluster.add_collection(collection(2), "c/2", MANIFEST)
    assert rest(home.open_listing()) == [
        *("c_2", "c3", "c4", "c5", "c6", "c_6", f"c_2 ({collection(2)})"),
    ]


def test_projects_come_first_and_have_a_right_to_their_names(home, source, mount):
    mount.cluster.add_project("zzzzz-j7d0g-000000000000001", "c/6")
    mount.cluster.add_collection(collection(6), "c_6", MANIFEST)
    assert rest(home.open_listing()) == ["c_6", *ALL[:6], f"c_6 ({collection(6)})"]


def test_what_fails_on_the_first_page_fails_at_once(home, source):
    source.breaks_at = 1
    with pytest.raises(TimedOut):
        home.open_listing()


def test_what_fails_later_fails_there_for_all_who_read_and_is_tried_anew(home, source):
    source.breaks_at = 3
    listing, other = home.open_listing(), home.open_listing()
    for reader in (listing, other, listing):
        with pytest.raises(TimedOut):
            reader.more()
    source.breaks_at = None
    assert rest(home.open_listing()) == ALL


def test_an_item_that_comes_meanwhile_is_not_taken_for_missing(home, source, mount):
    listing = home.open_listing()
    mount.cluster.add_collection(collection(9), "new", MANIFEST)
    home.came("new", mount.cluster.items[collection(9)])
    rest(listing)
    assert home.child("new").ident == collection(9)
    assert "new" in rest(home.open_listing())


def test_an_item_that_is_gone_is_forgotten_with_the_next_listing(home, source, mount):
    rest(home.open_listing())
    mount.cluster.remove(collection(3))
    home.invalidate()
    assert rest(home.open_listing()) == [name for name in ALL if name != "c3"]
    assert home.negative_lifetime(mount.around.clock()) > 0
