"""Moving a draft to a newer base: the result of a commit, or what somebody else has made of it.

    with lock:
        conflicts = rebase(draft, theirs, conflict_name)

A merge of three: what the cluster was known to have, what it has now (theirs), and what is here
(ours). What only they changed shows; what only we changed stays; a directory or file that we moved
takes along what they changed in it. What both changed, unless it came out the same:

- both changed or made a file, or one made a file of it and the other a directory: theirs has the
  name, and ours gets the conflict name;
- we changed it and they removed it: ours stays, as something new;
- we removed it and they changed it: theirs comes back. So does a directory that we removed and in
  which they made something, without the rest of what we removed.

``theirs`` must not be older than the last commit that was settled, and no snapshot may be under
way: after a rebase, one that was taken before must be dropped, not settled.

The time depends on how much the draft holds as objects, and on the parsing of those directories of
both trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import NamedTuple

from arvados_fuse.collection.draft import BaseEntry, Draft, DraftDirectory, DraftFile
from arvados_fuse.collection.extents import ExtentMap
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.places import same_bytes
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import Tree, TreeDirectory
from arvados_fuse.errors import ManifestError

__all__ = ["Conflict", "looked_into", "rebase", "shows"]


class Conflict(NamedTuple):
    """A file or directory that both have changed, by the path that theirs has.

    kept_as: the path of ours
    """

    path: str
    kept_as: str


def shows(tree: Tree, paths: Mapping[str, bool], files: Mapping[str, ExtentMap]) -> bool:
    """Whether a tree has something at paths, or has not, and files with just this content.

    False also where it is damaged.
    """
    try:
        return all(
            (_found(tree, path) is not None) == is_there for path, is_there in paths.items()
        ) and all(_has_file(tree, path, extents) for path, extents in files.items())
    except ManifestError:
        return False


def looked_into(draft: Draft, theirs: Tree) -> list[TreeDirectory]:
    """The directories whose files ``rebase`` looks at; it parses those that are not in memory."""
    return [
        directory
        for ours, new in _pairs(draft.root, theirs.root)
        for directory in (ours.base, new)
        if directory is not None
    ]


def rebase(draft: Draft, theirs: Tree, conflict_name: Callable[[str], str]) -> list[Conflict]:
    """Move a draft to another base. Call it with the draft's lock.

    ``conflict_name`` turns a name into one for ours; returns what has got one. Raises
    ManifestError, and has changed nothing then, if a directory that matters is damaged.
    """
    for directory in looked_into(draft, theirs):
        directory.files()
    merge = _Merge(conflict_name)
    draft.base = theirs
    merge.directory(draft.root, theirs.root)
    merge.settle_contests()
    merge.bring_back()
    _note_all(draft.root)
    _forget_clean(draft.root)
    return merge.conflicts


def _pairs(
    directory: DraftDirectory, theirs: TreeDirectory
) -> Iterator[tuple[DraftDirectory, TreeDirectory]]:
    """Directories of the draft, each with the one that is in the same place of the cluster now."""
    yield directory, theirs
    new = [e for e in directory.overlay.values() if e is not None and e.settled_at is None]
    for entry in chain(directory.settled.values(), new):
        if isinstance(entry, DraftDirectory):
            place = entry.settled_at or (directory, entry.name)
            subdirectory = theirs.subdirectories.get(place[1])
            if subdirectory is not None:
                yield from _pairs(entry, subdirectory)


def _note_all(directory: DraftDirectory) -> None:
    """Find out anew what differs from the cluster."""
    for entry in directory.overlay.values():
        if isinstance(entry, DraftDirectory):
            _note_all(entry)
    directory.changed = {name for name in directory.overlay if directory.differs(name)}


def _forget_clean(directory: DraftDirectory) -> None:
    """Let go of directories of which the new base says all there is to say."""
    for name, entry in list(directory.overlay.items()):
        if isinstance(entry, DraftDirectory):
            _forget_clean(entry)
            directory.forget(name)


class _Merge:
    """One rebase.

    First each name that the draft holds is compared with theirs, through the tree as the cluster
    had it. After that the bases are theirs everywhere, and whatever is not settled in a place is
    new there. Then names that theirs has and ours as well are settled one by one; this must wait,
    since ours may have come from a place that is compared later. Removed directories come back
    last, when it is clear what is in them.
    """

    def __init__(self, conflict_name: Callable[[str], str]) -> None:
        self.conflicts: list[Conflict] = []
        self._conflict_name = conflict_name
        self._contests: list[tuple[DraftDirectory, str]] = []
        self._removed: list[DraftDirectory] = []  # those in it before a directory

    # -- comparing --------------------------------------------------------------------------

    def directory(self, directory: DraftDirectory, theirs: TreeDirectory) -> None:
        """Compare all names that a directory holds."""
        before = {name: self._ancestor(directory, name) for name in directory.overlay}
        old = directory.base
        directory.base = theirs
        for name, ancestor in before.items():
            found = directory.in_base(name)
            if isinstance(ancestor, DraftDirectory):
                self._compare_directory(directory, name, ancestor, found)
            elif isinstance(ancestor, DraftFile):
                self._compare_file(directory, name, ancestor, found)
            else:
                self._compare_other(directory, name, _same_in_base(old, ancestor, theirs, found))

    @staticmethod
    def _ancestor(directory: DraftDirectory, name: str) -> DraftFile | DraftDirectory | BaseEntry:
        if name in directory.settled:
            return directory.settled[name]
        return directory.in_base(name)

    def _compare_directory(
        self, parent: DraftDirectory, name: str, directory: DraftDirectory, found: BaseEntry
    ) -> None:
        if isinstance(found, TreeDirectory):
            self.directory(directory, found)
            if directory.parent is None:
                self._removed.append(directory)
            return
        self._vanish(directory, keep=False)
        self._forget_settled(parent, name, found)

    def _compare_file(
        self, parent: DraftDirectory, name: str, file: DraftFile, found: BaseEntry
    ) -> None:
        theirs = _segments(parent, found)
        same = theirs is not None and _same(file.settled, theirs)
        if theirs is not None and same:
            # Whoever goes on reading it, or has changed a part of it, needs signatures that hold.
            file.extents.sign({block_name(locator): locator for locator, _, _ in theirs})
        clean_in_place = file.in_place and not file.is_dirty
        if theirs is not None and file.parent is not None and (same or not file.is_dirty):
            if clean_in_place and not file.pins:
                _drop(file)
                del parent.settled[name]
            else:
                _take_over(file, theirs, changed=not same)
            return
        if clean_in_place:
            _drop(file)
        _make_new(file)
        if same:  # it was removed here, and is still there
            del parent.settled[name]
        else:
            self._forget_settled(parent, name, found)

    def _compare_other(self, parent: DraftDirectory, name: str, same: bool) -> None:
        """Compare what never was an object of the draft, and does not show in it."""
        if not same:
            self._forget_settled(parent, name, parent.in_base(name))

    def _forget_settled(self, parent: DraftDirectory, name: str, found: BaseEntry) -> None:
        """Nothing of ours is in a place any more, as far as the cluster is concerned."""
        parent.settled.pop(name, None)
        if found is not None:
            self._contests.append((parent, name))
        elif name in parent.overlay and parent.overlay[name] is None:
            del parent.overlay[name]

    # -- what they removed ------------------------------------------------------------------

    def _vanish(self, directory: DraftDirectory, *, keep: bool) -> None:
        """They removed a directory: of ours, what we changed stays, or all of it if we moved it."""
        keep = keep or (directory.parent is not None and not directory.in_place)
        if keep:
            _take_all(directory)
        for entry in directory.settled.values():
            if isinstance(entry, DraftDirectory):
                self._vanish(entry, keep=keep)
            elif entry is not None:
                if entry.in_place and not entry.is_dirty and not keep:
                    _drop(entry)
                _make_new(entry)
        directory.overlay = {n: entry for n, entry in directory.overlay.items() if entry}
        directory.settled = {}
        directory.base = None
        if directory.in_place and not directory.overlay and not keep:
            _drop(directory)
        directory.settled_at = None

    # -- names that both have ---------------------------------------------------------------

    def settle_contests(self) -> None:
        """Settle who has the name, for all names that theirs has and we knew nothing of."""
        while self._contests:
            self._settle_contest(*self._contests.pop())

    def _settle_contest(self, directory: DraftDirectory, name: str) -> None:
        ours = directory.overlay.get(name)
        found = directory.in_base(name)
        theirs = _segments(directory, found)
        if ours is None:
            directory.overlay.pop(name, None)
        elif isinstance(ours, DraftFile) and theirs is not None and _has(ours, theirs):
            self._become_theirs(directory, ours, theirs)
        elif (
            isinstance(ours, DraftDirectory)
            and isinstance(found, TreeDirectory)
            and ours.settled_at is None
        ):
            ours.settled_at = (directory, name)
            directory.settled[name] = ours
            ours.base = found
            self._contests += [(ours, inside) for inside in ours.overlay if ours.in_base(inside)
                               is not None]  # fmt: skip
        else:
            self._give_way(directory, name, ours)

    def _become_theirs(
        self, directory: DraftDirectory, file: DraftFile, theirs: tuple[Segment, ...]
    ) -> None:
        """Both have made the same file."""
        if file.settled_at is not None:  # we moved it here, and the cluster still has it there too
            old_directory, old_name = file.settled_at
            del old_directory.settled[old_name]
        file.settled_at = (directory, file.name)
        file.settled_revision = file.revision
        if file.pins:
            directory.settled[file.name] = file
            _take_over(file, theirs, changed=False)
        else:
            _drop(file)
            file.settled_at = None

    def _give_way(
        self, directory: DraftDirectory, name: str, ours: DraftFile | DraftDirectory
    ) -> None:
        """Give ours the conflict name."""
        del directory.overlay[name]
        new_name = self._conflict_name(name)
        for number in count(2):
            if not directory.has(new_name):
                break
            new_name = self._conflict_name(f"{number}-{name}")
        path = directory.path()
        prefix = f"{path}/" if path else ""
        self.conflicts.append(Conflict(prefix + name, prefix + new_name))
        directory.overlay[new_name] = ours
        ours.name = new_name

    def bring_back(self) -> None:
        """Let directories come back that we removed, and that have entries now."""
        for directory in self._removed:
            if directory.is_empty:
                continue
            assert directory.settled_at is not None, "theirs has it"
            parent, name = directory.settled_at
            self._bring_back(parent, name, directory)

    def _bring_back(self, parent: DraftDirectory, name: str, directory: DraftDirectory) -> None:
        ours = parent.overlay.get(name)
        if isinstance(ours, DraftDirectory) and ours.settled_at is None:
            self._join(parent, ours, directory)
            return
        if ours is not None:
            self._give_way(parent, name, ours)
        parent.overlay[name] = directory
        directory.parent, directory.name = parent, name

    def _join(self, parent: DraftDirectory, ours: DraftDirectory, removed: DraftDirectory) -> None:
        """Let a directory that was made where one was removed have what would come back there."""
        assert removed.base is not None, "theirs has it"
        ours.base, ours.settled, removed.settled = removed.base, removed.settled, {}
        parent.settled[ours.name] = ours
        ours.settled_at, removed.settled_at = (parent, ours.name), None
        for name, entry in ours.settled.items():
            if entry is not None:
                entry.settled_at = (ours, name)
        made = [name for name in ours.overlay if name not in removed.overlay]
        self._contests += [(ours, name) for name in made if ours.in_base(name) is not None]
        for name, entry in removed.overlay.items():
            if isinstance(entry, DraftDirectory):
                self._bring_back(ours, name, entry)
            else:
                assert entry is None, "all files in it were removed"
                ours.overlay.setdefault(name, None)
        removed.overlay = {}
        self.settle_contests()


def _take_over(file: DraftFile, theirs: tuple[Segment, ...], *, changed: bool) -> None:
    """Let a file that stays an object know what the cluster has: new signatures at least."""
    was_dirty = file.is_dirty
    file.settled = theirs
    if not was_dirty:
        file.extents = ExtentMap.from_segments(theirs)
    if changed:
        file.revision += 1
        file.settled_revision = file.revision


def _drop(entry: DraftFile | DraftDirectory) -> None:
    """Let the base alone say what there is in the place of an entry."""
    assert entry.parent is not None, "it is in place"
    del entry.parent.overlay[entry.name]
    entry.parent = None


def _make_new(file: DraftFile) -> None:
    """Let a file be one that the cluster does not have."""
    file.settled_at = file.settled = None
    file.settled_revision = -1


def _take_all(directory: DraftDirectory) -> None:
    """Make objects of all that a directory shows of its base, as far as it can be read."""
    for name in list(directory.directory_names()):
        directory.directory(name)
    try:
        names = [name for _index, name in directory.base_files()]
    except ManifestError:
        return  # nobody could read these files, before or after
    for name in names:
        try:
            directory.open_file(name)
        except ManifestError:
            continue


def _segments(directory: DraftDirectory, found: BaseEntry) -> tuple[Segment, ...] | None:
    """The content of a file of a directory's base; None if it is no file, or damaged."""
    if directory.base is None or not isinstance(found, int):
        return None
    try:
        return directory.base.files().segments(found)
    except ManifestError:
        return None


