"""Where the cluster listens, and under which name clients reach it."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from arvados_fuse.standalone.core import HOST

__all__ = ["LOCAL", "AddressUnusable", "Network", "is_loopback", "network"]


class AddressUnusable(Exception):
    """An address on which, or a name under which, a cluster cannot be reached."""


class Network(NamedTuple):
    """The place of a cluster in the network.

    address: what it listens on, of IPv4
    host: the name or address that clients use
    """

    address: str
    host: str

    @property
    def warning(self) -> str | None:
        """What to tell who starts a cluster that other machines can reach."""
        if is_loopback(self.address):
            return None
        return (
            f"Other machines can reach this cluster, on {self.address}. Whoever can, may store"
            " blocks in Keep without a token, and so fill the disk. Blocks, and the tokens with"
            " them, cross the network in plain text, and clients do not check who answers. Do"
            " this only in a network in which you trust everybody."
        )


LOCAL = Network(HOST, HOST)
"""For this machine alone."""


def is_loopback(address: str) -> bool:
    """Whether an address, in text, is one that only this machine can have."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def network(listen: str | None, name: str | None) -> Network:
    """Return the network for an address to listen on and a name, either of which may be None.

    Without a name, clients use the address; if that stands for all addresses of this machine, they
    use its host name. Raises AddressUnusable.
    """
    if listen is None:
        if name is not None:
            raise AddressUnusable("a name is of use only together with an address to listen on")
        return LOCAL
    try:
        address = ipaddress.IPv4Address(listen)
    except ValueError:
        raise AddressUnusable(
            f"cannot listen on {listen!r}: it is not an IPv4 address like 192.0.2.1, or 0.0.0.0"
            " for all addresses of this machine"
        ) from None
    if name is None:
        name = socket.gethostname() if address.is_unspecified else str(address)
    _check_name(name)
    return Network(str(address), name)


def _check_name(name: str) -> None:
    try:
        socket.getaddrinfo(name, None, socket.AF_INET)
    except (OSError, UnicodeError):
        raise AddressUnusable(
            f"no IPv4 address belongs to the name {name!r}, so clients could not reach the"
            " cluster under it: say another with --name"
        ) from None
