"""Errors that a request can end in, with their HTTP status.

No lasting condition has a status of 408, 409, 423, 429 or 5xx: clients take these for passing
trouble and try again for minutes. (Arvados documentation, "REST API syntax", "Errors".)
"""

from __future__ import annotations

__all__ = [
    "ApiError",
    "BadRequest",
    "ClientGone",
    "Forbidden",
    "MethodNotAllowed",
    "NotFound",
    "TooLarge",
    "Unauthorized",
    "Unprocessable",
]


class ApiError(Exception):
    """An answer other than success; its text goes to the client."""

    status = 500


class BadRequest(ApiError):
    """A request that cannot be understood."""

    status = 400


class Unauthorized(ApiError):
    """No token, or one that is not known here, or has expired."""

    status = 401


class Forbidden(ApiError):
    """Something that this caller may not do."""

    status = 403


class NotFound(ApiError):
    """No such path, or no such object that the caller may see."""

    status = 404


class MethodNotAllowed(ApiError):
    """A path that exists, with a method that it does not have."""

    status = 405


class TooLarge(ApiError):
    """A request body over the limit."""

    status = 413


class ClientGone(ApiError):
    """A connection that broke before the request was complete; nobody reads this answer."""

    status = 499


class Unprocessable(ApiError):
    """Values that break a rule."""

    status = 422
