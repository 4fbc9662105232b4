"""Directories of a collection that can be changed.

What is changed is in a draft (`collection.draft`), an overlay over the tree. A directory here has a
`DraftDirectory` as soon as something in it is changed, and files that were made or changed have a
`DraftFile`. Objects and inode numbers stay what they are when a file becomes a draft, when it is
renamed, and when a commit makes it part of the tree.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from arvados_fuse.collection.draft import DraftDirectory, DraftFile, check_name
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import (
    Exists,
    IsDirectory,
    ManifestError,
    NotDirectory,
    NotPermitted,
)
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusedir.tree import TopDirectory, TreeBacked
from arvados_fuse.fusefile import CollectionFile
from arvados_fuse.journal.records import Mkdir, Rename, Rmdir, Unlink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from arvados_fuse.collection.extents import ExtentMap
    from arvados_fuse.collection.tree import FileTable, TreeDirectory
    from arvados_fuse.commit.session import Session
    from arvados_fuse.fresh import FreshBase
    from arvados_fuse.fusedir.directory import Directory, Surroundings

__all__ = ["CollectionSubdirectory", "DraftBacked", "WritableTop"]

EMPTY = Tree.from_manifest("").root
"""What a new directory shows of the cluster's content."""


class WritableTop(TopDirectory, Protocol):
    """The directory at the top of a collection, as changes need it."""

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, the collection can be changed."""

    @property
    def session(self) -> Session | None:
        """The changes that are under way, if there are any."""

    def begin(self) -> Session:
        """Return the session, begun now if there is none. May give the lock up.

        Raises ReadOnly, NotPermitted, NoSpace, JournalError, and what asking the cluster does.
        """

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted if the collection must not be changed.

        May give the lock up.
        """

    def commit(self) -> None:
        """Commit what was changed. May give the lock up."""

    def closed(self) -> None:
        """Do what the close of a changed file asks for. May give the lock up."""

    def noted(self) -> None:
        """Something was changed: commit it some time soon."""


class _Found(NamedTuple):
    """An entry that is to be changed: its true name and its object."""

    key: str
    thing: FreshBase


