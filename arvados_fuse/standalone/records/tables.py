"""Every resource of the API with its attributes: the only place where they are listed.

(Arvados documentation, "API Reference", the page of each resource.)
"""

from __future__ import annotations

from arvados_fuse.standalone.records.model import Attribute, Resource, Type, UniqueNames, Writable

__all__ = [
    "COLLECTIONS",
    "GROUPS",
    "KEEP_SERVICES",
    "LINKS",
    "LOGS",
    "RESOURCES",
    "TOKENS",
    "USERS",
    "WORKFLOWS",
    "resource_of_uuid",
]

NAME_LENGTH = 255
DESCRIPTION_LENGTH = 524288

_TIME = Type.TIMESTAMP
_COMMON = (
    # A client may propose a uuid, and change an owner; `api.records` has the rules for both.
    Attribute("uuid"),
    Attribute("owner_uuid"),
    Attribute("created_at", _TIME, Writable.IGNORED),
    Attribute("modified_at", _TIME, Writable.IGNORED),
    Attribute("modified_by_user_uuid", writable=Writable.IGNORED),
)
_KIND = (
    Attribute("kind", writable=Writable.IGNORED, stored=False),
    Attribute("etag", writable=Writable.IGNORED, stored=False),
)
_NAME = Attribute("name", max_length=NAME_LENGTH)
_DESCRIPTION = Attribute("description", max_length=DESCRIPTION_LENGTH)
_PROPERTIES = Attribute("properties", Type.OBJECT, default={})
_TRASH = (
    Attribute("trash_at", _TIME),
    Attribute("delete_at", _TIME),
    Attribute("is_trashed", Type.BOOLEAN, default=False),
)
_RIGHTS = (
    Attribute("can_write", Type.BOOLEAN, Writable.IGNORED, stored=False),
    Attribute("can_manage", Type.BOOLEAN, Writable.IGNORED, stored=False),
    Attribute("writable_by", Type.ARRAY, Writable.IGNORED, stored=False),
)
# What lists and trash look up at every request. Clients page through a project by uuid.
_USUAL_INDEXES = ("owner_uuid, uuid", "modified_at, uuid")

COLLECTIONS = Resource(
    name="collections",
    singular="collection",
    infix="4zz18",
    class_name="Collection",
    attributes=(
        *_COMMON,
        Attribute("portable_data_hash"),
        Attribute("replication_desired", Type.INTEGER),
        Attribute("replication_confirmed_at", _TIME, Writable.ADMIN),
        Attribute("replication_confirmed", Type.INTEGER, Writable.ADMIN),
        Attribute("storage_classes_desired", Type.ARRAY, default=["default"]),
        Attribute("storage_classes_confirmed_at", _TIME, Writable.ADMIN),
        Attribute("storage_classes_confirmed", Type.ARRAY, Writable.ADMIN, default=[]),
        *_TRASH,
        _NAME,
        _DESCRIPTION,
        _PROPERTIES,
        Attribute("version", Type.INTEGER, Writable.COMPUTED, default=1),
        Attribute("current_version_uuid", writable=Writable.COMPUTED),
        Attribute("preserve_version", Type.BOOLEAN, default=False),
        Attribute("file_count", Type.INTEGER, Writable.IGNORED, default=0),
        Attribute("file_size_total", Type.INTEGER, Writable.IGNORED, default=0),
        Attribute("manifest_text", default="", large=True),
        Attribute(
            "unsigned_manifest_text", writable=Writable.IGNORED, stored=False, selected_only=True
        ),
        Attribute("file_names", writable=Writable.IGNORED, shown=False, large=True),
        *_KIND,
    ),
    unique=(
        UniqueNames(
            ("owner_uuid", "name"),
            "is_trashed = 0 AND current_version_uuid = uuid AND name <> ''",
        ),
    ),
    indexes=(
        *_USUAL_INDEXES,
        "portable_data_hash",
        "current_version_uuid",
        "trash_at",
        "delete_at",
    ),
)

GROUPS = Resource(
    name="groups",
    singular="group",
    infix="j7d0g",
    class_name="Group",
    attributes=(
        *_COMMON,
        _NAME,
        Attribute("group_class"),
        _DESCRIPTION,
        _PROPERTIES,
        *_TRASH,
        Attribute("frozen_by_uuid"),
        *_RIGHTS,
        *_KIND,
    ),
    unique=(
        UniqueNames(("owner_uuid", "name"), "is_trashed = 0 AND group_class <> 'role'"),
        UniqueNames(("name",), "is_trashed = 0 AND group_class = 'role'"),
    ),
    indexes=(*_USUAL_INDEXES, "trash_at", "delete_at", "frozen_by_uuid"),
)

