"""What is wrong with the file settings.conf, in a sentence.

The client library reads it. It raises something when a line makes no sense, and takes a file that
it cannot read for none; neither says which file it was, or where in it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["complaint"]


def complaint() -> str | None:
    """Say what is wrong with the settings file that is used; None if nothing is, or there is none.

    (Arvados documentation, "Configuring SDK environment".)
    """
    for directory in _directories():
        path = directory / "settings.conf"
        try:
            lines = path.read_text().split("\n")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except UnicodeDecodeError as error:
            return f"The settings file {path} is not text in {error.encoding}."
        except OSError as error:
            return f"The settings file {path} cannot be read: {error.strerror}."
        for number, line in enumerate(lines, 1):
            # Not the line itself, which may hold a token.
            if not _is_setting(line):
                return (
                    f"The settings file {path} has a line, number {number}, that is not NAME=VALUE."
                )
        return None
    return None


def _directories() -> Iterator[Path]:
    """Yield where the file may be, in the order in which it is looked for."""
    yield from _absolute(os.environ.get("CONFIGURATION_DIRECTORY", ""))
    home = os.environ.get("XDG_CONFIG_HOME", "")
    for path in [*_absolute(home)] or [Path(os.path.expanduser("~/.config"))]:
        yield path / "arvados"
    for path in _absolute(os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"):
        yield path / "arvados"


def _absolute(paths: str) -> Iterator[Path]:
    """Yield paths that stand in a variable with colons between them; relative ones do not count."""
    return (Path(path) for path in paths.split(":") if os.path.isabs(path))


def _is_setting(line: str) -> bool:
    text = line.strip()
    return not text or text.startswith("#") or text.count("=") == 1
