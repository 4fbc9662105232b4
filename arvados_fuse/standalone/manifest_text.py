"""What the API server does with the text of a manifest: check, strip, sign, count.

Manifests can have a million files and tens of megabytes. So each function makes few passes, and
the loop over tokens is inside the `re` module; Python code runs once per stream, per locator, or
for the few tokens that are out of the ordinary. (Arvados documentation, "Manifest format".)

This module is written apart from the driver's own parser on purpose: the two check each other.
"""

from __future__ import annotations

import hashlib
import re
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arvados_fuse.standalone.signatures import BlobSigner

__all__ = [
    "EMPTY_HASH",
    "ChangedLines",
    "Contents",
    "ManifestInvalid",
    "changed_lines",
    "check_grammar",
    "contents",
    "contents_after",
    "has_names_only",
    "joined",
    "lines_of",
    "locators",
    "portable_data_hash",
    "signed",
    "without_signatures",
]

EMPTY_HASH = hashlib.md5(b"").hexdigest()

# One character of a name: anything but controls, space, slash and backslash; or an escape.
# \056 (.) and \057 (/) are left out: they can change the structure, so `_name_is_valid` looks.
_CHARACTER = r"(?:[^\x00-\x20/\\]|\\(?!05[67])[0-3][0-7]{2})"
_NAME = rf"(?!\.{{1,2}}(?:[/ ]|$)){_CHARACTER}+"
_STREAM = re.compile(rf"\.(?:/{_NAME})*")
# Sizes and positions are less than 10^18: what is more does not fit into 64 bits.
_LOCATOR = re.compile(r" [0-9a-f]{32}\+[0-9]{1,18}(?:\+[A-Z][A-Za-z0-9@_-]*)*(?![^ ])")
_FILE_TOKEN = re.compile(rf" [0-9]{{1,18}}:[0-9]{{1,18}}:{_NAME}(?:/{_NAME})*(?![^ ])")
_FILE_TOKEN_HEAD = re.compile(r"[0-9]{1,18}:[0-9]{1,18}:")
_FIRST_FILE_TOKEN = re.compile(r" [0-9]+:")
_PLACEHOLDER_NAMES = ("\\056", ".")
_PLACEHOLDERS = tuple(f"0:0:{name}" for name in _PLACEHOLDER_NAMES)

_ESCAPE = re.compile(r"\\([0-7]{3})")
_RAW_NAME = re.compile(r"(?:[^\x00-\x20\\]|\\[0-3][0-7]{2})*")

# How a line of a valid manifest begins whose locators have no hints, not even other ones.
_WITHOUT_HINTS = re.compile(r"[^ ]+(?: [0-9a-f]{32}\+[0-9]+)+ [0-9]+:")

# Locators inside a valid manifest. A file token cannot look like one: it has a colon after digits.
_LOCATOR_PARTS = re.compile(r" ([0-9a-f]{32})(\+[0-9]+)((?:\+[^ \n]*)?)(?=[ \n])")
_SIGNATURE_HINT = re.compile(r"\+A[^+]*")
_FILE_SIZE = re.compile(r" [0-9]+:([0-9]+):")
_FILE_NAME = re.compile(r" [0-9]+:[0-9]+:([^ ]+)")


class ManifestInvalid(ValueError):
    """A text that is not a manifest; the message names the line and the token."""


class Contents(NamedTuple):
    """What a manifest holds.

    names: every path of a file and every stream, one a line, spaces unescaped, for searching;
        some may be there twice
    """

    file_count: int
    size_total: int
    names: str


class ChangedLines(NamedTuple):
    """The lines that one manifest alone has, and another one alone."""

    gone: set[str]
    come: set[str]


def lines_of(text: str) -> list[str]:
    """Return the lines of a valid manifest, without their ends."""
    return text.split("\n")[:-1]


def joined(lines: Iterable[str]) -> str:
    """Return the manifest of these lines."""
    return "\n".join((*lines, ""))


def check_grammar(text: str) -> None:
    """Raise ManifestInvalid unless `text` follows the grammar of manifests.

    As with a real cluster, it is not checked that segments lie inside their stream's blocks, nor
    that no path is both a file and a directory.
    """
    if not text:
        return
    if not text.endswith("\n"):
        raise ManifestInvalid("Manifest invalid: the last line does not end with a newline")
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        problem = _line_problem(line)
        if problem:
            raise ManifestInvalid(f"Manifest invalid on line {number}: {problem}")


def _line_problem(line: str) -> str | None:
    stream, _, rest = line.partition(" ")
    if not _STREAM.fullmatch(stream) and not _stream_is_valid(stream):
        return f"invalid stream name {_shown(stream)}"
    rest = " " + rest
    first_file = _FIRST_FILE_TOKEN.search(rest)
    boundary = first_file.start() if first_file else len(rest)
    # What the substitution leaves over is not a locator: for a valid line, nothing.
    bad_locators = _LOCATOR.sub("", rest[:boundary])
    if bad_locators:
        return f"invalid locator {_shown(bad_locators.split(' ')[1])}"
    if boundary == 0:
        return f"no block locator in stream {_shown(stream)}"
    if first_file is None:
        return f"no file token in stream {_shown(stream)}"
    for token in _FILE_TOKEN.sub("", rest[boundary:]).split(" ")[1:]:
        if not _file_token_is_valid(token):
            return f"invalid file token {_shown(token)}"
    return None


