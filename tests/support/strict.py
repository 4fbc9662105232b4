"""A cluster in memory that checks signatures, and refuses for as long as somebody wants it to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from arvados_fuse.api import CollectionContent, Item
from arvados_fuse.api.writing import Replaced
from arvados_fuse.collection.locator import block_name
from arvados_fuse.errors import AccessRefused, BlockLost, Forbidden, NoSpace, NoSuchEntry
from arvados_fuse.keep.locators import EMPTY_BLOCK
from tests.support.writable import KNOWN_S, UUID, WritableCluster

__all__ = ["Refusal", "StrictCluster"]

_LOCATOR = re.compile(r"(?<= )([0-9a-f]{32}\+\d+)(\+A[0-9a-f]{40}@[0-9a-f]{8})?(?= )")
_SIGNED = re.compile(r"\+A([0-9a-f]{8})[0-9a-f]{32}@([0-9a-f]{8})")


class Refusal(Enum):
    """What stands in the way of all changes."""

    FROZEN = "the user may read the collection, and not change it"
    TRASHED = "the collection is in the trash"
    TOKEN = "the token is not accepted"
    FULL = "Keep has no room"


class StrictCluster(WritableCluster):
    """Takes and gives out only blocks that are signed for the token of now, and not too long ago.

    refusal: what stands in the way of changes to the one collection; None if nothing does
    has_old_versions: whether what is no collection's present content is found by its hash
    """

    signature_ttl_s = 2 * KNOWN_S
    has_old_versions = True

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self._signatures = 0
        self._stored_at: dict[str, float] = {}
        super().__init__()

    # -- signatures -------------------------------------------------------------------------

    def use_token(self, token: str) -> None:
        """Accept this token from now on, and no other."""
        self.token = token

    def _sign(self, block: str) -> str:
        self._signatures += 1
        until = int(self.clock.now + self.signature_ttl_s)
        return f"{block}+A{int(self.token):08x}{self._signatures:032x}@{until:08x}"

    def _holds(self, locator: str) -> bool:
        if block_name(locator) == EMPTY_BLOCK:
            return True
        found = _SIGNED.search(locator)
        if found is None:
            return False
        return int(found[1], 16) == int(self.token) and int(found[2], 16) > self.clock.now

    def _signed(self, content: CollectionContent) -> CollectionContent:
        text = _LOCATOR.sub(lambda found: self._sign(found[1]), content.manifest_text)
        return CollectionContent(content.item, text)

    def _check_signatures(self, manifest_text: str) -> None:
        for found in _LOCATOR.finditer(manifest_text):
            if not self._holds(found[0]):
                raise Forbidden(f"{found[0]} is not signed")

    # -- Keep -------------------------------------------------------------------------------

    def store_block(self, data: bytes) -> str:
        self._check_token()
        if self.refusal is Refusal.FULL:
            raise NoSpace("Keep is full")
        block = block_name(super().store_block(data))
        self._stored_at[block] = self.clock.now
        return self._sign(block)

    def block(self, locator: str) -> bytes:
        self._check_token()
        if not self._holds(locator):
            raise AccessRefused(f"{locator} is not signed")
        if block_name(locator) not in self.blocks.contents:
            raise BlockLost(f"{locator} is gone")
        return super().block(locator)

    def collect_garbage(self) -> None:
        """Let Keep forget what no collection has and what was not stored lately."""
        before = self.blocks.contents.copy()
        super().collect_garbage()
        for block, data in before.items():
            age_s = self.clock.now - self._stored_at.get(block, float("-inf"))
            if age_s < self.signature_ttl_s:
                self.blocks.contents[block] = data

    # -- requests ---------------------------------------------------------------------------

    def _check_token(self) -> None:
        if self.refusal is Refusal.TOKEN:
            raise AccessRefused("the token is not accepted")

    def _ask(self, what: str) -> None:
        super()._ask(what)
        self._check_token()

    def _is_seen(self, uuid: str) -> bool:
        return not (uuid == UUID and self.refusal is Refusal.TRASHED)

    def _collection_item(self, ident: str) -> Item:
        if not self._is_seen(ident):
            raise NoSuchEntry(f"{ident} is in the trash")
        if "+" in ident and not self.has_old_versions:
            seen = [item for uuid, item in self.items.items() if self._is_seen(uuid)]
            if ident not in [item.portable_data_hash for item in seen]:
                raise NoSuchEntry(f"nothing has the content {ident}")
        return super()._collection_item(ident)

    def collection(self, ident: str) -> CollectionContent:
        return self._signed(super().collection(ident))

    def collection_in_trash(self, uuid: str) -> Item:
        """As `api.Cluster`."""
        self._ask(f"trash {uuid}")
        return self.items[uuid]

    def may_change_collection(self, uuid: str) -> bool:
        super().may_change_collection(uuid)
        self._collection_item(uuid)
        return self.refusal is not Refusal.FROZEN

    def _check_change(self, uuid: str, manifest_text: str) -> None:
        self._check_token()
        self._collection_item(uuid)
        if self.refusal is Refusal.FROZEN:
            raise Forbidden(f"{uuid} must not be changed")
        self._check_signatures(manifest_text)

    def edit(
        self, uuid: str, replace: Mapping[str, str], manifest_text: str, *, whole: bool
    ) -> CollectionContent:
        self._check_change(uuid, manifest_text)
        return super().edit(uuid, replace, manifest_text, whole=whole)

    def replace(self, uuid: str, manifest_text: str, expected: str) -> Replaced | None:
        self._check_change(uuid, manifest_text)
        replaced = super().replace(uuid, manifest_text, expected)
        if replaced is None or replaced.before is None:
            return replaced
        return Replaced(replaced.content, self._signed(replaced.before))

    def _answer(self, uuid: str, *, whole: bool) -> CollectionContent:
        return self._signed(super()._answer(uuid, whole=whole))

    def create_collection(
        self, owner_uuid: str, name: str, *, manifest_text: str, classes: tuple[str, ...]
    ) -> Item:
        """As `api.ClusterWriting`."""
        self._ask(f"create {name}")
        self._check_signatures(manifest_text)
        uuid = f"zzzzz-4zz18-{len(self.items) + 1:015}"
        self.add_collection(uuid, name, "", owner_uuid)
        self.set_manifest(uuid, manifest_text)
        return self.items[uuid]

    def copy(self) -> Any:
        """Another one with the same content, and the same Keep, that refuses nothing."""
        other = super().copy()
        other.refusal = None
        return other
