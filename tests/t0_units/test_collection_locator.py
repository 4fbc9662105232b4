"""Block locators: their grammar, and the block that each names."""

import re

import pytest

from arvados_fuse.collection.locator import LOCATOR, MAX_NUMBER, block_name

HASH = "acbd18db4cc2f85cedef654fccc4a4d8"
SIGNATURE = "A0123456789abcdef0123456789abcdef01234567@6553f100"


@pytest.mark.parametrize("hints", ["", "+Z", f"+{SIGNATURE}", f"+{SIGNATURE}+K@zzzzz+Z"])
def test_a_locator_is_a_hash_a_size_and_any_hints(hints):
    match = re.fullmatch(LOCATOR, f"{HASH}+3{hints}")
    assert match is not None
    assert match[1] == "3"


def test_a_block_is_named_by_hash_and_size_whatever_the_hints():
    assert block_name(f"{HASH}+67108864") == f"{HASH}+67108864"
    assert block_name(f"{HASH}+3+{SIGNATURE}+Z") == f"{HASH}+3"


def test_the_size_may_have_as_many_digits_as_the_largest_number():
    assert re.fullmatch(LOCATOR, f"{HASH}+{MAX_NUMBER}")
    assert not re.fullmatch(LOCATOR, f"{HASH}+{10 * MAX_NUMBER}")


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
        f"{HASH}+{SIGNATURE}+3",
        f"{HASH}+3+",
        f"{HASH}+3+a",
        f"{HASH}+3+A!",
        f"{HASH}+3 ",
        f"{HASH}+3\n",
        f"{HASH}+{'9' * 10_000}",
    ],
)
def test_nothing_else_is_a_locator(text):
    assert not re.fullmatch(LOCATOR, text)
