"""Manifests that clients send: checked, stripped of signatures, and what follows from them.

(Arvados documentation, "Collections", "Manifest format".)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from arvados_fuse.standalone import clock, manifest_text
from arvados_fuse.standalone.api.edits import Edit
from arvados_fuse.standalone.api.errors import Unprocessable
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.signatures import SignatureExpired, SignatureInvalid

__all__ = [
    "PreparedManifest",
    "check_portable_data_hash",
    "edited_manifest",
    "prepared_manifest",
    "unconfirmed",
]

_SIZE_LIMIT = 1 << 63
_EMPTY_BLOCK = f"{manifest_text.EMPTY_HASH}+0"


class PreparedManifest(NamedTuple):
    """What a manifest text that a client sent means for the record.

    columns: everything that is stored because of it
    refusal: why the caller may not use one of its blocks; None if he may use all
    """

    columns: dict[str, Any]
    refusal: str | None


def prepared_manifest(call: Call, text: str) -> PreparedManifest:
    """Check a manifest and compute what is stored for it.

    With a million files this takes a second or two: do it before the transaction begins.
    Raises Unprocessable.
    """
    try:
        text.encode()
        manifest_text.check_grammar(text)
    except UnicodeEncodeError:
        raise Unprocessable("Manifest invalid: it is not valid UTF-8") from None
    except manifest_text.ManifestInvalid as error:
        raise Unprocessable(str(error)) from None
    columns = _columns(manifest_text.without_signatures(text))
    return PreparedManifest(columns, _refusal(call, manifest_text.locators(text)))


def edited_manifest(call: Call, edit: Edit, current: str) -> PreparedManifest:
    """Compute what is stored for the manifest that `current`, as stored, becomes by `edit`.

    Raises BadRequest.
    """
    columns = _columns(edit.applied(current))
    used = {locator[:32] for locator in manifest_text.locators(columns["manifest_text"])}
    return PreparedManifest(
        columns, _refusal(call, {locator for locator in edit.locators if locator[:32] in used})
    )


def _columns(stored: str) -> dict[str, Any]:
    found = manifest_text.contents(stored)
    if found.size_total >= _SIZE_LIMIT:
        raise Unprocessable("Manifest invalid: its files have more bytes than 64 bits can count")
    return {
        "manifest_text": stored,
        "portable_data_hash": manifest_text.portable_data_hash(stored),
        "file_count": found.file_count,
        "file_size_total": found.size_total,
        "file_names": found.names,
    }


def _refusal(call: Call, locators: Iterable[str]) -> str | None:
    if call.caller.is_admin:
        return None
    now_s = clock.seconds(call.now)
    for locator in locators:
        if locator.startswith(_EMPTY_BLOCK):
            continue
        try:
            call.core.signer.verify(locator, call.caller.token, now_s)
        except (SignatureInvalid, SignatureExpired) as error:
            return f"Cannot use block {locator[:32]}: {error}"
    return None


def check_portable_data_hash(sent: str | None, computed: str) -> None:
    """Compare what the client says with what we computed; only the hash has to be the same."""
    if sent is not None and sent.partition("+")[0] != computed[:32]:
        raise Unprocessable(
            f"Portable data hash {sent!r:.60} does not match computed hash {computed}"
        )


def unconfirmed(current: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the changes that forget confirmed replication if `text` has blocks that are new."""
    if current["replication_confirmed"] is None and not current["storage_classes_confirmed"]:
        return {}
    known = {locator[:32] for locator in manifest_text.locators(current["manifest_text"])}
    if all(locator[:32] in known for locator in manifest_text.locators(text)):
        return {}
    return {
        "replication_confirmed": None,
        "replication_confirmed_at": None,
        "storage_classes_confirmed": [],
        "storage_classes_confirmed_at": None,
    }
