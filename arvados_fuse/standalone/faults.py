"""Misbehaviour on request, for tests: slow, failing, cut and corrupt answers.

One aiohttp middleware, switched on by ``--faults``, on the ports of both API and Keep. It is told
what to do, and asked what has been requested, on a route of its own:

``PUT /_control``             a JSON list of rules replaces all there are
``DELETE /_control``          no more rules
``GET /_control/requests``    how often each operation was requested
``DELETE /_control/requests`` start to count again

A rule is an object; everything in it may be left out::

    {"route": "keep" or "api", "method": "GET", "path": regular expression,
     "port": number, "times": how often it applies, "latency_s": 0.5, "bytes_per_s": 1000000,
     "status": 503, "cut_after_bytes": 1000, "corrupt": true,
     "clock_skew_s": 3600, "probability": 0.1}

The first rule that fits a request applies to it. `latency_s` passes before anything is done;
`bytes_per_s` limits the speed of the body in both directions; `status` is an answer without doing
anything; `cut_after_bytes` breaks the connection after so many bytes of the answer's body;
`corrupt` flips a bit in the middle of the answer's body; `clock_skew_s` lets Keep's clock be so
many seconds fast when it checks and makes signatures. With `probability` the rule applies to that
share of the requests that it fits, chosen in the same way each time the cluster is started. A
websocket is a request to the API of which only `latency_s` and `status` mean something.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, cast

from aiohttp import web

from arvados_fuse.standalone.authorization import token_of_header
from arvados_fuse.standalone.network import is_loopback
from arvados_fuse.standalone.pace import PACE, Pace

__all__ = [
    "CLOCK_SKEW",
    "CONTROL_PATH",
    "Faults",
    "Rule",
    "RuleInvalid",
    "answer_questions",
    "remote_misbehaviour",
]

CLOCK_SKEW = "clock_skew_s"
"""What a request is marked with: the seconds by which Keep's clock is fast for it."""

CONTROL_PATH = "/_control"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MESSAGE_SIZE = 1 << 16
_PIECE_SIZE = 1 << 20
"""A changed answer is sent in pieces of at most so many bytes."""


class RuleInvalid(ValueError):
    """A rule that makes no sense."""


class _Body(Protocol):
    """The body of an answer; also an answer that sends its body by itself, read instead."""

    async def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


class _HeldBody:
    """The body of an answer that has it in memory."""

    def __init__(self, response: web.Response) -> None:
        self._content = io.BytesIO(cast("bytes", response.body or b""))

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        return self._content.read(size)

    def close(self) -> None:
        """Forget the body."""
        self._content.close()


@dataclass
class Rule:
    """How to misbehave, and when; see the module's text. `times` counts down."""

    route: str | None = None
    method: str | None = None
    path: str | None = None
    port: int | None = None
    times: int | None = None
    latency_s: float = 0.0
    bytes_per_s: float | None = None
    status: int | None = None
    cut_after_bytes: int | None = None
    corrupt: bool = False
    clock_skew_s: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.route not in (None, "keep", "api"):
            raise RuleInvalid(f"route cannot be {self.route!r}")
        if self.bytes_per_s is not None and self.bytes_per_s <= 0:
            raise RuleInvalid("bytes_per_s has to be more than 0")
        if not 0 <= self.probability <= 1:
            raise RuleInvalid("probability has to be between 0 and 1")
        try:
            re.compile(self.path or "")
        except (re.error, TypeError) as error:
            raise RuleInvalid(f"path is not a regular expression: {error}") from None

    @classmethod
    def parse(cls, value: Any) -> Rule:
        """Return the rule that a JSON object describes. Raises RuleInvalid."""
        known = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or not value.keys() <= known:
            raise RuleInvalid(f"{value!r} is not an object with some of {sorted(known)}")
        try:
            return cls(**value)
        except TypeError as error:
            raise RuleInvalid(f"{value!r} has a value of the wrong type: {error}") from None

    def fits(self, route: str, method: str, path: str, port: int) -> bool:
        """Whether the rule still applies, and to this request."""
        return (
            self.times != 0
            and self.route in (None, route)
            and self.method in (None, method)
            and self.port in (None, port)
            and (self.path is None or re.search(self.path, path) is not None)
        )

    @property
    def changes_answer(self) -> bool:
        """Whether the answer is sent in another way than usual."""
        return self.corrupt or self.bytes_per_s is not None or self.cut_after_bytes is not None


