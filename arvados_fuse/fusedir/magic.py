"""The directories without a record behind them: the root of `--all`, and `by_id`.

`by_id` is magic: it lists nothing but its README and what was looked up before, and shows any
collection or project as soon as its id is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arvados_fuse.fresh import FOREVER, FreshBase
from arvados_fuse.fusedir.collection import CollectionDirectory
from arvados_fuse.fusedir.directory import Directory, Surroundings
from arvados_fuse.fusedir.idents import is_collection_id, is_portable_data_hash, is_project_id
from arvados_fuse.fusedir.listing import Listing
from arvados_fuse.fusedir.project import ProjectDirectory, project_directory
from arvados_fuse.fusefile import StringFile

if TYPE_CHECKING:
    from typing import Any

    from arvados_fuse.api import Item

__all__ = ["BY_ID_README", "FixedDirectory", "HashDirectory", "MagicDirectory"]

BY_ID_README = """\
This directory shows any collection or project of the cluster by its id.

Look into a directory named like one of these, even though it is not listed here:

  zzzzz-4zz18-xxxxxxxxxxxxxxx             the collection of this uuid
  d41d8cd98f00b204e9800998ecf8427e+0      the collection of this portable data hash
  zzzzz-j7d0g-xxxxxxxxxxxxxxx             the project of this uuid, or the filter group

What was looked up is listed for as long as it is remembered.
"""


BY_PDH_README = """\
This directory shows any collection of the cluster by its portable data hash.

Look into a directory named like this, even though it is not listed here:

  d41d8cd98f00b204e9800998ecf8427e+0

What was looked up is listed for as long as it is remembered.
"""


class FixedDirectory(Directory):
    """A directory whose entries are set when the mount is made, such as the root of `--all`."""

    __slots__ = ()

    def __init__(self, around: Surroundings, parent: Directory | None, name: str) -> None:
        super().__init__(around, parent, name, name)
        self.valid_until = FOREVER

    def put(self, name: str, thing: FreshBase) -> None:
        """Add an entry that stays for the life of the mount."""
        thing.uses += 1
        self.adopt(name, thing)

    def put_text(self, name: str, text: str) -> None:
        """Add a file of `text` that stays for the life of the mount."""
        self.put(name, StringFile(self, name, text, self.around.started_ns))

    def listing(self) -> Listing:
        """Return all entries that are objects now."""
        directories = {n: t for n, t in self.children.items() if isinstance(t, Directory)}
        files = {n: t for n, t in self.children.items() if n not in directories}
        return Listing(
            list(directories),
            [thing.inode for thing in directories.values()],
            list(files),
            [thing.inode for thing in files.values()],
        )

    def child(self, name: str) -> FreshBase:
        """Return the entry called `name`. Raises NoSuchEntry."""
        if name not in self.children:
            raise self.no_such_entry(name)
        return self.children[name]


class MagicDirectory(FixedDirectory):
    """`by_id`: collections by uuid or portable data hash, projects by uuid."""

    __slots__ = ()

    readme = BY_ID_README

    def negative_lifetime(self, now: float) -> float:
        """Zero: what is made this instant must be found at once."""
        return 0.0

    def child(self, name: str) -> FreshBase:
        """Return the object whose id is `name`, asking the cluster if need be.

        Raises NoSuchEntry for what is no id and for what cannot be seen; else as `fetch`.
        """
        known = self.children.get(name)
        if isinstance(known, Directory):
            known.refresh()
        # Again if it took somebody else's question to find it, and memory is so short that it went
        # before it was our turn.
        while (thing := self.children.get(name)) is None:
            self.look_up(name)
        return thing

    def look_up(self, name: str) -> None:
        """Ask the cluster for the object of an id, and enter it. Raises as `child`."""
        if is_project_id(name):
            self._look_up_project(name)
            return
        if not is_collection_id(name):
            raise self.no_such_entry(name)
        directory = CollectionDirectory(self.around, self, name, name)

        def landed(fetched: Any) -> None:
            self.adopt(name, directory)
            directory.landed(fetched)

        self.once(f"look up {name}", directory.fetch, landed, concerns=directory)

    def _look_up_project(self, uuid: str) -> None:
        def landed(item: Item) -> None:
            # Only the record tells a filter group from a project.
            directory = project_directory(self.around, self, item, uuid)
            self.adopt(uuid, directory)
            directory.landed(item)

        concerned = ProjectDirectory(self.around, self, uuid, uuid)
        self.once(
            f"look up {uuid}",
            lambda: self.around.cluster.project(uuid),
            landed,
            concerns=concerned,
        )


class HashDirectory(MagicDirectory):
    """`by_pdh`: collections by portable data hash."""

    __slots__ = ()

    readme = BY_PDH_README

    def look_up(self, name: str) -> None:
        """Ask the cluster for the collection of a hash, and enter it. Raises as `child`."""
        if not is_portable_data_hash(name):
            raise self.no_such_entry(name)
        super().look_up(name)