USERS = Resource(
    name="users",
    singular="user",
    infix="tpzed",
    class_name="User",
    attributes=(
        *_COMMON,
        Attribute("email"),
        Attribute("username"),
        Attribute("full_name", writable=Writable.IGNORED, stored=False),
        Attribute("first_name", default=""),
        Attribute("last_name", default=""),
        Attribute("identity_url", writable=Writable.ADMIN),
        Attribute("is_active", Type.BOOLEAN, Writable.ADMIN, default=False),
        Attribute("is_admin", Type.BOOLEAN, Writable.ADMIN, default=False),
        Attribute("is_invited", Type.BOOLEAN, Writable.IGNORED, stored=False),
        Attribute("prefs", Type.OBJECT, default={}),
        *_RIGHTS,
        *_KIND,
    ),
    unique=(UniqueNames(("username",), "username <> ''"),),
    indexes=_USUAL_INDEXES,
)

LINKS = Resource(
    name="links",
    singular="link",
    infix="o0j2j",
    class_name="Link",
    attributes=(
        *_COMMON,
        Attribute("link_class", max_length=NAME_LENGTH),
        _NAME,
        Attribute("tail_uuid"),
        Attribute("head_uuid"),
        _PROPERTIES,
        Attribute("head_kind", writable=Writable.IGNORED, stored=False),
        Attribute("tail_kind", writable=Writable.IGNORED, stored=False),
        *_KIND,
    ),
    indexes=(*_USUAL_INDEXES, "head_uuid", "tail_uuid", "link_class, name"),
)

TOKENS = Resource(
    name="api_client_authorizations",
    singular="api_client_authorization",
    infix="gj3su",
    class_name="ApiClientAuthorization",
    attributes=(
        *_COMMON,
        Attribute("api_token", writable=Writable.IGNORED),
        Attribute("created_by_ip_address", writable=Writable.IGNORED),
        Attribute("last_used_by_ip_address", writable=Writable.IGNORED),
        Attribute("last_used_at", _TIME, Writable.IGNORED),
        Attribute("expires_at", _TIME),
        Attribute("scopes", Type.ARRAY, default=["all"]),
        *_KIND,
    ),
    indexes=("owner_uuid", "api_token"),
)

LOGS = Resource(
    name="logs",
    singular="log",
    infix="57u5n",
    class_name="Log",
    attributes=(
        # The number of the row: it only grows, so clients can go on where they were.
        Attribute("id", Type.INTEGER, Writable.IGNORED),
        *_COMMON,
        Attribute("object_uuid"),
        Attribute("object_owner_uuid"),
        Attribute("object_kind", writable=Writable.IGNORED, stored=False),
        Attribute("event_type"),
        Attribute("event_at", _TIME),
        Attribute("summary"),
        _PROPERTIES,
        *_KIND,
    ),
    indexes=("created_at", "object_uuid", "modified_at, uuid"),
)

KEEP_SERVICES = Resource(
    name="keep_services",
    singular="keep_service",
    infix="bi6l4",
    class_name="KeepService",
    attributes=(
        *_COMMON,
        Attribute("service_host", writable=Writable.ADMIN),
        Attribute("service_port", Type.INTEGER, Writable.ADMIN),
        Attribute("service_ssl_flag", Type.BOOLEAN, Writable.ADMIN, default=False),
        Attribute("service_type", writable=Writable.ADMIN),
        Attribute("read_only", Type.BOOLEAN, Writable.ADMIN, default=False),
        *_KIND,
    ),
)

WORKFLOWS = Resource(
    name="workflows",
    singular="workflow",
    infix="7fd4e",
    class_name="Workflow",
    attributes=(
        *_COMMON,
        _NAME,
        _DESCRIPTION,
        Attribute("definition", large=True),
        Attribute("collection_uuid"),
        *_KIND,
    ),
    indexes=_USUAL_INDEXES,
)
"""They are kept, so that projects can be copied with all that is in them; nothing runs them."""

RESOURCES = (COLLECTIONS, GROUPS, USERS, LINKS, LOGS, TOKENS, KEEP_SERVICES, WORKFLOWS)

_BY_INFIX = {resource.infix: resource for resource in RESOURCES}


def resource_of_uuid(uuid: str | None) -> Resource | None:
    """Return the resource whose infix `uuid` has; None if it is not the form of a uuid of ours."""
    parts = (uuid or "").split("-")
    if len(parts) != 3 or [len(part) for part in parts] != [5, 5, 15]:
        return None
    return _BY_INFIX.get(parts[1])
