"""The version that the changes in a journal are on top of, when the cluster does not have it.

A cluster keeps an old version only if it was current for some time, or if that was asked for
(Arvados documentation, "Collection versioning"). What matters of one that is gone is in the
journal: the content of each file that was changed, and which files were made. All else is taken
from the version that there is now: where it is there, or where it was moved to if the cluster has
that already. On such a stand-in the changes can be done again, and what others have changed is
merged as ever: no file is ever part theirs and part ours.

One thing cannot be known: whether others have changed a file that was removed or moved here, and
not written to. It is taken for unchanged.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from arvados_fuse.collection.delta import full_manifest, snapshot
from arvados_fuse.collection.draft import Draft, DraftDirectory, DraftFile
from arvados_fuse.collection.extents import Stored
from arvados_fuse.collection.locator import block_name
from arvados_fuse.collection.rename import rename
from arvados_fuse.collection.signing import signed_locators
from arvados_fuse.collection.transfer import remove
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import FileSystemError, IsDirectory, NoSuchEntry, NotDirectory
from arvados_fuse.journal.records import (
    Attach,
    Create,
    Mkdir,
    Receive,
    Remove,
    Rename,
    Rmdir,
    Unlink,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from arvados_fuse.journal.records import Content, Operation
    from arvados_fuse.journal.recovery import Recovered

__all__ = ["stand_in"]


def stand_in(recovered: Recovered, present: str) -> str:
    """Return the manifest of the stand-in.

    present: manifest of the present version; "" if there is none
    """
    return _StandIn(recovered, present).manifest()


class _StandIn:
    def __init__(self, recovered: Recovered, present: str) -> None:
        self._recovered = recovered
        self._present = present
        self._draft = Draft(Tree.from_manifest(present))
        self._renamed: list[tuple[str, str]] = []
        self._seen: set[str] = set()  # paths of the version that it is known of what they had

    def manifest(self) -> str:
        for old, new in reversed(self._moved()):
            self._move_back(old, new)
        for number, path in self._recovered.attached.items():
            self._had(path, self._recovered.contents.get(number))
        for operation in self._recovered.operations():
            if isinstance(operation, Attach):
                self._had(self._path(operation.path), operation.content)
            elif isinstance(operation, Create | Mkdir | Receive):
                self._had_not(self._path(operation.path))
            elif isinstance(operation, Unlink | Rmdir | Remove):
                self._seen.add(self._path(operation.path))
            elif isinstance(operation, Rename):
                # Seen at its old path only if it is written to later: that says what it was.
                self._renamed.append((operation.old, operation.new))
        taken = snapshot(self._draft, whole=True)
        assert taken is not None, "a whole snapshot is never nothing"
        return full_manifest(taken)

    def _moved(self) -> list[tuple[str, str]]:
        """Return the renames that the cluster has done, as far as can be seen, in order.

        It has done those up to a commit that was begun if nothing is there any more that was moved
        away till then.
        """
        done: list[tuple[str, str]] = []
        moves = _Moves()
        for generation in self._recovered.generations():
            # Not after the last one, of which no commit was begun.
            if moves.left and not any(map(self._has, moves.left)):
                done = list(moves.done)
            for operation in generation:
                moves.note(operation)
        return done

    def _move_back(self, old: str, new: str) -> None:
        """Undo a rename, unless others have made something else of it."""
        try:
            new_directory, new_name = self._draft.locate(new)
            if not new_directory.has(new_name) or self._has(old):
                return
            *parents, old_name = old.split("/")
            rename(new_directory, new_name, self._directory(parents), old_name)
        except FileSystemError:
            return

    def _has(self, path: str) -> bool:
        try:
            directory, name = self._draft.locate(path)
            return directory.has(name)
        except (NoSuchEntry, NotDirectory):
            return False

    def _path(self, path: str) -> str:
        """Return what a path was in the version, before what was renamed since."""
        for old, new in reversed(self._renamed):
            if _is_in(path, new):
                path = old + path[len(new) :]
        return path

    def _had(self, path: str, content: Content | None) -> None:
        """The version had a file; None if it is not known what was in it."""
        if path in self._seen:
            return
        self._seen.add(path)
        self._remove(path)
        *parents, name = path.split("/")
        directory = self._directory(parents)
        if directory.has(name):
            return  # a directory: ours cannot be beside it
        file = directory.create(name)
        end = 0
        # What is not known is taken for nothing: then theirs is another, and ours is kept beside.
        for locator, offset, size in self._signed(content or ()):
            file.write(end, size, Stored(locator, offset))
            end += size

    def _directory(self, path: Iterable[str]) -> DraftDirectory:
        """Return the directory of that path, made if need be."""
        directory = self._draft.root
        for name in path:
            directory = self._subdirectory(directory, name)
        return directory

    @staticmethod
    def _subdirectory(directory: DraftDirectory, name: str) -> DraftDirectory:
        """Return the directory of that name, in the place of a file if others have made one."""
        found = directory.find(name)
        if isinstance(found, DraftFile | int):
            directory.unlink(name)
            found = None
        return directory.mkdir(name) if found is None else directory.directory(name)

    def _had_not(self, path: str) -> None:
        """The version had nothing there. A directory that is there now was made since."""
        if path not in self._seen:
            self._seen.add(path)
            with suppress(NoSuchEntry, NotDirectory):
                remove(*self._draft.locate(path))

    def _remove(self, path: str) -> None:
        """Take a file away, if there is one."""
        with suppress(NoSuchEntry, IsDirectory, NotDirectory):
            directory, name = self._draft.locate(path)
            directory.unlink(name)

    def _signed(self, content: Content) -> Content:
        """Return it with the signatures of the present version, as far as it has the blocks.

        Those in the journal are as old as the journal.
        """
        blocks = {block_name(locator) for locator, _, _ in content}
        fresh = signed_locators(self._present, blocks)
        return tuple(
            (fresh.get(block_name(locator), locator), offset, size)
            for locator, offset, size in content
        )


class _Moves:
    """What was moved of a version.

    done: the renames of what the version had, in order
    left: paths where the version had something that was moved away, and nothing else is by now
    """

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.left: set[str] = set()
        self._made: set[str] = set()  # paths of what the version did not have
        self._arrived: set[str] = set()  # paths of what it had elsewhere

    def note(self, operation: Operation) -> None:
        """Count what was done next."""
        if isinstance(operation, Create | Mkdir | Receive):
            self._made.add(operation.path)
            self.left.discard(operation.path)
        elif isinstance(operation, Unlink | Rmdir | Remove):
            self._made.discard(operation.path)
            self._arrived.discard(operation.path)
        elif isinstance(operation, Rename):
            self._note_rename(*operation)

    def _note_rename(self, old: str, new: str) -> None:
        if old not in self._made:
            self.done.append((old, new))
            if not any(_is_in(old, path) for path in self._arrived):
                self.left.add(old)
        was_made = old in self._made
        self._made = _renamed(self._made, old, new)
        self._arrived = _renamed(self._arrived, old, new) | (set() if was_made else {new})
        self.left = {path for path in self.left if not _is_in(path, new)}


def _renamed(paths: Iterable[str], old: str, new: str) -> set[str]:
    """Return where things are after a rename; what was at the new path is gone."""
    below = {path for path in paths if _is_in(path, old)}
    rest = {path for path in paths if not (_is_in(path, old) or _is_in(path, new))}
    return rest | {new + path[len(old) :] for path in below}


def _is_in(path: str, directory: str) -> bool:
    """Whether a path is another, or below it."""
    return path == directory or path.startswith(directory + "/")