def _stream_is_valid(stream: str) -> bool:
    """Decide on a stream name with escapes that can change its structure."""
    return stream.startswith("./") and _name_is_valid(stream[2:])


def _file_token_is_valid(token: str) -> bool:
    """Decide on a file token with escapes that can change its structure."""
    head = _FILE_TOKEN_HEAD.match(token)
    if head is None:
        return False
    return token in _PLACEHOLDERS or _name_is_valid(token[head.end() :])


def _name_is_valid(path: str) -> bool:
    if not _RAW_NAME.fullmatch(path):
        return False
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), path)
    return all(name not in ("", ".", "..") for name in plain.split("/"))


def _shown(token: str) -> str:
    # A signature is as good as a key to the block: it does not go into messages.
    token = _SIGNATURE_HINT.sub("+A...", token)
    return repr(token if len(token) <= 200 else token[:200] + "...")


def locators(text: str) -> set[str]:
    """Return the distinct locators of a valid manifest, with their hints."""
    return {"".join(parts) for parts in _LOCATOR_PARTS.findall(text)}


def without_signatures(text: str) -> str:
    """Return a valid manifest without permission signatures; other hints stay."""
    if "+A" not in text:
        return text
    return _LOCATOR_PARTS.sub(
        lambda part: f" {part[1]}{part[2]}{_SIGNATURE_HINT.sub('', part[3])}", text
    )


def portable_data_hash(text: str, lines: Sequence[str]) -> str:
    """Return md5 and length of a valid manifest with locators reduced to hash and size.

    lines: those of the text
    """
    if not all(map(_WITHOUT_HINTS.match, lines)):
        text = _LOCATOR_PARTS.sub(r" \1\2", text)
    stripped = text.encode()
    return f"{hashlib.md5(stripped).hexdigest()}+{len(stripped)}"


def signed(text: str, signer: BlobSigner, token: str, expiry_s: int) -> str:
    """Return a valid, unsigned manifest with each locator signed for `token` until `expiry_s`."""
    hints: dict[str, str] = {}

    def with_hint(part: re.Match[str]) -> str:
        block_hash = part[1]
        hint = hints.get(block_hash)
        if hint is None:
            hint = hints[block_hash] = signer.hint(block_hash, token, expiry_s)
        return part[0] + hint

    return _LOCATOR_PARTS.sub(with_hint, text)


def contents(text: str) -> Contents:
    """Count the files of a valid manifest and list their names."""
    size_total = 0
    # Dictionaries serve as sets that keep the order.
    by_stream: dict[str, dict[str, None]] = {}
    for line in lines_of(text):
        stream, _, rest = line.partition(" ")
        # Two passes that make lists of plain strings take half the time of one that makes pairs.
        size_total += sum(map(int, _FILE_SIZE.findall(rest)))
        names = dict.fromkeys(_FILE_NAME.findall(rest))
        for placeholder in _PLACEHOLDER_NAMES:
            names.pop(placeholder, None)
        if stream in by_stream:
            by_stream[stream].update(names)
        else:
            by_stream[stream] = names
    all_names = dict.fromkeys(chain.from_iterable(by_stream.values()))
    listed = "\n".join([*all_names, ""])
    if "/" in listed:
        # The same file can be in a stream by its path and in another one by its name.
        file_count = len({f"{s}/{name}" for s, names in by_stream.items() for name in names})
    else:
        file_count = sum(map(len, by_stream.values()))
    listed += "".join(f"{stream[2:]}\n" for stream in by_stream if stream != ".")
    return Contents(file_count, size_total, listed.replace("\\040", " "))


def contents_after(
    before: Contents, old: Sequence[str], new: Sequence[str], changed: ChangedLines
) -> Contents:
    """Return what `contents` says of `new`, in less time if it has most lines of `old`.

    Both are lines of valid manifests, and `before` is what is known of `old`.
    """
    gone, come = changed
    new_size = sum(map(len, new)) + len(new)
    is_small = sum(map(len, (*gone, *come))) < new_size // 2
    if not (is_small and _is_plain(old) and _is_plain(new)):
        return contents(joined(new))
    minus, plus = contents(joined(gone)), contents(joined(come))
    minus_names, plus_names = set(minus.names.split("\n")), set(plus.names.split("\n"))
    if not minus_names <= plus_names:
        return contents(joined(new))  # a name that is not there any more may still be elsewhere
    return Contents(
        before.file_count - minus.file_count + plus.file_count,
        before.size_total - minus.size_total + plus.size_total,
        before.names + "".join(map("{}\n".format, sorted(plus_names - minus_names))),
    )


def changed_lines(old: Sequence[str], new: Sequence[str]) -> ChangedLines:
    """Return what tells the lines of two manifests apart."""
    return ChangedLines(set(old).difference(new), set(new).difference(old))


def has_names_only(line: str) -> bool:
    """Whether each file of a stream is called by its name in it, and none by a path."""
    return "/" not in line[line.index(" ") :] and not ("\\" in line and "\\057" in line)


def _is_plain(lines: Sequence[str]) -> bool:
    """Whether each line of a manifest is a stream of its own, and no file is by a path in one."""
    streams = {line[: line.index(" ")] for line in lines}
    return len(streams) == len(lines) and all(map(has_names_only, lines))
