"""The calls to the REST API that change something, one method each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from arvados_fuse.api.connection import items_of
from arvados_fuse.api.records import (
    COLLECTION_FIELDS,
    STATE_FIELDS,
    CollectionContent,
    Item,
    Record,
    collection_content,
    collection_item,
    has_parameter,
    replication,
    text,
    whole_number,
)
from arvados_fuse.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arvados_fuse.api.connection import Connection

__all__ = ["ArvadosWriting", "ClusterWriting", "Replaced"]


class Replaced(NamedTuple):
    """What became of a collection whose content was replaced.

    content: what it has now
    before: what others had made of it just before, if that is known and not what was expected
    """

    content: CollectionContent
    before: CollectionContent | None


class ClusterWriting(Protocol):
    """What the file system asks of a cluster when something is changed.

    Every method raises NoSuchEntry for what is not there or cannot be seen, AccessRefused for a
    token that is not accepted, Forbidden for what may be seen and not changed, TimedOut,
    ClusterUnreachable, ClusterError, or RecordError.
    """

    has_replace_files: bool
    """Whether single files of a collection can be replaced."""

    has_replace_segments: bool
    """Whether parts of blocks can be replaced by the same bytes in other blocks."""

    replicas: int
    """Copies that the cluster wants of each block."""

    def may_change_collection(self, uuid: str) -> bool:
        """Whether the user may change a collection."""

    def may_change_project(self, uuid: str) -> bool:
        """Whether the user may change what a project, or the home of a user, holds."""

    def edit(
        self, uuid: str, replace_files: Mapping[str, str], manifest_text: str, *, whole: bool
    ) -> CollectionContent:
        """Replace files of a collection; see the API documentation of `replace_files`.

        whole: whether to return the manifest of the result; else its text is ""
        """

    def replace(self, uuid: str, manifest_text: str, expected: str) -> Replaced | None:
        """Replace the whole content of a collection.

        expected: portable data hash of what is replaced. If it is not that, nothing is done, and
            None is returned; what others do in the moment between is not noticed before, but after
        """

    def replace_segments(self, uuid: str, replace_segments: Mapping[str, str]) -> CollectionContent:
        """Replace parts of blocks; see the API documentation of `replace_segments`."""

    def create_collection(
        self, owner_uuid: str, name: str, *, manifest_text: str, classes: tuple[str, ...]
    ) -> Item:
        """Make a collection in a project or home. classes: empty for the cluster's default."""

    def move_collection(self, uuid: str, owner_uuid: str, name: str) -> Item:
        """Give a collection another owner and name."""

    def trash_collection(self, uuid: str) -> Item:
        """Move a collection to the trash; return what it was then."""

    def untrash_collection(self, uuid: str) -> None:
        """Take a collection out of the trash."""


