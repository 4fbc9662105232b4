"""What directories need in order to change something."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arvados_fuse.api.writing import ClusterWriting
    from arvados_fuse.commit.committer import Committer

__all__ = ["Writing", "conflict_name"]


@dataclass(frozen=True, slots=True)
class Writing:
    """What the directories of a mount that can be written to share.

    committer: the collections that are being changed
    cluster: changes of other kinds
    classes: storage classes of new collections; empty for the cluster's default
    """

    committer: Committer
    cluster: ClusterWriting
    classes: tuple[str, ...]


def conflict_name(name: str) -> str:
    """Return what a file is called from now on when others have given its name to another.

    The official driver's form, with the name of this machine added.
    """
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{name}~{moment}-{socket.gethostname()}~conflict~"
