"""Storing one block: how many copies are where, and what is still missing.

The rules are those of the official SDK. A service says how many copies it has stored, and of which
storage classes; the block is stored when the copies together are enough, and for every class that
was asked for (Arvados documentation, "Keep clients" and "Storage classes"). Services of kind
``disk`` store one copy each and are asked at the same time; one proxy is trusted to make them all.
"""

import http.client
import re
import threading
from collections.abc import Iterator, Mapping, Sequence

from arvados_fuse.errors import ManifestError
from arvados_fuse.keep.connections import BlockResponse
from arvados_fuse.keep.exchange import Exchange
from arvados_fuse.keep.locators import Locator, parse_locator
from arvados_fuse.keep.services import Service
from arvados_fuse.keep.verdicts import (
    TryFailed,
    Verdict,
    transport_failure,
    write_status_failure,
)

__all__ = ["Placement"]

_LONGEST_ANSWER = 4096
"""Bytes of an answer that are read: many times those of a locator."""

_CONFIRMED = re.compile(r"\s*([^=,\s]+)\s*=\s*(\d{1,9})\s*", re.ASCII)


class Placement:
    """What has become of a block that is being stored. Threads: every method from any thread.

    block: its hash and size
    """

    def __init__(self, block: Locator, classes: Sequence[str], replicas: int) -> None:
        self.block = block
        self._replicas = replicas
        self._lock = threading.Lock()
        self._stored = 0
        self._confirmed = dict.fromkeys(classes, 0)
        self._tracks_classes = True
        self._locator = ""
        self._done: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether enough copies are stored, in every storage class."""
        with self._lock:
            return self._stored >= self._replicas and not self._missing_classes()

    @property
    def locator(self) -> str:
        """The signed locator that a service gave; "" before one did."""
        return self._locator

    @property
    def tracks_classes(self) -> bool:
        """Whether every service so far has said which storage classes it has stored."""
        return self._tracks_classes

    @property
    def shortage(self) -> str:
        """What is missing, in words."""
        with self._lock:
            words = f"{self._stored} of {self._replicas} copies are stored"
            if missing := self._missing_classes():
                words += f", too few in storage class {', '.join(missing)}"
            return words

    def headers(self) -> dict[str, str]:
        """What a service has to be told."""
        with self._lock:
            headers = {"X-Keep-Desired-Replicas": str(self._replicas)}
            if missing := self._missing_classes():
                headers["X-Keep-Storage-Classes"] = ", ".join(missing)
            return headers

    def waves(self, services: Sequence[Service]) -> Iterator[list[Service]]:
        """Those to ask at the same time, again and again until enough is stored or all were asked.

        Services that have stored it are not asked again.
        """
        with self._lock:
            candidates = [each for each in services if each.url_base not in self._done]
        in_parallel = all(each.kind == "disk" for each in services)
        while candidates and not self.is_complete:
            count = self._missing_copies() if in_parallel else 1
            yield candidates[:count]
            del candidates[:count]

    def is_done(self, service: Service) -> bool:
        """Whether a service has stored what it can."""
        return service.url_base in self._done

    def receive(self, service: Service, exchange: Exchange) -> None:
        """Take a service's answer. Raises TryFailed."""
        response = exchange.response
        if response.status // 100 != 2:
            exchange.is_reusable = not response.is_early
            raise write_status_failure(response.status)
        try:
            answer = response.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise transport_failure(error) from error
        if response.length and len(answer) < _LONGEST_ANSWER:
            raise TryFailed(Verdict.UNREACHABLE, "the connection broke in its answer")
        exchange.is_reusable = not response.is_early
        locator = self._checked_locator(answer)
        with self._lock:
            self._locator = locator
            self._done.add(service.url_base)
            self._stored += _number_of_replicas(response)
            confirmed = response.headers.get("X-Keep-Storage-Classes-Confirmed")
            if confirmed is None:
                self._tracks_classes = False
            else:
                self._confirm(_confirmed_classes(confirmed))

    def _checked_locator(self, answer: bytes) -> str:
        """The locator in an answer, which must be of this block. Raises TryFailed."""
        try:
            locator = answer.decode("ascii").strip()
            block = parse_locator(locator)
        except (UnicodeDecodeError, ManifestError):
            raise TryFailed(Verdict.ERROR, "its answer is no locator", permanent=True) from None
        if block.name != self.block.name:
            raise TryFailed(Verdict.ERROR, "it answered for another block", permanent=True)
        return locator

    def _confirm(self, confirmed: Mapping[str, int]) -> None:
        for name in self._confirmed:
            self._confirmed[name] += confirmed.get(name, 0)

    def _missing_classes(self) -> list[str]:
        if not self._tracks_classes:
            return []
        return [name for name, copies in self._confirmed.items() if copies < self._replicas]

    def _missing_copies(self) -> int:
        with self._lock:
            return max(1, self._replicas - self._stored)


def _number_of_replicas(response: BlockResponse) -> int:
    """How many copies a service has stored; one where it does not say."""
    text = response.headers.get("X-Keep-Replicas-Stored", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 1


def _confirmed_classes(header: str) -> dict[str, int]:
    """Copies by storage class, from ``a=1, b=2``; what makes no sense confirms nothing."""
    matches = map(_CONFIRMED.fullmatch, header.split(","))
    return {match[1]: int(match[2]) for match in matches if match}
