"""Every method of the API, and which of them a request means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from arvados_fuse.standalone.api import (
    accounts,
    cluster_methods,
    collections,
    groups,
    links,
    logs,
    tokens,
    users,
    workflows,
)
from arvados_fuse.standalone.api.errors import MethodNotAllowed, NotFound
from arvados_fuse.standalone.api.method import Method

__all__ = ["BASE_PATH", "METHODS", "Match", "match"]

BASE_PATH = "/arvados/v1/"

METHODS: tuple[Method, ...] = (
    *collections.METHODS,
    *groups.METHODS,
    *users.METHODS,
    *accounts.METHODS,
    *links.METHODS,
    *tokens.METHODS,
    *workflows.METHODS,
    *logs.METHODS,
    *cluster_methods.METHODS,
)

# HEAD is a GET without a body; PATCH is another word for PUT.
_SAME = {"HEAD": "GET", "PATCH": "PUT"}


class Match(NamedTuple):
    """The method that a request means, and the parameters that are in its path."""

    method: Method
    template: str
    in_path: dict[str, str]


class _Path(NamedTuple):
    template: str
    pattern: re.Pattern[str]
    methods: dict[str, Method]


def _compiled(methods: Iterable[Method]) -> list[_Path]:
    by_path: dict[str, dict[str, Method]] = {}
    for method in methods:
        for path in filter(None, (method.path, method.other_path)):
            by_path.setdefault(path, {})[method.http_method] = method
    # Fixed paths first: "users/current" is not the user "current".
    return [
        _Path(path, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))), choice)
        for path, choice in sorted(by_path.items(), key=lambda item: "{" in item[0])
    ]


_PATHS = _compiled(METHODS)


def match(http_method: str, path: str) -> Match:
    """Return the method for a request to `path`, still percent-encoded.

    Raises NotFound, or MethodNotAllowed where only the HTTP method does not fit.
    """
    if not path.startswith(BASE_PATH):
        raise NotFound(f"Path not found: {path!r:.100}")
    wanted = _SAME.get(http_method, http_method)
    relative = path[len(BASE_PATH) :].rstrip("/")
    known = False
    for template, pattern, methods in _PATHS:
        found = pattern.fullmatch(relative)
        if found is None:
            continue
        known = True
        if wanted in methods:
            in_path = {name: unquote(value) for name, value in found.groupdict().items()}
            return Match(methods[wanted], BASE_PATH + template, in_path)
    if known:
        raise MethodNotAllowed(f"{http_method} is not a method of {path!r:.100}")
    raise NotFound(f"Path not found: {path!r:.100}")
