"""What the machine allows without a file system: plain transfers and checksums in parallel."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

__all__ = ["BLOCK_SIZE", "Keep", "md5_s", "seconds"]

BLOCK_SIZE = 64 << 20
CONNECTIONS = 4
PIECE_SIZE = 1 << 20


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Keep:
    """A Keep service, used by the standard library's client and nothing more."""

    def __init__(self, url: str, token: str) -> None:
        """Use the service at `url` with a token."""
        self._host = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}"}

    def get_all(self, locators: list[str]) -> None:
        """Download blocks over CONNECTIONS connections, into the same memory again and again."""

        def get_share(number: int) -> None:
            connection = http.client.HTTPConnection(self._host)
            buffer = bytearray(PIECE_SIZE)
            for locator in locators[number::CONNECTIONS]:
                response = self._ask(connection, locator)
                while response.readinto(buffer):
                    pass
            connection.close()

        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(get_share, range(CONNECTIONS)))

    def first_bytes_s(self, locator: str, size: int) -> float:
        """Seconds until the first `size` bytes of a block are here, on a new connection."""
        connection = http.client.HTTPConnection(self._host)
        try:
            return seconds(lambda: self._ask(connection, locator).read(size))
        finally:
            connection.close()

    def put_all(self, content: bytes, count: int) -> list[str]:
        """Hash and upload `count` blocks that nobody has seen, over CONNECTIONS connections.

        content: of the blocks, but for their first bytes, which are made up
        Returns their signed locators.
        """
        first = random.randbytes(8)

        def put_share(share: int) -> list[str]:
            connection = http.client.HTTPConnection(self._host)
            block = bytearray(content)
            locators = []
            for number in range(share, count, CONNECTIONS):
                block[:16] = first + number.to_bytes(8, "big")
                block_hash = hashlib.md5(block).hexdigest()
                connection.request("PUT", f"/{block_hash}", block, self._headers)
                response = connection.getresponse()
                answer = response.read().decode()
                if response.status != http.client.OK:
                    raise OSError(f"Keep answered {response.status}: {answer}")
                locators.append(answer.strip())
            connection.close()
            return locators

        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return [each for share in threads.map(put_share, range(CONNECTIONS)) for each in share]

    def _ask(
        self, connection: http.client.HTTPConnection, locator: str
    ) -> http.client.HTTPResponse:
        connection.request("GET", f"/{locator}", headers=self._headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise OSError(f"Keep answered {response.status}")
        return response


def md5_s(count: int) -> float:
    """Seconds in which all processors hash `count` blocks."""
    block = os.urandom(PIECE_SIZE) * (BLOCK_SIZE // PIECE_SIZE)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return seconds(lambda: list(threads.map(hashlib.md5, [block] * count)))
