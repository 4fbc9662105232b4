"""Methods of collections.

(Arvados documentation, "API Reference", "Collections".)
"""

from __future__ import annotations

import re
import sqlite3
from functools import partial
from typing import Any

from arvados_fuse.standalone.api import records
from arvados_fuse.standalone.api.edits import EDIT_PARAMETERS, requested_edit
from arvados_fuse.standalone.api.errors import Forbidden, NotFound, Unprocessable
from arvados_fuse.standalone.api.lists import (
    CREATE_PARAMETERS,
    INCLUDE_OLD_VERSIONS,
    INCLUDE_TRASH,
    SELECT,
    selected,
)
from arvados_fuse.standalone.api.manifests import (
    MANIFEST_COLUMNS,
    NO_MANIFEST,
    PreparedManifest,
    check_portable_data_hash,
    edited_manifest,
    prepared_manifest,
    unconfirmed,
)
from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import UUID, get_record, list_method
from arvados_fuse.standalone.api.presentation import present
from arvados_fuse.standalone.api.trashing import trash_methods
from arvados_fuse.standalone.records import sql, versions
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import Condition, all_of
from arvados_fuse.standalone.records.model import Type
from arvados_fuse.standalone.records.tables import COLLECTIONS

__all__ = ["METHODS", "new_collection"]

Record = dict[str, Any]

_PORTABLE_DATA_HASH = re.compile(r"([0-9a-f]{32}\+[0-9]+)(?:\+.*)?")
_EMPTY_VALUES = {Type.INTEGER: 0, Type.BOOLEAN: False, Type.OBJECT: {}, Type.ARRAY: []}


def new_collection(call: Call) -> Record:
    """Return the record of a new collection with the attributes of `call`, to be inserted.

    Raises Unprocessable, Forbidden, and BadRequest for edits that make no sense.
    """
    values = records.accepted(call, COLLECTIONS, None)
    _check_values(values)
    if not values.get("storage_classes_desired"):
        values["storage_classes_desired"] = [call.core.limits.storage_class]
    edit = requested_edit(call, partial(_content, call))
    if edit:
        manifest = edited_manifest(call, edit, NO_MANIFEST)
    else:
        manifest = prepared_manifest(call, values.get("manifest_text") or "")
    if manifest.refusal:
        raise Forbidden(manifest.refusal)
    check_portable_data_hash(
        values.get("portable_data_hash"), manifest.columns["portable_data_hash"]
    )
    values = records.settle_trash(call, records.NOT_TRASHED, values)
    record = records.new_record(call, COLLECTIONS, {**values, **manifest.columns})
    record["current_version_uuid"] = record["uuid"]
    return record


def _check_values(values: Record) -> None:
    records.check_file_name(values.get("name"))
    classes = values.get("storage_classes_desired") or []
    if not all(isinstance(name, str) and name for name in classes):
        raise Unprocessable("storage_classes_desired has to be an array of names")


def _create(call: Call) -> Record:
    names, _ = selected(call, COLLECTIONS)
    record = new_collection(call)
    with call.core.database.write() as db:
        record = records.insert(
            db,
            call,
            COLLECTIONS,
            record,
            ensure_unique_name=call.parameters["ensure_unique_name"],
        )
    return present(call, COLLECTIONS, record, names)


def _update(call: Call) -> Record:
    names, columns = selected(call, COLLECTIONS)
    uuid = call.parameters["uuid"]
    edit = requested_edit(call, partial(_content, call))
    manifest = None
    edited: Record = {}
    sent = call.attributes.get("manifest_text", ...)
    if edit or sent is None or isinstance(sent, str):
        columns = [*dict.fromkeys((*columns, *MANIFEST_COLUMNS))]
    if edit:
        with call.core.database.read() as db:
            edited = records.find(db, call, COLLECTIONS, uuid, columns=columns)
        manifest = edited_manifest(call, edit, edited)
    elif sent is None or isinstance(sent, str):
        manifest = prepared_manifest(call, sent or "")
    with call.core.database.write() as db:
        current = records.find(db, call, COLLECTIONS, uuid, columns=columns)
        if edit and current["manifest_text"] != edited["manifest_text"]:
            # Somebody was faster. Nobody else writes now, so this edit is of the latest content.
            manifest = edited_manifest(call, edit, current)
        changes = _changes(call, current, manifest)
        record = records.update(db, call, COLLECTIONS, current, changes)
    return present(call, COLLECTIONS, record, names)


