"""Puts the sample project into a new cluster."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.collections import new_collection
from arvados_fuse.standalone.api.groups import new_group
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.identity import Identity
from arvados_fuse.standalone.keep.blocks import BlockStore
from arvados_fuse.standalone.manifest_text import EMPTY_HASH
from arvados_fuse.standalone.records.access import Caller
from arvados_fuse.standalone.records.tables import COLLECTIONS, GROUPS
from arvados_fuse.standalone.sample_content import (
    PROJECT_DESCRIPTION,
    PROJECT_NAME,
    Sample,
    samples,
)

__all__ = ["add"]


def add(core: Core, stores: Sequence[BlockStore], identity: Identity) -> None:
    """Make the sample project, owned by the administrator, if the cluster never held anything.

    It is made by what also answers requests. All records are made in one transaction, after
    their blocks: a crash leaves nothing, or blocks that nothing refers to.
    """
    with core.database.read() as db:
        if not _is_unused(db):
            return
    caller = Caller(identity.administrator_uuid, True, identity.administrator_token, "")
    project = new_group(
        _call(
            core,
            caller,
            name=PROJECT_NAME,
            group_class="project",
            description=PROJECT_DESCRIPTION,
        )
    )
    collections = [
        new_collection(
            _call(
                core,
                caller,
                owner_uuid=project["uuid"],
                name=sample.name,
                description=sample.description,
                manifest_text=_stored(stores, sample),
            )
        )
        for sample in samples()
    ]
    call = _call(core, caller)
    with core.database.write() as db:
        records.insert(db, call, GROUPS, project)
        for collection in collections:
            records.insert(db, call, COLLECTIONS, collection)


def _is_unused(db: sqlite3.Connection) -> bool:
    # SQLite notes there the last id that a table gave out, even if all rows are gone again.
    held = db.execute(
        "SELECT 1 FROM sqlite_sequence WHERE name = 'collections'"
        " UNION ALL SELECT 1 FROM groups WHERE group_class <> 'role'"
    )
    return held.fetchone() is None


def _call(core: Core, caller: Caller, **attributes: str) -> Call:
    return Call(core=core, parameters={}, attributes=attributes, identified=caller)


def _stored(stores: Sequence[BlockStore], sample: Sample) -> str:
    """Store the files of `sample` as one block in each of `stores`, and return their manifest."""
    content = b"".join(sample.files.values())
    for store in stores:
        block_hash = store.add(content)
    locator = f"{block_hash}+{len(content)}"
    streams: dict[str, list[str]] = {}
    position = 0
    for path, data in sample.files.items():
        directory, _, name = path.rpartition("/")
        token = f"{position}:{len(data)}:{_escaped(name)}"
        streams.setdefault(directory, []).append(token)
        position += len(data)
    lines = [f"{_stream(name)} {locator} {' '.join(streams[name])}\n" for name in sorted(streams)]
    lines += [f"{_stream(name)} {EMPTY_HASH}+0 0:0:\\056\n" for name in sample.directories]
    return "".join(lines)


def _stream(directory: str) -> str:
    return f"./{_escaped(directory)}" if directory else "."


def _escaped(name: str) -> str:
    return name.replace("\\", "\\134").replace(" ", "\\040").replace(":", "\\072")
