"""The calls to the REST API that the file system makes, one method each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from arvados_fuse.api.connection import PAGE_SIZE, Connection, items_of
from arvados_fuse.api.filters import ListFilters
from arvados_fuse.api.records import (
    COLLECTION_FIELDS,
    GROUP_FIELDS,
    STATE_FIELDS,
    CollectionContent,
    Item,
    Record,
    Shared,
    collection_content,
    collection_item,
    group_item,
    has_method,
    owner_item,
    signature_ttl_s,
    text,
    whole_number,
)
from arvados_fuse.errors import NoSuchEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from arvados_fuse.metrics import Metrics

__all__ = ["ArvadosCluster", "Cluster"]

PROJECT_CLASSES = ["project", "filter"]
"""Groups that are shown as directories; the others are sets of users."""

_IS_PROJECT = ["group_class", "in", PROJECT_CLASSES]
_IS_TAG = [["link_class", "=", "tag"], ["name", "!=", ""]]

IN_ONE_REQUEST = 50
"""Uuids that are asked for at once; more would make an address that is too long."""


class Cluster(Protocol):
    """What the file system asks of a cluster.

    Every method raises NoSuchEntry for what is not there or cannot be seen, AccessRefused for a
    token that is not accepted, TimedOut, ClusterUnreachable, ClusterError, or RecordError.
    """

    signature_ttl_s: float
    """For how many seconds a block signature is valid after it was made."""

    slash_substitution: str | None
    """What shows a slash in the name of a project or collection; None where names have none."""

    def user_uuid(self) -> str:
        """Return the uuid of the user whose token we have."""

    def record(self, uuid: str) -> Record:
        """Return the whole record of a collection (by uuid or hash), a group or a user."""

    def project(self, uuid: str) -> Item:
        """Return the project or filter group of this uuid."""

    def collection_state(self, ident: str) -> Item:
        """Return the collection's record without its manifest."""

    def collection(self, ident: str) -> CollectionContent:
        """Return the collection of this uuid or portable data hash."""

    def collection_in_trash(self, uuid: str) -> Item:
        """Return a collection's record without its manifest, also if it is in the trash."""

    def versions(self, uuid: str) -> list[int]:
        """Return the numbers of the stored versions of a collection, the current one included."""

    def version(self, uuid: str, number: int) -> Record:
        """Return the whole record of one version of a collection, with its manifest."""

    def contents(self, owner_uuid: str) -> Iterator[Item]:
        """Yield what a project (or the home of a user) holds: subprojects, then collections."""

    def find(self, owner_uuid: str, name: list[Any], *, projects: bool) -> list[Item]:
        """Return what a project holds under some names: its subprojects, or its collections.

        name: a filter of list requests
        """

    def shared(self) -> Shared:
        """Return the projects that others share with the user."""

    def tags(self) -> list[str]:
        """Return all tags."""

    def tagged(self, tag: str) -> list[Item]:
        """Return the collections that have a tag."""

    def keep_services(self) -> list[Record]:
        """Return the records of the Keep services that this client should use."""


