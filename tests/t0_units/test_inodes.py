"""Inode numbers and the memory that stands behind them."""

import gc
import tracemalloc

import pytest

from arvados_fuse.errors import Stale
from arvados_fuse.fresh import FreshBase
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.inodes import FILE_FOOTPRINT, ROOT_INODE, InodeCache, Inodes
from tests.support import invariants
from tests.support.fakes import FakeMount, manifest_of


class Thing(FreshBase):
    """Something that stays in the table until it is taken out."""

    def path(self):
        return f"/thing {self.inode}"


class Parent(Thing):
    live = 0


class File(Thing):
    transient = True


class TestNumbers:
    @pytest.fixture
    def inodes(self):
        return Inodes(InodeCache(1 << 20))

    def test_the_first_is_the_root(self, inodes):
        root = Thing(None)
        inodes.add(root)
        assert root.inode == ROOT_INODE
        assert inodes.get(ROOT_INODE) is root

    def test_none_is_used_twice(self, inodes):
        first, second = File(None), File(None)
        inodes.add(first)
        inodes.remove(first)
        inodes.add(second)
        assert second.inode != first.inode

    def test_reserved_ones_are_given_to_nobody_else(self, inodes):
        first = inodes.reserve(1000)
        thing = Thing(None)
        inodes.add(thing)
        assert thing.inode not in range(first, first + 1000)
        late = Thing(None)
        inodes.add(late, first + 500)
        assert inodes.get(first + 500) is late

    def test_unknown_one_is_stale_and_the_error_says_what_to_do(self, inodes):
        assert inodes.find(77) is None
        with pytest.raises(Stale, match="open the path again"):
            inodes.get(77)

    def test_table_counts_its_objects_and_those_below_each_parent(self, inodes):
        parent = Parent(None)
        inodes.add(parent)
        children = [File(parent) for _ in range(3)]
        for child in children:
            inodes.add(child)
        assert (len(inodes), parent.live) == (4, 3)
        inodes.remove(children[0])
        assert (len(inodes), parent.live) == (3, 2)


class TestReferences:
    @pytest.fixture
    def inodes(self):
        return Inodes(InodeCache(1 << 20))

    def test_a_transient_object_goes_with_the_last_reference(self, inodes):
        file = File(None)
        inodes.add(file)
        file.kernel_refs = 3
        inodes.forget(file.inode, 2)
        assert inodes.find(file.inode) is file
        inodes.forget(file.inode, 1)
        assert inodes.find(file.inode) is None
        assert inodes.cache.total == 0

    def test_an_open_handle_keeps_what_the_kernel_has_forgotten(self, inodes):
        file = File(None)
        inodes.add(file)
        file.kernel_refs = file.uses = 1
        inodes.forget(file.inode, 1)
        assert inodes.find(file.inode) is file
        inodes.release(file)
        assert inodes.find(file.inode) is None

    def test_other_objects_stay(self, inodes):
        thing = Thing(None)
        inodes.add(thing)
        thing.kernel_refs = 1
        inodes.forget(thing.inode, 1)
        assert inodes.find(thing.inode) is thing

    def test_forgetting_an_unknown_number_does_nothing(self, inodes):
        inodes.forget(77, 1)
        assert len(inodes) == 0

    def test_dropping_twice_leaves_who_has_the_number_now_alone(self, inodes):
        gone, heir = File(None), File(None)
        inodes.add(gone)
        number = gone.inode
        inodes.remove(gone)
        inodes.add(heir, number)
        inodes.drop_if_unused(gone)
        assert inodes.find(number) is heir


class Held:
    """A directory as the cache sees it: some bytes, of which `pinned` ones cannot be given back."""

    def __init__(self, cache: InodeCache, inode: int, size: int, pinned: int = 0) -> None:
        self.inode = inode
        self.accounted = 0
        self.size = size
        self.pinned = pinned
        self.evictions = 0
        cache.resized(self)

    def footprint(self) -> int:
        return self.size

    def evict(self) -> None:
        self.evictions += 1
        self.size = self.pinned


