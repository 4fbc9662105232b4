"""Every counter of the mount, with its unit, in one place.

Counters are plain integers: adding to one costs an attribute store, and a count that two threads
raise at the same instant may lose one, which statistics can bear and a lock on the hot path
cannot. Readers (crunchstat lines, status files, Prometheus) take what they see.
"""

from dataclasses import dataclass

__all__ = ["UNITS", "Metrics"]


@dataclass(slots=True)
class Metrics:
    """All counters of one mount. Each starts at zero and only grows.

    keep_get_calls: block reads sent to Keep services (requests, retries included)
    keep_get_bytes: bytes of block data received from Keep services
    keep_put_calls: block writes sent to Keep services (requests, retries included)
    keep_put_bytes: bytes of block data sent to Keep services (each copy, retries included)
    cache_hits: blocks asked for that were resident or already on their way
    cache_misses: blocks asked for that had to be fetched or read from the disk cache
    cache_disk_hits: of the misses, blocks that the disk cache had (and that passed their check)
    blocks_corrupt: block contents that failed their checksum, from wherever they came
    api_calls: requests to the REST API
    read_bytes: bytes handed to programs through read()
    write_bytes: bytes taken from programs through write()
    events_received: events that the event bus sent
    events_bad: messages of the event bus that made no sense
    unhandled_errors: requests that ended in EIO because of a defect of ours
    """

    keep_get_calls: int = 0
    keep_get_bytes: int = 0
    keep_put_calls: int = 0
    keep_put_bytes: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_disk_hits: int = 0
    blocks_corrupt: int = 0
    api_calls: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    events_received: int = 0
    events_bad: int = 0
    unhandled_errors: int = 0


UNITS = {
    "keep_get_calls": "requests",
    "keep_get_bytes": "bytes",
    "keep_put_calls": "requests",
    "keep_put_bytes": "bytes",
    "cache_hits": "blocks",
    "cache_misses": "blocks",
    "cache_disk_hits": "blocks",
    "blocks_corrupt": "blocks",
    "api_calls": "requests",
    "read_bytes": "bytes",
    "write_bytes": "bytes",
    "events_received": "events",
    "events_bad": "messages",
    "unhandled_errors": "errors",
}
"""What each counter counts."""