class ArvadosWriting:
    """Changes of one cluster. `connection` sends the requests."""

    def __init__(self, connection: Connection) -> None:
        discovery = connection.discovery()
        self.has_replace_files = has_parameter(discovery, "collections", "update", "replace_files")
        self.has_replace_segments = has_parameter(
            discovery, "collections", "update", "replace_segments"
        )
        self.replicas = replication(discovery)
        self._send = connection.send

    def may_change_collection(self, uuid: str) -> bool:
        """Whether the user may change a collection.

        An update that changes nothing is refused like one that does, and leaves no trace. Nothing
        else would know of frozen projects, of links to the collection itself, and of scopes.
        """
        try:
            self._send(
                lambda client: client.collections().update(uuid=uuid, body={"collection": {}})
            )
        except Forbidden:
            return False
        return True

    def may_change_project(self, uuid: str) -> bool:
        """Whether the user may change what a project, or the home of a user, holds."""
        if "-tpzed-" in uuid:
            user = self._send(lambda client: client.users().current())
            return text(user, "uuid") == uuid or user.get("is_admin") is True
        group = self._send(
            lambda client: client.groups().get(uuid=uuid, select=["uuid", "can_write"])
        )
        return group.get("can_write") is True

    def edit(
        self, uuid: str, replace_files: Mapping[str, str], manifest_text: str, *, whole: bool
    ) -> CollectionContent:
        """Replace files of a collection."""
        # In the body, as there may be many.
        body: dict[str, Any] = {"collection": {}, "replace_files": dict(replace_files)}
        if manifest_text:
            body["collection"]["manifest_text"] = manifest_text
        return self._changed(uuid, body, whole=whole)

    def replace(self, uuid: str, manifest_text: str, expected: str) -> Replaced | None:
        """Replace the whole content of a collection, if it is what is expected.

        No request does both. So it is asked for just before, and the cluster is told to keep what
        is replaced as a version (Arvados documentation, "Collection versioning"), which is looked
        at afterwards.
        """
        fields = ["uuid", "portable_data_hash", "version"]
        state = self._send(lambda client: client.collections().get(uuid=uuid, select=fields))
        if text(state, "portable_data_hash") != expected:
            return None
        attributes = {"manifest_text": manifest_text, "preserve_version": True}
        record = self._send(
            lambda client: client.collections().update(
                uuid=uuid,
                body={"collection": attributes},
                select=[*STATE_FIELDS, "manifest_text", "version"],
            )
        )
        number = whole_number(record, "version")
        # A cluster that keeps no versions counts none.
        is_kept = number > whole_number(state, "version")
        before = self._replaced(uuid, number - 1, expected) if is_kept else None
        return Replaced(collection_content(record), before)

    def _replaced(self, uuid: str, number: int, expected: str) -> CollectionContent | None:
        """Return a stored version of a collection, unless it is the one that is expected."""
        answer = self._send(
            lambda client: client.collections().list(
                filters=[["current_version_uuid", "=", uuid], ["version", "=", number]],
                include_old_versions=True,
                select=["uuid", "portable_data_hash"],
                limit=1,
                count="none",
            )
        )
        for version in items_of(answer):
            if text(version, "portable_data_hash") != expected:
                stored = text(version, "uuid")
                return collection_content(self._record(stored))
        return None

    def _record(self, uuid: str) -> Record:
        return self._send(lambda client: client.collections().get(uuid=uuid))

    def replace_segments(self, uuid: str, replace_segments: Mapping[str, str]) -> CollectionContent:
        """Replace parts of blocks by the same bytes in other blocks."""
        body = {"collection": {}, "replace_segments": dict(replace_segments)}
        return self._changed(uuid, body, whole=True)

    def _changed(self, uuid: str, body: Record, *, whole: bool) -> CollectionContent:
        fields = [*STATE_FIELDS, "manifest_text"] if whole else STATE_FIELDS
        record = self._send(
            lambda client: client.collections().update(uuid=uuid, body=body, select=fields)
        )
        manifest = text(record, "manifest_text") if whole else ""
        return CollectionContent(collection_item(record), manifest)

    def create_collection(
        self, owner_uuid: str, name: str, *, manifest_text: str, classes: tuple[str, ...]
    ) -> Item:
        """Make a collection in a project or home."""
        attributes: Record = {
            "owner_uuid": owner_uuid,
            "name": name,
            "manifest_text": manifest_text,
        }
        if classes:
            attributes["storage_classes_desired"] = list(classes)
        return collection_item(
            self._send(lambda client: client.collections().create(body={"collection": attributes}))
        )

    def move_collection(self, uuid: str, owner_uuid: str, name: str) -> Item:
        """Give a collection another owner and name."""
        attributes = {"owner_uuid": owner_uuid, "name": name}
        return collection_item(
            self._send(
                lambda client: client.collections().update(
                    uuid=uuid, body={"collection": attributes}, select=COLLECTION_FIELDS
                )
            )
        )

    def trash_collection(self, uuid: str) -> Item:
        """Move a collection to the trash; return what it was then."""
        return collection_item(self._send(lambda client: client.collections().delete(uuid=uuid)))

    def untrash_collection(self, uuid: str) -> None:
        """Take a collection out of the trash."""
        self._send(lambda client: client.collections().untrash(uuid=uuid))
