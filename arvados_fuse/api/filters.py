"""The filters of `--filters`, as each kind of list request takes them.

An attribute may be bare, for all tables, or TABLE.ATTRIBUTE for one. Only `groups/contents` knows
the second form; other requests list one table and get what is meant for it.
(Arvados documentation, "groups API", "contents".)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["ListFilters"]


class ListFilters:
    """Filters that narrow listings down.

    contents: all of them, for `groups/contents`
    """

    def __init__(self, filters: Sequence[Any] = ()) -> None:
        self.contents = list(filters)

    def of(self, table: str) -> list[Any]:
        """Return those that are meant for `table`, such as "groups"."""
        return [_bare(f) for f in self.contents if _table(f) in ("", table)]


def _table(filter_: Any) -> str:
    attribute = filter_ if isinstance(filter_, str) else filter_[0]
    # A dot may also stand before a key of `properties`, a column that is no table.
    table, dot, _ = str(attribute).partition(".")
    return table if dot and table != "properties" and isinstance(filter_, list) else ""


def _bare(filter_: Any) -> Any:
    table = _table(filter_)
    return [filter_[0][len(table) + 1 :], *filter_[1:]] if table else filter_
