"""What readdir shows: names and inode numbers, directories first."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Listing"]


class Listing(NamedTuple):
    """The entries of a directory at one moment. Position n of a number belongs to name n.

    directories, directory_inodes: the entries that are directories
    files, file_inodes: the entries that are files
    """

    directories: Sequence[str]
    directory_inodes: Sequence[int]
    files: Sequence[str]
    file_inodes: Sequence[int]

    def more(self) -> bool:
        """Whether there are more entries now: never."""
        return False
