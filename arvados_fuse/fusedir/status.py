"""The file in which a mount says how it is."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from arvados_fuse.fusefile import StringFile

if TYPE_CHECKING:
    from arvados_fuse.api import Record
    from arvados_fuse.fresh import Parent

__all__ = ["MOUNT_RECORD", "StatusFile"]

MOUNT_RECORD = ".arvados#mount"
"""Its name, in the root of the mount. It is found by name and not listed."""


class StatusFile(StringFile):
    """The state of the mount as it was when the name was looked up.

    As with the records of the cluster, each look-up makes another file, which the kernel may not
    remember. Nobody outside of this process is asked for it.
    """

    __slots__ = ()

    transient = True

    def __init__(self, parent: Parent, record: Record) -> None:
        text = json.dumps(record, indent=4) + "\n"
        super().__init__(parent, MOUNT_RECORD, text, time.time_ns())
        self.valid_until = float("-inf")
