"""Edits of single files: the options ``replace_files`` and ``replace_segments``.

(Arvados documentation, "API Reference", "Collections", sections "Using replace_files to create or
update a collection" and "Using replace_segments to repack file data".)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from arvados_fuse.standalone import manifest_text, manifest_tree
from arvados_fuse.standalone.api.errors import BadRequest
from arvados_fuse.standalone.api.method import Call, Parameter
from arvados_fuse.standalone.manifest_tree import Directory, Item, Segment, TreeInvalid

__all__ = ["EDIT_PARAMETERS", "Edit", "requested_edit"]

EDIT_PARAMETERS = {
    "replace_files": Parameter(
        "object", "Paths of files and directories, each with what is to be there instead."
    ),
    "replace_segments": Parameter(
        "object", "Parts of blocks that files consist of, each with another to be used instead."
    ),
}

_CURRENT, _SUPPLIED = "current", "manifest_text"
_SOURCE = re.compile(rf"(?:({_CURRENT}|{_SUPPLIED})/|([0-9a-f]{{32}}\+[0-9]+)(?:/|\Z))(.*)", re.S)
_SEGMENT = re.compile(
    r"([0-9a-f]{32})(\+[0-9]{1,18})?((?:\+[A-Z][\w@-]*)*) ([0-9]{1,18}) ([0-9]{1,18})", re.A
)

Names = tuple[str, ...]


class _Copy(NamedTuple):
    """Something that is to be put at the path `target`.

    source: "current", "manifest_text" or a portable data hash
    path: inside of the source
    """

    target: Names
    source: str
    path: Names


class _Place(NamedTuple):
    """A part of a block, as files refer to it."""

    block_hash: str
    offset: int
    length: int


class Edit:
    """What a request wants to have done to the files of a collection.

    supplied: the manifest in the request
    locators: with their signatures, all that the request supplies
    """

    def __init__(
        self,
        files: Mapping[str, Any],
        segments: Mapping[str, Any],
        supplied: str,
        content: Callable[[str], str],
    ) -> None:
        """`content` returns the manifest with a portable data hash. Raises BadRequest."""
        targets = {_target(path): source for path, source in files.items()}
        self._deletions = [target for target, source in targets.items() if source == ""]
        self._copies = [_copy(target, source) for target, source in targets.items() if source != ""]
        self._refuse_nested_targets()
        self._clears_all = () in targets
        self._has_files = bool(targets)
        self._segments, locators = _replacements(segments)
        self.locators = manifest_text.locators(supplied) | locators
        self._supplied = manifest_text.without_signatures(supplied)
        sources = {copy.source for copy in self._copies}
        if targets and supplied and _SUPPLIED not in sources:
            raise BadRequest("replace_files: no source refers to the manifest_text that was sent")
        if self._clears_all and _CURRENT in sources:
            raise BadRequest("replace_files: with the target '/', nothing current can be a source")
        self._contents = {
            name: content(name) for name in sources if name not in (_CURRENT, _SUPPLIED)
        }

    def _refuse_nested_targets(self) -> None:
        targets = {copy.target for copy in self._copies}
        for target in (*targets, *self._deletions):
            if any(target[:depth] in targets for depth in range(len(target))):
                raise BadRequest(f"replace_files: {_shown(target)} is inside another target")

    def applied(self, current: Sequence[str]) -> list[str]:
        """Return what becomes of a manifest without signatures; both as lines.

        A line with which the edit has nothing to do stays the same object. Raises BadRequest.
        """
        try:
            if not self._has_files:
                tree = manifest_tree.parse(
                    manifest_text.lines_of(self._supplied) if self._supplied else current
                )
            else:
                tree = self._with_files(() if self._clears_all else current)
            self._replace_segments(tree)
            return manifest_tree.write(tree)
        except TreeInvalid as error:
            raise BadRequest(f"cannot replace: {error}") from None

    def _with_files(self, current: Sequence[str]) -> Directory:
        tree = manifest_tree.parse(current)
        trees = {_CURRENT: tree}
        items = []
        # All of them before any change, so that files can change places.
        for copy in self._copies:
            if copy.source not in trees:
                text = self._contents.get(copy.source, self._supplied)
                trees[copy.source] = manifest_tree.parse(manifest_text.lines_of(text))
            item = trees[copy.source].find(copy.path)
            if item is None:
                raise BadRequest(
                    f"replace_files: nothing is at {_shown(copy.path)} in {copy.source}"
                )
            items.append(item.copy() if isinstance(item, Directory) else item)
        for target in self._deletions:
            if target:
                tree.remove(target)
        for copy, item in zip(self._copies, items, strict=True):
            if copy.target:
                tree.put(copy.target, item)
            else:
                tree = _root(item)
        return tree

    def _replace_segments(self, tree: Directory) -> None:
        if not self._segments:
            return
        hashes = {place.block_hash for place in self._segments}
        concerned = [
            directory
            for _path, directory in tree.walk()
            if directory.unparsed is None or any(found in directory.unparsed for found in hashes)
        ]
        present = {
            _place(segment)
            for directory in concerned
            for segments in directory.files.values()
            for segment in segments
        }
        # A large block that replaces small ones is of no use unless it replaces all of them.
        useless = {new.locator for old, new in self._segments.items() if old not in present}
        chosen = {old: n for old, n in self._segments.items() if n.locator not in useless}
        if not chosen:
            return
        for directory in concerned:
            for name, segments in directory.files.items():
                directory.files[name] = tuple(chosen.get(_place(one), one) for one in segments)


def requested_edit(call: Call, content: Callable[[str], str]) -> Edit | None:
    """Return the edit that the call wants; None if it wants none.

    `content` returns the manifest with a portable data hash. Raises BadRequest, and what `content`
    raises.
    """
    files = call.parameters.get("replace_files") or {}
    segments = call.parameters.get("replace_segments") or {}
    if not files and not segments:
        return None
    supplied = call.attributes.get("manifest_text") or ""
    try:
        supplied.encode()
        manifest_text.check_grammar(supplied)
    except (AttributeError, UnicodeEncodeError):
        raise BadRequest("manifest_text has to be text") from None
    except manifest_text.ManifestInvalid as error:
        raise BadRequest(str(error)) from None
    return Edit(files, segments, supplied, content)


def _target(path: str) -> Names:
    if not path.startswith("/"):
        raise BadRequest(f"replace_files: target {path!r:.100} does not start with '/'")
    return _names(path[1:], path)


def _names(path: str, shown: str) -> Names:
    if not path:
        return ()
    names = tuple(path.split("/"))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"replace_files: {shown!r:.100} is not valid text") from None
    if any(name in ("", ".", "..") for name in names):
        raise BadRequest(
            f"replace_files: {shown!r:.100} has a part that is empty, '.' or '..', or ends with '/'"
        )
    return names


def _copy(target: Names, source: Any) -> _Copy:
    found = _SOURCE.fullmatch(source) if isinstance(source, str) else None
    if found is None:
        raise BadRequest(
            f"replace_files: source {source!r:.100} is neither empty nor of the form"
            " 'current/PATH', 'manifest_text/PATH' or 'PORTABLE_DATA_HASH/PATH'"
        )
    return _Copy(target, found[1] or found[2], _names(found[3], source))


def _root(item: Item) -> Directory:
    if not isinstance(item, Directory):
        raise BadRequest("replace_files: '/' cannot be replaced with a file")
    return item


def _shown(names: Names) -> str:
    return repr("/" + "/".join(names))[:100]


def _place(segment: Segment) -> _Place:
    return _Place(segment.locator[:32], segment.offset, segment.length)


def _replacements(segments: Mapping[str, Any]) -> tuple[dict[_Place, Segment], set[str]]:
    """Return what replaces what, and the locators of the replacements with their signatures."""
    replacements: dict[_Place, Segment] = {}
    locators = set()
    for key, value in segments.items():
        old, new = _SEGMENT.fullmatch(key), _SEGMENT.fullmatch(str(value))
        if old is None or new is None:
            raise BadRequest(
                f"replace_segments: {key!r:.60}, {value!r:.60}: each has to be"
                " 'LOCATOR OFFSET LENGTH'"
            )
        if new[2] is None:
            raise BadRequest("replace_segments: the locator of a replacement needs a size")
        offset, length = int(new[4]), int(new[5])
        if int(old[5]) != length or offset + length > int(new[2]):
            raise BadRequest(
                "replace_segments: a replacement has to be as long as what it replaces, and"
                " inside its block"
            )
        hints = "".join(f"+{hint}" for hint in new[3].split("+") if hint and hint[0] != "A")
        place = _Place(old[1], int(old[4]), length)
        replacements[place] = Segment(f"{new[1]}{new[2]}{hints}", offset, length)
        locators.add(f"{new[1]}{new[2]}{new[3]}")
    return replacements, locators
