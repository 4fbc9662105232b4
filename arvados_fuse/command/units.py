"""Sizes and durations as people read them."""

from __future__ import annotations

__all__ = ["duration_text", "size_text"]


def size_text(size: float) -> str:
    """Return a number of bytes, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(time_s: float) -> str:
    """Return a time in the two units that matter."""
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
