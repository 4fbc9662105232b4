"""What must hold of the inode table and its accounts after whatever happened."""

from __future__ import annotations

from arvados_fuse.fresh import FreshBase
from arvados_fuse.fusedir.directory import Directory
from arvados_fuse.inodes import FILE_FOOTPRINT
from tests.support.fakes import FakeMount

__all__ = ["check", "check_nothing_leaked", "objects"]


def objects(mount: FakeMount) -> list[FreshBase]:
    """All objects in the inode table."""
    past_the_last = mount.inodes.reserve(0)
    found = [mount.inodes.find(number) for number in range(1, past_the_last)]
    return [thing for thing in found if thing is not None]


def check(mount: FakeMount) -> None:
    """Fail if the inode table contradicts itself."""
    table = objects(mount)
    assert len(mount.inodes) == len(table), "an object has a number that was never given out"
    for thing in table:
        _check_object(mount, thing, table)
    _check_accounts(mount, table)


def _check_object(mount: FakeMount, thing: FreshBase, table: list[FreshBase]) -> None:
    what = f"{thing.path()} (inode {thing.inode})"
    assert mount.inodes.find(thing.inode) is thing, f"{what} stands under another number"
    assert thing.kernel_refs >= 0, f"{what} was forgotten more often than looked up"
    assert thing.uses >= 0, f"{what} was released more often than used"
    if thing.parent is not None:
        assert mount.inodes.find(thing.parent.inode) is thing.parent, f"{what} has lost its parent"
    for key in thing.watches:
        watchers = mount.inodes.watchers([key])
        assert thing in watchers, f"{what} watches {key} and is not told of it"
        assert set(watchers) <= set(table), f"somebody who is gone watches {key}"
    if isinstance(thing, Directory):
        entries = [other for other in table if other.parent is thing]
        assert thing.live == len(entries), f"{what} counts its entries wrong"
        for child in thing.children.values():
            assert child in entries, f"{what} has a child that is not in the table"


def _check_accounts(mount: FakeMount, table: list[FreshBase]) -> None:
    directories = [thing for thing in table if isinstance(thing, Directory)]
    for directory in directories:
        assert directory.accounted == directory.footprint(), (
            f"{directory.path()} is booked with {directory.accounted} bytes"
            f" and has {directory.footprint()}"
        )
    files = sum(thing.transient for thing in table)
    booked = sum(d.accounted for d in directories) + FILE_FOOTPRINT * files
    assert mount.inodes.cache.total == booked, "the cache's total is not the sum of what it booked"


def check_nothing_leaked(mount: FakeMount) -> None:
    """Fail if an object is still in the table that no kernel reference or handle can ever free."""
    leaked = [t.path() for t in objects(mount) if t.transient and not t.pinned]
    assert not leaked, f"nobody refers to {leaked}, and nobody will take them out of the table"