class ArvadosCluster:
    """The cluster of one host and token."""

    def __init__(
        self,
        host: str,
        token: str,
        *,
        insecure: bool,
        retries: int,
        metrics: Metrics,
        filters: Sequence[Any] = (),
    ) -> None:
        """Connect to `host` (name[:port]) and learn what the cluster says about itself.

        retries: how often a request that failed for a passing reason is sent again
        filters: of `--filters`, which narrow listings down
        Raises AccessRefused, ClusterUnreachable, TimedOut or ClusterError, each with a sentence
        that can be shown to the person who started the mount.
        """
        self._connection = Connection(
            host, token, insecure=insecure, retries=retries, metrics=metrics
        )
        self._send = self._connection.send
        self._list = self._connection.list
        self._records = self._connection.records
        self._filters = ListFilters(filters)
        discovery = self._connection.discovery()
        self._has_shared = has_method(discovery, "groups", "shared")
        self.signature_ttl_s: float = signature_ttl_s(discovery)
        # Of the event bus; empty if there is none (Arvados documentation, discovery document).
        self.websocket_url = str(discovery.get("websocketUrl") or "")
        self.slash_substitution: str | None = self._slash_substitution()

    @property
    def connection(self) -> Connection:
        """What sends the requests."""
        return self._connection

    def use_token(self, token: str) -> None:
        """Send all further requests with another token of the same user."""
        self._connection.use_token(token)

    def _slash_substitution(self) -> str | None:
        config = self._send(lambda client: client.configs().get())
        collections = config.get("Collections")
        if not isinstance(collections, dict):
            return "_"
        # Without the key the official driver shows "_"; an empty value says that no name has one.
        return str(collections.get("ForwardSlashNameSubstitution", "_") or "") or None

    # -- single records ---------------------------------------------------------------------

    def user_uuid(self) -> str:
        """Return the uuid of the user whose token we have."""
        return text(self._send(lambda client: client.users().current()), "uuid")

    def record(self, uuid: str) -> Record:
        """Return the whole record of a collection (by uuid or hash), a group or a user."""
        if "-tpzed-" in uuid:
            return self._send(lambda client: client.users().get(uuid=uuid))
        if "-j7d0g-" in uuid:
            return self._send(lambda client: client.groups().get(uuid=uuid))
        return self._send(lambda client: client.collections().get(uuid=uuid))

    def project(self, uuid: str) -> Item:
        """Return the project or filter group of this uuid."""
        record = self._send(lambda client: client.groups().get(uuid=uuid, select=GROUP_FIELDS))
        if record.get("group_class") not in PROJECT_CLASSES:
            raise NoSuchEntry(f"The group {uuid} is not a project.")
        return group_item(record)

    def collection_state(self, ident: str) -> Item:
        """Return the collection's record without its manifest."""
        return collection_item(
            self._send(lambda client: client.collections().get(uuid=ident, select=STATE_FIELDS))
        )

    def collection(self, ident: str) -> CollectionContent:
        """Return the collection of this uuid or portable data hash."""
        record = self._send(lambda client: client.collections().get(uuid=ident))
        return collection_content(record)

    def collection_in_trash(self, uuid: str) -> Item:
        """Return a collection's record without its manifest, also if it is in the trash."""
        return collection_item(
            self._send(
                lambda client: client.collections().get(
                    uuid=uuid, include_trash=True, select=COLLECTION_FIELDS
                )
            )
        )

    # -- versions ---------------------------------------------------------------------------

    def versions(self, uuid: str) -> list[int]:
        """Return the numbers of the stored versions of a collection, the current one included."""
        versions = self._records(
            lambda client: client.collections().list,
            [["current_version_uuid", "=", uuid]],
            include_old_versions=True,
            select=["uuid", "version"],
        )
        return sorted(whole_number(record, "version") for record in versions)

    def version(self, uuid: str, number: int) -> Record:
        """Return the whole record of one version of a collection, with its manifest."""
        answer = self._send(
            lambda client: client.collections().list(
                filters=[["current_version_uuid", "=", uuid], ["version", "=", number]],
                include_old_versions=True,
                select=["uuid"],
                limit=1,
                count="none",
            )
        )
        for record in items_of(answer):
            # An old version is a record with a uuid of its own.
            found = self.record(text(record, "uuid"))
            if whole_number(found, "version") != number:
                return self.version(uuid, number)  # it has become old just now
            return found
        raise NoSuchEntry(f"{uuid} has no version {number}.")

    # -- projects ---------------------------------------------------------------------------

    def contents(self, owner_uuid: str) -> Iterator[Item]:
        """Yield what a project (or the home of a user) holds: subprojects, then collections."""
        is_group = [
            ["uuid", "is_a", "arvados#group"],
            ["groups.group_class", "in", PROJECT_CLASSES],
        ]
        for record in self._contents(owner_uuid, is_group, GROUP_FIELDS):
            yield group_item(record)
        is_collection = [["uuid", "is_a", "arvados#collection"]]
        for record in self._contents(owner_uuid, is_collection, COLLECTION_FIELDS):
            yield collection_item(record)

    def _contents(self, owner_uuid: str, filters: list[Any], fields: list[str]) -> Iterator[Record]:
        return self._records(
            lambda client: client.groups().contents,
            [*self._filters.contents, *filters],
            uuid=owner_uuid,
            select=fields,
        )

    def find(self, owner_uuid: str, name: list[Any], *, projects: bool) -> list[Item]:
        """Return what a project holds under some names: its subprojects, or its collections.

        name: a filter of list requests
        """
        filters = [["owner_uuid", "=", owner_uuid], name]
        query: dict[str, Any] = {"limit": PAGE_SIZE, "count": "none"}
        if projects:
            query["filters"] = [*filters, _IS_PROJECT, *self._filters.of("groups")]
            query["select"] = GROUP_FIELDS
            groups = self._list(lambda client: client.groups().list(**query))
            return [group_item(record) for record in groups]
        query["filters"] = [*filters, *self._filters.of("collections")]
        query["select"] = COLLECTION_FIELDS
        collections = self._list(lambda client: client.collections().list(**query))
        return [collection_item(record) for record in collections]

    # -- what is shared ---------------------------------------------------------------------

    def shared(self) -> Shared:
        """Return the projects that others share with the user."""
        if not self._has_shared:
            return self._shared_by_comparison()
        projects: list[tuple[Item, str]] = []
        owners: dict[str, Item] = {}
        for answer in self._connection.pages(
            lambda client: client.groups().shared,
            [_IS_PROJECT, *self._filters.of("groups")],
            include="owner_uuid",
        ):
            projects += [(group_item(r), text(r, "owner_uuid")) for r in items_of(answer)]
            for record in answer.get("included") or []:
                owners[text(record, "uuid")] = owner_item(record)
        return Shared(projects, list(owners.values()))

    def _shared_by_comparison(self) -> Shared:
        """Find out what is shared on a cluster that has no request for it.

        It is what can be seen, but not by owning it or as a part of something else that is seen.
        """
        user = self.user_uuid()
        seen = [
            (group_item(record), text(record, "owner_uuid"))
            for record in self._records(
                lambda client: client.groups().list,
                [_IS_PROJECT, *self._filters.of("groups")],
                select=[*GROUP_FIELDS, "owner_uuid"],
            )
        ]
        inside = {user, *(item.uuid for item, _ in seen)}
        projects = [(item, owner) for item, owner in seen if owner not in inside]
        owners = sorted({owner for _, owner in projects})
        users = self._by_uuid(lambda client: client.users().list, owners)
        return Shared(projects, [owner_item(record) for record in users])

    def _by_uuid(
        self, method: Callable[[Any], Any], uuids: list[str], **query: Any
    ) -> Iterator[Record]:
        """Yield those of the records that can be seen, asking for many at a time."""
        for start in range(0, len(uuids), IN_ONE_REQUEST):
            some = uuids[start : start + IN_ONE_REQUEST]
            yield from self._records(method, [["uuid", "in", some]], **query)

    # -- tags -------------------------------------------------------------------------------

    def tags(self) -> list[str]:
        """Return all tags."""
        links = self._records(
            lambda client: client.links().list,
            [*_IS_TAG, *self._filters.of("links")],
            key="name",
            select=["name"],
            distinct=True,
        )
        return [text(link, "name") for link in links]

    def tagged(self, tag: str) -> list[Item]:
        """Return the collections that have a tag."""
        links = self._records(
            lambda client: client.links().list,
            [
                ["link_class", "=", "tag"],
                ["name", "=", tag],
                ["head_uuid", "is_a", "arvados#collection"],
                *self._filters.of("links"),
            ],
            select=["uuid", "head_uuid"],
        )
        heads = sorted({text(link, "head_uuid") for link in links})
        collections = self._by_uuid(
            lambda client: client.collections().list, heads, select=COLLECTION_FIELDS
        )
        return [collection_item(record) for record in collections]

    # -- Keep -------------------------------------------------------------------------------

    def keep_services(self) -> list[Record]:
        """Return the records of the Keep services that this client should use."""
        return self._list(lambda client: client.keep_services().accessible())
