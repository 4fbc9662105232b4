"""Which Keep services there are, and in which order a block is looked for.

The list comes from the API server or from the settings; it is asked for once, kept, and asked for
again when somebody says so. Threads: every method may be called from any thread; asking holds a
lock of its own, so that many threads that need the list cause one request.
"""

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from arvados_fuse.errors import FileSystemError

__all__ = ["Service", "ServiceList"]

logger = logging.getLogger(__name__)

_REMOTE_CLUSTER = re.compile(r"K@([a-z0-9]{5})", re.ASCII)
_GATEWAY = re.compile(r"K@([a-z0-9]{5}-bi6l4-[a-z0-9]{15})", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]+", re.ASCII)


class Service(NamedTuple):
    """One Keep service.

    uuid: its identifier; the last 15 characters decide its place in the order
    url_base: ``http://host:port/``, ending in a slash
    kind: ``disk``, ``proxy`` or ``gateway:...``
    read_only: whether it refuses to store blocks
    """

    uuid: str
    url_base: str
    kind: str
    read_only: bool


class ServiceList:
    """The Keep services that this mount may use.

    ask: asks the API server for the records of ``keep_services/accessible`` and may raise any
        FileSystemError; never called when one of the next two is given
    keep_services: the setting ARVADOS_KEEP_SERVICES, URLs with white space between them
    keep_proxy: the setting ARVADOS_KEEP_PROXY, likewise; used when the former is empty

    Raises ValueError when a setting is not a list of http or https URLs.
    """

    def __init__(
        self,
        ask: Callable[[], Iterable[Mapping[str, Any]]],
        *,
        keep_services: str = "",
        keep_proxy: str = "",
    ) -> None:
        self._ask = ask
        self._asking = threading.Lock()
        self._asked_at = 0.0
        self._services: tuple[Service, ...] | None = None
        self._fixed = False
        self._is_old = False  # and the log has it
        for name, value in (
            ("ARVADOS_KEEP_SERVICES", keep_services),
            ("ARVADOS_KEEP_PROXY", keep_proxy),
        ):
            if value.strip():
                self._services = tuple(_from_setting(name, value))
                self._fixed = True
                break

    def for_block(self, block_hash: str, hints: Sequence[str]) -> list[Service]:
        """The services to ask for a block, the most likely one first.

        Services that the locator's ``K@`` hints name come first. Then come all others except
        gateways, the one with the highest md5 of (block hash + last 15 characters of the service's
        uuid) first (Arvados documentation, "Keep clients"). May ask the API server, and raises
        what that raises.
        """
        services = self._known()
        return _from_hints(hints, services) + _by_weight(block_hash, services)

    def for_new_block(self, block_hash: str) -> list[Service]:
        """The services to give a block to, in the order in which it will be looked for.

        May ask the API server, and raises what that raises.
        """
        return [each for each in _by_weight(block_hash, self._known()) if not each.read_only]

    def prepare(self) -> None:
        """Ask the API server unless that was done already. Raises what that raises."""
        self._known()

    def refresh(self) -> None:
        """Ask again. When that fails the old list stays: it is more likely right than none."""
        if self._fixed:
            return
        try:
            self._load(time.monotonic())
        except FileSystemError as error:
            level = logging.DEBUG if self._is_old else logging.INFO
            self._is_old = True
            logger.log(level, "the list of Keep services cannot be refreshed now: %s", error)

    def _known(self) -> tuple[Service, ...]:
        services = self._services
        return self._load(called_at=0.0) if services is None else services

    def _load(self, called_at: float) -> tuple[Service, ...]:
        """Ask the API server, unless another thread did so since `called_at`."""
        with self._asking:
            if self._services is None or self._asked_at < called_at:
                self._services = tuple(_from_records(self._ask()))
                self._asked_at = time.monotonic()
                self._is_old = False
            return self._services


def _by_weight(block_hash: str, services: Iterable[Service]) -> list[Service]:
    """All services but gateways, the one with the highest weight first."""
    local = [each for each in services if not each.kind.startswith("gateway:")]
    return sorted(local, key=lambda each: _weight(block_hash, each), reverse=True)


def _weight(block_hash: str, service: Service) -> bytes:
    return hashlib.md5((block_hash + service.uuid[-15:]).encode(), usedforsecurity=False).digest()


def _from_hints(hints: Sequence[str], services: Iterable[Service]) -> list[Service]:
    """The services that hints name: the proxy of another cluster, or one of ours by its uuid."""
    named = []
    for hint in hints:
        if match := _REMOTE_CLUSTER.fullmatch(hint):
            url_base = f"https://keep.{match[1]}.arvadosapi.com/"
            named.append(Service(uuid="", url_base=url_base, kind="proxy", read_only=True))
        elif match := _GATEWAY.fullmatch(hint):
            named += [each for each in services if each.uuid == match[1]]
    return named


def _from_records(records: Iterable[Mapping[str, Any]]) -> Iterable[Service]:
    """Services from the API server's records; one that makes no sense is logged and left out."""
    for record in records:
        match record:
            case {"uuid": str(uuid), "service_host": str(host), "service_port": int(port)} if (
                _HOST.fullmatch(host) and 0 < port < 65536
            ):
                scheme = "https" if record.get("service_ssl_flag") else "http"
                shown_host = f"[{host}]" if ":" in host and not host.startswith("[") else host
                yield Service(
                    uuid=uuid,
                    url_base=f"{scheme}://{shown_host}:{port}/",
                    kind=str(record.get("service_type") or "disk"),
                    read_only=bool(record.get("read_only")),
                )
            case _:
                logger.warning("a Keep service record makes no sense and is left out: %r", record)


def _is_address(url: str) -> bool:
    """Whether it is a URL that can be connected to."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is no number, or of half an IPv6 address
        return False


def _from_setting(name: str, value: str) -> Iterable[Service]:
    """Services from a setting. They have no uuids: their place in the list stands for one."""
    for number, url in enumerate(value.split()):
        if not _is_address(url):
            raise ValueError(
                f"{name} must hold URLs such as https://keep.example.com:443/, and {url!r} is none"
            )
        yield Service(
            uuid=f"zzzzz-bi6l4-{number:015d}",
            url_base=url if url.endswith("/") else url + "/",
            kind="proxy",
            read_only=False,
        )