class DraftBacked(TreeBacked):
    """A directory whose entries are those of a tree directory, with changes.

    draft: the changes; None if there are none in this directory
    _drafted: the objects of files with a draft that is in the overlay, by true name
    _moved: the numbers of directories that are not under this name in the tree, by true name
    _times: when files without a draft were changed here, by true name; nanoseconds since 1970
    _changed_ns: when entries were changed here; 0 if they were not
    """

    __slots__ = ("_changed_ns", "_drafted", "_moved", "_times", "draft")

    def __init__(self, around: Surroundings, parent: Directory | None, key: str, name: str) -> None:
        super().__init__(around, parent, key, name)
        self.draft: DraftDirectory | None = None
        self._drafted: dict[str, CollectionFile] = {}
        self._moved: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._changed_ns = 0

    @property
    def collection(self) -> WritableTop:
        """The directory at the top of the collection."""
        raise NotImplementedError

    def own_draft(self) -> DraftDirectory:
        """Return the draft of this directory, made now if there is none. There is a session."""
        raise NotImplementedError

    def make_subdirectory(self, key: str, name: str) -> CollectionSubdirectory:
        """Make the object of a directory in this one."""
        return CollectionSubdirectory(self.around, self, key, name)

    def make_file(self, index: int, key: str, name: str, size: int) -> CollectionFile:
        """Make the object of a file of this directory."""
        return CollectionFile(self, self._node(), index, key=key, name=name, size=size)

    @property
    def pinned(self) -> bool:
        """Also as long as there is something that only the object knows."""
        return super().pinned or bool(self._times) or self._changed_ns > 0

    # -- attributes -------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, entries can be changed."""
        return self.collection.writable

    @property
    def mtime_ns(self) -> int:
        """Time of the last change made here; else the collection's, nanoseconds since 1970."""
        return self._changed_ns or self.collection.content_ns

    def file_mtime_ns(self, file: CollectionFile) -> int:
        """Time of the last change of a file, as far as it was made here; else the collection's."""
        draft = file.draft
        if draft is not None and draft.mtime_ns is not None:
            return draft.mtime_ns
        return self._times.get(file.key) or self.collection.content_ns

    def set_mtime(self, mtime_ns: int) -> None:
        """Note the time of the last change of this directory. May give the lock up."""
        self.check_writable()
        self._changed_ns = mtime_ns

    def set_file_mtime(self, file: CollectionFile, mtime_ns: int) -> None:
        """Note the time of the last change of `file`. May give the lock up."""
        self.check_writable()
        if file.draft is not None:
            file.draft.mtime_ns = mtime_ns
        else:
            self._times[file.key] = mtime_ns

    # -- entries ----------------------------------------------------------------------------

    def listing(self) -> Listing:
        """Return all entries. Raises ManifestError if the directory's part of it is bad."""
        self.collection.refresh()
        _, file_inodes = self._files()
        draft = self.draft
        if draft is None or not draft.overlay:
            return super().listing()
        directories = list(draft.directory_names())
        shown = list(draft.base_files())
        own = [self._file_of(file) for _, file in draft.own_files()]
        names = [name for _, name in shown]
        names += [file.key for file in own]
        numbers = [file_inodes[index] for index, _ in shown]
        numbers += [file.inode for file in own]
        return Listing(
            self._shown(directories),
            [self._directory_number(name) for name in directories],
            self._shown(names),
            numbers,
        )

    def _child(self, name: str) -> FreshBase | None:
        draft = self.draft
        if draft is None or name not in draft.overlay:
            return super()._child(name)
        entry = draft.overlay[name]
        if isinstance(entry, DraftFile):
            return self._file_of(entry)
        return None if entry is None else self._directory_of(entry)

    def _file_of(self, entry: DraftFile) -> CollectionFile:
        """Return the object of a file that is in the overlay."""
        file = self._drafted.get(entry.name)
        if file is None or file.draft is not entry:
            shown = self._present(entry.name)
            file = self.make_file(-1, entry.name, shown, 0)
            self.around.inodes.add(file)
            self._pin(file, entry)
        return file

    def _directory_of(self, entry: DraftDirectory) -> TreeBacked:
        """Return the object of a directory that is in the overlay."""
        child = self.children.get(entry.name)
        if child is None:
            child = self.make_subdirectory(entry.name, self._present(entry.name))
            child.node = entry.base or EMPTY
            child.draft = entry
            self.adopt(entry.name, child, self._directory_number(entry.name))
        assert isinstance(child, TreeBacked)
        return child

    def _directory_number(self, name: str) -> int:
        number = self._moved.get(name)
        if number is not None:
            return number
        base = self._node().subdirectories.get(name)
        entry = self.draft.overlay.get(name) if self.draft is not None else None
        shown = entry.base if isinstance(entry, DraftDirectory) else base
        if base is not None and shown is base:
            return self._subdirectories()[name]
        number = self._moved[name] = self.around.inodes.reserve(1)
        return number

    def _present(self, name: str) -> str:
        """Return the name under which the entry of a true name is shown; note it if it is odd."""
        self._note_odd([name])
        return self.around.names.present(name)

    def _pin(self, file: CollectionFile, entry: DraftFile) -> None:
        """Keep the object of a file that is in the overlay in the inode table."""
        if entry.mtime_ns is None:
            entry.mtime_ns = self._times.pop(file.key, None)
        file.draft = entry
        file.uses += 1
        self._drafted[entry.name] = file

    def _unpin(self, file: CollectionFile) -> None:
        self._drafted.pop(file.key, None)
        self.around.inodes.release(file)

    # -- changes of files -------------------------------------------------------------------

    def check_writable(self) -> None:
        """Raise ReadOnly or NotPermitted if the collection must not be changed.

        May give the lock up.
        """
        self.collection.check_writable()

    def write_file(self, file: CollectionFile, offset: int, data: bytes) -> None:
        """Write into `file`. May give the lock up."""
        session = self.collection.begin()
        draft = self._draft_of(file)
        draft.pins += 1  # it must not leave the overlay while the lock is given up
        try:
            session.write(draft, offset, data)
        finally:
            draft.pins -= 1
        draft.mtime_ns = time.time_ns()
        self.collection.noted()

    def truncate_file(self, file: CollectionFile, size: int) -> None:
        """Cut `file` off, or lengthen it by zeros. May give the lock up."""
        session = self.collection.begin()
        draft = self._draft_of(file)
        if size != draft.size:
            session.truncate(draft, size)
        draft.mtime_ns = time.time_ns()
        self.collection.noted()

    def file_closed(self) -> None:
        """Do what the close of a file that is not saved asks for. May give the lock up."""
        self.collection.closed()

    def file_released(self, file: CollectionFile) -> None:
        """A handle of `file` is about to go while the file has a draft."""
        draft, session = file.draft, self.collection.session
        assert draft is not None
        if session is not None:
            session.written_out(draft)
        is_in_overlay = self._drafted.get(file.key) is file
        if not is_in_overlay and not file.is_unlinked and file.uses == 1 and file.index >= 0:
            self._be_of_tree(file, draft)

    @staticmethod
    def _be_of_tree(file: CollectionFile, draft: DraftFile) -> None:
        """Let a file have its content from the tree, which is the same."""
        file.take_size(draft.size)
        file.draft = None

    def commit(self) -> None:
        """Commit the collection. May give the lock up."""
        self.collection.commit()

    def _draft_of(self, file: CollectionFile) -> DraftFile:
        """Return the draft of a file, made now if need be. There is a session."""
        draft = file.draft
        if draft is not None and (file.is_unlinked or self._drafted.get(file.key) is file):
            return draft
        self._files()
        entry = self.own_draft().open_file(file.key)
        self._pin(file, entry)
        return entry

    # -- changes of entries -----------------------------------------------------------------

    def create(self, name: str) -> CollectionFile:
        """Make a new, empty file. May give the lock up.

        Raises Exists, InvalidArgument, NameTooLong, NameNotText, and what `begin` does.
        """
        session = self._begin_change(name)
        entry = self.own_draft().create(name)
        session.created(entry)
        self._touched()
        return self._file_of(entry)

    def mkdir(self, name: str) -> Directory:
        """Make a new directory. May give the lock up; raises as `create`."""
        session = self._begin_change(name)
        entry = self.own_draft().mkdir(name)
        session.note(Mkdir(entry.path()))
        self._touched()
        return self._directory_of(entry)

    def unlink(self, name: str) -> None:
        """Remove a file. May give the lock up. Raises NoSuchEntry, IsDirectory."""
        session = self.collection.begin()
        key, thing = self._entry(name)
        if not isinstance(thing, CollectionFile):
            raise IsDirectory(f"{name!r} is a directory.")
        self._keep_content(thing)
        path = self._path_in_collection(key)
        self.own_draft().unlink(key)
        session.note(Unlink(path))
        self._removed(key, thing)
        self._touched()

    def rmdir(self, name: str) -> None:
        """Remove an empty directory. May give the lock up.

        Raises NoSuchEntry, NotDirectory, NotEmpty.
        """
        session = self.collection.begin()
        key, thing = self._entry(name)
        if not isinstance(thing, DraftBacked):
            raise NotDirectory(f"{name!r} is not a directory.")
        thing.load(thing._node())
        path = self._path_in_collection(key)
        thing.draft = self.own_draft().rmdir(key)
        session.note(Rmdir(path))
        self._removed(key, thing)
        self._touched()

    def move(self, name: str, target: Directory, new_name: str) -> None:
        """Move an entry to another directory, or give it another name. May give the lock up.

        Raises NotPermitted if `target` is no directory of a collection, NoSuchEntry, IsDirectory,
        NotDirectory, NotEmpty, InvalidArgument, and what `begin` does.
        """
        if not isinstance(target, DraftBacked):
            raise NotPermitted("Files can be moved within collections and between them only.")
        self.collection.begin()
        session = target._begin_change(new_name, may_exist=True)
        key, thing = self._entry(name)
        new_key, replaced = target._target(new_name)
        if replaced is thing:
            return
        if target.collection is not self.collection:
            self._move_far(key, thing, target, new_key, replaced)
            return
        self._drafted_object(thing)
        if replaced is not None:
            target._keep_content(replaced)
        old, new = self._path_in_collection(key), target._path_in_collection(new_key)
        rename(self.own_draft(), key, target.own_draft(), new_key)
        session.note(Rename(old, new))
        self._moved_over(key, thing, target, new_key, replaced)

    def _move_far(
        self,
        key: str,
        thing: FreshBase,
        target: DraftBacked,
        new_key: str,
        replaced: FreshBase | None,
    ) -> None:
        """Move an entry to another collection, by reference."""
        # What is only in this collection's journal would be gone with it.
        self.collection.commit()
        raise NotPermitted(f"{key!r} cannot be moved to another collection yet.")

    def _begin_change(self, name: str, *, may_exist: bool = False) -> Session:
        """Begin to make an entry called `name`, and return the session. May give the lock up."""
        check_name(name)
        session = self.collection.begin()
        self._files()
        if not may_exist and self._child(name) is not None:
            raise Exists(f"{name!r} is there already.")
        return session

    def _entry(self, name: str) -> _Found:
        """Return the entry that is shown as `name`. May give the lock up. Raises NoSuchEntry."""
        thing = self.child(name)
        key = thing.key if isinstance(thing, CollectionFile | TreeBacked) else name
        return _Found(key, thing)

    def _target(self, name: str) -> tuple[str, FreshBase | None]:
        """Return the true name that an entry moved to `name` gets, and what has it now."""
        thing = self._child(name)
        return name, thing

    def _keep_content(self, thing: FreshBase) -> None:
        """See to it that who has a file open keeps its content when its name is gone."""
        if isinstance(thing, CollectionFile) and thing.uses > 0:
            self._draft_of(thing)
        elif isinstance(thing, DraftBacked):
            thing.load(thing._node())

    def _drafted_object(self, thing: FreshBase) -> None:
        """Let the draft know an entry that keeps its object while it moves."""
        if isinstance(thing, CollectionFile):
            self._draft_of(thing)
        else:
            assert isinstance(thing, DraftBacked)
            thing.own_draft()

    def _removed(self, key: str, thing: FreshBase) -> None:
        """Let go of the object of an entry whose name is gone."""
        self._times.pop(key, None)
        if isinstance(thing, CollectionFile):
            thing.is_unlinked = True
            if self._drafted.get(key) is thing:
                self._unpin(thing)
            return
        self._moved.pop(key, None)
        if self.children.get(key) is thing:
            del self.children[key]

    def _moved_over(
        self,
        key: str,
        thing: FreshBase,
        target: DraftBacked,
        new_key: str,
        replaced: FreshBase | None,
    ) -> None:
        """Move the object of an entry after its draft."""
        if replaced is not None:
            target._removed(new_key, replaced)
        shown = target._present(new_key)
        self.around.inodes.reparent(thing, target)
        if isinstance(thing, CollectionFile):
            del self._drafted[key]
            thing.moved(target, new_key, shown)
            target._drafted[new_key] = thing
        else:
            assert isinstance(thing, DraftBacked)
            self.children.pop(key, None)
            self._moved.pop(key, None)
            thing.key, thing.name = new_key, shown
            target.children[new_key] = thing
            target._moved[new_key] = thing.inode
        self._touched()
        target._touched()

    def _touched(self) -> None:
        """Note that entries were changed now."""
        self._changed_ns = time.time_ns()
        self.collection.noted()

    def _path_in_collection(self, key: str) -> str:
        path = self.own_draft().path()
        return f"{path}/{key}" if path else key

    def forget_draft(self) -> None:
        """There is no draft any more, here and below."""
        self.draft = None
        for child in self.children.values():
            if isinstance(child, DraftBacked):
                child.forget_draft()

    # -- the next version -------------------------------------------------------------------

    def move_to(self, node: TreeDirectory) -> None:
        """Show `node`, the same directory in another version, from now on."""
        old, self.node = self.node, node
        self._odd = {}
        self._sort_children()
        self._carry_subdirectories(node)
        gone = {name: file for name, file in self._drafted.items() if not self._has(name, file)}
        kept = dict(self._unchanged(node, gone))
        self._carry_files(old, node, kept)
        for file in gone.values():
            self._let_go(file, file.key in kept)
        if self._drafted:
            self._note_odd(list(self._drafted))
        self.resized()

    def _sort_children(self) -> None:
        """Follow what was renamed in the draft because others had taken its name."""
        for name, file in list(self._drafted.items()):
            entry = file.draft
            if entry is not None and entry.parent is self.draft and entry.name != name:
                del self._drafted[name]
                self.around.kernel.invalidate_entry(self.inode, file.name)
                file.moved(self, entry.name, self._present(entry.name))
                self._drafted[entry.name] = file
        for name, child in list(self.children.items()):
            if not isinstance(child, DraftBacked) or child.draft is None:
                continue
            if child.draft.parent is self.draft and child.draft.name != name:
                del self.children[name]
                self.around.kernel.invalidate_entry(self.inode, child.name)
                child.key, child.name = child.draft.name, self._present(child.draft.name)
                self.children[child.key] = child
                self._moved[child.key] = child.inode

    def _carry_subdirectories(self, node: TreeDirectory) -> None:
        overlay = self.draft.overlay if self.draft is not None else {}
        for name, child in list(self.children.items()):
            if not isinstance(child, DraftBacked):
                continue  # it is not of the content
            entry = overlay.get(name, node.subdirectories.get(name))
            if entry is None or isinstance(entry, DraftFile):
                # Whoever is inside it goes on seeing it as it was; no path leads there any more.
                del self.children[name]
                self._moved.pop(name, None)
                self._forget_entry(name)
            elif isinstance(entry, DraftDirectory):
                child.draft = entry
                child.move_to(entry.base or EMPTY)
            else:
                child.draft = None
                child.move_to(entry)
        self._carry_numbers(node, overlay)

    def _carry_numbers(self, node: TreeDirectory, overlay: Mapping[str, object]) -> None:
        """Give the directories of the new version their numbers."""
        known, moved = self._subdirectory_inodes, self._moved
        if known is None and not moved:
            return
        numbers = {}
        new = []
        for name, subnode in node.subdirectories.items():
            entry = overlay.get(name, subnode)
            is_shown = entry is subnode or getattr(entry, "base", None) is subnode
            number = moved.pop(name, None) if is_shown else None
            if number is None and known is not None:
                number = known.get(name)
            if number is None:
                number = self.around.inodes.reserve(1)
                new.append(name)
            numbers[name] = number
        self._subdirectory_inodes = numbers
        self._note_odd(list(numbers))
        if known is not None:
            self._forget_new(new)

    def _has(self, name: str, file: CollectionFile) -> bool:
        """Whether the draft of an object is still in the overlay under its name."""
        return self.draft is not None and self.draft.overlay.get(name) is file.draft

    def _unchanged(
        self, node: TreeDirectory, files: Mapping[str, CollectionFile]
    ) -> Iterator[tuple[str, CollectionFile]]:
        """Yield those of the files that are in `node` with the content that they have now."""
        try:
            table = node.files() if files else None
        except ManifestError:
            return
        for name, file in files.items():
            index = table.index(name) if table is not None else None
            if index is None or table is None or file.draft is None:
                continue
            if _is_content(file.draft.extents, table, index):
                yield name, file

    def _let_go(self, file: CollectionFile, unchanged: bool) -> None:
        """Take an object out of the overlay whose draft is not there any more."""
        draft = file.draft
        assert draft is not None, "it was in the overlay"
        if unchanged:
            if draft.mtime_ns is not None:
                self._times[file.key] = draft.mtime_ns
            if file.uses <= 1:  # nobody has it open, who might be in the midst of reading
                self._be_of_tree(file, draft)
        else:
            self.around.kernel.invalidate_entry(self.inode, file.name)
        self._unpin(file)


