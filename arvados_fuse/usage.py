"""How our commands talk: what was asked for, and in one line what was wrong with the arguments."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

__all__ = ["ArgumentParser", "OutputError", "say"]


class ArgumentParser(argparse.ArgumentParser):
    """A parser that says what is wrong, and where to read more.

    argparse itself prints the usage first, which has so many options that the one line that
    matters is lost below it.
    """

    def error(self, message: str) -> NoReturn:
        """End the process with code 2, as argparse does."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class OutputError(Exception):
    """Standard output takes nothing; the message says why."""


def say(text: str) -> None:
    """Print a line to standard output. That nobody reads it any more is no error.

    Raises OutputError.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # What is in the buffer would fail once more at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"cannot write to standard output: {error.strerror}") from None
