"""The users and groups that every cluster has, by their uuids.

(Arvados documentation, "Permission model"; "Users", "Roles".)
"""

from __future__ import annotations

__all__ = [
    "all_users",
    "anonymous_group",
    "anonymous_token",
    "anonymous_user",
    "system_token",
    "system_user",
]


def system_user(cluster_id: str) -> str:
    """The user that owns users, roles and permission links."""
    return f"{cluster_id}-tpzed-000000000000000"


def system_token(cluster_id: str) -> str:
    """The token of the system user."""
    return f"{cluster_id}-gj3su-000000000000000"


def all_users(cluster_id: str) -> str:
    """The role that all active users have."""
    return f"{cluster_id}-j7d0g-fffffffffffffff"


def anonymous_user(cluster_id: str) -> str:
    """The user that visitors without an account are."""
    return f"{cluster_id}-tpzed-anonymouspublic"


def anonymous_group(cluster_id: str) -> str:
    """The role that visitors have: what it can read is public."""
    return f"{cluster_id}-j7d0g-anonymouspublic"


def anonymous_token(cluster_id: str) -> str:
    """The token of the anonymous user; it allows only to look."""
    return f"{cluster_id}-gj3su-anonymouspublic"