class CollectionSubdirectory(DraftBacked):
    """A directory inside a collection. It is as fresh as its collection."""

    __slots__ = ()

    parent: DraftBacked

    @property
    def collection(self) -> WritableTop:
        """The directory at the top of the collection."""
        return self.parent.collection

    def own_draft(self) -> DraftDirectory:
        """Return the draft of this directory, made now if there is none. There is a session."""
        if self.draft is None:
            self.draft = self.parent.own_draft().directory(self.key)
        return self.draft

    def lifetime(self, now: float) -> float:
        """As long as its collection's content."""
        return self.content_lifetime(now)

    def refresh(self) -> None:
        """Ask the cluster if the collection is too old. May give the lock up."""
        self.collection.refresh()

    def invalidate(self) -> None:
        """Distrust the collection."""
        self.collection.invalidate()

    def shrink(self) -> None:
        """Forget the parsed files; they can be parsed again to the same numbers."""
        self._node().drop_files()


def _is_content(extents: ExtentMap, table: FileTable, index: int) -> bool:
    """Whether a file of a table has the bytes of the extents, as far as the blocks tell."""
    if extents.size != table.size(index) or extents.pending_chunks() or extents.has_holes():
        return False
    mine = [(s.locator.split("+", 1)[0], s.offset, s.size) for s in extents.segments()]
    theirs = [(s.locator.split("+", 1)[0], s.offset, s.size) for s in table.segments(index)]
    return mine == theirs
