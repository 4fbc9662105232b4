"""Manifests that clients send: checked, stripped of signatures, and what follows from them.

(Arvados documentation, "Collections", "Manifest format".)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from arvados_fuse.standalone import clock, manifest_text
from arvados_fuse.standalone.api.edits import Edit
from arvados_fuse.standalone.api.errors import Unprocessable
from arvados_fuse.standalone.api.method import Call
from arvados_fuse.standalone.signatures import SignatureExpired, SignatureInvalid

__all__ = [
    "MANIFEST_COLUMNS",
    "NO_MANIFEST",
    "PreparedManifest",
    "check_portable_data_hash",
    "edited_manifest",
    "prepared_manifest",
    "unconfirmed",
]

_CONTENTS = ("file_count", "file_size_total", "file_names")
"""The columns for what is in a manifest."""

MANIFEST_COLUMNS = ("manifest_text", *_CONTENTS)
"""The columns that `edited_manifest` needs."""

NO_MANIFEST = dict(zip(MANIFEST_COLUMNS, ("", *manifest_text.contents("")), strict=True))
"""What a new collection has in them."""

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
    stored = manifest_text.without_signatures(text)
    lines = manifest_text.lines_of(stored)
    columns = _columns(stored, lines, manifest_text.contents(stored))
    return PreparedManifest(columns, _refusal(call, manifest_text.locators(text)))


def edited_manifest(call: Call, edit: Edit, current: Mapping[str, Any]) -> PreparedManifest:
    """Compute what is stored for a collection when it is changed by `edit`.

    `current` has at least MANIFEST_COLUMNS. Raises BadRequest, Unprocessable.
    """
    before = manifest_text.Contents(*(current[name] for name in _CONTENTS))
    old = manifest_text.lines_of(current["manifest_text"])
    new = edit.applied(old)
    changed = manifest_text.changed_lines(old, new)
    found = manifest_text.contents_after(before, old, new, changed)
    # Blocks in the other lines are those of the collection already.
    come = manifest_text.joined(changed.come)
    used = {locator[:32] for locator in manifest_text.locators(come)}
    return PreparedManifest(
        _columns(manifest_text.joined(new), new, found),
        _refusal(call, {locator for locator in edit.locators if locator[:32] in used}),
    )


def _columns(stored: str, lines: Sequence[str], found: manifest_text.Contents) -> dict[str, Any]:
    if found.size_total >= _SIZE_LIMIT:
        raise Unprocessable("Manifest invalid: its files have more bytes than 64 bits can count")
    return {
        "manifest_text": stored,
        "portable_data_hash": manifest_text.portable_data_hash(stored, lines),
        **dict(zip(_CONTENTS, found, strict=True)),
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
