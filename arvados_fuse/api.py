"""Every call to the cluster's REST API, through the official client library.

Owns the client objects, the translation of records into small typed values, and the translation
of every way a request can fail into `errors`. Records come from the net and are checked here, so
that the rest of the package can rely on their shape. All methods of `ArvadosCluster` may block
and may be called from any thread; none may be called with the file system's lock held.

Source of the calls and fields: Arvados documentation, "API Reference".
"""

from __future__ import annotations

import datetime
import logging
import re
import socket
import ssl
import urllib.parse
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import arvados.api
import arvados.util
import ciso8601
import googleapiclient.errors
import httplib2

from arvados_fuse.errors import (
    AccessRefused,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    NoSuchEntry,
    RecordError,
    TimedOut,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arvados_fuse.metrics import Metrics

__all__ = ["ArvadosCluster", "Cluster", "CollectionContent", "Item"]

log = logging.getLogger(__name__)

PAGE_SIZE = 1000
"""Records in one list request; the server's own maximum (`API.MaxItemsPerResponse`)."""

CONNECT_TIME_LIMIT_S = 20.0
"""How long the API host may take to accept the first connection."""

REQUEST_TIME_LIMIT_S = 300
"""Longest silence of the API server in one request, as in the official client."""

QUOTE_MAX = 250
"""Characters of a server's message that are passed on to a log line."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

_COLLECTION_FIELDS = ["uuid", "name", "modified_at", "portable_data_hash"]
_GROUP_FIELDS = ["uuid", "name", "modified_at"]


class Item(NamedTuple):
    """A collection or project, as its directory entry needs it.

    modified_ns: nanoseconds since 1970; 0 where the record has no time
    portable_data_hash: of a collection; "" for a project
    """

    uuid: str
    name: str
    modified_ns: int
    portable_data_hash: str
    is_project: bool


class CollectionContent(NamedTuple):
    """A collection with its manifest, whose locators are signed for our token."""

    item: Item
    manifest_text: str


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

    def project(self, uuid: str) -> Item:
        """Return the project of this uuid."""

    def collection_state(self, ident: str) -> Item:
        """Return the collection's record without its manifest."""

    def collection(self, ident: str) -> CollectionContent:
        """Return the collection of this uuid or portable data hash."""

    def contents(self, owner_uuid: str) -> Iterator[Item]:
        """Yield what a project (or the home of a user) holds: subprojects, then collections."""

    def find(self, owner_uuid: str, names: list[str]) -> Item | None:
        """Return what a project holds under one of `names`, the first that fits; or None."""

    def keep_services(self) -> list[dict[str, Any]]:
        """Return the records of the Keep services that this client should use."""


class ArvadosCluster:
    """The cluster of one host and token.

    Client objects of the library cannot be shared by threads, and each costs some megabytes, so
    idle ones are kept and taken out for one request at a time.
    """

    def __init__(
        self, host: str, token: str, *, insecure: bool, retries: int, metrics: Metrics
    ) -> None:
        """Connect to `host` (name[:port]) and learn what the cluster says about itself.

        retries: how often a request that failed for a passing reason is sent again
        Raises AccessRefused, ClusterUnreachable, TimedOut or ClusterError, each with a sentence
        that can be shown to the person who started the mount.
        """
        self._host = host
        self._token = token
        self._insecure = insecure
        self._retries = retries
        self._metrics = metrics
        self._idle: list[Any] = []
        _check_reachable(host, insecure)
        discovery = self._call(lambda client: client._rootDesc)  # no public name for it
        self.signature_ttl_s: float = _signature_ttl_s(discovery)
        self.slash_substitution: str | None = self._slash_substitution()

    def user_uuid(self) -> str:
        """Return the uuid of the user whose token we have."""
        record = self._send(lambda client: client.users().current())
        return _text(record, "uuid")

    def project(self, uuid: str) -> Item:
        """Return the project of this uuid."""
        return _group_item(self._send(lambda client: client.groups().get(uuid=uuid)))

    def collection_state(self, ident: str) -> Item:
        """Return the collection's record without its manifest."""
        return _collection_item(
            self._send(
                lambda client: client.collections().get(uuid=ident, select=_COLLECTION_FIELDS)
            )
        )

    def collection(self, ident: str) -> CollectionContent:
        """Return the collection of this uuid or portable data hash."""
        record = self._send(lambda client: client.collections().get(uuid=ident))
        return CollectionContent(_collection_item(record), _text(record, "manifest_text"))

    def contents(self, owner_uuid: str) -> Iterator[Item]:
        """Yield what a project (or the home of a user) holds: subprojects, then collections."""
        is_group = [
            ["uuid", "is_a", "arvados#group"],
            ["groups.group_class", "in", ["project", "filter"]],
        ]
        for record in self._contents(owner_uuid, is_group, _GROUP_FIELDS):
            yield _group_item(record)
        is_collection = [["uuid", "is_a", "arvados#collection"]]
        for record in self._contents(owner_uuid, is_collection, _COLLECTION_FIELDS):
            yield _collection_item(record)

    def _contents(
        self, owner_uuid: str, filters: list[Any], fields: list[str]
    ) -> Iterator[dict[str, Any]]:
        """Page through `groups/contents` by uuid, so that changes meanwhile skip nothing."""
        query = {
            "uuid": owner_uuid,
            "select": fields,
            "order": ["uuid asc"],
            "limit": PAGE_SIZE,
            "count": "none",
        }
        last = ""
        while True:
            query["filters"] = [*filters, ["uuid", ">", last]]
            page = self._list(lambda client: client.groups().contents(**query))
            if not page:
                return
            yield from page
            before, last = last, _text(page[-1], "uuid")
            if last <= before:
                raise RecordError(f"The cluster lists {owner_uuid} out of order.")

    def find(self, owner_uuid: str, names: list[str]) -> Item | None:
        """Return what a project holds under one of `names`, the first that fits; or None."""
        where = [["owner_uuid", "=", owner_uuid], ["name", "in", names]]
        in_class = ["group_class", "in", ["project", "filter"]]
        groups = self._list(
            lambda client: client.groups().list(
                filters=[*where, in_class], select=_GROUP_FIELDS, limit=len(names), count="none"
            )
        )
        collections = groups or self._list(
            lambda client: client.collections().list(
                filters=where, select=_COLLECTION_FIELDS, limit=len(names), count="none"
            )
        )
        items = [_group_item(r) for r in groups] or [_collection_item(r) for r in collections]
        return min(
            (item for item in items if item.name in names),
            key=lambda item: names.index(item.name),
            default=None,
        )

    def keep_services(self) -> list[dict[str, Any]]:
        """Return the records of the Keep services that this client should use."""
        return self._list(lambda client: client.keep_services().accessible())

    # -- how requests are sent --------------------------------------------------------------

    def _slash_substitution(self) -> str | None:
        config = self._send(lambda client: client.configs().get())
        collections = config.get("Collections")
        if not isinstance(collections, dict):
            return "_"
        # Without the key the official driver shows "_"; an empty value says that no name has one.
        return str(collections.get("ForwardSlashNameSubstitution", "_") or "") or None

    def _list(self, request: Callable[[Any], Any]) -> list[dict[str, Any]]:
        items = self._send(request).get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise RecordError("The cluster answered a list request without a list of records.")
        return items

    def _send(self, request: Callable[[Any], Any]) -> dict[str, Any]:
        """Send the request that `request` makes with a client object, and return the answer."""
        self._metrics.api_calls += 1
        answer = self._call(lambda client: request(client).execute(num_retries=self._retries))
        if not isinstance(answer, dict):
            raise RecordError("The cluster answered with something that is not a record.")
        return answer

    def _call(self, action: Callable[[Any], Any]) -> Any:
        try:
            client = self._idle.pop() if self._idle else self._new_client()
            answer = action(client)
        except FileSystemError:
            raise
        except Exception as error:
            raise _translated(error, self._host, self._token) from error
        self._idle.append(client)
        return answer

    def _new_client(self) -> Any:
        try:
            return arvados.api.api_client(
                "v1",
                f"https://{self._host}/discovery/v1/apis/{{api}}/{{apiVersion}}/rest",
                self._token,
                insecure=self._insecure,
                num_retries=self._retries,
                timeout=REQUEST_TIME_LIMIT_S,
            )
        except (AttributeError, TypeError) as error:
            # The library looks into the discovery document without checking its shape.
            raise _not_an_api_server(self._host, error) from error


def _check_reachable(host: str, insecure: bool) -> None:
    """Fail at once where the client library would try for minutes."""
    try:
        parts = urllib.parse.urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port or 443
    except ValueError:
        name = None
    if not name:
        raise ClusterUnreachable(
            f"ARVADOS_API_HOST is {host!r}, which is not a host name or HOST:PORT."
        )
    trust = ssl.create_default_context(cafile=arvados.util.ca_certs_path())
    if insecure:
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((name, port), timeout=CONNECT_TIME_LIMIT_S) as tcp,
            trust.wrap_socket(tcp, server_hostname=name),
        ):
            pass
    except ssl.SSLError as error:
        raise _translated(error, host, "") from None
    except (OSError, UnicodeError) as error:  # a name that DNS cannot express is a UnicodeError
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterUnreachable(f"Cannot reach the Arvados API host {host}: {reason}.") from None


