"""How many copies of a block there shall be, and in which storage classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from arvados_fuse.api import Desired

__all__ = ["Copies", "Standard"]


class Copies(NamedTuple):
    """What is asked of Keep for a block.

    classes: each of them shall have the copies; empty for those that the cluster chooses
    """

    replicas: int
    classes: tuple[str, ...]

    def include(self, wanted: Copies) -> bool:
        """Whether a block that was stored with these has all that are wanted."""
        if self.replicas < wanted.replicas:
            return False
        if not wanted.classes:
            return not self.classes  # who knows whether ours are those of the cluster's choice
        return set(wanted.classes) <= set(self.classes)


class Standard(NamedTuple):
    """What a mount asks for.

    replicas: where a collection does not say, as the cluster wants it
    classes: of `--storage-classes`, which come before those that a collection wants; empty without
    """

    replicas: int
    classes: tuple[str, ...]

    def copies(self, desired: Desired | None) -> Copies:
        """Return what to ask for a collection. desired: None if what it wants is not known."""
        if desired is None:
            return Copies(self.replicas, self.classes)
        return Copies(desired.replicas or self.replicas, self.classes or desired.classes)
