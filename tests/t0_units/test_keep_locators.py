"""What a locator may look like, and what of it may be shown."""

import pytest

from arvados_fuse.errors import ManifestError
from arvados_fuse.keep.locators import MAX_BLOCK_SIZE, parse_locator

FOO = "acbd18db4cc2f85cedef654fccc4a4d8"
SIGNATURE = "A" + "ab" * 20 + "@70000000"


def test_a_locator_is_hash_size_and_hints() -> None:
    assert parse_locator(f"{FOO}+3+{SIGNATURE}+K@zzzzz") == (FOO, 3, (SIGNATURE, "K@zzzzz"))
    assert parse_locator(f"{FOO}+3") == (FOO, 3, ())


def test_a_bare_hint_is_allowed() -> None:
    assert parse_locator(f"{FOO}+3+Z").hints == ("Z",)


def test_the_name_shows_no_signature() -> None:
    assert parse_locator(f"{FOO}+3+{SIGNATURE}").name == f"{FOO}+3"


@pytest.mark.parametrize(
    "text",
    [
        "",
        FOO,
        f"{FOO}+",
        f"{FOO}+-3",
        f"{FOO}+3+",
        f"{FOO}+3+a",
        f"{FOO}+3+A b",
        f"{FOO}+3\n",
        f"{FOO}+3+K@zzzzz/../x",
        f"{FOO}+\N{ARABIC-INDIC DIGIT THREE}",
        f"{FOO.upper()}+3",
        f"{FOO[1:]}+3",
        f"x{FOO}+3",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        parse_locator(text)


def test_a_refused_locator_does_not_show_its_signature() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_locator(f"{FOO}+3 +{SIGNATURE}")
    assert "abab" not in str(caught.value)


def test_no_block_is_larger_than_64_mib() -> None:
    """Or a manifest could make us allocate any amount of memory."""
    assert parse_locator(f"{FOO}+{MAX_BLOCK_SIZE}").size == 64 * 1024 * 1024
    with pytest.raises(ManifestError, match="67108865"):
        parse_locator(f"{FOO}+{MAX_BLOCK_SIZE + 1}")
