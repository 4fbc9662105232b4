"""From an HTTP request to its answer, in one plain function call; any number run at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from arvados_fuse.standalone import clock
from arvados_fuse.standalone.api import auth, decode, discovery, routes
from arvados_fuse.standalone.api.errors import ApiError, Forbidden, Unauthorized
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.api.tokens import CURRENT_TOKEN
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.randoms import base36
from arvados_fuse.standalone.records.access import Caller
from arvados_fuse.standalone.records.token_use import TokenUse

__all__ = ["ApiService", "Reply", "Request", "effective_method", "error_reply"]

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_JSON_TYPE = "application/json; charset=utf-8"
_MOST_READER_TOKENS = 100
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Http-Method-Override",
    "Access-Control-Max-Age": "86400",
}


class Request(NamedTuple):
    """The parts of an HTTP request.

    headers: does not care about case
    path: still quoted
    peer: the address of the client
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: str = ""


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def effective_method(method: str, headers: Mapping[str, str], form_value: Any = None) -> str:
    """Return the HTTP method that is meant. A POST can stand for any other one.

    (Arvados documentation, "REST API syntax", "Method override".)
    """
    if method != "POST":
        return method
    return str(form_value or headers.get("X-Http-Method-Override") or method).upper()


def error_reply(error: ApiError, request_id: str) -> Reply:
    """Return the answer that tells a client about `error`."""
    answer = {"errors": [f"{error} ({request_id})"], "error_token": request_id}
    body = json.dumps(answer).encode()
    return _reply(error.status, body, request_id)


def _reply(status: int, body: bytes, request_id: str, **more: str) -> Reply:
    headers = {"Content-Type": _JSON_TYPE, "X-Request-Id": request_id, **_CORS, **more}
    return Reply(status, headers, body)


class ApiService:
    """Answers requests to the API of one cluster. Safe to use from several threads."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._token_use = TokenUse(core.database)
        document = discovery.discovery_document(core, routes.METHODS)
        self._discovery = json.dumps(document).encode()
        self._discovery_etag = f'"{hashlib.md5(self._discovery).hexdigest()}"'

    def handle(self, request: Request) -> Reply:
        """Answer one request, whatever it is."""
        request_id = request.headers.get("X-Request-Id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = f"req-{base36(20)}"
        try:
            if request.method == "OPTIONS":
                return _reply(200, b"", request_id)
            if request.path == discovery.DISCOVERY_PATH and request.method in ("GET", "HEAD"):
                return self._discovery_reply(request, request_id)
            result = self._result(request)
            return _reply(200, json.dumps(result).encode(), request_id)
        except ApiError as error:
            return error_reply(error, request_id)
        except Exception:
            logger.exception("%s %s failed (%s)", request.method, request.path, request_id)
            return error_reply(ApiError("Internal error; the log has details"), request_id)

    def identify(self, token: str) -> Caller | None:
        """Return the caller that `token` stands for, if it is valid now."""
        with self._core.database.read() as db:
            return auth.identify(db, token, clock.now())

    def _discovery_reply(self, request: Request, request_id: str) -> Reply:
        headers = {"ETag": self._discovery_etag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == self._discovery_etag:
            return _reply(304, b"", request_id, **headers)
        return _reply(200, self._discovery, request_id, **headers)

    def _result(self, request: Request) -> Any:
        arguments = decode.decode_arguments(
            request.query, request.headers.get("Content-Type", ""), request.body
        )
        form_value = None if arguments.flat else arguments.values.get("_method")
        http_method = effective_method(request.method, request.headers, form_value)
        found = routes.match(http_method, request.path)
        method = found.method
        caller = self.identify(auth.token_anywhere(request.headers, arguments.values))
        if caller is None and not method.anonymous:
            raise Unauthorized("Not logged in: the request has no token that is valid here")
        if caller:
            self._token_use.note(caller.token_uuid, request.peer, clock.now())
        is_limited = method is not CURRENT_TOKEN
        if caller and is_limited and not auth.in_scope(caller, http_method, request.path):
            raise Forbidden("The scopes of this token do not allow this request")
        call = Call(
            core=self._core,
            parameters=decode.parameters_of(method, arguments, found.in_path),
            attributes=arguments.attributes(method),
            identified=caller,
            readers=self._readers(arguments, request) if http_method in ("GET", "HEAD") else (),
            external=request.headers.get("X-External-Client") == "1",
            peer=request.peer,
        )
        return method.run(call)

    def _readers(self, arguments: decode.Arguments, request: Request) -> tuple[Caller, ...]:
        """Return on whose behalf else a request reads: those that its `reader_tokens` stand for."""
        tokens = decode.texts(arguments.values.get("reader_tokens"))
        callers = map(self.identify, tokens[:_MOST_READER_TOKENS])
        return tuple(c for c in callers if c and auth.in_scope(c, "GET", request.path))
