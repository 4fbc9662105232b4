"""Which cluster to use, the one that is configured or the embedded one, and how to reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import arvados.config
import arvados.util

from arvados_fuse.api import ArvadosCluster
from arvados_fuse.command import owners
from arvados_fuse.command.problem import CommandError
from arvados_fuse.command.settings_file import complaint
from arvados_fuse.keep.client import KeepClient
from arvados_fuse.keep.services import ServiceList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from arvados_fuse.api import Record
    from arvados_fuse.metrics import Metrics

__all__ = ["Access", "access_to", "connect", "current_token", "keep_clients"]

START_TIME_LIMIT_S = 60.0
"""How long the embedded cluster may take to start; its first start makes keys and the sample."""

_NEEDED = ("ARVADOS_API_HOST", "ARVADOS_API_TOKEN")


class Access(NamedTuple):
    """How to reach a cluster.

    host: of the API, as HOST or HOST:PORT
    keep_services, keep_proxy: URLs that replace what the cluster says about Keep; usually empty
    holds: whatever has to live as long as the cluster is needed
    """

    host: str
    token: str
    insecure: bool
    keep_services: str
    keep_proxy: str
    holds: object = None


def _configured() -> Access:
    """Read the settings as all Arvados clients do: environment first, then settings.conf.

    Raises CommandError if there are none, the file cannot be read, or no token could look like
    that. (Arvados documentation, "Getting an API token".)
    """
    settings = arvados.config.settings()
    # A line feed comes with what was read from a file, and has no place in the header of a request.
    host, token = (settings.get(name, "").strip() for name in _NEEDED)
    missing = [name for name, value in zip(_NEEDED, (host, token), strict=True) if not value]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise CommandError(
            complaint()
            or f"{' and '.join(missing)} not set. Set {them} in the environment or in"
            " ~/.config/arvados/settings.conf, or use --standalone for a cluster of your own."
        )
    if not (token.isascii() and token.isprintable()):
        raise CommandError(
            "ARVADOS_API_TOKEN has characters that no token has: copy it again, in one line."
        )
    return Access(
        host=host,
        token=token,
        insecure=arvados.config.flag_is_true("ARVADOS_API_HOST_INSECURE"),
        keep_services=settings.get("ARVADOS_KEEP_SERVICES", ""),
        keep_proxy=settings.get("ARVADOS_KEEP_PROXY", ""),
    )


def access_to(standalone_dir: Path | None) -> Access:
    """Return how to reach the cluster that is wanted: an embedded one, or that of the settings.

    Raises CommandError.
    """
    return _configured() if standalone_dir is None else _embedded(standalone_dir)


def connect(
    access: Access, *, retries: int, metrics: Metrics, filters: Sequence[Any] = ()
) -> ArvadosCluster:
    """Reach a cluster. filters: of its listings. Raises the errors of `api.Cluster`."""
    return ArvadosCluster(
        access.host,
        access.token,
        insecure=access.insecure,
        retries=retries,
        metrics=metrics,
        filters=filters,
    )


def keep_clients(
    access: Access,
    list_services: Callable[[], Sequence[Record]],
    token: Callable[[], str],
    *,
    retries: int,
    metrics: Metrics,
) -> Callable[[], KeepClient]:
    """Return what makes Keep clients of a cluster, which share the list of its services.

    list_services: asks the cluster for them; token: returns the one to use now
    Raises CommandError for settings that make no sense.
    """
    try:
        services = ServiceList(
            list_services, keep_services=access.keep_services, keep_proxy=access.keep_proxy
        )
    except ValueError as error:
        raise CommandError(str(error)) from None
    return lambda: KeepClient(
        services,
        token,
        insecure=access.insecure,
        retries=retries,
        metrics=metrics,
        ca_file=arvados.util.ca_certs_path(),
    )


def current_token() -> str:
    """Read the settings again, and return the token that they have now.

    Raises CommandError if they have none, or make no sense. (What the environment says comes
    first, and cannot change while we run.)
    """
    try:
        arvados.config.initialize()
    except (OSError, ValueError) as error:
        raise CommandError(complaint() or f"The settings cannot be read: {error}.") from None
    return _configured().token


def _embedded(directory: Path) -> Access:
    """Start the embedded cluster of `directory`, or join it if it runs.

    It runs for at least as long as the returned value lives. Raises CommandError with the
    cluster's own reason if it cannot start.
    """
    # Imported late: few mounts need it.
    from arvados_fuse.standalone import launch  # noqa: PLC0415

    try:
        access = launch.ensure_running(directory, sample=True, wait_s=START_TIME_LIMIT_S)
    except launch.LaunchError as error:
        remark = owners.remark(error, directory)
        raise CommandError(
            f"The standalone cluster does not start: {error}{remark}. Its directory can be chosen"
            " with --standalone-dir."
        ) from None
    return Access(access.host, access.token, True, "", "", holds=access)
