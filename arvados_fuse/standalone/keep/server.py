"""The Keep service: writes and reads blocks over HTTP.

(Arvados documentation, "Keep", and the behaviour of keepstore.)
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from aiohttp import web

from arvados_fuse.standalone.authorization import token_of_header
from arvados_fuse.standalone.faults import CLOCK_SKEW
from arvados_fuse.standalone.keep.blocks import BlockCollision, BlockStore, Incoming
from arvados_fuse.standalone.keep.locator import Locator, parse_locator
from arvados_fuse.standalone.keep.response import HELD_BACK_SIZE, BlockResponse
from arvados_fuse.standalone.keep.upload import Upload
from arvados_fuse.standalone.limits import MAX_BLOCK_SIZE, Limits
from arvados_fuse.standalone.manifest_text import EMPTY_HASH
from arvados_fuse.standalone.pace import pieces_of_body, whole_body
from arvados_fuse.standalone.signatures import BlobSigner, SignatureExpired, SignatureInvalid

__all__ = ["KeepServer"]

logger = logging.getLogger(__name__)

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Keep-Desired-Replicas",
}

_SMALL_SIZE = 256 << 10
"""Bytes up to which a block is stored when all of it is here, in one go: for so few, every change
from the event loop to a thread and back takes longer than to write and hash them."""

_T = TypeVar("_T")


class _Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class KeepServer:
    """Serves the blocks of `store`. `threads` do everything that reads or writes a disk."""

    def __init__(
        self, store: BlockStore, signer: BlobSigner, limits: Limits, threads: Executor
    ) -> None:
        self._store = store
        self._signer = signer
        self._limits = limits
        self._threads = threads

    def add_routes(self, app: web.Application) -> None:
        """Let `app` send every request here."""
        app.router.add_route("*", "/{path:.*}", self._handle, expect_handler=self._expected)

    async def _expected(self, request: web.Request) -> web.StreamResponse | None:
        """Answer ``Expect: 100-continue``: say at once if the body is not wanted."""
        try:
            if request.method == "PUT":
                _check_size(request.content_length)
        except _Refused as refusal:
            return _refusal(refusal)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What has been sent so far is not part of the answer.
        request.writer.output_size = 0
        return None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            if request.method == "OPTIONS":
                return web.Response(headers=_CORS)
            # Some clients make a URL of "http://host/" and "/locator".
            locator = parse_locator(request.path.lstrip("/"))
            if request.method == "PUT":
                locator = parse_locator(request.path.lstrip("/")[:32])
            if locator is None or request.method not in ("GET", "HEAD", "PUT"):
                raise _Refused(400, "Bad Request")
            if request.method == "PUT":
                return await self._put(request, locator.block_hash)
            return await self._get(request, locator)
        except _Refused as refusal:
            return _refusal(refusal)
        except (ConnectionError, web.RequestPayloadError):
            return _refusal(_Refused(499, "The client has gone"))
        except OSError as error:
            logger.error("%s %s failed: %s", request.method, request.path[1:33], error)
            return _refusal(_Refused(500, f"Disk error: {error.strerror}"))

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    # Reading

    async def _get(self, request: web.Request, locator: Locator) -> web.StreamResponse:
        wants_body = request.method == "GET"
        if wants_body and locator.size is None and locator.block_hash != EMPTY_HASH:
            raise _Refused(405, "Method not allowed: the locator has no size")
        token = token_of_header(request.headers.get("Authorization", ""))
        self._check_signature(locator, token, _now(request))
        response = await self._in_thread(self._opened, locator, wants_body)
        response.headers["Vary"] = "X-Keep-Signature"
        response.content_type = "application/octet-stream"
        return response

    def _check_signature(self, locator: Locator, token: str, now: float) -> None:
        if locator.is_remote:
            raise _Refused(400, "Unknown remote cluster in the locator")
        if not token:
            raise _Refused(401, "No token in the request")
        try:
            self._signer.verify(locator.text, token, now)
        except SignatureInvalid as error:
            raise _Refused(400, f"Bad signature: {error}") from None
        except SignatureExpired as error:
            raise _Refused(401, f"Expired signature: {error}") from None

    def _opened(self, locator: Locator, wants_body: bool) -> web.StreamResponse:
        """Return the answer to a GET or HEAD of an existing block.

        What is small, or not sent at all, is checked here; the rest while it is being sent.
        """
        block_hash = locator.block_hash
        try:
            file = self._store.open(block_hash)
        except FileNotFoundError:
            raise _Refused(404, "Not Found") from None
        try:
            size = os.fstat(file.fileno()).st_size
            is_verified = self._store.is_verified(block_hash, file.fileno())
            fits = locator.size in (None, size)
            if not is_verified and (size <= HELD_BACK_SIZE or not wants_body or not fits):
                is_verified = self._store.verify(block_hash, file.fileno())
                if not is_verified:
                    logger.error("block %s fails its checksum", block_hash)
                    raise _Refused(502, "The stored data fails its checksum")
            if not fits:
                raise _Refused(400, f"The block has another size than {locator.size}")
            if wants_body and size > HELD_BACK_SIZE:
                return BlockResponse(
                    file,
                    size,
                    None if is_verified else lambda fd: self._store.verify(block_hash, fd),
                    self._threads,
                )
            content = file.read() if wants_body else b""
        except BaseException:
            file.close()
            raise
        file.close()
        return web.Response(body=content, headers={"Content-Length": str(size)})

    # Writing

    async def _put(self, request: web.Request, block_hash: str) -> web.StreamResponse:
        size = request.content_length
        _check_size(size)
        classes = self._storage_classes(request.headers.get("X-Keep-Storage-Classes", ""))
        if size is not None and size <= _SMALL_SIZE:
            content = await whole_body(request)
            await self._in_thread(self._store_at_once, content, block_hash)
        else:
            size = await self._store_while_it_comes(request, block_hash)
        locator = f"{block_hash}+{size}"
        token = token_of_header(request.headers.get("Authorization", ""))
        if token:
            expiry_s = int(_now(request)) + self._signer.ttl_s
            locator += self._signer.hint(block_hash, token, expiry_s)
        return web.Response(
            text=locator + "\n",
            headers={
                "X-Keep-Replicas-Stored": "1",
                "X-Keep-Storage-Classes-Confirmed": ", ".join(f"{name}=1" for name in classes),
            },
        )

    def _store_at_once(self, content: bytes, block_hash: str) -> None:
        block = self._store.begin()
        try:
            block.write(content)
            block.digest(content)
            self._keep(block, block_hash)
        finally:
            block.abandon()

    async def _store_while_it_comes(self, request: web.Request, block_hash: str) -> int:
        """Store the body of a request, and return its size in bytes."""
        size = request.content_length
        block = await self._in_thread(self._store.begin)
        try:
            upload = Upload(block, MAX_BLOCK_SIZE if size is None else size, self._threads)
            await self._receive(request, upload)
            await self._in_thread(self._finish, upload, block, block_hash)
        finally:
            await self._in_thread(block.abandon)
        return block.size

    def _storage_classes(self, header: str) -> list[str]:
        """Return those of the storage classes asked for that this service has."""
        only = self._limits.storage_class
        wanted = [name.strip() for name in header.split(",") if name.strip()] or [only]
        if only not in wanted:
            raise _Refused(507, "No volume for any of the storage classes")
        return [only]

    async def _receive(self, request: web.Request, upload: Upload) -> None:
        size = 0
        try:
            async for piece in pieces_of_body(request):
                size += len(piece)
                _check_size(size)
                await upload.add(piece)
        finally:
            await upload.settle()

    def _finish(self, upload: Upload, block: Incoming, block_hash: str) -> None:
        upload.finish()
        self._keep(block, block_hash)

    def _keep(self, block: Incoming, block_hash: str) -> None:
        if block.block_hash != block_hash:
            raise _Refused(400, "The checksum of the body is not the one in the request")
        try:
            self._store.keep(block)
        except BlockCollision as error:
            raise _Refused(500, str(error)) from None


def _check_size(size: int | None) -> None:
    if size is not None and size > MAX_BLOCK_SIZE:
        raise _Refused(413, f"A block cannot be larger than {MAX_BLOCK_SIZE} bytes")


def _refusal(refusal: _Refused) -> web.Response:
    return web.Response(status=refusal.status, text=f"{refusal}\n")


def _now(request: web.Request) -> float:
    """Return the Unix time in seconds, as wrong as a fault rule wants it."""
    return time.time() + float(request.get(CLOCK_SKEW, 0.0))
