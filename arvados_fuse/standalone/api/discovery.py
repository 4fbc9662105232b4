"""The discovery document: from it, clients learn methods, parameters and schemas.

(Arvados documentation, "API Reference", "REST API discovery document".)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from arvados_fuse.standalone.api.method import Method, Parameter
from arvados_fuse.standalone.core import Core
from arvados_fuse.standalone.records.model import Attribute, Resource, Type
from arvados_fuse.standalone.records.tables import RESOURCES
from arvados_fuse.version import __version__

__all__ = ["DISCOVERY_PATH", "discovery_document"]

DISCOVERY_PATH = "/discovery/v1/apis/arvados/v1/rest"

REVISION = "20250402"
"""The revision of the API that we follow; clients compare it to know what they may expect."""


def discovery_document(core: Core, methods: Iterable[Method]) -> dict[str, Any]:
    """Return the document of a cluster that has `methods`."""
    schemas: dict[str, Any] = {}
    for resource in RESOURCES:
        schemas[resource.class_name] = _schema(resource)
        schemas[f"{resource.class_name}List"] = _list_schema(resource.class_name, resource.kind)
    schemas["ObjectList"] = _list_schema("Object", "arvados#object", of_one_kind=False)
    resources: dict[str, Any] = {}
    for method in methods:
        name, _, action = method.id.partition(".")
        resources.setdefault(name, {"methods": {}})["methods"][action] = _method(method)
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "arvados:v1",
        "name": "arvados",
        "version": "v1",
        "revision": REVISION,
        "packageVersion": __version__,
        "title": "Arvados API",
        "description": "The API of an embedded Arvados cluster.",
        "documentationLink": "https://doc.arvados.org/api/index.html",
        "protocol": "rest",
        "baseUrl": f"{core.root_url}arvados/v1/",
        "basePath": "/arvados/v1/",
        "rootUrl": core.root_url,
        "servicePath": "arvados/v1/",
        "batchPath": "batch",
        "uuidPrefix": core.cluster_id,
        "defaultCollectionReplication": core.limits.default_replication,
        "defaultTrashLifetime": core.limits.default_trash_lifetime_s,
        "blobSignatureTtl": core.limits.blob_signing_ttl_s,
        "maxRequestSize": core.limits.max_request_size,
        "maxItemsPerResponse": core.limits.max_items_per_response,
        "remoteHosts": {},
        "remoteHostsViaDNS": False,
        "websocketUrl": core.websocket_url,
        "parameters": {
            "alt": {
                "type": "string",
                "description": "Data format for the response.",
                "default": "json",
                "enum": ["json"],
                "location": "query",
            }
        },
        "auth": {"oauth2": {"scopes": {core.root_url + "auth/arvados": {"description": "All"}}}},
        "schemas": schemas,
        "resources": resources,
    }


def _schema(resource: Resource) -> dict[str, Any]:
    return {
        "id": resource.class_name,
        "type": "object",
        "uuidPrefix": resource.infix,
        "properties": {a.name: _property(a) for a in resource.attributes if a.shown},
    }


def _property(attribute: Attribute) -> dict[str, Any]:
    if attribute.type is Type.TIMESTAMP:
        return {"type": "datetime"}
    return {"type": attribute.type.value}


def _list_schema(class_name: str, kind: str, *, of_one_kind: bool = True) -> dict[str, Any]:
    items: dict[str, Any] = {"$ref": class_name} if of_one_kind else {"type": "object"}
    return {
        "id": f"{class_name}List",
        "type": "object",
        "properties": {
            "kind": {"type": "string", "default": f"{kind}List"},
            "items": {"type": "array", "items": items},
            "included": {"type": "array", "items": {"type": "object"}},
            "items_available": {"type": "integer"},
            "offset": {"type": "integer"},
            "limit": {"type": "integer"},
        },
    }


def _method(method: Method) -> dict[str, Any]:
    description: dict[str, Any] = {
        "id": f"arvados.{method.id}",
        "path": method.path,
        "httpMethod": method.http_method,
        "description": method.description,
        "parameters": {
            name: _parameter(parameter, in_path=f"{{{name}}}" in method.path)
            for name, parameter in method.parameters.items()
        },
        "parameterOrder": [n for n, p in method.parameters.items() if p.required],
        "response": {"$ref": method.response} if method.response else {},
        "scopes": [],
    }
    if method.takes:
        description["request"] = {
            "required": True,
            "properties": {method.takes.singular: {"$ref": method.takes.class_name}},
        }
    return description


def _parameter(parameter: Parameter, *, in_path: bool) -> dict[str, Any]:
    description: dict[str, Any] = {
        "type": parameter.type,
        "description": parameter.description,
        "required": parameter.required,
        "location": "path" if in_path else "query",
    }
    if parameter.default is not None:
        # The format wants all defaults as text, as they stand in a query string.
        default = parameter.default
        description["default"] = str(default).lower() if default is False else str(default)
    return description
