"""The grammar of manifest text, and its portable data hash.

The grammar (Arvados documentation, "Manifest format")::

    manifest  := "" | line+                  every line ends with LF, the last one too
    line      := stream (SP locator)+ (SP filetoken)+ LF
    stream    := "." | "./" name ("/" name)*
    filetoken := position ":" size ":" name ("/" name)*

A manifest can have millions of tokens. So they are never handled one by one: a piece of a line is
checked by one regular expression and taken apart by ``str.split``. Only a piece that this does not
fit (a raw colon in a name, or an error) is looked at token by token. A piece is about a mebibyte,
which keeps the peak of memory low and the data in the processor's cache.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import accumulate, chain, compress
from typing import NamedTuple

from arvados_fuse.collection.depth import MAX_DEPTH
from arvados_fuse.collection.escape import unescape
from arvados_fuse.collection.locator import LOCATOR, MAX_NUMBER
from arvados_fuse.collection.quote import quote
from arvados_fuse.errors import ManifestError

__all__ = [
    "FileTokens",
    "Line",
    "LineParts",
    "file_tokens",
    "has_path",
    "lines",
    "locators",
    "path_components",
    "path_tokens",
    "portable_data_hash",
    "split_line",
    "stream_components",
]

_PIECE = 1 << 20  # characters

_RAW_SPACE = re.compile(r"[\x00-\x20]")
# All locators of a piece; there are fewer matches than tokens if one is bad.
_LOCATORS = re.compile(rf"(?<![^ ]){LOCATOR}(?![^ ])")
_FILE_TOKEN = re.compile(r"([0-9]{1,19}):([0-9]{1,19}):([^\x00-\x20]+)")
# A piece whose only colons are the two that each token must have.
_PLAIN = r"[0-9]{1,19}:[0-9]{1,19}:[^\x00-\x20:]+"
_PLAIN_FILE_TOKENS = re.compile(f"(?:{_PLAIN} )*{_PLAIN}")
_HINTS = re.compile(r"(?<= )([0-9a-f]{32}\+[0-9]+)\+[^ \n]*")

_ESCAPED_SLASH = "\\057"  # separates as well as a plain one, as it does on the server


class Line(NamedTuple):
    """A line of a manifest after its stream name: ``text[start:end]``, without the LF.

    number: counts from 1, for error messages
    start: where the space behind the stream name is
    """

    number: int
    start: int
    end: int


class LineParts(NamedTuple):
    """Where the parts of a line are in the text; spaces around them not included."""

    locators_start: int
    locators_end: int
    tokens_start: int
    tokens_end: int


class FileTokens(NamedTuple):
    """File tokens, column by column: offsets into the stream and sizes in bytes, true names."""

    positions: list[int]
    sizes: list[int]
    names: list[str]


def lines(text: str) -> Iterator[tuple[str, Line]]:
    """Each line's stream name, as it is written, and where the rest of the line is.

    Raises ManifestError for a text without LF at its end, for characters that have no place in
    UTF-8, and for a line that has no space.
    """
    if text and not text.endswith("\n"):
        raise ManifestError("The manifest is cut off: its last line does not end with a line feed.")
    _check_unicode(text)
    number = start = 0
    while start < len(text):
        number += 1
        end = text.index("\n", start)
        space = text.find(" ", start, end)
        if space < 0:
            raise _error(number, f"{quote(text[start:end])} has no locators and no files")
        yield text[start:space], Line(number, space, end)
        start = end + 1


def stream_components(stream: str, line_number: int) -> list[str]:
    """The true names of the directories on the way from the root to ``stream``.

    Raises ManifestError unless it is "." or "./" and names that can be.
    """
    root, *names = unescape(stream).split("/")
    if root != "." or _RAW_SPACE.search(stream):
        raise _error(line_number, f"{quote(stream)} is not a stream name: . or ./NAME expected")
    return _checked(names, stream, line_number)


def has_path(text: str, line: Line) -> bool:
    """Whether a file token of the line may have a directory in its name (non-normal form)."""
    return (
        text.find("/", line.start, line.end) >= 0
        or text.find(_ESCAPED_SLASH, line.start, line.end) >= 0
    )


def split_line(text: str, line: Line) -> LineParts:
    """Where the locators end and the file tokens begin: before the token with the first colon.

    Raises ManifestError if there are none of one or of the other.
    """
    colon = text.find(":", line.start, line.end)
    if colon < 0:
        raise _error(line.number, f"no file token after {quote(text[line.start + 1 : line.end])}")
    space = text.rindex(" ", line.start, colon)
    if space == line.start:
        raise _error(line.number, f"no locator before {_first_token(text, space + 1, line.end)}")
    return LineParts(line.start + 1, space, space + 1, line.end)


def locators(
    text: str, start: int, end: int, line_number: int
) -> Iterator[tuple[list[int], list[int]]]:
    """The locators in ``text[start:end]``, piece by piece: where each begins, and block sizes.

    Empty blocks are left out: no byte of a file is ever in one. Raises ManifestError at a token
    that is not a locator.
    """
    for piece_start, piece_end in _pieces(text, start, end):
        piece = text[piece_start:piece_end]
        tokens = piece.split(" ")
        sizes = list(map(int, _LOCATORS.findall(piece)))
        if len(sizes) != len(tokens):
            raise _bad_locator(tokens, line_number)
        starts = accumulate(map((1).__add__, map(len, tokens)), initial=piece_start)
        yield list(compress(starts, sizes)), list(filter(None, sizes))


def file_tokens(text: str, start: int, end: int, line_number: int) -> Iterator[FileTokens]:
    """The file tokens in ``text[start:end]``, piece by piece; they must not hold paths.

    The token that keeps an empty directory, ``0:0:.``, is left out. Raises ManifestError at a token
    that is none, and at the names "." and "..".
    """
    for piece_start, piece_end in _pieces(text, start, end):
        piece = text[piece_start:piece_end]
        if _PLAIN_FILE_TOKENS.fullmatch(piece):
            fields = piece.replace(" ", ":").split(":")
        else:
            fields = [field for token in piece.split(" ") for field in _fields(token, line_number)]
        tokens = FileTokens(
            list(map(int, fields[0::3])), list(map(int, fields[1::3])), _true_names(fields[2::3])
        )
        if max(tokens.positions) > MAX_NUMBER or max(tokens.sizes) > MAX_NUMBER:
            raise _error(line_number, "a position or size in a file token is beyond 2**63 - 1")
        if ".." in tokens.names:
            raise _error(line_number, "a file has the impossible name '..'")
        yield _without_placeholder(tokens, line_number) if "." in tokens.names else tokens


def path_tokens(text: str, start: int, end: int, line_number: int) -> Iterator[tuple[str, str]]:
    """The file tokens in ``text[start:end]``, one by one: directory and token without it.

    The directory is as written, with "/" for every separator; "" is the stream's own. Raises
    ManifestError at a token that is none.
    """
    for piece_start, piece_end in _pieces(text, start, end):
        for token in text[piece_start:piece_end].split(" "):
            position, size, path = _fields(token, line_number)
            directory, slash, name = path.replace(_ESCAPED_SLASH, "/").rpartition("/")
            if slash and not (directory and name):
                raise _error(line_number, f"empty name in the path of file token {quote(token)}")
            yield directory, f"{position}:{size}:{name}"


def path_components(directory: str, line_number: int) -> list[str]:
    """The true names in a directory that ``path_tokens`` gave; raises ManifestError."""
    return _checked(unescape(directory).split("/"), directory, line_number)


def portable_data_hash(text: str) -> str:
    """The portable data hash of a manifest: md5 and length of the text without locator hints.

    As the Arvados documentation ("Content addresses") defines it. The text is taken as it is: two
    ways to write one tree have two hashes. Raises ManifestError if it cannot be encoded as UTF-8.
    """
    _check_unicode(text)
    digest = hashlib.md5(usedforsecurity=False)
    size = start = 0
    while start < len(text):
        # Hints can be nowhere behind the first colon that follows the stream name.
        end = text.find("\n", start) + 1 or len(text)
        space = text.find(" ", start, end)
        colon = text.find(":", space, end) if space >= 0 else end
        cut = colon if colon >= 0 else end
        parts = (text[part : min(part + _PIECE, end)] for part in range(cut, end, _PIECE))
        for part in chain([_HINTS.sub(r"\1", text[start:cut])], parts):
            encoded = part.encode()
            digest.update(encoded)
            size += len(encoded)
        start = end
    return f"{digest.hexdigest()}+{size}"


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut ``text[start:end]`` at spaces into pieces of about ``_PIECE`` characters."""
    while end - start > _PIECE:
        cut = text.find(" ", start + _PIECE, end)
        if cut < 0:
            break
        yield start, cut
        start = cut + 1
    yield start, end