class Faults:
    """The rules and the counts, shared by all ports. `may_control` says whether a token may."""

    def __init__(self, may_control: Callable[[str], bool]) -> None:
        self._may_control = may_control
        self._rules: list[Rule] = []
        self._counts: Counter[str] = Counter()
        self._chance = random.Random(0)  # noqa: S311 - to be the same each time

    def middleware(self, route: str, operation: Callable[[web.BaseRequest], str]) -> Any:
        """Return the middleware for the application `route`; `operation` names a request."""

        @web.middleware
        async def misbehave(request: web.Request, handler: _Handler) -> web.StreamResponse:
            if request.path == CONTROL_PATH or request.path.startswith(CONTROL_PATH + "/"):
                return await self._control(request)
            rule = self.decide(route, operation(request), _asked(request))
            if rule is None:
                return await handler(request)
            return await _misbehaving(rule, request, handler)

        return misbehave

    def decide(self, route: str, operation: str, asked: tuple[str, str, int]) -> Rule | None:
        """Count a request, and return the rule that applies to it.

        asked: its method and path, and the port that it came to
        """
        self._counts[operation] += 1
        for rule in self._rules:
            if rule.fits(route, *asked):
                if self._chance.random() >= rule.probability:
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None

    async def _control(self, request: web.Request) -> web.Response:
        if not is_loopback(request.remote or ""):
            raise web.HTTPForbidden(text="Faults are controlled from this machine only\n")
        token = token_of_header(request.headers.get("Authorization", ""))
        if not await asyncio.to_thread(self._may_control, token):
            raise web.HTTPForbidden(text="Only administrators control faults\n")
        if request.path == CONTROL_PATH and request.method in ("PUT", "DELETE"):
            try:
                self._rules = _parsed_rules(await request.read())
            except RuleInvalid as error:
                raise web.HTTPBadRequest(text=f"{error}\n") from None
            return web.json_response({})
        if request.path == f"{CONTROL_PATH}/requests" and request.method in ("GET", "DELETE"):
            counts = dict(self._counts)
            if request.method == "DELETE":
                self._counts.clear()
            return web.json_response(counts)
        raise web.HTTPNotFound(text="No such control\n")


def _asked(request: web.Request) -> tuple[str, str, int]:
    port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
    return request.method, request.path, port


async def answer_questions(faults: Faults, channel: socket.socket) -> None:
    """Decide on requests to a server of the API that is another process, as long as it asks.

    channel: keeps messages apart (SOCK_SEQPACKET)
    """
    loop = asyncio.get_running_loop()
    channel.setblocking(False)
    while question := await loop.sock_recv(channel, _MESSAGE_SIZE):
        method, path, port = json.loads(question)
        rule = faults.decide("api", f"{method} {path}", (method, path, port))
        await loop.sock_sendall(channel, json.dumps(rule and asdict(rule)).encode())


def remote_misbehaviour(channel: socket.socket) -> Any:
    """Return a middleware that asks the other end of `channel` (see `answer_questions`).

    It does what can be done to the beginning of a websocket: `latency_s` and `status`.
    """
    channel.setblocking(False)
    asking = asyncio.Lock()

    @web.middleware
    async def misbehave(request: web.Request, handler: _Handler) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        async with asking:
            await loop.sock_sendall(channel, json.dumps(_asked(request)).encode())
            answer = json.loads(await loop.sock_recv(channel, _MESSAGE_SIZE))
        if answer is None:
            return await handler(request)
        rule = Rule.parse(answer)
        await asyncio.sleep(rule.latency_s)
        return await handler(request) if rule.status is None else _refusal(rule.status)

    return misbehave


def _refusal(status: int) -> web.Response:
    return web.Response(status=status, text=f"Fault injected: {status}\n")


def _parsed_rules(body: bytes) -> list[Rule]:
    try:
        values = json.loads(body or b"[]")
    except ValueError as error:
        raise RuleInvalid(f"not valid JSON: {error}") from None
    if not isinstance(values, list):
        raise RuleInvalid("the rules have to be a list")
    return [Rule.parse(value) for value in values]


async def _misbehaving(rule: Rule, request: web.Request, handler: _Handler) -> web.StreamResponse:
    await asyncio.sleep(rule.latency_s)
    request[CLOCK_SKEW] = rule.clock_skew_s
    if rule.status is not None:
        return _refusal(rule.status)
    if rule.bytes_per_s is not None:
        request[PACE] = Pace(rule.bytes_per_s)
    response = await handler(request)
    if rule.changes_answer:
        return await _send_changed(rule, request, response)
    return response


async def _send_changed(
    rule: Rule, request: web.Request, response: web.StreamResponse
) -> web.StreamResponse:
    size = response.content_length or 0
    end = size if rule.cut_after_bytes is None else min(size, rule.cut_after_bytes)
    changed = web.StreamResponse(status=response.status, headers=response.headers)
    changed.content_length = size
    with closing(_body(response)) as body:
        await changed.prepare(request)
        await _send(changed, body, end, size // 2 if rule.corrupt else None, rule.bytes_per_s)
    if end < size:
        changed.force_close()
        if request.transport is not None:
            request.transport.close()
    else:
        await changed.write_eof()
    return changed


def _body(response: web.StreamResponse) -> _Body:
    if isinstance(response, web.Response):
        return _HeldBody(response)
    return cast("_Body", response)


async def _send(
    response: web.StreamResponse,
    body: _Body,
    end: int,
    bent_at: int | None,
    bytes_per_s: float | None,
) -> None:
    """Send the bytes of a body before `end`, with one bit flipped in the byte at `bent_at`."""
    pace = None if bytes_per_s is None else Pace(bytes_per_s)
    step = _PIECE_SIZE if pace is None else min(_PIECE_SIZE, pace.step)
    offset = 0
    while offset < end and (piece := await body.read(min(step, end - offset))):
        if bent_at is not None and offset <= bent_at < offset + len(piece):
            piece = _with_flipped_bit(piece, bent_at - offset)
        await response.write(piece)
        offset += len(piece)
        if pace is not None:
            await pace.passed(len(piece))


def _with_flipped_bit(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