def _translated(error: Exception, host: str, token: str) -> Exception:
    """Return the error of ours that says what `error` means; itself if it is a defect."""
    if isinstance(error, googleapiclient.errors.HttpError):
        return _translated_status(error, host, token)
    if isinstance(error, ssl.CertificateError):
        why = re.search(r"verify failed: ([^(\n]+)", str(error))
        reason = f" ({why[1].strip()})" if why else ""
        return ClusterUnreachable(
            f"The certificate of {host} is not trusted{reason}. Set SSL_CERT_FILE to the"
            " certificate of its authority, or ARVADOS_API_HOST_INSECURE=1 to accept any."
        )
    if isinstance(error, TimeoutError):
        return TimedOut(f"The Arvados API host {host} did not answer in time.")
    if isinstance(error, OSError | httplib2.HttpLib2Error):
        reason = _one_line(str(error), token)
        return ClusterUnreachable(f"The connection to the Arvados API host {host} failed: {reason}")
    if isinstance(error, googleapiclient.errors.Error | ValueError | KeyError):
        return _not_an_api_server(host, error)
    return error


def _translated_status(
    error: googleapiclient.errors.HttpError, host: str, token: str
) -> FileSystemError:
    status = int(error.resp.status)
    said = f"{host} answered {status}: {_one_line(error.reason, token) or 'no reason given'}"
    if status == 404:
        return NoSuchEntry(said)
    if status in (401, 403):
        return AccessRefused(f"{said}. Is ARVADOS_API_TOKEN valid for this cluster?")
    if status in (408, 504):
        return TimedOut(said)
    return ClusterError(said)


