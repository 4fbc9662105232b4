"""Time as the API writes it: UTC, RFC 3339, nine fractional digits and ``Z``.

All timestamps in the database have this one form, so comparing them as text compares times.
(Arvados documentation, "Common resource fields".)
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import ciso8601

__all__ = ["now", "plus", "seconds", "timestamp"]


def _text(moment: datetime) -> str:
    # Years below 1000 need the padding that strftime does not give everywhere.
    return moment.isoformat(timespec="microseconds")[:26] + "000Z"


def now() -> str:
    """Return the present, to the microsecond."""
    return _text(datetime.now(timezone.utc))


def timestamp(value: str) -> str:
    """Bring a timestamp that a client sent into our form. Raises ValueError if it is none."""
    moment = ciso8601.parse_datetime(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        return _text(moment.astimezone(timezone.utc))
    except OverflowError as error:
        raise ValueError(f"{value} is out of range") from error


def plus(moment: str, delta_s: float) -> str:
    """Return the timestamp `delta_s` seconds after `moment`."""
    return _text(ciso8601.parse_datetime(moment) + timedelta(seconds=delta_s))


def seconds(moment: str) -> float:
    """Return a timestamp as Unix time in seconds."""
    return float(ciso8601.parse_datetime(moment).timestamp())