class TestEviction:
    def test_nothing_is_evicted_up_to_the_limit(self):
        cache = InodeCache(300)
        held = [Held(cache, n, 100) for n in range(1, 4)]
        assert cache.total == 300
        assert [h.evictions for h in held] == [0, 0, 0]

    def test_the_least_recently_used_goes_first_and_only_as_many_as_needed(self):
        cache = InodeCache(300)
        held = [Held(cache, n, 100) for n in range(1, 4)]
        cache.used(held[0])
        Held(cache, 4, 100)
        assert [h.evictions for h in held] == [0, 1, 0]
        assert cache.total == 300

    def test_what_just_grew_is_not_evicted_for_it(self):
        cache = InodeCache(100)
        only = Held(cache, 1, 500)
        assert only.evictions == 0
        assert cache.total == 500

    def test_sizes_are_booked_as_they_change(self):
        cache = InodeCache(1000)
        held = Held(cache, 1, 100)
        held.size = 250
        cache.resized(held)
        assert cache.total == 250
        cache.removed(held)
        assert (cache.total, held.accounted) == (0, 0)

    def test_using_an_unknown_directory_does_nothing(self):
        cache = InodeCache(1000)
        held = Held(cache, 1, 100)
        cache.removed(held)
        cache.used(held)
        assert cache.total == 0

    def test_files_count_and_make_room(self):
        cache = InodeCache(FILE_FOOTPRINT)
        held = Held(cache, 1, 100)
        cache.file_added(directory_inode=2)
        assert held.evictions == 1
        assert cache.total == FILE_FOOTPRINT
        cache.file_removed()
        assert cache.total == 0

    def test_pinned_memory_is_not_asked_for_again_at_every_growth(self):
        """Or each of a million lookups would walk over all directories."""
        cache = InodeCache(100)
        held = [Held(cache, n, 100, pinned=100) for n in range(1, 1001)]
        asked = sum(h.evictions for h in held)
        assert asked <= 11 * len(held)  # a walk at each tenth more, not 500 for each directory

    def test_the_directory_that_is_being_looked_into_keeps_its_content(self):
        cache = InodeCache(100)
        held = Held(cache, 1, 100)
        cache.file_added(directory_inode=1)
        assert held.evictions == 0

    def test_what_grew_before_is_not_spared_when_another_grows(self):
        cache = InodeCache(100)
        giant = Held(cache, 1, 100_000)
        Held(cache, 2, 100)
        assert giant.evictions == 1
        assert cache.total == 100

    def test_many_files_of_one_giant_directory_cost_few_walks(self):
        cache = InodeCache(100)
        others = [Held(cache, n, 100, pinned=100) for n in range(1, 101)]
        Held(cache, 1000, 1_000_000)
        asked = sum(h.evictions for h in others)
        for _ in range(1000):
            cache.file_added(directory_inode=1000)
        assert sum(h.evictions for h in others) - asked <= 50 * len(others)

    def test_what_is_given_back_goes_at_once_while_memory_is_short(self):
        cache = InodeCache(1000)
        giant = Held(cache, 1, 5000, pinned=5000)
        other = Held(cache, 2, 100, pinned=100)
        giant.pinned = 0
        cache.unpinned(1)
        assert cache.total == 100
        other.pinned = 0
        cache.unpinned(2)
        assert cache.total == 100

    def test_the_limit_holds_again_when_pinned_memory_has_gone(self):
        cache = InodeCache(1000)
        giant = Held(cache, 1, 100_000, pinned=100_000)
        Held(cache, 2, 100)
        cache.removed(giant)
        for number in range(3, 100):
            Held(cache, number, 100)
            assert cache.total <= 1100

    def test_the_limit_holds_again_when_files_have_gone(self):
        cache = InodeCache(1000)
        for _ in range(1000):
            cache.file_added(directory_inode=0)
        for _ in range(1000):
            cache.file_removed()
        for number in range(1, 100):
            Held(cache, number, 100)
            assert cache.total <= 1100


def bytes_per_file(count: int) -> float:
    """Bytes of memory that one looked-up file of a collection costs, as Python counts them."""
    mount = FakeMount()
    uuid = "zzzzz-4zz18-000000000000001"
    names = [f"f{n:06}" for n in range(count)]
    mount.cluster.add_collection(uuid, "x", manifest_of(dict.fromkeys(names, b"x")))
    directory = CollectionDirectory(mount.around, None, uuid, "")
    mount.inodes.add(directory)
    directory.listing()
    gc.collect()
    tracemalloc.start()
    for name in names:
        directory.child(name)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    invariants.check(mount)
    return held / count


def test_file_footprint_is_within_a_third_of_what_a_file_costs():
    measured = bytes_per_file(20_000)
    assert FILE_FOOTPRINT * 2 / 3 <= measured <= FILE_FOOTPRINT * 4 / 3, measured
