"""Connections that listen to the event stream of a cluster, as cheap as they can be.

What arrives is decrypted and dropped, so that a thousand of them leave something of the processor
to what is measured.
"""

import asyncio
import base64
import json
import multiprocessing
import os
import resource
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

NICENESS = 15
SUBSCRIBE = json.dumps({"method": "subscribe", "filters": []}).encode()
MOST_FILES = 20_000


class Listener(asyncio.Protocol):
    """One connection. `subscribed` is done when the server has answered; counts the bytes."""

    def __init__(self, host: str, path: str, token: str) -> None:
        self.subscribed = asyncio.get_running_loop().create_future()
        self.size = 0
        self.is_lost = False
        self._request = f"GET {path}?api_token={token} HTTP/1.1\r\nHost: {host}\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a websocket, and on it for all events."""
        assert isinstance(transport, asyncio.Transport)
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        transport.write(f"{self._request}{upgrade}Sec-WebSocket-Key: {key}\r\n\r\n".encode())
        # A mask of zeros leaves the text as it is.
        transport.write(struct.pack("!BBI", 0x81, 0x80 | len(SUBSCRIBE), 0) + SUBSCRIBE)

    def data_received(self, data: bytes) -> None:
        """Count it."""
        self.size += len(data)
        if not self.subscribed.done() and b'"status"' in data:
            self.subscribed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it was cut off."""
        self.is_lost = True


async def listen(url: str, tokens: Sequence[str], pipe: Connection) -> None:
    """Listen with each token until something comes from `pipe`; tell it what was received."""
    parts = urlsplit(url)
    insecure = ssl.create_default_context()
    insecure.check_hostname = False
    insecure.verify_mode = ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    listeners = []
    for token in tokens:
        _, listener = await loop.create_connection(
            lambda token=token: Listener(parts.netloc, parts.path, token),
            parts.hostname,
            parts.port,
            ssl=insecure,
        )
        await listener.subscribed
        listeners.append(listener)
    pipe.send(None)
    await asyncio.to_thread(pipe.recv)
    pipe.send((sum(one.size for one in listeners), sum(one.is_lost for one in listeners)))


def listen_in_process(url: str, tokens: Sequence[str], pipe: Connection) -> None:
    """Listen, in a process that leaves the processor to others."""
    os.nice(NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MOST_FILES), hard))
    asyncio.run(listen(url, tokens, pipe))


@contextmanager
def listening(url: str, tokens: Sequence[str]) -> Iterator[None]:
    """Have a listener for each token as long as the block lasts; then say what they received."""
    if not tokens:
        yield
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=listen_in_process, args=(url, tokens, theirs), daemon=True)
    process.start()
    theirs.close()
    ours.recv()
    yield
    ours.send(None)
    size, lost = ours.recv()
    process.join()
    print(f"    {len(tokens)} listeners received {size / 1e6:.0f} MB, {lost} were cut off")