def _same_in_base(
    old: TreeDirectory | None, ancestor: BaseEntry, theirs: TreeDirectory, found: BaseEntry
) -> bool:
    """Whether two bases have the same file under a name."""
    return (
        old is not None
        and isinstance(ancestor, int)
        and isinstance(found, int)
        and old.files().same_content(ancestor, theirs.files(), found)
    )


def _has(file: DraftFile, segments: tuple[Segment, ...]) -> bool:
    """Whether a file has that content; what is not stored yet is never the same."""
    if file.size != sum(segment.size for segment in segments):
        return False
    try:
        return _same(file.extents.segments(), segments)
    except ValueError:
        return False


def _found(tree: Tree, path: str) -> tuple[TreeDirectory, BaseEntry] | None:
    """What is at a path, and the directory that it is in; None if nothing is."""
    directory = tree.root
    *steps, name = path.split("/")
    for step in steps:
        if step not in directory.subdirectories:
            return None
        directory = directory.subdirectories[step]
    found = directory.subdirectories.get(name)
    index = directory.files().index(name) if found is None else None
    return None if found is None and index is None else (directory, found or index)


def _has_file(tree: Tree, path: str, extents: ExtentMap) -> bool:
    found = _found(tree, path)
    if found is None or isinstance(found[1], TreeDirectory):
        return False
    directory, index = found
    assert isinstance(index, int), "it is a file"
    return _same(extents.segments(), directory.files().segments(index))


def _same(mine: Sequence[Segment] | None, theirs: Sequence[Segment]) -> bool:
    """Whether two contents are the same parts of the same blocks, whatever the signatures."""
    return mine is not None and same_bytes(mine, theirs)
