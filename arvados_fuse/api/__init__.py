"""Every call to the cluster's REST API, through the official client library.

`cluster` holds the calls that ask, with the filters of the user (`filters`), `writing` those that
change something; `connection` sends them; `records` turns records into small typed
values and `translation` every way a request can fail into `errors`. Records come from the net and
are checked here, so that the rest of the package can rely on their shape. All methods of
`ArvadosCluster` may block and may be called from any thread; none may be called with the file
system's lock held.

Source of the calls and fields: Arvados documentation, "API Reference".
"""

from arvados_fuse.api.cluster import ArvadosCluster, Cluster
from arvados_fuse.api.connection import tls_context
from arvados_fuse.api.records import (
    CollectionContent,
    Desired,
    Item,
    Record,
    Shared,
    collection_content,
)

__all__ = [
    "ArvadosCluster",
    "Cluster",
    "CollectionContent",
    "Desired",
    "Item",
    "Record",
    "Shared",
    "collection_content",
    "tls_context",
]