def _fields(token: str, line_number: int) -> tuple[str, str, str]:
    match = _FILE_TOKEN.fullmatch(token)
    if match is None:
        if not token:
            raise _error(line_number, "two spaces in a row, or a space at the end of the line")
        raise _error(
            line_number, f"{quote(token)} is not a file token: POSITION:SIZE:NAME expected"
        )
    return match[1], match[2], match[3]


def _true_names(names: list[str]) -> list[str]:
    """All names unescaped, in one go where no escape stands for the separator that this uses."""
    joined = "\n".join(names)
    if "\\" not in joined:
        return names
    if "\\012" in joined:
        return list(map(unescape, names))
    return unescape(joined).split("\n")


def _without_placeholder(tokens: FileTokens, line_number: int) -> FileTokens:
    for position, size, name in zip(*tokens, strict=True):
        if name == "." and (position or size):
            raise _error(line_number, "a file has the impossible name '.'")
    kept = [name != "." for name in tokens.names]
    return FileTokens(
        list(compress(tokens.positions, kept)),
        list(compress(tokens.sizes, kept)),
        list(compress(tokens.names, kept)),
    )


def _checked(names: list[str], path: str, line_number: int) -> list[str]:
    if len(names) > MAX_DEPTH:
        raise _error(line_number, f"directories are nested more than {MAX_DEPTH} deep")
    if "" in names or "." in names or ".." in names:
        raise _error(line_number, f"a name in the path {quote(path)} is empty, '.' or '..'")
    return names


def _check_unicode(text: str) -> None:
    if text.isascii():
        return
    try:
        for start in range(0, len(text), _PIECE):
            text[start : start + _PIECE].encode()
    except UnicodeEncodeError:
        raise ManifestError("The manifest holds characters that UTF-8 cannot express.") from None


def _bad_locator(tokens: list[str], line_number: int) -> ManifestError:
    bad = next(token for token in tokens if not _LOCATORS.fullmatch(token))
    if not bad:
        return _error(line_number, "two spaces in a row")
    return _error(line_number, f"{quote(bad)} is neither a block locator nor a file token")


def _first_token(text: str, start: int, end: int) -> str:
    return quote(text[start:end].split(" ", 1)[0])


def _error(line_number: int, problem: str) -> ManifestError:
    return ManifestError(f"Line {line_number} of the manifest is damaged: {problem}.")
