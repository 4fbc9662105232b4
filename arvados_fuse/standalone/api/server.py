"""The REST API on the network: reads requests, lets threads answer them, sends the answers."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from aiohttp import web

from arvados_fuse.standalone.api import routes
from arvados_fuse.standalone.api.errors import ApiError, ClientGone, TooLarge
from arvados_fuse.standalone.api.service import ApiService, Request, effective_method, error_reply
from arvados_fuse.standalone.pace import whole_body

__all__ = ["ApiServer", "operation_name"]


def operation_name(request: web.BaseRequest) -> str:
    """Return a name for what a request asks for, like "GET /arvados/v1/collections/{uuid}"."""
    method = effective_method(request.method, request.headers)
    try:
        path = routes.match(method, request.path).template
    except ApiError:
        path = request.path
    return f"{method} {path}"


class ApiServer:
    """Serves an ApiService. `threads` run its calls."""

    def __init__(self, service: ApiService, threads: Executor, max_request_size: int) -> None:
        self._service = service
        self._threads = threads
        self._max_request_size = max_request_size

    def add_routes(self, app: web.Application) -> None:
        """Let `app` send every request here."""
        app.router.add_route("*", "/{path:.*}", self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        request_id = request.headers.get("X-Request-Id", "-")
        too_large = TooLarge(f"Request body is larger than {self._max_request_size} bytes")
        if (request.content_length or 0) > self._max_request_size:
            reply = error_reply(too_large, request_id)
        else:
            try:
                body = await whole_body(request)
            except web.HTTPRequestEntityTooLarge:
                reply = error_reply(too_large, request_id)
            except (ConnectionError, web.RequestPayloadError):
                reply = error_reply(ClientGone("The client has gone"), request_id)
            else:
                # As the client wrote them: quoting matters in locators and filters.
                path, _, query = request.raw_path.partition("?")
                peer = request.remote or ""
                parts = Request(request.method, path, query, request.headers, body, peer)
                loop = asyncio.get_running_loop()
                reply = await loop.run_in_executor(self._threads, self._service.handle, parts)
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
