"""Methods that tell about the cluster: configuration, vocabulary, Keep services.

(Arvados documentation, "API Reference", "Keep services", "Metadata vocabulary"; "Configuration
reference".)
"""

from __future__ import annotations

from typing import Any

from arvados_fuse.standalone.api.method import Call, Method
from arvados_fuse.standalone.api.plain import get_method, list_method
from arvados_fuse.standalone.api.presentation import present, usual_attributes
from arvados_fuse.standalone.records import sql
from arvados_fuse.standalone.records.codec import decoded
from arvados_fuse.standalone.records.conditions import Condition
from arvados_fuse.standalone.records.tables import KEEP_SERVICES

__all__ = ["METHODS"]


def _duration(seconds: int) -> str:
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"


def _configuration(call: Call) -> dict[str, Any]:
    limits = call.core.limits
    return {
        "ClusterID": call.core.cluster_id,
        "API": {
            "MaxItemsPerResponse": limits.max_items_per_response,
            "MaxRequestSize": limits.max_request_size,
        },
        "Collections": {
            "BlobSigning": True,
            "BlobSigningTTL": _duration(limits.blob_signing_ttl_s),
            "CollectionVersioning": True,
            "DefaultReplication": limits.default_replication,
            "DefaultTrashLifetime": _duration(limits.default_trash_lifetime_s),
            "ForwardSlashNameSubstitution": "",
            "ManagedProperties": {},
            "PreserveVersionIfIdle": f"{limits.preserve_version_if_idle_s:g}s",
        },
        "Services": {"Controller": {"ExternalURL": call.core.root_url}},
        "StorageClasses": {limits.storage_class: {"Default": True, "Priority": 0}},
    }


def _vocabulary(_call: Call) -> dict[str, Any]:
    return {"strict_tags": False, "tags": {}}


def _accessible(call: Call) -> dict[str, Any]:
    """List the services that the client can reach: from outside only proxies, else the others."""
    names = usual_attributes(KEEP_SERVICES, in_list=True)
    with call.core.database.read() as db:
        rows = sql.select(
            db,
            KEEP_SERVICES.small_columns,
            KEEP_SERVICES.name,
            Condition("(service_type = 'proxy') = ?", (call.external,)),
            "ORDER BY uuid",
        ).fetchall()
    items = [present(call, KEEP_SERVICES, decoded(KEEP_SERVICES, row), names) for row in rows]
    return {
        "kind": "arvados#keepServiceList",
        "items": items,
        "items_available": len(items),
        "limit": None,
        "offset": None,
    }


METHODS = (
    Method(
        id="configs.get",
        http_method="GET",
        path="config",
        run=_configuration,
        description="Get the configuration of the cluster, without secrets.",
        anonymous=True,
    ),
    Method(
        id="vocabularies.get",
        http_method="GET",
        path="vocabulary",
        run=_vocabulary,
        description="Get the vocabulary for properties.",
        anonymous=True,
    ),
    get_method(KEEP_SERVICES),
    list_method(KEEP_SERVICES),
    Method(
        id="keep_services.accessible",
        http_method="GET",
        path="keep_services/accessible",
        run=_accessible,
        description="List the Keep services that the client can use.",
        response="KeepServiceList",
        anonymous=True,
    ),
)
