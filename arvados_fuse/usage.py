"""How our commands say that they were given wrong arguments: in one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

__all__ = ["ArgumentParser"]


class ArgumentParser(argparse.ArgumentParser):
    """A parser that says what is wrong, and where to read more.

    argparse itself prints the usage first, which has so many options that the one line that
    matters is lost below it.
    """

    def error(self, message: str) -> NoReturn:
        """End the process with code 2, as argparse does."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")
