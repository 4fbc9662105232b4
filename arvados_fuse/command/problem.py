"""The error that ends the command with one line for the person who typed it."""

__all__ = ["EXIT_UNSAVED", "CommandError"]

EXIT_UNSAVED = 75
"""Exit code when something written could not be saved (sysexits.h: EX_TEMPFAIL)."""


class CommandError(Exception):
    """A reason why the command cannot do what it was asked.

    The message is one line that says what is wrong and what to do; `exit_code` ends the process.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