def _not_an_api_server(host: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"The answer of {host} is not that of an Arvados API server ({type(error).__name__})."
        " Is ARVADOS_API_HOST right?"
    )


def _one_line(said: str, token: str) -> str:
    """Make what a server said fit for a log: one line, not endless, and without our token."""
    secret = token.rpartition("/")[2]  # version 2 tokens: v2/UUID/SECRET
    for private in (token, secret):
        if private:
            said = said.replace(private, "[token]")
    said = " ".join(said.split())
    return said if len(said) <= QUOTE_MAX else said[:QUOTE_MAX] + "..."


# -- records -------------------------------------------------------------------------------


def _text(record: dict[str, Any], field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        uuid = record.get("uuid", "without uuid")
        raise RecordError(f"The record {uuid!r} has no text in its field {field!r}.")
    return value


def _name(record: dict[str, Any]) -> str:
    """Return the record's name; "" if it has none, as groups and collections may."""
    return "" if record.get("name") is None else _text(record, "name")


def _time_ns(record: dict[str, Any], field: str) -> int:
    value = record.get(field)
    if not value:
        return 0
    try:
        moment: datetime.datetime = ciso8601.parse_datetime(value)
    except (TypeError, ValueError):
        raise RecordError(f"The record {record.get('uuid')!r} has a bad time: {value!r}.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


def _signature_ttl_s(discovery: dict[str, Any]) -> float:
    """Return for how long block signatures are valid; two weeks if the cluster does not say."""
    value = discovery.get("blobSignatureTtl") or 1209600
    if not isinstance(value, int | float):
        raise RecordError(f"The cluster's blobSignatureTtl is {value!r}, not a number of seconds.")
    return float(value)


def _collection_item(record: dict[str, Any]) -> Item:
    return Item(
        uuid=_text(record, "uuid"),
        name=_name(record),
        modified_ns=_time_ns(record, "modified_at"),
        portable_data_hash=_text(record, "portable_data_hash"),
        is_project=False,
    )


def _group_item(record: dict[str, Any]) -> Item:
    return Item(
        uuid=_text(record, "uuid"),
        name=_name(record),
        modified_ns=_time_ns(record, "modified_at"),
        portable_data_hash="",
        is_project=True,
    )
