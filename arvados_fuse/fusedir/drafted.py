"""Directories of a collection with changes: what they show.

What is changed is in a draft (`collection.draft`), an overlay over the tree. A directory here has a
`DraftDirectory` as soon as something in it is changed, and files that were made or changed have a
`DraftFile`. Objects and inode numbers stay what they are when a file becomes a draft, when it is
renamed, and when a commit makes it part of the tree.

What makes the changes is in `changing.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.collection.draft import DraftDirectory, DraftFile
from arvados_fuse.collection.places import same_bytes
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import ManifestError
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusedir.tree import TreeBacked
from arvados_fuse.fusefile import CollectionFile, Kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from arvados_fuse.collection.extents import ExtentMap
    from arvados_fuse.collection.tree import FileTable, TreeDirectory
    from arvados_fuse.fresh import FreshBase
    from arvados_fuse.fusedir.directory import Directory, Surroundings

__all__ = ["DraftBacked", "nothing"]


class DraftBacked(TreeBacked):
    """A directory whose entries are those of a tree directory, with changes.

    draft: the changes; None if there are none in this directory
    _drafted: the objects of files with a draft that is in the overlay, by true name
    _moved: the numbers of directories that are not under this name in the tree, by true name
    _kept: attributes of files that were set here, by true name
    kept: attributes of the directory itself that were set here; None if none were
    is_unlinked: whether it was removed here
    """

    __slots__ = ("_drafted", "_kept", "_moved", "draft", "is_unlinked", "kept")

    def __init__(self, around: Surroundings, parent: Directory | None, key: str, name: str) -> None:
        super().__init__(around, parent, key, name)
        self.draft: DraftDirectory | None = None
        self._drafted: dict[str, CollectionFile] = {}
        self._moved: dict[str, int] = {}
        self._kept: dict[str, Kept] = {}
        self.kept: Kept | None = None
        self.is_unlinked = False

    def make_subdirectory(self, key: str, name: str) -> DraftBacked:
        """Make the object of a directory in this one."""
        raise NotImplementedError

    @property
    def pinned(self) -> bool:
        """Also as long as there is something that only the object knows."""
        return super().pinned or bool(self._kept) or self.kept is not None

    # -- attributes -------------------------------------------------------------------------

    @property
    def mtime_ns(self) -> int:
        """Time of the last change made here; else the collection's, nanoseconds since 1970."""
        kept = self.kept
        if kept is not None and kept.mtime_ns is not None:
            return kept.mtime_ns
        return self.collection.content_ns

    def content_mtime_ns(self) -> int:
        """Time of the last change of files that were not changed here, nanoseconds since 1970."""
        return self.collection.content_ns

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

    def _directory_of(self, entry: DraftDirectory) -> DraftBacked:
        """Return the object of a directory that is in the overlay."""
        child = self.children.get(entry.name)
        if child is None:
            child = self.make_subdirectory(entry.name, self._present(entry.name))
            child.node = entry.base or nothing()
            child.draft = entry
            self.adopt(entry.name, child, self._directory_number(entry.name))
        assert isinstance(child, DraftBacked)
        return child

    def _directory_number(self, name: str) -> int:
        if name in self.children:
            return self.children[name].inode
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
        return self._shown([name])[0]

    def _pin(self, file: CollectionFile, entry: DraftFile) -> None:
        """Keep the object of a file that is in the overlay in the inode table."""
        file.draft = entry
        file.uses += 1
        self._drafted[entry.name] = file

    def _unpin(self, file: CollectionFile) -> None:
        self._drafted.pop(file.key, None)
        self.around.inodes.release(file)

    def leave_draft(self) -> None:
        """The directory was removed elsewhere: it has no part in the draft any more."""
        self.draft = None
        for file in list(self._drafted.values()):
            self._unpin(file)
        for child in self.children.values():
            if isinstance(child, DraftBacked):
                child.leave_draft()

    def account_draft(self) -> None:
        """Account for what is loaded, here and in the directories below that have a draft."""
        self.resized()
        for child in list(self.children.values()):
            if isinstance(child, DraftBacked) and child.draft is not None:
                child.account_draft()

    def become_nothing(self) -> None:
        """It was removed here, so it is empty. What the cluster has there is no part of it."""
        self.is_unlinked = True
        self.draft, self.node = None, nothing()
        self._file_inodes = self._subdirectory_inodes = None
        self._moved = {}
        self.resized()

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
                if name in self._kept:
                    self._kept[entry.name] = self._kept.pop(name)
                file.renamed(entry.name, self._present(entry.name))
                self._drafted[entry.name] = file
        for name, child in list(self.children.items()):
            if not isinstance(child, DraftBacked) or child.draft is None:
                continue
            if child.draft.parent is self.draft and child.draft.name != name:
                del self.children[name]
                self.around.kernel.invalidate_entry(self.inode, child.name)
                child.key, child.name = child.draft.name, self._present(child.draft.name)
                self.children[child.key] = child
                self._moved.pop(name, None)
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
                child.leave_draft()
            elif isinstance(entry, DraftDirectory):
                child.draft = entry
                child.move_to(entry.base or nothing())
            else:
                child.draft = None
                child.move_to(entry)
        self._carry_numbers(node, overlay)

    def _carry_numbers(self, node: TreeDirectory, overlay: Mapping[str, object]) -> None:
        """Give the directories of the new version their numbers."""
        known, moved = self._subdirectory_inodes, self._moved
        if known is None and not moved:
            return
        for name, entry in overlay.items():
            if isinstance(entry, DraftDirectory) and known is not None and name in known:
                moved.setdefault(name, known[name])  # in case that the tree has it no more
        taken = set(moved.values())
        numbers = {}
        new = []
        for name, subnode in node.subdirectories.items():
            entry = overlay.get(name, subnode)
            is_shown = entry is subnode or getattr(entry, "base", None) is subnode
            number = moved.pop(name, None) if is_shown else None
            if is_shown and name in self.children:
                number = self.children[name].inode
            if number is None and known is not None:
                number = known.get(name)
                if number in taken:  # by a directory that was moved away
                    number = None
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

    @staticmethod
    def _be_of_tree(file: CollectionFile, draft: DraftFile) -> None:
        """Let a file have its content from the tree, which is the same."""
        file.take_size(draft.size)
        file.draft = None

    def _let_go(self, file: CollectionFile, unchanged: bool) -> None:
        """Take an object out of the overlay whose draft is not there any more."""
        draft = file.draft
        assert draft is not None, "it was in the overlay"
        if unchanged:
            if file.uses <= 1:  # nobody has it open, who might be in the midst of reading
                self._be_of_tree(file, draft)
        else:
            self.around.kernel.invalidate_entry(self.inode, file.name)
        self._unpin(file)


def nothing() -> TreeDirectory:
    """What a new directory shows of the cluster's content. Each gets its own, to account for."""
    return Tree.from_manifest("").root


def _is_content(extents: ExtentMap, table: FileTable, index: int) -> bool:
    """Whether a file of a table has the bytes of the extents, as far as the blocks tell."""
    if extents.size != table.size(index):
        return False
    try:
        return same_bytes(extents.segments(), table.segments(index))
    except ValueError:  # not all of it is in Keep
        return False
    except ManifestError:  # others have put something there that cannot be read
        return False
