"""Frames of websockets as a server sends them (RFC 6455, section 5.2)."""

from __future__ import annotations

import struct

__all__ = ["text_frame"]

_FINAL_TEXT = 0x81


def text_frame(payload: bytes) -> bytes:
    """Return the one frame of a message; `payload` is UTF-8."""
    size = len(payload)
    if size < 126:
        header = struct.pack("!BB", _FINAL_TEXT, size)
    elif size < 1 << 16:
        header = struct.pack("!BBH", _FINAL_TEXT, 126, size)
    else:
        header = struct.pack("!BBQ", _FINAL_TEXT, 127, size)
    return header + payload
