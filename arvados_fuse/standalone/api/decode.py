"""From the parts of an HTTP request to the parameters and attributes of a call.

(Arvados documentation, "REST API syntax".)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from arvados_fuse.standalone.api.errors import BadRequest, Unprocessable
from arvados_fuse.standalone.api.method import Method, Parameter

__all__ = ["Arguments", "decode_arguments", "parameters_of", "texts"]

_LIST_LIKE = ("order", "include", "select")
"""Parameters that may also be a comma-separated text."""


class Arguments:
    """All that a request says, wherever it says it.

    values: from query string, form and JSON body, not yet of the right type
    flat: the JSON object of the body as a whole; None if the body was something else
    """

    def __init__(self, values: dict[str, Any], flat: dict[str, Any] | None) -> None:
        self.values = values
        self.flat = flat

    def attributes(self, method: Method) -> dict[str, Any]:
        """Return the attributes that the request gives for a record; none if it has no record.

        They are under the name of the resource; if it is absent, the whole body is attributes,
        but for options of `method`. Raises Unprocessable.
        """
        if method.takes is None:
            return {}
        key, known = method.takes.singular, method.takes.by_name
        if key not in self.values:
            flat = self.flat or {}
            return {k: v for k, v in flat.items() if k in known or k not in method.parameters}
        value = self.values[key]
        if isinstance(value, str):
            value = _parsed(key, value)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Unprocessable(f"The attributes in {key!r} have to be an object")
        return value


def decode_arguments(query: str, content_type: str, body: bytes) -> Arguments:
    """Merge query string and body. Raises BadRequest for a body that cannot be decoded."""
    values: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if not body:
        return Arguments(values, None)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        try:
            values.update(parse_qsl(body.decode(), keep_blank_values=True))
        except UnicodeDecodeError:
            raise BadRequest("The form in the request body is not valid UTF-8") from None
        return Arguments(values, None)
    if kind not in ("", "application/json"):
        raise BadRequest(f"Cannot decode a request body of type {kind}: send JSON or a form")
    try:
        flat = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    if not isinstance(flat, dict):
        raise BadRequest("The JSON of the request body has to be an object")
    values.update(flat)
    return Arguments(values, flat)


def parameters_of(
    method: Method, arguments: Arguments, in_path: Mapping[str, str]
) -> dict[str, Any]:
    """Return the parameters that `method` has, each with a value of its type.

    What the method does not know is ignored. Raises Unprocessable.
    """
    found: dict[str, Any] = {}
    for name, parameter in method.parameters.items():
        value = in_path.get(name, arguments.values.get(name))
        if value is None or value in ("", "null"):
            if parameter.required:
                raise Unprocessable(f"The parameter {name!r} is missing")
            found[name] = parameter.default
        else:
            found[name] = _typed(name, parameter, value)
    return found


def texts(value: Any) -> list[str]:
    """Return the texts in an array, or in the JSON text of one; what is none is left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _typed(name: str, parameter: Parameter, value: Any) -> Any:
    if parameter.type == "boolean":
        return value not in (False, 0, "false", "0")
    if parameter.type == "integer":
        return _integer(name, value)
    if isinstance(value, str) and (parameter.type == "object" or value[:1] in '[{"'):
        value = _parsed(name, value)
    if parameter.type == "array" and isinstance(value, str) and name in _LIST_LIKE:
        value = [part.strip() for part in value.split(",")]
    expected = {"array": list, "object": dict, "string": str}[parameter.type]
    if not isinstance(value, expected):
        raise Unprocessable(f"The parameter {name!r} has to be of type {parameter.type}")
    return value


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, (bool, float)):
            raise TypeError
        return int(value)
    except (TypeError, ValueError):
        raise Unprocessable(f"The parameter {name!r} has to be an integer") from None


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unprocessable(f"The value of {name!r} is not valid JSON: {error}") from None