def _changes(call: Call, current: Record, manifest: PreparedManifest | None) -> Record:
    changes = records.accepted(call, COLLECTIONS, current)
    _check_values(changes)
    if changes.get("storage_classes_desired", ...) == []:
        raise Unprocessable("storage_classes_desired cannot be empty")
    changes.pop("manifest_text", None)
    sent_hash = changes.pop("portable_data_hash", None)
    if manifest and manifest.columns["manifest_text"] != current["manifest_text"]:
        if manifest.refusal:
            raise Forbidden(manifest.refusal)
        changes.update(manifest.columns)
        changes.update(unconfirmed(current, manifest.columns["manifest_text"]))
    check_portable_data_hash(sent_hash, {**current, **changes}["portable_data_hash"])
    if "uuid" in changes:
        changes["current_version_uuid"] = changes["uuid"]
    changes = records.settle_trash(call, current, changes)
    asked = None
    if "preserve_version" in call.attributes:
        asked = changes.get("preserve_version", current["preserve_version"])
    return versions.settled(current, changes, asked, call.now, call.core.limits)


def _get(call: Call) -> Record:
    by_hash = _PORTABLE_DATA_HASH.fullmatch(call.parameters["uuid"])
    if by_hash is None:
        return get_record(call, COLLECTIONS, call.parameters["uuid"])
    names, _ = selected(call, COLLECTIONS)
    with call.core.database.read() as db:
        row = _longest_readable(db, call, by_hash[1])
    if row is None:
        raise NotFound(f"Path not found: no collection with the content {by_hash[1]}")
    # Many collections can have this content: the answer says nothing about any of them.
    record = {a.name: _EMPTY_VALUES.get(a.type) for a in COLLECTIONS.columns}
    record.update(decoded(COLLECTIONS, row), uuid=by_hash[1])
    return present(call, COLLECTIONS, record, names)


def _content(call: Call, portable_data_hash: str) -> str:
    """Return the manifest, without signatures, with a hash. Raises NotFound."""
    with call.core.database.read() as db:
        row = _longest_readable(db, call, portable_data_hash)
    if row is None:
        raise NotFound(f"Path not found: no collection with the content {portable_data_hash}")
    return str(row["manifest_text"])


def _longest_readable(
    db: sqlite3.Connection, call: Call, portable_data_hash: str
) -> sqlite3.Row | None:
    include_trash = call.parameters.get("include_trash", False)
    condition = all_of(
        [
            Condition("collections.portable_data_hash = ?", (portable_data_hash,)),
            call.visible(db, COLLECTIONS, include_trash=include_trash),
        ]
    )
    row: sqlite3.Row | None = sql.select(
        db,
        ("portable_data_hash", "manifest_text", "trash_at"),
        COLLECTIONS.name,
        condition,
        "ORDER BY trash_at IS NULL DESC, trash_at DESC",
        limit=1,
    ).fetchone()
    return row


METHODS = (
    Method(
        id="collections.get",
        http_method="GET",
        path="collections/{uuid}",
        run=_get,
        description="Get a collection by its uuid, or some content by its portable data hash.",
        parameters={"uuid": UUID, "select": SELECT, "include_trash": INCLUDE_TRASH},
        response=COLLECTIONS.class_name,
    ),
    list_method(
        COLLECTIONS, include_trash=INCLUDE_TRASH, include_old_versions=INCLUDE_OLD_VERSIONS
    ),
    Method(
        id="collections.create",
        http_method="POST",
        path="collections",
        run=_create,
        description="Make a collection.",
        parameters={
            **CREATE_PARAMETERS,
            **EDIT_PARAMETERS,
        },
        response=COLLECTIONS.class_name,
        takes=COLLECTIONS,
    ),
    Method(
        id="collections.update",
        http_method="PUT",
        path="collections/{uuid}",
        run=_update,
        description="Change attributes of a collection.",
        parameters={"uuid": UUID, "select": SELECT, **EDIT_PARAMETERS},
        response=COLLECTIONS.class_name,
        takes=COLLECTIONS,
    ),
    *trash_methods(COLLECTIONS),
)
