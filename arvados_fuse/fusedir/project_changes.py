"""What can be changed in a project: collections are made, trashed when empty, renamed and moved.

Subprojects and other objects stay as they are, as with the official driver.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from arvados_fuse.errors import (
    ClusterError,
    Exists,
    FileSystemError,
    InvalidArgument,
    NoSuchEntry,
    NotEmpty,
    NotPermitted,
    NotSupported,
    OtherCollection,
    ReadOnly,
)
from arvados_fuse.fusedir.changing import ChangingDirectory
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.directory import Directory, Surroundings
from arvados_fuse.fusedir.names import check_new_name

if TYPE_CHECKING:
    from arvados_fuse.api import Item
    from arvados_fuse.api.writing import ClusterWriting
    from arvados_fuse.commit.writing import Writing
    from arvados_fuse.fresh import FreshBase
    from arvados_fuse.fusefile import File

__all__ = ["ChangingProject"]

log = logging.getLogger(__name__)


class ChangingProject(Directory):
    """The part of a project's directory that changes it.

    uuid: the project's, or the user's
    _may_change: whether the user may change it; None while that is not known
    """

    __slots__ = ("_may_change", "uuid")

    def __init__(
        self, around: Surroundings, parent: Directory | None, uuid: str, name: str
    ) -> None:
        super().__init__(around, parent, uuid, name)
        self.uuid = uuid
        self._may_change: bool | None = None

    # -- what the other part knows ----------------------------------------------------------

    def came(self, name: str, item: Item) -> Directory:
        """Note that there is an item called `name` now, and return its directory."""
        raise NotImplementedError

    def went(self, name: str) -> None:
        """Note that there is nothing called `name` any more."""
        raise NotImplementedError

    # -- rights -----------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether, as far as is known, the project can be changed."""
        return self.around.writing is not None and self._may_change is not False

    def check_writable(self) -> Writing:
        """Return what changes need. May give the lock up.

        Raises ReadOnly or NotPermitted if the project must not be changed, and what asking the
        cluster does.
        """
        writing = self.around.writing
        if writing is None:
            raise ReadOnly("The mount is read-only.")
        if not self._may_change:
            cluster = writing.cluster
            self.once("right", lambda: cluster.may_change_project(self.uuid), self._asked)
        if not self._may_change:
            raise NotPermitted(f"You may look into {self.path()}, and not change it.")
        return writing

    def _asked(self, may_change: bool) -> None:
        self._may_change = may_change

    # -- changes ----------------------------------------------------------------------------

    def create(self, name: str) -> File:
        """Refuse: files are in collections. May give the lock up."""
        self.check_writable()
        raise NotSupported(f"There are no files in {self.path()}; make a collection with mkdir.")

    def unlink(self, name: str) -> None:
        """Refuse: files are in collections. May give the lock up."""
        self.check_writable()
        raise NotSupported(f"There are no files in {self.path()}.")

    def mkdir(self, name: str) -> Directory:
        """Make an empty collection. May give the lock up.

        Raises Exists, and what `check_new_name` does.
        """
        check_new_name(name)
        writing = self.check_writable()
        if self._child_or_none(name) is not None:
            raise Exists(f"{name!r} is in {self.path()} already.")
        made: list[Item] = []

        def make() -> Item:
            return writing.cluster.create_collection(
                self.uuid, name, manifest_text="", classes=writing.classes
            )

        try:
            self.once(f"make {name}", make, made.append)
        except ClusterError:
            if self._child_or_none(name) is not None:  # somebody else was faster
                raise Exists(f"{name!r} is in {self.path()} already.") from None
            raise
        if not made:  # another request has made it
            raise Exists(f"{name!r} is in {self.path()} already.")
        return self.came(name, made[0])

    def rmdir(self, name: str) -> None:
        """Move an empty collection to the trash. May give the lock up. Raises NotEmpty.

        If others have put something into it meanwhile, it comes back.
        """
        writing = self.check_writable()
        collection = self._collection(name)
        ident = collection.ident
        with collection.in_use():
            _check_empty(collection)
            collection.commit()
            _check_empty(collection)  # somebody may have made something meanwhile
            version = collection.version
        is_gone: list[bool] = []
        self.once(f"trash {ident}", lambda: _trash(writing.cluster, ident, version), is_gone.append)
        if not all(is_gone):
            collection.invalidate()
            raise NotEmpty(f"Others have just put something into {collection.path()}.")
        self.went(name)

    def move(self, name: str, target: Directory, new_name: str) -> None:
        """Give a collection another name, or move it to another project. May give the lock up.

        Raises NotPermitted, OtherCollection if it would become a directory of another collection,
        and what `check_new_name` does.
        """
        check_new_name(new_name)
        writing = self.check_writable()
        collection = self._collection(name)
        if not isinstance(target, ChangingProject):
            raise self._not_moved(collection, target)
        target.check_writable()
        there = target._child_or_none(new_name)
        if there is collection:
            return
        if there is not None:
            raise NotPermitted(f"{new_name!r} is in {target.path()} already.")
        moved: list[Any] = []
        ident = collection.ident
        self.once(
            f"move {ident} to {target.uuid} {new_name}",
            lambda: writing.cluster.move_collection(ident, target.uuid, new_name),
            moved.append,
        )
        if moved:
            self._moved(name, collection, target, new_name, moved[0])

    @staticmethod
    def _not_moved(collection: CollectionDirectory, target: Directory) -> FileSystemError:
        """Return the error for a collection that is to be moved elsewhere than to a project."""
        if not isinstance(target, ChangingDirectory):
            return target.not_permitted()
        if target.collection.journal_name == collection.journal_name:
            return InvalidArgument(f"{collection.path()} cannot be moved into itself.")
        return OtherCollection(f"{collection.path()} can be copied into another collection.")

    def not_taken(self, is_directory: bool) -> FileSystemError:
        """Return the error for what comes from a collection: a directory can become one."""
        if is_directory:
            return OtherCollection(f"A directory can be copied to {self.path()}.")
        return self.not_permitted()

    def _moved(
        self,
        name: str,
        collection: CollectionDirectory,
        target: ChangingProject,
        new_name: str,
        item: Item,
    ) -> None:
        """Move the object of a collection after its record."""
        self.went(name)
        self.around.inodes.reparent(collection, target)
        collection.parent = target
        target.children[collection.key] = collection
        target.came(new_name, item)

    def _child_or_none(self, name: str) -> FreshBase | None:
        try:
            return self.child(name)
        except NoSuchEntry:
            return None

    def _collection(self, name: str) -> CollectionDirectory:
        """Return the collection called `name`. Raises NoSuchEntry, NotPermitted."""
        thing = self.child(name)
        if not isinstance(thing, CollectionDirectory):
            raise NotPermitted(f"{name!r} is no collection, and stays where and as it is.")
        return thing


def _check_empty(collection: CollectionDirectory) -> None:
    """Raise NotEmpty if there is something in a collection. May give the lock up."""
    if not collection.is_empty():
        raise NotEmpty(f"The collection {collection.path()} is not empty.")


def _trash(cluster: ClusterWriting, uuid: str, version: str) -> bool:
    """Move a collection to the trash; whether it stays there, as it was of this version.

    No request of the API trashes only what is empty, or of a version. (Arvados documentation,
    "Trashing and untrashing data".)
    """
    trashed = cluster.trash_collection(uuid)
    if trashed.portable_data_hash == version:
        return True
    try:
        cluster.untrash_collection(uuid)
    except FileSystemError as error:
        log.error(
            "The collection %s was removed while others put something into it, and stays in the"
            " trash: %s",
            uuid,
            error,
        )
        raise
    return False
