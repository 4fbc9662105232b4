"""How requests to the REST API are sent: client objects, retries, and what failures become."""

from __future__ import annotations

import functools
import http.client
import math
import re
import socket
import ssl
import threading
import time
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import arvados.api
import arvados.util
import googleapiclient.errors

from arvados_fuse.api.records import text
from arvados_fuse.api.translation import not_an_api_server, translated
from arvados_fuse.errors import ClusterUnreachable, FileSystemError, RecordError, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from arvados_fuse.api.records import Record
    from arvados_fuse.metrics import Metrics

__all__ = ["PAGE_SIZE", "Connection", "items_of", "tls_context"]

PAGE_SIZE = 1000
"""Records in one list request; the server's own maximum (`API.MaxItemsPerResponse`)."""

CONNECT_TIME_LIMIT_S = 20.0
"""How long the API host may take to accept the first connection."""

REQUEST_TIME_LIMIT_S = 300
"""Longest silence of the API server in one request, as in the official client."""

LONGEST_TRYING_S = 300.0
"""A request that has failed for so long is given up, however many retries are left: only what is
silent each time takes so long."""

LONGEST_PAUSE_S = 10.0
"""Between two tries of one request. The library by itself doubles it up to a quarter of an hour."""

MOST_START_RETRIES = 3
"""How often the library may try again to fetch the discovery document, with pauses of its own,
from a host that has never answered."""


class _Client:
    """A client object of the library, which makes each of its parts once.

    The library makes ``collections()`` and the like, with all their methods, anew for every call,
    and takes as long for that as for sending the request.
    """

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._service, name)
        found = functools.cache(part) if callable(part) else part
        setattr(self, name, found)
        return found

    def close(self) -> None:
        """End its connections, on which an answer may be under way. It can be used again."""
        self._service.close_connections()


