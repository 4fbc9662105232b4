"""What a commit sends to the cluster, and what is noted when the cluster has it.

    with lock:
        taken = snapshot(draft)                     # None: there is nothing to commit
    for chunk in taken.pending_chunks():            # no lock from here on
        taken.place(chunk, [Spot(0, size, Stored(upload(chunk), 0))])
    taken.fill_holes(zeros)
    sent = delta(taken)                             # collections.update(replace_files=..., ...)
    with lock:
        settle(taken)                               # only if the cluster has taken it

A snapshot is frozen: the draft can go on changing while blocks are uploaded and the request is
under way. What has changed since then stays dirty in ``settle``. If the commit fails, the snapshot
is simply dropped. There must be one snapshot of a draft at a time.

For a cluster without ``replace_files``, and for a collection that the cluster does not have, take
``snapshot(draft, whole=True)``; then ``full_manifest`` gives the whole content.

What is sent (Arvados documentation, "Using replace_files to create or update a collection"): paths
of the collection, each with what shall be there instead. Sources "current/PATH" are looked up
before anything changes, deletions come before copies, and nothing may be put into what is copied
in the same request. So a directory that was moved is one entry as long as nothing inside has
changed; else it is put together from what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from arvados_fuse.collection.compose import placeholder, stream
from arvados_fuse.collection.draft import Draft, DraftDirectory, DraftFile
from arvados_fuse.collection.extents import ChunkLike, ExtentMap, Spot
from arvados_fuse.collection.table import Segment
from arvados_fuse.collection.tree import TreeDirectory

__all__ = [
    "Delta",
    "FrozenFile",
    "Snapshot",
    "delta",
    "full_manifest",
    "settle",
    "settle_contents",
    "snapshot",
]


class FrozenFile(NamedTuple):
    """A file as it was when the snapshot was taken.

    path: where it was, "a/b/name"
    file: the live object
    revision: of the file then
    extents: a copy
    """

    path: str
    file: DraftFile
    revision: int
    extents: ExtentMap


class Delta(NamedTuple):
    """The parameters of a request to update a collection.

    replace_files: target paths, "/a/b", each with its source
    manifest_text: the content of what comes with the request; "" if nothing does
    """

    replace_files: dict[str, str]
    manifest_text: str


class _Place(NamedTuple):
    """A name under which the cluster gets something else, or under which it gets nothing."""

    directory: DraftDirectory
    name: str
    entry: DraftFile | DraftDirectory | None


class _FrozenDirectory(NamedTuple):
    """A directory as it was, all of it.

    base: its directory of the base, of which the names in ``hidden`` do not show
    """

    base: TreeDirectory | None
    hidden: set[str]
    files: dict[str, ExtentMap]
    directories: dict[str, _FrozenDirectory]


class Snapshot:
    """All that has to be committed, as it was at one moment.

    replace_files: what a request has to say; sources "manifest_text/PATH" are ``files`` and
        ``empty_directories``
    files: with new content, or content that the cluster does not have at any path
    empty_directories: paths of new directories with nothing in them
    """

    def __init__(self) -> None:
        self.replace_files: dict[str, str] = {}
        self.files: list[FrozenFile] = []
        self.empty_directories: list[str] = []
        self.places: list[_Place] = []  # of directories after what is in them
        self.content: _FrozenDirectory | None = None  # if everything was asked for
        self.spots: list[tuple[ChunkLike, Sequence[Spot]]] = []
        self.settled_files = 0  # how many of the files are settled

    @property
    def is_expressible(self) -> bool:
        """Whether a request can say it: the API knows no names that are not UTF-8.

        Manifests can have such names, so ``full_manifest`` can say everything.
        """
        try:
            for text in chain(self.replace_files, self.replace_files.values()):
                if not text.isascii():
                    text.encode()
        except UnicodeEncodeError:
            return False
        return True

    def blocks(self) -> set[str]:
        """Hash and size of the blocks of Keep that the files have bytes from."""
        return set().union(*(frozen.extents.blocks() for frozen in self.files))

    def sign(self, locators: Mapping[str, str]) -> None:
        """Let blocks have other locators, by hash and size; see ExtentMap.sign."""
        for frozen in self.files:
            frozen.extents.sign(locators)

    def pending_chunks(self) -> set[ChunkLike]:
        """The chunks that have to be uploaded, as far as the files need them."""
        return set().union(*(frozen.extents.pending_chunks() for frozen in self.files))

    def place(self, chunk: ChunkLike, spots: Sequence[Spot]) -> None:
        """Note where the parts of a chunk are stored now; see ExtentMap.place."""
        self.spots.append((chunk, spots))
        for frozen in self.files:
            frozen.extents.place(chunk, spots)

    def fill_holes(self, zeros: Callable[[int], str]) -> None:
        """Replace holes by blocks of zeros; see ExtentMap.fill_holes."""
        for frozen in self.files:
            frozen.extents.fill_holes(zeros)


def snapshot(draft: Draft, *, whole: bool = False) -> Snapshot | None:
    """Freeze what the cluster does not have; None if that is nothing.

    With ``whole`` everything is frozen, changed or not. Takes the time of what has changed (with
    ``whole``: of all that the draft holds as objects). Call it with the draft's lock.
    """
    if not (draft.is_dirty or whole):
        return None
    taken = Snapshot()
    _add_changes(taken, draft.root, "")
    if whole:
        taken.content = _freeze(draft.root, {f.file: f.extents for f in taken.files})
    return taken


def delta(taken: Snapshot) -> Delta:
    """What to send. Needs no lock; raises ValueError if a file has bytes that are in no block."""
    streams: dict[str, list[tuple[str, Sequence[Segment]]]] = {}
    for frozen in taken.files:
        directory, _, name = frozen.path.rpartition("/")
        streams.setdefault(directory, []).append((name, frozen.extents.segments()))
    lines = {path: stream(path, files) for path, files in streams.items()}
    lines.update((path, placeholder(path)) for path in taken.empty_directories)
    text = "".join(lines[path] for path in sorted(lines, key=_names))
    return Delta(taken.replace_files, text)


def full_manifest(taken: Snapshot) -> str:
    """The whole content of a snapshot that was taken with ``whole``, in normal form.

    Needs no lock. Raises ValueError if a file has bytes that are in no block, ManifestError if the
    base is damaged.
    """
    if taken.content is None:
        raise ValueError("the snapshot was not taken as a whole")
    return "".join(_lines(taken.content, ""))


def settle(taken: Snapshot) -> None:
    """Note in the draft that the cluster has what its snapshot says. Call it with the draft's lock.

    Takes the time of what was committed. Files that have not changed since have the blocks of
    Keep as their extents from now on; those that have, as far as they share a chunk.
    """
    settle_contents(taken, len(taken.files))
    for directory, name, _entry in taken.places:
        gone = directory.settled.get(name)
        if gone is not None:
            gone.settled_at = None
    for directory, name, entry in taken.places:
        directory.settled[name] = entry
        directory.overlay.setdefault(name, None)
        if entry is not None:
            entry.settled_at = (directory, name)
    for directory, name, _entry in taken.places:
        directory.note(name)


def settle_contents(taken: Snapshot, most: int) -> None:
    """Note of the next ``most`` files of a snapshot that the cluster has their bytes.

    It is the longer part of ``settle``, and can be done before that, in steps between which the
    lock is given up. No rebase may come between the first of them and ``settle``.
    """
    end = taken.settled_files + most
    for frozen in taken.files[taken.settled_files : end]:
        _settle_file(frozen, taken.spots)
    taken.settled_files = end


def _settle_file(frozen: FrozenFile, spots: list[tuple[ChunkLike, Sequence[Spot]]]) -> None:
    """Note what the cluster has of a file."""
    live = frozen.file
    if live.revision == frozen.revision:
        live.extents = frozen.extents
    else:
        for chunk, places in spots:
            live.extents.place(chunk, places)
    live.settled = frozen.extents.segments()
    live.settled_revision = frozen.revision


# -- taking a snapshot ----------------------------------------------------------------------


def _add_changes(taken: Snapshot, directory: DraftDirectory, path: str) -> None:
    """Add what differs in a directory that the cluster has in the same place."""
    for name in sorted(directory.changed):
        entry = directory.overlay[name]
        target = f"{path}/{name}"
        if isinstance(entry, DraftDirectory) and entry.in_place:
            _add_changes(taken, entry, target)
        else:
            if directory.cluster_has(name):
                taken.replace_files[target] = ""  # unless a copy replaces it
            if entry is not None:
                _add_entry(taken, entry, target)
        taken.places.append(_Place(directory, name, entry))


def _add_entry(taken: Snapshot, entry: DraftFile | DraftDirectory, target: str) -> None:
    """Add a file or directory that the cluster does not have in that place, or not like that."""
    if entry.settled_at is not None and not entry.is_dirty:
        taken.replace_files[target] = f"current/{entry.settled_path()}"
    elif isinstance(entry, DraftFile):
        taken.replace_files[target] = f"manifest_text{target}"
        taken.files.append(FrozenFile(target[1:], entry, entry.revision, entry.extents.copy()))
    elif entry.is_empty:
        taken.replace_files[target] = f"manifest_text{target}"
        taken.empty_directories.append(target[1:])
        taken.places += [_Place(entry, name, None) for name in entry.changed]
    else:
        _add_entries(taken, entry, target)


def _add_entries(taken: Snapshot, directory: DraftDirectory, target: str) -> None:
    """Add all entries of a directory, one by one."""
    if directory.base is not None:
        source = f"current/{directory.settled_path()}"
        for name in directory.base.subdirectories:
            if name not in directory.overlay:
                taken.replace_files[f"{target}/{name}"] = f"{source}/{name}"
        for _index, name in directory.base_files():
            taken.replace_files[f"{target}/{name}"] = f"{source}/{name}"
    for name, entry in sorted(directory.overlay.items()):
        if entry is not None:
            _add_entry(taken, entry, f"{target}/{name}")
        if name in directory.changed:
            taken.places.append(_Place(directory, name, entry))


def _freeze(directory: DraftDirectory, dirty: dict[DraftFile, ExtentMap]) -> _FrozenDirectory:
    """All of a directory; of files in ``dirty``, the extents there."""
    frozen = _FrozenDirectory(directory.base, set(directory.overlay), {}, {})
    for name, entry in directory.overlay.items():
        if isinstance(entry, DraftDirectory):
            frozen.directories[name] = _freeze(entry, dirty)
        elif isinstance(entry, DraftFile):
            frozen.files[name] = dirty[entry] if entry in dirty else entry.extents.copy()
    return frozen


# -- composing ------------------------------------------------------------------------------


def _lines(directory: _FrozenDirectory, path: str) -> list[str]:
    """The lines of a directory and of all below, in the order of the normal form."""
    base = directory.base
    files = [(name, extents.segments()) for name, extents in directory.files.items()]
    subdirectories = dict(directory.directories)
    if base is not None:
        table, hidden = base.files(), directory.hidden
        files += [(n, table.segments(i)) for i, n in enumerate(table.names) if n not in hidden]
        for name, subdirectory in base.subdirectories.items():
            if name not in hidden:
                subdirectories[name] = _FrozenDirectory(subdirectory, set(), {}, {})
    lines = [stream(path, files)] if files else []
    for name in sorted(subdirectories):
        lines += _lines(subdirectories[name], f"{path}/{name}" if path else name)
    return lines if lines or not path else [placeholder(path)]


def _names(path: str) -> list[str]:
    return path.split("/") if path else []
