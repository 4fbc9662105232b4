"""Block locators: hash, size, hints."""

import pytest

from arvados_fuse.collection.locator import Locator
from arvados_fuse.errors import ManifestError

HASH = "acbd18db4cc2f85cedef654fccc4a4d8"
SIGNATURE = "0123456789abcdef0123456789abcdef01234567@6553f100"


def test_a_locator_has_a_hash_a_size_and_hints():
    locator = Locator.parse(f"{HASH}+3+A{SIGNATURE}+K@zzzzz+Z")
    assert locator.hash == HASH
    assert locator.size == 3
    assert locator.hints == (f"A{SIGNATURE}", "K@zzzzz", "Z")


def test_stripped_is_the_locator_without_hints():
    assert Locator.parse(f"{HASH}+3+A{SIGNATURE}").stripped == f"{HASH}+3"
    assert Locator.parse(f"{HASH}+67108864").stripped == f"{HASH}+67108864"


def test_the_largest_size_is_two_to_the_63rd_minus_one():
    assert Locator.parse(f"{HASH}+{2**63 - 1}").size == 2**63 - 1
    with pytest.raises(ManifestError):
        Locator.parse(f"{HASH}+{2**63}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        HASH,
        f"{HASH}+",
        f"{HASH}+-1",
        f"{HASH}+٣",
        f"{HASH.upper()}+3",
        f"{HASH[1:]}+3",
        f"{HASH}+A{SIGNATURE}+3",
        f"{HASH}+3+",
        f"{HASH}+3+a",
        f"{HASH}+3+A!",
        f"{HASH}+3 ",
        f"{HASH}+3\n",
        f"{HASH}+{'9' * 10_000}",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ManifestError):
        Locator.parse(text)


def test_the_message_keeps_the_signature_to_itself():
    with pytest.raises(ManifestError) as caught:
        Locator.parse(f"{HASH}+3+A{SIGNATURE}+?")
    assert HASH in str(caught.value)
    assert SIGNATURE[:8] not in str(caught.value)