class Connection:
    """Requests to one host with one token, from any thread.

    Client objects of the library cannot be shared by threads, and each costs some megabytes, so
    idle ones are kept and taken out for one request at a time.

    Every method raises NoSuchEntry for what is not there or cannot be seen, AccessRefused for a
    token that is not accepted, TimedOut, ClusterUnreachable, ClusterError, or RecordError.

    moved_at: when the host last answered, in seconds of time.monotonic
    """

    def __init__(
        self, host: str, token: str, *, insecure: bool, retries: int, metrics: Metrics
    ) -> None:
        """Find out whether `host` (name[:port]) can be reached at all."""
        self._host = host
        self._token = token
        self._insecure = insecure
        self._retries = retries
        self._metrics = metrics
        self._idle: list[_Client] = []
        self._patience_s = LONGEST_TRYING_S
        self._hurried = threading.Event()
        self.moved_at = -math.inf
        _check_reachable(host, insecure)

    def use_token(self, token: str) -> None:
        """Send all further requests with another token. Those under way keep the one they have."""
        self._token = token
        self._idle = []

    def limit_patience(self, patience_s: float) -> None:
        """From now on give up requests that have failed for so long, whatever retries are left."""
        self._patience_s = patience_s
        self._hurried.set()

    def discovery(self) -> Record:
        """Return the discovery document, which says what the cluster can do."""
        document = self.call(lambda client: client._rootDesc)  # no public name for it
        assert isinstance(document, dict), "the library has looked into it"
        return document

    def list(self, request: Callable[[Any], Any]) -> list[Record]:
        """Send a list request, and return the records."""
        return items_of(self.send(request))

    def pages(
        self,
        method: Callable[[Any], Any],
        filters: Sequence[Any],
        *,
        key: str = "uuid",
        **query: Any,
    ) -> Iterator[Record]:
        """Yield the answers to a list request of many pages, each with at least one record.

        method: takes a client object and returns the list method that `query` is passed to
        Pages by `key`, a field of text that is unique, so that changes meanwhile skip nothing.
        """
        query |= {"order": [f"{key} asc"], "limit": PAGE_SIZE, "count": "none"}
        last = ""
        while True:
            query["filters"] = [*filters, [key, ">", last]]
            answer = self.send(lambda client: method(client)(**query))
            items = items_of(answer)
            if not items:
                return
            yield answer
            before, last = last, text(items[-1], key)
            if last <= before:
                raise RecordError("The cluster sends the pages of a list out of order.")

    def records(
        self, method: Callable[[Any], Any], filters: Sequence[Any], **query: Any
    ) -> Iterator[Record]:
        """Yield the records of a list request of many pages, as `pages`."""
        for answer in self.pages(method, filters, **query):
            yield from items_of(answer)

    def send(self, request: Callable[[Any], Any]) -> Record:
        """Send the request that `request` makes with a client object, and return the answer."""
        self._metrics.api_calls += 1
        answer = self.call(lambda client: self._execute(request(client)))
        if not isinstance(answer, dict):
            raise RecordError("The cluster answered with something that is not a record.")
        return answer

    def _execute(self, request: Any) -> Any:
        pause = self._pauses()
        request._sleep = pause  # no public name for it
        for count in range(self._retries):
            try:
                return request.execute(num_retries=self._retries)
            except http.client.IncompleteRead:
                # The library repeats what fails in any other way for a passing reason.
                pause(2.0**count)
        return request.execute(num_retries=self._retries)

    def _pauses(self) -> Callable[[float], None]:
        """Return what waits between the tries of one request, and gives up in time."""
        failing_since: float | None = None

        def pause(time_s: float) -> None:
            nonlocal failing_since
            failing_since = failing_since or time.monotonic()
            if time.monotonic() >= failing_since + self._patience_s:
                self._give_up()
            if self._hurried.is_set():
                time.sleep(min(time_s, 1.0))
            else:
                self._hurried.wait(min(time_s, LONGEST_PAUSE_S))

        return pause

    def _give_up(self) -> NoReturn:
        """Raise the error for a request that has failed for too long."""
        if self._hurried.is_set():
            raise ClusterUnreachable(f"{self._host} does not answer, and the mount is ending.")
        raise TimedOut(f"The Arvados API host {self._host} did not answer, again and again.")

    def call(self, action: Callable[[Any], Any]) -> Any:
        """Do `action` with a client object that nobody else uses meanwhile."""
        try:
            with self._client() as client:
                answer = action(client)
        except FileSystemError:
            raise
        except Exception as error:
            raise translated(error, self._host, self._token) from error
        self.moved_at = time.monotonic()
        return answer

    @contextmanager
    def _client(self) -> Iterator[_Client]:
        """Take a client object out of the idle ones, and put it back whatever comes of it.

        To make another one, the host has to be there.
        """
        idle = self._idle
        try:
            client = idle.pop()
        except IndexError:
            client = self._new_client()
        try:
            yield client
        except googleapiclient.errors.HttpError:
            raise  # an answer like others
        except BaseException:
            client.close()
            raise
        finally:
            idle.append(client)  # to the list of its token

    def _new_client(self) -> _Client:
        """Make a client object; for a host that has answered before, with patience."""
        pause = self._pauses()
        for count in range(self._retries if self.moved_at > -math.inf else 0):
            try:
                return self._make_client(0)
            except (ClusterUnreachable, TimedOut):
                pause(2.0**count)
        return self._make_client(min(self._retries, MOST_START_RETRIES))

    def _make_client(self, retries: int) -> _Client:
        try:
            service = arvados.api.api_client(
                "v1",
                f"https://{self._host}/discovery/v1/apis/{{api}}/{{apiVersion}}/rest",
                self._token,
                insecure=self._insecure,
                num_retries=retries,
                timeout=REQUEST_TIME_LIMIT_S,
            )
        except (AttributeError, TypeError) as error:
            # The library looks into the discovery document without checking its shape.
            raise not_an_api_server(self._host, error) from error
        except Exception as error:
            raise translated(error, self._host, self._token) from error
        return _Client(service)


def items_of(answer: Record) -> list[Record]:
    """Return the records in the answer to a list request. Raises RecordError."""
    items = answer.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RecordError("The cluster answered a list request without a list of records.")
    return items


def tls_context(insecure: bool) -> ssl.SSLContext:
    """Return whom to trust: the authorities that all Arvados clients trust, or anybody."""
    if not insecure:
        return _trusting(arvados.util.ca_certs_path())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def _trusting(ca_file: str) -> ssl.SSLContext:
    """Return the same to all who ask: reading the file takes as long as several requests."""
    return ssl.create_default_context(cafile=ca_file)


def _check_reachable(host: str, insecure: bool) -> None:
    """Fail at once where the client library would try for minutes."""
    try:
        parts = urllib.parse.urlsplit(f"//{host}")
        is_all = parts.netloc == host and "@" not in host and not re.search(r"\s|:$", host)
        name, port = parts.hostname if is_all else None, parts.port or 443
    except ValueError:
        name = None
    if not name:
        raise ClusterUnreachable(
            f"ARVADOS_API_HOST is {host!r}, which is not a host name or HOST:PORT."
        )
    try:
        with (
            socket.create_connection((name, port), timeout=CONNECT_TIME_LIMIT_S) as tcp,
            tls_context(insecure).wrap_socket(tcp, server_hostname=name),
        ):
            pass
    except ssl.SSLError as error:
        raise translated(error, host, "") from None
    except (OSError, UnicodeError) as error:  # a name that DNS cannot express is a UnicodeError
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterUnreachable(f"Cannot reach the Arvados API host {host}: {reason}.") from None
