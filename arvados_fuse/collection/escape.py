r"""Names as a manifest writes them: ``\ooo`` stands for one byte.

The Arvados documentation ("Manifest format") asks for the escape of bytes 0x00 to 0x20 and of the
backslash. A colon is escaped as well when we write, since old readers stumble over it.
"""

import re
from functools import lru_cache

__all__ = ["escape", "unescape"]

_RUN_OF_ESCAPES = re.compile(r"(?:\\[0-3][0-7]{2})+")
_SHORT = 16  # characters of a run that is worth remembering: four escapes
# The last range is how Python spells bytes that are not UTF-8 (PEP 383, "surrogateescape").
_TO_ESCAPE = re.compile("[\x00-\x20\\\\:\udc80-\udcff]")


def unescape(token: str) -> str:
    r"""The text that ``token`` stands for.

    ``\ooo`` (three octal digits, the first 0 to 3) is one byte. A run of escapes is decoded as
    UTF-8; bytes that are not UTF-8 become what ``os.fsdecode`` makes of them. A backslash that
    begins no escape stands for itself.
    """
    return _RUN_OF_ESCAPES.sub(_unescaped, token) if "\\" in token else token


def escape(name: str) -> str:
    r"""``name`` as a manifest writes it; ``unescape`` gives it back.

    Bytes 0x00 to 0x20, backslash and colon become ``\ooo``, and so do bytes that are not UTF-8 (a
    manifest is UTF-8). Everything else stays, the separator "/" too.
    """
    return _TO_ESCAPE.sub(_encode, name)


def _unescaped(match: re.Match[str]) -> str:
    run = match.group()
    return _decode_short(run) if len(run) <= _SHORT else _decode(run)


def _decode(run: str) -> str:
    octal = run.split("\\")[1:]
    return bytes([int(digits, 8) for digits in octal]).decode("utf-8", "surrogateescape")


# In a directory of many names with escapes, the same few escapes come over and over.
_decode_short = lru_cache(maxsize=1024)(_decode)


def _encode(character: re.Match[str]) -> str:
    return f"\\{ord(character.group()) & 0xFF:03o}"
